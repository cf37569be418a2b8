//! The protocol, row by row of its table in `docs/architecture.md`, against the server's true behaviour.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Options, Server};
use harness::process::Run;
use harness::proxy::Proxy;
use harness::until;
use serde_json::Value;

const NAME: &str = "20240101000000_it";

/// A database whose history so far is one applied migration that made the table `t`.
fn database() -> (Database, History) {
    database_on(Server::shared())
}

fn database_on(server: &Server) -> (Database, History) {
    let database = server.database();
    let history = History::new().migration(
        "20230101000000_before",
        "CREATE TABLE t (id int PRIMARY KEY, note text);",
    );
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    (database, history)
}

/// Deploys one more migration.
fn deploy(script: &str) -> (Database, Run) {
    let (database, history) = database();
    let history = history.migration(NAME, script);
    let run = migrate().deploy(history.folder()).database(&database).run();
    (database, run)
}

fn failure(run: &Run) -> &Value {
    &run.report.as_ref().unwrap()["failure"]
}

/// The migration is applied, with one row as Prisma would have written it.
#[track_caller]
fn is_applied(database: &Database) {
    let rows: Vec<_> = database.ledger().into_iter().filter(|row| row.name == NAME).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(
        rows[0].finished && !rows[0].rolled_back && rows[0].logs.is_none() && rows[0].steps == 1,
        "{rows:?}"
    );
}

/// Nothing of the migration is committed; the ledger keeps the failure as rolled back, with this text.
#[track_caller]
fn is_rolled_back(database: &Database, text: &str) {
    let rows: Vec<_> = database.ledger().into_iter().filter(|row| row.name == NAME).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(
        !rows[0].finished && rows[0].rolled_back && rows[0].steps == 0,
        "{rows:?}"
    );
    assert!(rows[0].logs.as_deref().unwrap().contains(text), "{rows:?}");
}

/// Part of it is committed: the row stays unfinished, with this mark and this text.
#[track_caller]
fn is_partial(database: &Database, mark: &str, text: &str) {
    let rows: Vec<_> = database.ledger().into_iter().filter(|row| row.name == NAME).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let logs = rows[0].logs.as_deref().unwrap();
    assert!(!rows[0].finished && !rows[0].rolled_back, "{rows:?}");
    assert!(
        logs.starts_with("prisma-migrate-task/1 run=") && logs.contains(mark) && logs.contains(text),
        "{logs}"
    );
}

fn rows_of_t(database: &Database) -> String {
    database.scalar("SELECT coalesce(string_agg(id::text, ',' ORDER BY id), '') FROM t")
}

/// Waits until a session waits for the advisory lock of this key.
fn until_one_waits(database: &Database, key: u32) {
    let waits = format!(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database \
         WHERE datname = current_database() AND locktype = 'advisory' AND objid = {key} AND NOT granted"
    );
    until("a session waits for the lock", || database.scalar(&waits) == "1");
}

#[test]
fn ordinary_statements_and_their_row_commit_together() {
    let (database, history) = database();
    let history = history.migration(
        NAME,
        "CREATE TABLE a (id int); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
    );
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    is_applied(&database);
    // The same transaction wrote the row and the data.
    assert_eq!(
        database.scalar(&format!(
            "SELECT count(DISTINCT x) FROM (SELECT xmin::text x FROM t UNION ALL \
             SELECT xmin::text FROM _prisma_migrations WHERE migration_name = '{NAME}') _"
        )),
        "1"
    );
}

#[test]
fn an_ordinary_deploy_leaves_no_warning_in_the_servers_log() {
    let server = Server::start(Options::new());
    let (database, history) = database_on(&server);
    let history = history.migration(NAME, "CREATE TEMP TABLE kept (id int); INSERT INTO t VALUES (1)");
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    is_applied(&database);
    let log = server.log();
    assert!(!log.contains("WARNING"), "{log}");
}

