//! Runs that end in the middle: the state names what is committed, never less.

use super::{Committed, GATE, deploy, each, failure, gate, is_true, open, pending, rows, servers, until_blocked};
use crate::migrate;
use harness::process::Signal;
use harness::until;

/// A name, the script, and what is committed when its statement on `t` is kept from its lock.
const CASES: [(&str, &str, Committed); 6] = [
    (
        "seen: step 2",
        "create index concurrently t_i on t(i);\nalter table t add column n int;",
        Committed::Part,
    ),
    (
        "the second of two transactions",
        "begin; create table a(i int); commit;\nbegin; alter table t add column n int; commit;",
        Committed::Part,
    ),
    (
        "behind a CALL",
        "call p();\nalter table t add column n int;",
        Committed::Part,
    ),
    (
        "a transaction of its own among steps",
        "vacuum t;\nbegin; create table a(i int); commit and chain; alter table t add column n int; commit;",
        Committed::Part,
    ),
    (
        "the only transaction",
        "create table a(i int); alter table t add column n int;",
        Committed::Nothing,
    ),
    (
        "step 1",
        "alter table t add column n int; vacuum t;",
        Committed::Nothing,
    ),
];

const BEFORE: &str = "CREATE TABLE t (i int); CREATE TABLE calls (i int); \
    CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN INSERT INTO calls VALUES (1); COMMIT; END'";

#[test]
fn a_stop_between_two_tries_says_what_is_committed() {
    for (n, server) in servers().into_iter().enumerate() {
        each(
            CASES
                .into_iter()
                .filter(|(name, ..)| n == 0 || name.starts_with("seen")),
            |(name, script, committed)| {
                let (database, history) = pending(server, BEFORE, script);
                let mut reader = database.client();
                reader.batch_execute("BEGIN; SELECT * FROM t").unwrap();
                let mut run = migrate()
                    .deploy(history.folder())
                    .database(&database)
                    .arg("--lock-timeout=50ms")
                    .spawn();
                run.wait_for_stderr("again in");
                run.signal(Signal::TERM);
                let run = run.wait();
                assert_eq!(run.code, 60, "{name}\n{run}");
                is_true(name, &database, &run, committed);
                assert_eq!(
                    failure(&run, "state").contains("committed"),
                    committed == Committed::Part,
                    "{name}\n{run}"
                );
                reader.batch_execute("ROLLBACK").unwrap();
                let run = deploy(&database, &history);
                assert_eq!(run.code, 0, "{name}\n{run}");
                is_true(name, &database, &run, Committed::All);
                assert!(database.scalar("SELECT count(*) FROM calls").as_str() <= "1", "{name}");
            },
        );
    }
}

/// The budget for locks is spent: the same as a stop.
#[test]
fn a_budget_that_is_spent_says_what_is_committed() {
    each(CASES, |(name, script, committed)| {
        let (database, history) = pending(servers()[0], BEFORE, script);
        let mut reader = database.client();
        reader.batch_execute("BEGIN; SELECT * FROM t").unwrap();
        let run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--lock-timeout=50ms")
            .arg("--lock-retry-for=100ms")
            .run();
        assert_eq!(run.code, 31, "{name}\n{run}");
        is_true(name, &database, &run, committed);
        reader.batch_execute("ROLLBACK").unwrap();
        let run = deploy(&database, &history);
        assert_eq!(run.code, 0, "{name}\n{run}");
        is_true(name, &database, &run, Committed::All);
    });
}

/// SIGTERM while a transaction runs behind one that is committed.
#[test]
fn a_stop_in_a_later_transaction_says_what_is_committed() {
    each(
        [
            (
                "two transactions",
                "begin; insert into t values(1); commit;\nbegin; insert into t values(2); insert into gate values(1); commit;",
            ),
            (
                "steps",
                "insert into t values(1); vacuum t;\ninsert into t values(2); insert into gate values(1);",
            ),
            (
                "chained",
                "begin; insert into t values(1); commit and chain; insert into t values(2); insert into gate values(1); commit; vacuum t;",
            ),
        ],
        |(name, script)| {
            let (database, history) = pending(servers()[0], &format!("{BEFORE}; {GATE}"), script);
            let gate = gate(&database);
            let run = migrate()
                .deploy(history.folder())
                .database(&database)
                .arg("--lock-timeout=0")
                .spawn();
            until_blocked(&database);
            run.signal(Signal::TERM);
            let run = run.wait();
            assert_eq!(run.code, 60, "{name}\n{run}");
            is_true(name, &database, &run, Committed::Part);
            open(gate);
            let run = deploy(&database, &history);
            assert_eq!(run.code, 0, "{name}\n{run}");
            is_true(name, &database, &run, Committed::All);
            assert_eq!(
                database.scalar("SELECT string_agg(i::text, ',' ORDER BY i) FROM t"),
                "1,2",
                "{name}\n{run}"
            );
        },
    );
}

