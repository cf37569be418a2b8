//! Stopping in good order: on SIGTERM (ECS), on SIGINT (a person), and when the run's time is over.
//!
//! What runs on the server is cancelled there, and the verdict is read as after any other failure. Where nothing runs, the wait is given up.

use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::invocation::command;
use crate::stderr;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Why the run is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A signal, by its name.
    Signal(&'static str),
    /// `--max-duration`.
    TimeIsOver(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Signal(name) => f.write_str(name),
            Reason::TimeIsOver(after) => write!(f, "--max-duration ({})", humantime::format_duration(*after)),
        }
    }
}

/// When it was asked to stop, and why.
type Asked = Option<(Reason, Instant)>;

/// SIGTERM and SIGINT, caught from the beginning of the process.
///
/// A thread of their own hears them, so that they are heard however long the run's thread is busy.
#[derive(Clone, Debug)]
pub struct Signals {
    ask: Arc<watch::Sender<Asked>>,
}

impl Signals {
    /// Begins to listen: from now on the signals do not end the process. Where it is PID 1 the kernel drops those that nobody catches, so that this comes
    /// before all else.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn catch() -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(entered);
        let ask = Arc::new(watch::Sender::new(None));
        let heard = Signals { ask: Arc::clone(&ask) };
        let listen = async move {
            // Later ones change nothing.
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                heard.stop(Reason::Signal(name));
            }
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(listen))?;
        Ok(Signals { ask })
    }

    fn stop(&self, reason: Reason) {
        stderr::hurry();
        self.ask.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert((reason, Instant::now()));
            first
        });
    }

    /// Does something on another thread that may take long through no fault of ours, such as to write to standard output, and waits for it. Where the run is
    /// to stop, no longer than it may take to stop.
    pub fn outlast(&self, within: Duration, work: impl FnOnce() + Send + 'static) {
        const LOOK: Duration = Duration::from_millis(50);
        const AT_LEAST: Duration = Duration::from_millis(200);
        let (done, ended) = mpsc::channel();
        let started = thread::Builder::new().spawn(move || {
            work();
            let _ = done.send(());
        });
        if started.is_err() {
            return;
        }
        let mut asked_since: Option<Instant> = None;
        while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK) {
            let Some((_, asked_at)) = *self.ask.borrow() else {
                continue;
            };
            let now = Instant::now();
            if now >= (asked_at + within).max(*asked_since.get_or_insert(now) + AT_LEAST) {
                return;
            }
        }
    }
}

/// Whether the run is to stop, and until when it must have.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: watch::Receiver<Asked>,
    within: Duration,
}

/// Between two requests to cancel what still runs: one may have come too early to hit it.
const CANCEL_EVERY: Duration = Duration::from_secs(1);
/// How long the server is given to answer the goodbye where the run is not to stop.
const GOODBYE: Duration = Duration::from_secs(2);

/// What part of the time to stop has passed when the next thing must begin. What runs is cancelled and waited for first; then the lock is released; the
/// verb ends; the report is delivered; what is left is for the last words.
const CANCELLED: f64 = 0.8;
const RELEASED: f64 = 0.85;
const ENDED: f64 = 0.88;
const DELIVERED: f64 = 0.95;

