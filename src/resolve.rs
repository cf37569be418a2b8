//! `resolve`: corrects the ledger by hand, as `prisma migrate resolve` does, under the migration lock.

use crate::database::lock;
use crate::database::open::{self, Opened};
use crate::database::server_error::ServerError;
use crate::deploy::{deploy, describe, read_artifact, take_lock};
use crate::exit::Exit;
use crate::failure::{Failure, resolve_by_hand};
use crate::history::{History, Ledger, Mark, Marked, Row, State};
use crate::outcome::Outcome;
use crate::plan::no_such_migration;
use crate::printable::first;
use crate::settings::Settings;
use crate::sql::quote;
use crate::stop::Stop;
use uuid::Uuid;

/// Records migrations as applied, all or none; their failed rows become rolled back.
///
/// # Errors
/// No such migration in the artifact (P3017), applied already (P3008), or the database cannot be used.
pub async fn applied(
    settings: &Settings,
    stop: &Stop,
    names: &[String],
    outcome: &mut Outcome,
) -> Result<Exit, Failure> {
    let artifact = read_artifact(settings.source()?, settings).await?;
    describe(&artifact, outcome);
    let mut named: Vec<(&str, String)> = Vec::new();
    for name in names {
        let migration = artifact.migrations.iter().find(|migration| migration.name == *name);
        let checksum = migration.and_then(|migration| migration.script.checksum());
        let checksum = checksum.ok_or_else(|| no_such_migration(name))?;
        if !named.iter().any(|(before, _)| before == name) {
            named.push((name, checksum.to_owned()));
        }
    }
    under_lock(settings, stop, outcome, async |opened, ledger, history| {
        for (name, _) in &named {
            if history.of(name).any(|row| row.state == State::Applied) {
                return Err(refused(
                    "P3008",
                    name,
                    "it is recorded as applied already",
                    "there is nothing to resolve",
                ));
            }
        }
        record_applied(settings, opened, ledger, &named).await?;
        let said = |(name, _): &(&str, String)| format!("{name} is recorded as applied; it was not run");
        Ok(named.iter().map(said).collect())
    })
    .await
}

/// Records migrations, given by name and checksum, as applied. The migrations table is made where it is missing.
///
/// # Errors
/// It could not be written; then nothing was.
pub async fn record_applied(
    settings: &Settings,
    opened: &Opened,
    ledger: &Ledger,
    migrations: &[(&str, String)],
) -> Result<(), Failure> {
    let mut sql = Vec::new();
    if opened.history.is_none() {
        let wanted = settings.target.schema.as_deref();
        if let Some(schema) = wanted.filter(|_| opened.server.schema.is_none()) {
            sql.push(format!("CREATE SCHEMA IF NOT EXISTS {}", quote::identifier(schema)));
        }
        sql.push(ledger.create());
    }
    for (name, checksum) in migrations {
        sql.push(ledger.roll_back_unfinished(name));
        sql.push(ledger.record_applied(&Uuid::new_v4().to_string(), name, checksum));
    }
    // One message is one transaction: either all of it is recorded or nothing.
    let written = opened.session.rows(&sql.join("; ")).await;
    written.map(drop).map_err(|error| not_written(&error))
}

/// Runs a migration on that was sent statement by statement: the statement at which it stopped left nothing, says whoever asks for this. Other
/// pending migrations are left alone.
///
/// # Errors
/// It was never begun (P3011), did not fail (P3012), or where it stopped is not known; and everything that a deploy of it can fail with.
pub async fn retry(settings: &Settings, stop: &Stop, name: &str, outcome: &mut Outcome) -> Result<Exit, Failure> {
    settings.source()?;
    under_lock(settings, stop, outcome, async |opened, ledger, history| {
        let row = unfinished(history, name)?;
        let mark = row.mark();
        let (unit, progress, state) = match mark.as_ref().map(|mark| &mark.state) {
            Some(Marked::Steps(progress)) => {
                return Ok(vec![format!(
                    "{name} goes on after its {}",
                    first(progress.done, "step", "steps")
                )]);
            }
            Some(Marked::Alone { progress, .. }) => ("statement", progress, Marked::Steps(progress.clone())),
            Some(Marked::Partial(Some(progress))) => ("transaction", progress, Marked::Partial(Some(progress.clone()))),
            _ => {
                return Err(Failure::new(
                    Exit::PartiallyCommitted,
                    "it was not sent statement by statement, so there is no statement that it could go on from",
                    resolve_by_hand(name),
                )
                .of(name));
            }
        };
        let (done, step) = (progress.done, progress.done + 1);
        let sql = match (done, &mark) {
            (1.., Some(mark)) => {
                let mark = Mark { state, ..mark.clone() };
                ledger.remark(&row.id, &mark, done)
            }
            _ => ledger.roll_back(
                &row.id,
                "resolve --retry: its first statement is said to have left nothing",
            ),
        };
        let written = opened.session.rows(&sql).await;
        written.map_err(|error| not_written(&error))?;
        Ok(vec![format!(
            "{name} goes on with {unit} {step}, which is said to have left nothing"
        )])
    })
    .await?;
    deploy(settings, stop, outcome).await
}

fn unfinished<'a>(history: &'a History, name: &str) -> Result<&'a Row, Failure> {
    let mut rows = history.of(name).peekable();
    if rows.peek().is_none() {
        return Err(refused(
            "P3011",
            name,
            "it was never begun on this database",
            "give the whole name of its directory",
        ));
    }
    rows.find(|row| row.state == State::Unfinished).ok_or_else(|| {
        refused(
            "P3012",
            name,
            "it is not failed: it is applied, or rolled back as a whole",
            "there is nothing to resolve; a deploy applies what is pending",
        )
    })
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
            return Ok(vec![format!("{name} was recorded as rolled back already")]);
        }
        opened
            .session
            .rows(&ledger.roll_back_unfinished(name))
            .await
            .map_err(|error| not_written(&error))?;
        Ok(vec![format!(
            "{name} is recorded as rolled back; the next deploy runs it again"
        )])
    })
    .await
}

/// Makes a change to the ledger under the migration lock. What it returns is said in the outcome.
///
/// # Errors
/// The lock was not free in time, the database cannot be used, or the change's own failure.
pub async fn under_lock(
    settings: &Settings,
    stop: &Stop,
    outcome: &mut Outcome,
    change: impl AsyncFnOnce(&Opened, &Ledger, &History) -> Result<Vec<String>, Failure>,
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
    let result = match result {
        Err(failure) if stop.reason().is_none() => Err(open::advised(&opened.session, failure).await),
        result => result,
    };
    lock::release_and_close(opened.session, stop).await;
    outcome.resolved.extend(result?);
    Ok(Exit::Success)
}

fn refused(code: &'static str, name: &str, what: &str, next: &str) -> Failure {
    Failure::new(Exit::History, what, next).prisma(Some(code)).of(name)
}

fn not_written(error: &ServerError) -> Failure {
    open::unusable("the migrations table could not be written", error)
}