/// A ledger write that fails after a committed step.
#[test]
fn a_note_that_cannot_be_written_says_what_is_committed() {
    const FAILS: &str = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN IF NEW.logs LIKE '%step=%' AND NEW.logs NOT LIKE '%state=alone%' AND NEW.logs NOT LIKE '%step=0%' THEN RAISE 'no notes'; END IF; RETURN NEW; END $$; \
        CREATE TRIGGER fail BEFORE UPDATE ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION fail()";
    each(
        [
            ("behind CALL", "call p();\ninsert into t values(1);"),
            (
                "behind an index",
                "create index concurrently t_i on t(i);\ninsert into t values(1);",
            ),
            ("behind VACUUM, the last", "insert into t values(1); vacuum t;"),
        ],
        |(name, script)| {
            let (database, history) = pending(servers()[0], BEFORE, script);
            database.execute(FAILS);
            let run = deploy(&database, &history);
            let done = database.scalar(
                "SELECT (SELECT count(*) FROM calls) > 0 OR to_regclass('t_i') IS NOT NULL OR EXISTS (SELECT FROM t)",
            ) == "t";
            let state = failure(&run, "state");
            assert_ne!(run.code, 0, "{name}\n{run}");
            assert_ne!(run.code, 60, "{name}\n{run}");
            if done {
                assert_eq!(run.code, 21, "{name}\n{run}\n{:?}", rows(&database));
                assert!(
                    !state.contains("nothing was changed") && !state.contains("rolled back"),
                    "{name}\n{run}"
                );
            }
            database.execute("DROP TRIGGER fail ON _prisma_migrations");
            let run = deploy(&database, &history);
            assert!(
                database.scalar("SELECT count(*) FROM calls").as_str() <= "1",
                "{name}: twice\n{run}"
            );
            assert!(
                database.scalar("SELECT count(*) FROM t").as_str() <= "1",
                "{name}: twice\n{run}"
            );
        },
    );
}

/// Another session has the lock as soon as a migration of this run has released it.
#[test]
fn a_lock_that_is_lost_after_a_migration_was_applied_says_what_was() {
    each(
        [
            (
                "seen: behind its commit",
                "begin; insert into gate values(1); commit; select pg_advisory_unlock_all();",
            ),
            ("DISCARD ALL", "insert into gate values(1); commit; discard all;"),
            (
                "a lone statement",
                "do $$ begin insert into gate values(1); commit; perform pg_advisory_unlock_all(); end $$;",
            ),
        ],
        |(name, script)| {
            let (database, history) = pending(servers()[0], &format!("{BEFORE}; {GATE}"), script);
            let history = history.migration("20250101000000_later", "insert into t values(9)");
            let gate = gate(&database);
            let run = migrate()
                .deploy(history.folder())
                .database(&database)
                .arg("--lock-wait=1s")
                .arg("--lock-timeout=0")
                .spawn();
            until_blocked(&database);
            let mut rival = database.client();
            let rival = std::thread::spawn(move || {
                rival.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
                rival
            });
            until("the rival waits", || {
                database.scalar(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 72707369 AND NOT granted",
                ) == "1"
            });
            open(gate);
            let run = run.wait();
            let mut rival = rival.join().unwrap();
            let applied = rows(&database).iter().any(|row| row.finished);
            assert!(applied, "{name}\n{run}");
            assert_eq!(run.code, 30, "{name}\n{run}");
            let state = failure(&run, "state");
            assert!(
                state.contains(super::NAME) && !state.starts_with("nothing"),
                "{name}\n{run}"
            );
            assert_eq!(super::says_applied(&run), 1, "{name}\n{run}");
            rival.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
            deploy(&database, &history).expect(0);
            assert_eq!(database.scalar("SELECT count(*) FROM t WHERE i = 9"), "1");
        },
    );
}
