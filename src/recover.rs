//! What interrupted runs left: every unfinished row of ours is judged before anything new is planned.
//!
//! Only under the migration lock, and only where no backend still works on the row.

use crate::apply::alone::{self, Before, Evidence};
use crate::apply::cleanup::{Cleanup, NotCleaned};
use crate::apply::session_state::{self, NotRestored};
use crate::database::lock;
use crate::database::open::Login;
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::failure::Failure;
use crate::history::{Backend, History, Ledger, Mark, Marked, Prefix, Progress, Row, SessionMark};
use crate::migration::Migration;
use crate::sql::kind::{Alone, Kind};
use crate::sql::quote;
use crate::sql::script::{self, Statement, Strings};
use crate::sql::steps;
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

/// What is needed to settle what interrupted runs left.
pub struct Recovery<'a> {
    /// The session that holds the migration lock.
    pub session: &'a Session,
    /// Its backend.
    pub backend: &'a Backend,
    /// As whom it began.
    pub login: &'a Login,
    /// Where the rows are.
    pub ledger: &'a Ledger,
    /// How the server reads strings.
    pub strings: Strings,
    /// How long a backend is waited for that still works on a row.
    pub wait: Duration,
    /// Whether such a backend is ended.
    pub terminate: bool,
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
        let mut settled = Vec::new();
        for row in history.unfinished() {
            let Some(mark) = row.mark() else { continue };
            self.until_free(row, mark.backend.as_ref()).await?;
            let Some(migration) = migrations.iter().find(|migration| migration.name == row.migration) else {
                continue;
            };
            let Ok(script) = migration.script.text() else { continue };
            let done = match &mark.state {
                Marked::Partial(None) => self.enclosed(row, migration, script).await?,
                Marked::Alone {
                    progress,
                    before,
                    names,
                } => {
                    let before = Before {
                        before: before.clone(),
                        names: names.clone(),
                    };
                    self.sent_alone(row, &mark, script, progress, before).await?
                }
                Marked::Partial(Some(_)) | Marked::Steps(_) | Marked::Undecidable => None,
            };
            settled.extend(done);
        }
        Ok(settled)
    }

    /// Waits until nobody works on the row any more: neither the backend that wrote it, which may outlive its client, nor one that holds it.
    async fn until_free(&self, row: &Row, writer: Option<&Backend>) -> Result<(), RecoverError> {
        let until = Instant::now() + self.wait;
        if let Some(backend) = writer.filter(|backend| *backend != self.backend) {
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

    /// A script whose only transaction control is a leading BEGIN and a last COMMIT, sent by a build that closed its row behind it: that its row is
    /// visible proves that all of it is in.
    async fn enclosed(&self, row: &Row, migration: &Migration, script: &str) -> Result<Option<String>, RecoverError> {
        let unchanged = migration.script.checksum() == Some(row.checksum.as_str());
        if !unchanged || !script::is_enclosed(&script::statements_with(script, self.strings)) {
            return Ok(None);
        }
        self.session.rows(&self.ledger.close(&row.id, &row.checksum)).await?;
        Ok(Some(format!(
            "migration {}: an interrupted run had committed all of it; its row is closed",
            row.migration
        )))
    }

    /// A statement that was sent by itself, by what the catalogue says of it.
    async fn sent_alone(
        &self,
        row: &Row,
        mark: &Mark,
        script: &str,
        progress: &Progress,
        mut before: Before,
    ) -> Result<Option<String>, RecoverError> {
        let statements = script::statements_with(script, self.strings);
        let boundaries = steps::boundaries(script, &statements);
        let found = boundaries.iter().find(|boundary| match &progress.before {
            Prefix::Text(hash) => boundary.text == *hash,
            Prefix::Raw(hash) => boundary.raw == *hash,
        });
        let Some(boundary) = found else { return Ok(None) };
        let at = statements.partition_point(|statement| statement.range.start < boundary.at);
        let (skipped, left) = statements.split_at(at);
        let Some(Kind::Alone(alone)) = left.first().map(|statement| &statement.kind) else {
            return Ok(None);
        };
        let evidence = match before.names.is_empty() && progress.session == SessionMark::Absent {
            // Builds up to 0.1 kept names, and no settings.
            true => {
                let Some(names) = self.names_by_settings(alone, (script, skipped)).await? else {
                    return Ok(None);
                };
                before.names = names;
                self.evidence(row, alone, &before).await?
            }
            false => self.evidence(row, alone, &before).await?,
        };
        let name = &row.migration;
        let (done, end) = match evidence {
            Evidence::Unknown => return Ok(None),
            Evidence::Done => (
                progress.done + 1,
                left.first().map_or(boundary.at, |first| first.range.end),
            ),
            Evidence::NotDone => (progress.done, boundary.at),
        };
        let said = match evidence {
            Evidence::Done => format!("migration {name}: an interrupted run had finished {}", describe(alone)),
            _ => format!(
                "migration {name}: an interrupted run had not finished {}: it runs again",
                describe(alone)
            ),
        };
        let sql = if evidence == Evidence::Done && left.len() == 1 {
            self.ledger.close(&row.id, &row.checksum)
        } else if done == 0 {
            self.ledger
                .roll_back(&row.id, &format!("{mark}\ninterrupted; nothing of it is left"))
        } else {
            let text = boundaries.iter().find(|boundary| boundary.at == end);
            let progress = Progress {
                done,
                before: Prefix::Text(text.map(|boundary| boundary.text.clone()).unwrap_or_default()),
                session: progress.session.clone(),
            };
            let mark = Mark {
                state: Marked::Steps(progress),
                ..mark.clone()
            };
            self.ledger.remark(&row.id, &mark, done)
        };
        self.session.rows(&sql).await?;
        Ok(Some(said))
    }

    async fn evidence(&self, row: &Row, alone: &Alone, before: &Before) -> Result<Evidence, RecoverError> {
        let cleanup = Cleanup {
            session: self.session,
            watch: self.watch,
            migration: &row.migration,
            retry_for: self.retry_for,
        };
        let evidence = alone::evidence(&cleanup, alone, before).await;
        self.watch.end();
        evidence.map_err(|left| match left {
            NotCleaned::Locked(locked) => RecoverError::Left(Box::new(locked.failure(&row.migration))),
            NotCleaned::Server(error) => RecoverError::Server(error),
        })
    }

    /// What a statement names, resolved with the settings that the script had made before it.
    async fn names_by_settings(
        &self,
        alone: &Alone,
        skipped: (&str, &[Statement]),
    ) -> Result<Option<Vec<u32>>, RecoverError> {
        match session_state::run_settings(self.session, skipped).await {
            Ok(()) => {}
            Err(NotRestored::Server(error)) if error.closed => return Err(RecoverError::Server(error)),
            Err(_) => return Ok(None),
        }
        let names = alone::look(self.session, alone).await?.names;
        self.session.reset().await?;
        Ok(Some(names))
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

fn describe(alone: &Alone) -> String {
    match alone {
        Alone::CreateIndex { index, .. } => {
            format!("CREATE INDEX CONCURRENTLY {}", index.as_deref().unwrap_or_default())
        }
        Alone::DropIndex(index) => format!("DROP INDEX CONCURRENTLY {index}"),
        Alone::DetachPartition { partition, .. } => format!("DETACH PARTITION {partition} CONCURRENTLY"),
        Alone::Global { create, database, name } => format!(
            "{} {} {name}",
            if *create { "CREATE" } else { "DROP" },
            if *database { "DATABASE" } else { "TABLESPACE" }
        ),
        Alone::Repeatable { .. } | Alone::WantsBlock | Alone::Opaque { .. } => "its statement".to_owned(),
    }
}
