//! The migration lock: Prisma's advisory lock, one for each database.
//!
//! It is taken by asking again and again, never by a statement that waits: a waiting statement holds a snapshot, and the holder's CREATE INDEX
//! CONCURRENTLY, which waits for old snapshots, would deadlock with it.

use super::open::unusable;
use super::server_error::ServerError;
use super::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::Backend;
use crate::sql::assertion::Assertion;
use crate::sql::{password, quote};
use crate::stop::Stop;
use std::fmt;
use std::time::{Duration, Instant};
use tokio_postgres::SimpleQueryRow;

/// Prisma's key (Prisma 6.19 and 7.10).
pub const KEY: u32 = 72_707_369;

/// Why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// It was not free in time.
    Busy(Option<LockSession>),
    /// The server's error.
    Server(ServerError),
}

/// Between two tries, with jitter; a person who watches should see the lock taken at once.
const PAUSE: Duration = Duration::from_millis(400);
/// A backend that was ended needs a moment to roll back, however short the wait was to be.
const ENDING: Duration = Duration::from_secs(10);
/// Between two lines that name the holder.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// What every session of this program calls itself first, before its version and the run's id.
pub const APPLICATION: &str = "prisma-migrate-task/";

/// Other runs log in as the same user as this one. With `--role` the current role need not have that user's rights, and what pg_stat_activity says of
/// them would be hidden from it. Before a query; holds for its message.
pub const AS_LOGIN_USER: &str = "SET LOCAL ROLE NONE;";

