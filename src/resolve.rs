//! `resolve`: corrects the ledger by hand, as `prisma migrate resolve` does, under the migration lock.
//!
//! What is written and what is said follow from the judgement that `status` and `deploy` read. `--dry-run` says it and writes nothing.

use crate::artifact::Artifact;
use crate::database::lock;
use crate::database::open::{self, Opened};
use crate::database::server_error::ServerError;
use crate::deploy::{deploy, describe, read_artifact, take_lock, warn};
use crate::existing;
use crate::exit::Exit;
use crate::failure::{Failure, resolve_by_hand};
use crate::history::{History, Ledger, Mark, Marked, Row, State};
use crate::invocation::command;
use crate::judgement::{Evidence, Judged, Judgement, Remark, Standing, backend_at_work};
use crate::migration::Migration;
use crate::outcome::Outcome;
use crate::plan::{meant, no_such_migration};
use crate::prepare;
use crate::recover::{self, Rows};
use crate::settings::Settings;
use crate::sql::quote;
use crate::stop::Stop;
use uuid::Uuid;

/// How the ledger is corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Record these migrations as applied, all or none; their unfinished rows become rolled back.
    Applied(Vec<String>),
    /// Record the unfinished rows of this migration as rolled back, so that the next deploy runs it again.
    RolledBack(String),
    /// Run this migration on from the statement or transaction at which it stopped: that left nothing, says whoever asks for this.
    Retry(String),
    /// Take the checksums of these edited files into the ledger.
    Accept(Vec<String>),
    /// The same for every edited file.
    AcceptAll,
}

/// Corrects the ledger. With `dry_run` it says what it would write.
///
/// # Errors
/// No such migration in the artifact (P3017), applied already (P3008), never begun (P3011), not failed (P3012), not to be gone on with, or the
/// database cannot be used. [`Resolution::Retry`] deploys the migration afterwards, and so everything that a deploy can fail with.
pub async fn resolve(
    settings: &Settings,
    stop: &Stop,
    (resolution, dry_run): (&Resolution, bool),
    outcome: &mut Outcome,
) -> Result<Exit, Failure> {
    // A row is rolled back whatever is in the artifact, so that a broken one is no obstacle at night.
    let artifact = match resolution {
        Resolution::RolledBack(_) => None,
        _ => Some(stop.unless(read_artifact(settings.source()?, settings)).await??),
    };
    if let Some(artifact) = &artifact {
        describe(artifact, outcome);
    }
    if dry_run {
        return stop
            .unless(look(settings, resolution, artifact.as_ref(), outcome))
            .await?;
    }
    let mut warnings = Vec::new();
    let exit = under_lock(settings, stop, outcome, async |opened, ledger, history| {
        let read_again = until_free(settings, (opened, ledger, history), resolution).await?;
        let history = read_again.as_ref().unwrap_or(history);
        let change = change((settings, resolution), artifact.as_ref(), (opened, ledger, history)).await?;
        let mut sql = Vec::new();
        if opened.history.is_none() && !change.sql.is_empty() {
            sql = make_table(settings, opened, ledger);
        }
        sql.extend(change.sql);
        if !sql.is_empty() {
            // One message is one transaction: either all of it is recorded or nothing.
            let written = opened.session.rows(&sql.join("; ")).await;
            written.map_err(|error| not_written(&error))?;
        }
        warnings = change.warnings;
        Ok(change.said)
    })
    .await?;
    warn(warnings, outcome);
    match resolution {
        Resolution::Retry(_) => deploy(settings, stop, outcome).await,
        _ => Ok(exit),
    }
}

/// What would be written, without the lock and without a word to the ledger.
async fn look(
    settings: &Settings,
    resolution: &Resolution,
    artifact: Option<&Artifact>,
    outcome: &mut Outcome,
) -> Result<Exit, Failure> {
    let run_id = outcome.run_id.clone();
    let opened = open::open(&settings.terms(&run_id)).await?;
    outcome.database = Some(opened.server.clone());
    let looked = async {
        let ledger = place(settings, &opened)?;
        let history = opened.history.as_deref().cloned().unwrap_or_default();
        if let Some(holder) = lock::holder(&opened.session)
            .await
            .map_err(|error| open::unusable("the migration lock could not be looked at", &error))?
        {
            outcome.warnings.push(format!(
                "the migration lock is held by {holder}: resolve would wait for it, and what is said here may be untrue by then"
            ));
        }
        change((settings, resolution), artifact, (&opened, &ledger, &history)).await
    }
    .await;
    opened.session.close().await;
    let change = looked?;
    warn(change.warnings, outcome);
    let said = change
        .said
        .into_iter()
        .map(|said| format!("dry run, nothing was written: {said}"));
    outcome.resolved.extend(said);
    Ok(Exit::Success)
}

