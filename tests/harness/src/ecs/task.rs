//! One task: its life, and how ECS shows it.

use std::time::SystemTime;

use s3s::dto::{Timestamp, TimestampFormat};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::container::Stop;
use super::definition::{self, AGENT, Definition, IMAGE};
use super::{ACCOUNT, REGION};

/// A task that was started, or was to be.
#[derive(Debug)]
pub(super) struct Task {
    /// The first is 0.
    pub number: usize,
    pub id: String,
    pub arn: String,
    pub cluster: String,
    pub definition: Definition,
    pub revision: usize,
    /// RunTask's request.
    pub request: Value,
    pub last_status: &'static str,
    pub desired_status: &'static str,
    pub created: SystemTime,
    pub started: Option<SystemTime>,
    pub stopping: Option<SystemTime>,
    pub stopped: Option<SystemTime>,
    pub stop_code: Option<&'static str>,
    pub stopped_reason: Option<String>,
    /// The container's, which is absent where it never started.
    pub exit_code: Option<i32>,
    /// The container's.
    pub reason: Option<String>,
    /// Each change has a number, in events.
    pub version: usize,
    pub stops: UnboundedSender<Stop>,
}

/// How a timestamp is written.
type Time = fn(SystemTime) -> Value;

impl Task {
    /// The stream of its container's log: group and name.
    pub fn stream(&self) -> (String, String) {
        let Definition {
            log_group,
            stream_prefix,
            container,
            ..
        } = &self.definition;
        (log_group.clone(), format!("{stream_prefix}/{container}/{}", self.id))
    }

    /// Asks the container to end. A task that has stopped does not hear of it.
    pub fn stop(&self, how: Stop) {
        let _ = self.stops.send(how);
    }

    /// The override of its container, or null.
    pub fn container_override(&self) -> &Value {
        let overrides = self.request["overrides"]["containerOverrides"].as_array();
        let mut of = overrides.into_iter().flatten();
        of.find(|one| one["name"] == self.definition.container.as_str())
            .unwrap_or(&Value::Null)
    }

    /// As DescribeTasks shows it: times in seconds since 1970.
    pub fn document(&self) -> Value {
        self.shown(seconds)
    }

    /// The detail of an "ECS Task State Change" event: times by ISO 8601.
    pub fn event(&self) -> Value {
        let mut detail = self.shown(iso);
        detail["version"] = json!(self.version);
        detail["updatedAt"] = iso(SystemTime::now());
        json!({
            "version": "0",
            "id": uuid::Uuid::new_v4().to_string(),
            "detail-type": "ECS Task State Change",
            "source": "aws.ecs",
            "account": ACCOUNT,
            "time": iso(SystemTime::now()),
            "region": REGION,
            "resources": [self.arn],
            "detail": detail,
        })
    }

    fn shown(&self, time: Time) -> Value {
        let mut shown = json!({
            "taskArn": self.arn,
            "clusterArn": cluster_arn(&self.cluster),
            "taskDefinitionArn": definition::arn(&self.definition.family, self.revision),
            "group": self.request["group"].as_str().map_or_else(|| format!("family:{}", self.definition.family), str::to_owned),
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "cpu": "256",
            "memory": "512",
            "availabilityZone": format!("{REGION}a"),
            "attachments": [],
            "attributes": [{ "name": "ecs.cpu-architecture", "value": "arm64" }],
            "lastStatus": self.last_status,
            "desiredStatus": self.desired_status,
            "containers": self.containers(),
            "overrides": self.overrides(),
            "createdAt": time(self.created),
        });
        let times = [
            ("startedAt", self.started),
            ("stoppingAt", self.stopping),
            ("stoppedAt", self.stopped),
        ];
        for (name, at) in times {
            if let Some(at) = at {
                shown[name] = time(at);
            }
        }
        let texts = [
            ("startedBy", self.request["startedBy"].as_str()),
            ("stopCode", self.stop_code),
            ("stoppedReason", self.stopped_reason.as_deref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                shown[name] = text.into();
            }
        }
        shown
    }