/// Takes the lock, asking for `wait` long; zero: asks once. With `terminate_orphan`, a backend of this program that holds it is ended: that its run
/// is dead is for whoever asks for this to know.
///
/// # Errors
/// It was not free in time, or the server's error.
pub async fn take(session: &Session, wait: Duration, terminate_orphan: bool) -> Result<(), LockError> {
    let mut until = Instant::now() + wait;
    let mut said: Option<Instant> = None;
    let mut ended: Option<String> = None;
    loop {
        let rows = session
            .rows(&format!("SELECT pg_catalog.pg_try_advisory_lock({KEY})"))
            .await
            .map_err(LockError::Server)?;
        if rows.first().and_then(|row| row.get(0)) == Some("t") {
            return Ok(());
        }
        let holder = holder(session).await.map_err(LockError::Server)?;
        if let Some(orphan) = holder.as_ref().filter(|holder| terminate_orphan && holder.is_ours())
            && ended.as_ref() != Some(&orphan.pid)
        {
            ended = Some(orphan.pid.clone());
            terminate(session, orphan).await?;
            until = until.max(Instant::now() + ENDING);
            continue;
        }
        if Instant::now() >= until {
            return Err(LockError::Busy(holder));
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            match &holder {
                Some(holder) => tracing::info!("the migration lock is held by {holder}: waiting"),
                None => tracing::info!("the migration lock was held a moment ago: trying again"),
            }
        }
        tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// Ends the backend of an earlier run. It is looked at once more by the statement that ends it: its number may be another session's by now.
async fn terminate(session: &Session, orphan: &LockSession) -> Result<(), LockError> {
    tracing::warn!(
        "the migration lock is held by {orphan}, a backend of an earlier run: it is ended (--terminate-orphan)"
    );
    let sql = format!(
        "{AS_LOGIN_USER} SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) {} \
         AND application_name OPERATOR(pg_catalog.=) {} AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()",
        orphan.pid,
        quote::literal(&orphan.application_name)
    );
    match session.rows(&sql).await {
        Ok(_) => Ok(()),
        Err(error) if error.closed => Err(LockError::Server(error)),
        Err(error) => {
            tracing::warn!("backend {} could not be ended: {}", orphan.pid, error.message);
            Ok(())
        }
    }
}

/// What a run says that did not get the lock.
pub fn not_taken(error: LockError) -> Failure {
    match error {
        LockError::Busy(holder) => Failure::new(
            Exit::MigrationLock,
            match holder {
                Some(holder) => format!("the migration lock is held by {holder}"),
                None => "the migration lock was not free".to_owned(),
            },
            "deploy again when that run has ended, or wait for it with a longer --lock-wait",
        )
        .prisma(Some("P1002")),
        // undefined_function, feature_not_supported.
        LockError::Server(error) if error.is(&["42883", "0A000"]) => no_advisory_locks(&error),
        LockError::Server(error) => unusable("the migration lock could not be taken", &error),
    }
}

/// A server that speaks PostgreSQL's protocol and lacks what keeps two runs from migrating at once.
pub fn no_advisory_locks(error: &ServerError) -> Failure {
    Failure::new(
        Exit::Database,
        format!("this server cannot be used: it has no advisory locks ({})", error.message),
        "use PostgreSQL, Amazon RDS or Amazon Aurora: CockroachDB, Aurora DSQL and Aurora Limitless have no advisory locks, without which two runs could \
         migrate at once",
    )
    .caused_by(error)
}

/// Waits until a backend is gone, looking for `wait` long; zero: looks once. With `terminate` it is ended.
///
/// # Errors
/// The server's; within: it lives on.
pub async fn until_gone(
    session: &Session,
    backend: &Backend,
    wait: Duration,
    terminate: bool,
) -> Result<Result<(), Backend>, ServerError> {
    let Backend { pid, started } = backend;
    // Who may not see when another user's backend began sees none; then only its number and its database speak.
    let is_it = format!(
        "FROM pg_catalog.pg_stat_get_activity({pid}) AS a \
         WHERE (a.backend_start IS NULL OR {} OPERATOR(pg_catalog.=) {started}) \
         AND a.datid OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
        microseconds("a.backend_start")
    );
    let mut until = Instant::now() + wait;
    let mut said = false;
    let mut ended = false;
    while !session
        .rows(&format!("{AS_LOGIN_USER} SELECT a.pid {is_it}"))
        .await?
        .is_empty()
    {
        if terminate && !ended {
            ended = true;
            tracing::warn!("backend {pid} of an earlier run still lives: it is ended (--terminate-orphan)");
            session
                .rows(&format!(
                    "{AS_LOGIN_USER} SELECT pg_catalog.pg_terminate_backend(a.pid) {is_it}"
                ))
                .await?;
            until = until.max(Instant::now() + ENDING);
        }
        if Instant::now() >= until {
            return Ok(Err(backend.clone()));
        }
        if !said {
            said = true;
            tracing::info!("backend {pid} of an earlier session still lives and may commit: waiting for its end");
        }
        tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
    }
    Ok(Ok(()))
}

/// SQL: a time as microseconds since 1970.
pub fn microseconds(time: &str) -> String {
    format!("(EXTRACT(epoch FROM {time}) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8")
}

/// Lets the sessions have the lock that wait for it, until none waits any more. It is to be taken again afterwards.
///
/// # Errors
/// The server's.
pub async fn give_way(session: &Session, wait: Duration) -> Result<(), ServerError> {
    release(session).await?;
    tracing::info!("the migration lock is given to those who wait for it, and taken again after them");
    let until = Instant::now() + wait.max(Duration::from_secs(60));
    while !waiters(session).await?.is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Releases the lock if it is held, so that the next run need not wait until the server has noticed that this one is gone.
///
/// # Errors
/// The server's.
pub async fn release(session: &Session) -> Result<(), ServerError> {
    // It is held as often as it was taken; what scripts took and left goes with it.
    session
        .raw("SELECT pg_catalog.pg_advisory_unlock_all()")
        .await
        .map(drop)
}

/// A statement that takes the lock for its transaction too, and fails where another session has it: until the transaction ends the lock is this run's,
/// whatever a script releases.
pub fn guard() -> String {
    or_fail("pg_try_advisory_xact_lock")
}

/// A statement that takes the lock for the session once more, before the end of a transaction that [`guard`] has begun: a script may have released it.
pub fn keep() -> String {
    or_fail("pg_try_advisory_lock")
}

fn or_fail(function: &str) -> String {
    let fails = Assertion::OurLock.raise("pg_catalog.pg_backend_pid()");
    format!("SELECT {fails} WHERE NOT pg_catalog.{function}({KEY})")
}

/// Whether the server says that this session does not hold the lock.
pub async fn is_lost(session: &Session) -> bool {
    session.rows(&held()).await.is_ok_and(|rows| rows.is_empty())
}

/// Releases the lock if it is held, and ends the session. Where the server does not answer, the run ends without: what it then still runs there ends
/// when the server sees that the client is gone.
pub async fn release_and_close(session: Session, stop: &Stop) {
    let goodbye = async {
        if let Err(error) = release(&session).await {
            tracing::debug!("the migration lock could not be released: {}", error.message);
        }
        session.close().await;
    };
    stop.goodbye(goodbye).await;
}

/// A query with a row where this session holds the lock: a session-level advisory lock with one 64-bit key (PostgreSQL's documentation, `pg_locks`).
pub fn held() -> String {
    format!(
        "SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND granted AND classid OPERATOR(pg_catalog.=) 0 \
         AND objid OPERATOR(pg_catalog.=) {KEY} AND objsubid OPERATOR(pg_catalog.=) 1"
    )
}

/// A session that holds a lock, or waits for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockSession {
    /// Its backend.
    pub pid: String,
    /// What it calls itself.
    pub application_name: String,
    /// Seconds since its statement or its wait began.
    pub seconds: u64,
    /// The first line of its statement.
    pub query: String,
}

impl LockSession {
    /// Reads a row of pid, application_name, seconds and query.
    pub fn of(row: &SimpleQueryRow) -> LockSession {
        LockSession {
            pid: row.get(0).unwrap_or_default().to_owned(),
            application_name: row.get(1).unwrap_or_default().to_owned(),
            seconds: row.get(2).and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
            query: password::starred(row.get(3).unwrap_or_default()),
        }
    }

    /// Whether it is a session of this program.
    fn is_ours(&self) -> bool {
        self.application_name.starts_with(APPLICATION) && self.pid.parse::<u32>().is_ok()
    }

    /// Whether it has waited for longer than Prisma does, which gives up after 10 s (6.19 and 7.10) but does not cancel its wait on the server: a
    /// backend that still waits after that has no client, and waits until the lock is free.
    pub fn outlasts_prisma(&self) -> bool {
        self.seconds >= 15
    }
}

impl fmt::Display for LockSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "backend {} ({:?}, {} s: {:?})",
            self.pid, self.application_name, self.seconds, self.query
        )
    }
}

