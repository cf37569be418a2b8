//! What interrupted runs leave, and what the next one, or the same one, makes of it.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Client, Database, Server};
use harness::process::Run;
use harness::proxy::{Direction, Proxy};
use harness::until;

const BEFORE: &str = "20230101000000_before";
const NAME: &str = "20240101000000_it";
const TABLE: &str = "CREATE TABLE t (id int, note text); CREATE SCHEMA side; CREATE TABLE side.things (id int)";

/// A database whose history so far is applied, and that history with one more migration.
fn pending(script: &str) -> (Database, History) {
    let database = Server::shared().database();
    let history = History::new().migration(BEFORE, TABLE);
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    (database, history.migration(NAME, script))
}

fn deploy(database: &Database, history: &History) -> Run {
    migrate().deploy(history.folder()).database(database).run()
}

/// Writes the unfinished row that a killed run would have left.
fn unfinished(database: &Database, script: &str, state: &str) {
    let script = script.replace('\'', "''");
    database.execute(&format!(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) \
         VALUES ('its-row', encode(sha256(convert_to('{script}', 'UTF8')), 'hex'), '{NAME}', 'prisma-migrate-task/1 run=dead state={state}')"
    ));
}

fn prefix(text: &str) -> String {
    Server::shared()
        .database()
        .scalar(&format!("SELECT encode(sha256('{text}'::bytea), 'hex')"))
}

/// The migration's only row that is not rolled back is an applied one, as Prisma would have written it.
#[track_caller]
fn is_applied(database: &Database) {
    let rows: Vec<_> = database
        .ledger()
        .into_iter()
        .filter(|row| row.name == NAME && !row.rolled_back)
        .collect();
    assert!(
        rows.len() == 1 && rows[0].finished && rows[0].steps == 1 && rows[0].logs.is_none(),
        "{rows:?}"
    );
}

/// The outcome has it as applied by this run, once.
#[track_caller]
fn says_applied(run: &Run) {
    let names: Vec<_> = run.report.as_ref().unwrap()["applied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|applied| applied["name"].clone())
        .collect();
    assert_eq!(names, [NAME], "{run}");
}

#[track_caller]
fn says_recovered(run: &Run, text: &str) {
    let recovered = run.report.as_ref().unwrap()["recovered"].to_string();
    assert!(recovered.contains(text), "{run}");
}

fn runs(database: &Database, text: &str) {
    until(&format!("{text} runs"), || {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
             AND pid <> pg_backend_pid() AND query LIKE '%{text}%'"
        );
        !database.superuser().query(&sql, &[]).unwrap().is_empty()
    });
}

/// A session that has written to `t` and not committed.
fn writer(database: &Database) -> Client {
    let mut client = database.client();
    client.batch_execute("BEGIN; INSERT INTO t VALUES (0)").unwrap();
    client
}

fn terminate_ours(database: &Database) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'prisma-migrate-task/%'";
    let mut client = database.superuser();
    until("no backend of ours is left", || {
        client.query(sql, &[]).unwrap().is_empty()
    });
}

const INDEX_IS_VALID: &str = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('i') AND indisvalid";

#[test]
fn a_connection_cut_while_the_script_is_sent_is_made_again_and_the_same_run_goes_on() {
    let long = "-".repeat(300_000);
    let (database, history) = pending(&format!(
        "INSERT INTO t VALUES (1);\n-- {long}\nINSERT INTO t VALUES (2)"
    ));
    let proxy = Proxy::to(Server::shared());
    proxy.cut_after(Direction::ToServer, 150_000);
    let run = migrate()
        .deploy(history.folder())
        .database_url(&database, &proxy.url_for(&database))
        .run()
        .expect(0);
    assert!(!proxy.is_cut_due());
    is_applied(&database);
    says_applied(&run);
    assert_eq!(
        database.scalar("SELECT string_agg(id::text, ',' ORDER BY id) FROM t"),
        "1,2"
    );
}

