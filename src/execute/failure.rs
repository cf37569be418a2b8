//! What an end before the end means: the exit code, what state the database is in, and what to do next.

use super::run::Broken;
use super::{Access, Order, Progress};
use crate::advice::{self, Around};
use crate::apply::error::{hint, is_contention, is_refusal};
use crate::database::lock::LockSession;
use crate::database::server_error::ServerError;
use crate::excerpt;
use crate::exit::Exit;
use crate::failure::{Failure, UNCHANGED};
use crate::sql::kind::{Kind, may_commit};
use crate::sql::script::Statement;
use crate::stop::{self, Reason};

/// What was run, and how far it came.
pub struct Scene<'a> {
    /// How.
    pub order: &'a Order,
    /// All of the SQL.
    pub sql: &'a str,
    /// Its statements.
    pub statements: &'a [Statement],
    /// How far it came.
    pub progress: &'a Progress,
    /// Why the run was to stop, if it was.
    pub stopped: Option<Reason>,
    /// Who was in the way.
    pub blockers: Vec<LockSession>,
    /// Whether the server takes writes.
    pub writable: bool,
    /// What the catalogue knows of the server's error.
    pub around: Around,
}

/// What is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing.
    Nothing,
    /// Nothing, though the server was not seen to take it back.
    NotCommitted,
    /// The statements before the one that failed; of that one nothing.
    Before,
    /// Perhaps also part of the one that failed.
    Perhaps,
}

/// The failure of what broke off.
pub fn failure(scene: &Scene<'_>, broken: Broken) -> Failure {
    match broken {
        Broken::Stopped => stopped(scene, left(scene, None, false)),
        Broken::Server(error, at) => of_server(scene, &error, at),
        Broken::Output(error, at) => scene.ended(
            Failure::new(
                Exit::RolledBack,
                format!("the rows could not be written to {}: {error}", scene.order.destination),
                format!("{}, and run it again", error.next_step()),
            ),
            left(scene, at, false),
        ),
        Broken::NoText(column, at) => {
            let mut failure = Failure::new(
                Exit::RolledBack,
                format!(
                    "a value of the column {column} is not valid in UTF-8: the database's encoding does not say what its bytes mean"
                ),
                "select it as bytes: convert_to(column, 'SQL_ASCII')",
            );
            failure.place = Some(scene.place(at, 0));
            scene.ended(failure, left(scene, Some(at), false))
        }
    }
}

/// The failure of a run that was to stop, while the server did not say what became of what ran.
pub fn not_in_time(scene: &Scene<'_>) -> Failure {
    let left = left(scene, Some(scene.progress.completed), true);
    let mut failure = stopped(scene, left);
    failure
        .details
        .push("its end on the server was not seen in time".to_owned());
    failure
}

fn stopped(scene: &Scene<'_>, left: Left) -> Failure {
    let Some(reason) = scene.stopped else {
        return Failure::new(
            Exit::Unexpected,
            "it stopped without having been asked to",
            "report this as a bug",
        );
    };
    let mut failure = scene.ended(stop::interrupted(reason, ""), left);
    failure.exit = match left {
        Left::Nothing | Left::NotCommitted => Exit::Interrupted,
        Left::Before | Left::Perhaps => Exit::InterruptedPartially,
    };
    if matches!(left, Left::Nothing | Left::NotCommitted) {
        failure.next = "run it again".to_owned();
    }
    failure
}

fn of_server(scene: &Scene<'_>, error: &ServerError, at: Option<usize>) -> Failure {
    let left = left(scene, at, error.closed);
    let mut failure = match scene.stopped {
        Some(_) if error.is(&["57014"]) => stopped(scene, left),
        _ => scene.ended(refusal(scene, error), left),
    };
    failure.details.clone_from(&error.details);
    failure.sqlstate.clone_from(&error.sqlstate);
    let within = error.position.map_or(0, |position| position.saturating_sub(1) as usize);
    failure.place = at.map(|at| scene.place(at, within));
    if let Some(at) = at {
        let start = scene.sql[..scene.statements[at].range.start].chars().count();
        failure.details.extend(hint(error, scene.sql, start + within));
    }
    if error.is(&["55P03"]) {
        let blockers = scene.blockers.iter().map(|blocker| format!("{blocker} was in its way"));
        failure.details.extend(blockers);
    }
    failure
}

