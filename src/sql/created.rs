//! What a statement creates, where it is something that the catalogue can be asked for by its name alone.

use super::kind::Words;
use squawk_lexer::{TokenKind, tokenize};

/// Something that a statement creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// What it is.
    pub sort: Sort,
    /// Its name as written, qualified or not.
    pub name: String,
    /// Of a table: its columns, as far as the statement lists them.
    pub columns: Vec<Column>,
}

/// A column of a CREATE TABLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, as the catalogue has it.
    pub name: String,
    /// Its type as written; what stands for `serial` and its kin.
    pub of_type: String,
}

/// What the catalogue calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A table, view, materialized view, index or sequence.
    Relation,
    /// An enum, a composite type or a domain.
    Type,
    /// A schema.
    Schema,
}

/// What this statement creates; none for everything else, and for indexes that the server names.
pub fn created(statement: &str) -> Option<Created> {
    let words = Words::of(statement);
    if !words.is(0, &["create"]) {
        return None;
    }
    let adverbs = [
        "or",
        "replace",
        "unique",
        "unlogged",
        "recursive",
        "foreign",
        "materialized",
    ];
    let at = (1..)
        .take_while(|at| words.is(*at, &adverbs))
        .last()
        .map_or(1, |last| last + 1);
    let sort = if words.is(at, &["table", "view", "index", "sequence"]) {
        Sort::Relation
    } else if words.is(at, &["type", "domain"]) {
        Sort::Type
    } else if words.is(at, &["schema"]) {
        Sort::Schema
    } else {
        return None;
    };
    let at_of_sort = at;
    let concurrently = usize::from(words.is(at, &["index"]) && words.is(at + 1, &["concurrently"]));
    let (at, _) = words.skip_if_exists(at + 1 + concurrently);
    // CREATE INDEX ON, CREATE SCHEMA AUTHORIZATION: the name is the server's.
    if words.is(at, &["on", "authorization"]) {
        return None;
    }
    let (name, _) = words.name(at)?;
    let columns = match words.is(at_of_sort, &["table"]) {
        true => columns(statement),
        false => Vec::new(),
    };
    Some(Created { sort, name, columns })
}

/// The columns in the first parentheses of a CREATE TABLE.
fn columns(statement: &str) -> Vec<Column> {
    let mut depth = 0_usize;
    let mut items: Vec<Vec<&str>> = vec![Vec::new()];
    let mut at = 0;
    for token in tokenize(statement) {
        let text = &statement[at..at + token.len as usize];
        at += text.len();
        match token.kind {
            TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. } => continue,
            TokenKind::OpenParen => depth += 1,
            TokenKind::CloseParen if depth == 1 => break,
            TokenKind::CloseParen => depth = depth.saturating_sub(1),
            TokenKind::Comma if depth == 1 => {
                items.push(Vec::new());
                continue;
            }
            _ => {}
        }
        let is_opening = depth == 1 && token.kind == TokenKind::OpenParen && items == [[""; 0]];
        if depth > 0
            && !is_opening
            && let Some(item) = items.last_mut()
        {
            item.push(text);
        }
    }
    items.iter().filter_map(|item| column(item)).collect()
}

fn column(words: &[&str]) -> Option<Column> {
    const NO_COLUMN: [&str; 7] = ["constraint", "primary", "unique", "foreign", "check", "exclude", "like"];
    const BEHIND_TYPE: [&str; 14] = [
        "collate",
        "not",
        "null",
        "default",
        "primary",
        "unique",
        "references",
        "check",
        "constraint",
        "generated",
        "storage",
        "compression",
        "options",
        "deferrable",
    ];
    let among = |word: &str, list: &[&str]| list.iter().any(|listed| word.eq_ignore_ascii_case(listed));
    let (&name, rest) = words.split_first()?;
    if among(name, &NO_COLUMN) {
        return None;
    }
    let name = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    };
    let of_type: Vec<&str> = rest
        .iter()
        .take_while(|word| !among(word, &BEHIND_TYPE))
        .copied()
        .collect();
    let of_type = match of_type.join(" ") {
        serial if among(&serial, &["serial", "serial4"]) => "integer".to_owned(),
        serial if among(&serial, &["bigserial", "serial8"]) => "bigint".to_owned(),
        serial if among(&serial, &["smallserial", "serial2"]) => "smallint".to_owned(),
        of_type => of_type,
    };
    Some(Column { name, of_type })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_statement_creates_is_told_by_its_first_words() {
        let cases = [
            ("CREATE TABLE \"User\" (id int)", Some((Sort::Relation, "\"User\""))),
            (
                "create unlogged table if not exists s.t (id int)",
                Some((Sort::Relation, "s.t")),
            ),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
                Some((Sort::Relation, "i")),
            ),
            ("CREATE INDEX ON t (a)", None),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", Some((Sort::Relation, "v"))),
            ("CREATE MATERIALIZED VIEW v AS SELECT 1", Some((Sort::Relation, "v"))),
            ("CREATE TYPE \"Role\" AS ENUM ('a')", Some((Sort::Type, "\"Role\""))),
            ("CREATE SCHEMA IF NOT EXISTS s", Some((Sort::Schema, "s"))),
            ("CREATE SCHEMA AUTHORIZATION me", None),
            ("CREATE TEMPORARY TABLE t (id int)", None),
            ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", None),
            ("INSERT INTO t VALUES (1)", None),
        ];
        for (statement, expected) in cases {
            let found = created(statement).map(|created| (created.sort, created.name));
            let expected = expected.map(|(sort, name): (Sort, &str)| (sort, name.to_owned()));
            assert_eq!(found, expected, "{statement}");
        }
    }

    #[test]
    fn the_columns_of_a_table_are_read_with_their_types() {
        let cases: [(&str, &[(&str, &str)]); 5] = [
            (
                "CREATE TABLE \"User\" (\n \"id\" SERIAL NOT NULL,\n Name VARCHAR(40) DEFAULT 'a, b' NOT NULL, -- x\n \
                 \"at\" TIMESTAMP(3) DEFAULT now(), tags TEXT[],\n CONSTRAINT p PRIMARY KEY (\"id\", name))",
                &[
                    ("id", "integer"),
                    ("name", "VARCHAR ( 40 )"),
                    ("at", "TIMESTAMP ( 3 )"),
                    ("tags", "TEXT [ ]"),
                ],
            ),
            (
                "CREATE TABLE t (a double precision, b s.\"Mood\")",
                &[("a", "double precision"), ("b", "s . \"Mood\"")],
            ),
            ("CREATE TABLE t AS SELECT 1", &[]),
            ("CREATE TABLE t (LIKE u)", &[]),
            ("CREATE VIEW t (a) AS SELECT 1", &[]),
        ];
        for (statement, expected) in cases {
            let columns = created(statement).unwrap().columns;
            let found: Vec<(&str, &str)> = columns.iter().map(|c| (c.name.as_str(), c.of_type.as_str())).collect();
            assert_eq!(found, expected, "{statement}");
        }
    }
}
