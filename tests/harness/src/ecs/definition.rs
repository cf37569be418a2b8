//! A task definition: what RunTask starts.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ACCOUNT, REGION};
use crate::postgres::Database;

/// A task definition of Fargate with one essential container, its secrets resolved already.
#[derive(Clone, Debug)]
pub struct Definition {
    pub(super) family: String,
    pub(super) container: String,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) secrets: Vec<(String, String)>,
    pub(super) log_group: String,
    pub(super) stream_prefix: String,
    pub(super) stop_timeout: Duration,
    pub(super) has_agent: bool,
    pub(super) tags: Vec<(String, String)>,
    /// What must not turn up in a log.
    pub(super) hushed: Vec<String>,
}

/// The agent that GuardDuty's runtime monitoring adds to the tasks of an account, as a container that no definition names.
pub(super) const AGENT: &str = "aws-guardduty-agent-x1y2z3";

impl Definition {
    /// A definition of this family: container `migrate`, no command, no variables, log group `/ecs/<family>`, 30 seconds to stop.
    pub fn new(family: &str) -> Definition {
        Definition {
            family: family.to_owned(),
            container: "migrate".to_owned(),
            command: Vec::new(),
            environment: Vec::new(),
            secrets: Vec::new(),
            log_group: format!("/ecs/{family}"),
            stream_prefix: "ecs".to_owned(),
            stop_timeout: Duration::from_secs(30),
            has_agent: true,
            tags: Vec::new(),
            hushed: Vec::new(),
        }
    }

    /// The container's name.
    pub fn container(mut self, name: &str) -> Definition {
        name.clone_into(&mut self.container);
        self
    }

    /// The container's command, which an override replaces.
    pub fn command<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Definition {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Definition {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a variable from Secrets Manager or SSM, whose value ECS has fetched.
    pub fn secret(mut self, name: &str, value: impl Into<String>) -> Definition {
        self.secrets.push((name.to_owned(), value.into()));
        self
    }

    /// Another text that must not turn up in a log.
    pub fn hush(mut self, text: &str) -> Definition {
        self.hushed.push(text.to_owned());
        self
    }

    /// The database as ECS injects it from the secret of RDS; nothing of its password may turn up in a log.
    pub fn database(self, database: &Database) -> Definition {
        let mut definition = self
            .env("DB_HOST", database.host())
            .env("DB_PORT", database.port().to_string())
            .env("DB_NAME", database.name())
            .secret("DB_USERNAME", database.user())
            .secret("DB_PASSWORD", database.password());
        definition.hushed.extend(database.secrets().iter().cloned());
        definition
    }

    /// Where the log goes: `<prefix>/<container>/<task id>` in this group.
    pub fn log(mut self, group: &str, stream_prefix: &str) -> Definition {
        group.clone_into(&mut self.log_group);
        stream_prefix.clone_into(&mut self.stream_prefix);
        self
    }

    /// stopTimeout, in whole seconds.
    pub fn stop_timeout(mut self, grace: Duration) -> Definition {
        self.stop_timeout = grace;
        self
    }

    /// A tag of this revision.
    pub fn tag(mut self, key: &str, value: &str) -> Definition {
        self.tags.push((key.to_owned(), value.to_owned()));
        self
    }

    /// As in an account without GuardDuty's runtime monitoring: the task has the container of its definition, and no other. With the agent, which is as AWS
    /// does it, another container comes first in all that ECS lists of a task.
    pub fn without_agent(mut self) -> Definition {
        self.has_agent = false;
        self
    }

    /// As DescribeTaskDefinition shows it.
    pub(super) fn document(&self, revision: usize) -> Value {
        let variables: Vec<Value> = self
            .environment
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        let secrets: Vec<Value> = self
            .secrets
            .iter()
            .map(|(name, _)| json!({ "name": name, "valueFrom": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{}/{name}", self.family) }))
            .collect();
        let mut container = json!({
            "name": self.container,
            "image": IMAGE,
            "cpu": 0,
            "essential": true,
            "readonlyRootFilesystem": true,
            "stopTimeout": self.stop_timeout.as_secs(),
            "environment": variables,
            "secrets": secrets,
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": { "awslogs-group": self.log_group, "awslogs-region": REGION, "awslogs-stream-prefix": self.stream_prefix },
            },
        });
        if !self.command.is_empty() {
            container["command"] = json!(self.command);
        }
        json!({
            "taskDefinitionArn": arn(&self.family, revision),
            "family": self.family,
            "revision": revision,
            "status": "ACTIVE",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "containerDefinitions": [container],
        })
    }
}

/// The image of every container.
pub(super) const IMAGE: &str = "example.com/prisma-migrate-task@sha256:\
    5f0d3c2f8e1b4a6d9c7e2f1a3b5d7c9e0f2a4b6c8d0e1f3a5b7c9d1e3f5a7b9c";

/// `family:revision`, as an ARN.
pub(super) fn arn(family: &str, revision: usize) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:{revision}")
}

impl super::State {
    /// A definition by its family (the newest revision), `family:revision` or ARN; with its revision.
    pub(super) fn definition(&self, name: &str) -> Option<(&Definition, usize)> {
        let name = name.rsplit('/').next()?;
        let (family, revision) = name
            .split_once(':')
            .map_or((name, None), |(family, revision)| (family, Some(revision)));
        let revisions = self.definitions.get(family)?;
        let revision = match revision {
            None => revisions.len(),
            Some(revision) => revision.parse().ok()?,
        };
        Some((revisions.get(revision.checked_sub(1)?)?, revision))
    }
}
