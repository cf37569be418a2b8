//! The verdict: others lock the ledger, the session cannot be tidied up, and settings of ours are forged.

use super::{
    AtGate, Committed, GATE, at_gate, deploy, each, everywhere, is_true, open, pending, servers, until_true, waiting,
};
use crate::migrate;
use harness::postgres::{Client, Database};
use harness::until;
use std::thread::JoinHandle;

const FORMS: [(&str, &str); 5] = [
    (
        "seen: one transaction",
        "insert into t values(1); insert into gate values(1);",
    ),
    (
        "its own transaction",
        "begin; insert into t values(1); insert into gate values(1); commit;",
    ),
    (
        "two transactions",
        "begin; insert into t values(1); commit; begin; insert into gate values(1); commit;",
    ),
    (
        "steps",
        "insert into t values(1); vacuum t; insert into gate values(1);",
    ),
    (
        "a statement alone",
        "do $$ begin insert into t values(1); commit; insert into gate values(1); commit; end $$;",
    ),
];

const LOCK_LEDGER: &str = "BEGIN; LOCK TABLE _prisma_migrations IN ACCESS EXCLUSIVE MODE";

/// Another session that has the ledger as soon as the script has committed.
fn lock_ledger(database: &Database) -> JoinHandle<Client> {
    let other = waiting(database, LOCK_LEDGER);
    until_true(
        database,
        "the other session has the ledger, or waits for it",
        "SELECT count(*) > 0 FROM pg_locks WHERE relation = '_prisma_migrations'::regclass AND mode = 'AccessExclusiveLock'",
    );
    other
}

#[test]
fn a_ledger_that_is_locked_when_the_script_has_committed_is_waited_for() {
    each(everywhere(&FORMS, |form| form.0), |(server, (name, script))| {
        let pending = pending(server, &format!("CREATE TABLE t (i int); {GATE}"), script);
        // Long enough for the gate, short enough for the ledger.
        let AtGate {
            database,
            mut run,
            gate,
            ..
        } = at_gate(pending, |call, _| call.arg("--lock-timeout=2s"));
        let other = lock_ledger(&database);
        open(gate);
        let mut other = other.join().unwrap();
        run.wait_for_stderr("again in");
        other.batch_execute("ROLLBACK").unwrap();
        let run = run.wait();
        assert_eq!(run.code, 0, "{name}\n{run}");
        is_true(name, &database, &run, Committed::All);
        assert_eq!(database.scalar("SELECT count(*) FROM t"), "1", "{name}\n{run}");
    });
}

#[test]
fn a_ledger_that_is_locked_when_the_run_opens_is_waited_for() {
    for verb in ["deploy", "status"] {
        let (database, history) = pending(servers()[0], "CREATE TABLE t (i int)", "insert into t values(1);");
        let mut other = database.client();
        other.batch_execute(LOCK_LEDGER).unwrap();
        let mut run = migrate()
            .verb([verb])
            .arg(history.folder())
            .database(&database)
            .arg(if verb == "deploy" {
                "--lock-timeout=100ms"
            } else {
                "--connect-timeout=60s"
            })
            .spawn();
        let mut superuser = database.superuser();
        until("it has been kept from the ledger", || {
            let waits = "SELECT count(*) FROM pg_locks WHERE relation = '_prisma_migrations'::regclass AND NOT granted";
            !run.is_running() || superuser.query_one(waits, &[]).unwrap().get::<_, i64>(0) > 0
        });
        if verb == "deploy" {
            until("it has given up once", || {
                let waits =
                    "SELECT count(*) FROM pg_locks WHERE relation = '_prisma_migrations'::regclass AND NOT granted";
                !run.is_running() || superuser.query_one(waits, &[]).unwrap().get::<_, i64>(0) == 0
            });
        }
        other.batch_execute("ROLLBACK").unwrap();
        let run = run.wait();
        assert!(
            matches!((verb, run.code), ("deploy", 0) | ("status", 10)),
            "{verb}\n{run}"
        );
    }
}

/// A ledger that stays locked: what is committed is not denied.
#[test]
fn a_ledger_that_stays_locked_is_no_proof() {
    each(FORMS, |(name, script)| {
        let pending = pending(servers()[0], &format!("CREATE TABLE t (i int); {GATE}"), script);
        let AtGate {
            database,
            history,
            run,
            gate,
        } = at_gate(pending, |call, _| {
            call.arg("--lock-timeout=2s").arg("--lock-retry-for=200ms")
        });
        let other = lock_ledger(&database);
        open(gate);
        let mut other = other.join().unwrap();
        let run = run.wait();
        other.batch_execute("ROLLBACK").unwrap();
        let state = super::failure(&run, "state");
        assert_ne!(run.code, 0, "{name}\n{run}");
        assert!(
            !state.contains("nothing was changed") && !state.contains("was rolled back"),
            "{name}\n{run}"
        );
        let run = deploy(&database, &history);
        // Of a statement that commits by itself, nothing but its note tells that it has ended.
        let expected = if name == "a statement alone" { 21 } else { 0 };
        assert_eq!(run.code, expected, "{name}\n{run}");
        assert_eq!(database.scalar("SELECT count(*) FROM t"), "1", "{name}\n{run}");
    });
}

