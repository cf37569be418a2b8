//! What a caller sees: usage, variables, the two formats, the exit codes of what cannot be reached, and nothing that steers a terminal.

use std::time::Duration;

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::tool::{Call, Tool};
use serde_json::Value;

use crate::migrate;

const BINARY: &str = env!("CARGO_BIN_EXE_prisma-migrate-task");

/// The program without a verb, as a container starts it.
fn bare() -> Call {
    migrate().verb([] as [&str; 0])
}

fn history() -> History {
    History::new().migration("20240101000000_init", "CREATE TABLE a (id int);")
}

fn failing() -> History {
    history().migration("20240102000000_bad", "CREATE TABLE b (id int);\nSELECT * FROM nowhere;")
}

fn failure(run: &Run) -> &Value {
    &run.report.as_ref().unwrap()["failure"]
}

fn words<'a>(run: &'a Run, field: &str) -> &'a str {
    failure(run)[field].as_str().unwrap()
}

#[test]
fn without_source_and_variables_it_names_the_three_ways() {
    let run = bare().run().expect(2);
    assert_eq!(words(&run, "what"), "nothing says where the migrations are");
    for way in [
        "s3://bucket/key",
        "ARTIFACT_BUCKET",
        "PRISMA_ARTIFACT_KEY",
        "local zip file",
        "local folder",
    ] {
        assert!(words(&run, "next").contains(way), "{way}\n{run}");
    }
    let run = bare().env("ARTIFACT_BUCKET", "b").run().expect(2);
    assert!(words(&run, "what").contains("PRISMA_ARTIFACT_KEY is not"), "{run}");
}

#[test]
fn without_a_database_it_names_the_variables() {
    let history = history();
    let run = migrate().deploy(history.folder()).run().expect(2);
    for name in ["DATABASE_URL", "DB_HOST", "DB_USERNAME", "DB_PASSWORD"] {
        assert!(words(&run, "next").contains(name), "{name}\n{run}");
    }
}

#[test]
fn a_url_and_a_host_contradict_each_other() {
    let database = Server::shared().database();
    let history = history();
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .database_parts(&database)
        .run()
        .expect(2);
    assert!(
        words(&run, "what").contains("DATABASE_URL is set beside DB_HOST, DB_PORT, DB_NAME, DB_USERNAME, DB_PASSWORD"),
        "{run}"
    );
    assert!(!database.has_ledger());
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let database = Server::shared().database();
    let history = history();
    let mut call = migrate().deploy(history.folder()).database_parts(&database);
    for name in [
        "DATABASE_URL",
        "DB_SCHEMA",
        "DB_CA_FILE",
        "ARTIFACT_BUCKET",
        "PRISMA_ARTIFACT_KEY",
        "PRISMA_ARTIFACT_VERSION_ID",
        "PRISMA_ARTIFACT_ETAG",
        "LOCK_WAIT",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "STRICT",
        "MIGRATIONS_PATH",
        "CONNECT_TIMEOUT",
    ] {
        call = call.env(name, "");
    }
    call.run().expect(0);
    assert_eq!(database.ledger().len(), 1);
}

#[test]
fn a_flag_beats_its_variable_and_the_variable_its_default() {
    let history = history();
    let call = || migrate().deploy(history.folder()).without_report();
    let is_json = |run: &Run| serde_json::from_str::<Value>(&run.stdout).is_ok();
    assert!(is_json(&call().run()));
    assert!(!is_json(&call().env("LOG_FORMAT", "text").run()));
    assert!(is_json(
        &call().env("LOG_FORMAT", "text").arg("--log-format=json").run()
    ));
}

#[test]
fn the_verb_may_stand_behind_its_flags() {
    let database = Server::shared().database();
    let history = history();
    let call = migrate()
        .verb(["--log-format", "text", "status"])
        .arg(history.folder())
        .database(&database);
    call.run().expect(10);
    assert!(!database.has_ledger());
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for words in [
        &["deploy", "--no-such-flag"][..],
        &["status", "a", "b"],
        &["resolve", "x"],
        &["deploy", "--lock-wait", "soon"],
    ] {
        let run = migrate().verb(words).without_report().run().expect(2);
        assert!(
            run.stdout.is_empty() && run.stderr.contains("Usage:") || run.stderr.contains("--help"),
            "{run}"
        );
    }
}

#[test]
fn help_lists_every_exit_code() {
    let help = migrate().verb(["--help"]).without_report().run().expect(0).stdout;
    let table = help.split("Exit codes:").nth(1).expect("a table of exit codes");
    let codes: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let all = [
        "0", "1", "2", "10", "11", "20", "21", "22", "23", "24", "30", "31", "40", "41", "50", "60", "61", "70", "80",
        "81", "82",
    ];
    assert_eq!(codes, all);
}

