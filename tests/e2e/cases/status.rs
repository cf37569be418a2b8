//! `status`: looks, writes nothing, takes no lock.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::tool::Call;

use super::{Gate, deploy, failure, ledger, lock_holder, names, tables, tool, warnings};

fn status(history: &History, database: &Database) -> Call {
    tool().verb(["status"]).arg(history.folder()).database(database)
}

#[test]
fn not_managed_by_prisma_and_never_creates_the_table() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let run = status(&history, &database).run().expect(10);
    assert_eq!(names(&run, "pending"), ["1_init"]);
    assert!(warnings(&run).contains("no migrations table"), "{run}");
    assert!(!database.has_ledger());
}

#[test]
fn a_missing_database_is_not_created() {
    let database = Server::shared().database();
    let allow = format!("ALTER ROLE \"{}\" CREATEDB", database.user());
    database.superuser().batch_execute(&allow).unwrap();
    let history = History::new();
    let url = format!("{}_looked_at", database.url());
    let run = tool()
        .verb(["status"])
        .arg(history.folder())
        .database_url(&database, &url)
        .run()
        .expect(50);
    assert_eq!(failure(&run)["prisma_code"], "P1003");
}

#[test]
fn up_to_date_and_pending() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    let run = status(&history, &database).run().expect(0);
    assert!(names(&run, "pending").is_empty());
    let history = history.migration("2_next", "CREATE TABLE b (id int);");
    let run = status(&history, &database).run().expect(10);
    assert_eq!(names(&run, "pending"), ["2_next"]);
    assert_eq!(tables(&database), ["a"]);
}

#[test]
fn edited_and_missing_ones_alone_do_not_count() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_gone", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(0);
    let history = history
        .remove("2_gone")
        .migration("1_init", "CREATE TABLE a (id bigint);");
    let run = status(&history, &database).run().expect(0);
    assert!(
        warnings(&run).contains("1_init was edited") && warnings(&run).contains("2_gone"),
        "{run}"
    );
}

#[test]
fn a_rolled_back_one_is_pending() {
    let database = Server::shared().database();
    let history = History::new().migration("1_bad", "SELECT 1/0;");
    deploy(&history, &database).run().expect(20);
    let run = status(&history, &database).run().expect(10);
    assert_eq!(names(&run, "pending"), ["1_bad"]);
}

#[test]
fn a_failed_one_is_reported_together_with_what_is_pending() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    database.execute("UPDATE _prisma_migrations SET finished_at = NULL, logs = 'it broke'");
    let history = history.migration("2_next", "CREATE TABLE b (id int);");
    let run = status(&history, &database).run().expect(22);
    assert_eq!(failure(&run)["prisma_code"], "P3009");
    assert!(failure(&run)["details"].to_string().contains("it broke"), "{run}");
    assert_eq!(names(&run, "pending"), ["2_next"]);
    assert_eq!(ledger(&database), ["1_init unfinished"]);
}

#[test]
fn the_lock_is_not_needed_and_its_holder_is_named() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let _holder = lock_holder(&database);
    let run = status(&history, &database).run().expect(10);
    assert!(warnings(&run).contains("the other one"), "{run}");
}

#[test]
fn a_deploy_under_way_is_no_failure() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let script = format!(
        "CREATE TABLE a (id int);\nCOMMIT;\n{}\nCREATE TABLE b (id int);",
        Gate::WAIT
    );
    let history = History::new().migration("1_slow", script);
    let running = deploy(&history, &database).spawn();
    gate.reached();
    let run = status(&history, &database).run();
    gate.open();
    running.wait().expect(0);
    let run = run.expect(10);
    assert_eq!(names(&run, "pending"), ["1_slow"]);
    assert!(warnings(&run).contains("a run may be under way"), "{run}");
    status(&history, &database).run().expect(0);
}
