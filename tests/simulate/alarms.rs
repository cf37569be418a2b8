//! Which ends of a task ring, and which let a stack go on: the templates beside the program's own table of exit codes.

use harness::ecs::{Definition, Ecs};
use prisma_migrate_task::exit::Exit;
use prisma_migrate_task::failure::Failure;
use prisma_migrate_task::outcome::Outcome;
use prisma_migrate_task::report::answer::Answer;
use prisma_migrate_task::secret::Secret;
use serde_json::{Value, json};

use crate::site::Site;

/// Ends after which nothing is wrong: done, pending (`status`), drift (`drift`), superseded.
const QUIET: [u8; 4] = [0, 10, 11, 41];

/// A task of the site's family in its cluster, which ends with this code.
fn ends_with(site: &Site, code: u8, family: &str, has_agent: bool) -> (Ecs, String) {
    let ecs = Ecs::start("/bin/sh");
    let cluster = site.stack.output("MigrateCluster");
    ecs.add_cluster(&cluster);
    let definition = Definition::new(family).command(["-c", &format!("exit {code}")]);
    let definition = ecs.register(if has_agent { definition.with_agent() } else { definition });
    let task = ecs.run_task(json!({ "cluster": cluster, "taskDefinition": definition }));
    (ecs, task)
}

#[test]
fn every_exit_code_rings_but_those_after_which_nothing_is_wrong() {
    let site = Site::unversioned();
    let family = site.stack.output("MigrateTaskDefinition");
    for (exit, _) in Exit::TABLE {
        let code = exit.code();
        for has_agent in [false, true] {
            let (ecs, task) = ends_with(&site, code, &family, has_agent);
            let rung = site.alarms(&ecs.stopped_event(&task));
            assert_eq!(rung.is_empty(), QUIET.contains(&code), "{exit:?}: {rung:?}");
            for message in rung {
                assert_eq!(message["task"], json!(task));
                assert!(message["what"].as_str().unwrap().contains(&family), "{message}");
                let mut containers = message["containers"].as_array().unwrap().iter();
                let ours = containers.find(|container| container["name"] == "migrate").unwrap();
                assert_eq!(ours["exitCode"], code, "{message}");
            }
        }
    }
    // Neither what is under way, nor the tasks of another family.
    let (ecs, task) = ends_with(&site, 20, &family, false);
    ecs.stopped(&task);
    for event in ecs.events() {
        let rings = event["detail"]["lastStatus"] == "STOPPED";
        assert_eq!(!site.alarms(&event).is_empty(), rings, "{event:#}");
    }
    let (ecs, task) = ends_with(&site, 20, &format!("{family}-other"), false);
    assert_eq!(site.alarms(&ecs.stopped_event(&task)), Vec::<Value>::new());
}

#[test]
fn a_gate_lets_a_stack_go_on_after_the_codes_that_the_program_calls_a_success() {
    let site = Site::unversioned();
    let gate = site.stack.gate();
    let code = site.stack.code(gate["ServiceToken"].as_str().unwrap());
    let (before, _) = code
        .split_once(".includes(exitCode)")
        .expect("the function judges the exit code");
    let list = &before[before.rfind('[').unwrap()..];
    let theirs: Vec<u8> = serde_json::from_str(list).unwrap();

    let answer = Answer::WaitCondition {
        url: Secret::new("https://answers.example/"),
        unique_id: None,
    };
    let is_success = |exit: Exit| {
        let mut outcome = Outcome::new("deploy", "run".into());
        let result = match exit {
            Exit::Success | Exit::Pending | Exit::Drift | Exit::Report => Ok(exit),
            _ => Err(Failure::new(exit, "it", "do")),
        };
        outcome.end(result, std::time::Duration::ZERO);
        let body: Value = serde_json::from_str(&answer.body(&outcome)).unwrap();
        body["Status"] == "SUCCESS"
    };
    let codes = Exit::TABLE
        .iter()
        .map(|(exit, _)| *exit)
        .filter(|exit| is_success(*exit));
    let ours: Vec<u8> = codes.map(Exit::code).collect();
    assert_eq!(theirs, ours);
}
