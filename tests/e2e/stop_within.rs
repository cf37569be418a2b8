//! How long a stop takes: on a dead network, with output that nobody reads, from the first moment on.

use crate::migrate;
use crate::tls::{Authority, params};
use harness::history::History;
use harness::postgres::{Database, Options, Server};
use harness::process::{Run, Running, Signal};
use harness::proxy::Proxy;
use harness::tool::Call;
use harness::until;
use std::time::{Duration, Instant};

const NAME: &str = "20240101000000_it";

/// For the process to end, on a machine that is busy.
const SLACK: Duration = Duration::from_millis(1500);

fn history(script: &str) -> History {
    History::new().migration(NAME, script)
}

/// Waits until the script of the run has come to its pg_sleep.
fn sleeps(database: &Database) {
    until("it has come to pg_sleep", || sleeping(database) == 1);
}

fn sleeping(database: &Database) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    database.superuser().query_one(sql, &[]).unwrap().get(0)
}

/// Asks it to stop; what came of it, and how long that took.
fn stopped(run: Running, signal: Signal) -> (Run, Duration) {
    let begin = Instant::now();
    run.signal(signal);
    let run = run.wait();
    (run, begin.elapsed())
}

fn warnings(run: &Run) -> String {
    run.report.as_ref().unwrap()["warnings"].to_string()
}

fn lock_is_free(database: &Database) -> bool {
    let sql = "SELECT pg_try_advisory_lock(72707369)::text";
    // The session ends with it, and so does the lock.
    database.scalar(sql) == "true"
}

#[test]
fn a_dead_network_does_not_outlast_it() {
    let server = Server::shared();
    for (name, script) in [
        ("one message", "SELECT pg_sleep(300);"),
        (
            "a statement by itself",
            "DO $$ BEGIN COMMIT; PERFORM pg_sleep(300); END $$;",
        ),
        (
            "a step among others",
            "CREATE TABLE t (id int); CREATE INDEX CONCURRENTLY i ON t (id); SELECT pg_sleep(300);",
        ),
    ] {
        let database = server.database();
        let history = history(script);
        let proxy = Proxy::to(server);
        let url = format!("{}?connect_timeout=100", proxy.url_for(&database));
        let within = Duration::from_secs(3);
        let run = migrate()
            .deploy(history.folder())
            .database_url(&database, &url)
            .arg("--stop-within=3s")
            .spawn();
        sleeps(&database);
        proxy.freeze();
        let (run, took) = stopped(run, Signal::TERM);
        assert!(matches!(run.code, 60 | 61), "{name}: {run}");
        assert!(took < within + SLACK, "{name}: {took:?}\n{run}");
        let state = run.report.as_ref().unwrap()["failure"]["state"].to_string();
        assert!(state.contains("did not answer in time"), "{name}: {run}");
    }
}

#[test]
fn the_goodbye_is_part_of_it() {
    let server = Server::shared();
    let database = server.database();
    let history = history("SELECT 1;");
    let mut holder = database.client();
    holder.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
    for within in ["200ms", "500ms", "1s"] {
        let proxy = Proxy::to(server);
        let mut run = migrate()
            .deploy(history.folder())
            .database_url(&database, &proxy.url_for(&database))
            .arg(format!("--stop-within={within}"))
            .spawn();
        run.wait_for_stderr("the migration lock is held by");
        proxy.freeze();
        let (run, took) = stopped(run, Signal::TERM);
        let run = run.expect(60);
        // The fixed two seconds for the goodbye would come on top.
        assert!(took < Duration::from_millis(1900), "{within}: {took:?}\n{run}");
    }
}

/// A call through something that drops what a client has sent if the client is gone before that is passed on.
fn through_a_dropper(call: impl Fn(&str) -> Call, url: &str, proxy: &Proxy, database: &Database) {
    proxy.drop_what_the_gone_have_sent(Duration::from_millis(150));
    let run = call(url).arg("--stop-within=20s").spawn();
    sleeps(database);
    let (run, took) = stopped(run, Signal::TERM);
    let run = run.expect(60);
    assert!(took < Duration::from_secs(10), "{took:?}\n{run}");
    until("nothing of it runs", || sleeping(database) == 0);
}

#[test]
fn a_cancel_is_not_lost_with_the_connection_that_brought_it() {
    let server = Server::shared();
    let history = history("SELECT pg_sleep(300);");

    let (database, proxy) = (server.database(), Proxy::to(server));
    let deploy = |url: &str| migrate().deploy(history.folder()).database_url(&database, url);
    through_a_dropper(deploy, &proxy.url_for(&database), &proxy, &database);

    let (database, proxy) = (server.database(), Proxy::to(server));
    let execute = |url: &str| {
        let call = migrate().verb(["execute", "SELECT pg_sleep(300)"]);
        call.arg("--confirm").database_url(&database, url)
    };
    through_a_dropper(execute, &proxy.url_for(&database), &proxy, &database);
}

