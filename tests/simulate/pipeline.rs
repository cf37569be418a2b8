//! `run` and `wait`, told nothing but the stack: they read its outputs, and end as its tasks end.

use harness::process::Run;
use harness::tool::{Call, Tool};
use serde_json::Value;

use crate::PROGRAM;
use crate::cloud::moto;
use crate::site::{Site, bad, good};

fn call(site: &Site, words: &[&str]) -> Call {
    Tool::new(PROGRAM)
        .verb(words)
        .without_report()
        .arg(format!("--cfn-stack={}", site.stack.name))
        .envs(site.ecs.environment())
        .env("AWS_ENDPOINT_URL_CLOUDFORMATION", moto().endpoint())
        .env("AWS_ENDPOINT_URL_SSM", moto().endpoint())
        .s3(&site.s3)
        .secret(site.ecs.secret_key())
}

fn outcome(run: &Run) -> Value {
    let line = run.stdout.lines().last().unwrap_or_else(|| panic!("no outcome\n{run}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}\n{run}"))
}

#[test]
fn run_ends_as_its_task_does() {
    let site = Site::versioned();
    let created = site.upload(&good());
    let run = call(&site, &["run"]).run().expect(0);
    assert_eq!(outcome(&run)["verb"], "plan");
    assert!(!site.database.has_ledger(), "a plan writes nothing");
    let run = call(&site, &["run", "--confirm"]).run().expect(0);
    assert_eq!(outcome(&run)["artifact"]["version_id"], created.stored.version);
    assert_eq!(site.applied().len(), 1);
    site.upload(&good().migration("20240102000000_more", "SELECT nme;"));
    let run = call(&site, &["run", "--confirm"]).run().expect(20);
    assert_eq!(outcome(&run)["failure"]["migration"], "20240102000000_more");
    // Each went where the stack says.
    for asked in site.ecs.requests("RunTask") {
        let network = &asked["networkConfiguration"]["awsvpcConfiguration"];
        let subnets: Vec<&str> = network["subnets"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(subnets.join(","), site.stack.output("MigrateSubnets"));
        assert_eq!(network["securityGroups"][0], site.stack.output("MigrateSecurityGroups"));
    }
}

#[test]
fn run_says_that_a_task_never_started() {
    let site = Site::unversioned();
    site.upload(&good());
    site.ecs
        .never_starts("CannotPullContainerError: pull image manifest has been retried 7 time(s)");
    let run = call(&site, &["run", "--confirm", "--start-within=0s"]).run().expect(80);
    assert!(
        outcome(&run)["failure"]["what"]
            .as_str()
            .unwrap()
            .contains("CannotPullContainerError"),
        "{run}"
    );
    site.ecs.refuses("RESOURCE:MEMORY", "");
    call(&site, &["run", "--confirm", "--start-within=0s"]).run().expect(80);
}

#[test]
fn wait_ends_as_the_upload_s_task_does() {
    for site in [Site::versioned(), Site::unversioned()] {
        let task = site.deliver(&site.upload(&good()).event()).remove(0);
        let run = call(&site, &["wait"]).run().expect(0);
        assert_eq!(outcome(&run)["task"]["arn"], task);
        let next = good().migration("20240102000000_more", "SELECT nme;");
        let task = site.deliver(&site.upload(&next).event()).remove(0);
        let run = call(&site, &["wait"]).run().expect(20);
        assert_eq!(outcome(&run)["task"]["arn"], task);
    }
}

#[test]
fn wait_tells_apart_superseded_never_started_and_stopped() {
    let site = Site::unversioned();
    let first = site.upload(&bad());
    site.upload(&good());
    site.deliver(&first.event());
    let etag = first.stored.etag.trim_matches('"').to_owned();
    call(&site, &["wait", "--etag", &etag]).run().expect(41);

    let site = Site::versioned();
    site.ecs.never_starts("CannotPullContainerError: not found");
    site.deliver(&site.upload(&good()).event());
    call(&site, &["wait"]).run().expect(80);

    let site = Site::versioned();
    let slow = harness::history::History::new().migration("20240101000000_init", "SELECT pg_sleep(300);");
    let task = site.deliver(&site.upload(&slow).event()).remove(0);
    site.until_it_sleeps();
    site.ecs.stop_task(&task);
    call(&site, &["wait"]).run().expect(60);
}

#[test]
fn wait_of_an_event_that_came_twice_is_a_success() {
    let site = Site::versioned();
    let created = site.upload(&good());
    site.deliver(&created.event());
    site.deliver(&created.event());
    call(&site, &["wait"]).run().expect(0);
}