/// What a resolution writes, and what is true afterwards.
#[derive(Debug, Default)]
struct Change {
    sql: Vec<String>,
    said: Vec<String>,
    warnings: Vec<String>,
}

async fn change(
    (settings, resolution): (&Settings, &Resolution),
    artifact: Option<&Artifact>,
    (opened, ledger, history): (&Opened, &Ledger, &History),
) -> Result<Change, Failure> {
    if let Some(artifact) = artifact {
        prepare::only_ledger(opened, settings.target.schema.as_deref(), &artifact.datasource).await?;
    }
    let migrations = artifact.map(|artifact| &artifact.migrations[..]).unwrap_or_default();
    let evidence = Evidence::read(&opened.session, &opened.server, history, migrations).await;
    let evidence = evidence.map_err(|error| open::unusable("the unfinished rows could not be examined", &error))?;
    let judgement = Judgement::new(migrations, history, &evidence, opened.server.strings);
    for name in resolution.names() {
        if let Some(alive) = judgement.of(name).and_then(|judged| backend_at_work(judged, &evidence)) {
            return Err(recover::still_at_work(name, Some(alive)));
        }
    }
    match resolution {
        Resolution::Applied(names) => applied(names, &judgement, opened, ledger).await,
        Resolution::RolledBack(name) => rolled_back(name, &judgement, ledger),
        Resolution::Retry(name) => retry(name, &judgement, ledger),
        Resolution::Accept(names) => accept(names, &judgement, ledger),
        Resolution::AcceptAll => {
            let edited = judgement
                .migrations
                .iter()
                .filter(|judged| judged.remarks.contains(&Remark::Edited));
            let names: Vec<String> = edited.map(|judged| judged.name.to_owned()).collect();
            accept(&names, &judgement, ledger)
        }
    }
}

impl Resolution {
    fn names(&self) -> &[String] {
        match self {
            Resolution::Applied(names) | Resolution::Accept(names) => names,
            Resolution::RolledBack(name) | Resolution::Retry(name) => std::slice::from_ref(name),
            Resolution::AcceptAll => &[],
        }
    }
}

/// The artifact's migration of this name.
fn in_artifact<'j, 'a, 'h>(judgement: &'j Judgement<'a, 'h>, name: &str) -> Result<&'j Judged<'a, 'h>, Failure> {
    let names = || judgement.migrations.iter().map(|judged| judged.name);
    let found = judgement.migrations.iter().find(|judged| judged.name == name);
    found.ok_or_else(|| no_such_migration(name, names()))
}

async fn applied(
    names: &[String],
    judgement: &Judgement<'_, '_>,
    opened: &Opened,
    ledger: &Ledger,
) -> Result<Change, Failure> {
    let mut change = Change::default();
    let mut done: Vec<&str> = Vec::new();
    for name in names {
        let judged = in_artifact(judgement, name)?;
        if done.contains(&judged.name) {
            continue;
        }
        done.push(judged.name);
        if judged.rows.iter().any(|row| row.state == State::Applied) {
            let next = match judged.standing {
                Standing::Applied => "there is nothing to resolve".to_owned(),
                _ => format!(
                    "another row of it did not finish: `{}` closes that one and leaves the migration applied",
                    command(&["resolve", "--rolled-back", name])
                ),
            };
            return Err(refused("P3008", name, "it is recorded as applied already", &next));
        }
        let Some((checksum, file)) = judged.file.and_then(|file| Some((file.script.checksum()?, file))) else {
            return Err(Failure::new(
                Exit::Artifact,
                "its migration.sql is missing, so there is no checksum to record",
                "restore the file, then run this command again",
            )
            .prisma(Some("P3015"))
            .of(name));
        };
        change.sql.push(ledger.roll_back_unfinished(name));
        change
            .sql
            .push(ledger.record_applied(&Uuid::new_v4().to_string(), name, checksum));
        change
            .said
            .push(format!("{name} is recorded as applied; it was not run"));
        change.warnings.extend(contradictions(opened, name, file).await);
    }
    Ok(change)
}