#[test]
fn a_cancel_over_tls_is_not_lost_either() {
    let ours = Authority::new("our authority");
    let pair = ours.sign(&params(&["127.0.0.1"], "good"));
    let server = Server::start(
        Options::new()
            .setting("ssl", "on")
            .setting("ssl_cert_file", "good.crt")
            .setting("ssl_key_file", "good.key")
            .file("good.crt", pair.certificate.pem())
            .file("good.key", pair.key.serialize_pem()),
    );
    let history = history("SELECT pg_sleep(300);");
    let (database, proxy) = (server.database(), Proxy::link_to(server.port()));
    let url = format!("{}?sslmode=require", proxy.url_for(&database));
    let deploy = |url: &str| migrate().deploy(history.folder()).database_url(&database, url);
    through_a_dropper(deploy, &url, &proxy, &database);
}

#[test]
fn a_cancel_goes_by_the_socket_that_the_session_is_on() {
    let server = Server::shared();
    let database = server.database();
    let history = history("SELECT pg_sleep(300);");
    let url = format!("{}?host={}", database.url(), server.socket().display());
    let run = migrate().deploy(history.folder()).database_url(&database, &url).spawn();
    sleeps(&database);
    let (run, took) = stopped(run, Signal::INT);
    let run = run.expect(60);
    assert!(took < Duration::from_secs(10), "{took:?}\n{run}");
}

/// A script that says much more than a pipe and the queue behind it hold.
const SAYS_MUCH: &str =
    "DO $$ BEGIN FOR i IN 1..12000 LOOP RAISE NOTICE '% %', i, repeat('x', 1000); END LOOP; END $$;";

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    for (name, format) in [("json", "json"), ("text", "text")] {
        let database = Server::shared().database();
        let history = history(&format!("{SAYS_MUCH} SELECT pg_sleep(300);"));
        let run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--stop-within=5s")
            .arg(format!("--log-format={format}"))
            .stall_stderr()
            .spawn();
        // The script has not been kept from coming this far.
        sleeps(&database);
        let (run, took) = stopped(run, Signal::TERM);
        let run = run.expect(60);
        assert!(took < Duration::from_secs(5) + SLACK, "{name}: {took:?}\n{run}");
        assert!(
            warnings(&run).contains("lines of the log were dropped"),
            "{name}: {run}"
        );
        assert!(lock_is_free(&database), "{name}");
    }
}

#[test]
fn a_deploy_whose_log_nobody_reads_comes_to_its_end() {
    let database = Server::shared().database();
    let history = history(SAYS_MUCH).migration("20240102000000_next", "CREATE TABLE t (id int);");
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .stall_stderr()
        .run();
    let run = run.expect(0);
    assert!(
        warnings(&run).contains("because standard error was not read fast enough"),
        "{run}"
    );
    assert_eq!(database.scalar("SELECT to_regclass('t') IS NULL"), "f");
}

#[test]
fn a_log_that_is_read_late_says_what_is_missing_and_goes_on() {
    let database = Server::shared().database();
    let history = history(&format!("{SAYS_MUCH} SELECT pg_sleep(300);"));
    let mut run = migrate()
        .deploy(history.folder())
        .database(&database)
        .stall_stderr()
        .spawn();
    sleeps(&database);
    run.read_stderr();
    run.signal(Signal::TERM);
    run.wait_for_stderr("lines of the log were dropped");
    run.wait_for_stderr("stopping: SIGTERM");
    run.wait().expect(60);
}

#[test]
fn a_log_that_is_read_is_whole_and_in_order() {
    let database = Server::shared().database();
    let history = history(SAYS_MUCH);
    let run = migrate().deploy(history.folder()).database(&database).run().expect(0);
    let numbers: Vec<u32> = run
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| line["message"].as_str()?.split(' ').next()?.parse().ok())
        .collect();
    assert!(numbers.iter().copied().eq(1..=12000), "{} lines", numbers.len());
    assert_eq!(warnings(&run), "[]");
}

#[test]
fn an_outcome_that_nobody_reads_is_printed_without_the_lock_and_a_signal_ends_that() {
    for signal in [Signal::TERM, Signal::INT] {
        let database = Server::shared().database();
        let history = history("DO $$ BEGIN RAISE EXCEPTION 'no' USING DETAIL = repeat('x', 300000); END $$;");
        let mut run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--stop-within=2s")
            .stall_stdout()
            .spawn();
        until("the migration has failed", || {
            database.has_ledger() && database.ledger().iter().any(|row| row.rolled_back)
        });
        until("the lock is free", || lock_is_free(&database));
        assert!(run.is_running());
        let (run, took) = stopped(run, signal);
        let run = run.expect(20);
        assert!(took < Duration::from_secs(2) + SLACK, "{took:?}\n{}", run.stderr);
    }
}

#[test]
fn a_signal_is_heard_while_the_command_line_is_still_being_read() {
    let database = Server::shared().database();
    let folder = history("SELECT 1;");
    for signal in [Signal::TERM, Signal::INT] {
        let mut call = migrate().verb(["resolve"]).database(&database);
        // So much that it takes a while.
        for number in 0..20_000 {
            call = call.arg("--applied").arg(format!("20240101000000_{number}"));
        }
        let run = call.arg(folder.folder()).without_report().spawn();
        until("it is in the middle of that", || {
            run.computed() >= Duration::from_millis(40)
        });
        let run = stopped(run, signal).0;
        // Without a handler the signal ends it: 143, 130.
        let run = run.expect(60);
        assert!(run.stdout.contains("stopped by SIG"), "{}", run.stdout.len());
    }
}
