//! `baseline`: a database that has its tables already is taken under management.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::tool::Call;

use super::{deploy, failure, ledger, lock_holder, names, tables, tool};

fn baseline(history: &History, database: &Database, name: &str) -> Call {
    tool()
        .verb(["baseline", "--to", name])
        .arg(history.folder())
        .database(database)
}

fn history() -> History {
    History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_next", "CREATE TABLE b (id int);")
        .migration("3_last", "CREATE TABLE c (id int);")
}

/// A database that has what the first two migrations make, and no ledger.
fn grown() -> Database {
    let database = Server::shared().database();
    database.execute("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    database
}

#[test]
fn everything_up_to_the_name_is_recorded_and_the_next_deploy_applies_the_rest() {
    let (database, history) = (grown(), history());
    deploy(&history, &database).run().expect(23);
    let run = baseline(&history, &database, "2_next").run().expect(0);
    let report = run.report.as_ref().unwrap();
    assert_eq!(report["result"], "resolved");
    assert_eq!(report["resolved"][1], "2_next is recorded as applied; it was not run");
    assert_eq!(names(&run, "pending"), ["3_last"]);
    assert_eq!(ledger(&database), ["1_init applied", "2_next applied"]);
    assert!(database.ledger().iter().all(|row| row.steps == 0));
    deploy(&history, &database).run().expect(0);
    assert_eq!(tables(&database), ["a", "b", "c"]);
}

#[test]
fn a_ledger_with_rows_is_refused() {
    let (database, history) = (grown(), history());
    baseline(&history, &database, "1_init").run().expect(0);
    let run = baseline(&history, &database, "2_next").run().expect(23);
    assert!(
        failure(&run)["what"]
            .as_str()
            .unwrap()
            .contains("has 1 row already, of 1_init"),
        "{run}"
    );
    assert_eq!(ledger(&database), ["1_init applied"]);
}

#[test]
fn a_database_without_a_table_is_refused() {
    let (database, history) = (Server::shared().database(), history());
    let run = baseline(&history, &database, "2_next").run().expect(23);
    assert!(
        failure(&run)["what"]
            .as_str()
            .unwrap()
            .contains("neither tables nor views"),
        "{run}"
    );
    assert!(!database.has_ledger());
}

#[test]
fn a_name_that_is_not_there_and_a_held_lock_are_refused() {
    let (database, history) = (grown(), history());
    let run = baseline(&history, &database, "2").run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3017");
    let _holder = lock_holder(&database);
    baseline(&history, &database, "2_next")
        .arg("--lock-wait")
        .arg("0")
        .run()
        .expect(30);
    assert!(!database.has_ledger());
}