#[test]
fn a_failure_anywhere_rolls_everything_back() {
    let (database, run) = deploy("INSERT INTO t VALUES (1);\nCREATE TABLE a (id int);\nINSERT INTO t VALUES (1);");
    run.clone().expect(20);
    is_rolled_back(&database, "duplicate key");
    assert_eq!(rows_of_t(&database), "");
    let failure = failure(&run);
    assert_eq!(failure["prisma_code"], "P3018");
    assert_eq!(failure["sqlstate"], "23505");
    // The server gives no position for this error: the statement is found by counting.
    assert_eq!(failure["place"]["line"], 3);
}

#[test]
fn a_failure_of_a_deferred_constraint_at_commit_rolls_everything_back() {
    let (database, run) = deploy(
        "CREATE TABLE c (id int REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (7); CREATE TABLE d (id int)",
    );
    run.expect(20);
    is_rolled_back(&database, "violates foreign key constraint");
    assert_eq!(
        database.scalar("SELECT to_regclass('c') IS NULL AND to_regclass('d') IS NULL"),
        "t"
    );
}

#[test]
fn a_failed_migration_is_pending_again_and_its_repair_is_applied() {
    let (database, history) = database();
    let history = history.migration(NAME, "INSERT INTO t VALUES (1); SELECT oops");
    migrate().deploy(history.folder()).database(&database).run().expect(20);
    migrate().deploy(history.folder()).database(&database).run().expect(20);
    let history = history.migration(NAME, "INSERT INTO t VALUES (1)");
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    let states: Vec<_> = database
        .ledger()
        .into_iter()
        .filter(|row| row.name == NAME)
        .map(|row| (row.finished, row.rolled_back))
        .collect();
    assert_eq!(states, [(false, true), (false, true), (true, false)]);
    assert_eq!(rows_of_t(&database), "1");
}

#[test]
fn a_transaction_of_its_own_joins_the_row() {
    let (database, run) = deploy("BEGIN; INSERT INTO t VALUES (1); COMMIT;");
    run.expect(0);
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1");
}

#[test]
fn several_commits_of_its_own_and_success() {
    let (database, run) = deploy(
        "BEGIN; INSERT INTO t VALUES (1); COMMIT; BEGIN; INSERT INTO t VALUES (2); COMMIT; INSERT INTO t VALUES (3)",
    );
    run.expect(0);
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1,2,3");
}

#[test]
fn a_commit_without_a_begin_and_success() {
    let (database, run) = deploy("INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2);");
    run.expect(0);
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1,2");
}

#[test]
fn a_failure_after_a_commit_is_partially_committed() {
    let (database, run) = deploy("BEGIN; INSERT INTO t VALUES (1); COMMIT;\nINSERT INTO t VALUES (2);\nSELECT oops;");
    run.clone().expect(21);
    is_partial(&database, "state=partial", "oops");
    assert_eq!(rows_of_t(&database), "1");
    let failure = failure(&run);
    assert_eq!(
        (&failure["place"]["line"], &failure["sqlstate"]),
        (&3.into(), &"42703".into())
    );
    let next = failure["next"].as_str().unwrap();
    assert!(
        next.contains("resolve --applied") && next.contains("resolve --rolled-back"),
        "{next}"
    );
}

#[test]
fn a_partially_committed_migration_blocks_until_it_is_resolved() {
    let (database, history) = database();
    let history = history.migration(NAME, "INSERT INTO t VALUES (1); COMMIT; SELECT oops;");
    let later = history.migration("20250101000000_later", "INSERT INTO t VALUES (9)");
    migrate().deploy(later.folder()).database(&database).run().expect(21);
    let again = migrate().deploy(later.folder()).database(&database).run().expect(21);
    assert_eq!(failure(&again)["prisma_code"], "P3009");
    assert_eq!(rows_of_t(&database), "1");
    database.execute("DELETE FROM t");
    migrate()
        .verb(["resolve", "--rolled-back", NAME])
        .arg(later.folder())
        .database(&database)
        .run()
        .expect(0);
    let mended = later.migration(NAME, "INSERT INTO t VALUES (1)");
    migrate().deploy(mended.folder()).database(&database).run().expect(0);
    assert_eq!(rows_of_t(&database), "1,9");
}

