//! An error in one of several transactions of a script's own is never taken for a success.

use super::{Committed, NAME, deploy, each, failure, is_true, pending, rewrite, servers};
use crate::migrate;

struct Case {
    name: &'static str,
    script: &'static str,
    /// The rows of `a`; none if it is not there.
    rows: Option<&'static str>,
}

const BEFORE: &str =
    "CREATE TABLE p (i int PRIMARY KEY); CREATE TABLE d (i int REFERENCES p DEFERRABLE INITIALLY DEFERRED)";

const CASES: [Case; 9] = [
    Case {
        name: "seen: in the second of two chained transactions, before an index",
        script: "begin; create table a(i int); commit and chain; insert into a values(1/0); commit; create index concurrently a_i on a(i);",
        rows: Some("0"),
    },
    Case {
        name: "in the third of three chained transactions, before VACUUM",
        script: "begin; create table a(i int); commit and chain; insert into a values(1); commit and chain; insert into a values(1/0); commit; vacuum a;",
        rows: Some("1"),
    },
    Case {
        name: "in the first of two chained transactions",
        script: "begin; create table a(i int); insert into a values(1/0); commit and chain; insert into a values(2); commit; vacuum a;",
        rows: None,
    },
    Case {
        name: "behind ROLLBACK AND CHAIN",
        script: "begin; create table b(i int); rollback and chain; create table a(i int); insert into a values(1/0); commit; vacuum;",
        rows: None,
    },
    Case {
        name: "at the second COMMIT, by a deferred constraint",
        script: "begin; create table a(i int); commit and chain; insert into d values(7/1); commit; create index concurrently a_i on a(i);",
        rows: Some("0"),
    },
    Case {
        name: "in one message",
        script: "begin; create table a(i int); commit and chain; insert into a values(1/0); commit;",
        rows: Some("0"),
    },
    Case {
        name: "in one message, without BEGIN",
        script: "create table a(i int); insert into a values(1); commit; insert into a values(1/0);",
        rows: Some("1"),
    },
    Case {
        name: "behind a savepoint that was left, in one message",
        script: "begin; create table a(i int); savepoint s; insert into a values(1); rollback to s; commit and chain; savepoint s; insert into a values(1/0); release s; commit;",
        rows: Some("0"),
    },
    Case {
        name: "in a transaction that begins behind an index",
        script: "create table a(i int); create index concurrently a_i on a(i); begin; insert into a values(1); commit and chain; insert into a values(1/0); commit;",
        rows: Some("1"),
    },
];

#[test]
fn an_error_in_a_later_transaction_is_an_error() {
    for (n, server) in servers().into_iter().enumerate() {
        each(
            CASES.into_iter().take(if n == 0 { CASES.len() } else { 4 }),
            |Case { name, script, rows }| {
                let (database, history) = pending(server, BEFORE, script);
                let run = deploy(&database, &history);
                let there = database.scalar("SELECT to_regclass('a') IS NOT NULL") == "t";
                assert_eq!(there, rows.is_some(), "{name}\n{run}");
                if let Some(rows) = rows {
                    assert_eq!(database.scalar("SELECT count(*) FROM a"), rows, "{name}\n{run}");
                    is_true(name, &database, &run, Committed::Part);
                    assert_eq!(run.code, 21, "{name}\n{run}");
                } else {
                    is_true(name, &database, &run, Committed::Nothing);
                    assert_eq!(run.code, 20, "{name}\n{run}");
                }
            },
        );
    }
}

#[test]
fn what_is_fixed_behind_the_committed_part_is_gone_on_with() {
    each(CASES, |Case { name, script, rows }| {
        let (database, history) = pending(servers()[0], BEFORE, script);
        deploy(&database, &history);
        let fixed = script
            .replace("1/0", "1")
            .replace("insert into d values(7/1)", "insert into a values(1)");
        rewrite(&history, &fixed);
        // What failed in a message of several transactions blocks until a person says that it goes on; statement by statement it goes on by itself.
        let mut run = deploy(&database, &history);
        if run.code != 0 {
            assert_eq!(failure(&run, "prisma_code"), "P3009", "{name}\n{run}");
            assert!(failure(&run, "next").contains("resolve --retry"), "{name}\n{run}");
            let retry = migrate().verb(["resolve", "--retry", NAME]).arg(history.folder());
            run = retry.database(&database).run().expect(0);
        }
        is_true(name, &database, &run, Committed::All);
        let twin = servers()[0].database();
        // As psql would: each statement by itself.
        let mut client = twin.client();
        client.batch_execute(BEFORE).unwrap();
        for statement in fixed.split_inclusive(';') {
            client.batch_execute(statement).unwrap();
        }
        let of = "SELECT coalesce(string_agg(i::text, ',' ORDER BY i), '') FROM a";
        assert_eq!(
            database.scalar(of),
            twin.scalar(of),
            "{name}, which left {rows:?}\n{run}"
        );
    });
}
