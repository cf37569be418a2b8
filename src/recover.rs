//! What interrupted runs left: carries out what the judgement says of every unfinished row of ours, before anything new is planned.
//!
//! Only under the migration lock, and only if no backend still works on the row.

use crate::apply::alone;
use crate::apply::cleanup::{Cleanup, NotCleaned};
use crate::database::lock;
use crate::database::open::{self, Server};
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{Backend, History, Ledger, Mark, Marked, Row};
use crate::judgement::{Evidence, Judgement, Settlement, Standing, Write};
use crate::migration::Migration;
use crate::sql::quote;
use crate::watch::Watch;
use std::time::{Duration, Instant};

/// What was settled: sentences for the outcome.
pub type Settled = Vec<String>;

/// Why the rows could not be judged.
#[derive(Debug)]
pub enum RecoverError {
    /// Another backend still holds the row of this migration, or the backend that wrote it lives.
    Busy(String, Option<Backend>),
    /// Other sessions keep what an interrupted statement left.
    Left(Box<Failure>),
    /// The server's error.
    Server(ServerError),
}

impl From<ServerError> for RecoverError {
    fn from(error: ServerError) -> Self {
        RecoverError::Server(error)
    }
}

/// The failure of a run that could not settle what an interrupted one left.
pub fn not_settled(error: RecoverError) -> Failure {
    match error {
        RecoverError::Busy(migration, backend) => still_at_work(&migration, backend.as_ref()),
        RecoverError::Left(failure) => *failure,
        RecoverError::Server(error) => open::unusable("what an interrupted run left could not be examined", &error),
    }
}

/// The failure of a run that has waited in vain for a backend of an earlier one.
pub fn still_at_work(migration: &str, backend: Option<&Backend>) -> Failure {
    let (what, next) = match backend {
        Some(Backend { pid, .. }) => (
            format!("backend {pid} of an earlier session still works on it"),
            format!(
                "wait until backend {pid} has ended, or end it with `SELECT pg_terminate_backend({pid})`, then deploy again"
            ),
        ),
        None => (
            "another backend still works on its row".to_owned(),
            "wait until that backend has ended, or end it with pg_terminate_backend, then deploy again".to_owned(),
        ),
    };
    Failure::new(Exit::MigrationLock, what, next)
        .of(migration)
        .state("that backend may still commit the migration; this run has not touched it")
}

/// What is needed to wait until nobody works on a row any more.
pub struct Rows<'a> {
    /// The session that holds the migration lock.
    pub session: &'a Session,
    /// The server as the session sees it.
    pub server: &'a Server,
    /// Where the rows are.
    pub ledger: &'a Ledger,
    /// How long a backend is waited for that still works on a row.
    pub wait: Duration,
    /// Whether such a backend is ended.
    pub terminate: bool,
}

/// What is needed to settle what interrupted runs left.
pub struct Recovery<'a> {
    /// The rows.
    pub rows: Rows<'a>,
    /// Sees who keeps what an interrupted statement left from being cleaned up.
    pub watch: &'a Watch,
    /// How long those are waited for.
    pub retry_for: Duration,
}

