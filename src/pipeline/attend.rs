//! Staying with a task until its end, or until this side is to go.

use super::clients::Clients;
use super::ending;
use super::follow::{Rows, follow};
use super::interrupt::{Interrupt, Wish};
use super::patience::{Refused, Request, SHORT, insist};
use super::place::Place;
use super::state::TaskState;
use crate::artifact::s3::Address;
use crate::cli::{DEFAULT_OUTPUT_PREFIX, PlaceArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::live;
use crate::outcome::{Outcome, millis};
use std::pin::pin;
use std::time::Instant;

/// A task that runs, and how it was found.
#[derive(Clone, Copy, Debug)]
pub struct Attended<'a> {
    /// Where it is.
    pub place: &'a Place,
    /// The flags that told so, for the command that follows it again.
    pub args: &'a PlaceArgs,
    /// Its ARN.
    pub arn: &'a str,
    /// The object that it was told to write its report to.
    pub report: Option<&'a Address>,
}

/// What a task came to.
#[derive(Debug)]
pub struct Ended {
    /// Its outcome.
    pub outcome: Outcome,
    /// Whether its container never ran, and nobody has stopped it: nothing was done, and another task may be placed.
    pub never_ran: bool,
}

/// Follows it to its end, and says what it came to; `own` is for where the task says nothing, where this side is to go (82), and where ECS will not say what
/// becomes of the task (81).
pub async fn attend(
    clients: &Clients,
    task: Attended<'_>,
    interrupt: &mut Interrupt,
    rows: Rows<'_>,
    mut own: Outcome,
) -> Ended {
    let began = Instant::now();
    let mut follow = pin!(follow(clients, task.place, task.arn, rows));
    let followed = loop {
        let signal = tokio::select! {
            biased;
            followed = &mut follow => break followed.map_err(|refused| lost(&refused, &task)),
            signal = interrupt.signal() => signal,
        };
        match interrupt.wish(signal).await {
            Wish::Follow => {}
            Wish::Detach => break Err(detached(signal, &task)),
            Wish::Stop => stop(clients, &task).await,
        }
    };
    live::clear();
    match followed {
        Ok(ending) => {
            own.duration_ms = millis(began.elapsed());
            let never_ran = ending.never_ran();
            let outcome = ending::outcome(ending, task.place, clients, task.report, own).await;
            Ended { outcome, never_ran }
        }
        Err(failure) => {
            own.task = Some(ending::task(&task.state(), task.place, &clients.region()));
            own.end(Err(failure), began.elapsed());
            Ended {
                outcome: own,
                never_ran: false,
            }
        }
    }
}

impl Attended<'_> {
    /// What is known of it where its end is not.
    fn state(&self) -> TaskState {
        TaskState {
            arn: self.arn.to_owned(),
            definition: self.place.task_definition.clone(),
            started: true,
            ..TaskState::default()
        }
    }
}

fn lost(refused: &Refused, task: &Attended<'_>) -> Failure {
    Failure::new(
        Exit::Unknown,
        refused.to_string(),
        format!("{}, then follow the task again with `{}`", refused.next(), again(task)),
    )
    .state("not known to this side; the task goes on")
}

/// Asks ECS to stop it: the program in it rolls back what runs and says so.
async fn stop(clients: &Clients, task: &Attended<'_>) {
    let request = Request {
        action: "ecs:StopTask",
        on: task.arn,
    };
    let stopped = insist(clients, request, SHORT, async || {
        let request = clients.ecs().stop_task().cluster(&task.place.cluster).task(task.arn);
        request
            .reason(format!("stopped by {}", super::start::started_by()))
            .send()
            .await
    });
    match stopped.await {
        Ok(_) => tracing::warn!("the task is stopping: what runs is rolled back; Ctrl-C detaches"),
        Err(refused) => tracing::error!("the task could not be stopped: {refused}; {}", refused.next()),
    }
}

fn detached(signal: &str, task: &Attended<'_>) -> Failure {
    Failure::new(
        Exit::Detached,
        format!("detached from the task {} ({signal})", task.arn),
        format!("follow it again with `{}`", again(task)),
    )
    .state("not known to this side: the task goes on by itself")
}

fn again(task: &Attended<'_>) -> String {
    format!("prisma-migrate-task wait --task {}{}", task.arn, task.args.again())
}

impl PlaceArgs {
    /// The flags that find the task's place again, each with a space before it.
    pub(super) fn again(&self) -> String {
        let prefix = (self.output_prefix != DEFAULT_OUTPUT_PREFIX).then(|| self.output_prefix.clone());
        let flags = [
            ("--cfn-stack", &self.cfn_stack),
            ("--output-prefix", &prefix),
            ("--stack", &self.stack),
            ("--stage", &self.stage),
            ("--app", &self.app),
            ("--cluster", &self.cluster),
            ("--task-definition", &self.task_definition),
            ("--container", &self.container),
            ("--log-group", &self.log_group),
            ("--log-stream-prefix", &self.log_stream_prefix),
            ("--reports", &self.reports),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(flag, value)| Some(format!(" {flag} {}", value.as_ref()?)));
        flags.collect()
    }
}
