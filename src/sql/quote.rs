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