#[test]
fn a_connection_cut_while_the_script_runs_is_made_again_and_the_script_is_applied_once() {
    let (database, history) = pending("INSERT INTO t VALUES (1); SELECT pg_sleep(2);");
    let proxy = Proxy::to(Server::shared());
    let run = migrate()
        .deploy(history.folder())
        .database_url(&database, &proxy.url_for(&database))
        .spawn();
    runs(&database, "pg_sleep");
    proxy.cut();
    let run = run.wait().expect(0);
    is_applied(&database);
    says_applied(&run);
    assert_eq!(database.scalar("SELECT count(*) FROM t"), "1");
}

#[test]
fn a_cut_between_the_commit_and_the_verdict_does_not_run_the_script_twice() {
    let script = "INSERT INTO t VALUES (1)";
    let undisturbed = {
        let (database, history) = pending(script);
        let proxy = Proxy::to(Server::shared());
        // A report describes the schema at the end, and the end is what is cut here.
        migrate()
            .deploy(history.folder())
            .without_report()
            .database_url(&database, &proxy.url_for(&database))
            .run()
            .expect(0);
        proxy.bytes(Direction::ToClient)
    };
    let mut known_without_running_again = 0;
    for before_the_end in (0..900).step_by(50) {
        let (database, history) = pending(script);
        let proxy = Proxy::to(Server::shared());
        proxy.cut_after(Direction::ToClient, undisturbed - 1 - before_the_end);
        let run = migrate()
            .deploy(history.folder())
            .without_report()
            .database_url(&database, &proxy.url_for(&database))
            .run()
            .expect(0);
        is_applied(&database);
        let said: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(said["applied"][0]["name"], NAME, "{run}");
        assert_eq!(database.scalar("SELECT count(*) FROM t"), "1");
        if run.stderr.contains("the connection was lost") && run.stderr.matches("applying (").count() == 1 {
            known_without_running_again += 1;
        }
    }
    assert!(known_without_running_again > 0);
}

#[test]
fn an_enclosed_script_whose_commit_is_in_is_closed() {
    let script = "BEGIN; INSERT INTO t VALUES (1); COMMIT;";
    let (database, history) = pending(script);
    database.execute(script);
    unfinished(&database, script, "partial");
    let run = deploy(&database, &history).expect(0);
    says_recovered(&run, "its row is closed");
    is_applied(&database);
    assert_eq!(database.scalar("SELECT count(*) FROM t"), "1");
}

#[test]
fn an_enclosed_script_that_was_edited_since_is_not_closed() {
    let (database, history) = pending("BEGIN; INSERT INTO t VALUES (2); COMMIT;");
    unfinished(&database, "BEGIN; INSERT INTO t VALUES (1); COMMIT;", "partial");
    deploy(&database, &history).expect(21);
    assert_eq!(database.scalar("SELECT count(*) FROM t"), "0");
}

#[test]
fn an_index_that_an_interrupted_run_was_building_is_decided_from_the_catalogue() {
    let script = "CREATE INDEX CONCURRENTLY i ON t (note);";
    let index = "CREATE INDEX i ON t (note)";
    let invalid = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass";
    for (left, is_invalid, says) in [
        (Some(index), false, "had finished CREATE INDEX CONCURRENTLY i"),
        (Some(index), true, "had not finished CREATE INDEX CONCURRENTLY i"),
        (None, false, "had not finished CREATE INDEX CONCURRENTLY i"),
    ] {
        let (database, history) = pending(script);
        if let Some(left) = left {
            database.execute(left);
        }
        if is_invalid {
            database.superuser().batch_execute(invalid).unwrap();
        }
        unfinished(
            &database,
            script,
            &format!("alone step=1 prefix={} before=", prefix("")),
        );
        let run = deploy(&database, &history).expect(0);
        says_recovered(&run, says);
        is_applied(&database);
        assert_eq!(database.scalar(INDEX_IS_VALID), "1");
    }
}

