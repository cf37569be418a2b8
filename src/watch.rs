//! What the server is doing meanwhile, seen from a second connection: how far the running migration is, what it waits for, and who is in its way.
//!
//! It never disturbs the work. It connects only once a migration has run for a while; where it cannot connect, or a look fails, a debug line says so
//! and the run goes on without.

use crate::database::connect::{Startup, connect};
use crate::database::lock::LockSession;
use crate::database::open::Terms;
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::database::target::Target;
use crate::live;
use crate::printable::printable_name;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A migration shorter than this is not looked at.
const PATIENCE: Duration = Duration::from_secs(1);

/// The watcher. It ends when it is dropped.
pub struct Watch {
    running: watch::Sender<Option<Running>>,
    blockers: Arc<Mutex<Vec<LockSession>>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Running {
    /// None: a statement of no migration.
    migration: Option<String>,
    since: Instant,
}

/// How the watcher looks.
#[derive(Clone, Debug)]
struct Look {
    target: Target,
    application_name: String,
    /// The backend that is looked at.
    pid: u32,
    /// Between two lines.
    say_every: Duration,
    /// Between two looks: often enough to see who is in the way before `lock_timeout` ends the wait.
    look_every: Duration,
}

impl Watch {
    /// Begins to watch a backend, with a line at least every `say_every` while a migration runs.
    pub fn new(terms: &Terms<'_>, pid: u32, say_every: Duration) -> Watch {
        let (running, seen) = watch::channel(None);
        let blockers = Arc::new(Mutex::new(Vec::new()));
        let look = Look {
            target: terms.target.clone(),
            application_name: format!("prisma-migrate-task/{} watch", env!("CARGO_PKG_VERSION")),
            pid,
            say_every,
            look_every: match terms.lock_timeout {
                Duration::ZERO => PATIENCE,
                limit => (limit / 4).clamp(Duration::from_millis(50), PATIENCE),
            },
        };
        let task = tokio::spawn(look.watch(seen, Arc::clone(&blockers)));
        Watch {
            running,
            blockers,
            task,
        }
    }

    /// A migration begins, or is tried again; none: a statement of no migration.
    pub fn begin(&self, migration: Option<&str>) {
        self.blockers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.running.send_replace(Some(Running {
            migration: migration.map(str::to_owned),
            since: Instant::now(),
        }));
    }

    /// It has ended.
    pub fn end(&self) {
        self.running.send_replace(None);
        live::clear();
    }

