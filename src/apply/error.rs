//! What an error of a script means: a refusal, a busy lock, or a failure with its place.

use super::message::{Failed, Message, Place};
use crate::advice::{self, Around};
use crate::database::pooler;
use crate::database::server_error::ServerError;
use crate::excerpt;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history;
use crate::sql::assertion::Assertion;
use crate::sql::script::Statement;
use std::borrow::Cow;

/// Whether the server refuses to run this in a transaction (or in one with our bookkeeping), although the SQL may be right: SQLSTATE and routine
/// together, so that a script's own `RAISE … USING ERRCODE = '25001'` (exec_stmt_raise) stays its failure.
pub fn is_refusal(error: &ServerError) -> bool {
    let (Some(sqlstate), Some(routine)) = (error.sqlstate.as_deref(), error.routine.as_deref()) else {
        return false;
    };
    match sqlstate {
        // The call_ functions check a transaction's isolation level, READ WRITE and DEFERRABLE (seen on PostgreSQL 13 to 18).
        // CreateInitDecodingContext makes logical replication slots, and wants a transaction that has written nothing.
        "25001" => matches!(
            routine,
            "PreventInTransactionBlock"
                | "ImportSnapshot"
                | "call_enum_check_hook"
                | "call_bool_check_hook"
                | "CreateInitDecodingContext"
        ),
        "2D000" => matches!(routine, "_SPI_commit" | "_SPI_rollback"),
        "55P04" => routine == "check_safe_enum_use",
        "55006" => routine == "CheckTableNotInUse",
        "25006" => routine == "PreventCommandIfReadOnly",
        _ => false,
    }
}

/// Whether the same script may succeed a moment later: a lock not granted in time, a deadlock, a serialization failure.
///
/// The server raises these in many places, and all of them count. What a script raises itself does not: no other session caused it, and nothing changes
/// when it is run again.
pub fn is_contention(error: &ServerError) -> bool {
    error.is(&["55P03", "40P01", "40001"]) && !error.is_raised()
}

/// Why a connection was lost: the script's error where the server ended the session by it (57P01 and its text), else what the verdict that follows met, which
/// is no more than that nobody answers.
pub fn why_lost(script: Option<&ServerError>, verdict: ServerError) -> ServerError {
    match script {
        Some(script) if script.closed && script.sqlstate.is_some() => script.clone(),
        _ => verdict,
    }
}

/// Whether the error is about the message or the session as a whole: connection, resources, limits, intervention, and a character that the
/// database's encoding does not have.
fn is_of_the_whole(error: &ServerError) -> bool {
    let sqlstate = error.sqlstate.as_deref().unwrap_or_default();
    ["08", "53", "54", "57", "XX"]
        .iter()
        .any(|class| sqlstate.starts_with(class))
        || error.is(&["22021", "22P05"])
}

/// A script and what was sent of it, to find an error's place in.
pub struct Context<'a> {
    /// The migration's name.
    pub migration: &'a str,
    /// The whole script.
    pub script: &'a str,
    /// Its statements.
    pub statements: Cow<'a, [Statement]>,
}

