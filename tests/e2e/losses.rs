//! Connections that are lost, a migrations table that is locked, and deploys that come no further.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::until;

const NAME: &str = "20240101000000_it";

fn history(script: &str) -> History {
    History::new().migration(NAME, script)
}

fn failure<'a>(run: &'a Run, field: &str) -> &'a str {
    run.report.as_ref().unwrap()["failure"][field]
        .as_str()
        .unwrap_or_default()
}

/// Ends the run's backend, as soon as one is there that the condition holds for.
fn terminate(database: &Database, condition: &str) {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name LIKE 'prisma-migrate-task%' AND {condition}"
    );
    let mut superuser = database.superuser();
    until("the run's backend is ended", || {
        superuser.query_one(&sql, &[]).unwrap().get::<_, i64>(0) > 0
    });
}

#[test]
fn why_a_connection_was_lost_is_said_and_the_first_loss_is_not_called_a_repetition() {
    let database = Server::shared().database();
    let mut holder = database.client();
    holder.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
    let history = history("CREATE TABLE t (id int);");
    let mut run = migrate().deploy(history.folder()).database(&database).spawn();
    run.wait_for_stderr("the migration lock is held by");
    terminate(&database, "state = 'idle'");
    run.wait_for_stderr("terminating connection due to administrator command");
    run.wait_for_stderr("the ledger will tell what became of it");
    drop(holder);
    let run = run.wait().expect(0);
    assert!(run.stderr.contains("57P01"), "{run}");
    assert!(!run.stderr.contains("again and again"), "{run}");
}

#[test]
fn the_last_of_too_many_losses_says_how_many_and_why() {
    let database = Server::shared().database();
    let mut holder = database.client();
    holder.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
    let history = history("CREATE TABLE t (id int);");
    let run = migrate().deploy(history.folder()).database(&database).spawn();
    let mut run = run;
    for loss in 1..=3 {
        until("it waits for the lock again", || {
            run.stderr().matches("the migration lock is held by").count() >= loss
        });
        terminate(&database, "state = 'idle'");
    }
    let stderr = until_ended(&mut run);
    let run = run.wait().expect(50);
    assert!(
        failure(&run, "what").contains("the connection was lost 3 times"),
        "{run}"
    );
    assert!(failure(&run, "what").contains("57P01"), "{run}");
    assert!(!stderr.contains("again and again"), "{run}");
}

fn until_ended(run: &mut harness::process::Running) -> String {
    until("it has ended", || !run.is_running());
    run.stderr()
}

#[test]
fn a_ledger_that_is_locked_as_the_session_is_opened_is_waited_for() {
    let database = Server::shared().database();
    migrate()
        .deploy(history("CREATE TABLE t (id int);").folder())
        .database(&database)
        .run()
        .expect(0);
    let more = history("CREATE TABLE t (id int);").migration("20240102000000_more", "CREATE TABLE u (id int);");
    for (name, lock) in [
        ("LOCK TABLE", "LOCK TABLE _prisma_migrations"),
        (
            "ALTER TABLE",
            "ALTER TABLE _prisma_migrations ALTER COLUMN logs SET STATISTICS 100; ALTER TABLE _prisma_migrations ALTER COLUMN logs TYPE text",
        ),
        ("TRUNCATE, rolled back", "TRUNCATE _prisma_migrations"),
    ] {
        let mut other = database.client();
        let mut transaction = other.transaction().unwrap();
        transaction.batch_execute(lock).unwrap();
        let mut run = migrate()
            .deploy(more.folder())
            .database(&database)
            .arg("--lock-timeout=100ms")
            .spawn();
        run.wait_for_stderr("the migrations table _prisma_migrations is locked by backend");
        transaction.rollback().unwrap();
        let run = run.wait().expect(0);
        assert!(!run.stderr.contains("privileges"), "{name}: {run}");
    }
    assert_eq!(database.scalar("SELECT to_regclass('u') IS NULL"), "f");
}

#[test]
fn a_ledger_that_stays_locked_is_a_lock_and_its_holder_is_named() {
    let database = Server::shared().database();
    let history = history("CREATE TABLE t (id int);");
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    let mut other = database.client();
    let mut transaction = other.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE _prisma_migrations").unwrap();
    let row = transaction.query_one("SELECT pg_backend_pid()", &[]).unwrap();
    let pid: i32 = row.get(0);
    let deploy = migrate().deploy(history.folder());
    let resolve = migrate().verb(["resolve", "--rolled-back", NAME]).arg(history.folder());
    for (name, call) in [("deploy", deploy), ("resolve", resolve)] {
        let call = call
            .database(&database)
            .arg("--lock-timeout=100ms")
            .arg("--lock-wait=1s");
        let run = call.run().expect(31);
        assert!(
            failure(&run, "what").contains(&format!("locked by backend {pid}")),
            "{name}: {run}"
        );
        assert!(failure(&run, "what").contains("within 1s"), "{name}: {run}");
        assert!(
            failure(&run, "next").contains(&format!("pg_terminate_backend({pid})")),
            "{name}: {run}"
        );
        assert_eq!(failure(&run, "sqlstate"), "55P03", "{name}: {run}");
        assert_eq!(failure(&run, "state"), "nothing was changed", "{name}: {run}");
    }
    // Those that only look have no --lock-wait: one try.
    let run = migrate()
        .verb(["status"])
        .arg(history.folder())
        .database(&database)
        .run()
        .expect(31);
    assert!(
        failure(&run, "what").contains(&format!("locked by backend {pid}")),
        "{run}"
    );
}

#[test]
fn a_deploy_that_comes_no_further_ends() {
    for script in [
        "CREATE TABLE t (id int);\nDISCARD ALL;\nSELECT 1;",
        "VACUUM;\nDISCARD ALL;\nCREATE TABLE t (id int);",
        "CREATE TABLE t (id int);\nCREATE INDEX CONCURRENTLY i ON t (id);\nDISCARD ALL;\nDISCARD ALL;\nSELECT 1;",
    ] {
        let database = Server::shared().database();
        let history = history(script);
        let run = migrate().deploy(history.folder()).database(&database).run();
        // Either each of these steps is known to be done, or it is said that it is not.
        assert!(matches!(run.code, 0 | 21 | 30), "{script}: {run}");
        let taken_again = run.stderr.matches("it is taken again").count();
        assert!(taken_again <= 10, "{script}: {taken_again} times\n{run}");
        if run.code != 0 {
            let what = failure(&run, "what");
            assert!(what.contains("lost or given away 4 times in a row"), "{script}: {run}");
            assert_eq!(failure(&run, "migration"), NAME, "{script}: {run}");
        }
    }
}
