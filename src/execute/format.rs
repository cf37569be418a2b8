//! Rows as text: JSON, one object a line, and CSV. The table is in [`super::table`].

use crate::printable::steers;
use std::collections::HashSet;
use tokio_postgres::types::Type;

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; not necessarily the only one of that name.
    pub name: String,
    /// What its values are.
    pub kind: ColumnKind,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Integers, floating point numbers, `numeric`, `oid`.
    Number,
    /// `boolean`.
    Boolean,
    /// `json` and `jsonb`.
    Json,
    /// Everything else.
    Text,
}

impl From<(String, Type)> for Column {
    fn from((name, type_): (String, Type)) -> Column {
        let kind = match type_ {
            Type::INT2 | Type::INT4 | Type::INT8 | Type::OID | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => {
                ColumnKind::Number
            }
            Type::BOOL => ColumnKind::Boolean,
            Type::JSON | Type::JSONB => ColumnKind::Json,
            _ => ColumnKind::Text,
        };
        Column { name, kind }
    }
}

/// The `"name":` of each column. A name that was there before gets a number, since an object has each key once.
pub fn json_keys(columns: &[Column]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    columns
        .iter()
        .map(|column| {
            let mut name = column.name.clone();
            let mut number = 1;
            while !taken.insert(name.clone()) {
                number += 1;
                name = format!("{}_{number}", column.name);
            }
            let mut key = String::new();
            json_text(&name, &mut key);
            key.push(':');
            key
        })
        .collect()
}

/// A row as an object in one line.
pub fn json_row(keys: &[String], columns: &[Column], values: &[Option<&str>], out: &mut String) {
    out.push('{');
    for (at, ((key, column), value)) in keys.iter().zip(columns).zip(values).enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(key);
        match value {
            None => out.push_str("null"),
            Some(value) => json_value(value, column.kind, out),
        }
    }
    out.push_str("}\n");
}

fn json_value(value: &str, kind: ColumnKind, out: &mut String) {
    match (kind, value) {
        // Digits as the server wrote them, however many; NaN and Infinity are no numbers of JSON's.
        (ColumnKind::Number, _) if value.ends_with(|c: char| c.is_ascii_digit()) => out.push_str(value),
        (ColumnKind::Boolean, "t") => out.push_str("true"),
        (ColumnKind::Boolean, "f") => out.push_str("false"),
        // Outside of its strings, where none can be, a line break is a blank.
        (ColumnKind::Json, _) => escaped(&value.replace(['\n', '\r'], " "), out),
        _ => json_text(value, out),
    }
}

/// A string: the same one for every reader of JSON, and nothing in it steers a terminal.
fn json_text(text: &str, out: &mut String) {
    // A string has no value that could not be written.
    escaped(&serde_json::to_string(text).unwrap_or_default(), out);
}

/// JSON whose characters that steer a terminal, which can stand in its strings only, are written as escapes.
fn escaped(json: &str, out: &mut String) {
    if !json.contains(steers) {
        out.push_str(json);
        return;
    }
    for c in json.chars() {
        if steers(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
}

/// A line of CSV as PostgreSQL's `COPY` writes it: NULL is nothing, an empty text is `""`.
pub fn csv_line<'a>(values: impl Iterator<Item = Option<&'a str>>, out: &mut String) {
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.push(',');
        }
        match value {
            None => {}
            Some(value) if value.is_empty() || value == "\\." || value.contains([',', '"', '\n', '\r']) => {
                out.push('"');
                out.push_str(&value.replace('"', "\"\""));
                out.push('"');
            }
            Some(value) => out.push_str(value),
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn column(name: &str, kind: ColumnKind) -> Column {
        Column {
            name: name.to_owned(),
            kind,
        }
    }

    fn json(kind: ColumnKind, value: Option<&str>) -> String {
        let columns = [column("a", kind)];
        let mut line = String::new();
        json_row(&json_keys(&columns), &columns, &[value], &mut line);
        assert_eq!(line.matches('\n').count(), 1, "one line: {line:?}");
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert!(parsed.is_object());
        line.trim_end()
            .trim_start_matches("{\"a\":")
            .trim_end_matches('}')
            .to_owned()
    }

    #[test]
    fn json_has_what_the_type_says() {
        use ColumnKind::*;
        let cases = [
            (Number, "-12", "-12"),
            (Number, "12345678901234567890.120", "12345678901234567890.120"),
            (Number, "1e-05", "1e-05"),
            (Number, "NaN", "\"NaN\""),
            (Number, "-Infinity", "\"-Infinity\""),
            (Boolean, "t", "true"),
            (Json, "[1,\n 2]", "[1,  2]"),
            (Json, "\"\u{9b}\"", "\"\\u009b\""),
            (Text, "12", "\"12\""),
            (Text, "null", "\"null\""),
            (
                Text,
                "a\"\\\n\t\u{1b}\u{9b}é\u{202e}",
                "\"a\\\"\\\\\\n\\t\\u001b\\u009bé\\u202e\"",
            ),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(json(kind, Some(value)), expected, "{kind:?} {value}");
        }
        assert_eq!(json(Number, None), "null");
    }

    #[test]
    fn a_text_comes_back_from_json_as_it_was() {
        let text: String = (1..0x3000).filter_map(char::from_u32).collect();
        let read: Value = serde_json::from_str(&json(ColumnKind::Text, Some(&text))).unwrap();
        assert_eq!(read.as_str(), Some(text.as_str()));
    }

    #[test]
    fn each_key_is_there_once() {
        let columns = ["a", "a", "a_2", "a"].map(|name| column(name, ColumnKind::Text));
        assert_eq!(json_keys(&columns), ["\"a\":", "\"a_2\":", "\"a_2_2\":", "\"a_3\":"]);
    }

    #[test]
    fn csv_tells_null_from_an_empty_text() {
        let mut line = String::new();
        let values = [
            None,
            Some(""),
            Some("plain é"),
            Some("a,b"),
            Some("say \"a\"\nb"),
            Some("\\."),
        ];
        csv_line(values.into_iter(), &mut line);
        assert_eq!(line, ",\"\",plain é,\"a,b\",\"say \"\"a\"\"\nb\",\"\\.\"\n");
    }
}