impl Context<'_> {
    /// The failure of a script that was sent as one message, `completed` of whose statements were completed.
    pub fn failure(&self, error: &ServerError, message: &Message, completed: usize) -> Failure {
        // What the server raises before it runs anything comes at the head, and is not the head's.
        let parsed = !error.is(&["42601"]);
        let position = match error.position.map(|position| message.place(position, self.script)) {
            Some(Place::Script(at)) => Some(at),
            Some(Place::Tail) if !parsed => Some(self.script.chars().count()),
            _ => match message.failed(completed, &self.statements) {
                Failed::Head if is_of_the_whole(error) && !error.is_raised() => None,
                Failed::Head => return self.unwritable(error),
                // A deferred constraint or trigger, at the commit.
                Failed::Tail if message.is_last(completed, &self.statements) && error.assertion.is_none() => None,
                Failed::Tail => return self.takes_its_row(error),
                Failed::Script(at) => self
                    .statements
                    .get(at)
                    .map(|statement| self.script[..statement.range.start].chars().count()),
                Failed::Commit => None,
            },
        };
        self.script_failure(error, position)
    }

    /// The failure of one statement that was sent by itself, beginning at byte `start` of the script.
    pub fn statement_failure(&self, error: &ServerError, start: usize) -> Failure {
        let before = self.script[..start].chars().count();
        self.script_failure(
            error,
            Some(before + error.position.map_or(0, |position| position.saturating_sub(1) as usize)),
        )
    }

    fn script_failure(&self, error: &ServerError, at: Option<usize>) -> Failure {
        let at = at.or_else(|| untranslatable(error, self.script));
        let mut failure = Failure::new(Exit::RolledBack, error.message.clone(), "")
            .prisma(Some("P3018"))
            .of(self.migration)
            .caused_by(error);
        failure.place = at.map(|at| excerpt::place(self.migration, self.script, at));
        failure.details.extend(at.and_then(|at| hint(error, self.script, at)));
        failure
    }

    /// The head failed: the script has not begun.
    fn unwritable(&self, error: &ServerError) -> Failure {
        match error.assertion {
            Some(Assertion::OurBackend) => {
                let what = "its connection led to another session of the server than the one that was opened: a pooler in transaction mode stands between";
                Failure::new(Exit::Database, what, pooler::USE_INSTEAD)
                    .of(self.migration)
                    .caused_by(error)
            }
            Some(Assertion::OurLock) => lock_taken(self.migration, error, "deploy again"),
            _ => not_written(
                &format!("the migration's row in {}", history::TABLE),
                self.migration,
                error,
            ),
        }
    }

    /// The tail failed: the script has run.
    fn takes_its_row(&self, error: &ServerError) -> Failure {
        match error.assertion {
            Some(Assertion::OurLock) => lock_taken(
                self.migration,
                error,
                "take out what releases the lock in the script (pg_advisory_unlock_all, DISCARD ALL), then deploy again",
            ),
            Some(_) => {
                let what = format!(
                    "the script, or a rule, a trigger or row security on the table, keeps its row in {} from being closed",
                    history::TABLE
                );
                Failure::new(Exit::RolledBack, what, TAKE_OUT)
                    .of(self.migration)
                    .caused_by(error)
            }
            // undefined_table, undefined_column, invalid_schema_name: it was all there when the script began.
            None if error.is(&["42P01", "42703", "3F000"]) => {
                let what = format!(
                    "the script keeps its row in {} from being closed: {}",
                    history::TABLE,
                    error.message
                );
                Failure::new(Exit::RolledBack, what, TAKE_OUT)
                    .of(self.migration)
                    .caused_by(error)
            }
            // The server's own words: a constraint, a privilege, the script's SET TRANSACTION. Whose fault it is they tell, and not this program.
            None => {
                let what = format!(
                    "the migration's row in {} could not be closed: {}",
                    history::TABLE,
                    error.message
                );
                let failure = Failure::new(Exit::RolledBack, what, "")
                    .of(self.migration)
                    .caused_by(error);
                let next = advice::then(failure.advice.as_deref(), "deploy again")
                    .unwrap_or_else(|| TABLE_OR_SCRIPT.to_owned());
                Failure { next, ..failure }
            }
        }
    }
}

const TAKE_OUT: &str = "take out what removes, moves or changes the migrations table or its rows, then deploy again";
const TABLE_OR_SCRIPT: &str = "look at the table's columns, constraints, triggers, rules and privileges, and at what the script does with it, then deploy again";

/// A row of the ledger that could not be written: `what` is the row.
pub fn not_written(what: &str, migration: &str, error: &ServerError) -> Failure {
    let (what, next) = match error.assertion {
        Some(_) => (
            format!("{what} could not be written: a rule, a trigger or row security on the table prevents it"),
            "take the rule, the trigger or the row security off the table, or run as its owner, then deploy again"
                .to_owned(),
        ),
        None => (
            format!("{what} could not be written: {}", error.message),
            advice::then(advice::of(error, &Around::default()).as_deref(), "deploy again").unwrap_or_else(|| {
                "look at the table's columns, constraints, triggers, rules and privileges, then deploy again".to_owned()
            }),
        ),
    };
    let mut failure = Failure::new(Exit::Database, what, next).of(migration).caused_by(error);
    failure.connection_lost = error.closed;
    failure
}

