//! The two messages of the protocol: what is sent around a script, and what decides afterwards.
//!
//! The server runs one simple-query message as one implicit transaction (PostgreSQL's documentation, "Multiple Statements in a Simple Query"), so
//! the row that the head inserts, the script and the row's end in the tail commit together. See `docs/architecture.md`.

use crate::database::lock;
use crate::database::session::{RUN_ID_SETTING, Session};
use crate::history::Ledger;
use crate::sql::assertion::Assertion;
use crate::sql::quote;
use crate::sql::script::Statement;
use std::ops::Range;

/// A script, or a part of it, with our statements in it, and what is needed to find a place of the script again.
#[derive(Debug)]
pub struct Message {
    /// What is sent.
    pub text: String,
    pieces: Vec<Piece>,
}

/// Statements of ours and where they stand.
#[derive(Debug)]
pub struct Insert {
    /// In bytes of the script: a statement's beginning or end.
    pub at: usize,
    /// Without a final `;`.
    pub statements: Vec<String>,
    /// What they are.
    pub part: Part,
}

/// What statements of ours are in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// They come first: if they fail, nothing of the script has run.
    Head,
    /// They close or note what came before.
    Tail,
}

/// A stretch of a message.
#[derive(Debug)]
enum Piece {
    Script {
        range: Range<usize>,
        length: usize,
    },
    Ours {
        part: Part,
        length: usize,
        statements: usize,
    },
}

/// Where a position in the message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In our head.
    Head,
    /// In the script: characters from its beginning, counted from 0.
    Script(usize),
    /// In a note or in the tail.
    Tail,
}

/// Which statement of a message failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// One of our head.
    Head,
    /// The script's statement of this index.
    Script(usize),
    /// One of our notes or of our tail.
    Tail,
    /// None: the commit at the end, by a deferred constraint or trigger.
    Commit,
}

impl Message {
    /// Puts `head` into the script at byte `at` (a statement's end, or 0), and `tail` after the script. Either may be empty.
    pub fn new(script: &str, at: usize, head: Vec<String>, tail: Vec<String>) -> Message {
        let inserts = vec![
            Insert {
                at,
                statements: head,
                part: Part::Head,
            },
            Insert {
                at: script.len(),
                statements: tail,
                part: Part::Tail,
            },
        ];
        Message::weave(script, 0..script.len(), inserts)
    }

    /// The part of a script with our statements in it; `inserts` are in the order of their places.
    pub fn weave(script: &str, range: Range<usize>, inserts: Vec<Insert>) -> Message {
        let mut message = Message {
            text: String::with_capacity(range.len() + 1024),
            pieces: Vec::new(),
        };
        let mut at = range.start;
        for insert in inserts.into_iter().filter(|insert| !insert.statements.is_empty()) {
            message.push_script(script, at..insert.at);
            at = insert.at;
            let before = message.text.len();
            if at == range.end && at > range.start {
                // A script may end in a comment without a newline, or without its last `;`.
                message.text.push_str("\n;");
            } else if at > range.start {
                message.text.push_str("; ");
            }
            for statement in &insert.statements {
                message.text.push_str(statement);
                message.text.push_str(if at == range.end { ";" } else { "; " });
            }
            message.pieces.push(Piece::Ours {
                part: insert.part,
                length: message.text[before..].chars().count(),
                statements: insert.statements.len(),
            });
        }
        message.push_script(script, at..range.end);
        message
    }

    fn push_script(&mut self, script: &str, range: Range<usize>) {
        let text = &script[range.clone()];
        self.text.push_str(text);
        let length = text.chars().count();
        self.pieces.push(Piece::Script { range, length });
    }

    /// Which statement failed when this many were completed; `statements` are those of the whole script.
    pub fn failed(&self, completed: usize, statements: &[Statement]) -> Failed {
        let mut left = completed;
        for piece in &self.pieces {
            match piece {
                Piece::Script { range, .. } => {
                    let first = statements.partition_point(|statement| statement.range.start < range.start);
                    let end = statements.partition_point(|statement| statement.range.start < range.end);
                    if left < end - first {
                        return Failed::Script(first + left);
                    }
                    left -= end - first;
                }
                Piece::Ours { part, statements, .. } => {
                    if left < *statements {
                        return match part {
                            Part::Head => Failed::Head,
                            Part::Tail => Failed::Tail,
                        };
                    }
                    left -= statements;
                }
            }
        }
        Failed::Commit
    }

    /// Whether the message's last statement failed when this many were completed; `statements` are those of the whole script. Without a COMMIT at its end,
    /// the server commits before it calls that one completed.
    pub fn is_last(&self, completed: usize, statements: &[Statement]) -> bool {
        let count = |piece: &Piece| match piece {
            Piece::Script { range, .. } => {
                let starts = |statement: &&Statement| range.contains(&statement.range.start);
                statements.iter().filter(starts).count()
            }
            Piece::Ours { statements, .. } => *statements,
        };
        completed + 1 == self.pieces.iter().map(count).sum::<usize>()
    }

