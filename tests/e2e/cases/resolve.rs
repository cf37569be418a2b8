//! `resolve`: the ledger is corrected by hand, and nothing is run.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::tool::Call;

use super::{deploy, failure, ledger, lock_holder, names, tables, tool};

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

#[test]
fn several_are_recorded_as_applied_together_or_not_at_all() {
    let database = Server::shared().database();
    let history = history().migration("3_last", "CREATE TABLE c (id int);");
    let call = |names: &[&str]| {
        let flags = names.iter().flat_map(|name| ["--applied", name]);
        let words: Vec<&str> = ["resolve"].into_iter().chain(flags).collect();
        tool().verb(words).arg(history.folder()).database(&database)
    };
    let run = call(&["1_init", "2_none"]).run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3017");
    assert!(!database.has_ledger());
    let run = call(&["1_init", "2_next", "1_init"]).run().expect(0);
    assert_eq!(run.report.as_ref().unwrap()["resolved"].as_array().unwrap().len(), 2);
    assert_eq!(ledger(&database), ["1_init applied", "2_next applied"]);
    call(&["3_last", "2_next"]).run().expect(23);
    assert_eq!(ledger(&database).len(), 2);
}

/// A migration whose second statement commits by itself and then fails while the table `gate` is empty.
fn stopped_at_its_second_statement() -> (Database, History) {
    let database = Server::shared().database();
    let history = History::new()
        .migration(
            "1_init",
            "CREATE TABLE gate (id int); CREATE TABLE said (id int);\n\
             CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO said VALUES (1); COMMIT; \
             IF NOT EXISTS (SELECT FROM gate) THEN RAISE 'not yet'; END IF; END $$;",
        )
        .migration(
            "2_call",
            "CREATE TABLE b (id int);\nCALL p();\nCREATE TABLE c (id int);",
        )
        .migration("3_next", "CREATE TABLE d (id int);");
    deploy(&history, &database).run().expect(21);
    assert_eq!(tables(&database), ["b", "gate", "said"]);
    (database, history)
}

fn retry(history: &History, database: &Database, name: &str) -> Call {
    tool()
        .verb(["resolve", "--retry", name])
        .arg(history.folder())
        .database(database)
}

#[test]
fn retry_goes_on_with_the_statement_that_failed() {
    let (database, history) = stopped_at_its_second_statement();
    let run = deploy(&history, &database).run().expect(21);
    assert!(
        failure(&run)["next"]
            .as_str()
            .unwrap()
            .contains("resolve --retry 2_call"),
        "{run}"
    );
    let run = retry(&history, &database, "2_call").run().expect(21);
    assert_eq!(failure(&run)["place"]["line"], 2);
    database.execute("DELETE FROM said; INSERT INTO gate VALUES (1)");
    let run = retry(&history, &database, "2_call").run().expect(0);
    assert_eq!(names(&run, "applied"), ["2_call"]);
    assert_eq!(names(&run, "pending"), ["3_next"]);
    assert_eq!(database.scalar("SELECT count(*) FROM said"), "1");
    assert_eq!(ledger(&database), ["1_init applied", "2_call applied"]);
    deploy(&history, &database).run().expect(0);
    assert_eq!(tables(&database), ["b", "c", "d", "gate", "said"]);
}

#[test]
fn retry_refuses_what_did_not_stop_at_a_statement() {
    let (database, history) = half_done();
    // As a script with PREPARE TRANSACTION leaves it.
    database.execute("UPDATE _prisma_migrations SET logs = 'prisma-migrate-task/1 run=dead state=undecidable' WHERE migration_name = '1_half'");
    let run = retry(&history, &database, "1_half").run().expect(21);
    assert!(
        failure(&run)["what"]
            .as_str()
            .unwrap()
            .contains("does not say how far it came"),
        "{run}"
    );
    for (name, code) in [("2_next", "P3011"), ("9_none", "P3011")] {
        let run = retry(&history, &database, name).run().expect(23);
        assert_eq!(failure(&run)["prisma_code"], code);
    }
    rolled_back(&database, "1_half").run().expect(0);
    let run = retry(&history, &database, "1_half").run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3012");
    assert_eq!(ledger(&database), ["1_half rolled back"]);
}
