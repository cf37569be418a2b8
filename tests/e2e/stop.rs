//! Stopping: SIGTERM, SIGINT and --max-duration, wherever the run is.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::{Running, Signal};
use harness::proxy::Proxy;
use harness::until;

const NAME: &str = "20240101000000_it";

fn before() -> History {
    History::new().migration(
        "20230101000000_before",
        "CREATE TABLE t (id int PRIMARY KEY, note text);",
    )
}

fn history(script: &str) -> History {
    before().migration(NAME, script)
}

/// A database that has the table already.
fn prepared() -> Database {
    let database = Server::shared().database();
    migrate().deploy(before().folder()).database(&database).run().expect(0);
    database
}

/// Waits until the database runs a statement that holds this text.
fn runs(database: &Database, text: &str) {
    until(&format!("{text} runs"), || {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
             AND pid <> pg_backend_pid() AND query LIKE '%{text}%'"
        );
        superuser_scalar(database, &sql) == "1"
    });
}

/// No backend of a run is left behind.
fn nothing_is_left_behind(database: &Database) {
    until("the backend is gone", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'prisma-migrate-task%'";
        superuser_scalar(database, sql) == "0"
    });
}

fn superuser_scalar(database: &Database, sql: &str) -> String {
    let mut client = database.superuser();
    let row = client.query_one(&format!("SELECT ({sql})::text"), &[]).unwrap();
    row.get(0)
}

fn spawn(database: &Database, history: &History) -> Running {
    migrate().deploy(history.folder()).database(database).spawn()
}

fn rows_of_it(database: &Database) -> Vec<(bool, bool)> {
    database
        .ledger()
        .into_iter()
        .filter(|row| row.name == NAME)
        .map(|row| (row.finished, row.rolled_back))
        .collect()
}

#[test]
fn a_signal_cancels_the_running_migration_and_leaves_nothing() {
    for signal in [Signal::TERM, Signal::INT] {
        let database = Server::shared().database();
        let history = history("INSERT INTO t VALUES (1); SELECT pg_sleep(300);");
        let run = spawn(&database, &history);
        runs(&database, "pg_sleep");
        run.signal(signal);
        let run = run.wait().expect(60);
        let failure = &run.report.as_ref().unwrap()["failure"];
        assert!(failure["state"].as_str().unwrap().contains("rolled back"), "{run}");
        assert_eq!(run.report.as_ref().unwrap()["pending"][0], NAME);
        assert_eq!(rows_of_it(&database), []);
        nothing_is_left_behind(&database);
        history.write(format!("migrations/{NAME}/migration.sql"), "INSERT INTO t VALUES (1);");
        migrate().deploy(history.folder()).database(&database).run().expect(0);
        assert_eq!(database.scalar("SELECT count(*) FROM t"), "1");
    }
}

#[test]
fn more_signals_change_nothing() {
    let database = Server::shared().database();
    let history = history("INSERT INTO t VALUES (1); SELECT pg_sleep(300);");
    let run = spawn(&database, &history);
    runs(&database, "pg_sleep");
    for signal in [Signal::TERM, Signal::TERM, Signal::INT, Signal::TERM] {
        run.signal(signal);
    }
    run.wait().expect(60);
    assert_eq!(rows_of_it(&database), []);
}

#[test]
fn the_clock_stops_it_as_a_signal_does() {
    let database = Server::shared().database();
    let history = history("SELECT pg_sleep(300);");
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--max-duration=1s")
        .run()
        .expect(60);
    assert!(
        run.report.as_ref().unwrap()["failure"]["what"]
            .as_str()
            .unwrap()
            .contains("--max-duration"),
        "{run}"
    );
    assert_eq!(rows_of_it(&database), []);
}

