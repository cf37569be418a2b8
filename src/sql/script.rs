//! A script's statements: where each begins and ends, and what it means for the protocol.
//!
//! PostgreSQL's tokens come from `squawk-lexer`; the rule for where a statement ends is psql's own (`psqlscan.l`): a `;` outside parentheses and
//! outside the `BEGIN ATOMIC … END` body of an SQL function. There is no parser behind it, so a script costs no memory beyond its statements' places,
//! and SQL that is newer than this program is split as well as old SQL.

use super::kind::{Alone, Kind, kind, wants_block};
use super::tokens::{tokens, tokens_with};
use squawk_lexer::{LiteralKind, TokenKind};
use std::ops::Range;

/// One statement of a script, without its `;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Bytes from the first token to the end of the last one, comments between statements left out.
    pub range: Range<usize>,
    /// What it means for the protocol.
    pub kind: Kind,
}

/// How the script as a whole is to be sent, as far as its text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One transaction, and one message with the bookkeeping in it.
    Atomic {
        /// Where the head goes, in bytes: 0, or after the statements that must come first in their transaction.
        head: usize,
        /// Where the tail goes, in bytes: before a COMMIT that ends the script; behind the script if there is none.
        tail: Option<usize>,
    },
    /// Several transactions, in one message: the row is committed beforehand.
    Transactions,
    /// As `Transactions`, but what a `PREPARE TRANSACTION` leaves is decided elsewhere.
    Undecidable,
    /// A single statement that cannot run inside a transaction block.
    Alone,
    /// Several statements of which at least one cannot run inside a transaction block.
    StepByStep,
}

/// How the server reads a backslash in an ordinary string constant: `standard_conforming_strings`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strings {
    /// As itself.
    #[default]
    Standard,
    /// As an escape.
    Escapes,
}

/// A script's statements, in order; empty ones are left out.
pub fn statements(script: &str) -> Vec<Statement> {
    statements_with(script, Strings::Standard)
}

/// A script's statements as a server with this setting cuts them.
///
/// What runs only in a transaction block runs beside other statements of its message too, and so beside ours. A script that is nothing else the server
/// refuses; it is not sent with statements of ours.
pub fn statements_with(script: &str, strings: Strings) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut splitter = Splitter::default();
    for (token, range) in tokens_with(script, strings) {
        if let Some(range) = splitter.take(token, range, script) {
            found.push(Statement {
                kind: kind(&script[range.clone()]),
                range,
            });
        }
    }
    if let Some(range) = splitter.current.take() {
        found.push(Statement {
            kind: kind(&script[range.clone()]),
            range,
        });
    }
    if let [only] = &mut found[..]
        && wants_block(&script[only.range.clone()])
    {
        only.kind = Kind::Alone(Box::new(Alone::WantsBlock));
    }
    found
}

/// How the script with these statements is to be sent.
pub fn shape(statements: &[Statement]) -> Shape {
    if statements.iter().any(|s| matches!(s.kind, Kind::Alone(_))) {
        return if statements.len() == 1 {
            Shape::Alone
        } else {
            Shape::StepByStep
        };
    }
    if statements.iter().any(|s| s.kind == Kind::Prepare) {
        return Shape::Undecidable;
    }
    let ends = |s: &&Statement| matches!(s.kind, Kind::Commit { .. } | Kind::Rollback { .. });
    let head = head(statements).unwrap_or(0);
    match (statements.iter().filter(ends).count(), statements.last()) {
        (0, _) => Shape::Atomic { head, tail: None },
        (1, Some(last)) if last.kind == (Kind::Commit { chain: false }) => Shape::Atomic {
            head,
            tail: Some(last.range.start),
        },
        _ => Shape::Transactions,
    }
}

/// Where a statement of ours may first stand: SET TRANSACTION and the modes of BEGIN must come before a transaction's first query.
pub fn head(statements: &[Statement]) -> Option<usize> {
    statements
        .iter()
        .take_while(|s| {
            matches!(
                s.kind,
                Kind::Begin { .. } | Kind::SetTransaction | Kind::Setting | Kind::WithoutSnapshot
            )
        })
        .filter(|s| matches!(s.kind, Kind::Begin { modes: true } | Kind::SetTransaction))
        .last()
        .map(|s| s.range.end)
}

/// Whether the only transaction control is a leading `BEGIN` and one `COMMIT` with nothing after it: then a row that the script's own commit made
/// visible proves that all of the script is in.
pub fn is_enclosed(statements: &[Statement]) -> bool {
    let Some(([first, middle @ ..], last)) = statements.split_last().map(|(last, rest)| (rest, last)) else {
        return false;
    };
    matches!(first.kind, Kind::Begin { .. })
        && last.kind == (Kind::Commit { chain: false })
        && middle.iter().all(|s| {
            matches!(
                s.kind,
                Kind::Ordinary | Kind::WithoutSnapshot | Kind::Setting | Kind::SetTransaction
            )
        })
}

