//! What an error of a script means: a refusal, a busy lock, or a failure with its place.

use super::message::{self, Failed, Message, Place};
use crate::database::pooler;
use crate::database::server_error::ServerError;
use crate::excerpt;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history;
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
    error.is(&["55P03", "40P01", "40001"]) && !is_raised(error)
}

/// Whether code in a procedural language raised this, and chose its SQLSTATE. PL/Perl and PL/Tcl cannot choose one.
fn is_raised(error: &ServerError) -> bool {
    match error.routine.as_deref() {
        // PL/pgSQL's RAISE. An error that it catches and raises again (`RAISE;`) keeps its routine.
        Some("exec_stmt_raise") => true,
        // PL/Python. An error of the server that passes through Python is named like this.
        Some("PLy_elog_impl") => !error.message.starts_with("spiexceptions."),
        // PL/v8 (plv8.cc), which does not tell the two apart.
        Some("rethrow") => true,
        _ => false,
    }
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
                Failed::Head if is_of_the_whole(error) && !is_raised(error) => None,
                Failed::Head => return self.unwritable(error),
                // A deferred constraint or trigger, at the commit.
                Failed::Tail
                    if message.is_last(completed, &self.statements) && !history::is_assertion(&error.message) =>
                {
                    None
                }
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
        let mut failure = Failure::new(Exit::RolledBack, error.message.clone(), "")
            .prisma(Some("P3018"))
            .of(self.migration);
        failure.sqlstate.clone_from(&error.sqlstate);
        failure.details.clone_from(&error.details);
        failure.place = at.map(|at| excerpt::place(self.migration, self.script, at));
        let hint = at.and_then(|at| hint(error, self.script, at));
        failure.details.extend(hint.map(str::to_owned));
        failure
    }

    /// The head failed: the script has not begun.
    fn unwritable(&self, error: &ServerError) -> Failure {
        if error.message.contains(message::OTHER_BACKEND) {
            let what = "its connection led to another session of the server than the one that was opened: a pooler in transaction mode stands between";
            let failure = Failure::new(Exit::Database, what, pooler::USE_INSTEAD);
            return self.of_the_ledger(failure, error);
        }
        let what = format!(
            "the migration's row in {} could not be written: {}",
            history::TABLE,
            error.message
        );
        let next = "look for missing privileges, a rule, a trigger or row security on the table, then deploy again";
        self.of_the_ledger(Failure::new(Exit::Database, what, next), error)
    }

    /// The tail failed: the script has run.
    fn takes_its_row(&self, error: &ServerError) -> Failure {
        let what = format!(
            "the script, or a trigger, keeps its row in {} from being closed: {}",
            history::TABLE,
            error.message
        );
        let next = "take out what removes, moves or changes the migrations table or its rows, then deploy again";
        self.of_the_ledger(Failure::new(Exit::RolledBack, what, next), error)
    }

    fn of_the_ledger(&self, failure: Failure, error: &ServerError) -> Failure {
        let mut failure = failure.of(self.migration);
        failure.sqlstate.clone_from(&error.sqlstate);
        failure.details.clone_from(&error.details);
        failure
    }
}

/// What may help with a script's error at this place, in characters.
pub fn hint(error: &ServerError, script: &str, at: usize) -> Option<&'static str> {
    (error.is(&["42601"]) && script.chars().nth(at) == Some('\\')).then_some(
        "this is a command of psql, which only psql understands: take it out (a dump made with `pg_dump --inserts` holds plain SQL)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(sqlstate: &str, routine: &str, message: &str) -> ServerError {
        ServerError {
            sqlstate: Some(sqlstate.into()),
            routine: Some(routine.into()).filter(|routine: &String| !routine.is_empty()),
            message: message.into(),
            details: Vec::new(),
            position: None,
            closed: false,
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
