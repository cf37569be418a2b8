//! How a task ends is how `run` ends: the same outcome, the same exit code.

use harness::ecs::Definition;
use harness::history::History;
use serde_json::json;

use super::world::{INIT, World, outcome};

#[test]
fn without_confirm_it_plans_and_with_it_it_deploys() {
    let world = World::simple();
    let run = world.run(&[]).run().expect(0);
    let said = outcome(&run);
    assert_eq!(
        (&said["verb"], &said["result"]),
        (&json!("plan"), &json!("planned")),
        "{run}"
    );
    assert_eq!(world.tables(), "0");

    let run = world.run(&["--confirm"]).run().expect(0);
    let said = outcome(&run);
    assert_eq!(
        (&said["verb"], &said["result"]),
        (&json!("deploy"), &json!("applied")),
        "{run}"
    );
    assert_eq!(said["applied"][0]["name"], INIT);
    assert_eq!(world.tables(), "1");

    let task = world.ecs.tasks().pop().unwrap();
    assert_eq!(said["task"]["arn"], task.as_str());
    assert_eq!(
        (&said["task"]["family"], &said["task"]["log_group"]),
        (&json!("shop-migrate"), &json!("/ecs/shop-migrate"))
    );
    let request = world.ecs.requests("RunTask").pop().unwrap();
    let network = &request["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!(
        (
            &network["subnets"],
            &network["securityGroups"],
            &network["assignPublicIp"]
        ),
        (&json!(["subnet-1", "subnet-2"]), &json!(["sg-1"]), &json!("DISABLED"))
    );
    assert_eq!(world.command(), ["deploy", "--log-format", "json"]);
}

#[test]
fn for_people_the_log_is_lines_and_the_outcome_text() {
    let world = World::simple();
    let run = world.run(&["--confirm", "--log-format", "text"]).run().expect(0);
    assert!(run.stdout.starts_with("1 migration applied"), "{run}");
    let applied = run
        .stderr
        .lines()
        .find(|line| line.starts_with(&format!("{INIT}: applied")));
    assert!(applied.is_some_and(|line| line.ends_with(" s")), "{run}");
    assert!(!run.stderr.contains('{'), "JSON for people\n{run}");
    assert!(run.stderr.contains("started deploy as the task arn:aws:ecs:"), "{run}");
}

#[test]
fn on_a_terminal_the_last_line_says_how_the_task_is() {
    let world = World::with(&History::new().migration(INIT, "CREATE TABLE a (id int); SELECT pg_sleep(3);"));
    let run = world.run_on_a_terminal("--confirm").run().expect(0);
    assert!(run.stdout.contains("RUNNING, followed for "), "{run}");
    assert!(run.stdout.contains("\u{1b}[32;1m1 migration applied\u{1b}[0m"), "{run}");
    assert!(!run.stdout.contains("{\""), "JSON on a terminal\n{run}");
    let run = world.run_on_a_terminal("-- execute 'SELECT 1 AS one'").run().expect(0);
    assert!(run.stdout.contains(" one") && run.stdout.contains("(1 row)"), "{run}");
}

#[test]
fn what_a_plan_shows_next_is_what_is_run_from_here() {
    let world = World::simple();
    let run = world.run(&["--log-format", "text"]).run().expect(0);
    assert!(run.stdout.contains("next:  prisma-migrate-task run --confirm"), "{run}");
}

