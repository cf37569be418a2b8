//! The client's side of the connection is gone, and the backend lives on: its migration is applied once, and what is said of it is true.

use super::{
    Committed, GATE, each, failure, gate, is_true, open, pending, rows, says_applied, servers, until_blocked,
    until_true,
};
use crate::migrate;
use harness::postgres::{Client, Database, Server};
use harness::process::{Running, Signal};
use harness::proxy::Proxy;

const BEFORE: &str = "CREATE TABLE a (i int); \
    CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN INSERT INTO a VALUES (1); COMMIT; INSERT INTO gate VALUES (1); INSERT INTO a VALUES (2); COMMIT; END'";

/// A name, the script, and the rows of `a` when all of it has run.
const CASES: [(&str, &str, &str); 7] = [
    (
        "seen: the lock is released first",
        "select pg_advisory_unlock_all(); begin; insert into a values(1); insert into gate values(1); commit;",
        "1",
    ),
    (
        "one transaction",
        "insert into a values(1); insert into gate values(1);",
        "1",
    ),
    (
        "its own transaction",
        "begin; insert into a values(1); insert into gate values(1); commit;",
        "1",
    ),
    (
        "another application_name",
        "set application_name = 'x'; select pg_advisory_unlock_all(); commit; insert into a values(1); insert into gate values(1);",
        "1",
    ),
    (
        "two transactions",
        "begin; insert into a values(1); commit; select pg_advisory_unlock_all(); begin; insert into a values(2); insert into gate values(1); commit;",
        "1,2",
    ),
    (
        "steps",
        "select pg_advisory_unlock_all(); vacuum a; insert into a values(1); begin; insert into a values(2); insert into gate values(1); commit;",
        "1,2",
    ),
    (
        "the last of several steps",
        "insert into a values(1); vacuum a; select pg_advisory_unlock_all(); insert into a values(2); insert into gate values(1); vacuum a;",
        "1,2",
    ),
];

const CALL: &str = "call p();";

/// A run through a proxy, whose script waits at the gate, and the gate.
struct Waiting {
    database: Database,
    history: harness::history::History,
    proxy: Proxy,
    run: Running,
    gate: Client,
    /// The backend that waits.
    backend: String,
}

fn waiting(server: &Server, script: &str) -> Waiting {
    let (database, history) = pending(server, &format!("{BEFORE}; {GATE}"), script);
    let gate = gate(&database);
    let proxy = Proxy::to(server);
    // The wait for the gate is no matter of a lock_timeout here.
    let run = migrate()
        .deploy(history.folder())
        .database_url(&database, &proxy.url_for(&database))
        .arg("--lock-timeout=0")
        .arg("--stop-within=2s")
        .spawn();
    until_blocked(&database);
    let backend = database.superuser().query_one(
        "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name <> 'harness'",
        &[],
    );
    let backend = backend.unwrap().get(0);
    Waiting {
        database,
        history,
        proxy,
        run,
        gate,
        backend,
    }
}

fn rows_of_a(database: &Database) -> String {
    database.scalar("SELECT coalesce(string_agg(i::text, ',' ORDER BY i), '') FROM a")
}

#[test]
fn it_is_applied_once_and_by_the_same_run() {
    for (n, server) in servers().into_iter().enumerate() {
        for (name, script, all) in CASES
            .into_iter()
            .filter(|(name, ..)| n == 0 || name.starts_with("seen"))
        {
            let Waiting {
                database,
                proxy,
                mut run,
                gate,
                ..
            } = waiting(server, script);
            proxy.cut_clients();
            run.wait_for_stderr("waiting for its end");
            open(gate);
            let run = run.wait();
            assert_eq!(run.code, 0, "{name}\n{run}");
            assert_eq!(rows_of_a(&database), all, "{name}\n{run}");
            is_true(name, &database, &run, Committed::All);
            assert_eq!(rows(&database).len(), 1, "{name}\n{run}");
        }
    }
}

#[test]
fn a_stop_while_it_waits_for_its_own_backend_says_what_may_still_happen() {
    each(servers().into_iter().enumerate(), |(n, server)| {
        each(
            CASES
                .into_iter()
                .filter(|(name, ..)| n == 0 || name.starts_with("seen")),
            |(name, script, all)| {
                let Waiting {
                    database,
                    history,
                    proxy,
                    mut run,
                    gate,
                    backend,
                } = waiting(server, script);
                proxy.cut_clients();
                run.wait_for_stderr("waiting for its end");
                run.signal(Signal::TERM);
                let run = run.wait();
                assert_eq!(run.code, 60, "{name}\n{run}");
                let state = failure(&run, "state");
                assert!(
                    state.contains(&backend) && state.contains("may still be committed"),
                    "{name}: {backend}\n{run}"
                );
                open(gate);
                let run = migrate().deploy(history.folder()).database(&database).run();
                assert_eq!(run.code, 0, "{name}\n{run}");
                assert_eq!(rows_of_a(&database), all, "{name}\n{run}");
                assert!(says_applied(&run) <= 1, "{name}\n{run}");
                let rows = rows(&database);
                assert!(rows.len() == 1 && rows[0].finished, "{name}: {rows:?}\n{run}");
            },
        );
    });
}

#[test]
fn a_stop_of_a_run_whose_connection_is_silent_says_so_too() {
    each([CASES[1], CASES[4], CASES[5]], |(name, script, all)| {
        let Waiting {
            database,
            history,
            proxy,
            run,
            gate,
            backend,
        } = waiting(servers()[0], script);
        proxy.freeze();
        run.signal(Signal::TERM);
        let run = run.wait();
        assert_eq!(run.code, 60, "{name}\n{run}");
        let state = failure(&run, "state");
        assert!(
            state.contains(&backend) && state.contains("may still be committed"),
            "{name}: {backend}\n{run}"
        );
        open(gate);
        // The network forgets the connection when all is done.
        until_true(&database, "the backend has committed", "SELECT count(*) > 0 FROM gate");
        proxy.cut();
        let run = migrate().deploy(history.folder()).database(&database).run();
        assert_eq!(run.code, 0, "{name}\n{run}");
        assert_eq!(rows_of_a(&database), all, "{name}\n{run}");
    });
}

/// What of a statement that commits by itself is in the database, its row cannot tell.
#[test]
fn only_where_the_next_run_cannot_know_a_person_must_look() {
    let Waiting {
        database,
        history,
        proxy,
        mut run,
        gate,
        backend,
    } = waiting(servers()[0], CALL);
    proxy.cut_clients();
    run.wait_for_stderr("waiting for its end");
    run.signal(Signal::TERM);
    let run = run.wait().expect(61);
    let state = failure(&run, "state");
    assert!(
        state.contains(&backend) && state.contains("may still be committed"),
        "{run}"
    );
    open(gate);
    let run = migrate().deploy(history.folder()).database(&database).run().expect(21);
    assert_eq!(rows_of_a(&database), "1,2", "{run}");
    assert!(run.stdout.contains("may or may not have run"), "{run}");
    // Not stopped, the same run says the same.
    let Waiting {
        database,
        proxy,
        mut run,
        gate,
        ..
    } = waiting(servers()[0], CALL);
    proxy.cut_clients();
    run.wait_for_stderr("waiting for its end");
    open(gate);
    let run = run.wait().expect(21);
    assert_eq!(rows_of_a(&database), "1,2", "{run}");
}
