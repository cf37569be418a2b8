//! Quoting for statements that take no parameters: startup options, `CREATE DATABASE`, simple-query messages.
//!
//! PostgreSQL's text knows no NUL byte, so no argument here may hold one: the server would end the message there. Names and texts come from the
//! connection string (which refuses `%00`), from the environment and from the server, none of which can carry one.

/// The name as a quoted identifier, exactly as given: case kept, `"` doubled.
///
/// Source: PostgreSQL's documentation, "Lexical Structure", 4.1.1. The server cuts names after 63 bytes.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name as a person would write it: quoted only if it has to be. For commands that are shown.
///
/// Source: PostgreSQL's documentation, "SQL Key Words": those that are reserved there, and those that are so for types and functions.
pub fn name(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    match is_plain {
        true => name.to_owned(),
        false => identifier(name),
    }
}

const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// The text as a string constant that is right whatever `standard_conforming_strings` says.
///
/// A backslash means itself in `'…'` only where that setting is on; in `E'…'` it is always an escape. So a text that holds one becomes `E'…'` with
/// each backslash doubled, after a space, since `E` must not grow together with a word before it (libpq's `PQescapeLiteral` does the same).
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_only_if_it_has_to_be() {
        for (given, shown) in [
            ("app_owner", "app_owner"),
            ("_x1", "_x1"),
            ("user", "\"user\""),
            ("App", "\"App\""),
            ("1st", "\"1st\""),
            ("a b", "\"a b\""),
            ("", "\"\""),
        ] {
            assert_eq!(name(given), shown);
        }
    }

    #[test]
    fn identifiers() {
        for (name, quoted) in [
            ("public", r#""public""#),
            ("", r#""""#),
            ("MixedCase", r#""MixedCase""#),
            (r#"a"b"#, r#""a""b""#),
            (r#"""#, r#""""""#),
            (r"back\slash", r#""back\slash""#),
            ("it's; DROP DATABASE x --", r#""it's; DROP DATABASE x --""#),
            ("schéma", r#""schéma""#),
        ] {
            assert_eq!(identifier(name), quoted, "{name}");
        }
    }

    #[test]
    fn literals() {
        for (text, quoted) in [
            ("plain", "'plain'"),
            ("", "''"),
            ("it's", "'it''s'"),
            ("'", "''''"),
            (r"a\b", r" E'a\\b'"),
            (r"\'", r" E'\\'''"),
            (r"\", r" E'\\'"),
            ("line\nbreak", "'line\nbreak'"),
            ("été", "'été'"),
        ] {
            assert_eq!(literal(text), quoted, "{text}");
        }
    }
}