/// The sessions that wait for the migration lock.
///
/// # Errors
/// The server's.
pub async fn waiters(session: &Session) -> Result<Vec<LockSession>, ServerError> {
    sessions(session, false).await
}

/// The session that holds the migration lock, if any.
///
/// # Errors
/// The server's.
pub async fn holder(session: &Session) -> Result<Option<LockSession>, ServerError> {
    Ok(sessions(session, true).await?.pop())
}

async fn sessions(session: &Session, granted: bool) -> Result<Vec<LockSession>, ServerError> {
    let granted = if granted { "l.granted" } else { "NOT l.granted" };
    let is_it =
        format!("l.locktype = 'advisory' AND {granted} AND l.classid = 0 AND l.objid = {KEY} AND l.objsubid = 1");
    sessions_with(session, &is_it).await
}

/// The other sessions that have locked a table in any way.
///
/// # Errors
/// The server's.
pub async fn users_of(session: &Session, tables: &[u32]) -> Result<Vec<LockSession>, ServerError> {
    let tables: Vec<String> = tables.iter().map(u32::to_string).collect();
    let is_it = format!(
        "l.locktype = 'relation' AND l.granted AND l.relation IN ({}) AND l.pid <> pg_catalog.pg_backend_pid()",
        tables.join(", ")
    );
    sessions_with(session, &is_it).await
}

/// The sessions that have or want such a lock in this database, each once. A condition on `pg_locks l`.
async fn sessions_with(session: &Session, is_it: &str) -> Result<Vec<LockSession>, ServerError> {
    let rows = session
        .rows(&format!(
            "{AS_LOGIN_USER} SELECT l.pid, a.application_name, pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - \
             CASE WHEN a.state = 'active' THEN a.query_start ELSE a.state_change END)), \
             pg_catalog.left(pg_catalog.split_part(a.query, E'\\n', 1), 80) \
             FROM (SELECT DISTINCT l.pid FROM pg_catalog.pg_locks l WHERE {is_it} \
             AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) AS l \
             LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)"
        ))
        .await?;
    Ok(rows.iter().map(LockSession::of).collect())
}
