//! The two messages of the protocol: what is sent around a script, and what decides afterwards.
//!
//! The server runs one simple-query message as one implicit transaction (PostgreSQL's documentation, "Multiple Statements in a Simple Query"), so
//! the row that the head inserts, the script and the row's end in the tail commit together. See `docs/architecture.md`.

use crate::database::lock;
use crate::database::session::RUN_ID_SETTING;
use crate::history::Ledger;
use crate::sql::assertion::raise;
use crate::sql::quote;
use crate::sql::script::Statement;

/// A script with our statements around it, and what is needed to find a place of the script in it again.
#[derive(Debug)]
pub struct Message {
    /// What is sent.
    pub text: String,
    /// Where the head stands, in characters.
    head_at: usize,
    /// How long the head is, in characters.
    head_length: usize,
    /// The script's length in characters.
    script_length: usize,
    /// Where the head stands, in bytes of the script.
    head_byte: usize,
    /// How many statements the head has.
    head_statements: usize,
    /// How many statements the tail has.
    tail_statements: usize,
}

/// Where a position in the message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In our head.
    Head,
    /// In the script: characters from its beginning, counted from 0.
    Script(usize),
    /// Behind the script.
    Tail,
}

/// Which statement of a message failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// One of our head.
    Head,
    /// The script's statement of this index.
    Script(usize),
    /// One of our tail.
    Tail,
    /// None: the commit at the end, by a deferred constraint or trigger.
    Commit,
}

impl Message {
    /// Puts `head` into the script at byte `at` (a statement's end, or 0), and `tail` behind it. Both are statements without a final `;`; either may
    /// be empty.
    pub fn new(script: &str, at: usize, head: &[String], tail: &[String]) -> Message {
        let (before, after) = script.split_at_checked(at).unwrap_or(("", script));
        let mut inserted = String::new();
        if !before.is_empty() && !head.is_empty() {
            inserted.push_str("; ");
        }
        for statement in head {
            inserted.push_str(statement);
            inserted.push_str("; ");
        }
        // A script may end in a comment without a newline, or without its last `;`.
        let mut end = String::new();
        if !tail.is_empty() {
            end.push_str("\n;");
        }
        for statement in tail {
            end.push_str(statement);
            end.push(';');
        }
        let mut text = String::with_capacity(script.len() + inserted.len() + end.len());
        text.push_str(before);
        text.push_str(&inserted);
        text.push_str(after);
        text.push_str(&end);
        Message {
            head_at: before.chars().count(),
            head_length: inserted.chars().count(),
            script_length: script.chars().count(),
            head_byte: before.len(),
            head_statements: head.len(),
            tail_statements: tail.len(),
            text,
        }
    }

    /// Which statement failed when this many were completed.
    pub fn failed(&self, completed: usize, statements: &[Statement]) -> Failed {
        let before_head = statements
            .iter()
            .filter(|statement| statement.range.end <= self.head_byte)
            .count();
        let behind_script = statements.len() + self.head_statements;
        if completed < before_head {
            Failed::Script(completed)
        } else if completed < before_head + self.head_statements {
            Failed::Head
        } else if completed < behind_script {
            Failed::Script(completed - self.head_statements)
        } else if completed < behind_script + self.tail_statements {
            Failed::Tail
        } else {
            Failed::Commit
        }
    }

    /// Where the server's `position` (characters, from 1) lies.
    pub fn place(&self, position: u32) -> Place {
        let at = (position as usize).saturating_sub(1);
        if at < self.head_at {
            Place::Script(at)
        } else if at < self.head_at + self.head_length {
            Place::Head
        } else if at - self.head_length < self.script_length {
            Place::Script(at - self.head_length)
        } else {
            Place::Tail
        }
    }
}