#[test]
fn a_begin_whose_commit_is_not_reached_leaves_nothing_and_shows_the_true_error() {
    let (database, run) = deploy("BEGIN;\nINSERT INTO t VALUES (1);\nSELECT oops;\nINSERT INTO t VALUES (2);\nCOMMIT;");
    run.clone().expect(20);
    is_rolled_back(&database, "oops");
    assert_eq!(rows_of_t(&database), "");
    assert_eq!(
        (&failure(&run)["sqlstate"], &failure(&run)["place"]["line"]),
        (&"42703".into(), &3.into())
    );
}

#[test]
fn a_begin_without_a_commit_is_an_error_and_leaves_nothing() {
    let (database, history) = database();
    let history = history
        .migration(NAME, "BEGIN; INSERT INTO t VALUES (1);")
        .migration("20250101000000_later", "INSERT INTO t VALUES (9)");
    let run = migrate().deploy(history.folder()).database(&database).run().expect(20);
    is_rolled_back(&database, "leaves a transaction open");
    assert_eq!(rows_of_t(&database), "");
    assert!(
        failure(&run)["what"]
            .as_str()
            .unwrap()
            .contains("leaves a transaction open")
    );
}

#[test]
fn a_commit_and_chain_without_a_second_commit_is_partially_committed() {
    let (database, run) = deploy("BEGIN; INSERT INTO t VALUES (1); COMMIT AND CHAIN; INSERT INTO t VALUES (2);");
    run.expect(21);
    is_partial(&database, "state=partial", "leaves a transaction open");
    assert_eq!(rows_of_t(&database), "1");
}

#[test]
fn a_rollback_of_its_own_is_marked_beforehand_and_can_succeed() {
    let (database, run) = deploy("BEGIN; INSERT INTO t VALUES (1); ROLLBACK; INSERT INTO t VALUES (2);");
    run.expect(0);
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "2");
}

#[test]
fn a_rollback_of_its_own_and_a_failure_is_known_by_its_notes() {
    let (database, run) = deploy("BEGIN; INSERT INTO t VALUES (1); ROLLBACK; INSERT INTO t VALUES (2); SELECT oops;");
    run.expect(20);
    is_rolled_back(&database, "oops");
    assert_eq!(rows_of_t(&database), "");
    let (database, run) =
        deploy("BEGIN; INSERT INTO t VALUES (1); COMMIT; BEGIN; INSERT INTO t VALUES (2); ROLLBACK; SELECT oops;");
    run.expect(21);
    is_partial(&database, "state=partial step=1 ", "oops");
    assert_eq!(rows_of_t(&database), "1");
}

#[test]
fn a_rollback_of_its_own_in_a_script_that_cannot_be_parsed_leaves_nothing() {
    let (database, run) = deploy("BEGIN; INSERT INTO t VALUES (1); ROLLBACK; INSERT INTO t VALUES (2); SELEC oops;");
    run.expect(20);
    is_rolled_back(&database, "syntax error");
    assert_eq!(rows_of_t(&database), "");
}

#[test]
fn a_rollback_to_a_savepoint_is_ordinary() {
    let (database, run) =
        deploy("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2); ROLLBACK TO s; COMMIT;");
    run.expect(0);
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1");
}

#[test]
fn a_prepared_transaction_is_marked_beforehand() {
    // max_prepared_transactions is 0 by default, as on most servers: the server refuses, and what is left is not claimed to be known.
    let (database, run) = deploy("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'x';");
    run.expect(21);
    is_partial(&database, "state=undecidable", "prepared transactions are disabled");
}

#[test]
fn a_script_that_removes_the_ledger_fails_and_rolls_back() {
    let (database, run) = deploy("INSERT INTO t VALUES (1); DROP TABLE _prisma_migrations;");
    run.expect(20);
    assert_eq!(rows_of_t(&database), "");
    is_rolled_back(&database, "keeps its row in _prisma_migrations from being closed");
}

#[test]
fn a_script_that_removes_its_own_row_fails_and_rolls_back() {
    let (database, run) = deploy("INSERT INTO t VALUES (1); DELETE FROM _prisma_migrations;");
    run.expect(20);
    assert_eq!(rows_of_t(&database), "");
    is_rolled_back(&database, "keeps its row in _prisma_migrations from being closed");
}

