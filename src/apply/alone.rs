//! Statements that cannot run in a transaction block: what the catalogue says of them before, after, and after an interruption.

use super::cleanup::{Cleanup, Leaving, NotCleaned};
use super::error::{self, Context};
use crate::database::server_error::ServerError;
use crate::database::session::{Sent, Session};
use crate::exit::Exit;
use crate::failure::Failure;
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
    /// It is not.
    NotDone,
    /// Nothing can be said.
    Unknown,
}

/// The objects that a statement names and those that exist, read before it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// The OIDs of what it could add to or take away: the table's indexes, the INVALID indexes of the database, the database or tablespace of its name, the
    /// partition if it was half detached.
    pub before: Vec<u32>,
    /// The OIDs of what it names, as its session resolves them: the table of an index, an index, a partition's table and the partition. Not all may be
    /// there.
    pub names: Vec<u32>,
}

/// Looks at what a statement names, and at what is there.
///
/// # Errors
/// The server's.
pub async fn look(session: &Session, alone: &Alone) -> Result<Before, ServerError> {
    let names = match alone {
        Alone::CreateIndex { table, .. } => resolved(session, &[table]).await?,
        Alone::DropIndex(name) => resolved(session, &[name]).await?,
        Alone::DetachPartition { parent, partition } => resolved(session, &[parent, partition]).await?,
        _ => Vec::new(),
    };
    let sql = match alone {
        Alone::CreateIndex { .. } => indexes_of(&names),
        Alone::Repeatable { concurrently: true } => invalid_indexes(),
        Alone::Global { database, name, .. } => global(*database, name),
        Alone::DetachPartition { .. } => half_detached(&names),
        _ => {
            return Ok(Before {
                before: Vec::new(),
                names,
            });
        }
    };
    let before = things(session, &sql)
        .await?
        .into_iter()
        .map(|thing| thing.oid)
        .collect();
    Ok(Before { before, names })
}

/// The relations of these names, as the session's own path and rights resolve them; 0 for one that is not there, or whose name the server cannot read.
async fn resolved(session: &Session, names: &[&String]) -> Result<Vec<u32>, ServerError> {
    let mut found = Vec::new();
    for name in names {
        let sql = format!(
            "SELECT pg_catalog.to_regclass({})::pg_catalog.oid",
            quote::literal(name)
        );
        let oid = match session.raw(&sql).await {
            Ok(rows) => rows.first().and_then(|row| row.get(0)).and_then(|oid| oid.parse().ok()),
            Err(error) if error.closed => return Err(error),
            // The statement itself will say what is wrong with the name.
            Err(_) => None,
        };
        found.push(oid.unwrap_or(0));
    }
    Ok(found)
}

/// Sends the statement, and cleans up what it left. Nothing where the run is to stop and the statement did not end in time.
pub async fn send(
    cleanup: &Cleanup<'_>,
    stop: &Stop,
    alone: &Alone,
    text: &str,
    before: &Before,
) -> Option<Result<AloneEnd, NotCleaned>> {
    let session = cleanup.session;
    let lifted = match lift_lock_timeout(session, alone).await {
        Ok(lifted) => lifted,
        Err(error) => return Some(Err(error.into())),
    };
    let sent = stop.ended(session, session.script(text.to_owned())).await?;
    // To clean up is to wait for whoever uses the table.
    stop.in_time(settle(cleanup, alone, sent, before, lifted)).await
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
    cleanup: &Cleanup<'_>,
    alone: &Alone,
    sent: Sent,
    before: &Before,
    lifted: bool,
) -> Result<AloneEnd, NotCleaned> {
    if let Some(error) = sent.error.as_ref().filter(|error| error.closed) {
        return Err(error.clone().into());
    }
    cleanup.session.raw("ROLLBACK").await?;
    if lifted {
        restore_lock_timeout(cleanup.session).await?;
    }
    ended(cleanup, alone, sent.error, before).await
}

