//! `deploy`: brings a database to the end of its history.

use crate::apply::together::{self, Together};
use crate::apply::{Applier, End, How};
use crate::artifact::{self, Artifact, Source};
use crate::cli::CheckDrift;
use crate::database::lock::{self, LockError};
use crate::database::open::{self, Opened, Server, Terms};
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::drift;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hazard;
use crate::history::{History, Ledger, State};
use crate::losses::{Attempt, Losses};
use crate::migration::Migration;
use crate::outcome::{Applied, ArtifactRead, Outcome, millis};
use crate::plan::{self, Pending, Plan};
use crate::prepare;
use crate::recover::{self, RecoverError};
use crate::seed;
use crate::settings::Settings;
use crate::stop::{self, Stop};
use crate::traces;
use crate::watch::Watch;
use std::time::{Duration, Instant};

/// Applies what is pending.
///
/// 1. Reads the artifact and opens a session, side by side. 2. Nothing pending: done, without the lock. 3. Takes the migration lock; makes the
///    database, the schema and the migrations table where they are missing. 4. Settles what interrupted runs left. 5. Plans, and applies one
///    migration after the other. 6. Where the session is lost or the lock was given away: from 3 again.
///
/// # Errors
/// The first failure; what was applied before it is in the outcome.
pub async fn deploy(settings: &Settings, stop: &Stop, outcome: &mut Outcome) -> Result<Exit, Failure> {
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
            acceptable(&artifact, &History::default(), settings)?;
            stop.unless(open::create_and_open(&terms)).await??
        }
        opened => opened?,
    };
    outcome.database = Some(opened.server.clone());
    acceptable(
        &artifact,
        opened.history.as_ref().unwrap_or(&History::default()),
        settings,
    )?;
    stop.unless(check_drift(settings, &opened, outcome)).await??;
    let to_seed = match (&seed, opened.server.ledger()) {
        (Some(_), Some(ledger)) => seed::is_expected(&opened.session, &ledger).await?,
        _ => false,
    };
    if !to_seed && let Some(exit) = nothing_pending(&artifact, &opened, settings, outcome) {
        describe_schema(settings, &opened, outcome).await;
        opened.session.close().await;
        return Ok(exit);
    }
    forewarn(&artifact, &opened, settings, outcome).await?;
    let mut losses = Losses::default();
    loop {
        let lost = match locked(
            &artifact,
            seed.as_ref(),
            &opened,
            settings,
            stop,
            losses.attempt.as_ref(),
            outcome,
        )
        .await
        {
            Ok(Turn::Again) => continue,
            Ok(Turn::Lost(attempt)) => losses.of(attempt),
            Err(failure) if failure.connection_lost && stop.reason().is_none() => losses.count(failure),
            ended => {
                if ended.is_ok() {
                    describe_schema(settings, &opened, outcome).await;
                }
                lock::release_and_close(opened.session).await;
                return ended.map(|_| Exit::Success);
            }
        };
        lost?;
        opened = reopen(&terms, stop).await.map_err(|failure| losses.explain(failure))?;
    }
}

/// Compares the schema with that of an earlier report before anything is applied.
async fn check_drift(settings: &Settings, opened: &Opened, outcome: &mut Outcome) -> Result<(), Failure> {
    let Some((action, since)) = &settings.check_drift else {
        return Ok(());
    };
    let then = drift::report(since).await?;
    drift::compare(opened, &then, outcome).await?;
    outcome.schema = None;
    if outcome.drift.is_empty() {
        return Ok(());
    }
    let said = outcome.drift.iter().map(ToString::to_string);
    match action {
        CheckDrift::Warn => {
            let warnings = said.map(|difference| format!("drift: {difference}")).collect();
            warn(warnings, outcome);
            Ok(())
        }
        CheckDrift::Refuse => {
            let mut failure = Failure::new(
                Exit::Refused,
                format!(
                    "the schema differs in {} places from that of the report",
                    outcome.drift.len()
                ),
                "put the changes into a migration or take them back; or deploy with --check-drift warn",
            );
            failure.details = said.collect();
            Err(failure)
        }
    }
}

