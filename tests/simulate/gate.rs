//! A stack that waits for its migrations: CloudFormation asks the gate's function, which starts the task, which answers.

use harness::endpoint::Endpoint;
use harness::history::History;
use serde_json::{Value, json};

use crate::cloud::moto;
use crate::site::{Site, bad, good};
use crate::starter::invoke;

/// What makes a presigned URL a secret.
const SIGNATURE: &str = "X-Amz-Signature=qzhushhushxk";

/// A site, its gate, and the bucket behind CloudFormation's presigned URLs.
struct Gate {
    site: Site,
    bucket: Endpoint,
    /// What CloudFormation asked when the stack was made.
    asked: Value,
    /// The function.
    arn: String,
}

impl Gate {
    fn of(site: Site) -> Gate {
        let asked = site.stack.gate();
        let arn = asked["ServiceToken"].as_str().unwrap().to_owned();
        site.ecs.secret(SIGNATURE);
        Gate {
            site,
            bucket: Endpoint::start(),
            asked,
            arn,
        }
    }

    fn request(&self, kind: &str) -> Value {
        let mut request = self.asked.clone();
        request["RequestType"] = kind.into();
        request["RequestId"] = uuid::Uuid::new_v4().to_string().into();
        request["ResponseURL"] = self.bucket.url(&format!("/response?{SIGNATURE}")).into();
        if kind != "Create" {
            request["PhysicalResourceId"] = request["LogicalResourceId"].clone();
        }
        request
    }

    /// CloudFormation asks, while the stack is in this status; the tasks that this started.
    fn ask(&self, request: &Value, status: &str) -> Vec<String> {
        moto().set_status(&self.site.stack.id, status);
        let before = self.site.ecs.tasks();
        invoke(&self.site, &self.site.stack, &self.arn, request);
        let tasks = self.site.ecs.tasks();
        tasks.into_iter().filter(|task| !before.contains(task)).collect()
    }

    /// The same, where one task is started.
    fn start(&self, kind: &str) -> (Value, String) {
        let request = self.request(kind);
        let mut tasks = self.ask(&request, "UPDATE_IN_PROGRESS");
        assert_eq!(tasks.len(), 1, "{:?}", self.answers());
        (request, tasks.remove(0))
    }

    /// EventBridge tells the function of a task that has stopped, where the stack's rule says so.
    fn tell(&self, task: &str) -> bool {
        let event = self.site.ecs.stopped_event(task);
        let rules = self.site.stack.rules("lambda");
        assert_eq!(rules.len(), 1);
        let matches = rules[0].matches(&event);
        if matches {
            assert_eq!(rules[0].target["Arn"], self.asked["ServiceToken"]);
            invoke(&self.site, &self.site.stack, &self.arn, &event);
        }
        matches
    }

    fn answers(&self) -> Vec<Value> {
        let requests = self.bucket.requests();
        assert!(requests.iter().all(|request| request.method == "PUT"), "{requests:?}");
        let bodies = requests
            .iter()
            .map(|request| serde_json::from_str(&request.body).unwrap());
        bodies.collect()
    }

    /// The one answer so far: that it is for this request, its status and its reason.
    #[track_caller]
    fn answer(&self, request: &Value) -> (String, String) {
        let answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:#?}");
        for id in ["StackId", "RequestId", "LogicalResourceId"] {
            assert_eq!(answers[0][id], request[id], "{answers:#?}");
        }
        assert_eq!(answers[0]["PhysicalResourceId"], request["LogicalResourceId"]);
        let text = |name: &str| answers[0][name].as_str().unwrap().to_owned();
        (text("Status"), text("Reason"))
    }
}

/// The gate's last task has applied everything, and CloudFormation has heard so.
#[track_caller]
fn succeeds(gate: &Gate, task: &str, request: &Value) {
    assert_eq!(gate.site.exit_code(task), Some(0), "{}", gate.site.ecs.log(task));
    assert_eq!(gate.answer(request).0, "SUCCESS");
}

