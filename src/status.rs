//! `status`: says what is applied, pending and failed, and what runs now. Takes no lock and writes nothing.

use crate::activity::{self, Activity, Progress};
use crate::artifact::Artifact;
use crate::database::lock::{self, AS_LOGIN_USER, LockSession};
use crate::database::open::{self, Opened};
use crate::database::session::Session;
use crate::deploy::{describe, read_artifact, with_traces};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::overview::{Attempt, State, overview};
use crate::plan;
use crate::prepare;
use crate::settings::Settings;
use crate::sql::quote;
use serde::Serialize;

/// The session that holds the migration lock, and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Running {
    /// Its backend's process id.
    pub backend: u32,
    /// What it calls itself.
    pub application_name: String,
    /// Since its statement began; since it became idle, where it is.
    pub seconds: u64,
    /// The migration that it runs, where that can be seen.
    pub migration: Option<String>,
    /// How far its command is, where PostgreSQL reports that.
    pub progress: Option<Progress>,
    /// The kind and name of what it waits for.
    pub waits_for: Option<String>,
    /// The sessions that are in its way.
    pub blocked_by: Vec<String>,
}

/// Compares the artifact with the ledger.
///
/// # Errors
/// What would keep a deploy from running; what is pending is in the outcome all the same.
pub async fn status(settings: &Settings, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let run_id = outcome.run_id.clone();
    let terms = settings.terms(&run_id);
    let source = settings.source()?;
    // An artifact that cannot be used ends the run at once, however long the database is waited for.
    let (artifact, opened) = tokio::try_join!(read_artifact(source, settings), async { Ok(open::open(&terms).await) })?;
    describe(&artifact, outcome);
    let opened = opened?;
    outcome.database = Some(opened.server.clone());
    let result = look(settings, &artifact, &opened, outcome).await;
    let result = match result {
        Err(failure) => Err(with_traces(&opened.session, &artifact.migrations, failure).await),
        exit => exit,
    };
    opened.session.close().await;
    result
}

async fn look(
    settings: &Settings,
    artifact: &Artifact,
    opened: &Opened,
    outcome: &mut Outcome,
) -> Result<Exit, Failure> {
    let migrations = &artifact.migrations;
    let session = &opened.session;
    let unseen = |what: &'static str| move |error| open::unusable(what, &error);
    let attempts: Vec<Attempt> = match (&opened.history, opened.server.ledger()) {
        (Some(_), Some(ledger)) => {
            let rows = session.rows(&Attempt::select(ledger.table())).await;
            let rows = rows.map_err(unseen("the migrations table cannot be read"))?;
            rows.iter().map(|row| Attempt::of(|at| row.get(at))).collect()
        }
        _ => Vec::new(),
    };
    let holder = lock::holder(session)
        .await
        .map_err(unseen("the migration lock could not be looked at"))?;
    let unfinished = attempts
        .iter()
        .any(|attempt| attempt.state == crate::history::State::Unfinished);
    let under_way = holder.is_some() && unfinished;
    outcome.migrations = overview(migrations, &attempts, under_way);
    let listed = |name: &str| migrations.iter().any(|migration| migration.name == name);
    outcome.pending = outcome
        .migrations
        .iter()
        .filter(|overview| matches!(overview.state, State::Pending | State::RolledBack | State::Running))
        .map(|overview| overview.name.clone())
        .filter(|name| listed(name))
        .collect();
    if let Some(holder) = &holder {
        outcome.warnings.push(format!(
            "the migration lock is held by {holder}: a run may be under way"
        ));
        outcome.running = Some(running(session, holder, outcome).await);
    }
    if opened.history.is_none() {
        outcome
            .warnings
            .push("there is no migrations table yet: Prisma does not manage this database".into());
    }
    prepare::check(opened, settings.target.schema.as_deref(), &artifact.datasource).await?;
    if !under_way {
        let history = opened.history.clone().unwrap_or_default();
        let plan = plan::plan(migrations, &history, &settings.policy, opened.server.strings)?;
        outcome.warnings.extend(plan.warnings);
        // What an interrupted run has begun, and the next deploy goes on with, is pending too.
        let resumed = plan.pending.iter().filter(|pending| pending.resume.is_some());
        outcome.pending.extend(resumed.map(|pending| pending.name.to_owned()));
        let place = |name: &String| migrations.iter().position(|migration| migration.name == *name);
        outcome.pending.sort_by_key(place);
    }
    Ok(if outcome.pending.is_empty() {
        Exit::Success
    } else {
        Exit::Pending
    })
}

/// What the holder of the lock does. What cannot be seen of it is left out.
async fn running(session: &Session, holder: &LockSession, outcome: &Outcome) -> Running {
    let backend = holder.pid.parse().unwrap_or(0);
    let seen = activity::look(session, backend).await.ok().flatten();
    let Activity {
        waits_for,
        blockers,
        progress,
    } = seen.unwrap_or(Activity {
        waits_for: None,
        blockers: Vec::new(),
        progress: None,
    });
    let unfinished = outcome
        .migrations
        .iter()
        .find(|overview| overview.state == State::Running);
    let migration = match unfinished {
        Some(overview) => Some(overview.name.clone()),
        // A script's row is not to be seen before it commits, but its message begins with the INSERT of it.
        None => {
            let sql = format!(
                "{AS_LOGIN_USER} SELECT pg_catalog.left(query, 2000) FROM pg_catalog.pg_stat_activity WHERE pid = {backend} AND state = 'active'"
            );
            let rows = session.rows(&sql).await.unwrap_or_default();
            let query = rows.first().and_then(|row| row.get(0)).unwrap_or_default();
            let named = |name: &&String| query.contains("_prisma_migrations") && query.contains(&quote::literal(name));
            outcome.pending.iter().find(named).cloned()
        }
    };
    Running {
        backend,
        application_name: holder.application_name.clone(),
        seconds: holder.seconds,
        migration,
        progress,
        waits_for,
        blocked_by: blockers.iter().map(ToString::to_string).collect(),
    }
}
