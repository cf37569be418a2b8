//! `resolve`: corrects the ledger by hand, as `prisma migrate resolve` does, under the migration lock.

use crate::database::lock;
use crate::database::open::{self, Opened};
use crate::database::server_error::ServerError;
use crate::deploy::{describe, read_artifact, take_lock};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{History, Ledger, State};
use crate::outcome::Outcome;
use crate::settings::Settings;
use crate::sql::quote;
use crate::stop::Stop;
use uuid::Uuid;

/// Records a migration as applied; its failed rows become rolled back.
///
/// # Errors
/// No such migration in the artifact (P3017), applied already (P3008), or the database cannot be used.
pub async fn applied(settings: &Settings, stop: &Stop, name: &str, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let artifact = read_artifact(settings.source()?, settings).await?;
    describe(&artifact, outcome);
    let checksum = artifact
        .migrations
        .iter()
        .find(|m| m.name == name)
        .and_then(|m| m.script.checksum());
    let Some(checksum) = checksum else {
        return Err(refused(
            "P3017",
            name,
            "there is no such migration in the artifact",
            "give the whole name of its directory",
        ));
    };
    under_lock(settings, stop, outcome, async |opened, ledger, history| {
        if history.of(name).any(|row| row.state == State::Applied) {
            return Err(refused(
                "P3008",
                name,
                "it is recorded as applied already",
                "there is nothing to resolve",
            ));
        }
        let mut sql = Vec::new();
        if opened.history.is_none() {
            if let Some(schema) = settings
                .target
                .schema
                .as_deref()
                .filter(|_| opened.server.schema.is_none())
            {
                sql.push(format!("CREATE SCHEMA IF NOT EXISTS {}", quote::identifier(schema)));
            }
            sql.push(ledger.create());
        }
        sql.push(ledger.roll_back_unfinished(name));
        sql.push(ledger.record_applied(&Uuid::new_v4().to_string(), name, &checksum));
        // One message is one transaction: either all of it is recorded or nothing.
        opened
            .session
            .rows(&sql.join("; "))
            .await
            .map_err(|error| not_written(&error))?;
        Ok(format!("{name} is recorded as applied; it was not run"))
    })
    .await
}

/// Records the unfinished rows of a migration as rolled back, so that the next deploy runs it again.
///
/// # Errors
/// It was never begun (P3011), it is applied (P3012), or the database cannot be used.
pub async fn rolled_back(settings: &Settings, stop: &Stop, name: &str, outcome: &mut Outcome) -> Result<Exit, Failure> {
    under_lock(settings, stop, outcome, async |opened, ledger, history| {
        let states: Vec<State> = history.of(name).map(|row| row.state).collect();
        if states.is_empty() {
            return Err(refused(
                "P3011",
                name,
                "it was never begun on this database",
                "give the whole name of its directory",
            ));
        }
        if !states.contains(&State::Unfinished) {
            if states.contains(&State::Applied) {
                return Err(refused(
                    "P3012",
                    name,
                    "it is applied, not failed",
                    "there is nothing to resolve",
                ));
            }
            return Ok(format!("{name} was recorded as rolled back already"));
        }
        opened
            .session
            .rows(&ledger.roll_back_unfinished(name))
            .await
            .map_err(|error| not_written(&error))?;
        Ok(format!(
            "{name} is recorded as rolled back; the next deploy runs it again"
        ))
    })
    .await
}

async fn under_lock(
    settings: &Settings,
    stop: &Stop,
    outcome: &mut Outcome,
    change: impl AsyncFnOnce(&Opened, &Ledger, &History) -> Result<String, Failure>,
) -> Result<Exit, Failure> {
    let run_id = outcome.run_id.clone();
    let opened = stop.unless(open::open(&settings.terms(&run_id))).await??;
    outcome.database = Some(opened.server.clone());
    let result = async {
        stop.unless(take_lock(&opened.session, settings)).await??;
        let ledger = opened
            .server
            .ledger()
            .or_else(|| settings.target.schema.as_deref().map(Ledger::in_schema))
            .ok_or_else(|| {
                Failure::new(
                    Exit::Database,
                    "no schema of the search path exists",
                    "create the schema, or name one with ?schema= or DB_SCHEMA",
                )
            })?;
        let history = match opened.history {
            Some(_) => open::read_history(&opened.session, &ledger).await?,
            None => History::default(),
        };
        change(&opened, &ledger, &history).await
    }
    .await;
    lock::release_and_close(opened.session).await;
    outcome.resolved.push(result?);
    Ok(Exit::Success)
}

fn refused(code: &'static str, name: &str, what: &str, next: &str) -> Failure {
    Failure::new(Exit::History, what, next).prisma(Some(code)).of(name)
}

fn not_written(error: &ServerError) -> Failure {
    open::unusable("the migrations table could not be written", error)
}
