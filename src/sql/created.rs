//! What a statement creates, where it is something that the catalogue can be asked for by its name alone.

use super::kind::Words;

/// Something that a statement creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// What it is.
    pub sort: Sort,
    /// Its name as written, qualified or not.
    pub name: String,
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
    let concurrently = usize::from(words.is(at, &["index"]) && words.is(at + 1, &["concurrently"]));
    let (at, _) = words.skip_if_exists(at + 1 + concurrently);
    // CREATE INDEX ON, CREATE SCHEMA AUTHORIZATION: the name is the server's.
    if words.is(at, &["on", "authorization"]) {
        return None;
    }
    let (name, _) = words.name(at)?;
    Some(Created { sort, name })
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
            let expected = expected.map(|(sort, name): (Sort, &str)| Created {
                sort,
                name: name.to_owned(),
            });
            assert_eq!(created(statement), expected, "{statement}");
        }
    }
}
