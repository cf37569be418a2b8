//! What a task came to: its own outcome, where it has told one; else what ECS knows of its end.

use super::clients::Clients;
use super::follow::Ending;
use super::place::Place;
use super::state::TaskState;
use crate::artifact::s3::{self, Address};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::{self, Outcome};
use crate::task::{Task, log_url};
use std::time::Duration;

/// The largest report that is read: a schema of tens of thousands of objects is some megabytes.
const LARGEST_REPORT: u64 = 256 << 20;

/// How often a report is looked for: it is there before the task ends, unless the task could not write it.
const LOOKS: u32 = 2;

/// The outcome of a task that has ended. `report` is the object that it was told to write; `own` is the outcome of this side, for where there is no other.
pub async fn outcome(
    ending: Ending,
    place: &Place,
    clients: &Clients,
    report: Option<&Address>,
    own: Outcome,
) -> Outcome {
    let reported = match report {
        Some(address) if ending.task.started || ending.forgotten => fetch(address).await,
        _ => None,
    };
    let task = task(&ending.task, place, &clients.region());
    settle(ending, reported, task, own)
}

/// The task in ECS's words, as the container tells it itself.
pub fn task(state: &TaskState, place: &Place, region: &str) -> Task {
    let name = state.definition.rsplit('/').next().unwrap_or_default();
    let (family, revision) = match name.split_once(':') {
        Some((family, revision)) => (Some(family), Some(revision)),
        None => (Some(name).filter(|name| !name.is_empty()), None),
    };
    let log = place
        .log
        .as_ref()
        .zip(place.stream(&state.arn))
        .filter(|_| state.started);
    let text = |text: Option<&str>| text.map(str::to_owned);
    Task {
        arn: state.arn.clone(),
        family: text(family),
        revision: text(revision),
        image_digest: state.image_digest.clone(),
        log_group: log.as_ref().map(|(log, _)| log.group.clone()),
        log_url: log
            .as_ref()
            .map(|(log, stream)| log_url(log.region.as_deref().unwrap_or(region), &log.group, stream)),
        log_stream: log.map(|(_, stream)| stream),
    }
}

async fn fetch(address: &Address) -> Option<Vec<u8>> {
    let mut reason = String::new();
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        match s3::whole(address, LARGEST_REPORT).await {
            Ok(document) => return Some(document),
            Err(error) => reason = error.to_string(),
        }
    }
    tracing::debug!(
        "the report s3://{}/{} was not to be had: {reason}",
        address.bucket,
        address.key
    );
    None
}

/// A pure function of what was seen: the report counts before the log, since no driver has cut or dropped anything of it; the exit code is ECS's, since a
/// report does not know of what came after it.
fn settle(ending: Ending, reported: Option<Vec<u8>>, task: Task, own: Outcome) -> Outcome {
    let logged = ending.log.outcome.as_deref().map(str::as_bytes);
    let mut unread = None;
    for document in [reported.as_deref(), logged].into_iter().flatten() {
        match outcome::read(document) {
            Ok(outcome) => return told(outcome, &ending, task),
            Err(error) => {
                unread = Some(format!(
                    "the task's outcome cannot be read, it may be a newer version's: {error}"
                ))
            }
        }
    }
    let mut own = own;
    own.warnings.extend(unread);
    own.warnings.extend(
        ending
            .log
            .trouble
            .as_ref()
            .map(|trouble| format!("the task's log cannot be read: {trouble}")),
    );
    let end = untold(&ending);
    if end == Ok(Exit::Success) {
        own.warnings
            .push("the task has told no outcome: all that is known is its exit code".to_owned());
    }
    own.task = Some(task);
    let took = Duration::from_millis(own.duration_ms);
    let ended_well = end == Ok(Exit::Success);
    own.end(end, took);
    if ended_well {
        own.result = "ended".into();
    }
    own
}

fn told(mut outcome: Outcome, ending: &Ending, task: Task) -> Outcome {
    // Its own words know more, where there are any.
    outcome.task.get_or_insert(task);
    match ending.task.exit_code {
        Some(code) if code == i32::from(outcome.exit_code.code()) => {}
        Some(code) => match Exit::of(code) {
            Some(exit @ Exit::Report) => {
                outcome.exit_code = exit;
                outcome
                    .warnings
                    .push("the outcome could not be delivered to all who wait for it: see the task's log".to_owned());
            }
            _ => outcome.warnings.push(format!(
                "the task told this outcome and then exited with {code} ({}): its own word counts",
                ending.task.words()
            )),
        },
        None if ending.forgotten => {}
        None => outcome.warnings.push(format!(
            "ECS knows no exit code of the task ({}): its own word counts",
            ending.task.words()
        )),
    }
    outcome
}

