//! The oracle is Prisma, and speaks to the same databases as everything else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use harness::history::History;
use harness::postgres::Server;
use harness::{prisma, until};

#[test]
fn prisma_deploys_a_history_and_says_when_something_is_pending() {
    let database = Server::shared().database();
    let history = History::new().migration("20240101000000_init", "CREATE TABLE a (id int);");
    prisma::migrate(&database.url(), history.folder(), ["status"]).expect(1);
    prisma::migrate(&database.url(), history.folder(), ["deploy"]).expect(0);
    prisma::migrate(&database.url(), history.folder(), ["status"]).expect(0);

    let [row] = &database.ledger()[..] else {
        panic!("one row was expected")
    };
    assert_eq!(
        (row.name.as_str(), row.finished, row.rolled_back, row.steps),
        ("20240101000000_init", true, false, 1)
    );
    assert_eq!(row.logs, None);
    assert_eq!(database.scalar("SELECT count(*) FROM a"), "0");
}

#[test]
fn a_failed_migration_of_prismas_blocks_prisma() {
    let database = Server::shared().database();
    let history = History::new().migration("1_bad", "CREATE TABLE a (id int); SELECT 1/0;");
    prisma::migrate(&database.url(), history.folder(), ["deploy"]).expect(1);
    let [row] = &database.ledger()[..] else {
        panic!("one row was expected")
    };
    assert!(
        !row.finished && !row.rolled_back && row.logs.as_ref().unwrap().contains("division by zero"),
        "{row:?}"
    );

    let run = prisma::migrate(&database.url(), history.folder(), ["deploy"]).expect(1);
    assert!(format!("{run}").contains("P3009"), "{run}");
    prisma::migrate(&database.url(), history.folder(), ["resolve", "--rolled-back", "1_bad"]).expect(0);
    assert!(database.ledger()[0].rolled_back);
}

#[test]
fn a_rival_holds_prismas_lock_while_its_script_runs() {
    let database = Server::shared().database();
    let history = History::new().migration("1_slow", "SELECT pg_sleep(1000);");
    let rival = prisma::start(&database.url(), history.folder(), ["deploy"]);
    let mut watch = database.superuser();
    until("the rival holds the lock", || {
        let held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 72707369 AND granted AND database = \
                    (SELECT oid FROM pg_database WHERE datname = current_database())";
        !watch.query(held, &[]).unwrap().is_empty()
    });
    rival.kill().expect(128 + 9);
}
