//! `plan`: says what a deploy would do. Takes no lock and writes nothing.

use crate::apply::together;
use crate::artifact::Artifact;
use crate::database::lock;
use crate::database::open::{self, Opened};
use crate::deploy::{describe, read_artifact, with_traces};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hazard;
use crate::history::{History, State};
use crate::outcome::Outcome;
use crate::plan;
use crate::prepare;
use crate::settings::Settings;
use crate::sql::script::Strings;
use std::sync::Arc;

/// Plans as a deploy does, and looks at what the plan would lock.
///
/// # Errors
/// What would keep a deploy from running, and what `--fail-on` refuses; what could be seen is in the outcome all the same.
pub async fn preview(settings: &Settings, check: bool, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let run_id = outcome.run_id.clone();
    let terms = settings.terms(&run_id);
    let source = settings.source()?;
    // An artifact that cannot be used ends the run at once, however long the database is waited for.
    let (artifact, opened) = tokio::try_join!(read_artifact(source, settings), async {
        Ok(open::open_with_retry(&terms).await)
    })?;
    describe(&artifact, outcome);
    let opened = match opened {
        Err(failure) if open::is_missing(&failure) => {
            let warning = format!("{} does not exist: deploy creates it", settings.target.describe());
            outcome.warnings.push(warning);
            None
        }
        opened => Some(opened?),
    };
    let result = look(&artifact, opened.as_ref(), settings, outcome).await;
    if let Some(opened) = opened {
        opened.session.close().await;
    }
    result?;
    Ok(if check && !outcome.pending.is_empty() {
        Exit::Pending
    } else {
        Exit::Success
    })
}

async fn look(
    artifact: &Artifact,
    opened: Option<&Opened>,
    settings: &Settings,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let history = match opened {
        Some(opened) => history(artifact, opened, settings, outcome).await?,
        None => History::default(),
    };
    let strings = opened.map_or(Strings::Standard, |opened| opened.server.strings);
    let plan = match plan::plan(&artifact.migrations, &history, &settings.policy, strings) {
        Ok(plan) => plan,
        Err(failure) => {
            return Err(match opened {
                Some(opened) => with_traces(&opened.session, &artifact.migrations, failure).await,
                None => failure,
            });
        }
    };
    outcome.warnings.extend(plan.warnings);
    if settings.all_or_nothing {
        together::check(&plan.pending)?;
    }
    let pending = plan.pending.iter().map(|pending| pending.name);
    outcome.pending = pending.chain(plan.left.iter().copied()).map(str::to_owned).collect();
    let wanted = settings.target.schema.as_deref();
    let schema = opened.and_then(|opened| opened.server.schema.as_deref()).or(wanted);
    let session = opened.map(|opened| &opened.session);
    let examined = hazard::examine(session, schema, &plan.pending, settings)
        .await
        .map_err(|error| open::unusable("the tables of the pending migrations could not be looked at", &error))?;
    outcome.warnings.extend(examined.warning);
    outcome.plan = Some(examined.plan);
    outcome.hazards = examined.hazards;
    hazard::refuse(&outcome.hazards)
}

/// The ledger as a deploy would find it once it has the lock, and what it would find missing.
async fn history(
    artifact: &Artifact,
    opened: &Opened,
    settings: &Settings,
    outcome: &mut Outcome,
) -> Result<History, Failure> {
    let server = &opened.server;
    outcome.database = Some(server.clone());
    if !server.writable {
        outcome.warnings.push(format!(
            "{} does not take writes: a deploy to it would be refused",
            server.address
        ));
    }
    prepare::check(opened, settings.target.schema.as_deref(), &artifact.datasource).await?;
    if opened.history.is_none() {
        match (&server.schema, &settings.target.schema) {
            (Some(_), _) => {}
            (None, Some(schema)) => outcome
                .warnings
                .push(format!("the schema {schema} does not exist: deploy creates it")),
            (None, None) => return Err(prepare::no_schema()),
        }
        outcome
            .warnings
            .push("there is no migrations table yet: deploy creates it".to_owned());
    }
    let mut history = Arc::unwrap_or_clone(opened.history.clone().unwrap_or_default());
    let holder = lock::holder(&opened.session)
        .await
        .map_err(|error| open::unusable("the migration lock could not be looked at", &error))?;
    if let Some(holder) = holder {
        outcome.warnings.push(format!(
            "the migration lock is held by {holder}: a run may be under way, and this may be done by the time that it ends"
        ));
        // What it has begun is neither done nor failed.
        history.rows.retain(|row| row.state != State::Unfinished);
    }
    Ok(history)
}