#[test]
fn a_rule_or_a_trigger_in_the_way_of_the_ledger_is_a_clear_error() {
    let trigger = |event: &str| {
        format!(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER g BEFORE {event} ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION f()"
        )
    };
    let row_security = "ALTER TABLE _prisma_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
                        CREATE POLICY p ON _prisma_migrations FOR SELECT USING (true)";
    for (obstacle, code, says) in [
        (
            "CREATE RULE r AS ON INSERT TO _prisma_migrations DO INSTEAD NOTHING",
            50,
            "could not be written",
        ),
        (trigger("INSERT").as_str(), 50, "could not be written"),
        (trigger("UPDATE").as_str(), 20, "from being closed"),
        (row_security, 50, "cannot be read"),
    ] {
        let (database, history) = database();
        database.execute(obstacle);
        let history = history.migration(NAME, "INSERT INTO t VALUES (1)");
        let run = migrate()
            .deploy(history.folder())
            .database(&database)
            .run()
            .expect(code);
        assert!(
            failure(&run)["what"].as_str().unwrap().contains(says),
            "{obstacle}: {run}"
        );
        assert_eq!(rows_of_t(&database), "", "{obstacle}");
    }
}

#[test]
fn a_script_cannot_lose_the_migration_lock_within_its_transaction() {
    the_lock_is_kept(&[]);
    the_lock_is_kept(&["--all-or-nothing"]);
}

#[track_caller]
fn the_lock_is_kept(flags: &[&str]) {
    const LOCK: &str = "SELECT pg_try_advisory_lock(72707369)";
    let (database, history) = database();
    let wait = "SELECT pg_advisory_unlock_all(); SELECT pg_advisory_xact_lock(4711);";
    let history = history
        .migration(NAME, wait)
        .migration("20250101000000_next", wait.replace("4711", "4712"));
    let mut gate = database.client();
    gate.batch_execute("SELECT pg_advisory_lock(4711), pg_advisory_lock(4712)")
        .unwrap();
    let call = migrate().deploy(history.folder()).database(&database);
    let deploy = flags.iter().fold(call, |call, flag| call.arg(flag)).spawn();
    // In the script that has released it, and in the one behind it.
    for key in [4711, 4712] {
        until_one_waits(&database, key);
        assert_eq!(database.scalar(LOCK), "f", "{key}");
        gate.batch_execute(&format!("SELECT pg_advisory_unlock({key})"))
            .unwrap();
    }
    let run = deploy.wait().expect(0);
    assert!(!run.stderr.contains("released the migration lock"), "{run}");
    is_applied(&database);
    assert_eq!(database.scalar(LOCK), "t");
}

#[test]
fn a_script_that_releases_the_migration_lock_behind_its_commit_is_applied_and_the_lock_is_taken_again() {
    let (database, history) = database();
    let history = history
        .migration(
            NAME,
            "BEGIN; INSERT INTO t VALUES (1); COMMIT; SELECT pg_advisory_unlock_all();",
        )
        .migration("20250101000000_discard", "DISCARD ALL;")
        .migration("20250102000000_later", "INSERT INTO t VALUES (2)");
    let run = migrate().deploy(history.folder()).database(&database).run().expect(0);
    assert_eq!(run.stderr.matches("released the migration lock").count(), 2, "{run}");
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1,2");
}

#[test]
fn between_two_steps_the_migration_lock_is_taken_again() {
    let (database, history) = database();
    let history = history.migration(
        NAME,
        "SELECT pg_advisory_xact_lock(4713); SELECT pg_advisory_unlock_all();
         CREATE INDEX CONCURRENTLY i ON t (note); INSERT INTO t VALUES (1);",
    );
    let mut gate = database.client();
    gate.batch_execute("SELECT pg_advisory_lock(4713)").unwrap();
    let deploy = migrate().deploy(history.folder()).database(&database).spawn();
    until_one_waits(&database, 4713);
    // As Prisma does: it has the lock as soon as the script has released it.
    let mut rival = database.client();
    let rival = std::thread::spawn(move || {
        rival.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
        rival
    });
    until_one_waits(&database, 72_707_369);
    gate.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
    let mut rival = rival.join().unwrap();
    until("the run asks for the lock", || {
        let asks = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                    AND application_name LIKE 'prisma-migrate-task%' AND application_name NOT LIKE '% watch' AND query LIKE '%pg_locks l%'";
        database.scalar(asks) == "1"
    });
    assert_eq!(
        (
            rows_of_t(&database).as_str(),
            database
                .scalar("SELECT count(*) FROM pg_indexes WHERE indexname = 'i'")
                .as_str()
        ),
        ("", "0")
    );
    rival.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
    let run = deploy.wait().expect(0);
    assert!(
        run.stderr.contains("released the migration lock between two steps"),
        "{run}"
    );
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1");
}

