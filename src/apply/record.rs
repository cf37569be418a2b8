//! What a failure leaves in the ledger and says to the reader.

use super::cleanup::Locked;
use super::message::Message;
use super::steps::Run;
use super::verdict::{Row, Verdict};
use super::{Applier, context, error};
use crate::advice::{self, Around};
use crate::database::server_error::ServerError;
use crate::database::session::Sent;
use crate::exit::Exit;
use crate::failure::{Failure, resolve_by_hand, resolve_or_retry};
use crate::history::Marked;
use crate::invocation::command;
use crate::plan::{self, Pending};
use crate::sql::local;
use crate::sql::steps::Cut;
use crate::stop;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What is committed of a script whose row says how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    done: usize,
    of: usize,
    line: usize,
    unit: &'static str,
}

impl Left {
    pub(super) fn of(run: &Run<'_>) -> Left {
        Left {
            done: run.done,
            of: run.of,
            line: run.line(),
            unit: match run.cut {
                Cut::Transactions => "transactions",
                Cut::Statements => "steps",
            },
        }
    }

    /// The state of the database.
    pub(super) fn sentence(&self) -> String {
        match self.done {
            0 => "everything of this migration was rolled back: the database is as it was before it".into(),
            _ => format!("{}; nothing after that is in the database", self.committed()),
        }
    }

    /// What is committed.
    fn committed(&self) -> String {
        let Left { done, of, line, unit } = self;
        format!("the script committed part of itself: {done} of {of} {unit} are committed (to line {line})")
    }
}

