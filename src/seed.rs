//! The seed: SQL that runs once, after the first deploy to a database has succeeded.
//!
//! Whether it is still to run is kept where an interruption cannot separate it from what it says: in a comment on the migrations table, which neither
//! Prisma nor anything else looks at. It is set before the first migration is applied, and replaced in the transaction of the seed itself.

use crate::advice;
use crate::apply::error::Context;
use crate::apply::message::{self, Message};
use crate::apply::together;
use crate::artifact::Artifact;
use crate::artifact::seed::{Content, Seed};
use crate::database::open;
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{History, Ledger, State};
use crate::migration::{Script, sha256};
use crate::outcome::{Seeded, millis};
use crate::sql::quote;
use crate::sql::script::statements;
use crate::stop::{self, Stop};
use std::path::Path;
use std::time::{Duration, Instant};

const OURS: &str = "prisma-migrate-task/1 seed=";
const PENDING: &str = "prisma-migrate-task/1 seed=pending";
const NOT_SEEN: &str =
    "the migrations are applied; whether the seed is, the next deploy reads from the comment on the migrations table";

/// A seed that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sql {
    /// The file.
    pub path: String,
    text: String,
}

/// The seed that a deploy would run: the file that was named, else the artifact's.
///
/// # Errors
/// It cannot be read, is no UTF-8, or holds what cannot share a transaction with the note that it has run.
pub fn of(named: Option<&Path>, artifact: &Artifact) -> Result<Option<Sql>, Failure> {
    let (path, script) = match (named, &artifact.seed) {
        (Some(path), _) => {
            let shown = path.display().to_string();
            let bytes = std::fs::read(path).map_err(|error| unusable(&shown, &format!("cannot be read: {error}")))?;
            (shown, Script::read(bytes))
        }
        (
            None,
            Some(Seed {
                path,
                content: Content::Sql(script),
            }),
        ) => (path.clone(), script.clone()),
        _ => return Ok(None),
    };
    let text = script.text().map_err(|defect| unusable(&path, &defect.to_string()))?;
    if let Some(why) = together::obstacle(text, &statements(text)) {
        return Err(unusable(&path, &format!("cannot run in one transaction: {why}")));
    }
    let text = text.to_owned();
    Ok(Some(Sql { path, text }))
}

impl Sql {
    fn sha256(&self) -> String {
        sha256(self.text.as_bytes())
    }

    /// The comment that it commits with.
    fn done(&self) -> String {
        format!("{OURS}done sha256={}", self.sha256())
    }

    /// What the outcome says of it when it has run.
    pub fn ran(&self, took: Duration) -> Seeded {
        let duration_ms = millis(took);
        tracing::info!(seed = self.path, duration_ms, "seeded");
        Seeded {
            path: self.path.clone(),
            sha256: self.sha256(),
            duration_ms,
        }
    }
}

fn unusable(path: &str, why: &str) -> Failure {
    Failure::new(
        Exit::Artifact,
        format!("the seed {path} {why}"),
        "fix the seed, or leave it out and run it by hand",
    )
}

/// Notes that the seed is to run, where nothing is applied yet. Under the lock.
///
/// # Errors
/// The server's.
pub async fn expect(session: &Session, ledger: &Ledger, history: &History) -> Result<(), Failure> {
    // A seed may have run where there was no migration at all yet.
    if history.rows.iter().any(|row| row.state == State::Applied) || noted(session, ledger).await?.is_some() {
        return Ok(());
    }
    let noted = session.rows(&comment(ledger, PENDING)).await;
    noted.map(drop).map_err(|error| {
        open::unusable(
            "that the seed is to run could not be noted at the migrations table",
            &error,
        )
    })
}

/// Whether the seed is still to run.
///
/// # Errors
/// The server's.
pub async fn is_expected(session: &Session, ledger: &Ledger) -> Result<bool, Failure> {
    Ok(noted(session, ledger).await?.as_deref() == Some(PENDING))
}

