//! What is said to be applied survives a crash of the server, whatever the script has made of `synchronous_commit`.

use super::pending_in;
use crate::migrate;
use harness::postgres::{Mode, Options, Server};

/// A name, what the superuser does before, and the script.
const CASES: [(&str, &str, &str); 8] = [
    (
        "seen: the script sets it",
        "",
        "set synchronous_commit=off; create table a(i int);",
    ),
    (
        "the script sets it for its transaction",
        "",
        "set local synchronous_commit=off; create table a(i int);",
    ),
    (
        "set_config, in a transaction of its own",
        "",
        "begin; select set_config('synchronous_commit', 'off', false); create table a(i int); commit;",
    ),
    (
        "a function sets it, in the last of two transactions",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN SET synchronous_commit = off; END'",
        "create table b(i int); commit; select f(); create table a(i int);",
    ),
    (
        "a step sets it, before an index",
        "",
        "set synchronous_commit=off; create table a(i int); create index concurrently a_i on a(i);",
    ),
    (
        "a statement alone sets it",
        "",
        "do $$ begin set synchronous_commit = off; create table a(i int); commit; end $$;",
    ),
    (
        "the database sets it",
        "ALTER DATABASE :database SET synchronous_commit = off",
        "create table a(i int);",
    ),
    (
        "the role sets it",
        "ALTER ROLE :user SET synchronous_commit = off",
        "begin; create table b(i int); commit; begin; create table a(i int); commit;",
    ),
];

#[test]
fn what_is_applied_survives_a_crash() {
    let mut server = Server::start(
        Options::new()
            .setting("wal_writer_delay", "10s")
            .setting("wal_writer_flush_after", "1GB")
            .setting("bgwriter_delay", "10s"),
    );
    let prepared: Vec<_> = CASES
        .iter()
        .map(|(_, before, script)| {
            let (database, history) = pending_in(server.database(), "SELECT 1", script);
            let before = before
                .replace(":database", database.name())
                .replace(":user", database.user());
            database.superuser().batch_execute(&before).unwrap();
            (database, history)
        })
        .collect();
    for ((name, ..), (database, history)) in CASES.iter().zip(&prepared) {
        let run = migrate()
            .deploy(history.folder())
            .database(database)
            .without_report()
            .run();
        server.restart(Mode::Immediate);
        let there = database.scalar("SELECT to_regclass('a') IS NOT NULL");
        let closed = super::rows(database).iter().any(|row| row.finished && !row.rolled_back);
        assert_eq!((run.code, there.as_str(), closed), (0, "t", true), "{name}\n{run}");
    }
}
