//! `adopt`: ledgers that other programs wrote.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::prisma;
use harness::tool::Call;

use super::{deploy, failure, ledger, lock_holder, tables, tool, warnings};

fn adopt(history: &History, database: &Database, flags: &[&str]) -> Call {
    let call = tool().verb(["adopt"]).arg(history.folder()).database(database);
    flags.iter().fold(call, Call::arg)
}

fn history() -> History {
    History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_next", "CREATE TABLE b (id int);")
        .migration("3_last", "CREATE TABLE c (id int);")
}

/// A database that a worker keeps, which sends every script again at each run and writes one more row of each: three runs of two scripts.
fn a_workers() -> Database {
    let database = Server::shared().database();
    deploy(&History::new(), &database).run().expect(0);
    database.execute("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    for run in 1..=3 {
        database.execute(&format!(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at, logs) \
             SELECT name || {run}, 'remote-migration', name, t, t, '' \
             FROM unnest(ARRAY['1_init', '2_next', '0_gone']) name, (VALUES (timestamptz '2026-01-0{run} 00:00:00Z')) v (t)"
        ));
    }
    database
}

fn adopted(run: &harness::process::Run) -> Vec<String> {
    let list = run.report.as_ref().unwrap()["adopted"].as_array().unwrap();
    let one = |change: &serde_json::Value| format!("{} {}", change["action"], change["row"]["id"]).replace('"', "");
    list.iter().map(one).collect()
}

#[test]
fn without_confirm_it_is_said_and_nothing_is_written() {
    let (database, history) = (a_workers(), history());
    let before = database.ledger();
    let run = adopt(&history, &database, &[]).run().expect(24);
    assert!(
        failure(&run)["details"].to_string().contains("would be removed"),
        "{run}"
    );
    assert!(warnings(&run).contains("0_gone: it has rows and no directory"), "{run}");
    assert_eq!(adopted(&run).len(), 8, "{run}");
    assert_eq!(database.ledger(), before);
}

#[test]
fn with_confirm_prisma_takes_the_ledger_for_its_own() {
    let (database, history) = (a_workers(), history());
    let run = adopt(&history, &database, &["--confirm"]).run().expect(0);
    assert_eq!(
        adopted(&run),
        [
            "remove 0_gone2",
            "remove 0_gone3",
            "remove 1_init2",
            "remove 1_init3",
            "rewrite 1_init1",
            "remove 2_next2",
            "remove 2_next3",
            "rewrite 2_next1",
        ]
    );
    let kept = &run.report.as_ref().unwrap()["adopted"][4]["row"];
    assert_eq!(kept["checksum"], "remote-migration");
    assert_eq!(
        ledger(&database),
        ["0_gone applied", "1_init applied", "2_next applied"]
    );
    assert!(
        database.ledger()[1..]
            .iter()
            .all(|row| row.steps == 1 && row.logs.is_none())
    );

    adopt(&history, &database, &[]).run().expect(0);
    database.execute("DELETE FROM _prisma_migrations WHERE migration_name = '0_gone'");
    prisma::migrate(&database.url(), history.folder(), ["deploy"]).expect(0);
    assert_eq!(tables(&database), ["a", "b", "c"]);
    deploy(&history, &database).arg("--strict").run().expect(0);
}

#[test]
fn prismas_own_ledger_is_left_alone_and_the_lock_is_asked_for() {
    let (database, history) = (Server::shared().database(), history());
    adopt(&history, &database, &[]).run().expect(0);
    deploy(&history, &database).run().expect(0);
    let before = database.ledger();
    adopt(&history, &database, &["--confirm"]).run().expect(0);
    assert_eq!(database.ledger(), before);
    let _holder = lock_holder(&database);
    adopt(&history, &database, &["--confirm", "--lock-wait", "0"])
        .run()
        .expect(30);
}

#[test]
fn what_exists_already_is_compared_and_the_way_out_is_named() {
    let database = Server::shared().database();
    deploy(&History::new(), &database).run().expect(0);
    database.execute(
        "CREATE TABLE \"User\" (id SERIAL PRIMARY KEY, \"name\" varchar(40) NOT NULL, at timestamp(3)); CREATE TABLE other (id int)",
    );
    let script = "-- CreateTable\nCREATE TABLE \"User\" (\n  \"id\" SERIAL NOT NULL,\n  \"name\" VARCHAR(40) NOT NULL,\n  \"at\" TIMESTAMP(3),\n\n  \
         CONSTRAINT \"User_pkey\" PRIMARY KEY (\"id\")\n);\nCREATE TABLE other (id bigint, note text);\nCREATE TABLE third (id int);";
    let history = History::new().migration("1_init", script);
    let run = deploy(&history, &database).run().expect(20);
    let (details, next) = (failure(&run)["details"].to_string(), failure(&run)["next"].to_string());
    for said in [
        "2 of the 3 objects that its script creates exist: table \\\"User\\\", table other; missing: table third",
        "table other differs: id is integer, not bigint, note is missing",
    ] {
        assert!(details.contains(said), "{said}\n{details}");
    }
    assert!(next.contains("resolve --applied 1_init"), "{next}");
}