/// What in the database contradicts that a migration is applied, and what of it cannot be seen there.
async fn contradictions(opened: &Opened, name: &str, file: &Migration) -> Vec<String> {
    let Ok(script) = file.script.text() else {
        return Vec::new();
    };
    let expected = existing::expected(script, opened.server.strings);
    let sentences = match existing::look(&opened.session, &expected).await {
        Ok(seen) => existing::contradictions(&expected, &seen),
        Err(error) => {
            tracing::debug!("what the migration left could not be looked for: {}", error.message);
            Vec::new()
        }
    };
    let said = |sentence| format!("migration {name}: {sentence}");
    sentences.into_iter().map(said).collect()
}

fn rolled_back(name: &str, judgement: &Judgement<'_, '_>, ledger: &Ledger) -> Result<Change, Failure> {
    let Some(judged) = judgement.of(name) else {
        return Err(never_begun(name, judgement));
    };
    let has = |state| judged.rows.iter().any(|row| row.state == state);
    match (has(State::Unfinished), has(State::Applied), has(State::RolledBack)) {
        (true, applied, _) => Ok(Change {
            sql: vec![ledger.roll_back_unfinished(name)],
            said: vec![match applied {
                true => format!(
                    "the unfinished row of {name} is recorded as rolled back; another row says that it is applied, so it stays applied"
                ),
                false => format!("{name} is recorded as rolled back; the next deploy runs it again from the start"),
            }],
            ..Change::default()
        }),
        (false, true, _) => Err(refused(
            "P3012",
            name,
            "it is applied, not failed",
            "there is nothing to resolve",
        )),
        (false, false, true) => Ok(Change {
            said: vec![format!(
                "{name} was recorded as rolled back already; the next deploy runs it again from the start"
            )],
            ..Change::default()
        }),
        (false, false, false) => Err(never_begun(name, judgement)),
    }
}

fn never_begun(name: &str, judgement: &Judgement<'_, '_>) -> Failure {
    let begun = judgement
        .all()
        .filter(|judged| !judged.rows.is_empty())
        .map(|judged| judged.name);
    let next = match meant(name, begun).filter(|meant| *meant != name) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "give the whole name of its directory".to_owned(),
    };
    refused("P3011", name, "it was never begun on this database", &next)
}

