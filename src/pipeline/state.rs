//! A task as ECS describes it, in plain values.

use super::place::task_id;
use aws_sdk_ecs::types;

/// What is to be known of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskState {
    /// Its ARN.
    pub arn: String,
    /// Its task definition's ARN.
    pub definition: String,
    /// Such as PENDING, RUNNING, STOPPED.
    pub status: String,
    /// Whether its containers were started.
    pub started: bool,
    /// Such as TaskFailedToStart or EssentialContainerExited.
    pub stop_code: Option<String>,
    /// Why it stopped, in ECS's words.
    pub stopped_reason: Option<String>,
    /// Of our container: what it exited with.
    pub exit_code: Option<i32>,
    /// Of our container: what else ECS says of its end.
    pub reason: Option<String>,
    /// Of our container: the digest of its image.
    pub image_digest: Option<String>,
}

impl TaskState {
    /// Reads what ECS says; `container` is ours.
    pub(super) fn of(task: &types::Task, container: &str) -> TaskState {
        let ours = task.containers().iter().find(|of| of.name() == Some(container));
        let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        TaskState {
            arn: task.task_arn().unwrap_or_default().to_owned(),
            definition: task.task_definition_arn().unwrap_or_default().to_owned(),
            status: task.last_status().unwrap_or_default().to_owned(),
            started: task.started_at().is_some(),
            stop_code: text(task.stop_code().map(types::TaskStopCode::as_str)),
            stopped_reason: text(task.stopped_reason()),
            exit_code: ours.and_then(types::Container::exit_code),
            reason: text(ours.and_then(types::Container::reason)),
            image_digest: text(ours.and_then(types::Container::image_digest)),
        }
    }

    /// Whether it has come to its end.
    pub fn is_over(&self) -> bool {
        self.status == "STOPPED"
    }

    /// The last part of its ARN, as people and consoles name it.
    pub fn id(&self) -> &str {
        task_id(&self.arn)
    }

    /// What ECS says of its end, on one line.
    pub fn words(&self) -> String {
        let words = [&self.stop_code, &self.stopped_reason, &self.reason];
        let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
        if words.is_empty() {
            "ECS gives no reason".to_owned()
        } else {
            words.join(": ")
        }
    }
}
