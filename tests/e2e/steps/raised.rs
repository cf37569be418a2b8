//! What a script raises itself is its own failure, whatever its SQLSTATE means where the server raises it.

use super::{Committed, deploy, each, everywhere, failure, is_true, pending, rows, servers};
use crate::migrate;
use harness::postgres::{Server, Version};

/// SQLSTATEs of a connection that is lost, and of a server that goes down.
const LOST: [&str; 8] = ["57P01", "08006", "08003", "57P02", "57P03", "57P05", "08P01", "57014"];

const BEFORE: &str = "CREATE TABLE t (i int); \
    CREATE FUNCTION raises(code text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = code; END $$; \
    CREATE PROCEDURE commits_and_raises(code text) LANGUAGE plpgsql AS \
    $$ BEGIN INSERT INTO t VALUES (1); COMMIT; RAISE EXCEPTION 'mine' USING ERRCODE = code; END $$; \
    CREATE FUNCTION raises_later() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = TG_ARGV[0]; END $$; \
    CREATE TABLE late (i int)";

/// A name, a script that raises `:code`, and what is committed of it.
const SCRIPTS: [(&str, &str, Committed); 9] = [
    (
        "seen: whole",
        "insert into t values(1); do $$ begin raise exception 'mine' using errcode = ':code'; end $$;",
        Committed::Nothing,
    ),
    (
        "seen: the second of two transactions",
        "begin; insert into t values(1); commit;\nbegin; insert into t values(2); do $$ begin raise exception 'mine' using errcode = ':code'; end $$; commit;",
        Committed::Part,
    ),
    (
        "seen: a step",
        "insert into t values(1); vacuum t;\ndo $$ begin raise exception 'mine' using errcode = ':code'; end $$;",
        Committed::Part,
    ),
    (
        "its own transaction",
        "begin; insert into t values(1); select raises(':code'); commit;",
        Committed::Nothing,
    ),
    (
        "the first of two transactions",
        "begin; insert into t values(1); select raises(':code'); commit; begin; insert into t values(2); commit;",
        Committed::Nothing,
    ),
    (
        "the first step",
        "select raises(':code'); vacuum t;",
        Committed::Nothing,
    ),
    (
        "at the commit",
        "create constraint trigger r after insert on late deferrable initially deferred for each row \
         execute function raises_later(':code'); insert into late values(1);",
        Committed::Nothing,
    ),
    (
        "a transaction of its own among steps",
        "vacuum t; begin; insert into t values(1); commit and chain; insert into t values(2); select raises(':code'); commit;",
        Committed::Part,
    ),
    (
        "behind a COMMIT of a procedure",
        "call commits_and_raises(':code');",
        Committed::Part,
    ),
];

#[test]
fn a_script_that_raises_what_a_lost_connection_raises_has_failed() {
    for (n, code) in LOST.into_iter().enumerate() {
        // Each form with each SQLSTATE that was seen, and each other SQLSTATE with the forms that were.
        let scripts = everywhere(&SCRIPTS, |script| script.0);
        let scripts = scripts
            .into_iter()
            .filter(|(server, (name, ..))| n < 2 || (name.starts_with("seen") && std::ptr::eq(*server, servers()[0])));
        each(scripts, |(server, (name, script, committed))| {
            let (database, history) = pending(server, BEFORE, &script.replace(":code", code));
            let run = deploy(&database, &history);
            let told = format!("{name}, {code}\n{run}");
            assert_eq!(
                run.code,
                if committed == Committed::Nothing { 20 } else { 21 },
                "{told}"
            );
            assert_eq!(failure(&run, "what"), "mine", "{told}");
            assert_eq!(failure(&run, "sqlstate"), code, "{told}");
            assert!(!run.stderr.contains("the connection was lost"), "{told}");
            is_true(name, &database, &run, committed);
            assert_eq!(rows(&database).len(), 1, "{told}");
            assert_eq!(
                database.scalar("SELECT count(*) FROM t"),
                if committed == Committed::Nothing { "0" } else { "1" },
                "{told}"
            );
        });
    }
}

#[test]
fn so_has_one_of_several_in_one_transaction() {
    each(["57P01", "08006", "57P03"], |code| {
        let script = SCRIPTS[0].1.replace(":code", code);
        let (database, history) = pending(servers()[0], BEFORE, &script);
        let run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--all-or-nothing")
            .run();
        assert_eq!(run.code, 20, "{code}\n{run}");
        assert_eq!(failure(&run, "sqlstate"), code, "{run}");
        assert!(!run.stderr.contains("the connection was lost"), "{code}\n{run}");
        assert_eq!(database.scalar("SELECT count(*) FROM t"), "0", "{code}\n{run}");
    });
}

/// A trigger on the ledger that raises it: the row cannot be written, and nothing was lost.
#[test]
fn a_trigger_that_raises_it_keeps_the_row_from_being_written() {
    each(
        [
            ("INSERT", "57P01", 50),
            ("UPDATE", "08006", 20),
            ("INSERT", "08006", 50),
        ],
        |(event, code, exit)| {
            let (database, history) = pending(servers()[0], BEFORE, "insert into t values(1);");
            database.execute(&format!(
                "CREATE TRIGGER r BEFORE {event} ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION raises_later('{code}')"
            ));
            let run = deploy(&database, &history);
            assert_eq!(run.code, exit, "{event}, {code}\n{run}");
            assert!(
                !run.stderr.contains("the connection was lost"),
                "{event}, {code}\n{run}"
            );
            assert_eq!(database.scalar("SELECT count(*) FROM t"), "0", "{event}, {code}\n{run}");
        },
    );
}

/// What does end the session is a lost connection, whatever its SQLSTATE.
#[test]
fn what_ends_the_session_is_told_by_its_own_words() {
    each(
        [
            (
                servers()[0],
                "select pg_terminate_backend(pg_backend_pid()); select pg_sleep(10);",
                "57P01",
            ),
            (
                Server::version(Version::V18),
                "set transaction_timeout = '100ms'; select pg_sleep(10);",
                "25P04",
            ),
            (
                servers()[0],
                "insert into t values(1); vacuum t; select pg_terminate_backend(pg_backend_pid()); select pg_sleep(10);",
                "57P01",
            ),
        ],
        |(server, script, code)| {
            let (database, history) = pending(server, BEFORE, script);
            let run = deploy(&database, &history);
            assert_eq!(run.code, 50, "{script}\n{run}");
            assert!(
                failure(&run, "what").contains("the connection was lost 3 times")
                    && failure(&run, "what").contains(code),
                "{script}\n{run}"
            );
        },
    );
}
