//! What the server is doing meanwhile, seen from a second connection: how far the running migration is, what it waits for, and who is in its way.
//!
//! It never disturbs the work. It connects only once a migration has run for a while; where it cannot connect, or a look fails, a debug line says so
//! and the run goes on without.

use crate::activity::{self, Activity, Progress};
use crate::database::connect::{Startup, connect};
use crate::database::lock::LockSession;
use crate::database::open::Terms;
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
    /// Whether a pooler may stand between.
    pooler: bool,
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
            pooler: terms.allow_pooler,
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
            match activity::look(&open, self.pid).await {
                Ok(Some(seen)) => {
                    self.blockers_seen(&blockers, &seen);
                    if live::is_shown() && still_runs(&running, &now) {
                        show(&now, &seen);
                    }
                    if now.since.elapsed() >= self.say_every && said.elapsed() >= self.say_every {
                        said = Instant::now();
                        say(&now, &seen);
                    }
                    session = Some(open);
                }
                Ok(None) => session = Some(open),
                Err(error) => tracing::debug!("the running migration could not be looked at: {}", error.message),
            }
        }
    }

    fn blockers_seen(&self, blockers: &Mutex<Vec<LockSession>>, seen: &Activity) {
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
            pooler: self.pooler,
        };
        let session = match connect(&self.target, &startup).await {
            Ok(connected) => Session::new(connected),
            Err(error) => {
                tracing::debug!("no second connection to watch from: {error}");
                return None;
            }
        };
        match session.make_settings().await {
            Ok(()) => Some(session),
            Err(error) => {
                tracing::debug!("no settings for the second connection: {}", error.message);
                None
            }
        }
    }
}

/// On the last line of a terminal.
fn show(now: &Running, seen: &Activity) {
    let (done, total) = seen
        .progress
        .as_ref()
        .map_or((0, 0), |progress| (progress.done, progress.total));
    let phase = seen
        .progress
        .as_ref()
        .map(|progress| format!("  {}: {}", progress.what, progress.phase));
    let text = format!(
        "{}  {} s{}{}",
        printable_name(now.migration.as_deref().unwrap_or("the statement")),
        now.since.elapsed().as_secs(),
        phase.unwrap_or_default(),
        waiting(seen)
    );
    live::show(text, done, total);
}

/// In the log; on a terminal only who is in the way, since the rest stands on its last line.
fn say(now: &Running, seen: &Activity) {
    let migration = now.migration.as_deref();
    let seconds = now.since.elapsed().as_secs();
    let percent = seen.progress.as_ref().and_then(Progress::percent);
    if !live::is_shown() {
        let progress = seen
            .progress
            .as_ref()
            .map(|progress| format!(", {progress}"))
            .unwrap_or_default();
        tracing::info!(
            migration,
            seconds,
            percent,
            "running for {seconds} s{progress}{}",
            waiting(seen)
        );
    }
    for blocker in &seen.blockers {
        tracing::warn!(migration, "{blocker} is in its way");
    }
}

fn waiting(seen: &Activity) -> String {
    let wait = seen.waits_for.as_ref().map(|wait| format!(", waits for {wait}"));
    wait.unwrap_or_default()
}
