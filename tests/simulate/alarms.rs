//! Which ends of a task ring, and which let a stack go on: the templates beside the program's own table of exit codes.

use harness::ecs::{Definition, Ecs, named};
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
fn ends_with(site: &Site, code: u8, family: &str, has_agent: bool, group: Option<&str>) -> (Ecs, String) {
    let ecs = Ecs::start("/bin/sh");
    let cluster = site.stack.output("MigrateCluster");
    ecs.add_cluster(&cluster);
    let definition = Definition::new(family).command(["-c", &format!("exit {code}")]);
    let definition = ecs.register(if has_agent {
        definition
    } else {
        definition.without_agent()
    });
    let mut request = json!({ "cluster": cluster, "taskDefinition": definition });
    if let Some(group) = group {
        request["group"] = group.into();
    }
    let task = ecs.run_task(request);
    (ecs, task)
}

/// Who started the task: the group that the constructs give it. A state machine tells of its tasks by itself. A gate fails its stack, and starts again
/// what has to be started again.
const STARTERS: [(&str, Option<&str>); 3] = [
    ("by hand", None),
    ("a gate", Some("prisma-migrate-gate")),
    ("a state machine", Some("prisma-migrate-state-machine")),
];

/// Whether an end rings: README's table of alarms.
fn rings(exit: Exit, starter: &str) -> bool {
    let is_quiet = QUIET.contains(&exit.code());
    match starter {
        "by hand" => !is_quiet,
        "a gate" => !is_quiet && !exit.is_start_again(),
        _ => false,
    }
}

#[test]
fn every_exit_code_rings_but_those_after_which_nothing_is_wrong() {
    let site = Site::unversioned();
    let family = site.family();
    for (exit, _) in Exit::TABLE {
        let code = exit.code();
        for (starter, group) in STARTERS {
            let (ecs, task) = ends_with(&site, code, &family, true, group);
            let rung = site.alarms(&ecs.stopped_event(&task));
            assert_eq!(
                rung.len(),
                usize::from(rings(*exit, starter)),
                "{exit:?} {starter}: {rung:?}"
            );
            for message in rung {
                assert_eq!(message["task"], json!(task));
                assert!(message["what"].as_str().unwrap().contains(&family), "{message}");
                assert_eq!(named(&message["containers"], "migrate")["exitCode"], code, "{message}");
            }
        }
    }
    // Without another container, which rings the same.
    let (ecs, task) = ends_with(&site, 20, &family, false, None);
    assert_eq!(site.alarms(&ecs.stopped_event(&task)).len(), 1);
    // Neither what is under way, nor the tasks of another family.
    let (ecs, task) = ends_with(&site, 20, &family, true, None);
    ecs.stopped(&task);
    for event in ecs.events() {
        let rings = event["detail"]["lastStatus"] == "STOPPED";
        assert_eq!(!site.alarms(&event).is_empty(), rings, "{event:#}");
    }
    let (ecs, task) = ends_with(&site, 20, &format!("{family}-other"), true, None);
    assert_eq!(site.alarms(&ecs.stopped_event(&task)), Vec::<Value>::new());
}

#[test]
fn a_task_that_ran_and_has_no_exit_code_rings() {
    let site = Site::unversioned();
    let (ecs, task) = ends_with(&site, 0, &site.family(), false, None);
    let mut event = ecs.stopped_event(&task);
    let ours = event["detail"]["containers"][0].as_object_mut().unwrap();
    ours.remove("exitCode").unwrap();
    event["detail"]["stopCode"] = "InfrastructureHealth".into();
    let rung = site.alarms(&event);
    assert_eq!(rung.len(), 1, "{rung:?}");
    assert!(
        rung[0]["what"].as_str().unwrap().contains("without an exit code"),
        "{rung:?}"
    );
}

#[test]
fn a_gate_lets_a_stack_go_on_after_the_codes_that_the_program_calls_a_success() {
    let site = Site::unversioned();
    let gate = site.stack.gate();
    let code = site.stack.code(gate["ServiceToken"].as_str().unwrap());
    let (_, judged) = code
        .split_once("const ok = ")
        .expect("the function judges the exit code");
    let (list, _) = judged.split_once(".includes(exitCode)").expect("by a list");
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
