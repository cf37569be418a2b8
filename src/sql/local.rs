//! What a script makes only until its transaction ends: statement by statement it would be gone before the next one runs.

use super::kind::{Kind, Words};
use super::script::Statement;
use super::tokens::tokens;
use squawk_lexer::{LiteralKind, TokenKind};
use std::ops::Range;

/// A statement that means something else in a script that goes statement by statement, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Its bytes in the script.
    pub range: Range<usize>,
    /// A clause: what about it.
    pub why: &'static str,
}

impl Obstacle {
    /// What to do about it, where it begins on this line.
    pub fn next_step(&self, line: usize) -> String {
        match self.why {
            NOT_IN_ITS_OWN => format!(
                "move line {line} out of the BEGIN … COMMIT around it, behind the COMMIT or into a migration of its own, then deploy again"
            ),
            _ => "put what belongs together into a BEGIN … COMMIT of its own, or into a migration of its own, then deploy again".to_owned(),
        }
    }
}

const NOT_IN_ITS_OWN: &str = "cannot run in a transaction, and stands in the script's own (BEGIN … COMMIT)";

const LASTS: &str = "lasts until its transaction ends, and this script has a transaction for each statement";

/// The first such statement from byte `from` on. Within a transaction of the script's own (`BEGIN` … `COMMIT`) most are as they should be.
///
/// `expected`: whether the text shows that it cannot run as a whole. Then its author has written it statement by statement, and a lock of a transaction
/// is one of its statement.
pub fn obstacle(script: &str, statements: &[Statement], from: usize, expected: bool) -> Option<Obstacle> {
    let mut own = false;
    for statement in statements.iter().filter(|statement| statement.range.start >= from) {
        let text = &script[statement.range.clone()];
        let why = match (&statement.kind, own) {
            (Kind::Begin { .. }, _) => {
                own = true;
                None
            }
            (Kind::Commit { chain } | Kind::Rollback { chain }, _) => {
                own &= chain;
                None
            }
            (Kind::Prepare, _) => {
                Some("leaves its transaction to be ended by others, and this script goes statement by statement")
            }
            (Kind::Alone(_), true) => Some(NOT_IN_ITS_OWN),
            (Kind::Setting, _) if reads_the_rest_otherwise(text) => {
                Some("changes how the text after it is read, and this script goes statement by statement")
            }
            (Kind::SetTransaction, false) => Some(LASTS),
            (Kind::Ordinary | Kind::WithoutSnapshot | Kind::Setting, false) if is_local(text) => Some(LASTS),
            (Kind::Ordinary, false) if !expected && text.to_ascii_lowercase().contains("advisory_xact_lock") => {
                Some(LASTS)
            }
            _ => None,
        };
        if let Some(why) = why {
            return Some(Obstacle {
                range: statement.range.clone(),
                why,
            });
        }
    }
    None
}

/// `client_encoding` and `standard_conforming_strings`: the server reads a message as a whole before it runs any of it.
fn reads_the_rest_otherwise(statement: &str) -> bool {
    let words = Words::all(statement);
    words.has("client_encoding")
        || words.has("standard_conforming_strings")
        || words.has("names")
        || words.has("'client_encoding'")
        || words.has("'standard_conforming_strings'")
}

/// Whether what the statement makes is gone when its transaction ends.
///
/// `SET LOCAL`, `LOCK TABLE`, `ON COMMIT DROP` and the like, also within a `DO`.
pub fn is_local(statement: &str) -> bool {
    let words = Words::all(statement);
    let first = |any_of: &[&str]| words.is(0, any_of);
    if first(&["insert"]) {
        return false;
    }
    (first(&["set"]) && words.is(1, &["local", "constraints"]))
        || first(&["lock", "savepoint"])
        || (first(&["declare"]) && !words.pairs("with", "hold"))
        || (first(&["create", "select"])
            && words.is(1, &["temp", "temporary", "local", "global"])
            && (words.pairs("commit", "drop") || ends_with_rows(&words)))
        || (first(&["select", "with", "("]) && locks_rows(statement))
        // What is defined does not run.
        || (!first(&["create", "alter", "drop", "comment", "grant", "revoke"]) && sets_local(statement, first(&["do"])))
}

