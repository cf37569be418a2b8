//! `deploy`: brings a database to the end of its history.

mod beforehand;
mod pending;
mod progress;
mod state;
mod turn;

use crate::artifact::{self, Artifact, Source};
use crate::database::lock;
use crate::database::open::{self, Opened, Server, Terms};
use crate::database::session::Session;
use crate::drift;
use crate::existing;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::History;
use crate::invocation::command;
use crate::losses::Losses;
use crate::migration::Migration;
use crate::outcome::{ArtifactRead, Outcome};
use crate::seed;
use crate::settings::{Options, Settings};
use crate::stop::Stop;
use beforehand::Early;
use progress::Progress;
use std::time::{Duration, Instant};
use turn::{Turn, Turns};

/// Applies what is pending.
///
/// 1. Reads the artifact and opens a session, side by side. 2. Nothing pending: done, without the lock. 3. Takes the migration lock; makes the
///    database, the schema and the migrations table where they are missing. 4. Settles what interrupted runs left. 5. Plans, and applies one
///    migration after the other. 6. Where the session is lost or the lock was given away: from 3 again.
///
/// # Errors
/// The first failure; what was applied before it is in the outcome.
pub async fn deploy(settings: &Settings, stop: &Stop, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let mut losses = Losses::default();
    let ended = turns(settings, stop, outcome, &mut losses).await;
    ended.map_err(|failure| state::of_the_database(failure, outcome, &losses))
}

async fn turns(settings: &Settings, stop: &Stop, outcome: &mut Outcome, losses: &mut Losses) -> Result<Exit, Failure> {
    let run_id = outcome.run_id.clone();
    let terms = settings.terms(&run_id);
    let source = settings.source()?;
    // An artifact that cannot be used ends the run at once, however long the database is waited for.
    let (artifact, opened) = stop
        .unless(async {
            tokio::try_join!(read_artifact(source, settings), async {
                Ok(open::open_with_retry(&terms).await)
            })
        })
        .await??;
    describe(&artifact, outcome);
    let seed = seed::of(settings.seed.as_deref(), &artifact)?;
    let mut opened = match opened {
        Err(failure) if open::is_missing(&failure) => {
            Early::check_without_database(&artifact, settings)?;
            stop.unless(open::create_and_open(&terms)).await??
        }
        opened => opened?,
    };
    let mut turns = Turns {
        artifact: &artifact,
        settings,
        stop,
        seed: seed.as_ref(),
        forewarned: false,
        early: None,
        losses,
        seed_sent: None,
    };
    let mut progress = Progress::from(&opened);
    loop {
        outcome.database.get_or_insert_with(|| opened.server.clone());
        let turn = match turns.forewarned {
            false => turns.beforehand(&opened, outcome).await,
            true => match turns.turn(&opened, outcome).await {
                Ok(Turn::Again) => progress.repeat(&opened, outcome).await.map(|()| Turn::Again),
                turn => turn,
            },
        };
        let lost = match turn {
            Ok(Turn::Again) => continue,
            Ok(Turn::UpToDate) => {
                describe_schema(settings, &opened, stop, outcome).await;
                stop.goodbye(opened.session.close()).await;
                return Ok(Exit::Success);
            }
            Ok(Turn::Lost(attempt)) => turns.losses.of(attempt, &opened.ended),
            Ok(Turn::Renew) => {
                lock::release_and_close(opened.session, stop).await;
                opened = reopen(&terms, stop).await?;
                continue;
            }
            Err(failure) if failure.connection_lost && stop.reason().is_none() => {
                turns.losses.count(failure, &opened.ended)
            }
            ended => {
                let ended = match ended {
                    Err(failure) if stop.reason().is_none() => Err(open::advised(&opened.session, failure).await),
                    ended => ended,
                };
                if ended.is_ok() {
                    describe_schema(settings, &opened, stop, outcome).await;
                }
                match turns.forewarned {
                    false => stop.goodbye(opened.session.close()).await,
                    true => lock::release_and_close(opened.session, stop).await,
                }
                return ended.map(|_| Exit::Success);
            }
        };
        lost?;
        opened = reopen(&terms, stop)
            .await
            .map_err(|failure| turns.losses.explain(failure))?;
    }
}

/// Describes the schema for the report. Where that cannot be, the deploy is none the worse.
async fn describe_schema(settings: &Settings, opened: &Opened, stop: &Stop, outcome: &mut Outcome) {
    if !settings.describe_schema {
        return;
    }
    let described = async {
        // Made by this very deploy, perhaps.
        let history = match outcome.database.as_ref().and_then(Server::ledger) {
            Some(ledger) => open::read_history(&opened.session, &ledger).await?,
            None => History::default(),
        };
        let schema = drift::schema::read(&opened.session, &history).await;
        schema.map_err(|error| open::unusable("the schema could not be read", &error))
    };
    match stop.unless(described).await.flatten() {
        Ok(schema) => outcome.schema = Some(schema),
        Err(failure) => warn(
            vec![format!("the report does not describe the schema: {}", failure.what)],
            outcome,
        ),
    }
}

