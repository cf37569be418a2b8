//! What interrupted runs left: every unfinished row of ours is judged before anything new is planned.
//!
//! Only under the migration lock, and only where no backend still works on the row.

use crate::apply::alone::{self, Evidence};
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::history::{History, Ledger, Mark, Marked, Row};
use crate::migration::Migration;
use crate::sql::kind::Alone;
use crate::sql::quote;
use crate::sql::script;
use crate::sql::steps::{self, Step};

/// What was settled: sentences for the outcome.
pub type Settled = Vec<String>;

/// Why the rows could not be judged.
#[derive(Debug)]
pub enum RecoverError {
    /// Another backend still holds the row of this migration.
    Busy(String),
    /// The server's error.
    Server(ServerError),
}

impl From<ServerError> for RecoverError {
    fn from(error: ServerError) -> Self {
        RecoverError::Server(error)
    }
}

/// Settles what can be decided without a person, in the ledger. The history must be read again afterwards if anything was settled.
///
/// # Errors
/// A row is still being worked on, or the server's error.
pub async fn settle(
    session: &Session,
    ledger: &Ledger,
    history: &History,
    migrations: &[Migration],
) -> Result<Settled, RecoverError> {
    let mut settled = Vec::new();
    for row in history.unfinished() {
        let Some(mark) = row.mark() else { continue };
        free(session, ledger, row).await?;
        let Some(migration) = migrations.iter().find(|migration| migration.name == row.migration) else {
            continue;
        };
        let Ok(script) = migration.script.text() else { continue };
        let done = match &mark.state {
            Marked::Partial => enclosed(session, ledger, row, migration, script).await?,
            Marked::Alone { step, prefix, before } => {
                let statements = script::statements(script);
                let steps = steps::steps(script, &statements);
                let at = step.saturating_sub(1);
                match steps
                    .get(at)
                    .and_then(|step| step.alone.as_ref().map(|alone| (step, alone)))
                {
                    Some((_, alone)) if steps::prefix(script, &steps, at) == *prefix => {
                        let evidence = evidence(session, (script, &steps, at, alone), before).await?;
                        sent_alone(session, ledger, row, &mark, (script, &steps, at, alone), evidence).await?
                    }
                    _ => None,
                }
            }
            Marked::Steps { .. } | Marked::Undecidable => None,
        };
        settled.extend(done);
    }
    Ok(settled)
}

/// Takes back what this very run announced in a row and did not come to send: nothing of it can have run.
///
/// # Errors
/// The server's.
pub async fn take_back(session: &Session, ledger: &Ledger, row: &Row) -> Result<(), ServerError> {
    let sql = match row.mark().map(|mark| (mark.run_id, mark.state)) {
        Some((_, Marked::Alone { step: 1, .. })) => ledger.roll_back(&row.id, NEVER_SENT),
        Some((run_id, Marked::Alone { step, prefix, .. })) => {
            let done = step.saturating_sub(1);
            ledger.remark(
                &row.id,
                &Mark {
                    run_id,
                    state: Marked::Steps { done, prefix },
                },
                done,
            )
        }
        _ => return Ok(()),
    };
    session.rows(&sql).await.map(drop)
}

const NEVER_SENT: &str = "the connection was lost before the script was sent";

/// An old backend may outlive its client and still work on the row.
async fn free(session: &Session, ledger: &Ledger, row: &Row) -> Result<(), RecoverError> {
    let sql = format!(
        "SELECT FROM {} WHERE id = {} FOR UPDATE NOWAIT",
        ledger.table(),
        quote::literal(&row.id)
    );
    match session.rows(&sql).await {
        Ok(_) => Ok(()),
        // lock_not_available.
        Err(error) if error.is(&["55P03"]) => Err(RecoverError::Busy(row.migration.clone())),
        Err(error) => Err(RecoverError::Server(error)),
    }
}

/// A script whose only transaction control is a leading BEGIN and a last COMMIT: that its row is visible proves that all of it is in.
async fn enclosed(
    session: &Session,
    ledger: &Ledger,
    row: &Row,
    migration: &Migration,
    script: &str,
) -> Result<Option<String>, RecoverError> {
    let unchanged = migration.script.checksum() == Some(row.checksum.as_str());
    if !unchanged || !script::is_enclosed(&script::statements(script)) {
        return Ok(None);
    }
    session.rows(&ledger.close(&row.id, &row.checksum)).await?;
    Ok(Some(format!(
        "migration {}: an interrupted run had committed all of it; its row is closed",
        row.migration
    )))
}

/// What the catalogue says of a statement, read with the settings that the script had made before it: its names may mean something else without.
async fn evidence(
    session: &Session,
    (script, steps, at, alone): (&str, &[Step], usize, &Alone),
    before: &[u32],
) -> Result<Evidence, RecoverError> {
    let settings: Vec<&Step> = steps.iter().take(at).filter(|step| step.setting).collect();
    for step in &settings {
        session.raw(&script[step.range.clone()]).await?;
    }
    let evidence = alone::evidence(session, alone, before).await?;
    if !settings.is_empty() {
        session.reset().await?;
    }
    Ok(evidence)
}

/// A statement that was sent by itself, by what the catalogue says of it.
async fn sent_alone(
    session: &Session,
    ledger: &Ledger,
    row: &Row,
    mark: &Mark,
    (script, steps, at, alone): (&str, &[Step], usize, &Alone),
    evidence: Evidence,
) -> Result<Option<String>, RecoverError> {
    let name = &row.migration;
    let done = match evidence {
        Evidence::Unknown => return Ok(None),
        Evidence::Done => at + 1,
        Evidence::NotDone => at,
    };
    let said = match evidence {
        Evidence::Done => format!("migration {name}: an interrupted run had finished {}", describe(alone)),
        _ => format!(
            "migration {name}: an interrupted run had not finished {}: it runs again",
            describe(alone)
        ),
    };
    let sql = if done == steps.len() {
        ledger.close(&row.id, &row.checksum)
    } else if done == 0 {
        ledger.roll_back(&row.id, &format!("{mark}\ninterrupted; nothing of it is left"))
    } else {
        let state = Marked::Steps {
            done,
            prefix: steps::prefix(script, steps, done),
        };
        ledger.remark(
            &row.id,
            &Mark {
                run_id: mark.run_id.clone(),
                state,
            },
            done,
        )
    };
    session.rows(&sql).await?;
    Ok(Some(said))
}

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
        Alone::Repeatable { .. } | Alone::Opaque { .. } => "its statement".to_owned(),
    }
}
