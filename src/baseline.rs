//! `baseline`: takes a database under management that has its tables already, under the migration lock.

use crate::database::open;
use crate::deploy::{describe, read_artifact};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::State;
use crate::invocation::command;
use crate::outcome::Outcome;
use crate::plan::no_such_migration;
use crate::prepare;
use crate::printable::count;
use crate::resolve::{record_applied, under_lock};
use crate::settings::Settings;
use crate::stop::Stop;

/// Records a migration and all before it as applied; none is run.
///
/// # Errors
/// No such migration in the artifact (P3017), a script that is missing, a ledger that has rows already, a database without a table, or one that cannot
/// be used.
pub async fn baseline(settings: &Settings, stop: &Stop, name: &str, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let artifact = read_artifact(settings.source()?, settings).await?;
    describe(&artifact, outcome);
    let at = artifact.migrations.iter().position(|migration| migration.name == name);
    let names = artifact.migrations.iter().map(|migration| migration.name.as_str());
    let at = at.ok_or_else(|| no_such_migration(name, names))?;
    let (held, later) = artifact.migrations.split_at(at + 1);
    let mut migrations: Vec<(&str, String)> = Vec::new();
    for migration in held {
        // The checksum is of the file, whatever is in it: a script that cannot be sent has one too.
        let checksum = migration.script.checksum().ok_or_else(|| missing(&migration.name))?;
        migrations.push((&migration.name, checksum.to_owned()));
    }
    under_lock(settings, stop, outcome, async |opened, ledger, history| {
        prepare::only_ledger(opened, settings.target.schema.as_deref(), &artifact.datasource).await?;
        // Rows of attempts that were rolled back say nothing of the database.
        let held: Vec<&str> = history
            .rows
            .iter()
            .filter(|row| row.state != State::RolledBack)
            .map(|row| row.migration.as_str())
            .collect();
        if let Some(first) = held.first() {
            return Err(Failure::new(
                Exit::History,
                format!(
                    "{} has {} already, of {first}{}: the database is managed",
                    ledger.table(),
                    count(held.len(), "row", "rows"),
                    if held.len() > 1 { " and others" } else { "" }
                ),
                format!(
                    "deploy applies what is pending; `{}` records a single migration",
                    command(&["resolve", "--applied", "NAME"])
                ),
            ));
        }
        let rows = opened.session.rows(RELATIONS).await;
        let rows = rows.map_err(|error| open::unusable("the catalogue could not be read", &error))?;
        if rows.first().and_then(|row| row.get(0)) != Some("t") {
            return Err(Failure::new(
                Exit::History,
                "the database has neither tables nor views: it cannot hold what these migrations make",
                "deploy: it runs them",
            ));
        }
        for (name, _) in &migrations {
            tracing::info!(migration = name, "is to be recorded as applied, and not run");
        }
        record_applied(settings, opened, ledger, &migrations).await?;
        let said = |(name, _): &(&str, String)| format!("{name} is recorded as applied; it was not run");
        Ok(migrations.iter().map(said).collect())
    })
    .await?;
    outcome.pending = later.iter().map(|migration| migration.name.clone()).collect();
    Ok(Exit::Success)
}

fn missing(name: &str) -> Failure {
    Failure::new(
        Exit::Artifact,
        "its migration.sql is missing",
        "restore the file, or remove its directory",
    )
    .prisma(Some("P3015"))
    .of(name)
}

/// Whether there is a table or a view that is neither the system's, nor an extension's, nor the ledger.
const RELATIONS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' \
     AND c.relname <> '_prisma_migrations' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'))";
