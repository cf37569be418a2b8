//! `adopt`: makes of a ledger that others wrote what Prisma would have written.
//!
//! Others are programs that run the migrations by themselves and write rows without a checksum, or one more row of each migration at every run. What is
//! changed is only what cannot be otherwise: of several rows that say the same one stays, and a checksum that is none becomes the file's. Every row
//! that is changed or removed is kept whole in the outcome.

pub mod findings;

use crate::database::open::{self, Opened};
use crate::deploy::{describe, read_artifact};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{History, Ledger};
use crate::judgement::{Evidence, Judgement};
use crate::migration::Migration;
use crate::outcome::Outcome;
use crate::printable::count;
use crate::resolve::under_lock;
use crate::settings::Settings;
use crate::stop::Stop;
use findings::{Action, Findings, Kept, findings, statements};

/// Says what is not as Prisma would have written it; with `confirm` changes it, under the migration lock.
///
/// # Errors
/// There is something to change and it is not confirmed (exit 24); the database cannot be used.
pub async fn adopt(settings: &Settings, stop: &Stop, confirm: bool, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let artifact = stop.unless(read_artifact(settings.source()?, settings)).await??;
    describe(&artifact, outcome);
    if !confirm {
        return stop.unless(look(settings, &artifact.migrations, outcome)).await?;
    }
    let mut found = Findings::default();
    let result = under_lock(settings, stop, outcome, async |opened, ledger, history| {
        found = read(opened, ledger, history, &artifact.migrations).await?;
        if found.changes.is_empty() {
            return Ok(vec![
                "the ledger is as Prisma would have written it: nothing was changed".into(),
            ]);
        }
        // One message is one transaction: either all of it is written or nothing.
        let sql = statements(ledger, &found.changes).join("; ");
        let written = opened.session.rows(&sql).await;
        written.map_err(|error| open::unusable("the migrations table could not be written", &error))?;
        Ok(found
            .changes
            .iter()
            .map(|change| sentence(change, "is", "was"))
            .collect())
    })
    .await;
    say(outcome, &found);
    outcome.adopted = found.changes;
    result
}

/// Without the lock, and without a word to the ledger.
async fn look(settings: &Settings, migrations: &[Migration], outcome: &mut Outcome) -> Result<Exit, Failure> {
    let run_id = outcome.run_id.clone();
    let opened = open::open(&settings.terms(&run_id)).await?;
    outcome.database = Some(opened.server.clone());
    let found = match (opened.server.ledger(), &opened.history) {
        (Some(ledger), Some(history)) => read(&opened, &ledger, history, migrations).await?,
        _ => Findings::default(),
    };
    opened.session.close().await;
    say(outcome, &found);
    if found.changes.is_empty() {
        return Ok(Exit::Success);
    }
    let mut failure = Failure::new(
        Exit::Refused,
        format!(
            "{} not as Prisma would have written it, and --confirm was not given",
            count(found.changes.len(), "row is", "rows are")
        ),
        "give --confirm to make these changes; every row that they touch is kept in the outcome",
    );
    failure.details = found
        .changes
        .iter()
        .map(|change| sentence(change, "would be", "would be"))
        .collect();
    outcome.adopted = found.changes;
    Err(failure)
}

async fn read(
    opened: &Opened,
    ledger: &Ledger,
    history: &History,
    migrations: &[Migration],
) -> Result<Findings, Failure> {
    let rows = opened.session.rows(&Kept::select(ledger.table())).await;
    let rows = rows.map_err(|error| open::unusable("the migrations table cannot be read", &error))?;
    let rows: Vec<Kept> = rows.iter().map(|row| Kept::of(|at| row.get(at))).collect();
    let evidence = Evidence::read(&opened.session, &opened.server, history, migrations).await;
    let evidence = evidence.map_err(|error| open::unusable("the unfinished rows could not be examined", &error))?;
    let judgement = Judgement::new(migrations, history, &evidence, opened.server.strings);
    Ok(findings(&judgement, &rows))
}

fn say(outcome: &mut Outcome, found: &Findings) {
    outcome.warnings.extend(found.left.iter().cloned());
}

fn sentence(change: &findings::Change, rewritten: &str, removed: &str) -> String {
    let begun = change.row["started_at"].as_str().unwrap_or_default();
    let what = match change.action {
        Action::Remove => format!("{removed} removed"),
        Action::Rewrite { .. } => format!("{rewritten} rewritten"),
    };
    format!("{}: the row of {begun} {what}: {}", change.migration, change.reason)
}
