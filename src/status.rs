//! `status`: says what is applied, pending and failed. Takes no lock and writes nothing.

use crate::database::lock;
use crate::database::open;
use crate::deploy::{describe, read_artifact, with_traces};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::History;
use crate::migration::Migration;
use crate::outcome::Outcome;
use crate::plan;
use crate::settings::Settings;

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
    if opened.history.is_none() {
        outcome
            .warnings
            .push("there is no migrations table yet: Prisma does not manage this database".into());
    }
    let history = opened.history.clone().unwrap_or_default();
    let holder = lock::holder(&opened.session)
        .await
        .map_err(|error| open::unusable("the migration lock could not be looked at", &error))?;
    let under_way = holder.is_some() && history.unfinished().next().is_some();
    outcome.pending = pending(&artifact.migrations, &history, under_way);
    if let Some(holder) = holder {
        outcome.warnings.push(format!(
            "the migration lock is held by {holder}: a run may be under way"
        ));
    }
    if !under_way {
        match plan::plan(&artifact.migrations, &history, &settings.policy) {
            Ok(plan) => outcome.warnings.extend(plan.warnings),
            Err(failure) => return Err(with_traces(&opened.session, &artifact.migrations, failure).await),
        }
    }
    opened.session.close().await;
    Ok(if outcome.pending.is_empty() {
        Exit::Success
    } else {
        Exit::Pending
    })
}

/// The migrations that no row records as applied. Unfinished ones are pending while a run is under way, and failures otherwise.
fn pending(migrations: &[Migration], history: &History, under_way: bool) -> Vec<String> {
    let mut recorded = history.recorded();
    if under_way {
        for row in history.unfinished() {
            recorded.remove(row.migration.as_str());
        }
    }
    migrations
        .iter()
        .filter(|m| !recorded.contains(m.name.as_str()))
        .map(|m| m.name.clone())
        .collect()
}