/// The server's error where nothing is left of the SQL.
fn refusal(scene: &Scene<'_>, error: &ServerError) -> Failure {
    let read_only = error.is(&["25006"]) || error.routine.as_deref() == Some("call_bool_check_hook");
    let (exit, next) = match scene.order.access {
        _ if error.closed => (Exit::Database, "run it again once the server is back"),
        Access::Unconfirmed if read_only => (Exit::Refused, "give --confirm to write"),
        Access::ReadOnly if read_only => (Exit::Refused, "leave --read-only out to write"),
        Access::Write if error.is(&["25006"]) && !scene.writable => (
            Exit::Database,
            "connect to the primary (for Aurora: the cluster's writer endpoint), or lift default_transaction_read_only",
        ),
        _ if is_contention(error) => (
            Exit::TableLock,
            "end the session that is in the way or wait for it, then run it again",
        ),
        _ if scene.order.transaction && is_refusal(error) && !read_only => (
            Exit::RolledBack,
            "give --no-transaction: each statement is committed by itself then",
        ),
        _ => {
            let next = advice::then(advice::of(error, &scene.around).as_deref(), "run it again");
            let next = next.unwrap_or_else(|| "fix the SQL and run it again".to_owned());
            let mut failure = Failure::new(Exit::RolledBack, error.message.clone(), next);
            failure.advice = advice::of(error, &scene.around);
            return failure;
        }
    };
    Failure::new(exit, error.message.clone(), next)
}

fn left(scene: &Scene<'_>, at: Option<usize>, unseen: bool) -> Left {
    if scene.order.transaction {
        return match (scene.progress.committing, unseen) {
            (_, false) => Left::Nothing,
            (false, true) => Left::NotCommitted,
            (true, true) => Left::Perhaps,
        };
    }
    let commits = at.and_then(|at| scene.statements.get(at)).is_some_and(|statement| {
        matches!(statement.kind, Kind::Alone(_)) || may_commit(&scene.sql[statement.range.clone()])
    });
    match scene.progress.completed {
        _ if unseen || commits => Left::Perhaps,
        0 => Left::Nothing,
        _ => Left::Before,
    }
}

impl Scene<'_> {
    /// With what is left, and what that means for the exit code and the next step.
    fn ended(&self, failure: Failure, left: Left) -> Failure {
        if left == Left::Nothing {
            return match self.order.access {
                Access::Write => failure.state("everything was rolled back: the database is as it was before"),
                Access::ReadOnly | Access::Unconfirmed => failure.state(UNCHANGED),
            };
        }
        if left == Left::NotCommitted {
            return failure.state("nothing was committed: the server rolls back what ran");
        }
        let mut failure = failure;
        failure.exit = Exit::PartiallyCommitted;
        if self.order.transaction {
            failure.next = "look at the database before you run it again".to_owned();
            return failure
                .state("its commit was sent and not answered: either all of it is in the database, or nothing");
        }
        let completed = self.progress.completed;
        let line = self
            .statements
            .get(completed)
            .map_or(1, |next| self.sql[..next.range.start].matches('\n').count() + 1);
        let committed = match completed {
            0 => String::new(),
            1 => "the first statement is committed; ".to_owned(),
            n => format!("the first {n} statements are committed; "),
        };
        match left {
            Left::Nothing | Left::NotCommitted | Left::Before => {
                failure.next = match advice::then(failure.advice.as_deref(), &format!("run what begins at line {line}"))
                {
                    Some(next) => next,
                    None => format!("fix it, and run what begins at line {line}"),
                };
                failure.state(format!("{committed}the next one, at line {line}, left nothing behind"))
            }
            Left::Perhaps => {
                failure.next = "look at the database, then run what is left to do".to_owned();
                failure.state(format!(
                    "{committed}the next one, at line {line}, ran outside a transaction of ours: what it did may have stayed (of an index build: an INVALID index)"
                ))
            }
        }
    }

    /// A place in a statement: characters from its beginning.
    fn place(&self, at: usize, within: usize) -> crate::failure::Place {
        let start = self.sql[..self.statements[at].range.start].chars().count();
        excerpt::place_in(self.order.input.name(), self.sql, start + within)
    }
}
