//! Applies what is pending, one migration after the other or all together.

use super::turn::Turn;
use super::{existing_of, warn};
use crate::apply::together::{self, Together};
use crate::apply::{Applier, End, Fitness, How};
use crate::database::lock;
use crate::database::open::{self, Opened};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::Ledger;
use crate::invocation::command;
use crate::live;
use crate::losses::Attempt;
use crate::outcome::{Applied, Outcome, millis};
use crate::plan::{Pending, Plan};
use crate::settings::Settings;
use crate::stop::{self, Stop};
use crate::watch::Watch;
use std::time::Instant;

/// Applies what is planned.
pub(super) async fn apply(
    mut plan: Plan<'_>,
    opened: &Opened,
    ledger: &Ledger,
    settings: &Settings,
    stop: &Stop,
    outcome: &mut Outcome,
) -> Result<Turn, Failure> {
    warn(plan.warnings, outcome);
    for pending in &mut plan.pending {
        pending.let_go();
    }
    let session = &opened.session;
    let run_id = outcome.run_id.clone();
    let terms = settings.terms(&run_id);
    let watch = Watch::new(&terms, opened.server.backend.pid, settings.progress_every);
    let applier = Applier {
        session,
        ledger,
        backend: opened.server.backend.clone(),
        login: &opened.server.login,
        run_id: &run_id,
        lock_wait: settings.lock_wait,
        lock_retry_for: settings.lock_retry_for,
        stop,
        watch: &watch,
    };
    if settings.all_or_nothing {
        return apply_together(&applier, &plan.pending, opened, outcome).await;
    }
    let count = plan.pending.len();
    for (at, pending) in plan.pending.into_iter().enumerate() {
        if let Some(reason) = stop.reason() {
            return Err(stop::interrupted(
                reason,
                "no migration was running; the pending ones were not begun",
            ));
        }
        // On a terminal a line of its own says what runs.
        if !live::is_shown() {
            tracing::info!(migration = pending.name, "applying ({} of {count})", at + 1);
        }
        let started = Instant::now();
        let end = match applier.apply(&pending).await {
            Err(failure) => return Err(with_what_exists(opened, &pending, failure).await),
            Ok(end) => end,
        };
        match end {
            End::Applied { how, session: fitness } => {
                let duration_ms = millis(started.elapsed());
                match how {
                    How::Atomic => tracing::info!(migration = pending.name, duration_ms, "applied"),
                    how => tracing::info!(migration = pending.name, duration_ms, "applied ({})", how.words()),
                }
                is_in(outcome, pending.name, how, duration_ms);
                match fitness {
                    Fitness::Ready => {}
                    Fitness::WithoutLock => {
                        tracing::warn!(
                            migration = pending.name,
                            "released the migration lock: it is taken again"
                        );
                        return Ok(Turn::Again);
                    }
                    Fitness::Unclean => return Ok(Turn::Renew),
                }
            }
            End::Lost {
                id,
                error,
                sent,
                told_by_its_row,
            } => {
                let how = pending.shape.into();
                return Ok(Turn::Lost(Attempt {
                    migrations: vec![pending.name.to_owned()],
                    id,
                    how,
                    started,
                    error,
                    sent,
                    backend: opened.server.backend.clone(),
                    told_by_its_row,
                }));
            }
            End::GiveWay => {
                let given = stop.unless(lock::give_way(session, settings.lock_wait)).await?;
                given.map_err(|error| open::unusable("the migration lock could not be given away", &error))?;
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
    opened: &Opened,
    outcome: &mut Outcome,
) -> Result<Turn, Failure> {
    together::check(pending)?;
    if pending.is_empty() {
        return Ok(Turn::Done);
    }
    let started = Instant::now();
    let Together { end, durations } = applier.apply_together(pending).await?;
    match end {
        End::Applied { how, session } => {
            for (migration, duration) in pending.iter().zip(durations) {
                tracing::info!(
                    migration = migration.name,
                    duration_ms = millis(duration),
                    "applied ({})",
                    how.words()
                );
                is_in(outcome, migration.name, how, millis(duration));
            }
            Ok(match session {
                Fitness::Ready => Turn::Done,
                // Where a script gave the lock away, there may be more to do by now.
                Fitness::WithoutLock => Turn::Again,
                Fitness::Unclean => Turn::Renew,
            })
        }
        End::Lost {
            id,
            error,
            sent,
            told_by_its_row,
        } => Ok(Turn::Lost(Attempt {
            migrations: pending.iter().map(|pending| pending.name.to_owned()).collect(),
            id,
            how: How::Together,
            started,
            error,
            sent,
            backend: opened.server.backend.clone(),
            told_by_its_row,
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

/// Adds to a failure over something that exists already what of the migration's creations exists, and the way out where all of it does: that is for a
/// person to say, never for this program to guess.
async fn with_what_exists(opened: &Opened, pending: &Pending<'_>, mut failure: Failure) -> Failure {
    // A table or index, a column, a schema, a function, anything else.
    const EXISTS: [&str; 5] = ["42P07", "42701", "42P06", "42723", "42710"];
    if failure.exit != Exit::RolledBack || !failure.sqlstate.as_deref().is_some_and(|code| EXISTS.contains(&code)) {
        return failure;
    }
    failure.details.extend(existing_of(opened, pending.script).await);
    failure.next = format!(
        "if the database has everything of this migration already, record it with `{}`; else fix the SQL and deploy again",
        command(&["resolve", "--applied", pending.name])
    );
    failure
}