async fn ended(
    cleanup: &Cleanup<'_>,
    alone: &Alone,
    error: Option<ServerError>,
    before: &Before,
) -> Result<AloneEnd, NotCleaned> {
    let session = cleanup.session;
    let added = added(session, alone, before).await?;
    if let Some(error) = &error {
        let dropped = clean(cleanup, &invalid(&added)).await;
        dropped.map_err(|left| left.caused_by(error))?;
        if matches!(alone, Alone::DetachPartition { .. })
            && let Detach::Pending(left) = detach(session, before).await?
        {
            let finalized = clean(cleanup, &[left]).await;
            return finalized.map(|()| AloneEnd::Done).map_err(|left| left.caused_by(error));
        }
    }
    if let Alone::CreateIndex { index: Some(index), .. } = alone
        && added.is_empty()
        && let Some(there) = things(session, &named(&indexes_of(&before.names), index))
            .await?
            .into_iter()
            .next()
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

/// What the catalogue says of a statement whose run was interrupted, and what that left. Nothing is changed.
///
/// # Errors
/// The server's.
pub async fn evidence(
    session: &Session,
    alone: &Alone,
    before: &Before,
) -> Result<(Evidence, Vec<Leaving>), ServerError> {
    let done = |done: bool| if done { Evidence::Done } else { Evidence::NotDone };
    let decided = match alone {
        Alone::CreateIndex { .. } | Alone::Repeatable { .. } => {
            let added = added(session, alone, before).await?;
            // Without a name, an index that another session has made meanwhile looks the same.
            if matches!(alone, Alone::CreateIndex { index: None, .. }) && !added.is_empty() {
                return Ok(match &added[..] {
                    [only] if !only.valid => (Evidence::NotDone, invalid(&added)),
                    _ => (Evidence::Unknown, Vec::new()),
                });
            }
            let decided = match (alone, added.iter().find(|index| index.valid)) {
                // Another session may have made one of its name meanwhile.
                (Alone::CreateIndex { unique, columns, .. }, Some(index)) => {
                    match is_alike(session, index, *unique, columns.as_deref()).await? {
                        true => Evidence::Done,
                        false => Evidence::Unknown,
                    }
                }
                _ => Evidence::NotDone,
            };
            return Ok((decided, invalid(&added)));
        }
        Alone::DropIndex(_) => {
            let [index] = before.names[..] else {
                return Ok((Evidence::Unknown, Vec::new()));
            };
            // With IF EXISTS there may have been none.
            let sql = format!("SELECT FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) {index}");
            done(session.rows(&sql).await?.is_empty())
        }
        Alone::DetachPartition { .. } => match detach(session, before).await? {
            Detach::Unknown => Evidence::Unknown,
            Detach::Done => Evidence::Done,
            Detach::NotBegun => Evidence::NotDone,
            Detach::Pending(left) => return Ok((Evidence::Done, vec![left])),
        },
        Alone::Global { create, database, name } => {
            let now = things(session, &global(*database, name)).await?;
            // What was there before a CREATE, or was not before a DROP, the statement cannot have made or taken away.
            done(if *create {
                before.before.is_empty() && !now.is_empty()
            } else {
                !before.before.is_empty() && now.is_empty()
            })
        }
        // It has failed, or is about to.
        Alone::WantsBlock => Evidence::NotDone,
        Alone::Opaque { .. } => Evidence::Unknown,
    };
    Ok((decided, Vec::new()))
}

/// The INVALID ones among the indexes that a statement added, those left out that another session is building.
fn invalid(added: &[Thing]) -> Vec<Leaving> {
    let invalid = added.iter().filter(|index| !index.valid && !index.building);
    invalid
        .map(|index| Leaving {
            name: format!("the INVALID index {}", index.name),
            does: "drops",
            notice: format!("the index {} was left INVALID: it is dropped", index.name),
            remedy: format!("DROP INDEX CONCURRENTLY IF EXISTS {}", index.name),
            tables: vec![index.table],
        })
        .collect()
}

/// Removes or finishes what a statement left that failed or was interrupted.
///
/// # Errors
/// Other sessions keep it; or the server's error.
pub async fn clean(cleanup: &Cleanup<'_>, left: &[Leaving]) -> Result<(), NotCleaned> {
    for left in left {
        tracing::warn!(migration = cleanup.migration, "{}", left.notice);
        cleanup.take_away(left).await?;
    }
    Ok(())
}

/// An index, a database or a tablespace.
#[derive(Debug)]
struct Thing {
    oid: u32,
    /// Qualified and quoted, as SQL wants it.
    name: String,
    /// An index that is INVALID is not.
    valid: bool,
    /// An INVALID index that another session is building, as far as can be seen.
    building: bool,
    /// An index's table; 0 for what is none.
    table: u32,
}

/// The indexes that this statement added: that of its name, or what the table has more than before where the server names it; for REINDEX the INVALID
/// ones that the database has more than before.
async fn added(session: &Session, alone: &Alone, before: &Before) -> Result<Vec<Thing>, ServerError> {
    let sql = match alone {
        Alone::CreateIndex { index: Some(index), .. } => named(&indexes_of(&before.names), index),
        Alone::CreateIndex { index: None, .. } => indexes_of(&before.names),
        Alone::Repeatable { concurrently: true } => invalid_indexes(),
        _ => return Ok(Vec::new()),
    };
    let now = things(session, &sql).await?.into_iter();
    Ok(now.filter(|index| !before.before.contains(&index.oid)).collect())
}

/// Those of a query's indexes that have this name as written. The server folds and cuts it as it does in the statement.
fn named(indexes: &str, name: &str) -> String {
    format!(
        "{indexes} AND c.relname OPERATOR(pg_catalog.=) (pg_catalog.parse_ident({}, false))[1]::pg_catalog.name",
        quote::literal(name)
    )
}

/// Whether an index is one over these columns.
async fn is_alike(
    session: &Session,
    index: &Thing,
    unique: bool,
    columns: Option<&[String]>,
) -> Result<bool, ServerError> {
    let Some(columns) = columns else { return Ok(true) };
    let stored = |name: &String| format!("(parse_ident({}, false))[1]::name::text", quote::literal(name));
    let columns: Vec<String> = columns.iter().map(stored).collect();
    let sql = format!(
        "SELECT FROM pg_index i WHERE i.indexrelid = {} AND i.indisunique = {unique} AND ARRAY(SELECT a.attname::text \
         FROM generate_series(0, i.indnkeyatts - 1) AS k JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] ORDER BY k) \
         = ARRAY[{}]",
        index.oid,
        columns.join(", ")
    );
    Ok(!session.rows(&sql).await?.is_empty())
}

async fn things(session: &Session, sql: &str) -> Result<Vec<Thing>, ServerError> {
    let rows = session.rows(sql).await?;
    let thing = |row: &tokio_postgres::SimpleQueryRow| Thing {
        oid: row.get(0).and_then(|oid| oid.parse().ok()).unwrap_or(0),
        name: row.get(1).unwrap_or_default().to_owned(),
        valid: row.get(2) == Some("t"),
        building: row.get(3) == Some("t"),
        table: row.get(4).and_then(|table| table.parse().ok()).unwrap_or(0),
    };
    Ok(rows.iter().map(thing).collect())
}

/// The indexes of a table.
fn indexes_of(names: &[u32]) -> String {
    let table = names.first().copied().unwrap_or(0);
    format!("{INDEXES} WHERE i.indrelid OPERATOR(pg_catalog.=) {table}")
}

/// What other users build cannot be seen (index_relid is NULL then), so it counts as any index.
const INDEXES: &str = "SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), i.indisvalid, \
     EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
     AND p.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
     AND (p.index_relid IS NULL OR p.index_relid OPERATOR(pg_catalog.=) c.oid)), i.indrelid \
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
        "SELECT oid, {column}, true, false, 0 FROM pg_catalog.{table} \
         WHERE {column} OPERATOR(pg_catalog.=) (pg_catalog.parse_ident({name}))[1]::pg_catalog.name"
    )
}