impl Recovery<'_> {
    /// Settles what can be decided without a person, in the ledger. The history must be read again afterwards if anything was settled.
    ///
    /// # Errors
    /// A row is still being worked on, or the server's error.
    pub async fn settle(&self, history: &History, migrations: &[Migration]) -> Result<Settled, RecoverError> {
        let Rows { session, server, .. } = self.rows;
        let Some(history) = &self.rows.until_free(history, |_| true).await? else {
            return Ok(Vec::new());
        };
        let evidence = Evidence::read(session, server, history, migrations).await?;
        let judgement = Judgement::new(migrations, history, &evidence, server.strings);
        let mut said = Vec::new();
        for judged in judgement.all() {
            if let Standing::Settled(settlement) = &judged.standing {
                self.write(judged.name, settlement).await?;
                let found = &settlement.found;
                said.push(match settlement.then {
                    Standing::Applied => format!("migration {}: {found}; its row is closed", judged.name),
                    Standing::RolledBack => format!("migration {}: {found}; it runs again", judged.name),
                    _ => format!("migration {}: {found}", judged.name),
                });
            }
        }
        Ok(said)
    }

    async fn write(&self, migration: &str, settlement: &Settlement) -> Result<(), RecoverError> {
        let Rows { session, ledger, .. } = self.rows;
        if !settlement.left.is_empty() {
            let cleanup = Cleanup {
                session,
                watch: self.watch,
                migration,
                retry_for: self.retry_for,
            };
            let cleaned = alone::clean(&cleanup, &settlement.left).await;
            self.watch.end();
            cleaned.map_err(|left| match left {
                NotCleaned::Locked(locked) => RecoverError::Left(Box::new(locked.failure(migration))),
                NotCleaned::Server(error) => RecoverError::Server(error),
            })?;
        }
        let row = &settlement.row;
        let sql = match &settlement.write {
            Write::Close { checksum } => ledger.close(row, checksum),
            Write::RollBack { logs } => ledger.roll_back(row, logs),
            Write::Remark { mark, done } => ledger.remark(row, mark, *done),
        };
        session.rows(&sql).await?;
        Ok(())
    }
}

impl Rows<'_> {
    /// Waits until nobody works on these unfinished rows any more, and reads the ledger again: a backend that was waited for may have finished its row.
    /// None if there is no such row.
    ///
    /// # Errors
    /// Somebody still works on one of them when [`Rows::wait`] is over; the ledger cannot be read; the server's.
    pub async fn until_free(
        &self,
        history: &History,
        which: impl Fn(&Row) -> bool,
    ) -> Result<Option<History>, RecoverError> {
        let mut rows = history.unfinished().filter(|row| which(row)).peekable();
        if rows.peek().is_none() {
            return Ok(None);
        }
        for row in rows {
            self.until_one_is_free(row).await?;
        }
        let read = open::read_history(self.session, self.ledger).await;
        read.map(Some).map_err(|failure| RecoverError::Left(Box::new(failure)))
    }

    /// Waits until nobody works on the row any more: neither the backend that wrote it, which may outlive its client, nor one that holds it.
    ///
    /// # Errors
    /// Somebody still works on it when [`Rows::wait`] is over; the server's.
    async fn until_one_is_free(&self, row: &Row) -> Result<(), RecoverError> {
        let Some(mark) = row.mark() else { return Ok(()) };
        let until = Instant::now() + self.wait;
        if let Some(backend) = mark.backend.as_ref().filter(|backend| **backend != self.server.backend) {
            lock::until_gone(self.session, backend, self.wait, self.terminate)
                .await?
                .map_err(|alive| RecoverError::Busy(row.migration.clone(), Some(alive)))?;
        }
        let sql = format!(
            "SELECT FROM {} WHERE id = {} FOR UPDATE NOWAIT",
            self.ledger.table(),
            quote::literal(&row.id)
        );
        loop {
            match self.session.rows(&sql).await {
                Ok(_) => return Ok(()),
                // lock_not_available.
                Err(error) if error.is(&["55P03"]) && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) if error.is(&["55P03"]) => return Err(RecoverError::Busy(row.migration.clone(), None)),
                Err(error) => return Err(RecoverError::Server(error)),
            }
        }
    }
}

/// Takes back what this very run announced in a row and did not come to send: nothing of it can have run.
///
/// # Errors
/// The server's.
pub async fn take_back(session: &Session, ledger: &Ledger, row: &Row) -> Result<(), ServerError> {
    let Some(mark) = row.mark() else { return Ok(()) };
    let sql = match &mark.state {
        Marked::Alone { progress, .. } if progress.done == 0 => ledger.roll_back(&row.id, NEVER_SENT),
        Marked::Alone { progress, .. } => {
            let done = progress.done;
            let mark = Mark {
                state: Marked::Steps(progress.clone()),
                ..mark.clone()
            };
            ledger.remark(&row.id, &mark, done)
        }
        _ => return Ok(()),
    };
    session.rows(&sql).await.map(drop)
}

const NEVER_SENT: &str = "the connection was lost before the script was sent";
