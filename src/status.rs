//! `status`: says what is applied, pending and failed, and what runs now. Takes no lock and writes nothing.

use crate::activity::{self, Activity, Progress};
use crate::database::lock::{AS_LOGIN_USER, LockSession};
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::look::look;
use crate::outcome::Outcome;
use crate::overview::{State, overview};
use crate::plan;
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
    look(settings, outcome, async |seen, outcome| {
        let judgement = &seen.judgement;
        outcome.migrations = overview(judgement);
        // If a deploy would be refused, this is what is known to be pending.
        let pending = judgement
            .migrations
            .iter()
            .filter(|judged| judged.standing.is_pending());
        outcome.pending = pending.map(|judged| judged.name.to_owned()).collect();
        if let (Some(opened), Some(holder)) = (seen.opened, &seen.holder) {
            outcome.running = Some(running(&opened.session, holder, outcome).await);
        }
        seen.check_place(settings, outcome).await?;
        let plan = plan::plan(judgement, &settings.policy)?;
        outcome.warnings.extend(plan.announcements());
        outcome.pending = plan.names(judgement);
        outcome.warnings.extend(plan.warnings);
        Ok(match outcome.pending.is_empty() {
            true => Exit::Success,
            false => Exit::Pending,
        })
    })
    .await
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