/// psql's rule for where a statement ends, and closer to the grammar in a function's body: `begin` is a name like any other unless `ATOMIC` follows
/// it, and `case` and `end` are labels behind `AS` or a dot.
#[derive(Default)]
struct Splitter {
    current: Option<Range<usize>>,
    parentheses: usize,
    /// How far the statement's first words are those of a routine's definition.
    opening: Opening,
    /// How many of BEGIN ATOMIC and CASE are open in a function's body.
    bodies: usize,
    previous: Previous,
}

/// The token before, as far as it decides what a word means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Previous {
    Begin,
    /// `AS` or a dot: a name follows, whatever it is.
    Label,
    #[default]
    Other,
}

impl Splitter {
    /// Takes the next token; the statement's place when this token ended it.
    fn take(&mut self, token: TokenKind, range: Range<usize>, script: &str) -> Option<Range<usize>> {
        match token {
            TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. } => return None,
            TokenKind::Semi if self.parentheses == 0 && self.bodies == 0 => {
                self.opening = Opening::default();
                self.previous = Previous::Other;
                return self.current.take();
            }
            TokenKind::OpenParen => self.parentheses += 1,
            TokenKind::CloseParen => self.parentheses = self.parentheses.saturating_sub(1),
            TokenKind::Ident => self.word(&script[range.clone()]),
            _ => {}
        }
        self.previous = match token {
            TokenKind::Dot => Previous::Label,
            TokenKind::Ident if script[range.clone()].eq_ignore_ascii_case("as") => Previous::Label,
            TokenKind::Ident if script[range.clone()].eq_ignore_ascii_case("begin") => Previous::Begin,
            _ => Previous::Other,
        };
        match &mut self.current {
            Some(current) => current.end = range.end,
            none => *none = Some(range),
        }
        None
    }

    fn word(&mut self, word: &str) {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        self.opening = match self.opening {
            Opening::Nothing if is("create") => Opening::Create,
            Opening::Create if is("or") => Opening::Or,
            Opening::Or if is("replace") => Opening::Replace,
            Opening::Create | Opening::Replace if is("function") || is("procedure") => Opening::Routine,
            Opening::Routine => Opening::Routine,
            _ => Opening::Other,
        };
        if self.parentheses > 0 || self.opening != Opening::Routine {
            return;
        }
        match (self.bodies, self.previous) {
            (0, Previous::Begin) if is("atomic") => self.bodies = 1,
            (0, _) | (_, Previous::Label) => {}
            _ if is("case") => self.bodies += 1,
            _ if is("end") => self.bodies -= 1,
            _ => {}
        }
    }
}

/// `CREATE [OR REPLACE] FUNCTION` or `PROCEDURE`, as far as it has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opening {
    #[default]
    Nothing,
    Create,
    Or,
    Replace,
    Routine,
    /// The statement is another.
    Other,
}

