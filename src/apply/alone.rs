//! Statements that cannot run in a transaction block: what the catalogue says of them before, after, and after an interruption.

use super::error;
use crate::database::server_error::ServerError;
use crate::database::session::{Sent, Session};
use crate::history::Found;
use crate::sql::quote;
use crate::sql::script;
use crate::stop::Stop;

/// How a statement ended that was sent by itself.
#[derive(Debug)]
pub enum AloneEnd {
    /// It is done.
    Done,
    /// It failed and left nothing behind.
    Failed(ServerError),
    /// Other sessions stood in its way; it left nothing behind and can be tried again.
    Contention(ServerError),
    /// There is an INVALID index of its name that is not this statement's.
    Invalid {
        /// The index's qualified name.
        index: String,
        /// What the server said, where it failed.
        error: Option<ServerError>,
    },
    /// It failed, and may have committed something.
    Unknown(ServerError),
}

/// What the catalogue says of an interrupted statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It is done.
    Done,
    /// It is not; what it left is cleaned up.
    NotDone,
    /// Nothing can be said.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
enum Index {
    Absent,
    Valid,
    Invalid(String),
}

/// What is there before the statement is sent.
///
/// # Errors
/// The server's.
pub async fn look(session: &Session, alone: &script::Alone) -> Result<Found, ServerError> {
    let present = match alone {
        script::Alone::CreateIndex {
            index: Some(index),
            table,
            ..
        } => self::index(session, index, table).await? != Index::Absent,
        script::Alone::Global { database, name, .. } => global(session, *database, name).await?,
        script::Alone::Repeatable { concurrently: true } => {
            let leftovers = leftovers(session).await?;
            for index in &leftovers {
                tracing::warn!(
                    "the INVALID index {index} was there before and is left as it is: an interrupted REINDEX left it"
                );
            }
            !leftovers.is_empty()
        }
        _ => false,
    };
    Ok(if present { Found::Present } else { Found::Absent })
}

/// Sends the statement and looks at what it left. Nothing where the run is to stop and the statement did not end in time.
pub async fn send(
    session: &Session,
    stop: &Stop,
    alone: &script::Alone,
    text: &str,
    found: Found,
) -> Option<Result<AloneEnd, ServerError>> {
    let lifted = match lift_lock_timeout(session, alone).await {
        Ok(lifted) => lifted,
        Err(error) => return Some(Err(error)),
    };
    let sent = stop.ended(session, session.script(text.to_owned())).await?;
    // To drop an INVALID index is to wait for whoever uses its table.
    stop.in_time(settle(session, alone, sent, found, lifted)).await
}

async fn lift_lock_timeout(session: &Session, alone: &script::Alone) -> Result<bool, ServerError> {
    // The CONCURRENTLY family waits for old snapshots, and when lock_timeout ends that wait it leaves an INVALID index: no limit, unless the script
    // has set one.
    Ok(alone.is_concurrent()
        && !session
            .rows(
                "SELECT pg_catalog.set_config('lock_timeout', '0', false) FROM pg_catalog.pg_settings \
                 WHERE name OPERATOR(pg_catalog.=) 'lock_timeout' AND setting OPERATOR(pg_catalog.=) reset_val",
            )
            .await?
            .is_empty())
}

async fn settle(
    session: &Session,
    alone: &script::Alone,
    sent: Sent,
    found: Found,
    lifted: bool,
) -> Result<AloneEnd, ServerError> {
    if let Some(error) = sent.error.as_ref().filter(|error| error.closed) {
        return Err(error.clone());
    }
    session.rows("ROLLBACK").await?;
    let end = ended(session, alone, sent.error, found).await?;
    if lifted {
        session.rows("RESET lock_timeout").await?;
    }
    Ok(end)
}

async fn ended(
    session: &Session,
    alone: &script::Alone,
    error: Option<ServerError>,
    found: Found,
) -> Result<AloneEnd, ServerError> {
    if let script::Alone::CreateIndex {
        index: Some(index),
        table,
        ..
    } = alone
        && let Index::Invalid(name) = self::index(session, index, table).await?
    {
        if found == Found::Present || error.is_none() {
            return Ok(AloneEnd::Invalid { index: name, error });
        }
        drop_index(session, &name).await?;
    }
    if error.is_some() {
        drop_leftovers(session, alone, found).await?;
    }
    Ok(match error {
        None => AloneEnd::Done,
        Some(error) if matches!(alone, script::Alone::Opaque { commits: true }) => AloneEnd::Unknown(error),
        Some(error) if error::is_contention(&error) => AloneEnd::Contention(error),
        Some(error) => AloneEnd::Failed(error),
    })
}

/// What the catalogue says of a statement whose run was interrupted; an INVALID index that it left is dropped.
///
/// # Errors
/// The server's.
pub async fn evidence(session: &Session, alone: &script::Alone, found: Found) -> Result<Evidence, ServerError> {
    // What it left is dropped as it was made: with no limit to the wait for whoever uses the table.
    let lifted = lift_lock_timeout(session, alone).await?;
    let evidence = read_evidence(session, alone, found).await?;
    if lifted {
        session.rows("RESET lock_timeout").await?;
    }
    Ok(evidence)
}

