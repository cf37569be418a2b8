//! A relation's name as a statement has it, unquoted and folded as PostgreSQL does it.

use crate::sql::quote;
use std::fmt;

/// A name, qualified or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The schema, where it is given.
    pub schema: Option<String>,
    /// The relation, column or constraint.
    pub name: String,
}

impl Name {
    /// An unqualified name, as the catalogue has it.
    #[cfg(test)]
    pub fn plain(name: &str) -> Name {
        Name {
            schema: None,
            name: name.to_owned(),
        }
    }

    /// Reads the name that a text begins with; of more than two parts (a database in front) the last two count.
    pub fn read(text: &str) -> Option<Name> {
        Name::split(text).map(|(name, _)| name)
    }

    /// The same, with what stands behind the name.
    pub fn split(text: &str) -> Option<(Name, &str)> {
        let mut parts = Vec::new();
        let mut rest = text.trim_start();
        loop {
            let (part, after) = part(rest)?;
            parts.push(part);
            rest = after;
            match rest.trim_start().strip_prefix('.') {
                Some(after) => rest = after.trim_start(),
                None => break,
            }
        }
        let name = parts.pop()?;
        let name = Name {
            schema: parts.pop(),
            name,
        };
        Some((name, rest))
    }

    /// The name in SQL, each part quoted.
    pub fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote::identifier(schema), quote::identifier(&self.name)),
            None => quote::identifier(&self.name),
        }
    }
}

/// Quoted only where it must be, as PostgreSQL shows names (reserved words excepted).
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &str| {
            let plain = part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if plain {
                part.to_owned()
            } else {
                quote::identifier(part)
            }
        };
        match &self.schema {
            Some(schema) => write!(f, "{}.{}", part(schema), part(&self.name)),
            None => f.write_str(&part(&self.name)),
        }
    }
}

fn part(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut characters = quoted.char_indices().peekable();
        while let Some((at, c)) = characters.next() {
            match (c, characters.peek()) {
                ('"', Some((_, '"'))) => {
                    characters.next();
                    name.push('"');
                }
                ('"', _) => return Some((cut(name), &quoted[at + 1..])),
                (c, _) => name.push(c),
            }
        }
        return None;
    }
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .unwrap_or(text.len());
    // U&"…" would have to be unescaped.
    let escaped = text[end..].starts_with("&\"");
    // Only ASCII is folded (`downcase_identifier`, in UTF-8).
    (end > 0 && !escaped).then(|| (cut(text[..end].to_ascii_lowercase()), &text[end..]))
}

/// PostgreSQL cuts names after 63 bytes.
fn cut(mut name: String) -> String {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_as_postgresql_folds_them() {
        let cases = [
            ("Orders (id)", None, "orders"),
            ("\"Order\"", None, "Order"),
            ("Shop . \"Order\" x", Some("shop"), "Order"),
            ("\"a\"\"b\".\"c.d\"", Some("a\"b"), "c.d"),
            ("db.public.t", Some("public"), "t"),
            ("ÄB", None, "Äb"),
        ];
        for (text, schema, name) in cases {
            let expected = Name {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
            };
            assert_eq!(Name::read(text), Some(expected), "{text}");
        }
        for text in ["", "(a)", "\"open", "a.", "U&\"a\""] {
            assert_eq!(Name::read(text), None, "{text}");
        }
        assert_eq!(Name::read(&"n".repeat(70)), Name::read(&"n".repeat(63)));
        for (text, shown) in [
            ("Orders", "orders"),
            ("public.\"Order\"", "public.\"Order\""),
            ("\"a b\"", "\"a b\""),
        ] {
            assert_eq!(Name::read(text).unwrap().to_string(), shown);
        }
    }
}