#[test]
fn away_from_a_terminal_the_log_is_json_lines_and_the_outcome_one_json_line() {
    let database = Server::shared().database();
    let history = failing().migration("20240101000001_notice", "DO $$ BEGIN RAISE WARNING 'careful'; END $$;");
    let run = migrate().deploy(history.folder()).database(&database).run().expect(20);
    assert!(!run.stderr.is_empty());
    for line in run.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}\n{run}"));
        for field in ["time", "level", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
    assert_eq!(run.stdout.lines().count(), 1);
    let outcome: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(Some(&outcome), run.report.as_ref());
    assert_eq!(
        (&outcome["result"], &outcome["exit_code"]),
        (&"failed".into(), &20.into())
    );
    let notice = run
        .stderr
        .lines()
        .find(|line| line.contains("careful"))
        .expect("the warning is shown");
    let notice: Value = serde_json::from_str(notice).unwrap();
    assert_eq!(
        (&notice["level"], &notice["migration"]),
        (&"warn".into(), &"20240101000001_notice".into())
    );
}

/// The program on a terminal of its own, made by `script` of util-linux; standard output and error both come in as `stdout`.
fn on_a_terminal(history: &History, database: &Database, redirect: &str) -> Run {
    let line = format!("'{BINARY}' deploy '{}' {redirect}", history.folder().display());
    let script = Tool::new("script").verb(["-qec", &line, "/dev/null"]);
    script
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .database(database)
        .without_report()
        .run()
}

#[test]
fn on_a_terminal_it_is_text_in_colour() {
    let (database, history) = (Server::shared().database(), failing());
    let run = on_a_terminal(&history, &database, "").expect(20);
    for text in [
        "20240101000000_init: applied",
        "\u{1b}[31;1mdeploy failed\u{1b}[0m",
        "20240102000000_bad/migration.sql:2:15",
        "^^^^^^^",
        "P3018, SQLSTATE 42P01",
        "rolled back",
        "fix the SQL and deploy again",
        "20",
    ] {
        assert!(run.stdout.contains(text), "{text:?} is missing\n{run}");
    }
    assert!(!run.stdout.contains("{\""), "JSON on a terminal\n{run}");
}

#[test]
fn on_a_terminal_the_last_line_says_how_long_a_migration_runs() {
    let database = Server::shared().database();
    let history = History::new().migration("20240101000000_slow", "SELECT pg_sleep(3);");
    let run = on_a_terminal(&history, &database, "").expect(0);
    assert!(run.stdout.contains("20240101000000_slow  2 s"), "{run}");
}

#[test]
fn each_stream_is_looked_at_by_itself() {
    let (database, history) = (Server::shared().database(), history());
    // Standard error goes elsewhere, so the terminal shows the outcome alone.
    let run = on_a_terminal(&history, &database, "2>/dev/null").expect(0);
    assert!(
        run.stdout.contains("\u{1b}[32;1m1 migration applied\u{1b}[0m") && !run.stdout.contains("{\""),
        "{run}"
    );
    let run = on_a_terminal(&history, &database, ">/dev/null").expect(0);
    assert!(!run.stdout.contains("up to date"), "{run}");
}

#[test]
fn text_in_a_pipe_has_no_escapes() {
    let (database, history) = (Server::shared().database(), failing());
    let run = migrate()
        .deploy(history.folder())
        .arg("--log-format=text")
        .database(&database)
        .run()
        .expect(20);
    plain(&run.stdout);
    plain(&run.stderr);
    assert!(
        run.stdout.contains("deploy failed") && run.stdout.contains("applied  20240101000000_init"),
        "{run}"
    );
    assert!(run.stdout.contains("\nexit code:  20"), "{run}");
}

#[test]
fn an_unreachable_database_costs_the_connect_timeout() {
    let url = "postgresql://u:sesame@127.0.0.1:1/db";
    let history = history();
    let call = migrate()
        .deploy(history.folder())
        .env("DATABASE_URL", url)
        .secret("sesame");
    let run = call.arg("--connect-timeout=2s").run().expect(50);
    assert_eq!(failure(&run)["prisma_code"], "P1001");
    assert!(
        words(&run, "what").contains("127.0.0.1:1") && words(&run, "what").contains("gave up after"),
        "{run}"
    );
    assert!(run.took < Duration::from_secs(10), "{run}");
}

#[test]
fn a_wrong_password_is_told_at_once() {
    let database = Server::shared().database();
    let history = history();
    let call = migrate()
        .deploy(history.folder())
        .database_parts(&database)
        .env("DB_PASSWORD", "sesame")
        .secret("sesame");
    let run = call.arg("--connect-timeout=60s").run().expect(50);
    assert_eq!(
        (&failure(&run)["prisma_code"], words(&run, "state")),
        (&"P1000".into(), "nothing was changed")
    );
    assert!(!words(&run, "what").contains("attempts"), "{run}");
    assert!(run.took < Duration::from_secs(30), "{run}");
}

