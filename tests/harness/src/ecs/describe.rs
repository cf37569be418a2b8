//! DescribeTasks, ListTasks and DescribeTaskDefinition.

use serde_json::{Value, json};

use super::server::{Answer, Refusal, text};
use super::task::{Task, last, task_arn};
use super::{Shared, definition};

/// The most tasks that one request may name, and that one answer holds.
const MOST: usize = 100;

pub(super) fn describe_tasks(shared: &Shared, request: &Value, knows_none: bool) -> Answer {
    let state = shared.lock();
    let cluster = state.cluster(request)?;
    let asked: Vec<&str> = request["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if asked.is_empty() {
        return Err(Refusal::invalid("Tasks cannot be empty."));
    }
    if asked.len() > MOST {
        return Err(Refusal::invalid("Tasks cannot have more than 100 elements."));
    }
    let with_tags = request["include"]
        .as_array()
        .is_some_and(|include| include.contains(&json!("TAGS")));
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        let known = state
            .tasks
            .get(last(name))
            .filter(|task| task.cluster == cluster && !knows_none);
        match known {
            Some(task) => {
                let mut shown = task.document();
                if with_tags {
                    shown["tags"] = task.request["tags"].as_array().cloned().into();
                }
                tasks.push(shown);
            }
            None => failures.push(json!({ "arn": task_arn(&cluster, last(name)), "reason": "MISSING" })),
        }
    }
    Ok(json!({ "tasks": tasks, "failures": failures }))
}

pub(super) fn list_tasks(shared: &Shared, request: &Value) -> Answer {
    let state = shared.lock();
    let cluster = state.cluster(request)?;
    for other in ["containerInstance", "serviceName", "launchType", "daemonName"] {
        if !request[other].is_null() {
            return Err(Refusal::not_implemented(&format!("ListTasks with {other}")));
        }
    }
    let (family, started_by) = (text(request, "family"), text(request, "startedBy"));
    if family.is_some() && started_by.is_some() {
        // Source: the API reference, "ListTasks": it must be the only filter.
        return Err(Refusal::invalid("startedBy must be the only filter."));
    }
    let status = text(request, "desiredStatus").unwrap_or("RUNNING");
    if !["RUNNING", "STOPPED"].contains(&status) {
        // Source: the API reference, "ListTasks": PENDING is taken and finds nothing.
        return Ok(json!({ "taskArns": [] }));
    }
    let fits = |task: &&Task| {
        task.cluster == cluster
            && task.desired_status == status
            && family.is_none_or(|family| family == task.definition.family)
            && started_by.is_none_or(|name| text(&task.request, "startedBy") == Some(name))
    };
    // In no order that anybody could rely on: by the ids, which are random.
    let arns: Vec<&str> = state
        .tasks
        .values()
        .filter(fits)
        .map(|task| task.arn.as_str())
        .collect();
    let from = match text(request, "nextToken") {
        None => 0,
        Some(token) => arns
            .iter()
            .position(|arn| last(arn) == token)
            .ok_or_else(|| Refusal::invalid("Invalid token."))?,
    };
    let asked = request["maxResults"]
        .as_u64()
        .and_then(|most| usize::try_from(most).ok());
    let most = asked.unwrap_or(MOST).min(state.page.unwrap_or(MOST));
    let until = arns.len().min(from + most);
    let mut answer = json!({ "taskArns": arns[from..until] });
    if let Some(next) = arns.get(until) {
        answer["nextToken"] = last(next).into();
    }
    Ok(answer)
}

pub(super) fn describe_task_definition(shared: &Shared, request: &Value) -> Answer {
    let state = shared.lock();
    let known = text(request, "taskDefinition").and_then(|name| state.definition(name));
    let Some((definition, revision)) = known else {
        return Err(Refusal::client(
            "ClientException",
            "Unable to describe task definition.",
        ));
    };
    let shown: Value = definition::Definition::document(definition, revision);
    // Source: the API reference, "DescribeTaskDefinition", `include`: without it there are no tags in the answer.
    let with_tags = request["include"]
        .as_array()
        .is_some_and(|include| include.contains(&json!("TAGS")));
    let tags: Vec<Value> = definition
        .tags
        .iter()
        .filter(|_| with_tags)
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    Ok(json!({ "taskDefinition": shown, "tags": tags }))
}
