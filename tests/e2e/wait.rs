//! `wait`: the tasks that an upload started, over the harness's ECS, whose tasks are the real binary.

use crate::newsroom::{ARTIFACT, BUCKET, KEY, Newsroom, Tells, bad, failure, good, outcome};
use crate::run::account::Account;
use harness::ecs::Fault;
use harness::process::Signal;
use serde_json::json;

#[test]
fn the_newest_upload_is_waited_for_whatever_the_rule_tells() {
    for tells in [Tells::Version, Tells::Etag, Tells::Nothing] {
        let newsroom = Newsroom::new();
        newsroom.s3.unversioned(BUCKET);
        if matches!(tells, Tells::Version) {
            newsroom.s3.put("other", "x", "y");
        }
        let stored = newsroom.put(&good());
        newsroom.ecs.hold();
        let task = newsroom.event(&stored, tells);
        let mut run = newsroom.call(&["wait", "--artifact", ARTIFACT]).spawn();
        run.wait_for_stderr("following the task");
        newsroom.ecs.release();
        let run = run.wait().expect(0);
        let told = outcome(&run);
        assert_eq!(
            (&told["verb"], &told["result"]),
            (&json!("deploy"), &json!("applied")),
            "{run}"
        );
        assert_eq!(told["applied"][0]["name"], "20240101000000_init");
        assert_eq!(told["task"]["arn"], json!(task));
        assert!(
            run.stderr.contains("applying (1 of 1)"),
            "the task's log is shown: {run}"
        );
        assert_eq!(newsroom.tables(), "1");
    }
}

#[test]
fn one_version_of_several_is_waited_for() {
    let newsroom = Newsroom::new();
    let first = newsroom.put(&good());
    let task = newsroom.event(&first, Tells::Version);
    newsroom.ecs.stopped(&task);
    let second = newsroom.put(&bad());
    newsroom.event(&second, Tells::Version);
    let wait = ["wait", "--artifact", ARTIFACT];
    let of_first = newsroom.call(&[&wait[..], &["--version-id", &first.version]].concat());
    assert_eq!(outcome(&of_first.run().expect(0))["task"]["arn"], json!(task));
    let run = newsroom.call(&wait).run();
    assert_ne!(outcome(&run)["task"]["arn"], json!(task));
}

#[test]
fn a_migration_that_failed_fails_the_one_who_waits() {
    let newsroom = Newsroom::new();
    let stored = newsroom.put(&bad());
    newsroom.event(&stored, Tells::Version);
    let run = newsroom.call(&["wait", "--artifact", ARTIFACT]).run().expect(20);
    assert!(failure(&run, "what").contains("column \"nme\" does not exist"), "{run}");
    assert_eq!(newsroom.tables(), "0");
}

#[test]
fn a_failure_counts_only_when_no_task_of_the_upload_runs_any_more() {
    let newsroom = Newsroom::new();
    let stored = newsroom.put(&good());
    newsroom
        .ecs
        .never_starts("CannotPullContainerError: pull image manifest has been retried 7 time(s)");
    let first = newsroom.event(&stored, Tells::Version);
    newsroom.ecs.stopped(&first);
    newsroom.ecs.hold();
    let second = newsroom.event(&stored, Tells::Version);
    let mut run = newsroom.call(&["wait", "--artifact", ARTIFACT]).spawn();
    run.wait_for_stderr(&format!("following the task {second}"));
    assert!(run.is_running());
    newsroom.ecs.release();
    let run = run.wait().expect(0);
    assert_eq!(outcome(&run)["task"]["arn"], json!(second));

    // Where none succeeds, the one that tells most.
    let newsroom = Newsroom::new();
    let stored = newsroom.put(&bad());
    newsroom.ecs.never_starts("CannotPullContainerError: not found");
    let first = newsroom.event(&stored, Tells::Version);
    newsroom.ecs.stopped(&first);
    let second = newsroom.event(&stored, Tells::Version);
    newsroom.ecs.stopped(&second);
    let run = newsroom.call(&["wait", "--artifact", ARTIFACT]).run().expect(20);
    assert_eq!(outcome(&run)["task"]["arn"], json!(second));
}