#[test]
fn an_index_is_looked_for_where_the_script_had_set_its_search_path() {
    for setting in [
        "SET search_path = side",
        "SELECT pg_catalog.set_config('search_path', 'side', false)",
    ] {
        let script = format!("{setting};\nCREATE INDEX CONCURRENTLY i ON things (id);\nCREATE TABLE more (id int);");
        let (database, history) = pending(&script);
        database.execute("CREATE INDEX i ON side.things (id)");
        let mark = format!("alone step=2 prefix={} before=", prefix(&setting.replace('\'', "''")));
        unfinished(&database, &script, &mark);
        let run = deploy(&database, &history).expect(0);
        says_recovered(&run, "had finished CREATE INDEX CONCURRENTLY i");
        is_applied(&database);
        assert_eq!(database.scalar("SELECT to_regclass('side.more') IS NOT NULL"), "t");
    }
}

#[test]
fn an_index_build_whose_client_and_backend_were_killed_is_done_again() {
    let (database, history) = pending("CREATE INDEX CONCURRENTLY i ON t (note);");
    let mut writer = writer(&database);
    let run = migrate().deploy(history.folder()).database(&database).spawn();
    until("the index is there and INVALID", || {
        database.scalar("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('i') AND NOT indisvalid") == "1"
    });
    run.kill();
    terminate_ours(&database);
    writer.batch_execute("COMMIT").unwrap();
    let run = deploy(&database, &history).expect(0);
    says_recovered(&run, "it runs again");
    is_applied(&database);
    assert_eq!(database.scalar(INDEX_IS_VALID), "1");
}

#[test]
fn an_interrupted_reindex_leaves_no_invalid_index() {
    let (database, history) = pending("REINDEX INDEX CONCURRENTLY i;");
    database.execute("CREATE INDEX i ON t (note)");
    let mut writer = writer(&database);
    let run = migrate().deploy(history.folder()).database(&database).spawn();
    until("the new index is there", || {
        database.scalar("SELECT to_regclass('i_ccnew') IS NOT NULL") == "t"
    });
    run.kill();
    terminate_ours(&database);
    writer.batch_execute("COMMIT").unwrap();
    let run = deploy(&database, &history).expect(0);
    assert!(
        run.stderr
            .contains("the index public.i_ccnew was left INVALID: it is dropped"),
        "{run}"
    );
    is_applied(&database);
    assert_eq!(
        database.scalar("SELECT count(*) FROM pg_index WHERE NOT indisvalid"),
        "0"
    );
    assert_eq!(database.scalar(INDEX_IS_VALID), "1");
}

#[test]
fn the_backend_of_a_killed_run_is_named_while_it_is_waited_for() {
    let (database, history) = pending("INSERT INTO t VALUES (1); SELECT pg_sleep(300);");
    let mut run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--log-format=text")
        .spawn();
    runs(&database, "pg_sleep");
    run.wait_for_stderr("run_id=");
    let run_id = run_id(&run.stderr());
    run.kill();
    history.write(format!("migrations/{NAME}/migration.sql"), "INSERT INTO t VALUES (2)");
    let mut next = migrate().deploy(history.folder()).database(&database).spawn();
    next.wait_for_stderr("the migration lock is held by");
    if Server::shared().major() < 14 {
        // Without client_connection_check_interval it would sleep on.
        terminate_ours_of(&database, &run_id);
    }
    let next = next.wait().expect(0);
    let said = next
        .stderr
        .lines()
        .find(|line| line.contains("the migration lock is held by"))
        .unwrap();
    assert!(
        said.contains(&run_id) && said.contains("prisma-migrate-task/"),
        "{said}"
    );
    assert!(next.took.as_secs() < 30, "{next}");
    is_applied(&database);
    assert_eq!(database.scalar("SELECT string_agg(id::text, ',') FROM t"), "2");
}