async fn read_evidence(session: &Session, alone: &script::Alone, found: Found) -> Result<Evidence, ServerError> {
    match alone {
        // Without IF NOT EXISTS it cannot have done anything to an index that was there before; with it, it did nothing.
        script::Alone::CreateIndex { .. } if found == Found::Present => Ok(Evidence::NotDone),
        script::Alone::CreateIndex {
            index: Some(index),
            table,
            ..
        } => match self::index(session, index, table).await? {
            Index::Valid => Ok(Evidence::Done),
            Index::Absent => Ok(Evidence::NotDone),
            Index::Invalid(name) => {
                tracing::warn!("the interrupted run left the index {name} INVALID: it is dropped and built again");
                drop_index(session, &name).await?;
                Ok(Evidence::NotDone)
            }
        },
        script::Alone::DropIndex(name) => {
            let there = exists(
                session,
                &format!(
                    "SELECT WHERE pg_catalog.to_regclass({}) IS NOT NULL",
                    quote::literal(name)
                ),
            )
            .await?;
            Ok(if there { Evidence::NotDone } else { Evidence::Done })
        }
        script::Alone::DetachPartition { parent, partition } => detached(session, parent, partition).await,
        script::Alone::Repeatable { .. } => {
            drop_leftovers(session, alone, found).await?;
            Ok(Evidence::NotDone)
        }
        script::Alone::Global { create, database, name } => {
            let there = global(session, *database, name).await?;
            Ok(match (there == *create, found == Found::Present) {
                // It was there before a CREATE, or was not before a DROP: the statement cannot have done anything.
                (_, before) if before == *create => Evidence::NotDone,
                (true, _) => Evidence::Done,
                (false, _) => Evidence::NotDone,
            })
        }
        script::Alone::CreateIndex { index: None, .. } | script::Alone::Opaque { .. } => Ok(Evidence::Unknown),
    }
}

/// The index of this name beside its table: names as written in the statement, resolved by the server as it resolves them there.
async fn index(session: &Session, index: &str, table: &str) -> Result<Index, ServerError> {
    let rows = session
        .rows(&format!(
            "SELECT i.indisvalid, pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' \
             OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname) \
             FROM pg_catalog.pg_class t \
             JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) t.relnamespace \
             JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid \
             WHERE t.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({table}) \
             AND c.relname OPERATOR(pg_catalog.=) (pg_catalog.parse_ident({index}))[1]::pg_catalog.name",
            table = quote::literal(table),
            index = quote::literal(index),
        ))
        .await?;
    Ok(match rows.first() {
        None => Index::Absent,
        Some(row) if row.get(0) == Some("t") => Index::Valid,
        Some(row) => Index::Invalid(row.get(1).unwrap_or_default().to_owned()),
    })
}

async fn drop_index(session: &Session, name: &str) -> Result<(), ServerError> {
    session
        .rows(&format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        .await
        .map(drop)
}

/// The INVALID indexes that REINDEX CONCURRENTLY leaves when it is interrupted, by the names that it gives them (PostgreSQL's documentation, REINDEX,
/// "Rebuilding Indexes Concurrently"). Those of TOAST tables are not the user's to drop.
async fn leftovers(session: &Session) -> Result<Vec<String>, ServerError> {
    let rows = session
        .rows(
            "SELECT pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname) \
             FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             WHERE NOT i.indisvalid AND c.relname OPERATOR(pg_catalog.~) '_cc(new|old)[0-9]*$' AND n.nspname OPERATOR(pg_catalog.<>) 'pg_toast'",
        )
        .await?;
    Ok(rows.iter().filter_map(|row| row.get(0)).map(str::to_owned).collect())
}

/// Drops what an interrupted REINDEX CONCURRENTLY left, where nothing of the kind was there before it: then it is this one's.
async fn drop_leftovers(session: &Session, alone: &script::Alone, found: Found) -> Result<(), ServerError> {
    if *alone != (script::Alone::Repeatable { concurrently: true }) || found == Found::Present {
        return Ok(());
    }
    for index in leftovers(session).await? {
        tracing::warn!("the interrupted REINDEX left the index {index} INVALID: it is dropped");
        drop_index(session, &index).await?;
    }
    Ok(())
}

async fn global(session: &Session, database: bool, name: &str) -> Result<bool, ServerError> {
    let (table, column) = if database {
        ("pg_database", "datname")
    } else {
        ("pg_tablespace", "spcname")
    };
    let name = quote::literal(name);
    exists(
        session,
        &format!(
            "SELECT FROM pg_catalog.{table} WHERE {column} OPERATOR(pg_catalog.=) (pg_catalog.parse_ident({name}))[1]::pg_catalog.name"
        ),
    )
    .await
}

/// A concurrent detach that was interrupted between its two transactions is finished here (PostgreSQL 14 and newer).
async fn detached(session: &Session, parent: &str, partition: &str) -> Result<Evidence, ServerError> {
    let rows = session
        .rows(&format!(
            "SELECT i.inhdetachpending FROM pg_catalog.pg_inherits i \
             WHERE i.inhparent OPERATOR(pg_catalog.=) pg_catalog.to_regclass({}) AND i.inhrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({})",
            quote::literal(parent),
            quote::literal(partition)
        ))
        .await?;
    match rows.first() {
        None => Ok(Evidence::Done),
        Some(row) if row.get(0) == Some("t") => {
            session
                .rows(&format!("ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE"))
                .await?;
            Ok(Evidence::Done)
        }
        Some(_) => Ok(Evidence::NotDone),
    }
}

async fn exists(session: &Session, select: &str) -> Result<bool, ServerError> {
    let rows = session.rows(&format!("SELECT EXISTS ({select})")).await?;
    Ok(rows.first().is_some_and(|row| row.get(0) == Some("t")))
}