fn ends_with_rows(words: &Words<'_>) -> bool {
    words.pairs("commit", "delete") && words.pairs("delete", "rows")
}

/// `FOR UPDATE`, `FOR NO KEY UPDATE`, `FOR SHARE`, `FOR KEY SHARE`.
fn locks_rows(statement: &str) -> bool {
    let words: Vec<&str> = tokens(statement)
        .filter(|(token, _)| *token == TokenKind::Ident)
        .map(|(_, range)| &statement[range])
        .collect();
    let is = |word: Option<&&str>, wanted: &[&str]| {
        word.is_some_and(|word| wanted.iter().any(|one| word.eq_ignore_ascii_case(one)))
    };
    (0..words.len()).any(|at| {
        is(words.get(at), &["for"])
            && (is(words.get(at + 1), &["update", "share"])
                || (is(words.get(at + 1), &["no", "key"]) && is(words.get(at + 2), &["key", "share"])))
    })
}

/// A call of `set_config` that is not said to be for the session, or a text that is run (`DO`) with such a call or a `SET LOCAL` in it.
fn sets_local(statement: &str, runs_text: bool) -> bool {
    let significant: Vec<(TokenKind, &str)> = tokens(statement)
        .filter(|(token, _)| {
            !matches!(
                token,
                TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. }
            )
        })
        .map(|(token, range)| (token, &statement[range]))
        .collect();
    significant.iter().enumerate().any(|(at, (token, text))| match token {
        TokenKind::Ident if text.eq_ignore_ascii_case("set_config") => {
            let arguments = significant.get(at + 1..).unwrap_or_default();
            arguments.first().is_some_and(|(_, open)| *open == "(") && !is_for_the_session(arguments)
        }
        TokenKind::Ident if runs_text && text.eq_ignore_ascii_case("set") => significant
            .get(at + 1)
            .is_some_and(|(_, next)| next.eq_ignore_ascii_case("local") || next.eq_ignore_ascii_case("constraints")),
        TokenKind::Ident if runs_text && text.eq_ignore_ascii_case("commit") => {
            let word = |at: Option<usize>| {
                at.and_then(|at| significant.get(at))
                    .map(|(_, text)| text.to_ascii_lowercase())
            };
            word(at.checked_sub(1)).as_deref() == Some("on")
                && matches!(word(Some(at + 1)).as_deref(), Some("drop" | "delete"))
        }
        TokenKind::Ident if runs_text && text.eq_ignore_ascii_case("lock") => {
            // A command, not a name.
            let before = at
                .checked_sub(1)
                .and_then(|at| significant.get(at))
                .map(|(_, text)| *text);
            let table = significant.get(at + 1).map(|(token, _)| token);
            matches!(table, Some(TokenKind::Ident | TokenKind::QuotedIdent { .. }))
                && [";", "begin", "then", "else", "loop"]
                    .iter()
                    .any(|begins| before.is_none_or(|before| before.eq_ignore_ascii_case(begins)))
        }
        TokenKind::Literal {
            kind: LiteralKind::DollarQuotedString { .. } | LiteralKind::Str { .. } | LiteralKind::EscStr { .. },
        } if runs_text => sets_local(unquoted(text), true),
        _ => false,
    })
}

/// Whether the call whose parenthesis opens here ends with `, false`.
fn is_for_the_session(call: &[(TokenKind, &str)]) -> bool {
    let mut depth = 0usize;
    for (at, (_, text)) in call.iter().enumerate() {
        match *text {
            "(" => depth += 1,
            ")" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let last = at.checked_sub(1).and_then(|at| call.get(at));
                    let comma = at.checked_sub(2).and_then(|at| call.get(at));
                    return last.is_some_and(|(_, text)| {
                        ["false", "'false'", "'f'", "'off'", "'no'", "'0'"]
                            .iter()
                            .any(|no| text.eq_ignore_ascii_case(no))
                    }) && comma.is_some_and(|(_, text)| *text == ",");
                }
            }
            _ => {}
        }
    }
    false
}

