//! What is said while a migration runs: how long, how far, and who is in its way.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Client, Database, Server};
use harness::until;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, note text);";

/// A table that a stranger reads in an open transaction, and a migration that wants it for itself.
fn blocked() -> (Database, History, Client) {
    let database = Server::shared().database();
    let history = History::new().migration("1_before", TABLE);
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    let history = history.migration("2_blocked", "ALTER TABLE t ADD COLUMN more int;");
    let mut other = database.client();
    for sql in ["SET application_name = 'the stranger'", "BEGIN", "SELECT * FROM t"] {
        other.batch_execute(sql).unwrap();
    }
    (database, history, other)
}

#[test]
fn a_long_migration_is_spoken_of_and_its_blocker_is_named() {
    let (database, history, mut other) = blocked();
    let call = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--lock-timeout=0")
        .arg("--progress-every=1s");
    let mut run = call.spawn();
    run.wait_for_stderr("waits for Lock relation");
    run.wait_for_stderr("is in its way");
    other.batch_execute("ROLLBACK").unwrap();
    let run = run.wait().expect(0);
    assert!(
        run.stderr.contains("the stranger") && run.stderr.contains("idle in transaction: SELECT * FROM t"),
        "{run}"
    );
}

#[test]
fn a_lock_that_is_not_had_in_time_is_reported_with_who_held_it() {
    let (database, history, _other) = blocked();
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--lock-timeout=1s")
        .arg("--lock-retry-for=1s")
        .run()
        .expect(31);
    let failure = &run.report.as_ref().unwrap()["failure"];
    assert!(failure["details"].to_string().contains("the stranger"), "{run}");
    assert_eq!(database.ledger().len(), 1);
}

#[test]
fn a_server_without_a_connection_to_spare_is_done_without_the_watcher() {
    let database = Server::shared().database();
    let user = database.user();
    database
        .superuser()
        .batch_execute(&format!("ALTER ROLE {user} CONNECTION LIMIT 1"))
        .unwrap();
    let history = History::new().migration("1_slow", "SELECT pg_sleep(3);");
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--progress-every=1s")
        .arg("--log-level=debug")
        .run()
        .expect(0);
    assert!(run.stderr.contains("no second connection to watch from"), "{run}");
}

#[test]
fn how_far_an_index_is_built_is_said() {
    let database = Server::shared().database();
    database.execute(&format!(
        "{TABLE} INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 1000) n"
    ));
    let history = History::new().migration("1_index", "CREATE INDEX CONCURRENTLY i ON t (note);");
    migrate()
        .verb(["resolve", "--applied", "0_before"])
        .arg(history.raw("migrations/0_before/migration.sql", TABLE).folder())
        .database(&database)
        .run()
        .expect(0);
    let mut other = database.client();
    other.batch_execute("BEGIN; INSERT INTO t VALUES (0)").unwrap();
    let history = History::new()
        .migration("0_before", TABLE)
        .migration("1_index", "CREATE INDEX CONCURRENTLY i ON t (note);");
    let mut run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--progress-every=1s")
        .spawn();
    run.wait_for_stderr("index: waiting for writers before build");
    other.batch_execute("COMMIT").unwrap();
    run.wait().expect(0);
}

#[test]
fn the_server_knows_which_migration_runs() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_' *-- é", TABLE)
        .migration("2_locks", "LOCK TABLE t; SELECT pg_sleep(60);");
    let run = migrate().deploy(history.folder()).database(&database).spawn();
    let mut client = database.superuser();
    until("the migration holds its lock", || {
        let holders = "SELECT a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = to_regclass('t') AND l.granted";
        let rows = client.query(holders, &[]).unwrap();
        rows.iter()
            .any(|row| row.get::<_, String>(0).starts_with("/* 2_locks */"))
    });
    run.kill();
}