#[test]
fn without_the_migration_lock_a_script_is_not_tried_again() {
    let (database, history) = database();
    let history = history.migration(NAME, "SELECT pg_advisory_unlock_all(); ALTER TABLE t ADD COLUMN n int;");
    let mut reader = database.client();
    reader.batch_execute("BEGIN; SELECT * FROM t").unwrap();
    let run = migrate()
        .deploy(history.folder())
        .arg("--lock-timeout")
        .arg("100ms")
        .database(&database)
        .run()
        .expect(31);
    assert!(
        failure(&run)["details"]
            .to_string()
            .contains("releases the migration lock"),
        "{run}"
    );
    reader.batch_execute("ROLLBACK").unwrap();
    migrate().deploy(history.folder()).database(&database).run().expect(0);
}

#[test]
fn what_cannot_run_in_a_transaction_runs_by_itself() {
    for script in [
        "CREATE INDEX CONCURRENTLY i ON t (note);",
        "-- comments are no statement\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (note) -- nor is this",
        "VACUUM t;",
        "VACUUM (FULL, ANALYZE) t",
        "REINDEX TABLE CONCURRENTLY t;",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN NULL; END'",
    ] {
        let (database, run) = deploy(script);
        run.expect(0);
        is_applied(&database);
    }
}

#[test]
fn a_procedure_that_commits_runs_by_itself() {
    let (database, history) = database();
    database.execute(
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); COMMIT; END'",
    );
    let history = history.migration(NAME, "CALL p();");
    let run = migrate().deploy(history.folder()).database(&database).run().expect(0);
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1,2");
    assert_eq!(run.report.unwrap()["applied"][0]["how"], "alone");
}

#[test]
fn a_procedure_that_commits_and_then_fails_may_have_committed() {
    let (database, run) = deploy("DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; RAISE EXCEPTION 'oops'; END $$;");
    run.expect(21);
    is_partial(&database, "state=alone step=1", "oops");
    assert_eq!(rows_of_t(&database), "1");
}

#[test]
fn a_concurrent_index_beside_other_statements_runs_step_by_step() {
    let (database, run) = deploy(
        "INSERT INTO t VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (note);\nBEGIN; INSERT INTO t VALUES (2); COMMIT;",
    );
    run.clone().expect(0);
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1,2");
    assert_eq!(
        database.scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"),
        "t"
    );
    assert_eq!(run.report.unwrap()["applied"][0]["how"], "step_by_step");
}

#[test]
fn an_enum_value_added_and_used_in_one_script_runs_step_by_step() {
    let (database, history) = database();
    database.execute("CREATE TYPE e AS ENUM ('a'); CREATE TABLE u (e e)");
    let history = history.migration(NAME, "ALTER TYPE e ADD VALUE 'b'; INSERT INTO u VALUES ('b');");
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    is_applied(&database);
    assert_eq!(database.scalar("SELECT string_agg(e::text, ',') FROM u"), "b");
}

