//! All pending migrations and their rows in one transaction: `--all-or-nothing`.
//!
//! The transaction is opened by a BEGIN of ours, so that nothing but a statement of a script could end it: scripts with such a statement, and those
//! that cannot run in a transaction, are refused beforehand ([`check`]). Each migration is a message of its own with its row around it. The last
//! message counts the rows before it commits: all of them become visible at once, or none does.

use super::error;
use super::message::{self, Message};
use super::record::{no_verdict, rolled_back};
use super::retry::Retry;
use super::verdict::{Form, Raised, Verdict, judge};
use super::{Applier, End, Fitness, How, context, raised};
use crate::database::lock;
use crate::database::server_error::ServerError;
use crate::database::session::Sent;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::Marked;
use crate::live;
use crate::plan::Pending;
use crate::sql::kind::{Alone, Kind};
use crate::sql::script::Statement;
use crate::stop;
use std::time::{Duration, Instant};
use uuid::Uuid;

const NOTHING: &str = "everything of this run was rolled back: the database is as it was before it";

/// How all migrations of a run ended that share a transaction.
pub struct Together {
    /// As of one migration; of all of them alike.
    pub end: End,
    /// How long each took, in their order; as many as were run.
    pub durations: Vec<Duration>,
}

/// Refuses what cannot share a transaction with other migrations.
///
/// # Errors
/// Exit 24, with a line for each such migration.
pub fn check(pending: &[Pending<'_>]) -> Result<(), Failure> {
    let obstacles: Vec<String> = pending
        .iter()
        .filter_map(|pending| obstacle_of(pending).map(|why| format!("{}: {why}", pending.name)))
        .collect();
    let next = "deploy those first without --all-or-nothing (--to NAME ends a deploy at a migration), or deploy all without it";
    refuse(obstacles, pending.len(), next)
}

/// The same for what is known only with the catalogue: values of enums that a migration adds and the transaction then uses.
///
/// # Errors
/// Exit 24, with a line for each such migration.
pub fn check_values(obstacles: &[(String, String)], pending: usize) -> Result<(), Failure> {
    let obstacles = obstacles.iter().map(|(name, why)| format!("{name}: {why}"));
    let next = "deploy all without --all-or-nothing; or end a deploy at the migration that adds the value (--to NAME), and deploy the rest after it";
    refuse(obstacles.collect(), pending, next)
}

fn refuse(obstacles: Vec<String>, pending: usize, next: &str) -> Result<(), Failure> {
    if obstacles.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        Exit::Refused,
        format!(
            "--all-or-nothing: {} of {pending} pending migrations cannot share a transaction with the others",
            obstacles.len(),
        ),
        next,
    );
    failure.details = obstacles;
    Err(failure)
}

fn obstacle_of(pending: &Pending<'_>) -> Option<String> {
    match pending.resume {
        Some(_) => Some("an earlier run committed its first steps".into()),
        None => obstacle(pending.script, &pending.statements()),
    }
}

/// The first statement of a script that cannot share a transaction with what is not the script's, and why.
pub fn obstacle(script: &str, statements: &[Statement]) -> Option<String> {
    let (statement, why) = statements.iter().find_map(|statement| {
        let why = match &statement.kind {
            Kind::Begin { .. } | Kind::Commit { .. } | Kind::Rollback { .. } | Kind::Prepare => {
                "controls the transaction itself"
            }
            Kind::SetTransaction => "must come first in its transaction",
            // It finds one here.
            Kind::Alone(alone) if **alone == Alone::WantsBlock => return None,
            Kind::Alone(_) => "cannot run in a transaction",
            Kind::CopyFromStdin => "reads data that does not travel in a script",
            Kind::Ordinary | Kind::WithoutSnapshot | Kind::Setting => return None,
        };
        Some((statement, why))
    })?;
    let line = script[..statement.range.start].matches('\n').count() + 1;
    let first_words: Vec<&str> = script[statement.range.clone()].split_whitespace().take(4).collect();
    Some(format!("line {line}: {} … {why}", first_words.join(" ")))
}

