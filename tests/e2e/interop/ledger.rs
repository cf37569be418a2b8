//! The table and its rows.

use harness::history::History;
use harness::postgres::{Database, Server};

use super::{expect_clean, migrate};
use crate::cases::{deploy, ledger};

/// Scripts of the kinds that are sent in different ways.
fn history() -> History {
    History::new()
        .migration(
            "20240101000000_init",
            "CREATE TABLE a (id int);\nCREATE TABLE b (id int);\n",
        )
        .migration("20240102000000_crlf", "-- one\r\nALTER TABLE a ADD n text;\r\n")
        .migration("20240103000000_index", "CREATE INDEX CONCURRENTLY a_n ON a (n);")
        .migration("20240104000000_own", "BEGIN;\nCREATE TABLE c (id int);\nCOMMIT;\n")
        .migration("20240105000000_unicode é", "COMMENT ON TABLE a IS 'café ☕';")
        .migration("20240106000000_empty", "-- This is an empty migration.")
}

/// Every column that is neither a time nor an id, and what is said of those that are.
fn rows(database: &Database) -> Vec<Vec<String>> {
    database.rows(
        "SELECT migration_name, checksum, logs, applied_steps_count, finished_at >= started_at, rolled_back_at IS NULL, \
         id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' \
         FROM _prisma_migrations ORDER BY started_at, migration_name",
    )
}

/// The ledger as pg_dump writes it.
fn definition(database: &Database) -> String {
    database.execute("ALTER TABLE _prisma_migrations RENAME TO the_ledger");
    let dump = database.dump();
    database.execute("ALTER TABLE the_ledger RENAME TO _prisma_migrations");
    dump
}

#[test]
fn prisma_finds_nothing_to_do_after_us() {
    let database = Server::shared().database();
    let history = history();
    deploy(&history, &database).run().expect(0);
    expect_clean(&history, &database);
}

#[test]
fn table_rows_and_schema_equal_prismas_own() {
    let (ours, prismas) = (Server::shared().database(), Server::shared().database());
    let history = history();
    deploy(&history, &ours).run().expect(0);
    migrate(&history, &prismas, ["deploy"]).expect(0);

    assert_eq!(rows(&ours), rows(&prismas));
    assert_eq!(rows(&ours).len(), 6);
    assert!(definition(&ours).contains("CREATE TABLE public.the_ledger"));
    assert_eq!(definition(&ours), definition(&prismas));
    assert_eq!(ours.dump(), prismas.dump());
    let run = deploy(&history, &prismas).arg("--strict").run().expect(0);
    assert_eq!(run.report.as_ref().unwrap()["result"], "up_to_date");
}

#[test]
fn a_baseline_of_ours_equals_prismas_own() {
    let (ours, prismas) = (Server::shared().database(), Server::shared().database());
    let history = history();
    let name = "20240102000000_crlf";
    let resolve = crate::cases::tool()
        .verb(["resolve", "--applied", name])
        .arg(history.folder());
    resolve.database(&ours).run().expect(0);
    migrate(&history, &prismas, ["resolve", "--applied", name]).expect(0);

    assert_eq!(rows(&ours), rows(&prismas));
    for database in [&ours, &prismas] {
        assert_eq!(
            database.scalar("SELECT started_at = finished_at FROM _prisma_migrations"),
            "t"
        );
    }
    assert_eq!(definition(&ours), definition(&prismas));
}

#[test]
fn a_late_start_on_either_side_goes_on_where_the_other_stopped() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    migrate(&history, &database, ["deploy"]).expect(0);
    let history = history.migration("2_ours", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(0);
    let history = history.migration("3_prismas", "CREATE TABLE c (id int);");
    migrate(&history, &database, ["deploy"]).expect(0);
    assert_eq!(
        ledger(&database),
        ["1_init applied", "2_ours applied", "3_prismas applied"]
    );
    deploy(&history, &database).run().expect(0);
    expect_clean(&history, &database);
}
