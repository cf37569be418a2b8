//! Several deploys at once, and the migration lock between them.

use harness::history::History;
use harness::postgres::Server;

use super::{Gate, MIGRATION_LOCK, deploy, failure, ledger, lock_holder, log, names, tables, tool, warnings};
use crate::session::Session;

#[test]
fn two_deploys_at_once() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let history = History::new()
        .migration("1_slow", format!("CREATE TABLE a (id int); {}", Gate::WAIT))
        .migration("2_next", "CREATE TABLE b (id int);");
    let first = deploy(&history, &database).spawn();
    gate.reached();
    let mut second = deploy(&history, &database).spawn();
    second.wait_for_stderr("the migration lock is held by backend");
    gate.open();

    let (first, second) = (first.wait().expect(0), second.wait().expect(0));
    assert_eq!(names(&first, "applied"), ["1_slow", "2_next"]);
    assert!(names(&second, "applied").is_empty(), "{second}");
    assert_eq!(second.report.as_ref().unwrap()["result"], "up_to_date");
    let run_id = first.report.as_ref().unwrap()["run_id"].as_str().unwrap().to_owned();
    assert!(
        second.stderr.contains(&run_id),
        "the holder is named with its run\n{second}"
    );
    assert_eq!(ledger(&database), ["1_slow applied", "2_next applied"]);
}

#[test]
fn a_lock_that_is_held_is_waited_for_and_its_holder_named() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let mut holder = lock_holder(&database);
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);

    let run = deploy(&history, &database).arg("--lock-wait=0").run().expect(30);
    assert_eq!(failure(&run)["prisma_code"], "P1002");
    let what = failure(&run)["what"].as_str().unwrap();
    assert!(
        what.contains(&format!("backend {pid} ")) && what.contains("the other one"),
        "{run}"
    );
    assert!(!database.has_ledger() && tables(&database).is_empty());

    let mut waiting = deploy(&history, &database).spawn();
    waiting.wait_for_stderr("the migration lock is held by");
    holder
        .batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
        .unwrap();
    let run = waiting.wait().expect(0);
    let line = log(&run)
        .into_iter()
        .find(|line| line["message"].as_str().unwrap().contains("is held by"));
    let said = line.unwrap()["message"].to_string();
    assert!(
        said.contains(&format!("backend {pid} ")) && said.contains("the other one") && said.contains("waiting"),
        "{said}"
    );
    assert_eq!(ledger(&database), ["1_init applied"]);
}

#[test]
fn where_nothing_is_pending_the_lock_is_not_needed() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    let _holder = lock_holder(&database);
    deploy(&history, &database).arg("--lock-wait=0").run().expect(0);
}

#[test]
fn prismas_switch_for_the_lock_is_not_honoured() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let without_lock = || deploy(&history, &database).env("PRISMA_SCHEMA_DISABLE_ADVISORY_LOCK", "1");
    let holder = lock_holder(&database);
    without_lock().arg("--lock-wait=0").run().expect(30);
    drop(holder);
    let run = without_lock().run().expect(0);
    assert!(
        warnings(&run).contains("PRISMA_SCHEMA_DISABLE_ADVISORY_LOCK is not honoured"),
        "{run}"
    );
    assert_eq!(ledger(&database), ["1_init applied"]);
}

#[test]
fn database_missing_five_deploys_at_once() {
    let database = Server::shared().database();
    let allow = format!("ALTER ROLE \"{}\" CREATEDB", database.user());
    database.superuser().batch_execute(&allow).unwrap();
    let url = format!("{}_five", database.url());
    let mut history = History::new();
    for at in 1..=5 {
        history = history.migration(&format!("{at}_table"), format!("CREATE TABLE t{at} (id int);"));
    }
    let start = || tool().deploy(history.folder()).database_url(&database, &url).spawn();
    let runs: Vec<_> = (0..5).map(|_| start()).collect();
    let runs: Vec<_> = runs.into_iter().map(|run| run.wait().expect(0)).collect();

    let applied: usize = runs.iter().map(|run| names(run, "applied").len()).sum();
    assert_eq!(applied, 5, "each is applied by exactly one run");
    let session = Session::open(&url).unwrap();
    assert_eq!(
        session.scalar("SELECT count(*) || ' rows, ' || count(finished_at) || ' finished' FROM _prisma_migrations"),
        "5 rows, 5 finished"
    );
}

#[test]
fn database_missing_and_not_to_be_created() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let url = format!("{}_never", database.url());
    let run = tool()
        .deploy(history.folder())
        .database_url(&database, &url)
        .run()
        .expect(50);
    assert_eq!(failure(&run)["prisma_code"], "P1003");
}
