//! A script as the messages that it is sent in: where each begins and ends, and where our notes go.
//!
//! A script that is sent as a whole is one message. A script with several transactions of its own is one message too, with a note of ours before each of its
//! commits. A script that the server refuses as a whole goes statement by statement; a transaction of its own stays one message there.

use super::kind::{Alone, Kind, Words};
use super::script::Statement;
use crate::migration::hex;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// What is sent as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its bytes in the script.
    pub range: Range<usize>,
    /// Where statements of ours may first stand, in bytes of the script: behind what must come before its transaction's first query.
    pub head: usize,
    /// Whether it begins within a transaction that an AND CHAIN before it has opened.
    pub chained: bool,
    /// Its transactions that can hold a note, in order.
    pub notes: Vec<Note>,
    /// Set if it cannot run in a transaction.
    pub alone: Option<Alone>,
    /// Whether its text cannot change what later statements find in the session.
    pub leaves_session: bool,
    /// Whether it ends within a transaction that it has begun.
    pub left_open: bool,
    /// Whether a transaction of it is READ WRITE by name, whatever the session's default is.
    pub read_write: bool,
}

/// Where a note goes, and what it proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it stands, in bytes of the script: before the COMMIT, or at the end of the step; in a transaction that becomes READ ONLY on its way, before that.
    pub at: usize,
    /// The end of what is committed with it, in bytes of the script.
    pub end: usize,
    /// Whether statements of the script come between the two that may change its session.
    pub early: bool,
}

/// How a script is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// One message from here to the end, with a note in each transaction.
    Transactions,
    /// A message for each statement and for each transaction of the script's own.
    Statements,
}

/// The messages of a script from byte `from` on, which is the end of a statement, or 0.
pub fn steps(script: &str, statements: &[Statement], from: usize, cut: Cut) -> Vec<Step> {
    let (before, rest) = statements.split_at(statements.partition_point(|statement| statement.range.start < from));
    let chained = before.last().is_some_and(chains);
    match (cut, rest) {
        (_, []) => Vec::new(),
        // Comments and all, as its author wrote it.
        (Cut::Statements, [only]) if statements.len() == 1 => {
            let mut step = step(script, rest, false);
            step.range = 0..script.len();
            if !matches!(only.kind, Kind::Commit { .. }) {
                let end = script.len();
                step.notes = vec![Note {
                    at: end,
                    end,
                    early: false,
                }];
            }
            vec![step]
        }
        (Cut::Transactions, _) => vec![step(script, rest, chained)],
        (Cut::Statements, _) => {
            let mut found = Vec::new();
            let mut rest = rest;
            while let Some(first) = rest.first() {
                let chained = chained && found.is_empty();
                let length = match first.kind {
                    _ if chained => rest.iter().position(ends_transaction).map_or(rest.len(), |at| at + 1),
                    Kind::Begin { .. } => rest.iter().position(ends_transaction).map_or(rest.len(), |at| at + 1),
                    _ => 1,
                };
                let (group, after) = rest.split_at(length);
                rest = after;
                found.push(step(script, group, chained));
            }
            found
        }
    }
}

/// AND CHAIN.
fn chains(statement: &Statement) -> bool {
    matches!(
        statement.kind,
        Kind::Commit { chain: true } | Kind::Rollback { chain: true }
    )
}

/// Whether a script can be gone on with from this place: not in a chain of transactions that has other modes than a BEGIN would give it there. Its modes were
/// set where it began, or the chain has changed the defaults since.
pub fn can_begin_at(script: &str, statements: &[Statement], at: usize) -> bool {
    let before = &statements[..statements.partition_point(|statement| statement.range.start < at)];
    !before.last().is_some_and(chains)
        || before
            .iter()
            .rev()
            .take_while(|statement| !ends_transaction(statement))
            .all(|statement| !sets_modes(statement, &script[statement.range.clone()]))
}

