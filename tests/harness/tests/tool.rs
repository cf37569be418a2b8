//! The runner of programs notices what it is there to notice. The shell is the program here: it can be made to misbehave.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use harness::postgres::Server;
use harness::process::Signal;
use harness::tool::{Call, Tool};

/// `--report <file>` follows the script, so that the file is `$1`.
fn shell(script: &str) -> Call {
    Tool::new("/bin/sh").verb(["-c", script])
}

#[test]
fn a_run_has_code_output_and_report() {
    let run = shell(r#"echo out; echo err >&2; echo '{"outcome": "applied"}' > "$1"; exit 21"#)
        .run()
        .expect(21);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(run.report.unwrap()["outcome"], "applied");
    assert!(shell("exit 0").run().expect(0).report.is_none());
    assert_eq!(shell("echo $#").without_report().run().stdout, "0\n");
}

#[test]
fn the_child_sees_only_what_it_was_given() {
    let run = shell("env").env("LOCK_WAIT", "5s").run();
    let mut names: Vec<_> = run.stdout.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell itself sets PWD, and `_` perhaps.
    names.retain(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["LOCK_WAIT", "PATH"]);
}

#[test]
#[should_panic(expected = "exit code 3 instead of 0")]
fn another_exit_code_is_noticed() {
    let _ = shell("exit 3").run().expect(0);
}

#[test]
#[should_panic(expected = "a secret is in stderr")]
fn a_password_in_the_output_is_noticed() {
    shell(r#"echo "cannot parse $DATABASE_URL" >&2"#)
        .database(&Server::shared().database())
        .run();
}

#[test]
#[should_panic(expected = "a secret is in report")]
fn a_part_of_the_password_in_the_report_is_noticed() {
    let database = Server::shared().database();
    shell(r#"echo "{\"host\": \"${DB_PASSWORD#*@}\"}" > "$1""#)
        .database_parts(&database)
        .run();
}

#[test]
fn signals_arrive_and_output_can_be_waited_for() {
    let mut running = shell("trap 'exit 60' TERM; echo ready >&2; while :; do sleep 0.01; done").spawn();
    running.wait_for_stderr("ready");
    running.signal(Signal::TERM);
    running.wait().expect(60);

    let mut running = shell("echo ready >&2; exec sleep 1000").spawn();
    running.wait_for_stderr("ready");
    running.kill().expect(128 + 9);
}

#[test]
#[should_panic(expected = "ended without saying \"ready\"")]
fn waiting_for_what_is_never_said_ends_with_the_program() {
    shell("echo no >&2").spawn().wait_for_stderr("ready");
}