#[test]
fn an_upload_whose_tasks_never_start_is_told_why() {
    let newsroom = Newsroom::new();
    let stored = newsroom.put(&good());
    newsroom
        .ecs
        .never_starts("CannotPullContainerError: pull image manifest: not found");
    newsroom.event(&stored, Tells::Version);
    let run = newsroom.call(&["wait", "--artifact", ARTIFACT]).run().expect(80);
    assert!(failure(&run, "what").contains("CannotPullContainerError"), "{run}");
    assert!(failure(&run, "next").contains("image exists"), "{run}");
}

#[test]
fn where_a_state_machine_starts_the_task_again_the_next_one_counts() {
    let (newsroom, account) = (Newsroom::new(), Account::new());
    let cluster = newsroom.ecs.cluster_arn();
    let outputs = [
        ("MigrateCluster", cluster.as_str()),
        ("MigrateTaskDefinition", crate::newsroom::FAMILY),
        ("MigrateContainer", "migrate"),
        ("MigrateArtifact", ARTIFACT),
        (
            "MigrateStateMachine",
            "arn:aws:states:eu-west-1:123456789012:stateMachine:upload",
        ),
    ];
    let stack = account.stack("newsroom", None, &outputs);
    let stored = newsroom.put(&good());
    newsroom
        .ecs
        .never_starts("Timeout waiting for network interface provisioning to complete.");
    let first = newsroom.event(&stored, Tells::Version);
    newsroom.ecs.stopped(&first);
    let wait = newsroom
        .bare(&["wait", "--cfn-stack", &stack])
        .envs(account.environment());
    let mut waiting = wait.clone().spawn();
    waiting.wait_for_stderr("following the task");
    let second = newsroom.event(&stored, Tells::Version);
    let run = waiting.wait().expect(0);
    assert_eq!(outcome(&run)["task"]["arn"], json!(second));
    // It does not wait for ever.
    let stored = newsroom.put(&good());
    newsroom
        .ecs
        .never_starts("Timeout waiting for network interface provisioning to complete.");
    newsroom.ecs.stopped(&newsroom.event(&stored, Tells::Version));
    wait.arg("--start-within=0").run().expect(80);
}

#[test]
fn an_upload_that_a_newer_one_has_replaced_is_superseded() {
    let newsroom = Newsroom::new();
    newsroom.s3.unversioned(BUCKET);
    let first = newsroom.put(&bad());
    newsroom.put(&good());
    newsroom.event(&first, Tells::Etag);
    let etag = first.etag.trim_matches('"').to_owned();
    let run = newsroom
        .call(&["wait", "--artifact", ARTIFACT, "--etag", &etag])
        .run()
        .expect(41);
    assert!(
        failure(&run, "next").contains("the newer upload has its own run"),
        "{run}"
    );
}

#[test]
fn what_ecs_has_forgotten_is_in_the_report() {
    for (history, code) in [(good(), 0), (bad(), 20)] {
        let newsroom = Newsroom::new();
        let stored = newsroom.put(&history);
        let task = newsroom.event(&stored, Tells::Version);
        newsroom.ecs.stopped(&task);
        newsroom.ecs.forget(&task);
        let run = newsroom.call(&["wait", "--artifact", ARTIFACT]).run().expect(code);
        assert_eq!(outcome(&run)["verb"], "deploy");
    }
}

#[test]
fn a_log_that_may_not_be_read_leaves_the_report() {
    let newsroom = Newsroom::new();
    let stored = newsroom.put(&bad());
    newsroom.event(&stored, Tells::Version);
    newsroom.ecs.fault("GetLogEvents", Fault::AccessDenied, 1000);
    let run = newsroom.call(&["wait", "--artifact", ARTIFACT]).run().expect(20);
    assert!(failure(&run, "what").contains("column \"nme\" does not exist"), "{run}");
}

#[test]
fn an_upload_that_starts_nothing_is_told_where_to_look() {
    let newsroom = Newsroom::new();
    let stored = newsroom.put(&good());
    // A task of another kind is not the upload's.
    let plan = newsroom.ecs.run_task(json!({
        "cluster": newsroom.ecs.cluster(),
        "taskDefinition": crate::newsroom::FAMILY,
        "overrides": { "containerOverrides": [{ "name": "migrate", "command": ["plan"] }] },
    }));
    newsroom.ecs.stopped(&plan);
    let wait = ["wait", "--artifact", ARTIFACT, "--start-within=0"];
    let run = newsroom.call(&wait).run().expect(80);
    let what = failure(&run, "what");
    assert!(
        what.contains(&format!(
            "no task was started for {ARTIFACT} (version {})",
            stored.version
        )),
        "{run}"
    );
    let details = outcome(&run)["failure"]["details"].to_string();
    assert!(
        details.contains("EventBridge is switched off for the bucket artifacts"),
        "{run}"
    );
    assert!(failure(&run, "next").starts_with("switch on EventBridge"), "{run}");

    newsroom.s3.tell_eventbridge(BUCKET);
    let run = newsroom.call(&wait).run().expect(80);
    let details = outcome(&run)["failure"]["details"].to_string();
    assert!(details.contains("EventBridge is switched on"), "{run}");
    assert_eq!(newsroom.tables(), "0");
}

