//! What a statement is called: the command that it is, by its first words.

use super::kind::Words;
use squawk_lexer::{TokenKind, tokenize};

/// The statement's command in upper case, as far as its first words tell: `SELECT`, `CREATE TABLE`. The server's own tags are much the same.
pub fn command(statement: &str) -> String {
    let words = Words::of(statement);
    let upper = |at: usize| words.at(at).map(str::to_ascii_uppercase).unwrap_or_default();
    let first = upper(0);
    match first.as_str() {
        "(" => "SELECT".to_owned(),
        "WITH" => behind_with(statement).unwrap_or(first),
        "CREATE" | "ALTER" | "DROP" => {
            const PASSED_OVER: [&str; 10] = [
                "OR",
                "REPLACE",
                "GLOBAL",
                "LOCAL",
                "TEMP",
                "TEMPORARY",
                "UNLOGGED",
                "UNIQUE",
                "RECURSIVE",
                "CONSTRAINT",
            ];
            const OF_TWO_WORDS: [&str; 6] = ["ACCESS", "DEFAULT", "EVENT", "FOREIGN", "MATERIALIZED", "TEXT"];
            let at = (1..)
                .find(|&at| !PASSED_OVER.contains(&upper(at).as_str()))
                .unwrap_or_default();
            let object = upper(at);
            match object.as_str() {
                "" => first,
                two if OF_TWO_WORDS.contains(&two) => format!("{first} {object} {}", upper(at + 1)),
                _ => format!("{first} {object}"),
            }
        }
        _ => first,
    }
}

/// The command that follows the queries of a `WITH`: the first of these words outside parentheses.
fn behind_with(statement: &str) -> Option<String> {
    const COMMANDS: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES"];
    outside_parentheses(statement)
        .map(str::to_ascii_uppercase)
        .find(|word| COMMANDS.contains(&word.as_str()))
}

/// Whether it is a `COPY` whose data travels on the connection: `FROM STDIN` or `TO STDOUT`. The server's grammar takes both words in both places.
pub fn copies_through_the_client(statement: &str) -> bool {
    let is = |word: &str, any_of: [&str; 2]| any_of.iter().any(|one| word.eq_ignore_ascii_case(one));
    let mut words = outside_parentheses(statement);
    if !words.next().is_some_and(|first| first.eq_ignore_ascii_case("copy")) {
        return false;
    }
    let words: Vec<&str> = words.collect();
    words
        .windows(2)
        .any(|pair| is(pair[0], ["from", "to"]) && is(pair[1], ["stdin", "stdout"]))
}

/// Whether it is `COPY table [(columns)] FROM STDIN`, however many columns it names; a query in parentheses can only be copied out.
pub fn copies_from_stdin(statement: &str) -> bool {
    let mut words = outside_parentheses(statement);
    let mut previous = words.next().unwrap_or_default();
    previous.eq_ignore_ascii_case("copy")
        && words.any(|word| {
            let before = std::mem::replace(&mut previous, word);
            before.eq_ignore_ascii_case("from") && word.eq_ignore_ascii_case("stdin")
        })
}

/// The statement's bare words.
fn outside_parentheses(statement: &str) -> impl Iterator<Item = &str> {
    let (mut at, mut depth) = (0, 0usize);
    tokenize(statement).filter_map(move |token| {
        let range = at..at + token.len as usize;
        at = range.end;
        match token.kind {
            TokenKind::OpenParen => depth += 1,
            TokenKind::CloseParen => depth = depth.saturating_sub(1),
            TokenKind::Ident if depth == 0 => return Some(&statement[range]),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_by_its_first_words() {
        let cases = [
            ("select 1", "SELECT"),
            ("(SELECT 1) UNION SELECT 2", "SELECT"),
            (
                "WITH a AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM a",
                "INSERT",
            ),
            ("create or replace function f() returns int", "CREATE FUNCTION"),
            ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX"),
            ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED VIEW"),
            ("DROP TABLE t", "DROP TABLE"),
            ("ALTER USER u PASSWORD 'x'", "ALTER USER"),
            ("vacuum", "VACUUM"),
            ("CREATE", "CREATE"),
        ];
        for (statement, expected) in cases {
            assert_eq!(command(statement), expected, "{statement}");
        }
    }

    #[test]
    fn a_copy_from_the_client_is_seen_however_many_columns_it_names() {
        let columns = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ");
        for (statement, expected) in [
            (format!("COPY t ({}) FROM STDIN", columns(22)), true),
            (format!("COPY public.t ({}) FROM stdin;", columns(1_600)), true),
            (format!("COPY t ({}) FROM '/tmp/x'", columns(40)), false),
            ("COPY (SELECT a FROM stdin) TO '/tmp/x'".to_owned(), false),
            ("COPY t (\"from\", stdin) TO STDOUT".to_owned(), false),
        ] {
            assert_eq!(copies_from_stdin(&statement), expected, "{statement}");
        }
    }

    #[test]
    fn a_copy_through_the_client_is_seen() {
        for (statement, expected) in [
            ("COPY t FROM STDIN", true),
            ("copy t (a, b) from stdin with (format csv)", true),
            ("COPY (SELECT 1 FROM t) TO STDOUT", true),
            ("COPY t TO '/tmp/x'", false),
            ("COPY stdin TO PROGRAM 'cat'", false),
            ("COPY \"t\" (a) TO stdin", true),
            ("SELECT 1 FROM stdin", false),
        ] {
            assert_eq!(copies_through_the_client(statement), expected, "{statement}");
        }
    }
}