    /// The sessions that were in the way of the running migration when it was last looked at.
    pub fn blockers(&self) -> Vec<LockSession> {
        self.blockers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn still_runs(running: &watch::Receiver<Option<Running>>, now: &Running) -> bool {
    running.borrow().as_ref().is_some_and(|still| still.since == now.since)
}

impl Look {
    async fn watch(self, mut running: watch::Receiver<Option<Running>>, blockers: Arc<Mutex<Vec<LockSession>>>) {
        let mut session: Option<Session> = None;
        let mut said = Instant::now();
        loop {
            let now = match running.wait_for(Option::is_some).await.ok().and_then(|now| now.clone()) {
                Some(now) => now,
                // The run is over.
                None => return,
            };
            sleep(self.look_every).await;
            if !still_runs(&running, &now) {
                continue;
            }
            let open = match session.take() {
                Some(session) => session,
                None => match self.connect().await {
                    Some(session) => session,
                    // Without a connection to spare it is done without.
                    None => return,
                },
            };
            match self.look(&open).await {
                Ok(Some(seen)) => {
                    self.blockers_seen(&blockers, &seen);
                    if live::is_shown() && still_runs(&running, &now) {
                        seen.show(&now);
                    }
                    if now.since.elapsed() >= self.say_every && said.elapsed() >= self.say_every {
                        said = Instant::now();
                        seen.say(&now);
                    }
                    session = Some(open);
                }
                Ok(None) => session = Some(open),
                Err(error) => tracing::debug!("the running migration could not be looked at: {}", error.message),
            }
        }
    }

    fn blockers_seen(&self, blockers: &Mutex<Vec<LockSession>>, seen: &Seen) {
        // Kept when nobody is in the way any more: the wait may just have been given up.
        if !seen.blockers.is_empty() {
            blockers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&seen.blockers);
        }
    }

    async fn connect(&self) -> Option<Session> {
        let options = [("statement_timeout", "5s"), ("default_transaction_read_only", "on")];
        let startup = Startup {
            application_name: self.application_name.clone(),
            options: options
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        };
        match connect(&self.target, &startup).await {
            Ok(connected) => Some(Session::new(connected)),
            Err(error) => {
                tracing::debug!("no second connection to watch from: {error}");
                None
            }
        }
    }

    async fn look(&self, session: &Session) -> Result<Option<Seen>, ServerError> {
        let pid = self.pid;
        let activity = format!(
            "SELECT state, wait_event_type, wait_event, pg_catalog.pg_blocking_pids(pid) \
             FROM pg_catalog.pg_stat_activity WHERE pid = {pid}"
        );
        let blockers = format!(
            "SELECT pid, application_name, pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - xact_start)), \
             state || ': ' || pg_catalog.left(pg_catalog.split_part(query, E'\\n', 1), 80) \
             FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_catalog.pg_blocking_pids({pid}))"
        );
        let (activity, blockers) = tokio::join!(session.rows(&activity), session.rows(&blockers));
        let Some(row) = activity?.into_iter().next() else {
            return Ok(None);
        };
        let waits_for = match (row.get(1), row.get(2)) {
            (Some(kind @ ("Lock" | "LWLock" | "Extension" | "BufferPin")), Some(event)) => {
                Some(format!("{kind} {event}"))
            }
            _ => None,
        };
        let progress = futures_util::future::join_all(PROGRESS.iter().map(|(what, view, done, total)| async move {
            let phase = if *what == "copy" { "command" } else { "phase" };
            let sql = format!("SELECT {phase}, {done}, {total} FROM pg_catalog.{view} WHERE pid = {pid}");
            // A view that this version does not have, or has with other columns, says nothing.
            let rows = session.rows(&sql).await.unwrap_or_default();
            rows.first()
                .map(|row| Progress::of(what, row.get(0), row.get(1), row.get(2)))
        }));
        let progress = progress.await.into_iter().flatten().next();
        Ok(Some(Seen {
            waits_for,
            blockers: blockers?.iter().map(LockSession::of).collect(),
            progress,
        }))
    }
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

/// What a look saw.
#[derive(Debug)]
struct Seen {
    waits_for: Option<String>,
    blockers: Vec<LockSession>,
    progress: Option<Progress>,
}

#[derive(Debug, PartialEq, Eq)]
struct Progress {
    what: &'static str,
    phase: String,
    done: u64,
    total: u64,
}

impl Progress {
    fn of(what: &'static str, phase: Option<&str>, done: Option<&str>, total: Option<&str>) -> Progress {
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
        Progress {
            what,
            phase: phase.unwrap_or_default().to_owned(),
            done: number(done),
            total: number(total),
        }
    }
}

impl Seen {
    /// On the last line of a terminal.
    fn show(&self, now: &Running) {
        let (done, total) = self
            .progress
            .as_ref()
            .map_or((0, 0), |progress| (progress.done, progress.total));
        let phase = self
            .progress
            .as_ref()
            .map(|progress| format!("  {}: {}", progress.what, progress.phase));
        let text = format!(
            "{}  {} s{}{}",
            printable_name(now.migration.as_deref().unwrap_or("the statement")),
            now.since.elapsed().as_secs(),
            phase.unwrap_or_default(),
            self.waiting()
        );
        live::show(text, done, total);
    }

    fn waiting(&self) -> String {
        self.waits_for
            .as_ref()
            .map(|wait| format!(", waits for {wait}"))
            .unwrap_or_default()
    }

    /// In the log; on a terminal only who is in the way, since the rest stands on its last line.
    fn say(&self, now: &Running) {
        let migration = now.migration.as_deref();
        let seconds = now.since.elapsed().as_secs();
        let percent = self
            .progress
            .as_ref()
            .filter(|p| p.total > 0)
            .map(|p| p.done.min(p.total) * 100 / p.total);
        let progress = self.progress.as_ref().map(|p| {
            let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
            format!(", {}: {}{percent} ({} of {})", p.what, p.phase, p.done, p.total)
        });
        if !live::is_shown() {
            let progress = progress.unwrap_or_default();
            tracing::info!(
                migration,
                seconds,
                percent,
                "running for {seconds} s{progress}{}",
                self.waiting()
            );
        }
        for blocker in &self.blockers {
            tracing::warn!(migration, "{blocker} is in its way");
        }
    }
}