/// What stands between a string's quotes.
fn unquoted(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('$')
        && let Some(tag) = rest.find('$')
    {
        let quotes = tag + 2;
        return text.get(quotes..text.len().saturating_sub(quotes)).unwrap_or_default();
    }
    text.trim_start_matches(['E', 'e']).trim_matches('\'')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::script::statements;

    fn first(script: &str) -> Option<&str> {
        obstacle(script, &statements(script), 0, true).map(|found| &script[found.range])
    }

    #[test]
    fn what_ends_with_its_transaction_is_an_obstacle() {
        for statement in [
            "SET LOCAL search_path = tenant",
            "set local role lowly",
            "SELECT set_config('search_path', 'tenant', true)",
            "SELECT pg_catalog.set_config('a.b', note, is_local) FROM t",
            "UPDATE t SET note = set_config('a.b', '1', true)",
            "DO $$ BEGIN PERFORM set_config('a.b', '1', true); END $$",
            "DO $a$ BEGIN EXECUTE 'SET LOCAL search_path = tenant'; END $a$",
            "DO LANGUAGE plpgsql 'BEGIN SET LOCAL a.b = 1; END'",
            "SET CONSTRAINTS ALL DEFERRED",
            "DO $$ BEGIN SET CONSTRAINTS ALL DEFERRED; END $$",
            "DO $$ BEGIN IF true THEN LOCK TABLE t; END IF; END $$",
            "DO $$ BEGIN EXECUTE 'lock t'; END $$",
            "DO $$ BEGIN CREATE TEMP TABLE x (i int) ON COMMIT DROP; END $$",
            "CREATE TEMP TABLE x (id int) ON COMMIT DROP",
            "CREATE TEMPORARY TABLE x ON COMMIT DELETE ROWS AS SELECT 1",
            "LOCK TABLE t",
            "SAVEPOINT a",
            "DECLARE c CURSOR FOR SELECT 1",
            "SELECT * FROM t FOR UPDATE",
            "WITH a AS (SELECT 1 FROM t FOR NO KEY UPDATE) SELECT 1",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET client_encoding = 'LATIN1'",
            "SET NAMES 'LATIN1'",
            "SET standard_conforming_strings = off",
            "PREPARE TRANSACTION 'x'",
        ] {
            assert_eq!(first(&format!("SELECT 1; {statement}; VACUUM")), Some(statement));
        }
    }

    #[test]
    fn what_lasts_is_none() {
        for statement in [
            "SET search_path = tenant",
            "SET lock_timeout = '1s'",
            "SELECT set_config('search_path', 'tenant', false)",
            "SELECT set_config('a.b', (SELECT max(x) FROM t)::text, false)",
            "DO $$ BEGIN PERFORM set_config('a.b', '1', false); END $$",
            "CREATE TEMP TABLE x (id int)",
            "CREATE TEMP TABLE x (id int) ON COMMIT PRESERVE ROWS",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "INSERT INTO t VALUES ('SET LOCAL', 'FOR UPDATE')",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ SELECT set_config('a.b', '1', true) $$",
            "SELECT pg_advisory_xact_lock(1)",
            "CREATE FUNCTION pg_temp.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT 1'",
            "DO $$ BEGIN PERFORM t.lock, lock FROM t WHERE kind = 'lock'; END $$",
            "BEGIN; SET LOCAL search_path = tenant; LOCK TABLE t; COMMIT",
            "CREATE INDEX CONCURRENTLY i ON t (a)",
        ] {
            assert_eq!(first(&format!("SELECT 1; {statement}; VACUUM")), None, "{statement}");
        }
    }

    #[test]
    fn a_lock_of_the_transaction_is_an_obstacle_where_the_script_was_written_as_a_whole() {
        let script = "SELECT pg_advisory_xact_lock(1); ALTER TYPE e ADD VALUE 'b'; INSERT INTO t VALUES ('b')";
        let found = statements(script);
        assert!(obstacle(script, &found, 0, true).is_none());
        assert!(obstacle(script, &found, 0, false).is_some());
    }

    #[test]
    fn a_statement_alone_in_a_transaction_of_the_scripts_own_is_an_obstacle() {
        let script = "BEGIN; CREATE INDEX CONCURRENTLY i ON t (a); COMMIT";
        assert_eq!(first(script), Some("CREATE INDEX CONCURRENTLY i ON t (a)"));
        assert_eq!(first("BEGIN; COMMIT AND CHAIN; VACUUM"), Some("VACUUM"));
        assert_eq!(first("BEGIN; ROLLBACK; VACUUM"), None);
    }
}
