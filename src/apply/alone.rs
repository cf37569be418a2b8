//! Statements that cannot run in a transaction block: what the catalogue says of them before, after, and after an interruption.

use super::error;
use crate::database::server_error::ServerError;
use crate::database::session::{Sent, Session};
use crate::sql::kind::Alone;
use crate::sql::quote;
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

/// What the statement could add to or take away, as it is before: the table's indexes, the INVALID indexes of the database, the database or
/// tablespace of its name.
///
/// # Errors
/// The server's.
pub async fn look(session: &Session, alone: &Alone) -> Result<Vec<u32>, ServerError> {
    let sql = match alone {
        Alone::CreateIndex { table, .. } => indexes_of(table),
        Alone::Repeatable { concurrently: true } => invalid_indexes(),
        Alone::Global { database, name, .. } => global(*database, name),
        _ => return Ok(Vec::new()),
    };
    Ok(things(session, &sql)
        .await?
        .into_iter()
        .map(|thing| thing.oid)
        .collect())
}

/// Sends the statement and looks at what it left. Nothing where the run is to stop and the statement did not end in time.
pub async fn send(
    session: &Session,
    stop: &Stop,
    alone: &Alone,
    text: &str,
    before: &[u32],
) -> Option<Result<AloneEnd, ServerError>> {
    let lifted = match lift_lock_timeout(session, alone).await {
        Ok(lifted) => lifted,
        Err(error) => return Some(Err(error)),
    };
    let sent = stop.ended(session, session.script(text.to_owned())).await?;
    // To drop an INVALID index is to wait for whoever uses its table.
    stop.in_time(settle(session, alone, sent, before, lifted)).await
}

async fn lift_lock_timeout(session: &Session, alone: &Alone) -> Result<bool, ServerError> {
    // The CONCURRENTLY family waits for old snapshots, and when lock_timeout ends that wait it leaves an INVALID index: no limit, unless the script
    // has set one.
    let own = session.made_setting("lock_timeout").map_or_else(
        || "reset_val".to_owned(),
        |made| quote::literal(made.trim_end_matches("ms")),
    );
    let lift = format!(
        "SELECT pg_catalog.set_config('lock_timeout', '0', false) FROM pg_catalog.pg_settings \
         WHERE name OPERATOR(pg_catalog.=) 'lock_timeout' AND setting OPERATOR(pg_catalog.=) {own}"
    );
    Ok(alone.is_concurrent() && !session.raw(&lift).await?.is_empty())
}

async fn restore_lock_timeout(session: &Session) -> Result<(), ServerError> {
    let sql = match session.made_setting("lock_timeout") {
        Some(made) => format!("SET lock_timeout = {}", quote::literal(made)),
        None => "RESET lock_timeout".to_owned(),
    };
    session.raw(&sql).await.map(drop)
}

async fn settle(
    session: &Session,
    alone: &Alone,
    sent: Sent,
    before: &[u32],
    lifted: bool,
) -> Result<AloneEnd, ServerError> {
    if let Some(error) = sent.error.as_ref().filter(|error| error.closed) {
        return Err(error.clone());
    }
    session.raw("ROLLBACK").await?;
    let end = ended(session, alone, sent.error, before).await?;
    if lifted {
        restore_lock_timeout(session).await?;
    }
    Ok(end)
}

async fn ended(
    session: &Session,
    alone: &Alone,
    error: Option<ServerError>,
    before: &[u32],
) -> Result<AloneEnd, ServerError> {
    let added = added(session, alone, before).await?;
    if error.is_some() {
        drop_invalid(session, &added).await?;
    }
    if let Alone::CreateIndex {
        index: Some(index),
        table,
        ..
    } = alone
        && added.is_empty()
        && let Some(there) = things(session, &indexes_of(table))
            .await?
            .into_iter()
            .find(|there| there.is_named(index))
        && !there.valid
    {
        return Ok(AloneEnd::Invalid {
            index: there.name,
            error,
        });
    }
    Ok(match error {
        None => AloneEnd::Done,
        Some(error) if matches!(alone, Alone::Opaque { commits: true }) => AloneEnd::Unknown(error),
        Some(error) if error::is_contention(&error) => AloneEnd::Contention(error),
        Some(error) => AloneEnd::Failed(error),
    })
}

/// What the catalogue says of a statement whose run was interrupted; INVALID indexes that it left are dropped.
///
/// # Errors
/// The server's.
pub async fn evidence(session: &Session, alone: &Alone, before: &[u32]) -> Result<Evidence, ServerError> {
    // What it left is dropped as it was made: with no limit to the wait for whoever uses the table.
    let lifted = lift_lock_timeout(session, alone).await?;
    let evidence = read_evidence(session, alone, before).await?;
    if lifted {
        restore_lock_timeout(session).await?;
    }
    Ok(evidence)
}

