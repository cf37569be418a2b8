//! The client's side, for laptops and pipelines: starts the task in ECS, follows it, and ends as it ended.
//!
//! The outcome is the task's own, read from its report or its log into the same value that the task made, so that it is printed by the same code. Where
//! there is none, this side makes one of what ECS knows.

pub mod attend;
pub mod bucket;
pub mod clients;
pub mod command;
pub mod ending;
pub mod follow;
pub mod interrupt;
pub mod log_stream;
mod outputs;
pub mod patience;
pub mod place;
pub mod run;
pub mod snapshot;
pub mod start;
pub mod state;
mod tags;
pub mod upload;
pub mod uploaded;
pub mod wait;
pub mod zip;

use crate::cli::{ClientVerb, LogFormat};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::log;
use crate::outcome::Outcome;
use crate::report;
use interrupt::Interrupt;
use std::time::Instant;
use uuid::Uuid;

/// Does what the verb says, prints the outcome, and says what to exit with.
pub fn run(verb: ClientVerb) -> Exit {
    let (name, output) = (verb.name(), verb.output().clone());
    log::start(output.log_format, output.log_level);
    let started = Instant::now();
    let mut own = Outcome::new(name, Uuid::new_v4().to_string());
    let outcome = match act(verb, &own) {
        Ok(outcome) => outcome,
        Err(failure) => {
            own.end(Err(failure), started.elapsed());
            own
        }
    };
    let format = output.json.then_some(LogFormat::Json).or(output.log_format);
    report::print(&outcome, format, false, "prisma-migrate-task run --confirm");
    outcome.exit_code
}

fn act(verb: ClientVerb, own: &Outcome) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let began = runtime.and_then(|runtime| {
        let entered = runtime.enter();
        let interrupt = Interrupt::listen()?;
        drop(entered);
        Ok((runtime, interrupt))
    });
    let (runtime, mut interrupt) = began.map_err(|error| {
        Failure::new(
            Exit::Unexpected,
            format!("the asynchronous runtime could not be started: {error}"),
            "report this as a bug",
        )
    })?;
    let outcome = runtime.block_on(async {
        match verb {
            ClientVerb::Run(args) => run::run(&args, &mut interrupt, own).await,
            ClientVerb::Wait(args) => wait::wait(&args, &mut interrupt, own).await,
            ClientVerb::Upload(args) => upload::upload(&args, &mut interrupt, own).await,
        }
    });
    // Standard input that is being read, or a look-up of a host name, cannot be interrupted: the end is not for them to hold up.
    runtime.shutdown_background();
    outcome
}