#[test]
fn a_stopped_index_build_leaves_no_invalid_index() {
    let database = prepared();
    let history = history("CREATE INDEX CONCURRENTLY i ON t (note);");
    // A transaction that has written to the table: the build waits for its end.
    let mut other = database.client();
    let mut transaction = other.transaction().unwrap();
    transaction.execute("INSERT INTO t VALUES (7)", &[]).unwrap();
    let run = spawn(&database, &history);
    until("the index is there and INVALID", || {
        database.scalar("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('i') AND NOT indisvalid") == "1"
    });
    run.signal(Signal::TERM);
    until("the build is cancelled", || {
        superuser_scalar(
            &database,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONC%' AND state = 'active'",
        ) == "0"
    });
    // DROP INDEX CONCURRENTLY waits for the same transaction.
    transaction.commit().unwrap();
    run.wait().expect(60);
    assert_eq!(database.scalar("SELECT to_regclass('i') IS NULL"), "t");
    assert_eq!(rows_of_it(&database), [(false, true)]);
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    assert_eq!(
        database.scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"),
        "t"
    );
}

#[test]
fn a_stopped_procedure_that_has_committed_is_said_to_have() {
    let database = Server::shared().database();
    let history = history("DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; PERFORM pg_sleep(300); END $$;");
    let run = spawn(&database, &history);
    until("its first part is committed", || {
        database.has_ledger()
            && rows_of_it(&database) == [(false, false)]
            && database.scalar("SELECT count(*) FROM t") == "1"
    });
    run.signal(Signal::TERM);
    run.wait().expect(61);
    assert_eq!(rows_of_it(&database), [(false, false)]);
    migrate().deploy(history.folder()).database(&database).run().expect(21);
}

#[test]
fn a_script_stopped_between_its_steps_goes_on_there() {
    let database = Server::shared().database();
    let script = |last: &str| format!("INSERT INTO t VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (note);\n{last}");
    let history = history(&script("SELECT pg_sleep(300);"));
    let run = spawn(&database, &history);
    runs(&database, "pg_sleep");
    run.signal(Signal::TERM);
    run.wait().expect(60);
    history.write(
        format!("migrations/{NAME}/migration.sql"),
        script("INSERT INTO t VALUES (2);"),
    );
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    assert_eq!(rows_of_it(&database), [(true, false)]);
    assert_eq!(database.scalar("SELECT count(*) FROM t"), "2");
}

#[test]
fn a_run_that_waits_stops_at_once() {
    let database = Server::shared().database();
    let history = history("SELECT 1;");
    let mut holder = database.client();
    holder.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
    let mut run = spawn(&database, &history);
    run.wait_for_stderr("the migration lock is held by");
    run.signal(Signal::TERM);
    run.wait().expect(60);
    assert!(!database.has_ledger());
}

#[test]
fn a_run_that_is_kept_from_its_locks_stops_between_two_tries() {
    let database = prepared();
    let history = history("ALTER TABLE t ADD COLUMN more int;");
    let mut other = database.client();
    let mut transaction = other.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE t IN ACCESS SHARE MODE").unwrap();
    let mut run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--lock-timeout=100ms")
        .spawn();
    run.wait_for_stderr("other sessions hold its locks");
    run.signal(Signal::TERM);
    run.wait().expect(60);
    assert_eq!(rows_of_it(&database), []);
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--lock-timeout=100ms")
        .arg("--lock-retry-for=1s")
        .run()
        .expect(31);
    assert_eq!(run.report.unwrap()["failure"]["sqlstate"], "55P03");
    let mut run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--lock-timeout=100ms")
        .spawn();
    run.wait_for_stderr("other sessions hold its locks");
    transaction.commit().unwrap();
    run.wait().expect(0);
    assert_eq!(rows_of_it(&database), [(true, false)]);
}

#[test]
fn a_server_that_does_not_answer_does_not_hold_up_the_end() {
    let server = Server::shared();
    let database = server.database();
    let history = history("SELECT pg_sleep(300);");
    let proxy = Proxy::to(server);
    let run = migrate()
        .deploy(history.folder())
        .database_url(&database, &proxy.url_for(&database))
        .arg("--stop-within=4s")
        .spawn();
    runs(&database, "pg_sleep");
    proxy.freeze();
    run.signal(Signal::TERM);
    let run = run.wait().expect(60);
    let state = run.report.as_ref().unwrap()["failure"]["state"].as_str().unwrap();
    assert!(state.contains("did not answer in time"), "{run}");
}