/// Why a try ended.
enum Ended {
    Applied(Fitness),
    Lost(ServerError),
    Contention(ServerError, usize),
}

impl Applier<'_> {
    /// Applies all of them, or none.
    ///
    /// # Errors
    /// The first failure; nothing of the run is in the database then.
    pub async fn apply_together(&self, pending: &[Pending<'_>]) -> Result<Together, Failure> {
        if self.ledger.defers() {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "--all-or-nothing: {} has a trigger that may run when the transaction is committed, and may change the rows of the migrations",
                    self.ledger.table()
                ),
                "deploy without --all-or-nothing, or remove the trigger",
            ));
        }
        let mut retry = Retry::new(self.lock_retry_for);
        loop {
            let ids: Vec<String> = pending.iter().map(|_| Uuid::new_v4().to_string()).collect();
            let mut durations = Vec::with_capacity(pending.len());
            let ended = self.try_together(pending, &ids, &mut durations).await;
            self.watch.end();
            self.session.set_subject(None);
            let end = match ended? {
                Ended::Applied(session) => End::Applied {
                    how: How::Together,
                    session,
                },
                Ended::Lost(error) => super::lost(ids.last().cloned().unwrap_or_default(), error),
                Ended::Contention(error, at) => {
                    if !self.again(&mut retry, &pending[at], &error).await? {
                        return Err(self.still_locked(&pending[at], &error).state(NOTHING));
                    }
                    continue;
                }
            };
            return Ok(Together { end, durations });
        }
    }

    async fn try_together(
        &self,
        pending: &[Pending<'_>],
        ids: &[String],
        durations: &mut Vec<Duration>,
    ) -> Result<Ended, Failure> {
        for (at, (migration, id)) in pending.iter().zip(ids).enumerate() {
            if let Some(reason) = self.stop.reason() {
                self.leave(id).await;
                return Err(stop::interrupted(reason, NOTHING));
            }
            self.session.set_subject(Some(migration.name));
            self.watch.begin(Some(migration.name));
            if !live::is_shown() {
                tracing::info!(
                    migration = migration.name,
                    "applying ({} of {}, all in one transaction)",
                    at + 1,
                    pending.len()
                );
            }
            let started = Instant::now();
            let mut message = self.one_of_them(migration, id, at == 0);
            let script = self.session.script(std::mem::take(&mut message.text));
            let Some(sent) = self.stop.ended(self.session, script).await else {
                return Err(self.not_in_time(true));
            };
            durations.push(started.elapsed());
            let Some(error) = &sent.error else { continue };
            if error.closed {
                return Ok(Ended::Lost(error.clone()));
            }
            // Before anything else is asked of the session: until then it refuses everything.
            self.leave(id).await;
            if let Some(reason) = self.cancelled_by(error.sqlstate.as_deref()) {
                return Err(stop::interrupted(reason, NOTHING).of(migration.name));
            }
            if error::is_contention(error) {
                return Ok(Ended::Contention(error.clone(), at));
            }
            if error::is_refusal(error) {
                return Err(cannot_share(migration, error));
            }
            let failure = self.explain(&context(migration), sent, &message).await;
            return Err(self.rolled_back(migration, started, failure).await.state(NOTHING));
        }
        self.commit(pending, ids).await
    }

    /// A migration's message: its row, the script, the row's end, and the session as it began for the next one.
    fn one_of_them(&self, migration: &Pending<'_>, id: &str, first: bool) -> Message {
        let mark = self.mark(Marked::Partial(None));
        let begin = self.ledger.begin(id, migration.name, &migration.checksum, &mark);
        let head = match first {
            true => vec!["BEGIN".to_owned(), self.opening(migration), lock::guard(), begin],
            // A transaction does not change its backend.
            false => vec![message::opening(migration.name, &begin)],
        };
        let mut tail = message::before_close(self.session);
        tail.push(self.ledger.close(id, &migration.checksum));
        tail.extend(message::fresh(&self.session.kept_settings()));
        Message::new(migration.script, 0, head, tail)
    }

    /// The end: a deferred constraint may still refuse everything.
    async fn commit(&self, pending: &[Pending<'_>], ids: &[String]) -> Result<Ended, Failure> {
        let (Some(last), Some(id)) = (pending.last(), ids.last()) else {
            return Ok(Ended::Applied(Fitness::Ready));
        };
        let end = vec![self.ledger.assert_closed(ids), lock::keep(), "COMMIT".to_owned()];
        let mut message = Message::new("", 0, Vec::new(), end);
        let verdict = self.verdict_behind_rollback(id);
        let script = self.session.script(std::mem::take(&mut message.text));
        let both = async { tokio::join!(script, self.ask(&verdict)) };
        let Some((sent, seen)) = self.stop.ended(self.session, both).await else {
            return Err(self.not_in_time(true));
        };
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) if error.closed => return Ok(Ended::Lost(error::why_lost(sent.error.as_ref(), error))),
            Err(error) => return Err(no_verdict(last, &error)),
        };
        let raised = raised(&sent, seen.in_transaction);
        match (judge(Form::Whole, seen.row, raised), sent.error) {
            (Verdict::Applied, _) => Ok(Ended::Applied(seen.session)),
            (Verdict::Nothing, Some(error)) if error::is_contention(&error) => {
                Ok(Ended::Contention(error, pending.len() - 1))
            }
            (Verdict::Nothing, Some(error)) => Err(self.not_committed(error, raised)),
            (verdict, error) => {
                let completed = sent.completed;
                let failure = self
                    .unclear(last, (id, seen.row), verdict, Sent { completed, error }, &message)
                    .await;
                let state = match verdict {
                    Verdict::Unrecorded => {
                        "all migrations of this run are committed, and the row of the last of them is not closed"
                    }
                    _ => {
                        "the migrations of this run may be committed, all of them or none: the row of the last of them cannot tell"
                    }
                };
                Err(failure.state(state))
            }
        }
    }

    /// The failure of a run whose migrations all ran, and whose transaction the server has rolled back.
    fn not_committed(&self, error: ServerError, raised: Raised) -> Failure {
        if let Some(reason) = self.cancelled_by(error.sqlstate.as_deref()) {
            return stop::interrupted(reason, NOTHING);
        }
        let next = match raised {
            Raised::Ours => {
                "a script or a trigger removes or changes rows of the migrations table: take that out, then deploy again"
            }
            _ => {
                "a deferred constraint or trigger is checked then: deploy without --all-or-nothing to see which migration it is"
            }
        };
        let what = format!(
            "all migrations ran, and their transaction could not be committed: {}",
            error.message
        );
        let mut failure = Failure::new(Exit::RolledBack, what, next).prisma(Some("P3018"));
        failure.sqlstate = error.sqlstate;
        failure.details = error.details;
        failure.state(NOTHING)
    }

    /// Leaves the transaction and brings the session back to how it began. Where that fails, so will what comes next.
    async fn leave(&self, id: &str) {
        if let Err(error) = self.session.raw(&self.verdict_behind_rollback(id)).await {
            tracing::debug!("the transaction could not be left: {}", error.message);
        }
    }
}

fn cannot_share(migration: &Pending<'_>, error: &ServerError) -> Failure {
    let mut failure = Failure::new(
        Exit::Refused,
        format!(
            "--all-or-nothing: it cannot share a transaction with the others: {}",
            error.message
        ),
        "deploy without --all-or-nothing",
    )
    .of(migration.name);
    failure.sqlstate.clone_from(&error.sqlstate);
    failure.details.clone_from(&error.details);
    rolled_back(failure).state(NOTHING)
}
