//! Following a task until it has stopped and its log has been read to the end.

use super::clients::Clients;
use super::log_stream::{self, Log};
use super::patience::{Patience, Refused, Request, insist};
use super::place::Place;
use super::state::TaskState;
use crate::live;
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// The pauses between two looks at a task: short while it is young, so that a short run is over when it is over.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long ECS may not know a task that it has just started, and one that it knew: its answers are eventually consistent.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
const FORGOTTEN_FOR: Duration = Duration::from_secs(5);

/// How often something is said where nothing else is: pipelines end what is silent for ten minutes.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// How a task ended.
#[derive(Debug)]
pub struct Ending {
    /// As ECS described it last.
    pub task: TaskState,
    /// Whether ECS knows it no more, which it forgets about an hour after its end.
    pub forgotten: bool,
    /// What was found in its log.
    pub log: Log,
}

impl Ending {
    /// Whether its container never ran, and nobody has stopped it.
    pub fn never_ran(&self) -> bool {
        let task = &self.task;
        let is_asked = task.stop_code.as_deref() == Some("UserInitiated");
        !self.forgotten && !task.started && task.exit_code.is_none() && !is_asked
    }
}

/// Where lines of the task go that are neither its log nor its outcome: the rows of `execute`.
pub type Rows<'a> = &'a dyn Fn(&str);

/// Follows a task to its end, however long that takes.
///
/// # Errors
/// ECS will not say what becomes of it; the task goes on.
pub async fn follow(clients: &Clients, place: &Place, task_arn: &str, rows: Rows<'_>) -> Result<Ending, Refused> {
    let (over, is_over) = watch::channel(None);
    let seen = Seen {
        task: RefCell::default(),
        spoke: Cell::new(Instant::now()),
        began: Instant::now(),
    };
    let watched = async {
        let watched = watch_task(clients, place, task_arn, &seen).await;
        let started = watched
            .as_ref()
            .is_ok_and(|(task, forgotten)| task.started || *forgotten);
        // The log's reader may have given up.
        let _ = over.send(Some(started));
        watched
    };
    let spoke = || seen.spoke.set(Instant::now());
    let log = log_stream::read(clients, place, task_arn, is_over, &spoke, rows);
    let followed = async { tokio::join!(watched, log) };
    let (watched, log) = tokio::select! {
        followed = followed => followed,
        () = speak(&seen, task_arn) => unreachable!("it speaks for ever"),
    };
    live::clear();
    let (task, forgotten) = watched?;
    Ok(Ending { task, forgotten, log })
}

struct Seen {
    task: RefCell<TaskState>,
    /// When something was last said.
    spoke: Cell<Instant>,
    began: Instant,
}

/// Looks at the task until it has stopped, or ECS has forgotten it.
async fn watch_task(
    clients: &Clients,
    place: &Place,
    task_arn: &str,
    seen: &Seen,
) -> Result<(TaskState, bool), Refused> {
    let request = Request {
        action: "ecs:DescribeTasks",
        on: task_arn,
    };
    let mut pause = FIRST_PAUSE;
    let mut last_known = Instant::now();
    loop {
        let answer = insist(clients, request, Patience::Endless, async || {
            let request = clients.ecs().describe_tasks().cluster(&place.cluster);
            request.tasks(task_arn).send().await
        });
        let answer = answer.await?;
        match answer.tasks().first() {
            Some(task) => {
                let state = TaskState::of(task, &place.container);
                last_known = Instant::now();
                seen.has(&state);
                if state.is_over() {
                    return Ok((state, false));
                }
            }
            None => {
                let mut known = seen.task.borrow().clone();
                let patience = match known.status.is_empty() {
                    true => UNKNOWN_FOR,
                    false => FORGOTTEN_FOR,
                };
                if last_known.elapsed() > patience {
                    known.arn = task_arn.to_owned();
                    return Ok((known, true));
                }
            }
        }
        sleep(pause).await;
        pause = pause.mul_f64(1.25).min(LONGEST_PAUSE);
    }
}

impl Seen {
    fn has(&self, state: &TaskState) {
        let before = self.task.replace(state.clone()).status;
        if before != state.status && !state.is_over() {
            tracing::info!("task {}: {}", state.id(), state.status);
            self.spoke.set(Instant::now());
        }
    }
}

/// Says that it goes on: as the last line of a terminal, or as a line once in a while.
async fn speak(seen: &Seen, task_arn: &str) {
    let id = super::place::task_id(task_arn);
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let status = seen.task.borrow().status.clone();
        if status.is_empty() {
            continue;
        }
        let since = Duration::from_secs(seen.began.elapsed().as_secs());
        let text = format!(
            "task {id}: {status}, followed for {}",
            humantime::format_duration(since)
        );
        if live::is_shown() {
            live::show(text, 0, 0);
        } else if seen.spoke.get().elapsed() >= SAY_EVERY {
            tracing::info!("{text}");
            seen.spoke.set(Instant::now());
        }
    }
}