async fn read_evidence(session: &Session, alone: &Alone, before: &[u32]) -> Result<Evidence, ServerError> {
    let done = |done: bool| if done { Evidence::Done } else { Evidence::NotDone };
    Ok(match alone {
        Alone::CreateIndex { .. } | Alone::Repeatable { .. } => {
            let added = added(session, alone, before).await?;
            drop_invalid(session, &added).await?;
            done(matches!(alone, Alone::CreateIndex { .. }) && added.iter().any(|index| index.valid))
        }
        Alone::DropIndex(name) => {
            let sql = format!("SELECT pg_catalog.to_regclass({}) IS NULL", quote::literal(name));
            done(session.raw(&sql).await?.first().and_then(|row| row.get(0)) == Some("t"))
        }
        Alone::DetachPartition { parent, partition } => detached(session, parent, partition).await?,
        Alone::Global { create, database, name } => {
            let now = things(session, &global(*database, name)).await?;
            // What was there before a CREATE, or was not before a DROP, the statement cannot have made or taken away.
            done(if *create {
                before.is_empty() && !now.is_empty()
            } else {
                !before.is_empty() && now.is_empty()
            })
        }
        Alone::Opaque { .. } => Evidence::Unknown,
    })
}

/// An index, a database or a tablespace.
#[derive(Debug)]
struct Thing {
    oid: u32,
    /// Qualified and quoted, as SQL wants it.
    name: String,
    /// The name alone, as the catalogue has it.
    plain: String,
    /// An index that is INVALID is not.
    valid: bool,
    /// An INVALID index that another session is building, as far as can be seen.
    building: bool,
}

impl Thing {
    /// Whether a name as written in SQL is its.
    fn is_named(&self, written: &str) -> bool {
        match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\"") == self.plain,
            None => written.to_lowercase() == self.plain,
        }
    }
}

/// The indexes that this statement added: that of its name, or what the table has more than before where the server names it; for REINDEX the INVALID
/// ones that the database has more than before.
async fn added(session: &Session, alone: &Alone, before: &[u32]) -> Result<Vec<Thing>, ServerError> {
    let (sql, name) = match alone {
        Alone::CreateIndex { table, index, .. } => (indexes_of(table), index.as_deref()),
        Alone::Repeatable { concurrently: true } => (invalid_indexes(), None),
        _ => return Ok(Vec::new()),
    };
    let now = things(session, &sql).await?.into_iter();
    Ok(now
        .filter(|index| !before.contains(&index.oid) && name.is_none_or(|name| index.is_named(name)))
        .collect())
}

async fn drop_invalid(session: &Session, added: &[Thing]) -> Result<(), ServerError> {
    for index in added.iter().filter(|index| !index.valid && !index.building) {
        tracing::warn!("the index {} was left INVALID: it is dropped", index.name);
        session
            .raw(&format!("DROP INDEX CONCURRENTLY IF EXISTS {}", index.name))
            .await?;
    }
    Ok(())
}

async fn things(session: &Session, sql: &str) -> Result<Vec<Thing>, ServerError> {
    let rows = session.raw(sql).await?;
    let thing = |row: &tokio_postgres::SimpleQueryRow| Thing {
        oid: row.get(0).and_then(|oid| oid.parse().ok()).unwrap_or(0),
        name: row.get(1).unwrap_or_default().to_owned(),
        plain: row.get(2).unwrap_or_default().to_owned(),
        valid: row.get(3) == Some("t"),
        building: row.get(4) == Some("t"),
    };
    Ok(rows.iter().map(thing).collect())
}

/// The indexes of a table, its name as written in a statement: the server resolves it as it does there.
fn indexes_of(table: &str) -> String {
    format!(
        "{INDEXES} WHERE i.indrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({})",
        quote::literal(table)
    )
}

/// What other users build cannot be seen (index_relid is NULL then), so it counts as any index.
const INDEXES: &str = "SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relname, i.indisvalid, \
     EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
     AND p.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
     AND (p.index_relid IS NULL OR p.index_relid OPERATOR(pg_catalog.=) c.oid)) \
     FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace";

/// The INVALID indexes that an interrupted REINDEX CONCURRENTLY leaves, by the names that it gives them (PostgreSQL's documentation, REINDEX,
/// "Rebuilding Indexes Concurrently"). Those of TOAST tables are left out: their schema is closed to all but superusers, and they cost space alone.
fn invalid_indexes() -> String {
    format!(
        "{INDEXES} WHERE NOT i.indisvalid AND c.relname OPERATOR(pg_catalog.~) '_cc(new|old)[0-9]*$' \
         AND n.nspname OPERATOR(pg_catalog.<>) 'pg_toast'"
    )
}

/// The database or tablespace of a name as written in a statement.
fn global(database: bool, name: &str) -> String {
    let (table, column) = if database {
        ("pg_database", "datname")
    } else {
        ("pg_tablespace", "spcname")
    };
    let name = quote::literal(name);
    format!(
        "SELECT oid, {column}, {column}, true, false FROM pg_catalog.{table} \
         WHERE {column} OPERATOR(pg_catalog.=) (pg_catalog.parse_ident({name}))[1]::pg_catalog.name"
    )
}

/// A concurrent detach that was interrupted between its two transactions is finished here (PostgreSQL 14 and newer).
async fn detached(session: &Session, parent: &str, partition: &str) -> Result<Evidence, ServerError> {
    let rows = session
        .raw(&format!(
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
                .raw(&format!("ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE"))
                .await?;
            Ok(Evidence::Done)
        }
        Some(_) => Ok(Evidence::NotDone),
    }
}
