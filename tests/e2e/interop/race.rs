//! Deploys of ours and of Prisma's at the same time.

use harness::history::History;
use harness::postgres::Server;
use harness::prisma;

use super::expect_clean;
use crate::cases::{Gate, MIGRATION_LOCK, deploy, ledger, waits_for};

/// Migrations that can run twice, and would show it.
fn history(count: usize) -> History {
    let mut history = History::new().migration("00_init", "CREATE TABLE ran (name text);");
    for at in 1..=count {
        let name = format!("{at:02}_step");
        history = history.migration(&name, format!("INSERT INTO ran VALUES ('{name}');"));
    }
    history
}

#[test]
fn each_migration_is_applied_exactly_once() {
    let database = Server::shared().database();
    let history = history(20);
    let prismas = || prisma::start(&database.url(), history.folder(), ["deploy"]);
    let ours = || deploy(&history, &database).spawn();
    let runs = [prismas(), ours(), prismas(), ours(), ours()];
    for run in runs {
        run.wait().expect(0);
    }
    let ran = "SELECT count(*) || ' rows of ' || count(DISTINCT name) FROM ran";
    assert_eq!(database.scalar(ran), "20 rows of 20");
    let rows = ledger(&database);
    assert!(
        rows.len() == 21 && rows.iter().all(|row| row.ends_with(" applied")),
        "{rows:?}"
    );
    expect_clean(&history, &database);
}

#[test]
fn prisma_waits_for_us() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let history = history(2).migration("03_slow", Gate::WAIT);
    let ours = deploy(&history, &database).spawn();
    gate.reached();
    let prisma = prisma::start(&database.url(), history.folder(), ["deploy"]);
    harness::until("Prisma waits for the migration lock", || {
        waits_for(&database, MIGRATION_LOCK)
    });
    gate.open();
    ours.wait().expect(0);
    let run = prisma.wait().expect(0);
    assert!(run.stdout.contains("No pending migrations to apply"), "{run}");
    assert_eq!(ledger(&database).len(), 4);
}

#[test]
fn we_wait_for_prisma() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let history = history(2).migration("03_slow", Gate::WAIT);
    let prisma = prisma::start(&database.url(), history.folder(), ["deploy"]);
    gate.reached();
    let mut ours = deploy(&history, &database).spawn();
    ours.wait_for_stderr("the migration lock is held by backend");
    gate.open();
    prisma.wait().expect(0);
    let run = ours.wait().expect(0);
    assert_eq!(run.report.as_ref().unwrap()["result"], "up_to_date");
    assert_eq!(ledger(&database).len(), 4);
}
