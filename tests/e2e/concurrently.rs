//! The CONCURRENTLY family: what a failed or interrupted statement leaves, and whose it is.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::until;

const NAME: &str = "20240101000000_it";
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'same'), (2, 'same');";

fn history(script: &str) -> History {
    History::new()
        .migration("20230101000000_before", TABLE)
        .migration(NAME, script)
}

/// A database with the table `t` and two rows that a unique index on `note` cannot hold.
fn database() -> Database {
    let database = Server::shared().database();
    let before = History::new().migration("20230101000000_before", TABLE);
    migrate().deploy(before.folder()).database(&database).run().expect(0);
    database
}

fn deploy(database: &Database, script: &str) -> Run {
    migrate().deploy(history(script).folder()).database(database).run()
}

fn indexes(database: &Database) -> String {
    database.scalar(
        "SELECT coalesce(string_agg(c.relname || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END, ', ' ORDER BY 1), '') \
         FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = 't'::regclass AND NOT indisprimary",
    )
}

fn states(database: &Database) -> Vec<(bool, bool)> {
    database
        .ledger()
        .into_iter()
        .filter(|row| row.name == NAME)
        .map(|row| (row.finished, row.rolled_back))
        .collect()
}

#[test]
fn a_build_that_fails_leaves_no_invalid_index_and_is_tried_again_by_the_next_deploy() {
    for script in [
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t (note);",
        "CREATE UNIQUE INDEX CONCURRENTLY ON public.t (note);",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"I\" ON \"public\".\"t\" (note);",
    ] {
        let database = database();
        let run = deploy(&database, script).expect(20);
        assert_eq!(run.report.unwrap()["failure"]["sqlstate"], "23505");
        assert_eq!(indexes(&database), "", "{script}");
        assert_eq!(states(&database), [(false, true)]);
        database.execute("UPDATE t SET note = id::text");
        deploy(&database, script).expect(0);
        assert!(
            !indexes(&database).is_empty() && !indexes(&database).contains("INVALID"),
            "{script}"
        );
    }
}

#[test]
fn an_invalid_index_that_was_there_before_is_not_touched() {
    for script in [
        "CREATE INDEX CONCURRENTLY i ON t (note);",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (note);",
    ] {
        let database = database();
        database
            .client()
            .batch_execute("CREATE UNIQUE INDEX CONCURRENTLY i ON t (note)")
            .unwrap_err();
        assert_eq!(indexes(&database), "i INVALID");
        let run = deploy(&database, script).expect(20);
        let failure = &run.report.as_ref().unwrap()["failure"];
        assert!(
            failure["next"]
                .as_str()
                .unwrap()
                .contains("DROP INDEX CONCURRENTLY public.i"),
            "{run}"
        );
        assert_eq!(indexes(&database), "i INVALID", "{script}");
        assert_eq!(states(&database), [(false, true)]);
        database.client().batch_execute("DROP INDEX CONCURRENTLY i").unwrap();
        deploy(&database, script).expect(0);
        assert_eq!(indexes(&database), "i");
    }
}

#[test]
fn a_valid_index_of_the_name_is_the_scripts_failure_or_its_success() {
    let database = database();
    database.execute("CREATE INDEX i ON t (note)");
    deploy(&database, "CREATE INDEX CONCURRENTLY i ON t (note);").expect(20);
    deploy(&database, "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (note);").expect(0);
    assert_eq!(indexes(&database), "i");
}

#[test]
fn a_reindex_that_is_killed_leaves_nothing_behind_after_the_next_deploy() {
    let database = database();
    database.execute("CREATE INDEX i ON t (note)");
    let history = history("REINDEX TABLE CONCURRENTLY t;");
    let mut other = database.client();
    other.batch_execute("BEGIN").unwrap();
    other.batch_execute("INSERT INTO t VALUES (7)").unwrap();
    let run = migrate().deploy(history.folder()).database(&database).spawn();
    until("the new indexes are there", || {
        indexes(&database).contains("_ccnew INVALID")
    });
    run.kill();
    // The server notices that the client is gone, and ends the statement; that can take as long as client_connection_check_interval.
    let mut superuser = database.superuser();
    superuser
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name LIKE 'prisma-migrate-task%'",
        )
        .unwrap();
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(states(&database), [(false, false)]);
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    assert_eq!(indexes(&database), "i");
    assert_eq!(states(&database).last(), Some(&(true, false)));
}

#[test]
fn a_build_that_is_killed_is_judged_by_the_catalogue() {
    let database = database();
    let history = history("CREATE INDEX CONCURRENTLY i ON t (note);");
    let mut other = database.client();
    other.batch_execute("BEGIN").unwrap();
    other.batch_execute("INSERT INTO t VALUES (7)").unwrap();
    let run = migrate().deploy(history.folder()).database(&database).spawn();
    until("the index is INVALID", || indexes(&database) == "i INVALID");
    run.kill();
    let mut superuser = database.superuser();
    superuser
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name LIKE 'prisma-migrate-task%'",
        )
        .unwrap();
    other.batch_execute("COMMIT").unwrap();
    let run = migrate().deploy(history.folder()).database(&database).run().expect(0);
    assert_eq!(indexes(&database), "i");
    assert_eq!(states(&database), [(false, true), (true, false)]);
    assert!(
        run.report.unwrap()["recovered"][0]
            .as_str()
            .unwrap()
            .contains("CREATE INDEX CONCURRENTLY i")
    );
}

#[test]
fn a_detached_partition_and_a_dropped_index_are_done() {
    let database = Server::shared().database();
    let before = "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9); \
                  CREATE TABLE t (id int); CREATE INDEX i ON t (id);";
    let history = History::new()
        .migration("1_before", before)
        .migration("2_detach", "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY;")
        .migration("3_drop", "DROP INDEX CONCURRENTLY i;")
        .migration("4_drop", "DROP INDEX CONCURRENTLY IF EXISTS i;");
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    assert_eq!(database.scalar("SELECT count(*) FROM pg_inherits"), "0");
    assert_eq!(database.scalar("SELECT to_regclass('i') IS NULL"), "t");
}
