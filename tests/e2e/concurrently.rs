//! The CONCURRENTLY family: what a failed statement leaves, and whose it is. What an interrupted one leaves is in `recover.rs`.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Run;

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