impl Applier<'_> {
    /// Writes to the ledger outside any script.
    pub(super) async fn write(&self, sql: &str, pending: &Pending<'_>) -> Result<(), Failure> {
        let sql = format!("{}; {sql}", self.at_backend());
        let written = self.session.ours_beside_script(&sql).await;
        written.map(drop).map_err(|error| self.not_written(pending, &error))
    }

    pub(super) fn not_written(&self, pending: &Pending<'_>, error: &ServerError) -> Failure {
        let row = format!("the migration's row in {}", self.ledger.table());
        error::not_written(&row, pending.name, error)
    }

    pub(super) fn still_locked(&self, pending: &Pending<'_>, error: &ServerError) -> Failure {
        let mut failure = still_locked(pending, error, self.lock_retry_for);
        failure.details.extend(
            self.watch
                .blockers()
                .iter()
                .map(|blocker| format!("{blocker} was in its way")),
        );
        failure
    }

    /// Records a failure that left nothing behind as Prisma keeps a migration that was rolled back: nothing blocks, the next deploy tries again.
    pub(super) async fn rolled_back(&self, pending: &Pending<'_>, started: Instant, failure: Failure) -> Failure {
        let failure = rolled_back(self.advised(pending, failure).await);
        let id = Uuid::new_v4().to_string();
        let seconds = started.elapsed().as_secs_f64();
        let text = logs(&failure);
        let sql = self
            .ledger
            .record_rolled_back(&id, pending.name, &pending.checksum, seconds, &text);
        if failure.exit == Exit::RolledBack {
            self.record(pending, &sql).await;
        }
        failure
    }

    /// Ends a script that stopped at a place that is known: with nothing committed as one that was rolled back, else with its row as a later run can go
    /// on from.
    pub(super) async fn stopped(&self, run: &Run<'_>, failure: Failure) -> Failure {
        let mut failure = match self.cancelled_by(failure.sqlstate.as_deref()) {
            Some(reason) => stop::interrupted(reason, "").of(run.pending.name),
            None => self.advised(run.pending, failure).await,
        };
        let interrupted = failure.exit == Exit::Interrupted;
        let left = Left::of(run);
        let sql = if run.done == 0 {
            failure = rolled_back(failure);
            self.ledger.roll_back(&run.id, &logs(&failure))
        } else {
            failure.state = left.sentence();
            if !interrupted {
                let line = left.line;
                let by_hand = resolve_by_hand(run.pending.name);
                failure.next = match (run.cut, &failure.advice) {
                    // Nothing is wrong with the script.
                    _ if failure.exit == Exit::TableLock => failure.next,
                    (Cut::Statements, None) => format!(
                        "fix the statement after line {line} and deploy again: it goes on there if the lines up to {line} are unchanged; or {by_hand}"
                    ),
                    (Cut::Statements, Some(advice)) => format!(
                        "{advice}, then deploy again: it goes on after line {line} if the lines up to {line} are unchanged; or {by_hand}"
                    ),
                    (Cut::Transactions, None) => resolve_or_retry(run.pending.name, run.done + 1),
                    (Cut::Transactions, Some(advice)) => format!(
                        "{}; as to what stopped it: {advice}",
                        resolve_or_retry(run.pending.name, run.done + 1)
                    ),
                };
                if failure.exit != Exit::TableLock {
                    failure.exit = Exit::PartiallyCommitted;
                }
            }
            let mark = self.mark(run.marked(run.done, run.at, run.known()));
            let mark = self.ledger.remark(&run.id, &mark, run.done);
            match interrupted || failure.exit == Exit::TableLock {
                // Without an error below its mark it is gone on with by the next run.
                true => mark,
                false => format!("{mark}; {}", self.ledger.explain(&run.id, &logs(&failure))),
            }
        };
        self.record(run.pending, &sql).await;
        self.begin_again(&run.id, true).await;
        failure
    }

    /// Ends a script at a statement that has failed and whose leavings other sessions keep. Its row still announces the statement, so the next run goes on
    /// with it.
    pub(super) async fn left_behind(&self, run: &Run<'_>, locked: &Locked) -> Failure {
        let mut failure = locked.failure(run.pending.name);
        if run.done > 0 {
            failure.state = format!("{}; {}", Left::of(run).committed(), failure.state);
        }
        self.begin_again(&run.id, true).await;
        failure
    }

    /// Ends a script whose last statement may have committed something by itself.
    pub(super) async fn may_have_committed(&self, run: &Run<'_>, mut failure: Failure) -> Failure {
        failure.exit = match self.cancelled_by(failure.sqlstate.as_deref()) {
            Some(_) => Exit::InterruptedPartially,
            None => Exit::PartiallyCommitted,
        };
        let before = match run.done {
            0 => String::new(),
            _ => format!("{}; ", Left::of(run).committed()),
        };
        failure.state = format!(
            "{before}statement {} may have committed part of itself before it failed, since it can commit by itself",
            run.done + 1
        );
        failure.next = resolve_or_retry(run.pending.name, run.done + 1);
        self.record(run.pending, &self.ledger.explain(&run.id, &logs(&failure)))
            .await;
        self.begin_again(&run.id, true).await;
        failure
    }

    /// Ends a script of which it is not known, or not recorded, what is committed: its row blocks every deploy until a person has looked.
    pub(super) async fn unclear(
        &self,
        pending: &Pending<'_>,
        (id, row): (&str, Row),
        verdict: Verdict,
        sent: Sent,
        message: &Message,
    ) -> Failure {
        let nothing_raised = sent.error.is_none();
        let mut failure = self.explain(&context(pending), sent, message).await;
        if nothing_raised && verdict != Verdict::Partly {
            failure.what = format!(
                "the migration's row in {} is not as this run has written it",
                self.ledger.table()
            );
        }
        failure.exit = match self.cancelled_by(failure.sqlstate.as_deref()) {
            Some(_) => Exit::InterruptedPartially,
            None => Exit::PartiallyCommitted,
        };
        failure.state = match verdict {
            Verdict::Unrecorded => "all of this migration is committed, and its row is not closed",
            Verdict::Partly if row == Row::Finished => {
                "part of this migration is committed, or all of it: something else than this run has closed its row"
            }
            Verdict::Partly => {
                "the script committed part of itself before it failed: that part is in the database, the rest is not"
            }
            _ => "part of this migration may be committed, or all of it: its row cannot tell",
        }
        .into();
        failure.next = resolve_by_hand(pending.name);
        let undecidable = self.mark(Marked::Undecidable);
        let sql = match row {
            Row::Finished => self.ledger.reopen(id, &undecidable),
            Row::Missing => self.ledger.begin(id, pending.name, &pending.checksum, &undecidable),
            Row::Altered => self.ledger.remark(id, &undecidable, 0),
            Row::Ours(_) => String::from("SELECT"),
        };
        self.record(pending, &format!("{sql}; {}", self.ledger.explain(id, &logs(&failure))))
            .await;
        self.begin_again(id, true).await;
        failure
    }

    /// The failure with what the catalogue knows of its error: who owns what, whose event trigger it is. The script's transaction is over.
    async fn advised(&self, pending: &Pending<'_>, mut failure: Failure) -> Failure {
        if let Some(error) = failure.error.as_deref()
            && self.stop.reason().is_none()
        {
            let mut around = advice::look(self.session, error).await;
            if pending.sets_role {
                // It may have failed as another role than the run's.
                around = Around {
                    event_trigger: around.event_trigger,
                    ..Around::default()
                };
            }
            failure.advice = advice::of(error, &around);
        }
        failure
    }

    /// Writes to the ledger what explains a failure. If that fails, the failure itself is still told.
    async fn record(&self, pending: &Pending<'_>, sql: &str) {
        if let Err(error) = self.session.rows(sql).await {
            tracing::warn!(
                migration = pending.name,
                "the failure could not be recorded in the ledger: {}",
                error.message
            );
        }
    }

    /// The failure of a script that the server refuses as a whole, and that means something else statement by statement; none if it does not.
    pub(super) fn cannot_go_in_steps(
        &self,
        pending: &Pending<'_>,
        from: usize,
        refusal: Option<&ServerError>,
    ) -> Option<Failure> {
        let obstacle = local::obstacle(pending.script, &pending.statements(), from, refusal.is_none())?;
        let mut failure = plan::cannot_go_in_steps(pending.name, pending.script, &obstacle);
        if let Some(error) = refusal {
            failure = failure.detail(format!("the server refuses it in one transaction: {}", error.message));
            failure.sqlstate.clone_from(&error.sqlstate);
        }
        Some(failure)
    }
}

