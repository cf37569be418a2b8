//! A task's life: from PROVISIONING, through the real process, to STOPPED.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::task::Task;
use super::{Shared, State};

/// Why a container is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// StopTask: SIGTERM, and SIGKILL after stopTimeout.
    Asked,
    /// Fargate takes the host away: the same, and nobody has asked for it.
    Retired,
    /// SIGKILL.
    OutOfMemory,
}

/// How a task ended: stopCode, and what goes with it.
struct End {
    stop_code: &'static str,
    stopped_reason: Option<String>,
    reason: Option<String>,
    exit_code: Option<i32>,
}

impl Shared {
    /// The whole life of a task. `never`: why it does not start.
    pub(super) async fn live(self: Arc<Self>, id: String, mut stops: UnboundedReceiver<Stop>, never: Option<String>) {
        self.change(&id, |task| task.last_status = "PENDING");
        let mut held = self.held.subscribe();
        tokio::select! {
            biased;
            _ = stops.recv() => {
                let end = End { stop_code: "UserInitiated", stopped_reason: None, reason: None, exit_code: None };
                return self.end(&id, end);
            }
            _ = held.wait_for(|held| !held) => {}
        }
        if let Some(reason) = never {
            let pull = reason.starts_with("CannotPull").then(|| reason.clone());
            let end = End {
                stop_code: "TaskFailedToStart",
                stopped_reason: Some(reason),
                reason: pull,
                exit_code: None,
            };
            return self.end(&id, end);
        }
        match self.launch(&id) {
            Ok(child) => self.attend(&id, child, stops).await,
            Err(error) => {
                let reason = format!("CannotStartContainerError: {error}");
                let end = End {
                    stop_code: "TaskFailedToStart",
                    stopped_reason: Some("Task failed to start".to_owned()),
                    reason: Some(reason),
                    exit_code: None,
                };
                self.end(&id, end);
            }
        }
    }

    /// Starts the process with the environment of its definition, secrets, override and platform, and nothing else.
    fn launch(&self, id: &str) -> io::Result<Child> {
        let (words, variables) = {
            let mut state = self.lock();
            let stream = state.task(id).stream();
            state.logs.open(&stream);
            let task = state.task(id);
            (
                command(task),
                environment(task, &state, &format!("http://{}/v4/{id}-1", self.address)),
            )
        };
        Command::new(&self.program)
            .args(words)
            .env_clear()
            .envs(variables)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    /// Listens to the container until its end, and ends it when it is asked to.
    async fn attend(&self, id: &str, mut child: Child, mut stops: UnboundedReceiver<Stop>) {
        let stdout = self.listen(id, child.stdout.take().expect("stdout is piped"));
        let stderr = self.listen(id, child.stderr.take().expect("stderr is piped"));
        self.change(id, |task| {
            task.last_status = "RUNNING";
            task.started = Some(SystemTime::now());
        });
        let asked = async {
            let (_, _, asked) = tokio::join!(stdout, stderr, async {
                tokio::select! {
                    biased;
                    status = child.wait() => (status, None),
                    Some(stop) = stops.recv() => (self.stop(id, &mut child, stop).await, Some(stop)),
                }
            });
            asked
        };
        let (status, stop) = asked.await;
        let status = status.expect("cannot wait for a container");
        let end = match stop {
            Some(Stop::Asked) => End {
                stop_code: "UserInitiated",
                stopped_reason: None,
                reason: None,
                exit_code: Some(exit_code(status)),
            },
            Some(Stop::Retired) => End {
                stop_code: "TerminationNotice",
                stopped_reason: Some(
                    "ECS is performing maintenance on the underlying infrastructure hosting the task.".to_owned(),
                ),
                reason: None,
                exit_code: Some(exit_code(status)),
            },
            stop => End {
                stop_code: "EssentialContainerExited",
                stopped_reason: Some("Essential container in task exited".to_owned()),
                reason: stop.map(|_| "OutOfMemoryError: Container killed due to memory usage".to_owned()),
                exit_code: Some(exit_code(status)),
            },
        };
        self.end(id, end);
    }

    async fn stop(&self, id: &str, child: &mut Child, stop: Stop) -> io::Result<ExitStatus> {
        if stop != Stop::OutOfMemory {
            let grace = {
                let state = self.lock();
                state.grace.unwrap_or(state.task(id).definition.stop_timeout)
            };
            terminate(child);
            if let Ok(status) = timeout(grace, child.wait()).await {
                return status;
            }
        }
        child.kill().await?;
        child.wait().await
    }

    /// Its lines become log events as they come. What is not UTF-8 is replaced, as awslogs does.
    async fn listen(&self, id: &str, from: impl AsyncRead + Unpin) {
        let stream = self.lock().task(id).stream();
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            self.lock().logs.say(&stream, text);
            line.clear();
        }
    }

    fn end(&self, id: &str, end: End) {
        self.change(id, |task| {
            let End {
                stop_code,
                stopped_reason,
                reason,
                exit_code,
            } = end;
            task.last_status = "STOPPED";
            task.desired_status = "STOPPED";
            task.stopping = task.stopping.or_else(|| Some(SystemTime::now()));
            task.stopped = Some(SystemTime::now());
            task.stop_code = Some(stop_code);
            task.stopped_reason = stopped_reason.or_else(|| task.stopped_reason.take());
            task.reason = reason;
            task.exit_code = exit_code;
        });
    }

    /// Changes the task; each change is an event.
    fn change(&self, id: &str, change: impl FnOnce(&mut Task)) {
        let mut state = self.lock();
        let Some(task) = state.tasks.get_mut(id) else {
            return;
        };
        change(task);
        task.version += 1;
        let event = task.event();
        state.events.push(event);
    }
}

fn terminate(child: &Child) {
    let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(id) = id {
        // It may have ended by itself in this moment.
        let _ = kill_process(id, Signal::TERM);
    }
}

/// 128 + the signal's number when a signal ended it, as containers count.
fn exit_code(status: ExitStatus) -> i32 {
    let signal = || 128 + status.signal().unwrap_or_default();
    status.code().unwrap_or_else(signal)
}

fn command(task: &Task) -> Vec<String> {
    let words = task.container_override()["command"].as_array();
    words.map_or_else(
        || task.definition.command.clone(),
        |words| words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    )
}

/// What stands further below wins. Fargate names the region and itself.
fn environment(task: &Task, state: &State, metadata: &str) -> BTreeMap<String, String> {
    let own = [
        ("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE"),
        ("AWS_REGION", super::REGION),
        ("AWS_DEFAULT_REGION", super::REGION),
        ("ECS_CONTAINER_METADATA_URI_V4", metadata),
    ];
    let mut variables: BTreeMap<String, String> = own
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    variables.extend(state.platform.iter().cloned());
    variables.extend(task.definition.environment.iter().cloned());
    variables.extend(task.definition.secrets.iter().cloned());
    let overridden = task.container_override()["environment"].as_array();
    for variable in overridden.into_iter().flatten() {
        if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    variables
}
