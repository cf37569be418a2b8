//! Runs that end in the middle: the state names what is committed, never less.

use super::{
    AtGate, Committed, GATE, at_gate, deploy, each, everywhere, failure, in_transaction, is_true, open, pending, rows,
    servers, until_true, waiting,
};
use crate::migrate;
use harness::postgres::{Client, Database};
use harness::process::Signal;
use std::thread::JoinHandle;

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
    each(
        everywhere(&CASES, |case| case.0),
        |(server, (name, script, committed))| {
            let (database, history) = pending(server, BEFORE, script);
            let mut reader = in_transaction(&database, "SELECT * FROM t");
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

/// The budget for locks is spent: the same as a stop.
#[test]
fn a_budget_that_is_spent_says_what_is_committed() {
    each(CASES, |(name, script, committed)| {
        let (database, history) = pending(servers()[0], BEFORE, script);
        let mut reader = in_transaction(&database, "SELECT * FROM t");
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
            let pending = pending(servers()[0], &format!("{BEFORE}; {GATE}"), script);
            let AtGate {
                database,
                history,
                run,
                gate,
            } = at_gate(pending, |call, _| call.arg("--lock-timeout=0"));
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

/// A name, a script that a cancel does not end, and what is committed when it stops. `:wait` waits at the gate and catches the cancel.
const CATCHES: [(&str, &str, Committed); 6] = [
    (
        "seen: a block that commits",
        "do $$ begin :wait commit; end $$;",
        Committed::Nothing,
    ),
    (
        "a new value of an enum",
        "alter type e add value 'b'; do $$ begin :wait end $$; select 'b'::e;",
        Committed::Nothing,
    ),
    (
        "a block that commits, behind a step",
        "insert into t values(1); vacuum t;\ndo $$ begin :wait commit; end $$;",
        Committed::Part,
    ),
    (
        "a lock that others have",
        "do $$ begin :wait perform takes(); end $$;",
        Committed::Nothing,
    ),
    (
        "such a lock in the second of two transactions",
        "begin; insert into t values(1); commit;\nbegin; do $$ begin :wait perform takes(); end $$; commit;",
        Committed::Part,
    ),
    (
        "such a lock in a step",
        "insert into t values(1); vacuum t;\ndo $$ begin :wait perform takes(); end $$;",
        Committed::Part,
    ),
];

/// What the server refuses, or others keep from its lock, would be sent again. If the run is to stop by then, the script has not failed.
#[test]
fn a_stop_before_a_script_is_sent_in_another_way_is_no_failure_of_it() {
    const TAKES: &str = "CREATE TYPE e AS ENUM ('a'); CREATE TABLE held (i int); \
        CREATE FUNCTION takes() RETURNS void LANGUAGE plpgsql AS 'BEGIN LOCK TABLE held NOWAIT; END'";
    const WAIT: &str = "begin insert into gate values(1); exception when query_canceled then null; end;";
    each(
        everywhere(&CATCHES, |case| case.0),
        |(server, (name, script, committed))| {
            let script = script.replace(":wait", WAIT);
            let (database, history) = pending(server, &format!("{BEFORE}; {TAKES}; {GATE}"), &script);
            let mut holder = in_transaction(&database, "LOCK TABLE held");
            let AtGate {
                database,
                history,
                run,
                gate,
            } = at_gate((database, history), |call, _| call.arg("--lock-timeout=0"));
            run.signal(Signal::TERM);
            let run = run.wait();
            assert_eq!(run.code, 60, "{name}\n{run}");
            is_true(name, &database, &run, committed);
            open(gate);
            holder.batch_execute("ROLLBACK").unwrap();
            let run = deploy(&database, &history);
            assert_eq!(run.code, 0, "{name}\n{run}");
            is_true(name, &database, &run, Committed::All);
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

/// A name and a script that releases the lock when it is in.
const RELEASES: [(&str, &str); 7] = [
    (
        "seen: behind its commit",
        "begin; insert into gate values(1); commit; select pg_advisory_unlock_all();",
    ),
    ("DISCARD ALL", "insert into gate values(1); commit; discard all;"),
    (
        "a lone statement",
        "do $$ begin insert into gate values(1); commit; perform pg_advisory_unlock_all(); end $$;",
    ),
    (
        "by its key, in the last of two transactions",
        "begin; insert into gate values(1); commit; begin; select pg_advisory_unlock(72707369); commit;",
    ),
    (
        "in a function, behind a statement that is no transaction's",
        "insert into gate values(1); vacuum t; select releases();",
    ),
    ("a procedure in CALL", "call releases_too();"),
    (
        "a transaction and a statement that is none",
        "begin; insert into gate values(1); select pg_advisory_unlock_all(); commit; vacuum t;",
    ),
];

/// A session that waits for the migration lock.
fn rival(database: &Database) -> JoinHandle<Client> {
    let rival = waiting(database, "SELECT pg_advisory_lock(72707369)");
    until_true(
        database,
        "the rival waits",
        "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 72707369 AND NOT granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    rival
}

/// Another session has the lock as soon as a migration of this run has released it.
#[test]
fn a_lock_that_is_lost_after_a_migration_was_applied_says_what_was() {
    const FUNCTIONS: &str = "CREATE FUNCTION releases() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_unlock_all()'; \
        CREATE PROCEDURE releases_too() LANGUAGE plpgsql AS \
        'BEGIN INSERT INTO gate VALUES (1); COMMIT; PERFORM pg_advisory_unlock_all(); END'";
    each(everywhere(&RELEASES, |case| case.0), |(server, (name, script))| {
        let (database, history) = pending(server, &format!("{BEFORE}; {FUNCTIONS}; {GATE}"), script);
        let history = history.migration("20250101000000_later", "insert into t values(9)");
        let AtGate {
            database,
            history,
            run,
            gate,
        } = at_gate((database, history), |call, _| {
            call.arg("--lock-wait=1s").arg("--lock-timeout=0")
        });
        let rival = rival(&database);
        open(gate);
        let run = run.wait();
        let mut rival = rival.join().unwrap();
        let state = failure(&run, "state");
        assert!(!state.starts_with("nothing"), "{name}\n{run}");
        match rows(&database).iter().any(|row| row.finished) {
            true => {
                assert_eq!(run.code, 30, "{name}\n{run}");
                assert!(state.contains(super::NAME), "{name}\n{run}");
                assert_eq!(super::says_applied(&run), 1, "{name}\n{run}");
            }
            // Released between two of its statements.
            false => {
                assert_eq!(run.code, 21, "{name}\n{run}");
                is_true(name, &database, &run, Committed::Part);
            }
        }
        rival.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
        deploy(&database, &history).expect(0);
        assert_eq!(database.scalar("SELECT count(*) FROM t WHERE i = 9"), "1", "{name}");
    });
}

/// The same of several migrations: the last one that was applied is named, and how many there were.
#[test]
fn a_lock_that_is_lost_after_several_migrations_says_how_many_were_applied() {
    each(
        [
            ("of one", 1, "migration 20240101000001_first was applied"),
            (
                "of two",
                2,
                "2 migrations were applied by this run, the last of them 20240101000002_first",
            ),
            (
                "of four",
                4,
                "4 migrations were applied by this run, the last of them 20240101000004_first",
            ),
        ],
        |(name, count, says)| {
            let (database, mut history) = pending(servers()[0], &format!("{BEFORE}; {GATE}"), "select 1");
            let releases = RELEASES[0].1;
            for n in 1..count {
                history = history.migration(
                    &format!("2024010100000{n}_first"),
                    format!("insert into t values ({n})"),
                );
            }
            let history = history
                .migration(&format!("2024010100000{count}_first"), releases)
                .migration("20250101000000_later", "insert into t values(9)");
            let first = migrate().deploy(history.folder()).database(&database);
            first.arg(format!("--to={}", super::NAME)).run().expect(0);
            let AtGate {
                database,
                history,
                run,
                gate,
            } = at_gate((database, history), |call, _| {
                call.arg("--lock-wait=1s").arg("--lock-timeout=0")
            });
            let rival = rival(&database);
            open(gate);
            let run = run.wait();
            drop(rival.join().unwrap());
            assert_eq!(run.code, 30, "{name}\n{run}");
            assert!(failure(&run, "state").contains(says), "{name}\n{run}");
            deploy(&database, &history).expect(0);
        },
    );
}
