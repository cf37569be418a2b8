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
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::History;
use crate::losses::Losses;
use crate::migration::Migration;
use crate::outcome::{ArtifactRead, Outcome};
use crate::seed;
use crate::settings::{Options, Settings};
use crate::sql::script::Strings;
use crate::stop::Stop;
use crate::traces;
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
            Early::new(&artifact, None, Strings::Standard, settings).check(settings)?;
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

/// Adds to a failure that asks a person to look what can be seen of its migration.
pub async fn with_traces(session: &Session, migrations: &[Migration], mut failure: Failure) -> Failure {
    let asks = matches!(failure.exit, Exit::FailedMigration | Exit::PartiallyCommitted);
    let migration = migrations
        .iter()
        .find(|migration| asks && failure.migration.as_ref() == Some(&migration.name));
    if let Some(script) = migration.and_then(|migration| migration.script.text().ok()) {
        match traces::of(session, script).await {
            Ok(traces) => failure.details.extend(traces),
            Err(error) => tracing::debug!("what the migration left could not be looked for: {}", error.message),
        }
    }
    failure
}

/// Takes the migration lock, as every verb does that writes.
///
/// # Errors
/// It was not free in time.
pub async fn take_lock(session: &Session, settings: &Settings) -> Result<(), Failure> {
    let taken = lock::take(session, settings.lock_wait, settings.terminate_orphan).await;
    taken.map_err(lock::not_taken)
}

fn warn(warnings: Vec<String>, outcome: &mut Outcome) {
    for warning in warnings {
        if !outcome.warnings.contains(&warning) {
            tracing::warn!("{warning}");
            outcome.warnings.push(warning);
        }
    }
}
