//! What happens while a task is followed: lost connections, throttling, credentials that run out, a log that is late.

use harness::ecs::Fault;
use harness::until;
use serde_json::json;

use super::world::{World, outcome};

#[test]
fn what_passes_is_waited_for_and_said_once() {
    let world = World::simple();
    for operation in ["DescribeTaskDefinition", "RunTask", "DescribeTasks", "GetLogEvents"] {
        world.ecs.fault(operation, Fault::Throttled, 2);
        world.ecs.fault(operation, Fault::Internal, 2);
        world.ecs.fault(operation, Fault::Close, 3);
    }
    let run = world.run(&["--confirm", "--log-format", "text"]).run().expect(0);
    assert_eq!((world.tasks(), world.tables()), (1, "1".to_owned()));
    for operation in ["ecs:RunTask", "ecs:DescribeTasks", "logs:GetLogEvents"] {
        let said = run.stderr.matches(&format!("warning: {operation} on ")).count();
        assert_eq!(said, 1, "{operation}\n{run}");
        assert_eq!(run.stderr.matches(" is answered again").count(), 4, "{run}");
    }
}

#[test]
fn a_request_whose_answer_is_lost_starts_one_task() {
    let world = World::simple();
    world.ecs.fault("RunTask", Fault::CloseAfter, 1);
    world.run(&["--confirm"]).run().expect(0);
    let requests = world.ecs.requests("RunTask");
    assert!(requests.len() > 1, "{requests:?}");
    let tokens: Vec<_> = requests.iter().map(|request| &request["clientToken"]).collect();
    assert!(
        tokens
            .iter()
            .all(|token| *token == tokens[0] && token.as_str().is_some_and(|token| token.len() == 36))
    );
    assert_eq!(world.tasks(), 1);
    assert!(
        requests[0]["startedBy"]
            .as_str()
            .unwrap()
            .starts_with("prisma-migrate-task/")
    );
}

#[test]
fn a_task_that_ecs_does_not_know_yet_is_no_lost_one() {
    let world = World::simple();
    world.ecs.fault("DescribeTasks", Fault::Unknown, 3);
    world.run(&["--confirm"]).run().expect(0);
}

#[test]
fn pages_without_events_are_no_end() {
    let world = World::simple();
    world.ecs.page(2);
    world.ecs.fault("GetLogEvents", Fault::EmptyPage, 3);
    let run = world.run(&["--confirm"]).run().expect(0);
    let said = outcome(&run);
    assert_eq!(said["result"], "applied");
    let log = world.ecs.log(&world.task());
    for line in log.lines().filter(|line| line.contains("\"time\"")) {
        assert!(run.stderr.lines().any(|said| said == line), "{line}\n{run}");
    }
}

#[test]
fn a_log_that_is_late_is_waited_for() {
    let world = World::simple();
    world.ecs.delay_logs();
    let running = world.run(&["--confirm"]).spawn();
    until("there is a task", || world.tasks() == 1);
    world.ecs.stopped(&world.task());
    world.ecs.deliver_logs();
    let run = running.wait().expect(0);
    assert_eq!(outcome(&run)["result"], "applied", "{run}");
}

#[test]
fn a_log_that_may_not_be_read_keeps_nobody_from_the_exit_code() {
    let world = World::simple();
    world.ecs.fault("GetLogEvents", Fault::AccessDenied, 1);
    let run = world.run(&["--confirm"]).run().expect(0);
    let said = outcome(&run);
    assert_eq!((&said["verb"], &said["result"]), (&json!("run"), &json!("ended")));
    let warnings = said["warnings"].to_string();
    assert!(
        warnings.contains("logs:GetLogEvents on /ecs/shop-migrate:ecs/migrate/"),
        "{run}"
    );
    assert!(warnings.contains("give these credentials logs:GetLogEvents"), "{run}");
}

#[test]
fn a_permission_that_is_missing_is_named() {
    let world = World::simple();
    world.ecs.fault("RunTask", Fault::AccessDenied, 1);
    let run = world.run(&["--confirm"]).run().expect(2);
    let said = outcome(&run);
    assert!(
        said["failure"]["what"]
            .as_str()
            .unwrap()
            .starts_with("ecs:RunTask on shop-migrate is denied"),
        "{run}"
    );
    let next = said["failure"]["next"].as_str().unwrap();
    assert!(
        next.starts_with("give these credentials ecs:RunTask on shop-migrate") && next.contains("iam:PassRole"),
        "{run}"
    );
    assert_eq!(said["failure"]["state"], "nothing was changed");

    world.ecs.fault("DescribeTasks", Fault::AccessDenied, 1);
    let run = world.run(&["--confirm"]).run().expect(81);
    let said = outcome(&run);
    let next = said["failure"]["next"].as_str().unwrap();
    assert!(
        next.contains("give these credentials ecs:DescribeTasks") && next.contains("wait --task arn:"),
        "{run}"
    );
    assert_eq!(said["failure"]["state"], "not known to this side; the task goes on");
    world.ecs.stopped(&world.task());
}

#[test]
fn credentials_that_have_run_out_are_said_once_and_taken_up_when_they_are_renewed() {
    let world = World::slow();
    let running = world.run(&["--confirm", "--log-format", "text"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let profile = |id: &str| {
        let secret = world.s3.secret_key();
        std::fs::write(
            &file,
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"),
        )
        .unwrap();
    };
    profile("AKIAOLD");
    let running = running.env("AWS_ACCESS_KEY_ID", "").env("AWS_SECRET_ACCESS_KEY", "");
    let mut running = running.env("AWS_SHARED_CREDENTIALS_FILE", &file).spawn();
    running.wait_for_stderr("applying");
    world.ecs.expire("AKIAOLD");
    running.wait_for_stderr("AWS credentials are missing, expired or unknown");
    running.wait_for_stderr("the task goes on meanwhile");
    profile("AKIANEW");
    running.wait_for_stderr("the AWS credentials are valid again");
    let said = running
        .stderr()
        .matches("renew them: this goes on as soon as they are valid")
        .count();
    assert_eq!(said, 1, "{}", running.stderr());
    world.cancel();
    running.wait().expect(20);
}

#[test]
fn without_credentials_nothing_is_tried_for_long() {
    let world = World::simple();
    let run = world
        .run(&["--log-format", "text"])
        .env("AWS_ACCESS_KEY_ID", "")
        .env("AWS_SECRET_ACCESS_KEY", "");
    let run = run.env("HOME", "/nonexistent").run().expect(2);
    assert!(
        run.stdout.contains("AWS credentials are missing, expired or unknown"),
        "{run}"
    );
    assert!(run.stdout.contains("renew the AWS credentials"), "{run}");
}

#[test]
fn a_task_that_ecs_has_forgotten_is_told_by_its_log() {
    let world = World::slow();
    let mut running = world.run(&["--confirm"]).spawn();
    running.wait_for_stderr("applying");
    // As a laptop that was closed for two hours sees it.
    world.ecs.fault("DescribeTasks", Fault::Unknown, 1000);
    world.cancel();
    let run = running.wait().expect(20);
    assert_eq!(outcome(&run)["failure"]["sqlstate"], "57014", "{run}");
}