/// What is known of a task that has told nothing.
fn untold(ending: &Ending) -> Result<Exit, Failure> {
    let task = &ending.task;
    let look = "see its log, and run `prisma-migrate-task run -- status` to see where the database is";
    match task.exit_code {
        None if ending.forgotten => Err(Failure::new(
            Exit::Unknown,
            format!(
                "ECS does not know the task {} (any more: it forgets tasks about an hour after their end)",
                task.id()
            ),
            look,
        )
        .state("not known")),
        None if !task.started => Err(never_started(task)),
        None => Err(Failure::new(
            Exit::Unknown,
            format!("the task {} stopped without an exit code: {}", task.id(), task.words()),
            look,
        )
        .state(UNDECIDED)),
        Some(0) => Ok(Exit::Success),
        Some(137) => Err(killed(task)),
        Some(code) => match Exit::of(code).filter(|exit| exit.code() < Exit::NeverStarted.code()) {
            Some(exit) => Err(Failure::new(
                exit,
                format!("the task {} exited with {code}: {}", task.id(), exit.meaning()),
                look,
            )
            .state("as the exit code says; the task has told no more")),
            None => Err(Failure::new(
                Exit::Unknown,
                format!(
                    "the task {} exited with {code}, which is no exit code of this program: {}",
                    task.id(),
                    task.words()
                ),
                "see that --container is this program's container, and see its log",
            )
            .state("not known")),
        },
    }
}

const UNDECIDED: &str = "not known to this side; what the running migration left can be decided: the ledger knows";

fn killed(task: &TaskState) -> Failure {
    let next = if task.words().contains("OutOfMemory") {
        "give the task more memory (memoryLimitMiB), and start again: it goes on where it stopped"
    } else {
        "see whether it ran out of memory or its host was taken away, and start again: it goes on where it stopped"
    };
    Failure::new(
        Exit::Unknown,
        format!(
            "the task {} was killed (SIGKILL, exit code 137): {}",
            task.id(),
            task.words()
        ),
        next,
    )
    .state(UNDECIDED)
}

fn never_started(task: &TaskState) -> Failure {
    let words = task.words();
    let next = CHECKS
        .iter()
        .find(|(kind, _)| words.contains(kind))
        .map_or("see what ECS says, and start again", |(_, check)| *check);
    Failure::new(
        Exit::NeverStarted,
        format!("the task {} never started: {words}", task.id()),
        next,
    )
}

