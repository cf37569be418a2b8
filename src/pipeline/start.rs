//! Starting a task: once, however often the request has to be made.

use super::clients::Clients;
use super::command::Sql;
use super::patience::{Patience, Refused, Request, insist};
use super::place::Place;
use super::state::TaskState;
use crate::exit::Exit;
use crate::failure::Failure;
use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, ContainerOverride, LaunchType, NetworkConfiguration, TaskOverride,
};
use std::time::Duration;
use uuid::Uuid;

/// The most characters that RunTask takes as overrides, JSON and all (API reference, "TaskOverride").
pub const LONGEST_OVERRIDES: usize = 8192;

/// How long RunTask is asked where nobody answers: whether it was heard is not known then, and a migration that starts much later starts unwatched.
const PATIENCE: Patience = Patience::For(Duration::from_secs(300));

/// How many characters the overrides are with which a container gets these words.
pub fn overrides_length(container: &str, words: &[String]) -> usize {
    let overrides = serde_json::json!({ "containerOverrides": [{ "name": container, "command": words }] });
    overrides.to_string().chars().count()
}

/// Whether SQL in a command is short enough; its words hold it.
pub fn fits(container: &str, words: &[String], sql: &Sql) -> bool {
    matches!(sql, Sql::Object(_)) || overrides_length(container, words) <= LONGEST_OVERRIDES
}

/// Starts the task. The token makes ECS start it once, however often it is asked: of requests with the same token the first counts.
///
/// # Errors
/// Nothing was started (2 where the configuration is wrong, 80 else), or whether it was is not known (81).
pub async fn start(clients: &Clients, place: &Place, words: &[String], token: Uuid) -> Result<TaskState, Failure> {
    let length = overrides_length(&place.container, words);
    if length > LONGEST_OVERRIDES {
        return Err(Failure::new(
            Exit::Usage,
            format!("the command makes the overrides {length} characters long, and ECS takes {LONGEST_OVERRIDES}"),
            "shorten it",
        ));
    }
    let overrides = TaskOverride::builder().container_overrides(
        ContainerOverride::builder()
            .name(&place.container)
            .set_command(Some(words.to_vec()))
            .build(),
    );
    let request = Request {
        action: "ecs:RunTask",
        on: &place.task_definition,
    };
    let network = network(place)?;
    let answer = insist(clients, request, PATIENCE, async || {
        clients
            .ecs()
            .run_task()
            .cluster(&place.cluster)
            .task_definition(&place.task_definition)
            .count(1)
            .launch_type(LaunchType::Fargate)
            .network_configuration(network.clone())
            .overrides(overrides.clone().build())
            .client_token(token.to_string())
            .started_by(started_by())
            .send()
            .await
    });
    let answer = answer.await.map_err(|refused| not_started(refused, place, token))?;
    if let Some(task) = answer.tasks().first() {
        return Ok(TaskState::of(task, &place.container));
    }
    let failures: Vec<String> = answer
        .failures()
        .iter()
        .map(|failure| {
            let words = [failure.reason(), failure.detail(), failure.arn()];
            words.into_iter().flatten().collect::<Vec<_>>().join(": ")
        })
        .collect();
    Err(refused_to_start(&failures))
}

/// Who started the task, as ECS keeps it: letters, digits, `-`, `_` and `/`, at most 128.
pub fn started_by() -> String {
    let who = ["GITHUB_ACTOR", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| crate::settings::variable(name));
    let who: String = who
        .unwrap_or_else(|| "unknown".to_owned())
        .chars()
        .map(|letter| match letter {
            letter if letter.is_ascii_alphanumeric() || letter == '-' => letter,
            _ => '_',
        })
        .take(64)
        .collect();
    format!("prisma-migrate-task/{who}")
}

fn network(place: &Place) -> Result<NetworkConfiguration, Failure> {
    let vpc = AwsVpcConfiguration::builder()
        .set_subnets(Some(place.subnets.clone()))
        .set_security_groups(Some(place.security_groups.clone()))
        .assign_public_ip(if place.assign_public_ip {
            AssignPublicIp::Enabled
        } else {
            AssignPublicIp::Disabled
        });
    let vpc = vpc.build().map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("the network of the task: {error}"),
            "give --subnets",
        )
    })?;
    Ok(NetworkConfiguration::builder().awsvpc_configuration(vpc).build())
}

fn not_started(refused: Refused, place: &Place, token: Uuid) -> Failure {
    if refused.is_passing() {
        return unknown_start(&refused.to_string(), place, token);
    }
    let mut failure = refused.clone().before_start();
    failure.next = match refused.code() {
        "ClusterNotFoundException" => {
            "check --cluster, or the stack's output, and the AWS account and region".to_owned()
        }
        "ClientException" => {
            "check --task-definition, or the stack's output, and the AWS account and region".to_owned()
        }
        _ => format!(
            "{}; RunTask needs iam:PassRole on the task's two roles too",
            failure.next
        ),
    };
    failure
}

/// The failure where ECS may have heard the request, although it has not answered.
pub fn unknown_start(why: &str, place: &Place, token: Uuid) -> Failure {
    Failure::new(
        Exit::Unknown,
        format!("it is not known whether ECS has started the task: {why}"),
        format!(
            "look with `aws ecs list-tasks --cluster {} --started-by {}`, and follow it with `prisma-migrate-task wait --task ARN`",
            place.cluster,
            started_by()
        ),
    )
    .detail(format!("clientToken {token}"))
    .state("not known; a task that was started goes on by itself")
}

/// Whether ECS may start it when it is asked again: what is not there, or not active, will not be.
pub fn passes(failure: &Failure) -> bool {
    let is_absent = ["MISSING", "INACTIVE"]
        .iter()
        .any(|reason| failure.what.contains(reason));
    failure.exit == Exit::NeverStarted && !is_absent
}

/// Source: the ECS developer guide, "Amazon ECS API failure reasons".
fn refused_to_start(failures: &[String]) -> Failure {
    let all = failures.join("; ");
    let next = match &all {
        all if all.contains("RESOURCE:") || all.contains("apacity") => {
            "start again later, or with subnets in other availability zones: there was no capacity"
        }
        all if all.contains("limit") => {
            "start again when other tasks have ended, or have the account's limit of Fargate tasks raised"
        }
        all if all.contains("INACTIVE") || all.contains("MISSING") => {
            "check --cluster and --task-definition: what was named is not there any more"
        }
        _ => "see what ECS says, and start again",
    };
    let said = if failures.is_empty() {
        "it gives no reason"
    } else {
        &all
    };
    Failure::new(Exit::NeverStarted, format!("ECS started no task: {said}"), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ecs_refuses_is_told_with_what_to_check() {
        let failure = refused_to_start(&["RESOURCE:MEMORY: arn".to_owned()]);
        assert_eq!(failure.exit, Exit::NeverStarted);
        assert!(failure.next.contains("capacity"), "{failure}");
        assert!(passes(&failure));
        assert!(!passes(&refused_to_start(&["INACTIVE: arn".to_owned()])));
        assert!(refused_to_start(&[]).what.contains("no reason"));
    }

    #[test]
    fn escapes_count_as_the_json_has_them() {
        let plain = overrides_length("migrate", &["a".repeat(100)]);
        assert_eq!(overrides_length("migrate", &["\n".repeat(100)]), plain + 100);
        assert_eq!(overrides_length("migrate", &["ü".repeat(100)]), plain);
    }
}
