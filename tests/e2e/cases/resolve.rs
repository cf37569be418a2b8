//! `resolve`: the ledger is corrected by hand, and nothing is run.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::tool::Call;

use super::{deploy, failure, ledger, lock_holder, tables, tool};

fn applied(history: &History, database: &Database, name: &str) -> Call {
    tool()
        .verb(["resolve", "--applied", name])
        .arg(history.folder())
        .database(database)
}

fn rolled_back(database: &Database, name: &str) -> Call {
    tool().verb(["resolve", "--rolled-back", name]).database(database)
}

fn history() -> History {
    History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_next", "CREATE TABLE b (id int);")
}

/// A migration of which a part is committed: its row stays unfinished.
fn half_done() -> (Database, History) {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_half", "CREATE TABLE a (id int); COMMIT; SELECT 1/0;")
        .migration("2_next", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(21);
    (database, history)
}

#[test]
fn applied_on_an_empty_database() {
    let database = Server::shared().database();
    let history = history();
    applied(&history, &database, "1_init").run().expect(0);

    let [row] = &database.ledger()[..] else {
        panic!("one row was expected")
    };
    assert!(
        row.finished && !row.rolled_back && row.steps == 0 && row.logs.as_deref() == Some(""),
        "{row:?}"
    );
    assert_eq!(
        database.scalar("SELECT started_at = finished_at FROM _prisma_migrations"),
        "t"
    );
    assert!(tables(&database).is_empty());
    deploy(&history, &database).run().expect(0);
    assert_eq!(ledger(&database), ["1_init applied", "2_next applied"]);
    assert_eq!(tables(&database), ["b"]);
}

#[test]
fn applied_on_an_unmanaged_database_is_the_baseline() {
    let database = Server::shared().database();
    database.execute("CREATE TABLE a (id int)");
    let history = history();
    deploy(&history, &database).run().expect(23);
    applied(&history, &database, "1_init").run().expect(0);
    deploy(&history, &database).run().expect(0);
    assert_eq!(ledger(&database), ["1_init applied", "2_next applied"]);
    assert_eq!(tables(&database), ["a", "b"]);
}

#[test]
fn applied_in_a_schema_that_is_missing() {
    let database = Server::shared().database();
    let history = history();
    let url = format!("{}?schema=app", database.url());
    let call = tool().verb(["resolve", "--applied", "1_init"]).arg(history.folder());
    call.database_url(&database, &url).run().expect(0);
    assert_eq!(database.ledger_in("app").len(), 1);
}

#[test]
fn applied_closes_a_failed_row_and_adds_one() {
    let (database, history) = half_done();
    applied(&history, &database, "1_half").run().expect(0);
    let rows = database.ledger();
    assert_eq!(ledger(&database), ["1_half rolled back", "1_half applied"]);
    assert!(rows[0].logs.as_deref().unwrap().contains("division by zero"));
    assert_eq!((rows[1].steps, rows[1].logs.as_deref()), (0, Some("")));
    deploy(&history, &database).run().expect(0);
    assert_eq!(tables(&database), ["a", "b"]);
}

#[test]
fn applied_twice_is_p3008() {
    let database = Server::shared().database();
    let history = history();
    deploy(&history, &database).run().expect(0);
    let before = database.ledger();
    let run = applied(&history, &database, "1_init").run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3008");
    assert_eq!(database.ledger(), before);
}

#[test]
fn applied_of_no_such_directory_is_p3017() {
    let database = Server::shared().database();
    let history = history();
    let run = applied(&history, &database, "1_ini").run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3017");
    assert!(!database.has_ledger());
}

#[test]
fn rolled_back_lets_it_run_again() {
    let (database, history) = half_done();
    rolled_back(&database, "1_half").run().expect(0);
    assert_eq!(ledger(&database), ["1_half rolled back"]);
    database.execute("DROP TABLE a");
    let history = history.migration("1_half", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    assert_eq!(
        ledger(&database),
        ["1_half rolled back", "1_half applied", "2_next applied"]
    );
}

#[test]
fn rolled_back_of_an_applied_one_is_p3012() {
    let database = Server::shared().database();
    let history = history();
    deploy(&history, &database).run().expect(0);
    let before = database.ledger();
    let run = rolled_back(&database, "1_init").run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3012");
    assert_eq!(database.ledger(), before);
}

#[test]
fn rolled_back_of_one_that_was_never_started_is_p3011() {
    let database = Server::shared().database();
    let run = rolled_back(&database, "1_init").run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3011");
    assert!(!database.has_ledger());
    let history = history();
    deploy(&history, &database).run().expect(0);
    let run = rolled_back(&database, "3_never").run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3011");
}

#[test]
fn the_lock_is_taken() {
    let (database, history) = half_done();
    let holder = lock_holder(&database);
    let run = applied(&history, &database, "1_half")
        .arg("--lock-wait=0")
        .run()
        .expect(30);
    assert!(
        failure(&run)["what"].as_str().unwrap().contains("the other one"),
        "{run}"
    );
    rolled_back(&database, "1_half").arg("--lock-wait=0").run().expect(30);
    assert_eq!(ledger(&database), ["1_half unfinished"]);
    drop(holder);
    rolled_back(&database, "1_half").run().expect(0);
}