/// How far a concurrent detach has come. It is two transactions (PostgreSQL 14 and newer).
enum Detach {
    /// The catalogue cannot tell.
    Unknown,
    /// The table is no partition any more.
    Done,
    /// It is one, and this statement has not changed that.
    NotBegun,
    /// The first transaction is committed.
    Pending(Leaving),
}

/// Whether a concurrent detach of this partition has committed its first transaction. Before PostgreSQL 14 there is none, and no such column.
const HALF_DETACHED: &str =
    "coalesce((pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.->>) 'inhdetachpending')::pg_catalog.bool, false)";

/// The partition, if it is half detached; as [`things`] reads it.
fn half_detached(names: &[u32]) -> String {
    let partition = names.last().copied().unwrap_or(0);
    format!(
        "SELECT i.inhrelid, '', true, false, 0 FROM pg_catalog.pg_inherits i \
         WHERE i.inhrelid OPERATOR(pg_catalog.=) {partition} AND {HALF_DETACHED}"
    )
}

async fn detach(session: &Session, before: &Before) -> Result<Detach, ServerError> {
    let [parent, partition] = before.names[..] else {
        return Ok(Detach::Unknown);
    };
    let sql = format!(
        "SELECT {HALF_DETACHED}, i.inhparent::pg_catalog.regclass, i.inhrelid::pg_catalog.regclass FROM pg_catalog.pg_inherits i \
         WHERE i.inhparent OPERATOR(pg_catalog.=) {parent} AND i.inhrelid OPERATOR(pg_catalog.=) {partition}"
    );
    let rows = session.rows(&sql).await?;
    let Some(row) = rows.first() else {
        return Ok(Detach::Done);
    };
    // What was pending before is another statement's, or this one is a FINALIZE, which can run again.
    if row.get(0) != Some("t") || before.before.contains(&partition) {
        return Ok(Detach::NotBegun);
    }
    let name = |at: usize| row.get(at).unwrap_or_default();
    Ok(Detach::Pending(Leaving {
        name: format!("the half detached partition {}", name(2)),
        does: "finalizes",
        notice: format!(
            "the half detached partition {} is there: its detach is finalized",
            name(2)
        ),
        remedy: format!("ALTER TABLE {} DETACH PARTITION {} FINALIZE", name(1), name(2)),
        tables: vec![parent, partition],
    }))
}

/// The failure of a statement over an INVALID index of its name that is not this run's.
pub(super) fn invalid_index(context: &Context<'_>, index: &str, error: Option<&ServerError>, start: usize) -> Failure {
    let mut failure = Failure::new(
        Exit::RolledBack,
        match error {
            Some(error) => error.message.clone(),
            None => format!("the index {index} was there before, INVALID, and IF NOT EXISTS did not build it"),
        },
        format!("drop it with `DROP INDEX CONCURRENTLY {index}` and deploy again"),
    )
    .prisma(Some("P3018"))
    .of(context.migration);
    failure.details.push(format!(
        "the INVALID index {index} is not of this run and was left as it is"
    ));
    failure.place = Some(crate::excerpt::place(
        context.migration,
        context.script,
        context.script[..start].chars().count(),
    ));
    failure
}
