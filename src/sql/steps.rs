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
}

/// Where a note goes, and what it proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it stands, in bytes of the script: before the COMMIT, or at the end of the step.
    pub at: usize,
    /// The end of what is committed with it, in bytes of the script.
    pub end: usize,
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
            let mut step = step(script, rest);
            step.range = 0..script.len();
            if !matches!(only.kind, Kind::Commit { .. }) {
                let end = script.len();
                step.notes = vec![Note { at: end, end }];
            }
            vec![step]
        }
        (Cut::Transactions, _) => vec![Step {
            chained,
            ..step(script, rest)
        }],
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
                found.push(Step {
                    chained,
                    ..step(script, group)
                });
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

/// Whether a script can be gone on with from this place: not in a chain of transactions whose modes were set where it began.
pub fn can_begin_at(statements: &[Statement], at: usize) -> bool {
    let before = &statements[..statements.partition_point(|statement| statement.range.start < at)];
    let sets_modes =
        |statement: &&Statement| matches!(statement.kind, Kind::Begin { modes: true } | Kind::SetTransaction);
    !before.last().is_some_and(chains)
        || before
            .iter()
            .rev()
            .take_while(|statement| !ends_transaction(statement))
            .all(|statement| !sets_modes(&statement))
}

/// COMMIT or ROLLBACK without AND CHAIN.
fn ends_transaction(statement: &Statement) -> bool {
    matches!(
        statement.kind,
        Kind::Commit { chain: false } | Kind::Rollback { chain: false }
    )
}

/// These statements as one message.
fn step(script: &str, group: &[Statement]) -> Step {
    let range = group.first().map_or(0, |first| first.range.start)..group.last().map_or(0, |last| last.range.end);
    let mut notes = Vec::new();
    let mut read_only = false;
    // A read-only transaction takes no note, and leaves nothing that a note would have to prove.
    let mut any_read_only = false;
    let mut open = false;
    for statement in group {
        let text = || &script[statement.range.clone()];
        match statement.kind {
            Kind::Begin { .. } | Kind::SetTransaction => {
                read_only |= is_read_only(text());
                any_read_only |= read_only;
                open = true;
            }
            Kind::Commit { chain } => {
                if !read_only {
                    notes.push(Note {
                        at: statement.range.start,
                        end: statement.range.end,
                    });
                }
                read_only &= chain;
                open = chain;
            }
            Kind::Rollback { chain } => {
                read_only &= chain;
                open = chain;
            }
            _ => open = true,
        }
    }
    // What AND CHAIN has opened is still to be ended.
    let last_is_commit = group.last().is_some_and(|last| {
        last.kind == (Kind::Commit { chain: false }) && notes.last().is_some_and(|note| note.end == last.range.end)
    });
    let whole_is_read_only = any_read_only && notes.is_empty() && !open;
    if !last_is_commit {
        notes.push(Note {
            at: range.end,
            end: range.end,
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
        chained: false,
        notes,
        alone,
        leaves_session: group
            .iter()
            .all(|statement| leaves_session(&script[statement.range.clone()])),
        range,
    }
}

/// Whether BEGIN or SET TRANSACTION says READ ONLY.
fn is_read_only(statement: &str) -> bool {
    let words = Words::of(statement);
    words.pairs("read", "only")
        || words.pairs("transaction_read_only", "on")
        || words.pairs("transaction_read_only", "true")
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
    words.is(0, &INERT)
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
        assert!(can_begin_at(&found, at));
        let script = "BEGIN READ WRITE, ISOLATION LEVEL SERIALIZABLE; a; COMMIT AND CHAIN; b; COMMIT; d";
        let found = statements(script);
        assert!(!can_begin_at(&found, found[2].range.end));
        assert!(can_begin_at(&found, found[4].range.end));
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