/// Whether the text ends inside a quote or a comment that nothing closes.
pub fn is_unterminated(script: &str) -> bool {
    tokens(script).any(|(token, _)| match token {
        TokenKind::BlockComment { terminated } | TokenKind::QuotedIdent { terminated, .. } => !terminated,
        TokenKind::Literal { kind } => match kind {
            LiteralKind::Str { terminated }
            | LiteralKind::NationalStr { terminated }
            | LiteralKind::ByteStr { terminated }
            | LiteralKind::BitStr { terminated }
            | LiteralKind::DollarQuotedString { terminated }
            | LiteralKind::UnicodeEscStr { terminated }
            | LiteralKind::EscStr { terminated } => !terminated,
            LiteralKind::Int { .. } | LiteralKind::Numeric { .. } => false,
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<&str> {
        statements(script).into_iter().map(|s| &script[s.range]).collect()
    }

    #[test]
    fn statements_end_where_psql_ends_them() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" ;; -- nothing\n/* ; */ ;", &[]),
            ("SELECT 1; SELECT 2", &["SELECT 1", "SELECT 2"]),
            (
                "-- a;b\nSELECT ';' -- ;\n;SELECT \";\";",
                &["SELECT ';'", "SELECT \";\""],
            ),
            (
                "SELECT E'\\';' ; SELECT 'it''s;'",
                &["SELECT E'\\';'", "SELECT 'it''s;'"],
            ),
            ("SELECT E'a'\n'\\';' ; SELECT 1", &["SELECT E'a'\n'\\';'", "SELECT 1"]),
            (
                "DO $a$ BEGIN; $$ ; $b$ END $a$; SELECT 1",
                &["DO $a$ BEGIN; $$ ; $b$ END $a$", "SELECT 1"],
            ),
            ("/* /* ; */ ; */ SELECT 1;", &["SELECT 1"]),
            (
                "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3",
                &["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", "SELECT 3"],
            ),
            (
                "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3",
                &[
                    "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
                    "SELECT 3",
                ],
            ),
            (
                "CREATE FUNCTION s.begin(case_ int) RETURNS int AS 'x' LANGUAGE sql; SELECT 2",
                &[
                    "CREATE FUNCTION s.begin(case_ int) RETURNS int AS 'x' LANGUAGE sql",
                    "SELECT 2",
                ],
            ),
            (
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; SELECT t.end, begin FROM t; END; SELECT 2",
                &[
                    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; SELECT t.end, begin FROM t; END",
                    "SELECT 2",
                ],
            ),
            (
                "SELECT $1;SELECT a$b$c;SELECT 1",
                &["SELECT $1", "SELECT a$b$c", "SELECT 1"],
            ),
            ("\u{feff}SELECT 'é'; SELECT 2", &["SELECT 'é'", "SELECT 2"]),
        ];
        for (script, expected) in cases {
            assert_eq!(texts(script), *expected, "{script}");
        }
    }

    #[test]
    fn the_shape_follows_from_the_statements() {
        let whole = |head| Shape::Atomic { head, tail: None };
        let enclosed = |head, tail| Shape::Atomic { head, tail: Some(tail) };
        let cases: &[(&str, Shape)] = &[
            ("", whole(0)),
            ("CREATE TABLE a (id int); CREATE TABLE b (id int)", whole(0)),
            ("BEGIN; SELECT 1; COMMIT", enclosed(0, 17)),
            ("SELECT 1; COMMIT; SELECT 2", Shape::Transactions),
            ("SELECT 1; END AND CHAIN", Shape::Transactions),
            ("BEGIN; SELECT 1", whole(0)),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 1", whole(44)),
            ("BEGIN; SET TRANSACTION READ WRITE; SELECT 1; COMMIT", enclosed(33, 45)),
            ("SELECT 1; SET TRANSACTION READ WRITE", whole(0)),
            ("BEGIN; SELECT 1; ROLLBACK", Shape::Transactions),
            ("BEGIN; PREPARE TRANSACTION 'x'", Shape::Undecidable),
            ("BEGIN; ROLLBACK; VACUUM", Shape::StepByStep),
            ("VACUUM", Shape::Alone),
            ("LOCK TABLE t IN SHARE MODE; -- and nothing else", Shape::Alone),
            ("declare c cursor for select 1", Shape::Alone),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", whole(0)),
            ("LOCK TABLE t; SELECT 1", whole(0)),
            ("BEGIN; LOCK TABLE t; COMMIT", enclosed(0, 21)),
            (
                "SET lock_timeout = 0; CREATE INDEX CONCURRENTLY i ON t (a)",
                Shape::StepByStep,
            ),
        ];
        for (script, expected) in cases {
            assert_eq!(shape(&statements(script)), *expected, "{script}");
        }
    }

    #[test]
    fn a_script_is_enclosed_by_one_leading_begin_and_one_last_commit() {
        let cases = [
            ("BEGIN; SELECT 1; COMMIT;", true),
            ("START TRANSACTION; SET x.y = 1; SELECT 1; END -- done", true),
            ("SET x.y = 1; BEGIN; SELECT 1; COMMIT", false),
            ("BEGIN; SELECT 1; COMMIT; SELECT 2", false),
            ("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; COMMIT", false),
            ("BEGIN; SELECT 1; COMMIT AND CHAIN", false),
            ("BEGIN; SELECT 1", false),
            ("COMMIT", false),
            ("", false),
        ];
        for (script, expected) in cases {
            assert_eq!(is_enclosed(&statements(script)), expected, "{script}");
        }
    }

    #[test]
    fn an_open_quote_or_comment_is_seen() {
        for script in [
            "SELECT 'a",
            "SELECT \"a",
            "SELECT $x$ a $y$",
            "/* /* */",
            "SELECT E'\\'",
        ] {
            assert!(is_unterminated(script), "{script}");
        }
        for script in ["SELECT 'a'", "-- 'a", "SELECT $x$ ' $x$", "/* ' */"] {
            assert!(!is_unterminated(script), "{script}");
        }
    }
}
