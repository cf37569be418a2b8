//! The help, and what a terminal shows.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::tool::Tool;

use super::{NAME, history};
use crate::migrate;

const BINARY: &str = env!("CARGO_BIN_EXE_prisma-migrate-task");

const VERBS: [&str; 11] = [
    "deploy", "plan", "status", "resolve", "baseline", "adopt", "drift", "execute", "run", "wait", "upload",
];

fn help(words: &[&str], columns: &str) -> String {
    let call = migrate()
        .verb(words)
        .arg("--help")
        .without_report()
        .env("COLUMNS", columns);
    call.run().expect(0).stdout
}

#[test]
fn help_begins_with_what_the_program_does() {
    let text = help(&[], "80");
    assert!(
        text.starts_with("Applies Prisma migrations to PostgreSQL and reports the result."),
        "{text}"
    );
    assert!(!text.contains("from outside"), "{text}");
    let short = migrate().verb(["-h"]).without_report().run().expect(0).stdout;
    assert!(short.starts_with("Applies Prisma migrations to PostgreSQL"), "{short}");
}

#[test]
fn no_line_of_any_help_is_wider_than_the_terminal_or_loses_its_indent() {
    for columns in ["80", "72", "100"] {
        let width: usize = columns.parse().unwrap();
        for words in std::iter::once(&[][..]).chain(VERBS.iter().map(std::slice::from_ref)) {
            let text = help(words, columns);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{columns}: {line:?}\n{text}");
            }
            // Below a heading everything is indented.
            let headings = [
                "Examples:",
                "Exit codes:",
                "The database, by one of these ways:",
                "The migrations, if SOURCE is not given:",
            ];
            let mut below = false;
            for line in text.lines() {
                below = headings.contains(&line) || (below && !line.is_empty());
                assert!(
                    !below || headings.contains(&line) || line.starts_with("  "),
                    "{columns}: {line:?}\n{text}"
                );
            }
        }
    }
    // On a terminal of 80 columns it is the same.
    let script = Tool::new("script").verb(["-qec", &format!("stty rows 24 cols 80; '{BINARY}' --help"), "/dev/null"]);
    let run = script
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .without_report()
        .run()
        .expect(0);
    let plain: String = uncoloured(&run.stdout);
    assert!(
        plain.lines().all(|line| line.trim_end().chars().count() <= 80),
        "{plain}"
    );
    let lines: Vec<&str> = plain.lines().map(str::trim_end).collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with("   20  a migration"))
        .unwrap();
    assert!(
        lines[at + 1].starts_with("       ") && lines[at + 1].ends_with(" it"),
        "{plain}"
    );
}