fn lock_taken(migration: &str, error: &ServerError, next: &str) -> Failure {
    let what = "another session has taken the migration lock from this run";
    Failure::new(Exit::MigrationLock, what, next)
        .of(migration)
        .caused_by(error)
}

/// Where the character is, in characters from 0, that the database's encoding does not have. The server converts a message before it reads it, and so
/// it has no place for the error: only the bytes of the first such character.
fn untranslatable(error: &ServerError, script: &str) -> Option<usize> {
    if !error.is(&["22P05"]) {
        return None;
    }
    let bytes: Vec<u8> = error
        .message
        .split_whitespace()
        .filter_map(|word| u8::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect();
    let character = std::str::from_utf8(&bytes).ok().filter(|text| !text.is_empty())?;
    let byte = script.find(character)?;
    Some(script[..byte].chars().count())
}

/// What may help with a script's error at this place, in characters.
pub fn hint(error: &ServerError, script: &str, at: usize) -> Option<String> {
    let rest = |at: usize| script.chars().skip(at);
    if error.is(&["22P05"]) {
        let character = rest(at).next().filter(|_| untranslatable(error, script) == Some(at))?;
        return Some(format!("the character is {character} (U+{:04X})", u32::from(character)));
    }
    if error.is(&["42601", "42703", "42P01", "42704", "42883", "42P02", "3F000"])
        && let Some(hint) = invisible(script, at)
    {
        return Some(hint);
    }
    if !error.is(&["42601"]) || rest(at).next() != Some('\\') {
        return None;
    }
    let before: String = script.chars().take(at).collect();
    let begins_line = before.rsplit('\n').next().unwrap_or_default().trim().is_empty();
    Some(match psql_command(&rest(at + 1).take(20).collect::<String>(), begins_line) {
        true => "this is a command of psql, which only psql understands: take it out (a dump made with `pg_dump --inserts` holds plain SQL)",
        false => {
            "a backslash stands outside of a string here, where SQL has none: in a string write '' for a quote, or E'…' for a string with backslashes"
        }
    }
    .to_owned())
}

/// The word at this place that holds a character which cannot be seen, or one of the two before it: to the server that is a letter, and a word that is
/// longer than it looks, or a name too many, is often noticed only behind it.
fn invisible(script: &str, at: usize) -> Option<String> {
    let ends_word = |c: char| c.is_ascii_whitespace() || "(),;".contains(c);
    let place = script.char_indices().nth(at).map_or(script.len(), |(byte, _)| byte);
    let end = script[place..].find(ends_word).map_or(script.len(), |end| place + end);
    let word_before = |at: usize| {
        let before = script[..at].trim_end_matches(ends_word);
        before.rfind(ends_word).map_or(0, |found| found + 1)
    };
    let start = word_before(word_before(place));
    let is_hidden = |c: char| excerpt::invisible(c).is_some();
    let at = start + script[start..end].rfind(is_hidden)?;
    let character = script[at..].chars().next()?;
    let name = excerpt::invisible(character)?;
    let from = script[..at].rfind(ends_word).map_or(0, |found| found + 1);
    let to = script[at..].find(ends_word).map_or(script.len(), |found| at + found);
    Some(format!(
        "line {}: {} holds {name} (U+{:04X}), which cannot be seen and is no space to PostgreSQL: replace it by a space, or take it out",
        script[..at].matches('\n').count() + 1,
        excerpt::visible(&script[from..to]),
        u32::from(character)
    ))
}

/// Whether what is behind a backslash is a command of psql. Most stand at the beginning of a line; some end a statement.
///
/// Source: PostgreSQL's documentation, psql, "Meta-Commands".
fn psql_command(behind: &str, begins_line: bool) -> bool {
    const IN_A_LINE: &[&str] = &["g", "gx", "gdesc", "gexec", "gset", "watch", "crosstabview", "bind"];
    const AT_ITS_BEGINNING: &[&str] = &[
        "a",
        "c",
        "connect",
        "C",
        "cd",
        "conninfo",
        "copy",
        "copyright",
        "e",
        "edit",
        "echo",
        "ef",
        "elif",
        "else",
        "encoding",
        "endif",
        "errverbose",
        "ev",
        "f",
        "getenv",
        "h",
        "help",
        "H",
        "html",
        "i",
        "if",
        "include",
        "include_relative",
        "ir",
        "l",
        "list",
        "o",
        "out",
        "p",
        "print",
        "password",
        "prompt",
        "pset",
        "q",
        "quit",
        "qecho",
        "r",
        "reset",
        "restrict",
        "s",
        "set",
        "unset",
        "t",
        "timing",
        "unrestrict",
    ];
    let word: String = behind
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    if IN_A_LINE.contains(&word.as_str()) {
        return true;
    }
    begins_line
        && (AT_ITS_BEGINNING.contains(&word.as_str())
            || word.starts_with('d')
            || matches!(
                word.as_str(),
                "sf" | "sv" | "w" | "warn" | "write" | "x" | "z" | "setenv"
            )
            || behind.starts_with(['.', '!', '?']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(sqlstate: &str, routine: &str, message: &str) -> ServerError {
        ServerError {
            sqlstate: Some(sqlstate.into()),
            routine: Some(routine.into()).filter(|routine: &String| !routine.is_empty()),
            message: message.into(),
            ..ServerError::default()
        }
    }

    #[test]
    fn a_refusal_is_told_by_sqlstate_and_routine_together() {
        let cases = [
            ("25001", "PreventInTransactionBlock", true),
            ("25001", "CreateInitDecodingContext", true),
            ("25001", "exec_stmt_raise", false),
            ("25001", "", false),
            ("2D000", "_SPI_commit", true),
            ("2D000", "exec_stmt_raise", false),
            ("55P04", "check_safe_enum_use", true),
            ("42601", "PreventInTransactionBlock", false),
            ("55006", "CreateInitDecodingContext", false),
        ];
        for (sqlstate, routine, expected) in cases {
            let error = error(sqlstate, routine, "");
            assert_eq!(is_refusal(&error), expected, "{sqlstate} {routine}");
        }
    }

    #[test]
    fn what_a_script_raises_itself_is_no_contention() {
        for sqlstate in ["55P03", "40P01", "40001"] {
            for (routine, message, expected) in [
                ("ProcessInterrupts", "canceling statement due to lock timeout", true),
                ("DeadLockReport", "deadlock detected", true),
                ("heapam_tuple_lock", "could not obtain lock on row", true),
                ("", "a pooler passes no routine on", true),
                ("exec_stmt_raise", "mine", false),
                ("PLy_elog_impl", "plpy.Error: mine", false),
                (
                    "PLy_elog_impl",
                    "spiexceptions.LockNotAvailable: canceling statement",
                    true,
                ),
                ("rethrow", "mine", false),
            ] {
                let error = error(sqlstate, routine, message);
                assert_eq!(is_contention(&error), expected, "{sqlstate} {routine}");
            }
        }
        assert!(!is_contention(&error("42P01", "ProcessInterrupts", "")));
    }

    #[test]
    fn a_connection_is_lost_for_what_the_server_said_last() {
        let gone = ServerError::closed("connection closed".into());
        let mut ended = error("57P01", "ProcessInterrupts", "terminating connection");
        ended.closed = true;
        assert_eq!(why_lost(Some(&ended), gone.clone()), ended);
        assert_eq!(why_lost(None, gone.clone()), gone);
        assert_eq!(why_lost(Some(&error("42P01", "", "no table")), gone.clone()), gone);
        assert_eq!(why_lost(Some(&ServerError::closed("reset".into())), gone.clone()), gone);
    }
}