fn retry(name: &str, judgement: &Judgement<'_, '_>, ledger: &Ledger) -> Result<Change, Failure> {
    let judged = judgement.of(name).filter(|judged| !judged.rows.is_empty());
    let judged = judged.ok_or_else(|| never_begun(name, judgement))?;
    let unfinished: Vec<&Row> = judged
        .rows
        .iter()
        .copied()
        .filter(|row| row.state == State::Unfinished)
        .collect();
    let row = match unfinished[..] {
        [] => {
            return Err(refused(
                "P3012",
                name,
                "it is not failed: it is applied, or rolled back as a whole",
                "there is nothing to resolve; a deploy applies what is pending",
            ));
        }
        [row] => row,
        _ => return Err(judgement.refusal().unwrap_or_else(|| cannot_be_gone_on_with(name))),
    };
    if judged.standing.recovers() {
        let does = judged.standing.next_deploy().unwrap_or_default();
        return Ok(Change {
            said: vec![format!(
                "{name} needs no --retry, because the next deploy recovers it: it {does}"
            )],
            ..Change::default()
        });
    }
    let mark = row.mark();
    let (unit, progress, state) = match mark.as_ref().map(|mark| &mark.state) {
        Some(Marked::Steps(_)) if !judged.standing.blocks() => {
            let does = judged.standing.next_deploy().unwrap_or_default();
            return Ok(Change {
                said: vec![format!("{name} {does}")],
                ..Change::default()
            });
        }
        Some(Marked::Steps(_)) => return Err(judgement.refusal().unwrap_or_else(|| cannot_be_gone_on_with(name))),
        Some(Marked::Alone { progress, .. }) => ("statement", progress, Marked::Steps(progress.clone())),
        Some(Marked::Partial(Some(progress))) => ("transaction", progress, Marked::Partial(Some(progress.clone()))),
        _ => return Err(cannot_be_gone_on_with(name)),
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
    Ok(Change {
        sql: vec![sql],
        said: vec![format!(
            "{name} goes on with {unit} {step}, which is said to have left nothing"
        )],
        ..Change::default()
    })
}

fn cannot_be_gone_on_with(name: &str) -> Failure {
    Failure::new(
        Exit::PartiallyCommitted,
        "its row does not say how far it came, so there is no statement that it could go on from",
        resolve_by_hand(name),
    )
    .of(name)
}

fn accept(names: &[String], judgement: &Judgement<'_, '_>, ledger: &Ledger) -> Result<Change, Failure> {
    let mut change = Change::default();
    for name in names {
        let judged = in_artifact(judgement, name)?;
        let rows = judged.rows.iter().filter(|row| row.state == State::Applied);
        let rows: Vec<&&Row> = rows.collect();
        if judged.standing != Standing::Applied {
            return Err(Failure::new(
                Exit::History,
                "it is not applied, so there is no checksum to replace",
                "a deploy records the checksum of the file that it runs",
            )
            .of(name));
        }
        let checksum = judged.file.and_then(|file| file.script.checksum());
        let checksum = checksum.ok_or_else(|| {
            Failure::new(
                Exit::Artifact,
                "its migration.sql is missing, so there is no checksum to record",
                "restore the file, then run this command again",
            )
            .prisma(Some("P3015"))
            .of(name)
        })?;
        let differs = |row: &&&&Row| {
            judged
                .file
                .is_some_and(|file| file.script.matches(&row.checksum) == Some(false))
        };
        let edited: Vec<_> = rows.iter().filter(differs).collect();
        change.said.push(match edited.len() {
            0 => format!("{name} was not edited: its checksum is the file's already"),
            _ => format!("the checksum of {name} is the file's now; the database was not changed otherwise"),
        });
        change
            .sql
            .extend(edited.iter().map(|row| ledger.accept(&row.id, checksum)));
    }
    if names.is_empty() {
        change
            .said
            .push("no applied migration was edited: nothing was written".to_owned());
    }
    Ok(change)
}

/// Waits until no backend works any more on what is to be corrected. The ledger, if it had to be read again.
async fn until_free(
    settings: &Settings,
    (opened, ledger, history): (&Opened, &Ledger, &History),
    resolution: &Resolution,
) -> Result<Option<History>, Failure> {
    let rows = Rows {
        session: &opened.session,
        server: &opened.server,
        ledger,
        wait: settings.lock_wait,
        terminate: settings.terminate_orphan,
    };
    let named = |row: &Row| resolution.names().contains(&row.migration);
    rows.until_free(history, named).await.map_err(recover::not_settled)
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
    let mut sql = make_table(settings, opened, ledger);
    for (name, checksum) in migrations {
        sql.push(ledger.roll_back_unfinished(name));
        sql.push(ledger.record_applied(&Uuid::new_v4().to_string(), name, checksum));
    }
    // One message is one transaction: either all of it is recorded or nothing.
    let written = opened.session.rows(&sql.join("; ")).await;
    written.map(drop).map_err(|error| not_written(&error))
}

/// The statements that make the schema and the migrations table if they are missing.
fn make_table(settings: &Settings, opened: &Opened, ledger: &Ledger) -> Vec<String> {
    let mut sql = Vec::new();
    if opened.history.is_none() {
        let wanted = settings.target.schema.as_deref();
        if let Some(schema) = wanted.filter(|_| opened.server.schema.is_none()) {
            sql.push(format!("CREATE SCHEMA IF NOT EXISTS {}", quote::identifier(schema)));
        }
        sql.push(ledger.create());
    }
    sql
}

/// Where the migrations table is or will be made.
fn place(settings: &Settings, opened: &Opened) -> Result<Ledger, Failure> {
    opened
        .server
        .ledger()
        .or_else(|| settings.target.schema.as_deref().map(Ledger::in_schema))
        .ok_or_else(prepare::no_schema)
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
        let ledger = place(settings, &opened)?;
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