#[test]
fn elsewhere_the_tasks_log_is_passed_on_as_it_is() {
    let world = World::simple();
    let run = world.run(&["--confirm"]).run().expect(0);
    for line in world.ecs.log(&world.task()).lines() {
        let known = run.stderr.lines().chain(run.stdout.lines()).any(|said| said == line);
        let fields: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(known || fields["outcome"]["verb"] == "deploy", "{line}\n{run}");
    }
    for line in run.stderr.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn a_migration_that_fails_is_exit_20_with_the_tasks_own_failure() {
    let world = World::with(&History::new().migration(INIT, "CREATE TABLE a (id int);\nSELECT nme FROM a;"));
    let run = world.run(&["--confirm", "--log-format", "text"]).run().expect(20);
    assert!(run.stdout.starts_with("deploy failed"), "{run}");
    assert!(
        run.stdout.contains("[P3018, SQLSTATE 42703]") && run.stdout.contains("exit code:  20"),
        "{run}"
    );
    assert!(
        run.stdout.contains("SELECT nme FROM a") && run.stdout.contains("log:        https://"),
        "{run}"
    );

    let run = world.run(&["--confirm"]).run().expect(20);
    let said = outcome(&run);
    assert_eq!(
        (&said["failure"]["sqlstate"], &said["failure"]["place"]["line"]),
        (&json!("42703"), &json!(2))
    );
}

#[test]
fn any_verb_goes_with_its_flags() {
    let world = World::simple();
    let run = world.run(&["--", "status"]).run().expect(10);
    assert_eq!(outcome(&run)["migrations"][0]["state"], "pending");
    let run = world.run(&["--", "plan", "--check"]).run().expect(10);
    assert_eq!(outcome(&run)["plan"][0]["name"], INIT);
    world.run(&["--", "deploy", "--strict"]).run().expect(0);
    assert_eq!(world.command(), ["deploy", "--log-format", "json", "--strict"]);
    let run = world.run(&["--", "resolve", "--rolled-back", INIT]).run().expect(23);
    assert_eq!(outcome(&run)["verb"], "resolve");
}

#[test]
fn a_typo_starts_no_task() {
    let world = World::simple();
    for words in [
        &["--", "stauts"][..],
        &["--", "status", "--chek"],
        &["--confirm", "--", "plan"],
    ] {
        let run = world.run(words).run().expect(2);
        assert_eq!(outcome(&run)["verb"], "run", "{run}");
    }
    assert_eq!(world.tasks(), 0);
    assert!(world.ecs.requests("RunTask").is_empty());
}

#[test]
fn a_container_by_another_name_is_found() {
    let history = History::new().migration(INIT, "CREATE TABLE a (id int);");
    let world = World::of(&history, |definition: Definition| {
        definition.container("prisma").log("/shop/db", "x/y")
    });
    let run = world.run(&["--confirm"]).run().expect(0);
    assert_eq!(
        outcome(&run)["task"]["log_stream"].as_str().unwrap().split('/').nth(2),
        Some("prisma"),
        "{run}"
    );
    let request = world.ecs.requests("RunTask").pop().unwrap();
    assert_eq!(request["overrides"]["containerOverrides"][0]["name"], "prisma");

    let run = world.run(&["--container", "migrate"]).run().expect(2);
    let said = outcome(&run);
    assert!(said["failure"]["next"].as_str().unwrap().contains("prisma"), "{run}");
    assert_eq!(world.tasks(), 1);
}

#[test]
fn a_task_that_never_starts_is_exit_80_with_what_to_check() {
    let world = World::simple();
    world
        .ecs
        .never_starts("CannotPullContainerError: pull image manifest has been retried 5 time(s)");
    let run = world.run(&["--confirm", "--start-within=0s"]).run().expect(80);
    let said = outcome(&run);
    assert_eq!((&said["verb"], &said["result"]), (&json!("run"), &json!("failed")));
    let what = said["failure"]["what"].as_str().unwrap();
    assert!(
        what.contains("never started") && what.contains("CannotPullContainerError"),
        "{run}"
    );
    assert!(
        said["failure"]["next"]
            .as_str()
            .unwrap()
            .contains("check that the image exists"),
        "{run}"
    );
    assert_eq!(said["failure"]["state"], "nothing was changed");
    assert_eq!(
        (&said["task"]["arn"], &said["task"]["log_url"]),
        (&json!(world.task()), &json!(null))
    );
    assert!(said["duration_ms"].as_u64() > Some(0), "{run}");
}

#[test]
fn a_request_that_is_answered_with_failures_is_exit_80() {
    let world = World::simple();
    world
        .ecs
        .refuses("RESOURCE:MEMORY", "no container instance has 512 MiB left");
    let run = world.run(&["--confirm", "--start-within=0s"]).run().expect(80);
    let said = outcome(&run);
    assert!(
        said["failure"]["what"].as_str().unwrap().contains("RESOURCE:MEMORY"),
        "{run}"
    );
    assert!(said["failure"]["next"].as_str().unwrap().contains("capacity"), "{run}");
    assert_eq!(world.tasks(), 0);
}

#[test]
fn a_task_that_is_killed_is_exit_81_with_what_ecs_says() {
    let world = World::slow();
    let running = world.run(&["--confirm"]).spawn();
    harness::until("there is a task", || world.tasks() == 1);
    world.ecs.says(&world.task(), "applying");
    world.ecs.out_of_memory(&world.task());
    let run = running.wait().expect(81);
    let said = outcome(&run);
    let what = said["failure"]["what"].as_str().unwrap();
    assert!(what.contains("137") && what.contains("OutOfMemoryError"), "{run}");
    assert!(
        said["failure"]["next"].as_str().unwrap().contains("more memory"),
        "{run}"
    );
}

#[test]
fn a_cluster_or_a_definition_that_is_not_there_is_said() {
    let world = World::simple();
    let words = [
        "run",
        "--task-definition",
        "shop-migrate",
        "--subnets",
        "subnet-1",
        "--security-groups",
        "sg-1",
    ];
    let run = world
        .anywhere(words.iter().chain(&["--cluster", "nowhere"]))
        .run()
        .expect(2);
    assert!(
        outcome(&run)["failure"]["next"]
            .as_str()
            .unwrap()
            .contains("check --cluster"),
        "{run}"
    );
    let words = [
        "run",
        "--cluster",
        world.ecs.cluster(),
        "--subnets",
        "subnet-1",
        "--security-groups",
        "sg-1",
    ];
    let run = world
        .anywhere(words.iter().chain(&["--task-definition", "nothing"]))
        .run()
        .expect(2);
    assert!(
        outcome(&run)["failure"]["what"]
            .as_str()
            .unwrap()
            .contains("ecs:DescribeTaskDefinition on nothing"),
        "{run}"
    );
    assert_eq!(world.tasks(), 0);
}

#[test]
fn the_report_counts_where_the_log_is_lost() {
    let world = World::simple();
    world.ecs.lose_logs_after(1);
    let run = world
        .run(&["--confirm", "--reports", "s3://reports/shop"])
        .run()
        .expect(0);
    let said = outcome(&run);
    assert_eq!(
        (&said["verb"], &said["applied"][0]["name"]),
        (&json!("deploy"), &json!(INIT)),
        "{run}"
    );
    let report = world
        .command()
        .into_iter()
        .skip_while(|word| word != "--report")
        .nth(1)
        .unwrap();
    assert!(report.starts_with("s3://reports/shop/runs/"), "{report}");
    let stored = world
        .s3
        .get("reports", report.strip_prefix("s3://reports/").unwrap())
        .unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(stored["run_id"], said["run_id"]);
}

#[test]
fn without_report_and_log_the_exit_code_counts() {
    let world = World::with(&History::new().migration(INIT, "SELECT nme;"));
    world.ecs.lose_logs_after(1);
    let run = world.run(&["--confirm"]).run().expect(20);
    let said = outcome(&run);
    assert_eq!(
        (&said["verb"], &said["failure"]["sqlstate"]),
        (&json!("run"), &json!(null)),
        "{run}"
    );
    assert!(
        said["failure"]["what"].as_str().unwrap().contains("exited with 20"),
        "{run}"
    );
}

#[test]
fn what_is_too_long_for_a_line_of_the_log_is_left_to_the_report() {
    let names: Vec<String> = (1..=400)
        .map(|n| format!("20240101000{n:03}_a_migration_with_quite_a_long_name_for_this"))
        .collect();
    let history = names
        .iter()
        .fold(History::new(), |history, name| history.migration(name, "SELECT 1;"));
    let world = World::with(&history);
    let run = world.run(&["--", "status"]).run().expect(10);
    let line = world.ecs.log(&world.task()).lines().last().unwrap().to_owned();
    assert!(
        line.len() < 16_384
            && line.starts_with(r#"{"level":"info","message":"status: 400 migrations pending","outcome":{"#),
        "{line}"
    );
    let said = outcome(&run);
    let kept = said["migrations"].as_array().unwrap().len();
    assert!(kept > 0 && said["migrations"][0]["name"] == names[0].as_str(), "{run}");
    let warning = said["warnings"].to_string();
    assert!(
        warning.contains(&format!("{} of migrations", 400 - kept)) && warning.contains("its report has them"),
        "{run}"
    );

    let run = world
        .run(&["--reports", "s3://reports/made", "--", "status"])
        .env("AWS_MAX_ATTEMPTS", "2")
        .run()
        .expect(10);
    assert_eq!(outcome(&run)["migrations"].as_array().unwrap().len(), 400, "{run}");
}

#[test]
fn a_task_that_never_ran_is_started_again() {
    let world = World::simple();
    world.ecs.refuses(
        "Capacity is unavailable at this time. Please try again later or in a different availability zone",
        "",
    );
    world.ecs.never_starts(
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed",
    );
    let run = world.run(&["--confirm"]).run().expect(0);
    assert_eq!(outcome(&run)["result"], "applied", "{run}");
    assert_eq!(world.tasks(), 2);
    assert!(
        run.stderr
            .contains("nothing was changed, and it is started again in 5s"),
        "{run}"
    );
    let tokens: Vec<_> = world
        .ecs
        .requests("RunTask")
        .iter()
        .map(|request| request["clientToken"].clone())
        .collect();
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2], "{tokens:?}");
}

#[test]
fn what_ecs_does_not_know_is_not_asked_for_again() {
    let world = World::simple();
    world.ecs.refuses("MISSING", "");
    world.run(&["--confirm"]).run().expect(80);
    assert_eq!(world.ecs.requests("RunTask").len(), 1);
}
