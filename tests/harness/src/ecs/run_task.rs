//! RunTask and StopTask.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use super::container::Stop;
use super::server::{Answer, Refusal, text};
use super::task::{Task, last, task_arn};
use super::{Fate, Shared, State, definition};

/// The most characters that overrides may have, with all that makes them JSON. Source: the API reference, "TaskOverride".
const LONGEST_OVERRIDES: usize = 8192;

/// What RunTask takes here. Others are refused.
const PARAMETERS: [&str; 14] = [
    "cluster",
    "taskDefinition",
    "clientToken",
    "overrides",
    "launchType",
    "networkConfiguration",
    "startedBy",
    "tags",
    "propagateTags",
    "count",
    "group",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "platformVersion",
];

pub(super) fn run_task(shared: &Arc<Shared>, request: &Value) -> Answer {
    let mut state = shared.lock();
    let cluster = state.cluster(request)?;
    check(request)?;
    let token = text(request, "clientToken").map(|token| (cluster.clone(), token.to_owned()));
    if let Some((asked, id)) = token.as_ref().and_then(|token| state.tokens.get(token)) {
        let known = state.tasks.get(id).map(Task::document);
        if asked != request {
            let arn = task_arn(&cluster, id);
            return Err(Refusal::client(
                "ConflictException",
                "The RunTask request could not be processed due to conflicts.",
            )
            .with("resourceIds", json!([arn])));
        }
        return Ok(json!({ "tasks": known.into_iter().collect::<Vec<_>>(), "failures": [] }));
    }
    let Some((definition, revision)) = text(request, "taskDefinition").and_then(|name| state.definition(name)) else {
        return Err(Refusal::client("ClientException", "TaskDefinition not found."));
    };
    let definition = definition.clone();
    let named: BTreeSet<&str> = overrides(request).iter().filter_map(|one| text(one, "name")).collect();
    if let Some(other) = named
        .iter()
        .find(|name| **name != definition.container && **name != definition::AGENT)
    {
        let message = format!("Override for container named {other} is not a container in the TaskDefinition.");
        return Err(Refusal::invalid(&message));
    }
    let never = match state.fates.pop_front() {
        Some(Fate::Refused { reason, detail }) => {
            let arn = super::task::cluster_arn(&cluster);
            let mut failure = json!({ "arn": arn, "reason": reason });
            if !detail.is_empty() {
                failure["detail"] = detail.into();
            }
            return Ok(json!({ "tasks": [], "failures": [failure] }));
        }
        Some(Fate::NeverStarts { reason }) => Some(reason),
        None => None,
    };
    let id = uuid::Uuid::new_v4().simple().to_string();
    let (stops, stopped) = unbounded_channel();
    let task = Task {
        number: state.started,
        id: id.clone(),
        arn: task_arn(&cluster, &id),
        cluster,
        definition,
        revision,
        request: request.clone(),
        last_status: "PROVISIONING",
        desired_status: "RUNNING",
        created: SystemTime::now(),
        started: None,
        stopping: None,
        stopped: None,
        stop_code: None,
        stopped_reason: None,
        exit_code: None,
        reason: None,
        version: 1,
        stops,
    };
    let shown = task.document();
    state.started += 1;
    state.tasks.insert(id.clone(), task);
    if let Some(token) = token {
        state.tokens.insert(token, (request.clone(), id.clone()));
    }
    shared.runtime.spawn(Arc::clone(shared).live(id, stopped, never));
    Ok(json!({ "tasks": [shown], "failures": [] }))
}

fn overrides(request: &Value) -> &[Value] {
    let containers = request["overrides"]["containerOverrides"].as_array();
    containers.map_or(&[], Vec::as_slice)
}

fn check(request: &Value) -> Result<(), Refusal> {
    let given = request.as_object().into_iter().flatten().map(|(name, _)| name);
    if let Some(other) = given.into_iter().find(|name| !PARAMETERS.contains(&name.as_str())) {
        return Err(Refusal::not_implemented(&format!("RunTask with {other}")));
    }
    if request["count"].as_u64().is_some_and(|count| count != 1) {
        return Err(Refusal::not_implemented("RunTask with a count"));
    }
    if request["overrides"].to_string().chars().count() > LONGEST_OVERRIDES {
        let message = format!("Container Overrides length must be at most {LONGEST_OVERRIDES}");
        return Err(Refusal::invalid(&message));
    }
    let subnets = request["networkConfiguration"]["awsvpcConfiguration"]["subnets"].as_array();
    match subnets {
        None => {
            return Err(Refusal::invalid(
                "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
            ));
        }
        Some(subnets) if subnets.is_empty() => return Err(Refusal::invalid("subnets can not be empty.")),
        Some(_) => {}
    }
    let is_token = |token: &str| token.len() <= 64 && token.bytes().all(|byte| (33..=126).contains(&byte));
    if text(request, "clientToken").is_some_and(|token| !is_token(token)) {
        return Err(Refusal::invalid(
            "clientToken is longer than 64 ASCII characters in the range of 33-126.",
        ));
    }
    // Source: the API reference, "RunTask", `startedBy`.
    let is_name = |name: &str| {
        name.len() <= 128
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte))
    };
    if text(request, "startedBy").is_some_and(|name| !is_name(name)) {
        return Err(Refusal::invalid("Invalid identifier: startedBy"));
    }
    Ok(())
}

pub(super) fn stop_task(shared: &Shared, request: &Value) -> Answer {
    let mut state = shared.lock();
    let cluster = state.cluster(request)?;
    let id = last(text(request, "task").unwrap_or_default()).to_owned();
    let known = state.tasks.get_mut(&id).filter(|task| task.cluster == cluster);
    let Some(task) = known else {
        return Err(Refusal::invalid("The referenced task was not found."));
    };
    if task.stopped.is_none() {
        task.desired_status = "STOPPED";
        task.stopping = Some(SystemTime::now());
        task.stopped_reason = Some(text(request, "reason").unwrap_or("Task stopped by user").to_owned());
        task.stop(Stop::Asked);
    }
    Ok(json!({ "task": task.document() }))
}

impl State {
    /// The name of the cluster that a request names.
    pub(super) fn cluster(&self, request: &Value) -> Result<String, Refusal> {
        let name = last(text(request, "cluster").unwrap_or("default"));
        let known = self.clusters.get(name);
        known
            .cloned()
            .ok_or_else(|| Refusal::client("ClusterNotFoundException", "Cluster not found."))
    }
}
