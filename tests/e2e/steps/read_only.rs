//! Transactions that become READ ONLY when they have written, or READ WRITE again: what they have committed is known, and is not run twice.

use super::{
    AtGate, Committed, GATE, at_gate, deploy, each, everywhere, failure, is_true, kill, pending, rewrite, servers,
};

const BEFORE: &str = "CREATE TABLE a (i int)";

/// A name, and a script that commits 1, then waits at the gate. Its last statement but for a COMMIT is the one that waits.
const CASES: [(&str, &str); 9] = [
    (
        "seen: a transaction that becomes READ ONLY before its COMMIT",
        "insert into a values(1); begin; set transaction read only; commit; insert into gate values(1);",
    ),
    (
        "in a transaction of its own",
        "begin; insert into a values(1); set transaction read only; commit; begin; insert into gate values(1); commit;",
    ),
    (
        "by BEGIN READ ONLY within a transaction",
        "insert into a values(1); begin read only; select 1; commit; insert into gate values(1);",
    ),
    (
        "by its setting",
        "begin; insert into a values(1); set transaction_read_only = on; commit; insert into gate values(1); commit;",
    ),
    (
        "chained",
        "begin; insert into a values(1); set transaction read only; commit and chain; commit; insert into gate values(1);",
    ),
    (
        "seen: READ WRITE again",
        "begin read only; set transaction read write; insert into a values(1); commit; begin; insert into gate values(1); commit;",
    ),
    (
        "READ WRITE again by its setting, in steps",
        "vacuum a; begin read only; set local transaction_read_only = off; insert into a values(1); commit; insert into gate values(1);",
    ),
    (
        "READ WRITE in a session that is read-only",
        "set default_transaction_read_only = on; vacuum a; begin read write; insert into a values(1); commit; \
         begin read write; insert into gate values(1); commit;",
    ),
    (
        "READ ONLY in steps",
        "vacuum a; begin; insert into a values(1); set transaction read only; commit; insert into gate values(1);",
    ),
];

fn rows_of_a(database: &harness::postgres::Database) -> String {
    database.scalar("SELECT coalesce(string_agg(i::text, ',' ORDER BY i), '') FROM a")
}

#[test]
fn what_is_committed_is_not_run_again() {
    each(everywhere(&CASES, |case| case.0), |(server, (name, script))| {
        let pending = pending(server, &format!("{BEFORE}; {GATE}"), script);
        let AtGate {
            database,
            history,
            run,
            gate,
        } = at_gate(pending, |call, _| call.arg("--lock-timeout=0"));
        kill(&database, run, gate);
        assert_eq!(rows_of_a(&database), "1", "{name}");
        let run = deploy(&database, &history);
        assert_eq!(rows_of_a(&database), "1", "{name}\n{run}");
        // What the rest of the transaction has made of the session is not known, or its modes are those of a chain.
        match script.contains("select 1;") || script.contains("chain") {
            true => {
                assert_eq!(run.code, 21, "{name}\n{run}");
                is_true(name, &database, &run, Committed::Part);
            }
            false => {
                assert_eq!(run.code, 0, "{name}\n{run}");
                is_true(name, &database, &run, Committed::All);
            }
        }
    });
}

#[test]
fn what_is_committed_before_an_error_is_not_denied() {
    each(everywhere(&CASES, |case| case.0), |(server, (name, script))| {
        let fails = script.replace("into gate values(1)", "into gate values(1/0)");
        let (database, history) = pending(server, &format!("{BEFORE}; {GATE}"), &fails);
        let run = deploy(&database, &history);
        assert_eq!(run.code, 21, "{name}\n{run}");
        assert_eq!(failure(&run, "sqlstate"), "22012", "{name}\n{run}");
        assert_eq!(rows_of_a(&database), "1", "{name}\n{run}");
        is_true(name, &database, &run, Committed::Part);
    });
}

#[test]
fn a_read_only_transaction_that_is_left_open_is_an_error() {
    each(
        [
            (
                "seen",
                "insert into a values(1); commit; begin read only",
                Committed::Part,
            ),
            (
                "with a query in it",
                "insert into a values(1); commit; begin; set transaction read only; select 1;",
                Committed::Part,
            ),
            (
                "within a chain",
                "begin; insert into a values(1); commit and chain; begin transaction read only; select 1;",
                Committed::Part,
            ),
            (
                "in steps",
                "insert into a values(1); vacuum a; begin read only; select 1;",
                Committed::Part,
            ),
            ("and nothing else", "begin read only; select 1;", Committed::Nothing),
            (
                "behind what it has written itself",
                "insert into a values(1); begin read only; -- ;",
                Committed::Nothing,
            ),
            (
                "that became so",
                "begin; insert into a values(1); set transaction read only; select 1;",
                Committed::Nothing,
            ),
        ],
        |(name, script, committed)| {
            let (database, history) = pending(servers()[0], BEFORE, script);
            let run = deploy(&database, &history);
            is_true(name, &database, &run, committed);
            assert!(
                failure(&run, "what").contains("leaves a transaction open"),
                "{name}\n{run}"
            );
            rewrite(&history, "select 1;");
        },
    );
}

/// The next transaction of a chain has the modes of the one before, and a BEGIN of ours would have those of the session.
#[test]
fn a_chain_that_has_changed_the_default_modes_is_not_gone_on_with() {
    each(
        [
            ("seen", "set default_transaction_read_only = on"),
            ("isolation", "set default_transaction_isolation = 'serializable'"),
            ("in DO", "do $$ begin set default_transaction_read_only = on; end $$"),
            (
                "characteristics",
                "set session characteristics as transaction read only",
            ),
        ],
        |(name, setting)| {
            let script = format!(
                "begin; insert into a values(1); {setting}; commit and chain; insert into a values(2); insert into gate values(1); commit;"
            );
            let AtGate {
                database,
                history,
                run,
                gate,
            } = at_gate(
                pending(servers()[0], &format!("{BEFORE}; {GATE}"), &script),
                |call, _| call.arg("--lock-timeout=0"),
            );
            kill(&database, run, gate);
            let run = deploy(&database, &history);
            assert_eq!(run.code, 21, "{name}\n{run}");
            assert!(failure(&run, "what").contains("AND CHAIN"), "{name}\n{run}");
            assert_eq!(rows_of_a(&database), "1", "{name}\n{run}");
            // Undisturbed it means what the server takes it to mean.
            let (database, history) = pending(servers()[0], &format!("{BEFORE}; {GATE}"), &script);
            let run = deploy(&database, &history);
            assert_eq!(run.code, 0, "{name}\n{run}");
            assert_eq!(rows_of_a(&database), "1,2", "{name}\n{run}");
        },
    );
}

/// What needs a transaction block the server refuses if it is all that the script has.
#[test]
fn a_script_that_is_only_a_lock_fails_as_on_the_server() {
    each(
        [
            ("LOCK TABLE", "lock table a in share mode;"),
            ("with comments", "-- one;\n/* two; */ lock a\n;;"),
            ("DECLARE", "declare c cursor for select 1"),
        ],
        |(name, script)| {
            let (database, history) = pending(servers()[0], BEFORE, script);
            let run = deploy(&database, &history);
            assert_eq!(run.code, 20, "{name}\n{run}");
            assert_eq!(failure(&run, "sqlstate"), "25P01", "{name}\n{run}");
            is_true(name, &database, &run, Committed::Nothing);
            // Beside another statement it is in a block.
            rewrite(
                &history,
                &format!("{}; select 1;", script.trim_end_matches([';', '\n'])),
            );
            deploy(&database, &history).expect(0);
        },
    );
}