/// The failure's text as the ledger keeps it.
pub(super) fn logs(failure: &Failure) -> String {
    let mut text = format!("ERROR: {}", failure.what);
    if let Some(sqlstate) = &failure.sqlstate {
        text.push_str(&format!(" (SQLSTATE {sqlstate})"));
    }
    for detail in &failure.details {
        text.push_str(&format!("\n{detail}"));
    }
    if let Some(place) = &failure.place {
        text.push_str(&format!("\n{}", place.excerpt));
    }
    text
}

pub(super) fn rolled_back(mut failure: Failure) -> Failure {
    failure.state = "everything of this migration was rolled back: the database is as it was before it".into();
    if failure.next.is_empty() {
        let next = advice::then(failure.advice.as_deref(), "deploy again");
        let next = next.unwrap_or_else(|| "fix the SQL and deploy again".to_owned());
        failure.next = format!("{next}; there is nothing to resolve");
    }
    failure
}

fn still_locked(pending: &Pending<'_>, error: &ServerError, budget: Duration) -> Failure {
    let mut failure = Failure::new(
        Exit::TableLock,
        format!(
            "other sessions kept it from its locks for {}: {}",
            humantime::format_duration(budget),
            error.message
        ),
        "end the session that holds the locks or wait for it, then deploy again",
    )
    .of(pending.name);
    failure.sqlstate.clone_from(&error.sqlstate);
    failure.details.clone_from(&error.details);
    rolled_back(failure)
}

pub(super) fn no_verdict(pending: &Pending<'_>, error: &ServerError) -> Failure {
    let mut failure = Failure::new(
        Exit::Database,
        format!(
            "what became of the migration could not be read from the ledger: {}",
            error.message
        ),
        format!(
            "run `{}`, then deploy again: the migration's row decides",
            command(&["status"])
        ),
    )
    .of(pending.name)
    .state("this migration may be applied, in part or as a whole; its row tells the next run");
    failure.connection_lost = error.closed;
    failure.sqlstate.clone_from(&error.sqlstate);
    failure
}