/// What to check, by what ECS says; the first that is found counts. Source: the ECS developer guide, "Amazon ECS stopped tasks error messages".
const CHECKS: &[(&str, &str)] = &[
    (
        "CannotPullContainerError",
        "check that the image exists (repository, digest, architecture), that the execution role may pull it, and that the subnet has a way to the \
         registry: NAT, or endpoints for ecr.api, ecr.dkr and S3; a public subnet needs --assign-public-ip",
    ),
    (
        "unable to pull secrets",
        "check that the secret or parameter exists, that the execution role may read it (and kms:Decrypt), and that the subnet has a way to Secrets \
         Manager or SSM: NAT or endpoints",
    ),
    (
        "logging driver",
        "check that the log group exists, that the execution role may write to it, and that the subnet has a way to CloudWatch Logs: NAT or an endpoint",
    ),
    (
        "ResourceInitializationError",
        "check the secret, the execution role, and that the subnet has a way to ECR, Secrets Manager and CloudWatch Logs: NAT or endpoints, and a \
         security group that lets port 443 out",
    ),
    (
        "CannotStartContainerError",
        "check the task definition's command, user and mount points",
    ),
    (
        "CannotCreateVolumeError",
        "check the task definition's volumes, and the way to them",
    ),
    (
        "network interface",
        "start again: the network interface was not ready in time; check that the subnet has free addresses",
    ),
    (
        "apacity",
        "start again later, or with subnets in other availability zones: there was no capacity",
    ),
    ("SpotInterruption", "start again: a Spot task's host was taken away"),
    (
        "UserInitiated",
        "somebody stopped it before it began: ask who, and start again",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::log_stream::Log;

    fn ending(task: TaskState) -> Ending {
        Ending {
            task,
            forgotten: false,
            log: Log::default(),
        }
    }

    fn stopped(started: bool, exit_code: Option<i32>, words: &str) -> TaskState {
        TaskState {
            arn: "arn:aws:ecs:eu-west-1:1:task/c/0123".into(),
            status: "STOPPED".into(),
            started,
            exit_code,
            stopped_reason: Some(words.to_owned()),
            ..TaskState::default()
        }
    }

    fn settled(ending: Ending) -> Outcome {
        let task = task(&ending.task, &Place::default(), "eu-west-1");
        settle(ending, None, task, Outcome::new("run", "id".into()))
    }

    #[test]
    fn without_an_outcome_ecs_has_the_word() {
        let table = [
            (stopped(true, Some(0), ""), 0, "", ""),
            (stopped(true, Some(20), ""), 20, "rolled back", "status"),
            (stopped(true, Some(50), ""), 50, "unreachable", "status"),
            (
                stopped(true, Some(137), "OutOfMemoryError"),
                81,
                "SIGKILL",
                "more memory",
            ),
            (stopped(true, Some(137), "host"), 81, "SIGKILL", "where it stopped"),
            (
                stopped(true, Some(255), "sidecar"),
                81,
                "no exit code of this program",
                "--container",
            ),
            (stopped(true, Some(81), ""), 81, "no exit code of this program", ""),
            (stopped(true, None, "gone"), 81, "without an exit code: gone", ""),
            (
                stopped(false, None, "CannotPullContainerError: x"),
                80,
                "never started",
                "image exists",
            ),
            (
                stopped(
                    false,
                    None,
                    "ResourceInitializationError: unable to pull secrets or registry auth: x",
                ),
                80,
                "unable to pull secrets",
                "Secrets Manager or SSM",
            ),
            (
                stopped(false, None, "Capacity is unavailable at this time"),
                80,
                "Capacity",
                "zones",
            ),
            (
                stopped(false, None, "something new"),
                80,
                "something new",
                "see what ECS says",
            ),
        ];
        for (state, code, what, next) in table {
            let outcome = settled(ending(state.clone()));
            assert_eq!(outcome.exit_code.code(), code, "{state:?}");
            let failure = outcome.failure.as_ref();
            assert_eq!(failure.is_some(), code != 0);
            if let Some(failure) = failure {
                assert!(failure.what.contains(what) && failure.next.contains(next), "{failure}");
            }
        }
        assert_eq!(settled(ending(stopped(true, Some(0), ""))).result, "ended");
    }

    fn document(exit: u8) -> Vec<u8> {
        let mut outcome = Outcome::new("deploy", "run".into());
        outcome.end(Ok(Exit::of(exit.into()).unwrap()), Duration::ZERO);
        serde_json::to_vec(&outcome).unwrap()
    }

    #[test]
    fn the_tasks_own_word_counts_and_ecs_has_the_exit_code() {
        let table = [
            (0, Some(0), 0, 0),
            (0, Some(70), 70, 1),
            (20, Some(137), 20, 1),
            (10, None, 10, 1),
        ];
        for (told, exited, exit, warnings) in table {
            let ending = ending(stopped(true, exited, "x"));
            let task = task(&ending.task, &Place::default(), "eu-west-1");
            let outcome = settle(ending, Some(document(told)), task, Outcome::new("run", "id".into()));
            assert_eq!(
                (outcome.exit_code.code(), outcome.warnings.len()),
                (exit, warnings),
                "{told} {exited:?}"
            );
            assert_eq!((&*outcome.verb, outcome.run_id.as_str()), ("deploy", "run"));
        }
    }

    #[test]
    fn an_outcome_that_cannot_be_read_leaves_the_exit_code_in_force() {
        let mut ending = ending(stopped(true, Some(20), ""));
        let text = String::from_utf8(document(20)).unwrap();
        ending.log.outcome = Some(text.replace("\"version\":1", "\"version\":2"));
        let outcome = settled(ending);
        assert_eq!((outcome.exit_code, &*outcome.verb), (Exit::RolledBack, "run"));
        assert!(outcome.warnings[0].contains("version 2"), "{:?}", outcome.warnings);
    }

    #[test]
    fn fields_of_a_newer_version_are_passed_over() {
        let mut ending = ending(stopped(true, Some(0), ""));
        let text = String::from_utf8(document(0)).unwrap();
        ending.log.outcome = Some(text.replacen('{', "{\"new\":[1],", 1));
        assert_eq!(&*settled(ending).verb, "deploy");
    }
}