/// Without the sequences that colour a text.
fn uncoloured(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

#[test]
fn the_flags_have_headings() {
    for (verb, headings) in [
        (
            "deploy",
            &[
                "Migrations:",
                "Limits of a zip:",
                "Database:",
                "Locks:",
                "What is applied and refused:",
                "Seed and drift:",
                "Time:",
                "Output:",
            ][..],
        ),
        ("status", &["Migrations:", "Database:", "Output:"]),
        ("execute", &["Database:", "Time:", "Output:"]),
        ("run", &["Where the task is:", "Snapshot:", "Output:"]),
    ] {
        let text = help(&[verb], "100");
        for heading in headings {
            assert!(text.lines().any(|line| line == *heading), "{heading}\n{text}");
        }
    }
}

/// The program on a terminal, with these variables.
fn on_a_terminal(history: &History, database: &Database, words: &str, variables: &[(&str, &str)]) -> Run {
    let line = format!("'{BINARY}' {words} '{}'", history.folder().display());
    let mut call = Tool::new("script")
        .verb(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh");
    for (name, value) in [("TERM", "xterm")].iter().chain(variables) {
        call = call.env(name, value);
    }
    call.database(database).without_report().run()
}

#[test]
fn no_color_and_a_dumb_terminal_are_honoured_by_everything() {
    let slow = || history().migration(NAME, "SELECT pg_sleep(3); SELECT nothing;");
    for variables in [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
        let database = Server::shared().database();
        let run = on_a_terminal(&slow(), &database, "deploy", variables).expect(20);
        let painted = run.stdout.split("\u{1b}[").skip(1).any(|rest| {
            let parameters: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ';').collect();
            rest[parameters.len()..].starts_with('m') && !parameters.is_empty() && parameters != "0"
        });
        assert!(!painted, "{run}");
        assert!(run.stdout.contains("deploy failed"), "{run}");
        if variables[0].0 == "TERM" {
            // Nothing moves the cursor either.
            assert!(!run.stdout.contains('\u{1b}'), "{run}");
        }
        let run = on_a_terminal(&slow(), &database, "status", variables);
        assert!(!run.stdout.contains("\u{1b}[3"), "{run}");
    }
    let database = Server::shared().database();
    let run = on_a_terminal(&slow(), &database, "deploy", &[]).expect(20);
    assert!(run.stdout.contains("\u{1b}[31;1m"), "{run}");
}

#[test]
fn on_a_terminal_each_migration_is_printed_once() {
    let database = Server::shared().database();
    let names = ["20240101000000_one", "20240102000000_two", "20240103000000_three"];
    let history = History::new()
        .migration(names[0], "CREATE TABLE a (id int);")
        .migration(names[1], "CREATE INDEX CONCURRENTLY i ON a (id);")
        .migration(names[2], "SELECT 1;");
    let run = on_a_terminal(&history, &database, "deploy", &[]).expect(0);
    for name in names {
        assert_eq!(run.stdout.matches(name).count(), 1, "{name}\n{run}");
    }
    assert!(run.stdout.contains("3 migrations applied"), "{run}");
    let lines: Vec<&str> = run.stdout.lines().filter(|line| line.contains(": applied")).collect();
    // Every duration is one of seconds.
    for line in lines {
        assert!(
            line.trim_end().ends_with(" s") && !line.contains("duration_ms"),
            "{line}\n{run}"
        );
    }
    assert!(
        run.stdout.contains("applied (by itself, outside a transaction) in "),
        "{run}"
    );

    let database = Server::shared().database();
    let run = on_a_terminal(&history.remove(names[1]), &database, "deploy --all-or-nothing", &[]).expect(0);
    for name in [names[0], names[2]] {
        assert_eq!(run.stdout.matches(name).count(), 1, "{name}\n{run}");
    }
}

#[test]
fn check_drift_prints_each_difference_once() {
    let database = Server::shared().database();
    let deploy = migrate().deploy(history().folder()).database(&database).run().expect(0);
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    std::fs::write(&report, deploy.report.unwrap().to_string()).unwrap();
    database.execute("ALTER TABLE a ADD COLUMN by_hand int");
    let history = history();
    for (action, code) in [("warn", 0), ("refuse", 24)] {
        let call = migrate()
            .deploy(history.folder())
            .arg("--check-drift")
            .arg(action)
            .arg("--log-format=text")
            .arg("--since")
            .arg(&report);
        let run = call.database(&database).run().expect(code);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert_eq!(said.matches("by_hand").count(), 1, "{action}\n{run}");
        assert!(
            said.contains("the schema differs in 1 place from that of the report"),
            "{run}"
        );
    }
}

#[test]
fn plurals_are_right() {
    let database = Server::shared().database();
    database.execute("CREATE TABLE one_table (id int)");
    let run = migrate()
        .deploy(history().folder())
        .database(&database)
        .run()
        .expect(23);
    let what = super::failure(&run)["what"].as_str().unwrap().to_owned();
    assert!(what.contains("public (1 table: one_table) is not empty"), "{what}");

    let database = Server::shared().database();
    database.execute(
        "CREATE TABLE a (id int); CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz, \
         migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(), \
         applied_steps_count int NOT NULL DEFAULT 0); \
         INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) VALUES ('x', '', '20240101000000_init', 'it broke')",
    );
    let run = migrate()
        .verb(["status"])
        .arg(history().folder())
        .database(&database)
        .run()
        .expect(22);
    super::never_says(&run, &["1 things", "1 tables", "first 1 "]);
    super::says(
        &run,
        "details",
        &["the one object that its script creates exists: table a"],
    );
}

#[test]
fn a_command_that_is_shown_can_be_pasted() {
    let database = Server::shared().database();
    let script = "CREATE INDEX CONCURRENTLY i ON a (note);\nSELECT nothing;";
    let run = super::deploy(&database, script).expect(21);
    let next = super::failure(&run)["next"].as_str().unwrap().to_owned();
    let command = next.split('`').nth(1).unwrap();
    assert!(
        command.starts_with(&format!("prisma-migrate-task resolve --applied {NAME} /")),
        "{command}"
    );
    // SOURCE as it was given: the same folder.
    let source = command.rsplit(' ').next().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    // That folder is gone with its history.
    assert!(source.ends_with("/prisma"), "{command}");
    let history = history().migration(NAME, script);
    let words = words
        .iter()
        .map(|word| word.replace(source, history.folder().to_str().unwrap()));
    migrate().verb(words).database(&database).run().expect(0);

    // A path that a shell would take apart.
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("it's $mine");
    std::fs::create_dir_all(odd.join("migrations/20240101000000_init")).unwrap();
    std::fs::write(
        odd.join("migrations/migration_lock.toml"),
        "provider = \"postgresql\"\n",
    )
    .unwrap();
    std::fs::write(odd.join("migrations/20240101000000_init/migration.sql"), "SELECT 1;").unwrap();
    let database = Server::shared().database();
    let call = migrate()
        .verb(["status", "--log-format=text"])
        .arg(&odd)
        .database(&database);
    let run = call.run().expect(10);
    let line = run.stdout.lines().last().unwrap();
    let command = line.strip_prefix("next:  prisma-migrate-task ").unwrap();
    let shell = Tool::new("sh")
        .verb(["-c", &format!("'{BINARY}' {command}")])
        .database(&database);
    shell.without_report().run().expect(0);

    // On ECS it is the client that starts a task.
    let ecs = harness::endpoint::Endpoint::start();
    let call = migrate()
        .verb(["status", "--log-format=text"])
        .env("ARTIFACT_BUCKET", "artifacts")
        .env("PRISMA_ARTIFACT_KEY", "k.zip");
    let s3 = harness::s3::S3::start();
    s3.put("artifacts", "k.zip", history.zip(harness::history::Layout::Project));
    let database = Server::shared().database();
    let run = call.s3(&s3).envs(ecs.ecs()).database(&database).run().expect(10);
    assert!(
        run.stdout
            .trim_end()
            .ends_with("next:  prisma-migrate-task run --confirm"),
        "{run}"
    );
}