/// Whether it sets the modes of its transaction, or of those that begin after it.
fn sets_modes(statement: &Statement, text: &str) -> bool {
    if matches!(statement.kind, Kind::Begin { modes: true } | Kind::SetTransaction) {
        return true;
    }
    let text = text.to_ascii_lowercase();
    text.starts_with("reset") || text.contains("default_transaction_") || text.contains("session characteristics")
}

/// COMMIT or ROLLBACK without AND CHAIN.
fn ends_transaction(statement: &Statement) -> bool {
    matches!(
        statement.kind,
        Kind::Commit { chain: false } | Kind::Rollback { chain: false }
    )
}

/// These statements as one message.
fn step(script: &str, group: &[Statement], chained: bool) -> Step {
    let range = group.first().map_or(0, |first| first.range.start)..group.last().map_or(0, |last| last.range.end);
    let mut notes = Vec::new();
    let (mut transaction, mut any_read_only, mut read_write) = (Transaction::default(), false, false);
    let (mut open, mut begun) = (false, chained);
    let changes_session = |from: usize, to: usize| {
        let between = |statement: &&Statement| from <= statement.range.start && statement.range.end <= to;
        let mut between = group.iter().filter(between);
        between.any(|statement| !leaves_session(&script[statement.range.clone()]))
    };
    for statement in group {
        let text = || &script[statement.range.clone()];
        match statement.kind {
            Kind::Commit { chain } | Kind::Rollback { chain } => {
                if let (Kind::Commit { .. }, Some(at)) = (&statement.kind, transaction.note(statement.range.start)) {
                    notes.push(Note {
                        at,
                        end: statement.range.end,
                        early: changes_session(at, statement.range.start),
                    });
                }
                transaction = transaction.ended(chain);
                (open, begun) = (chain, chain);
            }
            Kind::Begin { .. } | Kind::SetTransaction | Kind::Setting | Kind::WithoutSnapshot => {
                open = true;
                begun |= matches!(statement.kind, Kind::Begin { .. });
                match access(text()) {
                    Some(Access::ReadOnly) => {
                        any_read_only = true;
                        transaction.read_only(statement.range.start);
                    }
                    Some(Access::ReadWrite) => {
                        read_write = true;
                        transaction.read_only = None;
                    }
                    None => {}
                }
            }
            _ => {
                open = true;
                transaction.used = true;
            }
        }
    }
    // What AND CHAIN has opened is still to be ended.
    let last_is_commit = group.last().is_some_and(|last| {
        last.kind == (Kind::Commit { chain: false }) && notes.last().is_some_and(|note| note.end == last.range.end)
    });
    let whole_is_read_only = any_read_only && !read_write && notes.is_empty() && !open;
    if !last_is_commit {
        let at = transaction.note(range.end).unwrap_or(range.end);
        notes.push(Note {
            at,
            end: range.end,
            early: changes_session(at, range.end),
        });
    }
    let alone = match group {
        [only] => match &only.kind {
            Kind::Alone(alone) => Some(alone.as_ref().clone()),
            _ => None,
        },
        // It can be run again, and where it is sent by itself nothing need be written in it.
        _ if whole_is_read_only => Some(Alone::Repeatable { concurrently: false }),
        _ => None,
    };
    Step {
        head: super::script::head(group).unwrap_or(range.start),
        chained,
        left_open: begun,
        read_write,
        notes,
        alone,
        leaves_session: group
            .iter()
            .all(|statement| leaves_session(&script[statement.range.clone()])),
        range,
    }
}

/// Whether the transaction at hand can write, and so take a note.
///
/// A transaction may become READ ONLY at any time, also after it has written. READ WRITE it can become again only before its first query (PostgreSQL's
/// documentation, "SET TRANSACTION").
#[derive(Clone, Copy, Debug, Default)]
struct Transaction {
    /// Whether anything ran in it that may have written.
    used: bool,
    /// Set if it is READ ONLY.
    read_only: Option<ReadOnly>,
}

