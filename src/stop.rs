//! Stopping in good order: on SIGTERM (ECS), on SIGINT (a person), and when the run's time is over.
//!
//! What runs on the server is cancelled there, and the verdict is read as after any other failure. Where nothing runs, the wait is given up.

use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use std::fmt;
use std::future::Future;
use std::io;
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

/// Whether the run is to stop, and until when it must have.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: watch::Receiver<Option<(Reason, Instant)>>,
    within: Duration,
}

/// Between two requests to cancel what still runs: one may have come too early to hit it.
const CANCEL_EVERY: Duration = Duration::from_secs(1);

impl Stop {
    /// Begins to listen: from now on the signals do not end the process, as which the kernel would not even count them where it is PID 1.
    /// Later signals change nothing.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn listen(max_duration: Option<Duration>, within: Duration) -> io::Result<Stop> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (ask, asked) = watch::channel(None);
        tokio::spawn(async move {
            let over = async {
                match max_duration {
                    Some(after) => {
                        sleep(after).await;
                        after
                    }
                    None => std::future::pending().await,
                }
            };
            let reason = tokio::select! {
                _ = terminate.recv() => Reason::Signal("SIGTERM"),
                _ = interrupt.recv() => Reason::Signal("SIGINT"),
                after = over => Reason::TimeIsOver(after),
            };
            tracing::warn!("stopping: {reason}");
            // Nobody listens any more once the run has ended by itself.
            let _ = ask.send(Some((reason, Instant::now())));
            // The signals stay caught while the run ends.
            ask.closed().await;
        });
        Ok(Stop { asked, within })
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
        let (_, asked_at) = self.requested().await;
        sleep_until(asked_at + self.within.mul_f64(0.95)).await;
    }

    /// Some of the time is kept for the verdict, the report and the goodbye.
    fn deadline(&self, asked_at: Instant) -> Instant {
        asked_at + self.within.mul_f64(0.8)
    }

    /// Waits for what runs on the server. When the run is to stop, it is cancelled there until it ends; nothing where it does not end in time.
    pub async fn ended<T>(&self, session: &Session, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let (_, asked_at) = tokio::select! {
            biased;
            done = &mut work => return Some(done),
            asked = self.requested() => asked,
        };
        let deadline = self.deadline(asked_at);
        loop {
            if let Err(error) = session.cancel().await {
                tracing::debug!("the running statement could not be cancelled: {error}");
            }
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = sleep_until(deadline) => return None,
                () = sleep(CANCEL_EVERY) => {}
            }
        }
    }
}

/// What to do if no later run can know what became of something.
pub const LOOK_FIRST: &str =
    "run `prisma-migrate-task status` and look at the database; the next deploy names the commands to resolve it";

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
        next: LOOK_FIRST.to_owned(),
        ..interrupted(reason, state)
    }
}