#[test]
fn a_stack_goes_on_when_its_migrations_are_in() {
    let gate = Gate::of(Site::versioned());
    gate.site.upload(&good());
    let (request, task) = gate.start("Create");
    assert_eq!(gate.site.exit_code(&task), Some(0), "{}", gate.site.ecs.log(&task));
    assert_eq!(gate.site.applied().len(), 1);
    assert_eq!(gate.answer(&request).0, "SUCCESS");
    let properties = &request["ResourceProperties"];
    let asked: Value = serde_json::from_str(properties["Task"].as_str().unwrap()).unwrap();
    let sent = &gate.site.ecs.requests("RunTask")[0];
    for name in ["cluster", "taskDefinition", "startedBy", "networkConfiguration"] {
        assert_eq!(sent[name], asked[name], "{name}");
    }
    // It has answered by itself; CloudFormation ignores what the function says after it, which is the same.
    assert!(gate.tell(&task));
    assert_eq!(gate.answers()[1]["Status"], "SUCCESS");

    // The next deploy runs it again; the physical id stays, so that nothing is replaced.
    let (request, task) = gate.start("Update");
    assert_eq!(gate.site.exit_code(&task), Some(0));
    let last = gate.answers().pop().unwrap();
    assert_eq!(
        (&last["Status"], &last["PhysicalResourceId"]),
        (&json!("SUCCESS"), &request["LogicalResourceId"])
    );
}

#[test]
fn a_migration_that_fails_fails_the_stack_which_rolls_back_without_another() {
    let gate = Gate::of(Site::versioned());
    gate.site.upload(&bad());
    let (request, task) = gate.start("Update");
    assert_eq!(gate.site.exit_code(&task), Some(20));
    let (status, reason) = gate.answer(&request);
    assert_eq!(status, "FAILED");
    for part in [
        "P3018",
        "20240101000000_init",
        "SQLSTATE 42703",
        "migration.sql:2:8",
        "everything of this migration was rolled back",
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/",
        task.rsplit('/').next().unwrap(),
    ] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
    // CloudFormation takes the resource back to its old properties.
    let rollback = gate.request("Update");
    assert_eq!(gate.ask(&rollback, "UPDATE_ROLLBACK_IN_PROGRESS"), Vec::<String>::new());
    let last = gate.answers().pop().unwrap();
    assert_eq!(
        (&last["Status"], &last["RequestId"]),
        (&json!("SUCCESS"), &rollback["RequestId"])
    );
    assert_eq!(
        gate.site
            .database
            .scalar("SELECT count(*) FROM pg_tables WHERE tablename = 'a'"),
        "0"
    );
}

#[test]
fn a_stack_that_goes_migrates_nothing() {
    let gate = Gate::of(Site::versioned());
    gate.site.upload(&good());
    let request = gate.request("Delete");
    assert_eq!(gate.ask(&request, "DELETE_IN_PROGRESS"), Vec::<String>::new());
    assert_eq!(gate.answer(&request).0, "SUCCESS");
    assert!(!gate.site.database.has_ledger());
}

#[test]
fn a_request_that_comes_twice_starts_one_task() {
    let gate = Gate::of(Site::versioned());
    gate.site.upload(&good());
    let request = gate.request("Update");
    assert_eq!(gate.ask(&request, "UPDATE_IN_PROGRESS").len(), 1);
    assert_eq!(gate.ask(&request, "UPDATE_IN_PROGRESS"), Vec::<String>::new());
    gate.site.ecs.stopped(&gate.site.ecs.tasks()[0]);
    assert_eq!(gate.answer(&request).0, "SUCCESS");
}

#[test]
fn what_ecs_does_not_place_fails_the_stack() {
    let gate = Gate::of(Site::versioned());
    gate.site.upload(&good());
    for _ in 0..5 {
        gate.site.ecs.refuses("RESOURCE:MEMORY", "no room");
    }
    let request = gate.request("Create");
    assert_eq!(gate.ask(&request, "CREATE_IN_PROGRESS"), Vec::<String>::new());
    let (status, reason) = gate.answer(&request);
    assert_eq!(status, "FAILED");
    assert!(
        reason.contains("RESOURCE:MEMORY") && reason.contains("no room"),
        "{reason}"
    );
}

#[test]
fn a_task_that_never_starts_is_answered_for() {
    let gate = Gate::of(Site::versioned());
    gate.site.upload(&good());
    for _ in 0..4 {
        gate.site
            .ecs
            .never_starts("CannotPullContainerError: pull image manifest has been retried 7 time(s)");
    }
    let (request, mut task) = gate.start("Create");
    // It is started again, three times at most.
    for tries in 2..=4 {
        gate.site.ecs.stopped(&task);
        assert_eq!(gate.answers(), Vec::<Value>::new());
        assert!(gate.tell(&task));
        let tasks = gate.site.ecs.tasks();
        assert_eq!(tasks.len(), tries);
        task.clone_from(&tasks[tries - 1]);
    }
    gate.site.ecs.stopped(&task);
    assert!(gate.tell(&task));
    assert_eq!(gate.site.ecs.tasks().len(), 4);
    let (status, reason) = gate.answer(&request);
    assert_eq!(status, "FAILED");
    for part in ["no exit code", "TaskFailedToStart", "CannotPullContainerError", &task] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
}

