//! What a backend is doing, read from the server's views: what it waits for, who is in its way, how far its command is.

use crate::database::lock::{AS_LOGIN_USER, LockSession};
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

/// What a backend was doing when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The kind and name of what it waits for, in PostgreSQL's words.
    pub waits_for: Option<String>,
    /// The sessions that hold what it waits for.
    pub blockers: Vec<LockSession>,
    /// How far its command is, where PostgreSQL reports that.
    pub progress: Option<Progress>,
}

/// How far a command is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Progress {
    /// `index`, `vacuum`, `cluster`, `analyze` or `copy`.
    pub what: Cow<'static, str>,
    /// In PostgreSQL's words.
    pub phase: String,
    /// Blocks, tuples or bytes done in this phase.
    pub done: u64,
    /// Of how many; 0 where that is not known.
    pub total: u64,
}

/// Looks at a backend; none where there is no such backend.
///
/// # Errors
/// The server's.
pub async fn look(session: &Session, pid: u32) -> Result<Option<Activity>, ServerError> {
    let activity = format!(
        "{AS_LOGIN_USER} SELECT state, wait_event_type, wait_event, pg_catalog.pg_blocking_pids(pid) \
         FROM pg_catalog.pg_stat_activity WHERE pid = {pid}"
    );
    let blockers = format!(
        "{AS_LOGIN_USER} SELECT pid, application_name, pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - xact_start)), \
         state || ': ' || pg_catalog.left(pg_catalog.split_part(query, E'\\n', 1), 80) \
         FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_catalog.pg_blocking_pids({pid}))"
    );
    let (activity, blockers) = tokio::join!(session.rows(&activity), session.rows(&blockers));
    let Some(row) = activity?.into_iter().next() else {
        return Ok(None);
    };
    let waits_for = match (row.get(1), row.get(2)) {
        (Some(kind @ ("Lock" | "LWLock" | "Extension" | "BufferPin")), Some(event)) => Some(format!("{kind} {event}")),
        _ => None,
    };
    let progress = futures_util::future::join_all(PROGRESS.iter().map(|(what, view, done, total)| async move {
        let phase = if *what == "copy" { "command" } else { "phase" };
        let sql = format!("{AS_LOGIN_USER} SELECT {phase}, {done}, {total} FROM pg_catalog.{view} WHERE pid = {pid}");
        // A view that this version does not have, or has with other columns, says nothing.
        let rows = session.rows(&sql).await.unwrap_or_default();
        rows.first()
            .map(|row| Progress::of(what, row.get(0), row.get(1), row.get(2)))
    }));
    let progress = progress.await.into_iter().flatten().next();
    Ok(Some(Activity {
        waits_for,
        blockers: blockers?.iter().map(LockSession::of).collect(),
        progress,
    }))
}

/// The views of progress: what runs, the view, what is done and of how much (PostgreSQL's documentation, "Progress Reporting").
const PROGRESS: [(&str, &str, &str, &str); 5] = [
    (
        "index",
        "pg_stat_progress_create_index",
        "CASE WHEN blocks_total > 0 THEN blocks_done WHEN tuples_total > 0 THEN tuples_done ELSE lockers_done END",
        "CASE WHEN blocks_total > 0 THEN blocks_total WHEN tuples_total > 0 THEN tuples_total ELSE lockers_total END",
    ),
    (
        "vacuum",
        "pg_stat_progress_vacuum",
        "heap_blks_scanned",
        "heap_blks_total",
    ),
    (
        "cluster",
        "pg_stat_progress_cluster",
        "heap_blks_scanned",
        "heap_blks_total",
    ),
    (
        "analyze",
        "pg_stat_progress_analyze",
        "sample_blks_scanned",
        "sample_blks_total",
    ),
    ("copy", "pg_stat_progress_copy", "bytes_processed", "bytes_total"),
];

impl Progress {
    fn of(what: &'static str, phase: Option<&str>, done: Option<&str>, total: Option<&str>) -> Progress {
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
        Progress {
            what: what.into(),
            phase: phase.unwrap_or_default().to_owned(),
            done: number(done),
            total: number(total),
        }
    }
}

impl Progress {
    /// Whole percent; none where the total is not known.
    pub fn percent(&self) -> Option<u64> {
        (self.total > 0).then(|| self.done.min(self.total) * 100 / self.total)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.phase)?;
        if let Some(percent) = self.percent() {
            write!(f, " {percent} %")?;
        }
        write!(f, " ({} of {})", self.done, self.total)
    }
}