    /// What the request overrides. ECS lists each container of the task, whether something of it is overridden or not, and promises no order.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html>, whose events list a container without any override.
    fn overrides(&self) -> Value {
        let mut shown = self.request["overrides"].clone();
        if !shown.is_object() {
            shown = json!({});
        }
        let asked = shown["containerOverrides"].as_array().cloned().unwrap_or_default();
        let own = json!({ "name": self.definition.container });
        let agent = json!({ "name": AGENT });
        let mut all = if self.definition.has_agent {
            vec![agent]
        } else {
            Vec::new()
        };
        let is_of = |container: &Value, name: &str| container["name"] == name;
        all.retain(|one| !asked.iter().any(|asked| asked["name"] == one["name"]));
        if !asked.iter().any(|one| is_of(one, &self.definition.container)) {
            all.push(own);
        }
        all.extend(asked);
        shown["containerOverrides"] = all.into();
        shown
    }

    fn containers(&self) -> Value {
        let is_over = self.last_status == "STOPPED" || self.exit_code.is_some();
        let status = if is_over { "STOPPED" } else { self.last_status };
        let one = |name: &str, image: &str, exit_code: Option<i32>, reason: Option<&str>| {
            let mut container = json!({
                "containerArn": format!("arn:aws:ecs:{REGION}:{ACCOUNT}:container/{}/{}/{name}", self.cluster, self.id),
                "taskArn": self.arn,
                "name": name,
                "image": image,
                "lastStatus": status,
                "networkInterfaces": [],
                "cpu": "0",
            });
            if let Some(code) = exit_code {
                container["exitCode"] = code.into();
            }
            if let Some(reason) = reason {
                container["reason"] = reason.into();
            }
            container
        };
        let ours = one(
            &self.definition.container,
            IMAGE,
            self.exit_code,
            self.reason.as_deref(),
        );
        if !self.definition.has_agent {
            return json!([ours]);
        }
        let agent = one(AGENT, "aws-guardduty-agent-fargate", self.exit_code.map(|_| 0), None);
        json!([agent, ours])
    }

    /// What the metadata endpoint says to its container: of the container itself, or of the whole task.
    pub fn metadata(&self, of_task: bool) -> Value {
        let (group, stream) = self.stream();
        let container = json!({
            "DockerId": format!("{}-1", self.id),
            "Name": self.definition.container,
            "DockerName": self.definition.container,
            "Image": IMAGE,
            "ImageID": IMAGE.split_once('@').map(|(_, digest)| digest),
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "LogDriver": "awslogs",
            "LogOptions": { "awslogs-group": group, "awslogs-region": REGION, "awslogs-stream": stream },
        });
        if !of_task {
            return container;
        }
        json!({
            "Cluster": cluster_arn(&self.cluster),
            "TaskARN": self.arn,
            "Family": self.definition.family,
            "Revision": self.revision.to_string(),
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "LaunchType": "FARGATE",
            "Containers": [container],
        })
    }
}

fn seconds(at: SystemTime) -> Value {
    json!(milliseconds(at) as f64 / 1000.0)
}

fn iso(at: SystemTime) -> Value {
    let mut text = Vec::new();
    Timestamp::from(at)
        .format(TimestampFormat::DateTime, &mut text)
        .expect("a time of today can be written");
    String::from_utf8(text).expect("a time is written in ASCII").into()
}

/// Since 1970.
pub(super) fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("a clock behind 1970");
    u64::try_from(since.as_millis()).expect("a clock of this age")
}

/// What comes last in an ARN: the id of a task, the name of a cluster.
pub(super) fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

pub(super) fn cluster_arn(name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}")
}

pub(super) fn task_arn(cluster: &str, id: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster}/{id}")
}