    /// Where the server's `position` (characters, from 1) lies; `script` is the one that the message was made of.
    pub fn place(&self, position: u32, script: &str) -> Place {
        let mut left = (position as usize).saturating_sub(1);
        for piece in &self.pieces {
            match piece {
                Piece::Script { range, length } if left < *length => {
                    return Place::Script(script[..range.start].chars().count() + left);
                }
                Piece::Ours { part, length, .. } if left < *length => {
                    return match part {
                        Part::Head => Place::Head,
                        Part::Tail => Place::Tail,
                    };
                }
                Piece::Script { length, .. } | Piece::Ours { length, .. } => left -= length,
            }
        }
        Place::Tail
    }
}

/// What comes before the row is written in the script's own transaction: the script may have changed the role, the timeouts, and how a commit is made
/// durable. `search_path` stays as it is, since deferred triggers still run after it.
pub fn before_close(session: &Session) -> Vec<String> {
    let mut statements = reset();
    let role = session.made_setting("role");
    statements.extend(role.map(|role| format!("SET LOCAL ROLE {}", quote::identifier(role))));
    statements.extend(ours_within(session));
    statements
}

/// Our timeouts, and our durability, until the transaction ends.
fn ours_within(session: &Session) -> [String; 3] {
    let lock_timeout = session.made_setting("lock_timeout");
    [
        "SET LOCAL statement_timeout = 0".to_owned(),
        match lock_timeout {
            Some(made) => format!("SET LOCAL lock_timeout = {}", quote::literal(made)),
            None => "SET LOCAL lock_timeout TO DEFAULT".to_owned(),
        },
        format!("SET LOCAL synchronous_commit = {}", session.durability()),
    ]
}

/// What a migration's head begins with: its name, for whoever looks at pg_stat_activity or at the server's log, and a first statement.
pub fn opening(migration: &str, first: &str) -> String {
    // A comment ends where its text says so, and a name is any text.
    let name = migration.replace(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)), "?");
    format!("/* {name} */ {first}")
}

/// Fails, and the whole message with it, where it came to another backend than the run's.
pub fn at_backend(pid: u32) -> String {
    format!(
        "SELECT {} WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.<>) {pid}",
        Assertion::OurBackend.raise("pg_catalog.pg_backend_pid()")
    )
}

/// What brings a session back to how it began once its role is reset. `settings` makes that again which is not in the startup options. Never
/// DISCARD ALL, which would drop the migration lock.
pub fn fresh(settings: &str) -> Vec<String> {
    let mut statements = as_it_began(settings);
    statements.extend(emptied());
    statements
}

fn as_it_began(settings: &str) -> Vec<String> {
    let settings = Some(settings).filter(|settings| !settings.is_empty());
    ["RESET ALL"].into_iter().chain(settings).map(str::to_owned).collect()
}

fn emptied() -> impl Iterator<Item = String> {
    const HELD: [&str; 5] = [
        "CLOSE ALL",
        "UNLISTEN *",
        "DISCARD TEMP",
        "DISCARD SEQUENCES",
        "DEALLOCATE ALL",
    ];
    HELD.into_iter().map(str::to_owned)
}

/// What is known of the migration lock when a script has been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The script's message has kept it ([`lock::guard`], [`lock::keep`]).
    Kept,
    /// The script may have released it. To look costs the server more than all the rest of a verdict.
    Unknown,
}

/// The verdict: brings the session back to how it began, and reads the row.
///
/// One statement yields the last row: the migration's row as `finished`, `unfinished` or nothing, whether we still hold the lock, the run's id, the row's
/// logs, the backend, and whether a transaction is open that has written. Where one is, or where the server refuses the verdict because one has
/// failed, [`verdict_behind_rollback`] decides: a script that leaves a transaction open without an error has had its row closed in it, and so it has
/// written. A ROLLBACK at once would be right too, but the server writes a warning into its log for each that finds no transaction.
pub fn verdict(ledger: &Ledger, id: &str, settings: &str, lock: Lock) -> String {
    let mut statements = reset();
    statements.extend(as_it_began(settings));
    // Before the temporary tables go: to drop one is to write.
    statements.push(read(ledger, id, lock));
    statements.extend(emptied());
    statements.join("; ")
}

/// The verdict that leaves whatever transaction is open first.
pub fn verdict_behind_rollback(ledger: &Ledger, id: &str, settings: &str) -> String {
    format!("ROLLBACK; {}", verdict(ledger, id, settings, Lock::Unknown))
}

fn reset() -> Vec<String> {
    ["RESET SESSION AUTHORIZATION", "RESET ROLE"].map(str::to_owned).into()
}