/// What comes before the row is closed: the script may have changed the role and the timeouts.
///
/// `role` is the one to run as, where RESET ROLE does not come back to it.
pub fn before_close(role: Option<&str>) -> Vec<String> {
    let mut statements = reset();
    statements.extend(role.map(|role| format!("SET LOCAL ROLE {}", quote::identifier(role))));
    statements.extend(["SET LOCAL statement_timeout = 0", "SET LOCAL lock_timeout = 0"].map(str::to_owned));
    statements
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
        raise(OTHER_BACKEND, "pg_catalog.pg_backend_pid()")
    )
}

/// What [`at_backend`] says where it fails, with the backend's number behind it.
pub const OTHER_BACKEND: &str = "another session answers, its backend is ";

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
/// One statement yields the last row: the migration's row as `finished`, `unfinished` or nothing, whether we still hold the lock, the run's id, its
/// steps, the backend, and whether a transaction is open that has written. Where one is, or where the server refuses the verdict because one has
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

/// The verdict between two steps of one script, which share their session's settings: the role that the script has set is left only to read the row.
/// `role` as in [`before_close`].
pub fn step_verdict(ledger: &Ledger, id: &str, role: Option<&str>) -> String {
    format!(
        "ROLLBACK; BEGIN; {}; {}; COMMIT",
        as_ours(role).join("; "),
        read(ledger, id, Lock::Unknown)
    )
}

/// A note of ours as part of a script's transaction that has set a role before: it is written under our role, and the script goes on under its own.
pub fn under_our_role(note: String, role: Option<&str>) -> Vec<String> {
    const SCRIPTS: &str = "prisma_migrate_task.role";
    let mut statements = vec![format!(
        "SELECT pg_catalog.set_config('{SCRIPTS}', pg_catalog.current_setting('role'), true)"
    )];
    statements.extend(as_ours(role));
    statements.push(note);
    statements.push(format!(
        "SELECT pg_catalog.set_config('role', pg_catalog.current_setting('{SCRIPTS}'), true)"
    ));
    statements
}

/// Our role until the transaction ends.
fn as_ours(role: Option<&str>) -> Vec<String> {
    let mut statements = vec!["SET LOCAL role TO DEFAULT".to_owned()];
    statements.extend(role.map(|role| format!("SET LOCAL ROLE {}", quote::identifier(role))));
    statements
}

fn read(ledger: &Ledger, id: &str, lock: Lock) -> String {
    let lock = match lock {
        Lock::Kept => "true".to_owned(),
        Lock::Unknown => format!("EXISTS ({})", lock::held()),
    };
    format!(
        "SELECT CASE WHEN finished_at IS NOT NULL THEN 'finished' WHEN id IS NOT NULL THEN 'unfinished' END, \
         {lock}, pg_catalog.current_setting('{RUN_ID_SETTING}', true), \
         applied_steps_count, pg_catalog.pg_backend_pid(), pg_catalog.txid_current_if_assigned() IS NOT NULL \
         FROM (SELECT) AS always LEFT JOIN {table} ON id OPERATOR(pg_catalog.=) {id}",
        table = ledger.table(),
        id = quote::literal(id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_lead_back_to_the_script() {
        let script = "é1; SELECT x";
        let message = Message::new(script, 0, &["HEAD".into()], &["TAIL".into()]);
        assert_eq!(message.text, "HEAD; é1; SELECT x\n;TAIL;");
        assert_eq!(message.place(1), Place::Head);
        assert_eq!(message.place(7), Place::Script(0));
        assert_eq!(message.place(18), Place::Script(11));
        assert_eq!(message.place(19), Place::Tail);
    }

    #[test]
    fn the_head_can_stand_behind_a_first_statement() {
        let script = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT x";
        let message = Message::new(script, 34, &["HEAD".into()], &[]);
        assert_eq!(message.text, "BEGIN ISOLATION LEVEL SERIALIZABLE; HEAD; ; SELECT x");
        assert_eq!(message.place(1), Place::Script(0));
        assert_eq!(message.place(35), Place::Head);
        assert_eq!(message.place(43), Place::Script(34));
    }
}