#[test]
fn step_by_step_stops_behind_the_last_committed_step_and_goes_on_there() {
    let (database, history) = database();
    let first = "INSERT INTO t VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (note);\n";
    let history = history.migration(NAME, format!("{first}SELECT oops;\nINSERT INTO t VALUES (3);"));
    let run = migrate().deploy(history.folder()).database(&database).run().expect(21);
    is_partial(&database, "state=steps step=2", "oops");
    assert_eq!(failure(&run)["place"]["line"], 3);
    assert_eq!(rows_of_t(&database), "1");
    // Changed before the place: refused. Mended behind it: goes on.
    let changed = history.migration(
        NAME,
        "INSERT INTO t VALUES (8);\nCREATE INDEX CONCURRENTLY i ON t (note);\nINSERT INTO t VALUES (3);",
    );
    migrate().deploy(changed.folder()).database(&database).run().expect(21);
    assert_eq!(rows_of_t(&database), "1");
    let mended = changed.migration(NAME, format!("{first}INSERT INTO t VALUES (3);"));
    migrate().deploy(mended.folder()).database(&database).run().expect(0);
    is_applied(&database);
    assert_eq!(rows_of_t(&database), "1,3");
    let status = migrate()
        .verb(["status"])
        .arg(mended.folder())
        .database(&database)
        .run()
        .expect(0);
    assert!(!status.stdout.contains("edited"), "{status}");
}

#[test]
fn step_by_step_that_fails_at_its_first_step_leaves_nothing() {
    let (database, run) = deploy("SELECT oops; CREATE INDEX CONCURRENTLY i ON t (note);");
    run.expect(20);
    is_rolled_back(&database, "oops");
}

#[test]
fn an_isolation_level_set_first_is_kept_and_the_row_still_joins() {
    for (script, expected) in [
        (
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; INSERT INTO t SELECT 1, current_setting('transaction_isolation');",
            20,
        ),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t SELECT 1, current_setting('transaction_isolation'); COMMIT;",
            20,
        ),
    ] {
        let (database, run) = deploy(script);
        run.expect(0);
        is_applied(&database);
        assert_eq!(database.scalar("SELECT note FROM t"), "serializable");
        let (database, run) =
            deploy(&format!("{script}\nSELECT oops;").replace("COMMIT;\nSELECT oops;", "SELECT oops; COMMIT;"));
        run.expect(expected);
        is_rolled_back(&database, "oops");
    }
}

#[test]
fn copy_from_stdin_is_refused_before_anything_is_sent() {
    let (database, history) = database();
    let history = history.migration(NAME, "INSERT INTO t VALUES (1);").migration(
        "20250101000000_copy",
        "SELECT 1;\nCOPY t (id, note) FROM stdin;\n1\tx\n\\.\n",
    );
    let run = migrate().deploy(history.folder()).database(&database).run().expect(20);
    assert_eq!(failure(&run)["place"]["line"], 2);
    assert_eq!(rows_of_t(&database), "");
    assert_eq!(database.ledger().len(), 1);
}

#[test]
fn what_a_script_changes_in_its_session_does_not_reach_the_row_or_the_next_migration() {
    let (database, history) = database();
    let role = database.scalar("SELECT current_user");
    database
        .superuser()
        .batch_execute(&format!(
            "CREATE ROLE \"other {role}\"; GRANT \"other {role}\" TO {}",
            quoted(&role)
        ))
        .unwrap();
    let history = history
        .migration(
            NAME,
            format!(
                "SELECT set_config('search_path', '', false); SET statement_timeout = '1h'; SET ROLE \"other {role}\"; \
                 CREATE TEMPORARY TABLE left_over (id int); LISTEN something; PREPARE p AS SELECT 1; SET lock_timeout = 1;"
            ),
        )
        .migration(
            "20250101000000_next",
            "CREATE TABLE seen AS SELECT current_user::text AS role, current_setting('search_path') AS path, \
             current_setting('statement_timeout') AS timeout, to_regclass('left_over') IS NULL AS temporary_gone, \
             (SELECT count(*) FROM pg_listening_channels()) AS channels, (SELECT count(*) FROM pg_prepared_statements) AS prepared;",
        );
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    is_applied(&database);
    let seen = database.rows("SELECT role = current_user, path, timeout, temporary_gone, channels, prepared FROM seen");
    assert_eq!(seen, [["t", "\"$user\", public", "0", "t", "0", "0"]]);
}