impl Stop {
    /// Heeds the signals, and the run's time.
    pub fn listen(signals: &Signals, max_duration: Option<Duration>, within: Duration) -> Stop {
        let stop = Stop {
            asked: signals.ask.subscribe(),
            within,
        };
        let (signals, heard) = (signals.clone(), stop.clone());
        tokio::spawn(async move {
            let over = async {
                match max_duration {
                    Some(after) => sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = heard.requested() => {}
                () = over => signals.stop(Reason::TimeIsOver(max_duration.unwrap_or_default())),
            }
            if let Some(reason) = heard.reason() {
                tracing::warn!("stopping: {reason}");
            }
        });
        stop
    }

    /// Why the run is to stop, if it is.
    pub fn reason(&self) -> Option<Reason> {
        self.asked.borrow().map(|(reason, _)| reason)
    }

    /// Waits until the run is to stop.
    async fn requested(&self) -> (Reason, Instant) {
        let mut asked = self.asked.clone();
        let seen = asked.wait_for(Option::is_some).await.ok().and_then(|asked| *asked);
        match seen {
            Some(seen) => seen,
            // Nobody will ask any more.
            None => std::future::pending().await,
        }
    }

    /// Does something that can be given up at any moment: waiting, reading, connecting.
    ///
    /// # Errors
    /// The run is to stop.
    pub async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            (reason, _) = self.requested() => Err(interrupted(reason, crate::failure::UNCHANGED)),
            done = work => Ok(done),
        }
    }

    /// Waits for statements of ours that end soon unless other sessions keep them; nothing where the run is to stop and they do not end in time.
    pub async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let over = async {
            let (_, asked_at) = self.requested().await;
            sleep_until(self.deadline(asked_at)).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = over => None,
        }
    }

    /// Waits until a run that is to stop must have ended; for ever where it is not to stop. A little is kept for the last words.
    pub async fn over(&self) {
        self.part_passed(DELIVERED).await;
    }

    /// Does the whole of what the run is for. Whatever it waits for is given up where it has not ended in time.
    ///
    /// # Errors
    /// The work's own; or it has not ended in time.
    pub async fn bound<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.part_passed(ENDED) => Err(self.not_in_time()),
        }
    }

    /// Takes leave of the server, which may not answer.
    pub async fn goodbye(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = work => return,
            () = sleep(GOODBYE) => {}
            () = self.part_passed(RELEASED) => {}
        }
        tracing::debug!("the server did not answer the goodbye");
    }

    async fn part_passed(&self, part: f64) {
        let (_, asked_at) = self.requested().await;
        sleep_until(asked_at + self.within.mul_f64(part)).await;
    }

    fn not_in_time(&self) -> Failure {
        let state = "what the server made of what ran last was not seen in time; the next run reads it from the ledger";
        match self.reason() {
            Some(reason) => interrupted(reason, state),
            None => Failure::new(
                Exit::Unexpected,
                "it stopped without having been asked to",
                "report this as a bug",
            )
            .state(state),
        }
    }

    /// Some of the time is kept for the verdict, the report and the goodbye.
    fn deadline(&self, asked_at: Instant) -> Instant {
        asked_at + self.within.mul_f64(CANCELLED)
    }

    /// Waits for what runs on the server. When the run is to stop, it is cancelled there until it ends; nothing where it does not end in time.
    pub async fn ended<T>(&self, session: &Session, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let (_, asked_at) = tokio::select! {
            biased;
            done = &mut work => return Some(done),
            asked = self.requested() => asked,
        };
        // A request to cancel is a connection of its own, which takes as long as the network likes.
        let cancel_it = async {
            loop {
                if let Err(error) = session.cancel().await {
                    tracing::debug!("the running statement could not be cancelled: {error}");
                }
                sleep(CANCEL_EVERY).await;
            }
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = sleep_until(self.deadline(asked_at)) => None,
            () = cancel_it => None,
        }
    }
}

/// What to do if no later run can know what became of something.
pub fn look_first() -> String {
    format!(
        "run `{}` and look at the database; the next deploy names the commands to resolve it",
        command(&["status"])
    )
}

/// The failure of a run that was stopped, after which the next run begins again or goes on by itself.
pub fn interrupted(reason: Reason, state: &str) -> Failure {
    Failure::new(
        Exit::Interrupted,
        format!("stopped by {reason}"),
        "start it again: it goes on where it stopped",
    )
    .state(state)
}

/// The failure of a run that was stopped, of which it is not known what became of something: a person must look.
pub fn interrupted_partially(reason: Reason, state: &str) -> Failure {
    Failure {
        exit: Exit::InterruptedPartially,
        next: look_first(),
        ..interrupted(reason, state)
    }
}