/// Describes the schema for the report. Where that cannot be, the deploy is none the worse.
async fn describe_schema(settings: &Settings, opened: &Opened, outcome: &mut Outcome) {
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
    match described.await {
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
        opened.session.close().await;
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
pub async fn read_artifact(source: &Source, settings: &Settings) -> Result<Artifact, Failure> {
    artifact::load(source, settings.migrations_path.as_deref(), &settings.limits)
        .await
        .map_err(|error| Failure::new(error.exit(), error.to_string(), error.next_step()).prisma(error.prisma_code()))
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

/// What is wrong with a pending script, or with what was asked for, stays wrong under the lock: no database, schema or table is made for its sake.
fn acceptable(artifact: &Artifact, history: &History, settings: &Settings) -> Result<(), Failure> {
    match plan::plan(&artifact.migrations, history, &settings.policy) {
        Err(failure) if failure.exit == Exit::Artifact || failure.prisma_code == Some("P3017") => Err(failure),
        Ok(plan) if settings.all_or_nothing => together::check(&plan.pending),
        _ => Ok(()),
    }
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

/// Adds to a failure over something that exists already what of the migration's creations exists, and the way out where all of it does: that is for a
/// person to say, never for this program to guess.
async fn with_what_exists(session: &Session, pending: &Pending<'_>, mut failure: Failure) -> Failure {
    // A table or index, a column, a schema, a function, anything else.
    const EXISTS: [&str; 5] = ["42P07", "42701", "42P06", "42723", "42710"];
    if failure.exit != Exit::RolledBack || !failure.sqlstate.as_deref().is_some_and(|code| EXISTS.contains(&code)) {
        return failure;
    }
    match traces::of(session, pending.script).await {
        Ok(traces) => failure.details.extend(traces),
        Err(error) => tracing::debug!("what exists could not be looked for: {}", error.message),
    }
    failure.next = format!(
        "if the database has everything of this migration already, record it with `prisma-migrate-task resolve --applied {}`; else fix the SQL and \
         deploy again",
        pending.name
    );
    failure
}

enum Turn {
    /// Nothing is pending any more.
    Done,
    /// The lock was lost or given away: take it, read and plan again.
    Again,
    /// The session is gone.
    Lost(Attempt),
}

/// The lock-free fast path. It is safe, since a row and its script commit together: a ledger that holds all migrations at one moment holds them ever
/// after, and this run writes nothing. Anything else, an unfinished row too, is judged under the lock: its run may be alive.
fn nothing_pending(artifact: &Artifact, opened: &Opened, settings: &Settings, outcome: &mut Outcome) -> Option<Exit> {
    let history = opened.history.as_ref()?;
    if history.unfinished().next().is_some() {
        return None;
    }
    let plan = plan::plan(&artifact.migrations, history, &settings.policy).ok()?;
    if !plan.pending.is_empty() {
        return None;
    }
    outcome.pending = plan.left.iter().map(|&name| name.to_owned()).collect();
    warn(plan.warnings, outcome);
    Some(Exit::Success)
}

/// Says what of the pending migrations may harm a database that is in use, and refuses it where that is asked for: before the lock, so that a refusal
/// writes nothing. What an interrupted run left has to be settled first, and then it is done under the lock.
async fn forewarn(
    artifact: &Artifact,
    opened: &Opened,
    settings: &Settings,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let history = match &opened.history {
        Some(history) => history,
        None => {
            if let Some(schema) = &opened.server.schema {
                prepare::managed(&opened.session, schema).await?;
            }
            &History::default()
        }
    };
    match plan::plan(&artifact.migrations, history, &settings.policy) {
        Ok(plan) => examine(&plan, opened, settings, outcome).await,
        Err(_) => Ok(()),
    }
}

/// The same for a plan, once for each list of pending migrations.
async fn examine(plan: &Plan<'_>, opened: &Opened, settings: &Settings, outcome: &mut Outcome) -> Result<(), Failure> {
    let pending = plan.pending.iter().map(|pending| pending.name);
    let pending: Vec<String> = pending.chain(plan.left.iter().copied()).map(str::to_owned).collect();
    if outcome.pending == pending {
        return Ok(());
    }
    outcome.pending = pending;
    let schema = opened.server.schema.as_deref().or(settings.target.schema.as_deref());
    let examined = hazard::examine(Some(&opened.session), schema, &plan.pending, settings)
        .await
        .map_err(|error| open::unusable("the tables of the pending migrations could not be looked at", &error))?;
    for hazard in &examined.hazards {
        tracing::warn!(
            migration = hazard.migration,
            "{}:{}: {}: {}; instead: {}",
            hazard.file,
            hazard.line,
            hazard.class,
            hazard.what,
            hazard.recipe
        );
    }
    warn(examined.warning.into_iter().collect(), outcome);
    outcome.hazards = examined.hazards;
    hazard::refuse(&outcome.hazards)
}

/// One turn under the lock.
async fn locked(
    artifact: &Artifact,
    seed: Option<&seed::Sql>,
    opened: &Opened,
    settings: &Settings,
    stop: &Stop,
    lost: Option<&Attempt>,
    outcome: &mut Outcome,
) -> Result<Turn, Failure> {
    writable(opened)?;
    let session = &opened.session;
    stop.unless(take_lock(session, settings)).await??;
    let ledger = prepare::prepare(opened, settings.target.schema.as_deref()).await?;
    if let Some(server) = &mut outcome.database {
        server.ledger_schema = Some(ledger.schema().to_owned());
    }
    let mut history = open::read_history(session, &ledger).await?;
    if let Some(row) = lost
        .filter(|lost| !lost.sent)
        .and_then(|lost| history.rows.iter().find(|row| row.id == lost.id))
    {
        recover::take_back(session, &ledger, row)
            .await
            .map_err(|error| open::unusable("what was announced and not sent could not be taken back", &error))?;
        history = open::read_history(session, &ledger).await?;
    }
    // To drop an INVALID index is to wait for whoever uses its table.
    let Some(settled) = stop.in_time(settle(session, &ledger, &history, artifact)).await else {
        let state = "what an earlier run left is as it was; the next run settles it";
        return Err(stop.reason().map_or_else(
            || {
                Failure::new(
                    Exit::Unexpected,
                    "it stopped without having been asked to",
                    "report this as a bug",
                )
            },
            |reason| stop::interrupted(reason, state),
        ));
    };
    let settled = settled?;
    if !settled.is_empty() {
        outcome.recovered.extend(settled);
        history = open::read_history(session, &ledger).await?;
    }
    if let Some(lost) = lost.filter(|lost| is_applied(&history, &lost.id)) {
        let duration_ms = millis(lost.started.elapsed());
        for name in &lost.migrations {
            if !outcome.applied.iter().any(|applied| applied.name == *name) {
                outcome.applied.push(Applied {
                    name: name.clone(),
                    how: lost.how,
                    duration_ms,
                });
            }
        }
    }
    let plan = match plan::plan(&artifact.migrations, &history, &settings.policy) {
        Ok(plan) => plan,
        Err(failure) => return Err(with_traces(session, &artifact.migrations, failure).await),
    };
    examine(&plan, opened, settings, outcome).await?;
    match (seed, &artifact.seed) {
        (Some(_), _) => seed::expect(session, &ledger, &history).await?,
        (None, Some(program)) if history.rows.is_empty() => {
            let is_left = format!(
                "the seed {} is a program, which is not run here: run it yourself",
                program.path
            );
            warn(vec![is_left], outcome);
        }
        _ => {}
    }
    let turn = apply(plan, opened, &ledger, settings, stop, outcome).await?;
    if let (Turn::Done, Some(seed)) = (&turn, seed)
        && outcome.pending.is_empty()
        && seed::is_expected(session, &ledger).await?
    {
        outcome.seeded = Some(seed::run(session, &ledger, seed, stop).await?);
    }
    Ok(turn)
}

async fn apply(
    plan: Plan<'_>,
    opened: &Opened,
    ledger: &Ledger,
    settings: &Settings,
    stop: &Stop,
    outcome: &mut Outcome,
) -> Result<Turn, Failure> {
    warn(plan.warnings, outcome);
    let session = &opened.session;
    let run_id = outcome.run_id.clone();
    let terms = settings.terms(&run_id);
    let watch = Watch::new(&terms, opened.server.pid, settings.progress_every);
    let applier = Applier {
        session,
        ledger,
        pid: opened.server.pid,
        run_id: &run_id,
        lock_retry_for: settings.lock_retry_for,
        stop,
        watch: &watch,
    };
    if settings.all_or_nothing {
        return apply_together(&applier, &plan.pending, outcome).await;
    }
    let count = plan.pending.len();
    for (at, pending) in plan.pending.into_iter().enumerate() {
        if let Some(reason) = stop.reason() {
            return Err(stop::interrupted(
                reason,
                "no migration was running; the pending ones were not begun",
            ));
        }
        tracing::info!(migration = pending.name, "applying ({} of {count})", at + 1);
        let started = Instant::now();
        let end = match applier.apply(&pending).await {
            Err(failure) => return Err(with_what_exists(session, &pending, failure).await),
            Ok(end) => end,
        };
        match end {
            End::Applied { how, lock_held } => {
                let duration_ms = millis(started.elapsed());
                tracing::info!(migration = pending.name, duration_ms, "applied");
                is_in(outcome, pending.name, how, duration_ms);
                if !lock_held {
                    tracing::warn!(
                        migration = pending.name,
                        "released the migration lock: it is taken again"
                    );
                    return Ok(Turn::Again);
                }
            }
            End::Lost { id, error, sent } => {
                let how = pending.shape.into();
                return Ok(Turn::Lost(Attempt {
                    migrations: vec![pending.name.to_owned()],
                    id,
                    how,
                    started,
                    error,
                    sent,
                }));
            }
            End::GiveWay => {
                stop.unless(give_way(session, settings.lock_wait)).await??;
                return Ok(Turn::Again);
            }
        }
    }
    Ok(Turn::Done)
}

/// All that is pending, in one transaction.
async fn apply_together(
    applier: &Applier<'_>,
    pending: &[Pending<'_>],
    outcome: &mut Outcome,
) -> Result<Turn, Failure> {
    together::check(pending)?;
    if pending.is_empty() {
        return Ok(Turn::Done);
    }
    let started = Instant::now();
    let Together { end, durations } = applier.apply_together(pending).await?;
    match end {
        End::Applied { how, lock_held } => {
            tracing::info!("all {} are applied", pending.len());
            for (migration, duration) in pending.iter().zip(durations) {
                is_in(outcome, migration.name, how, millis(duration));
            }
            // Where a script gave the lock away, there may be more to do by now.
            Ok(if lock_held { Turn::Done } else { Turn::Again })
        }
        End::Lost { id, error, sent } => Ok(Turn::Lost(Attempt {
            migrations: pending.iter().map(|pending| pending.name.to_owned()).collect(),
            id,
            how: How::Together,
            started,
            error,
            sent,
        })),
        End::GiveWay => Ok(Turn::Again),
    }
}

fn is_in(outcome: &mut Outcome, migration: &str, how: How, duration_ms: u64) {
    outcome.pending.retain(|name| name != migration);
    outcome.applied.push(Applied {
        name: migration.to_owned(),
        how,
        duration_ms,
    });
}

/// Lets the sessions have the lock that wait for it and stand in the way, until none waits any more.
async fn give_way(session: &Session, wait: Duration) -> Result<(), Failure> {
    let lost = |error: ServerError| open::unusable("the migration lock could not be given away", &error);
    lock::release(session).await.map_err(lost)?;
    tracing::info!("the migration lock is given to those who wait for it, and taken again after them");
    let until = Instant::now() + wait.max(Duration::from_secs(60));
    while !lock::waiters(session).await.map_err(lost)?.is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Takes the migration lock, as every verb does that writes.
///
/// # Errors
/// It was not free in time.
pub async fn take_lock(session: &Session, settings: &Settings) -> Result<(), Failure> {
    let taken = lock::take(session, settings.lock_wait, settings.terminate_orphan).await;
    taken.map_err(|error| match error {
        LockError::Busy(holder) => Failure::new(
            Exit::MigrationLock,
            match holder {
                Some(holder) => format!("the migration lock is held by {holder}"),
                None => "the migration lock was not free".to_owned(),
            },
            "deploy again when that run has ended, or wait for it with a longer --lock-wait",
        )
        .prisma(Some("P1002")),
        LockError::Server(error) => open::unusable("the migration lock could not be taken", &error),
    })
}

async fn settle(
    session: &Session,
    ledger: &Ledger,
    history: &History,
    artifact: &Artifact,
) -> Result<Vec<String>, Failure> {
    recover::settle(session, ledger, history, &artifact.migrations)
        .await
        .map_err(|error| match error {
            RecoverError::Busy(migration) => Failure::new(
                Exit::MigrationLock,
                "a backend of an earlier run still works on it",
                "wait until that backend has ended, or end it with pg_terminate_backend, then deploy again",
            )
            .of(&migration),
            RecoverError::Server(error) => open::unusable("what an interrupted run left could not be examined", &error),
        })
}

fn warn(warnings: Vec<String>, outcome: &mut Outcome) {
    for warning in warnings {
        if !outcome.warnings.contains(&warning) {
            tracing::warn!("{warning}");
            outcome.warnings.push(warning);
        }
    }
}

/// Whether the ledger says that an attempt was applied.
fn is_applied(history: &History, id: &str) -> bool {
    history
        .rows
        .iter()
        .any(|row| row.id == id && row.state == State::Applied)
}