#[test]
fn a_task_that_is_killed_is_answered_for() {
    let gate = Gate::of(Site::versioned());
    let history = History::new().migration("20240101000000_init", "CREATE TABLE a (id int); SELECT pg_sleep(300);");
    gate.site.upload(&history);
    let (request, task) = gate.start("Update");
    gate.site.until_it_sleeps();
    gate.site.ecs.out_of_memory(&task);
    gate.site.ecs.stopped(&task);
    assert_eq!(gate.answers(), Vec::<Value>::new());
    assert!(gate.tell(&task));
    let (status, reason) = gate.answer(&request);
    assert_eq!(status, "FAILED");
    for part in ["exit code 137", "OutOfMemoryError", &task] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
}

#[test]
fn the_function_hears_of_the_tasks_of_its_gate_alone() {
    let gate = Gate::of(Site::versioned());
    let (task, _) = gate.site.deploy(&good());
    assert!(!gate.tell(&task));
    assert_eq!(gate.answers(), Vec::<Value>::new());
}

#[test]
fn beyond_an_hour_a_wait_condition_is_signalled() {
    for (history, status) in [(good(), "SUCCESS"), (bad(), "FAILURE")] {
        let mut gate = Gate::of(Site::unversioned());
        gate.site.upload(&history);
        // moto knows no handles: a presigned URL, as a reference to one is.
        gate.asked["ResourceProperties"]["SignalUrl"] = gate.bucket.url(&format!("/handle?{SIGNATURE}")).into();
        let (request, task) = gate.start("Create");
        let started = gate.answers().remove(0);
        assert_eq!(
            (&started["Status"], &started["RequestId"]),
            (&json!("SUCCESS"), &request["RequestId"])
        );
        gate.site.ecs.stopped(&task);
        let answers = gate.answers();
        assert_eq!(answers.len(), 2, "{answers:#?}");
        assert_eq!(
            (&answers[1]["Status"], &answers[1]["UniqueId"]),
            (&json!(status), &json!("build-17"))
        );
        assert!(gate.bucket.requests()[1].target.starts_with("/handle?"));
        // The second signal has the same id: CloudFormation counts it once.
        assert!(gate.tell(&task));
        let last = gate.answers().pop().unwrap();
        assert_eq!(
            (&last["Status"], &last["UniqueId"]),
            (&json!(status), &json!("build-17"))
        );
    }
    let mut gate = Gate::of(Site::unversioned());
    gate.asked["ResourceProperties"]["SignalUrl"] = gate.bucket.url(&format!("/handle?{SIGNATURE}")).into();
    for _ in 0..4 {
        gate.site.ecs.never_starts("CannotPullContainerError: not found");
    }
    gate.start("Create");
    for tries in 1..=4 {
        let tasks = gate.site.ecs.tasks();
        assert_eq!(tasks.len(), tries);
        assert!(gate.tell(&tasks[tries - 1]));
    }
    let last = gate.answers().pop().unwrap();
    assert_eq!(
        (&last["Status"], &last["UniqueId"]),
        (&json!("FAILURE"), &json!("build-17"))
    );
    assert!(
        last["Reason"].as_str().unwrap().contains("CannotPullContainerError"),
        "{last}"
    );
}

/// Answers of the custom resource by themselves: status, reason and the attribute `Result`.
fn says(answer: &Value) -> (&str, &str, &str) {
    (
        answer["Status"].as_str().unwrap(),
        answer["Reason"].as_str().unwrap(),
        answer["Data"]["Result"].as_str().unwrap_or_default(),
    )
}