#[derive(Clone, Copy, Debug)]
struct ReadOnly {
    /// The statement that says so, in bytes of the script.
    at: usize,
    /// Whether something ran before that.
    used: bool,
}

impl Transaction {
    fn read_only(&mut self, at: usize) {
        let used = self.used;
        self.read_only.get_or_insert(ReadOnly { at, used });
    }

    /// Where its note goes, `end` being its end; nowhere if it can have left nothing that a note would have to prove.
    fn note(&self, end: usize) -> Option<usize> {
        match self.read_only {
            None => Some(end),
            Some(ReadOnly { at, used: true }) => Some(at),
            Some(ReadOnly { used: false, .. }) => None,
        }
    }

    /// The one that comes after it.
    fn ended(self, chain: bool) -> Transaction {
        let read_only = self.read_only.filter(|_| chain);
        Transaction {
            used: false,
            read_only: read_only.map(|before| ReadOnly { used: false, ..before }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadOnly,
    ReadWrite,
}

/// What BEGIN or SET says of its transaction; READ WRITE too if it cannot be told: a note that cannot be written rolls its transaction back.
fn access(statement: &str) -> Option<Access> {
    let words = Words::of(statement);
    let read_only = words.pairs("read", "only")
        || words.pairs("transaction_read_only", "on")
        || words.pairs("transaction_read_only", "true");
    let named = words.has("transaction_read_only") || words.has("'transaction_read_only'");
    // SET SESSION CHARACTERISTICS is for the transactions that follow.
    match (words.has("characteristics"), words.pairs("read", "write"), read_only) {
        (true, ..) => None,
        (_, false, true) => Some(Access::ReadOnly),
        (_, true, _) => Some(Access::ReadWrite),
        (_, false, false) => named.then_some(Access::ReadWrite),
    }
}

/// Modes of the transaction at hand, which end with it.
fn sets_transaction(words: &Words<'_>) -> bool {
    const MODES: [&str; 4] = [
        "transaction",
        "transaction_isolation",
        "transaction_read_only",
        "transaction_deferrable",
    ];
    words.is(0, &["set"]) && (words.is(1, &MODES) || (words.is(1, &["local"]) && words.is(2, &MODES[1..])))
}

/// Whether a statement's text cannot change what later statements find in the session: settings, the role, temporary objects, prepared statements,
/// cursors. A trigger could all the same; the session is looked at after each step.
pub fn leaves_session(statement: &str) -> bool {
    const INERT: [&str; 26] = [
        "alter",
        "analyze",
        "begin",
        "cluster",
        "comment",
        "commit",
        "copy",
        "create",
        "delete",
        "drop",
        "end",
        "grant",
        "import",
        "insert",
        "merge",
        "notify",
        "reassign",
        "refresh",
        "reindex",
        "release",
        "revoke",
        "savepoint",
        "security",
        "truncate",
        "update",
        "vacuum",
    ];
    let words = Words::of(statement);
    // A new function's or table's text may hold these words and run nothing; that costs a look at the session.
    (words.is(0, &INERT) || sets_transaction(&words))
        && !words.is(1, &["temp", "temporary", "local", "global"])
        && !statement.to_ascii_lowercase().contains("set_config")
}

/// A point that a script can be gone on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Bytes from the script's beginning.
    pub at: usize,
    /// SHA-256 of the text before it, with line feeds for carriage returns and line feeds.
    pub text: String,
    /// SHA-256 of its bytes, as builds before this one wrote it.
    pub raw: String,
}

/// The script's beginning, the end of each of its statements, and its end, with the hashes of the text before each, all made in one pass.
pub fn boundaries(script: &str, statements: &[Statement]) -> Vec<Boundary> {
    let ends = statements.iter().map(|statement| statement.range.end);
    let (mut text, mut raw, mut before) = (Sha256::new(), Sha256::new(), 0);
    let mut found: Vec<Boundary> = Vec::with_capacity(statements.len() + 2);
    for at in [0].into_iter().chain(ends).chain([script.len()]) {
        let part = &script[before..at];
        raw.update(part);
        let mut lines = part.split("\r\n");
        if let Some(first) = lines.next() {
            text.update(first);
        }
        for line in lines {
            text.update("\n");
            text.update(line);
        }
        before = at;
        if found.last().is_some_and(|last| last.at == at) {
            continue;
        }
        found.push(Boundary {
            at,
            text: hexadecimal(text.clone()),
            raw: hexadecimal(raw.clone()),
        });
    }
    found
}

fn hexadecimal(hash: Sha256) -> String {
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::script::statements;

    fn texts(script: &str, cut: Cut) -> Vec<String> {
        let shown = |step: Step| {
            let mut text = script[step.range.clone()].to_owned();
            for note in step.notes.iter().rev() {
                text.insert(note.at - step.range.start, '^');
            }
            text
        };
        steps(script, &statements(script), 0, cut)
            .into_iter()
            .map(shown)
            .collect()
    }

    #[test]
    fn notes_stand_before_each_commit() {
        let cases: &[(&str, Cut, &[&str])] = &[
            ("a; b; COMMIT; c", Cut::Transactions, &["a; b; ^COMMIT; c^"]),
            (
                "BEGIN; a; COMMIT; BEGIN; b; END;",
                Cut::Transactions,
                &["BEGIN; a; ^COMMIT; BEGIN; b; ^END"],
            ),
            ("BEGIN; a; ROLLBACK; b", Cut::Transactions, &["BEGIN; a; ROLLBACK; b^"]),
            ("BEGIN; a; ROLLBACK", Cut::Transactions, &["BEGIN; a; ROLLBACK^"]),
            (
                "BEGIN READ ONLY; a; COMMIT; b; COMMIT AND CHAIN; c",
                Cut::Transactions,
                &["BEGIN READ ONLY; a; COMMIT; b; ^COMMIT AND CHAIN; c^"],
            ),
            (
                "BEGIN; a; COMMIT AND CHAIN; b; COMMIT; c",
                Cut::Statements,
                &["BEGIN; a; ^COMMIT AND CHAIN; b; ^COMMIT", "c^"],
            ),
            ("a; VACUUM; BEGIN; b", Cut::Statements, &["a^", "VACUUM^", "BEGIN; b^"]),
            ("a -- that is all", Cut::Statements, &["a -- that is all^"]),
        ];
        for (script, cut, expected) in cases {
            assert_eq!(texts(script, *cut), *expected, "{script}");
        }
    }

    #[test]
    fn a_resumed_script_is_cut_behind_what_is_done() {
        let script = "BEGIN; a; COMMIT; BEGIN; b; COMMIT;";
        let rest = steps(script, &statements(script), 17, Cut::Transactions);
        assert_eq!(&script[rest[0].range.clone()], "BEGIN; b; COMMIT");
        assert_eq!(steps(script, &statements(script), script.len(), Cut::Transactions), []);
    }

    #[test]
    fn what_follows_a_chain_is_one_transaction() {
        let script = "BEGIN; a; COMMIT AND CHAIN; b; c; COMMIT; d";
        let found = statements(script);
        let at = found[2].range.end;
        let rest = steps(script, &found, at, Cut::Statements);
        let shown: Vec<_> = rest
            .iter()
            .map(|step| (&script[step.range.clone()], step.chained))
            .collect();
        assert_eq!(shown, [("b; c; COMMIT", true), ("d", false)]);
        assert!(can_begin_at(script, &found, at));
    }

    #[test]
    fn nothing_begins_in_a_chain_with_modes_of_its_own() {
        for script in [
            "BEGIN READ WRITE, ISOLATION LEVEL SERIALIZABLE; a; COMMIT AND CHAIN; b; COMMIT; d",
            "BEGIN; SET TRANSACTION READ WRITE; COMMIT AND CHAIN; b; COMMIT; d",
            "BEGIN; SET default_transaction_read_only = on; COMMIT AND CHAIN; b; COMMIT; d",
            "BEGIN; SELECT set_config('DEFAULT_TRANSACTION_ISOLATION', 'serializable', false); ROLLBACK AND CHAIN; b; COMMIT; d",
            "BEGIN; SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; COMMIT AND CHAIN; b; COMMIT; d",
            "BEGIN; RESET ALL; COMMIT AND CHAIN; b; COMMIT; d",
        ] {
            let found = statements(script);
            assert!(!can_begin_at(script, &found, found[2].range.end), "{script}");
            assert!(can_begin_at(script, &found, found[4].range.end), "{script}");
        }
        // In one message the SET is part of the transaction.
        let within = "SET default_transaction_read_only = on; BEGIN; a; COMMIT AND CHAIN; b; COMMIT";
        let found = statements(within);
        assert!(!can_begin_at(within, &found, found[3].range.end));
        let before = "SET default_transaction_read_only = on; COMMIT; BEGIN; a; COMMIT AND CHAIN; b; COMMIT";
        let found = statements(before);
        assert!(can_begin_at(before, &found, found[4].range.end));
    }

    #[test]
    fn a_transaction_that_becomes_read_only_takes_its_note_before_that() {
        let notes = |script: &str| -> Vec<String> {
            let found = steps(script, &statements(script), 0, Cut::Transactions);
            let before = |note: &Note| {
                script[note.at..]
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            found[0].notes.iter().map(before).collect()
        };
        for (script, expected) in [
            ("BEGIN; a; COMMIT; BEGIN; b; COMMIT", &["COMMIT", "COMMIT"][..]),
            ("BEGIN READ ONLY; a; COMMIT; BEGIN; b; COMMIT", &["COMMIT"]),
            (
                "BEGIN; a; SET TRANSACTION READ ONLY; b; COMMIT; c; COMMIT",
                &["SET TRANSACTION READ ONLY", "COMMIT"],
            ),
            (
                "a; BEGIN READ ONLY; b; COMMIT; c; COMMIT",
                &["BEGIN READ ONLY", "COMMIT"],
            ),
            (
                "BEGIN; a; SET transaction_read_only = on; COMMIT AND CHAIN; b; COMMIT; c; COMMIT",
                &["SET transaction_read_only = on", "COMMIT"],
            ),
            (
                "BEGIN; SET x = 1; SET TRANSACTION READ ONLY; b; COMMIT; c; COMMIT",
                &["COMMIT"],
            ),
            (
                "BEGIN READ ONLY; SET TRANSACTION READ WRITE; a; COMMIT; b; COMMIT",
                &["COMMIT", "COMMIT"],
            ),
            (
                "BEGIN READ ONLY; SET LOCAL transaction_read_only = off; a; COMMIT; b; COMMIT",
                &["COMMIT", "COMMIT"],
            ),
            (
                "a; ROLLBACK; b; SET TRANSACTION READ ONLY",
                &["SET TRANSACTION READ ONLY"],
            ),
        ] {
            assert_eq!(notes(script), expected, "{script}");
        }
    }

    #[test]
    fn line_ends_do_not_change_a_boundary() {
        let (unix, dos) = ("a;\nb;\n", "a;\r\nb;\r\n");
        let of = |script: &str| -> Vec<String> {
            boundaries(script, &statements(script))
                .into_iter()
                .map(|b| b.text)
                .collect()
        };
        assert_eq!(of(unix), of(dos));
        assert_eq!(of(unix).len(), 4);
        assert_ne!(of("a;\nb;\n")[2], of("a;\nc;\n")[2]);
    }
}
