//! One run of the program, from its command line to its outcome.

use crate::adopt;
use crate::baseline;
use crate::cli::Cli;
use crate::deploy;
use crate::drift;
use crate::execute;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::invocation::{self, command};
use crate::log;
use crate::outcome::Outcome;
use crate::preview;
use crate::report::{self, place::Place};
use crate::resolve;
use crate::settings::{self, Action, Output, Settings};
use crate::status;
use crate::stderr;
use crate::stop::{Signals, Stop};
use crate::task;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Runs the verb, and brings the outcome to those who wait for it elsewhere. Always comes to an outcome, also where the program itself is wrong.
pub fn run(cli: Cli, output: &Output, signals: &io::Result<Signals>) -> Outcome {
    let mut outcome = Outcome::new(output.verb, Uuid::new_v4().to_string());
    outcome.event_id.clone_from(&output.event_id);
    invocation::start(&cli, &settings::variable, output.task_metadata.is_some());
    finish(&mut outcome, output, signals, |runtime, stop, outcome| {
        if let Some(failure) = &output.refused {
            return Err(failure.clone());
        }
        act(cli, runtime, stop, outcome)
    });
    outcome
}

/// Answers those who wait for a run whose command line cannot be read, and gives the outcome that its log ends with; none where nobody does either. The text of
/// the error is on standard error already.
pub fn refuse(usage: &clap::Error, output: &Output, signals: &io::Result<Signals>) -> Option<Outcome> {
    if output.answers.is_empty() && output.task_metadata.is_none() {
        return None;
    }
    log::start(output.format, output.level);
    let text = usage.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let failure = Failure::new(
        Exit::Usage,
        first,
        "correct the task's command, and the variables of its flags",
    );
    let mut outcome = Outcome::new(output.verb, Uuid::new_v4().to_string());
    finish(&mut outcome, output, signals, |_, _, _| Err(failure));
    stderr::flush();
    Some(outcome)
}

/// Does the work, closes the outcome and delivers it.
fn finish(
    outcome: &mut Outcome,
    output: &Output,
    signals: &io::Result<Signals>,
    work: impl FnOnce(&Runtime, &Stop, &mut Outcome) -> Result<Exit, Failure>,
) {
    let started = Instant::now();
    // One thread is enough for one session; it also makes sure that both messages of the protocol are queued before either is sent.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let began = match (runtime, signals) {
        (Ok(runtime), Ok(signals)) => {
            let entered = runtime.enter();
            let stop = Stop::listen(signals, output.max_duration, output.stop_within);
            drop(entered);
            Ok((runtime, stop))
        }
        (Err(error), _) => Err(error.to_string()),
        (_, Err(error)) => Err(error.to_string()),
    };
    let (runtime, stop) = match began {
        Ok(began) => began,
        Err(error) => {
            let failure = bug(&format!("the asynchronous runtime could not be started: {error}"));
            outcome.end(Err(failure), started.elapsed());
            return write_file(outcome, output);
        }
    };
    let task = output
        .task_metadata
        .clone()
        .map(|metadata| runtime.spawn(async move { task::of(&metadata).await }));
    let result = catch_unwind(AssertUnwindSafe(|| work(&runtime, &stop, outcome)))
        .unwrap_or_else(|_| Err(bug("it ended unexpectedly, with the message above")));
    outcome.end(result, started.elapsed());
    if let Some(task) = task {
        let told = async {
            tokio::select! { task = task => task.ok().flatten(), () = stop.over() => None }
        };
        outcome.task = runtime.block_on(told);
    }
    let dropped = stderr::dropped();
    if dropped > 0 {
        outcome.warnings.push(log::missing(dropped));
    }
    let in_log = output.task_metadata.is_some();
    report::log(outcome, report::deliver::waits(output), in_log);
    write_file(outcome, output);
    let delivery = AssertUnwindSafe(|| runtime.block_on(report::deliver::deliver(outcome, output, &stop)));
    if catch_unwind(delivery).is_err() {
        report::undelivered(outcome, "the delivery of the outcome ended unexpectedly".to_owned());
    }
    // A look-up of a host name, or a file that is being read, cannot be interrupted: the end is not for them to hold up.
    runtime.shutdown_background();
}

fn write_file(outcome: &mut Outcome, output: &Output) {
    if let Some(Place::File(file)) = &output.report {
        report::write(outcome, file);
    }
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

fn act(cli: Cli, runtime: &Runtime, stop: &Stop, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let settings = Settings::new(cli, &settings::variable)?;
    for (is_warning, note) in &settings.notes {
        if *is_warning {
            tracing::warn!("{note}");
            outcome.warnings.push(note.clone());
        } else {
            tracing::debug!("{note}");
        }
    }
    // The first line of the log: a signal is heard by now, also by PID 1, for which the kernel drops those that are not caught.
    tracing::info!(
        run_id = outcome.run_id,
        "prisma-migrate-task {} {}: {}",
        env!("CARGO_PKG_VERSION"),
        outcome.verb,
        settings.target.describe()
    );
    if !settings.depends_on_artifact() {
        tracing::info!("credentials for the database: {}", settings.target);
    }
    let verb = async {
        let settings = stop.unless(settings.find_target()).await??;
        let ended = match &settings.action {
            Action::Deploy => deploy::deploy(&settings, stop, outcome).await,
            Action::Plan { check } => stop
                .unless(preview::preview(&settings, *check, outcome))
                .await
                .flatten(),
            Action::Status => stop.unless(status::status(&settings, outcome)).await.flatten(),
            Action::Resolve { resolution, dry_run } => {
                resolve::resolve(&settings, stop, (resolution, *dry_run), outcome).await
            }
            Action::Adopt { confirm } => adopt::adopt(&settings, stop, *confirm, outcome).await,
            Action::Drift(since) => drift::drift(&settings, stop, since, outcome).await,
            Action::Baseline(name) => baseline::baseline(&settings, stop, name, outcome).await,
            Action::Execute(order) => execute::execute(&settings, order, stop, outcome).await,
        };
        ended.map_err(|failure| settings.name_direct_url(failure))
    };
    runtime.block_on(stop.bound(verb))
}

fn bug(what: &str) -> Failure {
    Failure::new(
        Exit::Unexpected,
        what,
        format!(
            "run `{}` to see where the database is, and report this as a bug",
            command(&["status"])
        ),
    )
    .state("not known to this run; the ledger knows")
}