#[test]
fn the_backend_of_a_killed_run_is_ended_on_request() {
    let (database, history) = pending("INSERT INTO t VALUES (1); SELECT pg_sleep(300);");
    let mut run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--log-format=text")
        .spawn();
    runs(&database, "pg_sleep");
    run.wait_for_stderr("run_id=");
    let run_id = run_id(&run.stderr());
    run.kill();
    history.write(format!("migrations/{NAME}/migration.sql"), "INSERT INTO t VALUES (2)");
    let next = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--terminate-orphan")
        .arg("--lock-wait=0")
        .run()
        .expect(0);
    let said = next
        .stderr
        .lines()
        .find(|line| line.contains("--terminate-orphan"))
        .unwrap();
    assert!(said.contains(&run_id), "{said}");
    is_applied(&database);
    assert_eq!(database.scalar("SELECT string_agg(id::text, ',') FROM t"), "2");
}

#[test]
fn a_strangers_backend_is_never_ended() {
    let (database, history) = pending("INSERT INTO t VALUES (1)");
    let mut stranger = database.client();
    stranger
        .batch_execute("SET application_name = 'a stranger'; SELECT pg_advisory_lock(72707369)")
        .unwrap();
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--terminate-orphan")
        .arg("--lock-wait=1s")
        .run()
        .expect(30);
    assert!(run.stdout.contains("a stranger"), "{run}");
    stranger.batch_execute("SELECT pg_advisory_unlock(72707369)").unwrap();
    deploy(&database, &history).expect(0);
}

fn terminate_ours_of(database: &Database, run_id: &str) {
    let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%{run_id}'");
    database.superuser().query(&sql, &[]).unwrap();
}

/// The run's id, as the first line says it.
fn run_id(stderr: &str) -> String {
    let (_, rest) = stderr.split_once("run_id=").unwrap();
    rest.chars()
        .take_while(|c| c.is_ascii_hexdigit() || *c == '-')
        .collect()
}

/// The connection is cut while the mark of a script is written that is to be sent after it: the server commits the mark, and the script was never sent.
#[test]
fn what_was_announced_and_never_sent_is_taken_back_by_the_same_run() {
    for (script, rows) in [
        (
            "BEGIN; INSERT INTO t VALUES (7); ROLLBACK; INSERT INTO t VALUES (1);",
            "1",
        ),
        ("CALL p();", "1"),
        (
            "INSERT INTO t VALUES (1);\nCALL p();\nCREATE INDEX CONCURRENTLY i ON t (note);",
            "1,1",
        ),
    ] {
        let (database, history) = pending(script);
        database.execute(
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN INSERT INTO t VALUES (1); COMMIT; END'; \
             CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NEW; END'; \
             CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON _prisma_migrations FOR EACH ROW \
             WHEN (NEW.logs LIKE '%state=alone%' OR NEW.logs LIKE '%state=partial step=0%') EXECUTE FUNCTION slow()",
        );
        let proxy = Proxy::to(Server::shared());
        let run = migrate()
            .deploy(history.folder())
            .database_url(&database, &proxy.url_for(&database))
            .spawn();
        let sleeping =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        until("the mark is being written", || {
            database.superuser().query_one(sleeping, &[]).unwrap().get::<_, i64>(0) == 1
        });
        proxy.cut();
        let run = run.wait().expect(0);
        is_applied(&database);
        says_applied(&run);
        assert_eq!(
            database.scalar("SELECT string_agg(id::text, ',') FROM t"),
            rows,
            "{script}"
        );
    }
}

#[test]
fn a_backend_that_is_ended_before_the_lock_is_taken_is_replaced_and_the_tables_are_looked_at_again() {
    let (database, history) = pending("ALTER TABLE t ADD COLUMN more int;");
    let mut stranger = database.client();
    stranger
        .batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    let call = migrate().deploy(history.folder()).database(&database);
    let run = call.arg("--fail-on=drop").spawn();
    let mut superuser = database.superuser();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
               AND application_name LIKE 'prisma-migrate-task%'";
    until("it waits for the table's size, and is ended", || {
        !superuser.query(end, &[]).unwrap().is_empty()
    });
    stranger.batch_execute("ROLLBACK").unwrap();
    let run = run.wait().expect(0);
    assert!(run.stderr.contains("the connection was lost"), "{run}");
    is_applied(&database);
}