/// Opens a session again after one was lost: after a failover the first server that answers may be the old one, or one that does not take writes yet.
async fn reopen(terms: &Terms<'_>, stop: &Stop) -> Result<Opened, Failure> {
    let until = Instant::now() + terms.connect_timeout;
    loop {
        let opened = stop.unless(open::open_with_retry(terms)).await??;
        match writable(&opened) {
            Ok(()) => return Ok(opened),
            Err(failure) if Instant::now() >= until => return Err(failure),
            Err(failure) => tracing::warn!("{failure}: connecting again"),
        }
        stop.goodbye(opened.session.close()).await;
        stop.unless(tokio::time::sleep(Duration::from_secs(1))).await?;
    }
}

fn writable(opened: &Opened) -> Result<(), Failure> {
    if opened.server.writable {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Database,
        format!(
            "{} does not take writes: it is a standby, or read-only by default",
            opened.server.address
        ),
        "connect to the primary (for Aurora: the cluster's writer endpoint), or lift default_transaction_read_only",
    ))
}

/// Reads the artifact.
///
/// # Errors
/// It is missing or cannot be used.
pub async fn read_artifact(source: &Source, options: &Options) -> Result<Artifact, Failure> {
    if let Some(artifact) = options.take_artifact() {
        return Ok(artifact);
    }
    let artifact = artifact::load(source, options.migrations_path.as_deref(), &options.limits)
        .await
        .map_err(|error| {
            Failure::new(error.exit(), error.to_string(), error.next_step()).prisma(error.prisma_code())
        })?;
    options.heed(&artifact);
    Ok(artifact)
}

/// Says in the outcome what was read.
pub fn describe(artifact: &Artifact, outcome: &mut Outcome) {
    for warning in &artifact.warnings {
        tracing::warn!("{warning}");
        outcome.warnings.push(warning.clone());
    }
    outcome.artifact = Some(ArtifactRead {
        origin: artifact.origin.clone(),
        migrations_path: artifact.migrations_path.clone(),
        migrations: artifact.migrations.len(),
        migrations_sha256: artifact.sha256(),
    });
}

/// Adds to a failure that asks a person to look what the database has of its migration.
pub async fn with_existing(opened: &Opened, migrations: &[Migration], mut failure: Failure) -> Failure {
    if failure.prisma_code.as_deref() == Some("P3005") {
        if let Some(name) = held_up_to(opened, migrations).await {
            failure.next = format!(
                "the database has what the migrations up to {name} create: record them with `{}`, then deploy again",
                command(&["baseline", "--to", name])
            );
        }
        return failure;
    }
    let asks = matches!(failure.exit, Exit::FailedMigration | Exit::PartiallyCommitted);
    let migration = migrations
        .iter()
        .find(|migration| asks && failure.migration.as_ref() == Some(&migration.name));
    if let Some(script) = migration.and_then(|migration| migration.script.text().ok()) {
        failure.details.extend(existing_of(opened, script).await);
    }
    failure
}

/// The last migration whose end the database has, as far as the catalogue shows it: all that the migrations up to it create exists, and nothing that
/// they remove. None if there is no such migration. One that leaves nothing to be seen is never named: nobody can tell whether it was run.
async fn held_up_to<'m>(opened: &Opened, migrations: &'m [Migration]) -> Option<&'m str> {
    let scripts = migrations
        .iter()
        .map(|migration| migration.script.text().unwrap_or_default());
    let lives = existing::lives(scripts, opened.server.strings);
    let seen = existing::look(&opened.session, &lives.all).await.ok()?;
    let mut ends: Vec<(usize, bool)> = vec![(0, false); migrations.len()];
    for (seen, after) in seen.iter().zip(&lives.after) {
        if seen.exists && seen.is_as_wanted() {
            ends[after.start].1 = true;
        }
        if !seen.is_as_wanted() {
            ends[after.clone()].iter_mut().for_each(|(wrong, _)| *wrong += 1);
        }
    }
    let held = ends.iter().rposition(|(wrong, is_seen)| *wrong == 0 && *is_seen)?;
    Some(&migrations[held].name)
}

/// Sentences on what of a script is in the database. They explain a failure: if they cannot be had, it stands without them.
async fn existing_of(opened: &Opened, script: &str) -> Vec<String> {
    let expected = existing::expected(script, opened.server.strings);
    match existing::look(&opened.session, &expected).await {
        Ok(seen) => existing::sentences(&expected, &seen),
        Err(error) => {
            tracing::debug!("what the migration left could not be looked for: {}", error.message);
            Vec::new()
        }
    }
}

/// Takes the migration lock, as every verb does that writes.
///
/// # Errors
/// It was not free in time.
pub async fn take_lock(session: &Session, settings: &Settings) -> Result<(), Failure> {
    let taken = lock::take(session, settings.lock_wait, settings.terminate_orphan).await;
    taken.map_err(lock::not_taken)
}

/// Says these in the log and in the outcome, each once.
pub fn warn(warnings: Vec<String>, outcome: &mut Outcome) {
    for warning in warnings {
        if !outcome.warnings.contains(&warning) {
            tracing::warn!("{warning}");
            outcome.warnings.push(warning);
        }
    }
}