#[test]
fn a_stack_that_makes_its_own_bucket_is_created_without_an_artifact() {
    let gate = Gate::of(Site::versioned());
    gate.site.s3.put(
        &gate.site.bucket,
        "newsroom/CODE/api/prisma.zip.sha256",
        b"beside it".to_vec(),
    );
    let request = gate.request("Create");
    assert_eq!(gate.ask(&request, "CREATE_IN_PROGRESS"), Vec::<String>::new());
    let answers = gate.answers();
    let (status, reason, result) = says(&answers[0]);
    assert_eq!((status, result), ("SUCCESS", "no artifact yet"), "{answers:#?}");
    assert!(
        reason.contains(&format!("s3://{}/{}", gate.site.bucket, gate.site.key)),
        "{reason}"
    );
    assert!(!gate.site.database.has_ledger());

    // The next deploy needs one.
    let (request, task) = gate.start("Update");
    assert_eq!(gate.site.exit_code(&task), Some(40), "{}", gate.site.ecs.log(&task));
    let last = gate.answers().pop().unwrap();
    assert_eq!((&last["RequestId"], says(&last).0), (&request["RequestId"], "FAILED"));
    gate.site.upload(&good());
    let (_, task) = gate.start("Update");
    assert_eq!(gate.site.exit_code(&task), Some(0));
    assert_eq!(says(&gate.answers().pop().unwrap()).0, "SUCCESS");
}

#[test]
fn creating_a_stack_fails_if_the_artifact_is_damaged() {
    let gate = Gate::of(Site::versioned());
    gate.site.s3.put(&gate.site.bucket, &gate.site.key, b"no zip".to_vec());
    let (_, task) = gate.start("Create");
    assert_eq!(gate.site.exit_code(&task), Some(40));
    assert_eq!(says(&gate.answers()[0]).0, "FAILED");
}

#[test]
fn a_run_that_waits_for_the_lock_in_vain_is_started_again_and_the_last_one_answers() {
    let gate = Gate::of(Site::versioned());
    gate.site.upload(&good());
    gate.site
        .ecs
        .never_starts("Timeout waiting for network interface provisioning to complete.");
    let (request, task) = gate.start("Update");
    gate.site.ecs.stopped(&task);
    assert!(gate.tell(&task));
    let tasks = gate.site.ecs.tasks();
    assert_eq!(tasks.len(), 2);
    // The same event once more starts nothing.
    assert!(gate.tell(&task));
    assert_eq!(gate.site.ecs.tasks().len(), 2);
    succeeds(&gate, &tasks[1], &request);
}

#[test]
fn an_interrupted_run_is_started_again() {
    let gate = Gate::of(Site::versioned());
    let slow = History::new().migration(
        "20240101000000_init",
        "CREATE TABLE a (id int); SELECT pg_sleep(CASE WHEN to_regclass('public.calm') IS NULL THEN 300 ELSE 0 END);",
    );
    gate.site.upload(&slow);
    let (request, task) = gate.start("Update");
    gate.site.until_it_sleeps();
    // Fargate retires the host.
    gate.site.ecs.retire(&task);
    assert_eq!(gate.site.exit_code(&task), Some(60));
    assert_eq!(gate.answers(), Vec::<Value>::new());
    gate.site.database.execute("CREATE TABLE calm ()");
    assert!(gate.tell(&task));
    let tasks = gate.site.ecs.tasks();
    assert_eq!(tasks.len(), 2);
    succeeds(&gate, &tasks[1], &request);
}

#[test]
fn a_stack_that_rolls_back_stops_the_task_that_still_runs() {
    for (kind, status) in [
        ("Update", "UPDATE_ROLLBACK_IN_PROGRESS"),
        ("Delete", "ROLLBACK_IN_PROGRESS"),
    ] {
        let gate = Gate::of(Site::versioned());
        let history = History::new().migration("20240101000000_init", "CREATE TABLE a (id int); SELECT pg_sleep(300);");
        gate.site.upload(&history);
        let (_, task) = gate.start("Update");
        gate.site.until_it_sleeps();
        // Another resource has failed, and CloudFormation takes the gate back to its old properties, or away.
        let rollback = gate.request(kind);
        assert_eq!(gate.ask(&rollback, status), Vec::<String>::new());
        let last = gate.answers().pop().unwrap();
        assert_eq!(says(&last).0, "SUCCESS");
        assert!(says(&last).1.contains(&task), "{last}");
        assert_eq!(gate.site.exit_code(&task), Some(60));
        // It is not started again.
        assert!(gate.tell(&task));
        assert_eq!(gate.site.ecs.tasks().len(), 1);
        assert_eq!(
            gate.site
                .database
                .scalar("SELECT count(*) FROM pg_tables WHERE tablename = 'a'"),
            "0"
        );
    }
}
