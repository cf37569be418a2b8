//! The migrations table while another session keeps it locked, just when a session is opened.

use super::lock::{AS_LOGIN_USER, LockSession};
use super::open::unusable;
use super::server_error::ServerError;
use super::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_postgres::SimpleQueryRow;

/// Between two tries, with jitter. Each has waited for `lock_timeout` already.
const PAUSE: Duration = Duration::from_millis(400);

/// Reads the table again and again, until `wait` is over. `error` is that of the first try.
///
/// # Errors
/// It stays locked; or the server's error.
pub async fn read(
    session: &Session,
    sql: &str,
    mut error: ServerError,
    wait: Duration,
) -> Result<Vec<SimpleQueryRow>, ServerErrorOrLocked> {
    let began = Instant::now();
    let mut named: Vec<String> = Vec::new();
    loop {
        if !is_locked(&error) {
            return Err(ServerErrorOrLocked::Server(error));
        }
        let holders = holders(session).await;
        if began.elapsed() >= wait {
            return Err(ServerErrorOrLocked::Locked(Box::new(locked(&holders, wait, &error))));
        }
        let pids: Vec<String> = holders.iter().map(|holder| holder.pid.clone()).collect();
        if named.is_empty() || named != pids {
            let by = by(&holders);
            tracing::info!("the migrations table {} is locked{by}: waiting", history::TABLE);
            named = pids;
        }
        sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        // At the opening the table's name is not qualified yet: it is found on the path that the session began with.
        match session.send(sql).await {
            Ok(rows) => return Ok(rows),
            Err(again) => error = again,
        }
    }
}

/// Why the table was not read.
pub enum ServerErrorOrLocked {
    /// Something else than a lock.
    Server(ServerError),
    /// A lock, for all the time that it was waited for.
    Locked(Box<Failure>),
}

/// Whether the error says that another session's lock is in the way.
pub fn is_locked(error: &ServerError) -> bool {
    error.is(&["55P03", "40P01"])
}

/// The failure where the table stays locked.
pub fn locked(holders: &[LockSession], wait: Duration, error: &ServerError) -> Failure {
    let tried = match wait {
        Duration::ZERO => String::new(),
        wait => format!(" within {} (--lock-wait)", humantime::format_duration(wait)),
    };
    let what = format!(
        "the migrations table {} could not be read{tried}, because it is locked{}: {}",
        history::TABLE,
        by(holders),
        error.message
    );
    let mut failure = unusable("", error);
    failure.exit = Exit::TableLock;
    failure.what = what;
    failure.next = match holders {
        [] => {
            "find the session that locks the table in pg_locks, end it or wait for it, then run this again".to_owned()
        }
        [holder, ..] => format!(
            "wait until that session has ended its transaction, or end it with `SELECT pg_terminate_backend({})`, then run this again",
            holder.pid
        ),
    };
    failure
}

fn by(holders: &[LockSession]) -> String {
    match holders {
        // Without the rights of pg_read_all_stats another user's session is seen as a number only.
        [] => " by a session that cannot be seen".to_owned(),
        holders => {
            let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
            format!(" by {}", names.join(" and "))
        }
    }
}

/// The sessions that hold a lock on the table that keeps others from reading it.
async fn holders(session: &Session) -> Vec<LockSession> {
    let sql = format!(
        "{AS_LOGIN_USER} SELECT l.pid, a.application_name, pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp() \
         OPERATOR(pg_catalog.-) CASE WHEN a.state OPERATOR(pg_catalog.=) 'active' THEN a.query_start ELSE a.state_change END)), \
         pg_catalog.left(pg_catalog.split_part(a.query, E'\\n', 1), 80) \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation \
         WHERE c.relname OPERATOR(pg_catalog.=) '{}' AND l.granted \
         AND l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock' AND l.database OPERATOR(pg_catalog.=) \
         (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
        history::TABLE
    );
    match session.rows(&sql).await {
        Ok(rows) => rows.iter().map(LockSession::of).collect(),
        Err(error) => {
            tracing::debug!("who locks the migrations table could not be seen: {}", error.message);
            Vec::new()
        }
    }
}