/// A name, the script, and what another session has locked when it has committed: DISCARD TEMP waits for it, and fails.
const UNTIDY: [(&str, &str, &str); 8] = [
    (
        "seen: two transactions",
        "create temp table x(i int); commit; insert into t values(1); insert into gate values(1);",
        "x",
    ),
    (
        "a last transaction of its own",
        "create temp table x(i int); commit; begin; insert into t values(1); insert into gate values(1); commit;",
        "x",
    ),
    (
        "steps",
        "create temp table x(i int); vacuum t; insert into t values(1); insert into gate values(1);",
        "x",
    ),
    (
        "a statement alone",
        "do $$ begin create temp table x(i int); commit; insert into t values(1); insert into gate values(1); commit; end $$;",
        "x",
    ),
    (
        "a temporary view",
        "create temp view x as select 1; commit; insert into t values(1); insert into gate values(1);",
        "x",
    ),
    (
        "a temporary sequence that a table's default uses",
        "create temp sequence s; create table k (i int default nextval('s')); commit; insert into t values(1); insert into gate values(1);",
        "k",
    ),
    (
        "a temporary type that a table's column has",
        "create type pg_temp.y as enum ('a'); create table k (i int, y pg_temp.y); commit; insert into t values(1); insert into gate values(1);",
        "k",
    ),
    (
        "a temporary function that a trigger calls",
        "create function pg_temp.f() returns trigger language plpgsql as 'begin return new; end'; create table k (i int); \
         create trigger f before insert on k for each row execute function pg_temp.f(); commit; insert into t values(1); insert into gate values(1);",
        "k",
    ),
];

#[test]
fn a_session_that_cannot_be_tidied_up_loses_no_verdict() {
    each(
        everywhere(&UNTIDY, |case| case.0),
        |(server, (name, script, locked))| {
            let (database, history) = pending(server, &format!("CREATE TABLE t (i int); {GATE}"), script);
            let history = history.migration("20250101000000_later", "insert into t values(2)");
            let AtGate {
                database, run, gate, ..
            } = at_gate((database, history), |call, _| call.arg("--lock-timeout=500ms"));
            let mut other = database.superuser();
            let row = other.query_one(
                "SELECT format('%s.%s', relnamespace::regnamespace, relname) FROM pg_class WHERE relname = $1",
                &[&locked],
            );
            let locked: String = row.unwrap().get(0);
            other
                .batch_execute(&format!("BEGIN; LOCK TABLE {locked} IN ACCESS SHARE MODE"))
                .unwrap();
            open(gate);
            let run = run.wait();
            other.batch_execute("ROLLBACK").unwrap();
            assert_eq!(run.code, 0, "{name}\n{run}");
            assert!(run.stderr.contains("could not be brought back"), "{name}\n{run}");
            is_true(name, &database, &run, Committed::All);
            assert_eq!(
                database.scalar("SELECT string_agg(i::text, ',' ORDER BY i) FROM t"),
                "1,2",
                "{name}\n{run}"
            );
        },
    );
}

#[test]
fn a_script_that_sets_our_setting_says_nothing_of_a_pooler() {
    for server in servers() {
        each(
            [
                ("seen", "", "set prisma_migrate_task.run_id = 'x';"),
                (
                    "by set_config, in steps",
                    "",
                    "select set_config('prisma_migrate_task.run_id', 'x', false); vacuum t;",
                ),
                (
                    "in DO, over two transactions",
                    "",
                    "do $$ begin set prisma_migrate_task.run_id = 'x'; end $$; commit; insert into t values(1);",
                ),
                (
                    "reset",
                    "",
                    "reset prisma_migrate_task.run_id; insert into t values(1);",
                ),
                (
                    "of the database",
                    "alter database :database set prisma_migrate_task.run_id = 'x';",
                    "insert into t values(1);",
                ),
                (
                    "of the role",
                    "alter role :user set prisma_migrate_task.run_id = 'x';",
                    "insert into t values(1); commit; insert into t values(1);",
                ),
                (
                    "what the notes use",
                    "",
                    "select set_config('prisma_migrate_task.role', 'x', false), set_config('prisma_migrate_task.session_user', 'x', false); insert into t values(1); commit; insert into t values(2);",
                ),
            ],
            |(name, before, script)| {
                let (database, history) = pending(server, "CREATE TABLE t (i int)", script);
                let before = before
                    .replace(":database", database.name())
                    .replace(":user", database.user());
                database.superuser().batch_execute(&before).unwrap();
                let run = deploy(&database, &history);
                assert_eq!(run.code, 0, "{name}\n{run}");
                let history = history.migration("20250101000000_later", "insert into t values(2)");
                let run = deploy(&database, &history);
                assert_eq!(run.code, 0, "{name}, the next run\n{run}");
                assert!(!run.stderr.contains("pooler"), "{name}\n{run}");
            },
        );
    }
}
