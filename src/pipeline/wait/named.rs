//! `wait --task`: one task that is named.

use super::describe;
use crate::artifact::Source;
use crate::cli::PlaceArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::pipeline::attend::{Attended, attend};
use crate::pipeline::clients::Clients;
use crate::pipeline::follow::Rows;
use crate::pipeline::interrupt::Interrupt;
use crate::pipeline::patience::{Refused, Request, SHORT, insist};
use crate::pipeline::place::{Need, Place};
use crate::{log, report};

/// Follows one task that is named.
pub(super) async fn follow(
    clients: &Clients,
    args: &PlaceArgs,
    task: &str,
    interrupt: &mut Interrupt,
    own: &Outcome,
) -> Result<Outcome, Failure> {
    let args = interrupt
        .unless(with_what_the_task_tells(clients, args, task))
        .await??;
    let place = interrupt.unless(Place::find(clients, &args, Need::Follow)).await??;
    let arns = [task.to_owned()];
    let described = describe(clients, &place.cluster, &place.container, &arns, SHORT);
    let started = interrupt.unless(described).await?.map_err(Refused::before_start)?;
    let started = started.into_iter().next().unwrap_or_default();
    let report = started.flag("--report").and_then(|place| match Source::parse(place) {
        Ok(Source::S3(address)) => Some(address),
        _ => None,
    });
    let rows: Rows<'_> = match started.command.iter().any(|word| word == "execute") {
        true => &|row| report::say(&format!("{row}\n")),
        false => &log::relay,
    };
    let attended = Attended {
        place: &place,
        args: &args,
        arn: task,
        report: report.as_ref(),
    };
    let own = Outcome::new("wait", own.run_id.clone());
    Ok(attend(clients, attended, interrupt, rows, own).await.outcome)
}

/// The flags, and what the task's ARN and its description add where they say nothing: `arn:…:task/cluster/id`.
async fn with_what_the_task_tells(clients: &Clients, args: &PlaceArgs, task: &str) -> Result<PlaceArgs, Failure> {
    let mut args = args.clone();
    if args.cfn_stack.is_some() || args.has_tags() {
        return Ok(args);
    }
    if let (None, Some((_, rest))) = (&args.cluster, task.split_once(":task/")) {
        args.cluster = rest.split_once('/').map(|(cluster, _)| cluster.to_owned());
    }
    let (Some(cluster), None) = (&args.cluster, &args.task_definition) else {
        return Ok(args);
    };
    let request = Request {
        action: "ecs:DescribeTasks",
        on: task,
    };
    let answer = insist(clients, request, SHORT, async || {
        clients.ecs().describe_tasks().cluster(cluster).tasks(task).send().await
    });
    let tasks = answer.await.map_err(Refused::before_start)?.tasks.unwrap_or_default();
    let Some(described) = tasks.into_iter().next() else {
        return Err(Failure::new(
            Exit::Unknown,
            format!("ECS does not know the task {task} (any more: it forgets tasks about an hour after their end)"),
            "look at the reports and the log, or run `prisma-migrate-task run -- status`",
        )
        .state("not known"));
    };
    args.task_definition = described.task_definition_arn;
    Ok(args)
}
