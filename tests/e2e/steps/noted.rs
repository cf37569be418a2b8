//! A statement that cannot run in a transaction is noted as soon as it has ended: it is not run twice.

use super::{Committed, GATE, deploy, each, gate, is_true, kill, pending, rows, servers, until_blocked};
use crate::migrate;

const BEFORE: &str = "CREATE TABLE t (i int PRIMARY KEY); CREATE TABLE calls (n int); \
    CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN INSERT INTO calls VALUES (1); COMMIT; INSERT INTO calls VALUES (2); COMMIT; END'; \
    CREATE SCHEMA first; CREATE SCHEMA second; CREATE TABLE first.x (i int); CREATE TABLE second.x (i int); \
    CREATE INDEX i ON first.x (i); CREATE INDEX i ON second.x (i); CREATE INDEX t_i ON t (i); CREATE TYPE e AS ENUM ('a')";

/// A name, the statement, and what would differ if it ran twice.
const CASES: [(&str, &str, &str); 9] = [
    ("seen: a finished CALL", "call p();", "SELECT count(*) FROM calls"),
    (
        "seen: VACUUM FULL",
        "vacuum full t;",
        "SELECT pg_relation_filenode('t')",
    ),
    (
        "seen: DROP INDEX CONCURRENTLY, another of its name in the path",
        "set search_path=first,second,public; drop index concurrently i;",
        "SELECT to_regclass('first.i') IS NULL AND to_regclass('second.i') IS NOT NULL",
    ),
    (
        "DO that commits",
        "do $$ begin insert into calls values (1); commit; end $$;",
        "SELECT count(*) FROM calls",
    ),
    (
        "REINDEX CONCURRENTLY",
        "reindex index concurrently t_i;",
        "SELECT pg_relation_filenode('t_i')",
    ),
    (
        "CLUSTER of all",
        "cluster t using t_i; vacuum full calls;",
        "SELECT pg_relation_filenode('t')",
    ),
    (
        "CREATE INDEX CONCURRENTLY",
        "create index concurrently t_j on t(i);",
        "SELECT 't_j'::regclass::oid",
    ),
    (
        "CALL behind other statements",
        "insert into calls values (0); vacuum calls; insert into calls values (0); call p();",
        "SELECT count(*) FROM calls",
    ),
    ("CALL behind CALL", "call p(); call p();", "SELECT count(*) FROM calls"),
];

#[test]
fn what_has_ended_is_noted_before_the_next_step() {
    for (n, server) in servers().into_iter().enumerate() {
        each(
            CASES
                .into_iter()
                .filter(|(name, ..)| n == 0 || name.starts_with("seen")),
            |(name, script, seen)| {
                let script = format!("{script}\ninsert into gate values (1);");
                let (database, history) = pending(server, &format!("{BEFORE}; {GATE}"), &script);
                let gate = gate(&database);
                let run = migrate().deploy(history.folder()).database(&database).spawn();
                until_blocked(&database);
                let there = database.rows(seen);
                let row = rows(&database).remove(0);
                let logs = row.logs.clone().unwrap_or_default();
                assert!(!row.finished && !row.rolled_back, "{name}: {row:?}");
                assert!(logs.contains("state=steps"), "{name}: {row:?}");
                assert!(row.steps > 0, "{name}: {row:?}");
                kill(&database, run, gate);
                let run = deploy(&database, &history);
                assert_eq!(run.code, 0, "{name}\n{run}");
                assert_eq!(database.rows(seen), there, "{name}: it ran twice\n{run}");
                is_true(name, &database, &run, Committed::All);
            },
        );
    }
}

/// Killed while it runs, nobody knows whether it has ended: the next run does not run it again.
#[test]
fn what_may_have_run_is_not_run_again() {
    each(
        [
            ("CALL", "call q();\ninsert into calls values (9);"),
            (
                "DO",
                "do $$ begin insert into calls values (1); commit; insert into gate values (1); commit; end $$;",
            ),
            ("CALL behind a step", "insert into calls values (0); call q();"),
        ],
        |(name, script)| {
            let before = format!(
                "{BEFORE}; {GATE}; CREATE PROCEDURE q() LANGUAGE plpgsql AS 'BEGIN INSERT INTO calls VALUES (1); COMMIT; INSERT INTO gate VALUES (1); COMMIT; END'"
            );
            let (database, history) = pending(servers()[0], &before, script);
            let gate = gate(&database);
            let run = migrate().deploy(history.folder()).database(&database).spawn();
            until_blocked(&database);
            let there = database.rows("SELECT count(*) FROM calls");
            kill(&database, run, gate);
            for _ in 0..2 {
                let run = deploy(&database, &history).expect(21);
                assert_eq!(database.rows("SELECT count(*) FROM calls"), there, "{name}\n{run}");
                assert!(run.stdout.contains("may or may not have run"), "{name}\n{run}");
            }
        },
    );
}
