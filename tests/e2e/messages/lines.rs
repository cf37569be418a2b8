//! The end of a run as a line of a log.

use harness::endpoint::Endpoint;
use harness::history::History;
use harness::postgres::Server;
use harness::process::Run;
use serde_json::Value;

use super::{NAME, begin, deploy, history};
use crate::migrate;

/// Docker's, and so that of the awslogs driver.
const LONGEST_LINE: usize = 16_384;

/// The last line of a task's log.
#[track_caller]
fn last(run: &Run) -> Value {
    let line = run.stdout.lines().last().unwrap_or_else(|| panic!("no line\n{run}"));
    assert!(line.len() < LONGEST_LINE, "{} bytes", line.len());
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn levels(text: &str) -> Vec<String> {
    let line = |line: &str| {
        serde_json::from_str::<Value>(line).ok()?["level"]
            .as_str()
            .map(str::to_owned)
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn on_ecs_the_last_line_is_a_line_of_the_log() {
    let database = Server::shared().database();
    let ecs = Endpoint::start();
    begin(&database);
    let on_ecs = |history: &History| {
        migrate()
            .deploy(history.folder())
            .database(&database)
            .envs(ecs.ecs())
            .run()
    };
    let failing = history().migration(NAME, "CREATE TABLE b (id int);\nSELECT nothing;");
    let run = on_ecs(&failing).expect(20);
    let line = last(&run);
    let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["level", "message", "outcome"]);
    assert_eq!(line["level"], "error");
    assert_eq!(
        line["message"],
        format!(
            "deploy failed: P3018: migration {NAME}: column \"nothing\" does not exist ({NAME}/migration.sql:2:8) [SQLSTATE 42703]"
        )
    );
    // The whole of it, as in the report, whatever the log router has under the name of task.
    assert_eq!(Some(&line["outcome"]), run.report.as_ref());
    assert!(line["outcome"]["task"]["arn"].is_string());
    assert_eq!(line["outcome"]["exit_code"], 20);
    // A failure is one line of level error.
    assert!(!levels(&run.stderr).contains(&"error".to_owned()), "{run}");
    let next = line["outcome"]["failure"]["next"].as_str().unwrap();
    assert!(next.starts_with("fix the SQL and deploy again"), "{next}");

    let run = on_ecs(&history().migration(NAME, "SELECT 1;")).expect(0);
    let line = last(&run);
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"info".into(), &"deploy: 1 migration applied".into())
    );
    let run = on_ecs(&history().migration(NAME, "SELECT 1;")).expect(0);
    assert_eq!(last(&run)["message"], "deploy: up to date");

    // A failed execution has it below its rows.
    let run = migrate()
        .verb(["execute", "SELECT 1/0"])
        .database(&database)
        .envs(ecs.ecs())
        .run()
        .expect(20);
    let line: Value = serde_json::from_str(run.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&line["level"], &line["outcome"]["verb"]),
        (&"error".into(), &"execute".into()),
        "{run}"
    );

    // Wrong usage, too.
    let run = migrate()
        .verb(["deploy", "--no-such-flag"])
        .without_report()
        .envs(ecs.ecs())
        .run()
        .expect(2);
    let line = last(&run);
    assert_eq!(
        (&line["level"], &line["outcome"]["exit_code"]),
        (&"error".into(), &2.into()),
        "{run}"
    );
    assert!(line["message"].as_str().unwrap().contains("--no-such-flag"), "{line}");
}

#[test]
fn elsewhere_a_failure_is_a_line_of_level_error_beside_the_document() {
    let database = Server::shared().database();
    let run = deploy(&database, "SELECT nothing;").expect(20);
    let errors: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains(r#""level":"error""#))
        .collect();
    assert_eq!(errors.len(), 1, "{run}");
    let line: Value = serde_json::from_str(errors[0]).unwrap();
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("deploy failed: P3018: migration"),
        "{line}"
    );
    assert_eq!(line["exit_code"], 20);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["exit_code"], 20);
    // For people the text says it, and nothing says it twice.
    let history = history().migration(NAME, "SELECT nothing;");
    let call = migrate()
        .deploy(history.folder())
        .arg("--log-format=text")
        .database(&database);
    let run = call.run().expect(20);
    assert!(
        run.stdout.contains("error: migration") && !run.stderr.contains("error:"),
        "{run}"
    );
}

#[test]
fn the_last_line_is_never_longer_than_a_driver_takes() {
    let database = Server::shared().database();
    let ecs = Endpoint::start();
    let names: Vec<String> = (1..=1_000)
        .map(|n| format!("2024010100{n:04}_a_migration_of_many"))
        .collect();
    let many = names
        .iter()
        .fold(History::new(), |history, name| history.migration(name, "SELECT 1;"));
    let status = migrate()
        .verb(["status"])
        .arg(many.folder())
        .database(&database)
        .envs(ecs.ecs());
    let run = status.run().expect(10);
    let line = last(&run);
    let kept = line["outcome"]["pending"].as_array().unwrap().len() as u64;
    assert_eq!(line["message"], "status: 1000 migrations pending");
    assert_eq!(line["outcome"]["omitted"]["pending"], 1_000 - kept);
    assert_eq!(run.report.as_ref().unwrap()["pending"].as_array().unwrap().len(), 1_000);

    // 500 hazards.
    begin(&database);
    let drops: Vec<String> = (1..=500)
        .map(|n| format!("ALTER TABLE wide DROP COLUMN c{n};"))
        .collect();
    let columns: Vec<String> = (1..=500).map(|n| format!("c{n} int")).collect();
    database.execute(&format!(
        "CREATE TABLE wide ({}); INSERT INTO wide DEFAULT VALUES",
        columns.join(", ")
    ));
    let wide = history().migration(NAME, drops.join("\n"));
    let plan = migrate()
        .verb(["plan"])
        .arg(wide.folder())
        .database(&database)
        .envs(ecs.ecs());
    let run = plan.run().expect(0);
    let hazards = run.report.as_ref().unwrap()["hazards"].as_array().unwrap().len();
    assert_eq!(hazards, 500, "{run}");
    assert!(last(&run)["outcome"]["omitted"]["hazards"].as_u64().unwrap() > 400);

    // 3 MB of logs.
    database.execute(&format!(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) SELECT 'x', '', '{NAME}', repeat('é', 1500000)"
    ));
    let status = || migrate().verb(["status"]).arg(wide.folder()).database(&database);
    let run = status().envs(ecs.ecs()).run().expect(22);
    assert_eq!(last(&run)["level"], "error");
    let run = status().arg("--log-format=text").run().expect(22);
    assert!(run.stdout.len() < 10_000, "{} bytes of text", run.stdout.len());
    assert!(
        run.stdout.contains("bytes more, which --report FILE has whole"),
        "{run}"
    );
}