#[test]
fn the_stack_tells_the_rule_and_the_dead_letters() {
    let (newsroom, account) = (Newsroom::new(), Account::new());
    newsroom.put(&good());
    let outputs = newsroom.outputs();
    let outputs: Vec<(&str, &str)> = outputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let stack = account.stack("newsroom", None, &outputs);
    let wait = newsroom.bare(&["wait", "--cfn-stack", &stack, "--start-within=0"]);
    let run = wait.envs(account.environment()).run().expect(80);
    let details = outcome(&run)["failure"]["details"].to_string();
    for said in [
        "the rule is newsroom-upload",
        "lies in the queue https://sqs.example/newsroom-dead",
    ] {
        assert!(details.contains(said), "{run}");
    }
}

#[test]
fn a_task_is_followed_by_its_arn_alone() {
    let newsroom = Newsroom::new();
    let stored = newsroom.put(&good());
    let task = newsroom.event(&stored, Tells::Version);
    let run = newsroom.bare(&["wait", "--task", &task]).run().expect(0);
    assert_eq!(
        (&outcome(&run)["result"], &outcome(&run)["task"]["arn"]),
        (&json!("applied"), &json!(task))
    );
    newsroom.ecs.forget(&task);
    let run = newsroom.bare(&["wait", "--task", &task]).run().expect(81);
    assert!(
        failure(&run, "what").contains("forgets tasks about an hour after their end"),
        "{run}"
    );
}

#[test]
fn whoever_stops_waiting_is_told_how_to_wait_again() {
    let newsroom = Newsroom::new();
    let stored = newsroom.put(&good());
    let mut run = newsroom.call(&["wait", "--artifact", ARTIFACT]).spawn();
    run.wait_for_stderr("waiting for the task of");
    run.signal(Signal::TERM);
    let run = run.wait().expect(82);
    let again = failure(&run, "next");
    assert!(
        again.contains(&format!("--version-id {}", stored.version)) && again.contains(ARTIFACT),
        "{run}"
    );

    // By these it finds the same tasks and reports as this one would have.
    assert!(
        again.contains("--task-definition") && again.contains("--reports"),
        "{run}"
    );

    newsroom.ecs.hold();
    let task = newsroom.event(&stored, Tells::Version);
    let mut run = newsroom.call(&["wait", "--artifact", ARTIFACT]).spawn();
    run.wait_for_stderr("following the task");
    run.signal(Signal::INT);
    let run = run.wait().expect(82);
    let next = failure(&run, "next");
    assert!(next.contains(&format!("wait --task {task}")), "{run}");
    newsroom.ecs.release();
    newsroom.ecs.stopped(&task);
    // Both commands do what they promise.
    for told in [again, next] {
        let command = told.split('`').nth(1).unwrap();
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let run = newsroom.bare(&words).run().expect(0);
        assert_eq!(outcome(&run)["result"], "applied", "{run}");
    }
    assert_eq!(newsroom.tables(), "1");
}

#[test]
fn what_is_missing_is_named() {
    let newsroom = Newsroom::new();
    let run = newsroom.call(&["wait"]).run().expect(2);
    assert!(failure(&run, "next").contains("--artifact"), "{run}");
    newsroom.s3.unversioned(BUCKET);
    let run = newsroom.call(&["wait", "--artifact", ARTIFACT]).run().expect(2);
    assert!(
        failure(&run, "what").contains(&format!("s3://{BUCKET}/{KEY}: there is no such key")),
        "{run}"
    );
    newsroom.put(&good());
    newsroom.ecs.fault("ListTasks", Fault::AccessDenied, 1);
    let run = newsroom.call(&["wait", "--artifact", ARTIFACT]).run().expect(2);
    assert!(
        failure(&run, "next").contains("give these credentials ecs:ListTasks"),
        "{run}"
    );
}
