//! By which SQLSTATE and routine the server in use refuses what cannot run in one transaction: the names of its C functions are no promise, and
//! differ between versions.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Options, Server};
use prisma_migrate_task::apply::error::{is_contention, is_refusal};
use prisma_migrate_task::database::server_error::ServerError;

#[test]
fn every_refusal_is_recognised_on_this_version() {
    let database = Server::shared().database();
    database.execute(
        "CREATE TYPE e AS ENUM ('a'); CREATE TABLE p (id int PRIMARY KEY); \
         CREATE TABLE c (id int REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    );
    for (sqlstate, script) in [
        ("25001", "SELECT 1; VACUUM p"),
        ("25001", "SELECT 1; CREATE INDEX CONCURRENTLY ON p (id)"),
        ("25001", "SELECT 1; REINDEX TABLE CONCURRENTLY p"),
        ("25001", "SELECT 1; CREATE DATABASE d"),
        ("25001", "SELECT 1; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        ("25001", "SELECT 1; SET TRANSACTION DEFERRABLE"),
        ("25001", "BEGIN READ ONLY; SELECT 1; SET TRANSACTION READ WRITE"),
        (
            "25001",
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
        ),
        ("2D000", "SELECT 1; DO $$ BEGIN COMMIT; END $$"),
        ("2D000", "SELECT 1; DO $$ BEGIN ROLLBACK; END $$"),
        ("55P04", "ALTER TYPE e ADD VALUE 'b'; SELECT 'b'::e"),
        (
            "55006",
            "INSERT INTO p VALUES (1); INSERT INTO c VALUES (1); ALTER TABLE c ADD COLUMN more int",
        ),
        ("25006", "BEGIN READ ONLY; INSERT INTO p VALUES (2)"),
    ] {
        let mut client = database.client();
        let error = ServerError::from(client.batch_execute(script).unwrap_err());
        assert!(error.is(&[sqlstate]) && is_refusal(&error), "{script}: {error:?}");
    }
}

#[test]
fn the_same_errors_raised_by_a_script_are_its_failures() {
    let database = Server::shared().database();
    for sqlstate in ["25001", "2D000", "55P04", "55006", "25006"] {
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = '{sqlstate}'; END $$");
        let error = ServerError::from(database.client().batch_execute(&raise).unwrap_err());
        assert!(error.is(&[sqlstate]) && !is_refusal(&error), "{error:?}");
    }
}

#[test]
fn a_replication_slot_is_refused_in_a_transaction_that_has_written() {
    let server = Server::start(Options::new().setting("wal_level", "logical"));
    let database = server.database();
    let make = "SELECT pg_create_logical_replication_slot('a', 'test_decoding')";
    let mut client = database.superuser();
    client.batch_execute("CREATE TABLE t (id int)").unwrap();
    client.batch_execute(make).unwrap();
    for script in [
        "INSERT INTO t VALUES (1); SELECT pg_create_logical_replication_slot('b', 'test_decoding')",
        "INSERT INTO t VALUES (1); SELECT pg_create_logical_replication_slot('b', 'pgoutput', true)",
        "CREATE TABLE u (id int); SELECT pg_copy_logical_replication_slot('a', 'b')",
    ] {
        let error = ServerError::from(client.batch_execute(script).unwrap_err());
        assert!(error.is(&["25001"]) && is_refusal(&error), "{script}: {error:?}");
    }
}

#[test]
fn contention_that_a_script_raises_itself_is_its_failure_and_is_not_tried_again() {
    let script = |body: &str| format!("CREATE TABLE t (id int); {body}");
    for (name, sqlstate, body) in [
        (
            "a serialization failure in DO",
            "40001",
            "DO $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = '40001'; END $$;",
        ),
        (
            "a deadlock by its name",
            "40P01",
            "DO $$ BEGIN RAISE deadlock_detected USING MESSAGE = 'mine'; END $$;",
        ),
        (
            "a lock in a function",
            "55P03",
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE lock_not_available USING MESSAGE = 'mine'; END $$; SELECT f();",
        ),
        (
            "caught and raised again",
            "40001",
            "DO $$ BEGIN BEGIN RAISE SQLSTATE '40001' USING MESSAGE = 'mine'; EXCEPTION WHEN OTHERS THEN RAISE; END; END $$;",
        ),
        (
            "in a trigger",
            "40P01",
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '40P01' USING MESSAGE = 'mine'; END $$; \
             CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); INSERT INTO t VALUES (1);",
        ),
        (
            "in a step of its own",
            "55P03",
            "CREATE INDEX CONCURRENTLY i ON t (id); DO $$ BEGIN RAISE SQLSTATE '55P03' USING MESSAGE = 'mine'; END $$;",
        ),
    ] {
        let database = Server::shared().database();
        let history = History::new().migration("20240101000000_raises", script(body));
        let run = migrate().deploy(history.folder()).database(&database).run();
        let steps = body.contains("CONCURRENTLY");
        let run = run.expect(if steps { 21 } else { 20 });
        let failure = &run.report.as_ref().unwrap()["failure"];
        assert_eq!(failure["sqlstate"], sqlstate, "{name}: {run}");
        assert_eq!(failure["what"], "mine", "{name}: {run}");
        assert!(!run.stderr.contains("other sessions"), "{name}: {run}");
    }
}

#[test]
fn contention_with_other_sessions_is_recognised_on_this_version() {
    let database = Server::shared().database();
    database.execute("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1), (2, 2)");
    let mut holder = database.client();
    let mut held = holder.transaction().unwrap();
    held.batch_execute("UPDATE t SET n = 0 WHERE id = 1").unwrap();
    for script in [
        "SET lock_timeout = '50ms'; BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE NOWAIT",
        "SELECT * FROM t WHERE id = 1 FOR UPDATE NOWAIT",
        "DO $$ BEGIN BEGIN LOCK TABLE t NOWAIT; EXCEPTION WHEN OTHERS THEN RAISE; END; END $$",
    ] {
        let error = ServerError::from(database.client().batch_execute(script).unwrap_err());
        assert!(error.is(&["55P03"]) && is_contention(&error), "{script}: {error:?}");
    }
    let mut client = database.client();
    let mut serializable = client.transaction().unwrap();
    serializable
        .batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t")
        .unwrap();
    held.commit().unwrap();
    let error = ServerError::from(
        serializable
            .batch_execute("UPDATE t SET n = 5 WHERE id = 1")
            .unwrap_err(),
    );
    assert!(error.is(&["40001"]) && is_contention(&error), "{error:?}");
}