#[test]
fn names_of_the_scripts_own_cannot_capture_ours() {
    // An operator and functions of the same names, found first by the search_path that the script sets.
    let (database, run) = deploy(
        "CREATE SCHEMA evil;
         CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''1999-01-01''::timestamptz';
         CREATE FUNCTION evil.ne(bigint, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR evil.<> (leftarg = bigint, rightarg = integer, function = evil.ne);
         CREATE FUNCTION evil.eq(varchar, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR evil.= (leftarg = varchar, rightarg = text, function = evil.eq);
         CREATE TABLE evil._prisma_migrations (id text);
         SET search_path = evil, pg_catalog;",
    );
    run.expect(0);
    is_applied(&database);
    assert_eq!(
        database.scalar("SELECT bool_and(finished_at > '2020-01-01') FROM _prisma_migrations"),
        "t"
    );
}

#[test]
fn an_unterminated_script_shows_its_own_error() {
    for (script, message) in [
        ("SELECT 'open", "unterminated quoted string"),
        ("SELECT \"open", "unterminated quoted identifier"),
        ("SELECT $x$ open", "unterminated dollar-quoted string"),
        ("SELECT E'open\\'", "unterminated quoted string"),
        ("SELECT 1; /* open", "unterminated /* comment"),
        ("CREATE TABLE x (id int", "syntax error at"),
        ("INSERT INTO t VALUES (1) -- , (2", ""),
    ] {
        let (database, run) = deploy(script);
        if message.is_empty() {
            run.expect(0);
            is_applied(&database);
            continue;
        }
        let run = run.expect(20);
        is_rolled_back(&database, message);
        let (what, excerpt) = (
            failure(&run)["what"].as_str().unwrap(),
            failure(&run)["place"]["excerpt"].as_str().unwrap(),
        );
        assert!(what.contains(message), "{script}: {what}");
        for ours in ["RESET", "UPDATE", ";)("] {
            assert!(
                !what.contains(ours) && !excerpt.contains(ours),
                "{script}: {what}\n{excerpt}"
            );
        }
        assert_eq!(failure(&run)["place"]["line"], 1, "{script}");
    }
}

#[test]
fn the_place_of_an_error_is_right_after_non_ascii_text_crlf_and_bom() {
    let (_, run) = deploy("\u{feff}-- Füße 🦶\r\nSELECT 'é',\r\n  oops;\r\n");
    let run = run.expect(20);
    let place = &failure(&run)["place"];
    assert_eq!((&place["line"], &place["column"]), (&3.into(), &3.into()));
    assert!(place["excerpt"].as_str().unwrap().contains("3 |   oops;"), "{place}");
}

#[test]
fn an_error_inside_a_function_body_names_the_statement() {
    let (_, run) = deploy("SELECT 1;\n\nDO $$ BEGIN\n  PERFORM oops;\nEND $$;");
    let run = run.expect(20);
    assert_eq!(failure(&run)["place"]["line"], 3);
    assert!(
        failure(&run)["details"]
            .to_string()
            .contains("inline_code_block line 2"),
        "{run}"
    );
}

#[test]
fn one_round_trip_and_one_commit_for_each_ordinary_migration() {
    // A server of its own: transaction ids are counted for the whole cluster.
    let server = Server::start(Options::new());
    let cost = |migrations: usize| {
        let (database, history) = database_on(&server);
        let history = (0..migrations).fold(history, |history, n| {
            let script = format!("CREATE TABLE m{n} (id int); INSERT INTO m{n} VALUES (1)");
            history.migration(&format!("202401010000{n:02}_m"), script)
        });
        let proxy = Proxy::to(&server);
        let transactions = || {
            database
                .scalar("SELECT pg_current_xact_id()::text")
                .parse::<usize>()
                .unwrap()
        };
        let before = transactions();
        migrate()
            .deploy(history.folder())
            .database_url(&database, &proxy.url_for(&database))
            .run()
            .expect(0);
        assert_eq!(database.ledger().len(), migrations + 1);
        (proxy.round_trips(), transactions() - before)
    };
    let ((few_trips, few_commits), (many_trips, many_commits)) = (cost(2), cost(12));
    assert_eq!(
        (many_trips - few_trips, many_commits - few_commits),
        (10, 10),
        "round trips and commits of ten more"
    );
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