/// SQL that reads the row of a script whose session goes on. It is sent as a transaction of ours, after a ROLLBACK in a separate message.
pub fn row(ledger: &Ledger, id: &str) -> String {
    format!(
        "SELECT CASE WHEN finished_at IS NOT NULL THEN 'finished' WHEN id IS NOT NULL THEN 'unfinished' END, \
         EXISTS ({held}), pg_catalog.split_part(logs, pg_catalog.chr(10), 1), pg_catalog.pg_backend_pid() \
         FROM (SELECT) AS always LEFT JOIN {table} ON id OPERATOR(pg_catalog.=) {id} AND rolled_back_at IS NULL",
        held = lock::held(),
        table = ledger.table(),
        id = quote::literal(id),
    )
}

/// A note of ours as part of a script's transaction: it is written as our user, in our role, and what comes after it in the transaction runs as the
/// script's again.
pub fn noted(note: String, session: &Session) -> Vec<String> {
    const USER: &str = "prisma_migrate_task.session_user";
    const ROLE: &str = "prisma_migrate_task.role";
    let mut statements = vec![
        format!(
            "SELECT pg_catalog.set_config('{USER}', session_user, true), \
             pg_catalog.set_config('{ROLE}', pg_catalog.current_setting('role'), true)"
        ),
        "SET LOCAL SESSION AUTHORIZATION DEFAULT".to_owned(),
    ];
    statements.extend(as_ours(session.made_setting("role")));
    statements.extend(ours_within(session));
    statements.push(note);
    statements.push(format!(
        "SELECT pg_catalog.set_config('session_authorization', pg_catalog.current_setting('{USER}'), true), \
         pg_catalog.set_config('role', pg_catalog.current_setting('{ROLE}'), true)"
    ));
    statements
}

/// Our role until the transaction ends.
fn as_ours(role: Option<&str>) -> Vec<String> {
    let mut statements = vec!["SET LOCAL role TO DEFAULT".to_owned()];
    statements.extend(role.map(|role| format!("SET LOCAL ROLE {}", quote::identifier(role))));
    statements
}

/// How many columns the row of a verdict has.
pub const VERDICT_COLUMNS: usize = 6;

fn read(ledger: &Ledger, id: &str, lock: Lock) -> String {
    let lock = match lock {
        Lock::Kept => "true".to_owned(),
        Lock::Unknown => format!("EXISTS ({})", lock::held()),
    };
    format!(
        "SELECT CASE WHEN finished_at IS NOT NULL THEN 'finished' WHEN id IS NOT NULL THEN 'unfinished' END, \
         {lock}, pg_catalog.current_setting('{RUN_ID_SETTING}', true), \
         logs, pg_catalog.pg_backend_pid(), pg_catalog.txid_current_if_assigned() IS NOT NULL \
         FROM (SELECT) AS always LEFT JOIN {table} ON id OPERATOR(pg_catalog.=) {id}",
        table = ledger.table(),
        id = quote::literal(id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::script::statements;

    #[test]
    fn positions_lead_back_to_the_script() {
        let script = "é1; SELECT x";
        let message = Message::new(script, 0, vec!["HEAD".into()], vec!["TAIL".into()]);
        assert_eq!(message.text, "HEAD; é1; SELECT x\n;TAIL;");
        assert_eq!(message.place(1, script), Place::Head);
        assert_eq!(message.place(7, script), Place::Script(0));
        assert_eq!(message.place(18, script), Place::Script(11));
        assert_eq!(message.place(19, script), Place::Tail);
    }

    #[test]
    fn the_head_can_stand_behind_a_first_statement() {
        let script = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT x";
        let message = Message::new(script, 34, vec!["HEAD".into()], Vec::new());
        assert_eq!(message.text, "BEGIN ISOLATION LEVEL SERIALIZABLE; HEAD; ; SELECT x");
        assert_eq!(message.place(1, script), Place::Script(0));
        assert_eq!(message.place(35, script), Place::Head);
        assert_eq!(message.place(43, script), Place::Script(34));
    }

    #[test]
    fn a_note_before_a_commit_is_neither_the_head_nor_the_script() {
        let script = "x; BEGIN; é; COMMIT; y";
        let note = Insert {
            at: script.find("COMMIT").unwrap(),
            statements: vec!["NOTE".into(), "NOTE".into()],
            part: Part::Tail,
        };
        let from = 3;
        let message = Message::weave(script, from..script.len(), vec![note]);
        assert_eq!(message.text, "BEGIN; é; ; NOTE; NOTE; COMMIT; y");
        assert_eq!(message.place(8, script), Place::Script(10));
        assert_eq!(message.place(13, script), Place::Tail);
        assert_eq!(message.place(25, script), Place::Script(13));
        let statements = statements(script);
        let failed: Vec<Failed> = (0..7).map(|completed| message.failed(completed, &statements)).collect();
        assert_eq!(
            failed,
            [
                Failed::Script(1),
                Failed::Script(2),
                Failed::Tail,
                Failed::Tail,
                Failed::Script(3),
                Failed::Script(4),
                Failed::Commit
            ]
        );
    }
}
