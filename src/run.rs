//! One run of the program, from its command line to its outcome.

use crate::adopt;
use crate::baseline;
use crate::cli::Cli;
use crate::deploy;
use crate::drift;
use crate::execute;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::preview;
use crate::resolve;
use crate::settings::{self, Action, Output, Settings};
use crate::status;
use crate::stop::Stop;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use uuid::Uuid;

/// Runs the verb. Always comes to an outcome, also where the program itself is wrong.
pub fn run(cli: Cli, output: &Output) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome::new(output.verb, Uuid::new_v4().to_string());
    let result = catch_unwind(AssertUnwindSafe(|| act(cli, &mut outcome)))
        .unwrap_or_else(|_| Err(bug("it ended unexpectedly, with the message above")));
    outcome.end(result, started.elapsed());
    outcome
}

/// Leaves no image of this process behind when it dies, since its memory holds the password: no core file, and no crash handler that is handed one.
pub fn leave_no_core() {
    // Neither can fail for a process that asks for less than it has; if one did, there would be nothing better to do than to go on.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn act(cli: Cli, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let settings = Settings::new(cli, &settings::variable)?;
    for (is_warning, note) in &settings.notes {
        if *is_warning {
            tracing::warn!("{note}");
            outcome.warnings.push(note.clone());
        } else {
            tracing::debug!("{note}");
        }
    }
    // One thread is enough for one session; it also makes sure that both messages of the protocol are queued before either is sent.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| bug(&format!("the asynchronous runtime could not be started: {error}")))?;
    let result = runtime.block_on(async {
        let stop = Stop::listen(settings.max_duration, settings.stop_within)
            .map_err(|error| bug(&format!("the signals could not be caught: {error}")))?;
        // The first line of the log: from here on a signal is heard, also by PID 1, for which the kernel drops those that are not caught.
        tracing::info!(
            run_id = outcome.run_id,
            "prisma-migrate-task {} {}: {}",
            env!("CARGO_PKG_VERSION"),
            outcome.verb,
            settings.target.describe()
        );
        tracing::info!("credentials for the database: {}", settings.target);
        let settings = stop.unless(settings.find_target()).await??;
        match &settings.action {
            Action::Deploy => deploy::deploy(&settings, &stop, outcome).await,
            Action::Plan { check } => stop.unless(preview::preview(&settings, *check, outcome)).await?,
            Action::Status => stop.unless(status::status(&settings, outcome)).await?,
            Action::ResolveApplied(names) => resolve::applied(&settings, &stop, names, outcome).await,
            Action::ResolveRolledBack(name) => resolve::rolled_back(&settings, &stop, name, outcome).await,
            Action::ResolveRetry(name) => resolve::retry(&settings, &stop, name, outcome).await,
            Action::Adopt { confirm } => adopt::adopt(&settings, &stop, *confirm, outcome).await,
            Action::Drift(since) => drift::drift(&settings, &stop, since, outcome).await,
            Action::Baseline(name) => baseline::baseline(&settings, &stop, name, outcome).await,
            Action::Execute(order) => execute::execute(&settings, order, &stop, outcome).await,
        }
    });
    // A look-up of a host name, or a file that is being read, cannot be interrupted: the end is not for them to hold up.
    runtime.shutdown_background();
    result
}

fn bug(what: &str) -> Failure {
    Failure::new(
        Exit::Unexpected,
        what,
        "run `prisma-migrate-task status` to see where the database is, and report this as a bug",
    )
    .state("not known to this run; the ledger knows")
}