#[test]
fn an_unusable_artifact_is_told_without_waiting_for_the_database() {
    let url = "postgresql://u:sesame@127.0.0.1:1/db";
    let call = migrate()
        .deploy("no-such.zip")
        .env("DATABASE_URL", url)
        .secret("sesame");
    let run = call.arg("--connect-timeout=100s").run().expect(40);
    assert!(
        words(&run, "what").contains("no-such.zip") && run.took < Duration::from_secs(30),
        "{run}"
    );
}

/// C0 (newline and tab steer nothing, and names are cleared of them too), DEL, C1 and what turns the direction of writing.
const HOSTILE: &str = "\u{1b}[31m\u{7}\r\u{8}\u{7f}\u{9b}31m\u{85}\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}";

#[track_caller]
fn plain(text: &str) {
    let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || (HOSTILE.contains(c) && !c.is_ascii());
    assert!(!text.contains(steers), "raw control characters in {text:?}");
}

#[test]
fn names_from_the_archive_and_texts_of_the_server_steer_nothing() {
    let name = format!("20240102000000_{HOSTILE}\n\tx");
    let codes: Vec<String> = HOSTILE.chars().map(|c| format!("chr({})", u32::from(c))).collect();
    let text = codes.join("||");
    let notice =
        format!("DO $$ BEGIN RAISE NOTICE '%', {text}; RAISE WARNING '%', {text} USING HINT = {text}; END $$;");
    let raise = format!("DO $$ BEGIN RAISE '%', {text} USING DETAIL = {text}; END $$; /* {HOSTILE} */");
    for format in ["text", "json"] {
        let database = Server::shared().database();
        let deploy = |history: &History| {
            let call = migrate()
                .deploy(history.folder())
                .arg("--log-level=debug")
                .arg("--log-format")
                .arg(format);
            call.database(&database).run()
        };
        let runs = [
            (deploy(&History::new().migration(&name, &notice)), 0),
            (
                deploy(
                    &History::new()
                        .migration(&name, &notice)
                        .migration(&format!("{name}2"), &raise),
                ),
                20,
            ),
            (deploy(&History::new()), 0),
        ];
        for (run, code) in runs {
            let run = run.expect(code);
            assert!(code == 0 || run.stdout.contains("u{1b}[31m"), "{run}");
            plain(&run.stdout);
            plain(&run.stderr);
            plain(&run.report.unwrap().to_string());
        }
    }
}

#[test]
fn a_report_that_cannot_be_written_is_70_after_a_success_only() {
    let (database, nowhere) = (Server::shared().database(), "/proc/nowhere/report.json");
    let run = |verb: &str, history: &History| {
        let call = migrate()
            .verb([verb])
            .arg(history.folder())
            .arg("--report")
            .arg(nowhere);
        call.without_report().database(&database).run()
    };
    let done = run("deploy", &history()).expect(70);
    let outcome: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&outcome["result"], &outcome["exit_code"]),
        (&"applied".into(), &70.into())
    );
    assert!(
        outcome["warnings"][0].as_str().unwrap().contains(nowhere) && done.stderr.contains(nowhere),
        "{done}"
    );
    assert!(database.ledger()[0].finished);

    run("deploy", &history()).expect(70);
    let failed = run("deploy", &failing()).expect(20);
    assert!(failed.stderr.contains(nowhere), "{failed}");
    run("status", &failing()).expect(10);
}

#[test]
fn a_shell_is_told_how_to_complete() {
    for (shell, said) in [
        ("bash", "--lock-wait"),
        ("zsh", "#compdef prisma-migrate-task"),
        ("fish", "-l all-or-nothing"),
    ] {
        let run = migrate().verb(["completions", shell]).without_report().run().expect(0);
        assert!(run.stdout.contains(said), "{shell}\n{run}");
    }
    migrate()
        .verb(["completions", "cmd.exe"])
        .without_report()
        .run()
        .expect(2);
}

#[test]
fn the_outcome_is_json_beside_a_log_for_people() {
    let call = migrate().verb(["deploy", "--json", "--log-format", "text", "not/there"]);
    let run = call
        .env("DATABASE_URL", "postgresql://u:p@127.0.0.1:1/d")
        .arg("--connect-timeout")
        .arg("0")
        .run();
    let outcome: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run}"));
    assert_eq!(outcome["exit_code"], run.code);
    assert!(!run.stderr.starts_with('{'), "{run}");
}