/// Whether this seed has run.
///
/// # Errors
/// The server's.
pub async fn has_run(session: &Session, ledger: &Ledger, seed: &Sql) -> Result<bool, Failure> {
    Ok(noted(session, ledger).await? == Some(seed.done()))
}

/// What the comment on the migrations table says of the seed.
async fn noted(session: &Session, ledger: &Ledger) -> Result<Option<String>, Failure> {
    let sql = format!(
        "SELECT pg_catalog.obj_description(pg_catalog.to_regclass({}), 'pg_class')",
        quote::literal(ledger.table())
    );
    let rows = session.rows(&sql).await;
    let rows = rows.map_err(|error| open::unusable("whether the seed has run could not be read", &error))?;
    let comment = rows.first().and_then(|row| row.get(0)).map(str::to_owned);
    Ok(comment.filter(|comment| comment.starts_with(OURS)))
}

/// Runs it, and notes in the same transaction that it has run. Under the lock, when nothing is pending any more.
///
/// # Errors
/// It failed, and nothing of it is in the database; or it was interrupted.
pub async fn run(session: &Session, ledger: &Ledger, seed: &Sql, stop: &Stop) -> Result<Seeded, Failure> {
    let started = Instant::now();
    tracing::info!(seed = seed.path, "seeding");
    let mut tail = message::before_close(session);
    tail.push(comment(ledger, &seed.done()));
    tail.extend(message::fresh(&session.kept_settings()));
    let mut message = Message::new(&seed.text, 0, Vec::new(), tail);
    session.set_subject(Some(&seed.path));
    let sent = stop
        .ended(session, session.script(std::mem::take(&mut message.text)))
        .await;
    session.set_subject(None);
    let state = "the migrations are applied; of the seed nothing is in the database, and the next deploy runs it";
    let mut failure = match sent.map(|sent| (sent.completed, sent.error)) {
        None => {
            return Err(interrupted(stop, NOT_SEEN));
        }
        Some((_, None)) => return Ok(seed.ran(started.elapsed())),
        Some((_, Some(error))) if error.closed => {
            return Err(open::unusable("the connection was lost while the seed ran", &error).state(NOT_SEEN));
        }
        Some((_, Some(error))) if stop.reason().is_some() && error.is(&["57014"]) => {
            return Err(interrupted(stop, state));
        }
        Some((completed, Some(error))) => {
            let statements = statements(&seed.text);
            let context = Context {
                migration: &seed.path,
                script: &seed.text,
                statements: statements.into(),
            };
            let mut failure = context.failure(&error, &message, completed);
            failure.migration = None;
            failure.prisma_code = None;
            if let Some(place) = &mut failure.place {
                place.file.clone_from(&seed.path);
            }
            failure.what = format!("the seed {} failed: {}", seed.path, failure.what);
            failure
        }
    };
    // Whatever the seed had set.
    if let Err(error) = session.raw("ROLLBACK").await {
        tracing::debug!("the seed's transaction could not be left: {}", error.message);
    }
    let around = advice::look(session, failure.error.as_deref().unwrap_or(&ServerError::default())).await;
    let advice = failure.error.as_deref().and_then(|error| advice::of(error, &around));
    let next = advice::then(advice.as_deref(), "deploy again: the seed runs then");
    failure.next = next.unwrap_or_else(|| "fix the seed and deploy again: it runs then".into());
    Err(failure.state(state))
}

fn interrupted(stop: &Stop, state: &str) -> Failure {
    match stop.reason() {
        Some(reason) => stop::interrupted(reason, state),
        None => Failure::new(
            Exit::Unexpected,
            "it stopped without having been asked to",
            "report this as a bug",
        )
        .state(state),
    }
}

fn comment(ledger: &Ledger, text: &str) -> String {
    format!("COMMENT ON TABLE {} IS {}", ledger.table(), quote::literal(text))
}
