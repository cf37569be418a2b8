//! Takes away what a statement left that failed or was interrupted: an INVALID index, a detach that is half done.
//!
//! Both wait for whoever uses the table. The wait names those sessions, and ends after `--lock-retry-for`.

use super::error::is_contention;
use super::retry::Retry;
use crate::database::lock::{self, LockSession};
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::watch::Watch;
use std::fmt;
use std::time::Duration;

/// What is needed to take away what a statement of this migration left.
pub struct Cleanup<'a> {
    /// The session that holds the migration lock.
    pub session: &'a Session,
    /// Sees who is in the way.
    pub watch: &'a Watch,
    /// The migration that the statement is of.
    pub migration: &'a str,
    /// How long other sessions are waited for.
    pub retry_for: Duration,
}

/// What a statement left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// A name for it, with its kind.
    pub(super) name: String,
    /// What the next deploy does to it: a verb.
    pub(super) does: &'static str,
    /// What the log says before it is taken away.
    pub(super) notice: String,
    /// The statement that takes it away.
    pub(super) remedy: String,
    /// The tables whose users that waits for.
    pub(super) tables: Vec<u32>,
}

/// What a deploy does about it.
impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.does, self.name)
    }
}

/// Why something is left.
#[derive(Debug)]
pub enum NotCleaned {
    /// Other sessions use the table.
    Locked(Box<Locked>),
    /// The server's error.
    Server(ServerError),
}

impl From<ServerError> for NotCleaned {
    fn from(error: ServerError) -> Self {
        NotCleaned::Server(error)
    }
}

/// What other sessions keep from being taken away.
#[derive(Debug)]
pub struct Locked {
    left: Leaving,
    waited: Duration,
    blockers: Vec<LockSession>,
    error: ServerError,
    /// The error of the statement that left it, if this run sent that.
    cause: Option<ServerError>,
}

impl Cleanup<'_> {
    /// Takes away what is left; tries again and again while other sessions are in its way.
    pub(super) async fn take_away(&self, left: &Leaving) -> Result<(), NotCleaned> {
        self.watch.begin(Some(self.migration));
        let mut retry = Retry::new(self.retry_for);
        loop {
            let error = match self.session.aside(&left.remedy, self.retry_for).await {
                Ok(()) => return Ok(()),
                Err(error) if is_contention(&error) => error,
                Err(error) => return Err(error.into()),
            };
            let blockers = self.blockers(left).await;
            for blocker in &blockers {
                tracing::warn!(migration = self.migration, "{blocker} was in its way");
            }
            let Some(pause) = retry.pause() else {
                return Err(NotCleaned::Locked(Box::new(Locked {
                    left: left.clone(),
                    waited: self.retry_for,
                    blockers,
                    error,
                    cause: None,
                })));
            };
            tracing::warn!(
                migration = self.migration,
                sqlstate = error.sqlstate,
                "{} is still there, because other sessions use its table ({}): again in {:.1} s",
                left.name,
                error.message,
                pause.as_secs_f64()
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// Who uses the tables now; else who was seen in the way while it was waited.
    async fn blockers(&self, left: &Leaving) -> Vec<LockSession> {
        match lock::users_of(self.session, &left.tables).await {
            Ok(users) if !users.is_empty() => users,
            _ => self.watch.blockers(),
        }
    }
}

impl NotCleaned {
    /// With the error of the statement that left something.
    pub(super) fn caused_by(self, cause: &ServerError) -> NotCleaned {
        match self {
            NotCleaned::Locked(locked) => NotCleaned::Locked(Box::new(Locked {
                cause: Some(cause.clone()),
                ..*locked
            })),
            server => server,
        }
    }
}

impl Locked {
    /// The failure of the run: its migration's row still announces the statement, so the next run goes on with what is left.
    pub fn failure(&self, migration: &str) -> Failure {
        let mut failure = Failure::new(
            Exit::TableLock,
            format!(
                "{} could not be taken away, because other sessions used its table for {} (--lock-retry-for): {}",
                self.left.name,
                humantime::format_duration(self.waited),
                self.error.message
            ),
            "end the session that uses the table or wait for it, then deploy again",
        )
        .of(migration)
        .state(format!(
            "{} is still there; the next run runs `{}` first, then the statement that left it again if it has to",
            self.left.name, self.left.remedy
        ));
        failure.sqlstate.clone_from(&self.error.sqlstate);
        let cause = self.cause.as_ref();
        failure
            .details
            .extend(cause.map(|cause| format!("the statement had failed: {}", cause.text())));
        failure
            .details
            .extend(self.blockers.iter().map(|blocker| format!("{blocker} was in its way")));
        failure
    }
}
