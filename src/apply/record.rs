//! What a failure leaves in the ledger and says to the reader.

use super::Applier;
use crate::database::server_error::ServerError;
use crate::exit::Exit;
use crate::failure::{Failure, resolve_by_hand};
use crate::plan::Pending;
use crate::sql::script::Shape;
use std::time::{Duration, Instant};
use uuid::Uuid;

impl Applier<'_> {
    /// Writes to the ledger outside any script.
    pub(super) async fn write(&self, sql: &str, pending: &Pending<'_>) -> Result<(), Failure> {
        let sql = format!("{}; {sql}", self.at_backend());
        self.session.rows(&sql).await.map(drop).map_err(|error| {
            let mut failure = Failure::new(
                Exit::Database,
                format!(
                    "the migration's row in {} could not be written: {}",
                    self.ledger.table(),
                    error.message
                ),
                "look for missing privileges, rules, triggers or row security on the table",
            )
            .of(pending.name);
            failure.connection_lost = error.closed;
            failure.sqlstate = error.sqlstate;
            failure
        })
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
        let failure = rolled_back(failure);
        let id = Uuid::new_v4().to_string();
        let seconds = started.elapsed().as_secs_f64();
        let text = logs(&failure);
        let sql = self
            .ledger
            .record_rolled_back(&id, pending.name, &pending.checksum, seconds, &text);
        if failure.exit == Exit::RolledBack
            && let Err(error) = self.session.rows(&sql).await
        {
            tracing::warn!(
                migration = pending.name,
                "the failure could not be recorded in the ledger: {}",
                error.message
            );
        }
        failure
    }

    /// Leaves the row unfinished, so that it blocks every deploy until a person has looked, with the error below its mark.
    pub(super) async fn partially_committed(&self, pending: &Pending<'_>, id: &str, mut failure: Failure) -> Failure {
        failure.exit = match self.cancelled_by(failure.sqlstate.as_deref()) {
            Some(_) => Exit::InterruptedPartially,
            None => Exit::PartiallyCommitted,
        };
        if pending.shape == Shape::Undecidable {
            failure.state = "the script holds a ROLLBACK of its own, so what it committed before the failure cannot be told from outside".into();
        } else {
            failure.state =
                "the script committed part of itself before it failed: that part is in the database, the rest is not"
                    .into();
        }
        failure.next = resolve_by_hand(pending.name);
        if let Err(error) = self.session.rows(&self.ledger.explain(id, &logs(&failure))).await {
            tracing::warn!(
                migration = pending.name,
                "the error could not be added to the ledger: {}",
                error.message
            );
        }
        failure
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
        failure.next = "fix the SQL and deploy again; there is nothing to resolve".into();
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
        "run `prisma-migrate-task status`, then deploy again: the migration's row decides",
    )
    .of(pending.name)
    .state("the migration is either applied or not; the ledger knows");
    failure.connection_lost = error.closed;
    failure.sqlstate.clone_from(&error.sqlstate);
    failure
}
