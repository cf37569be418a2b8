//! The client's side of the connection is gone, and the backend lives on: its migration is applied once, and what is said of it is true.

use super::{
    AtGate, Committed, GATE, at_gate, deploy, each, everywhere, failure, is_true, open, pending, pending_in, rows,
    says_applied, servers, until_true,
};
use harness::history::History;
use harness::postgres::{Client, Database, Options, Server, Version};
use harness::process::{Run, Signal};
use harness::proxy::Proxy;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// A run through a proxy, whose script waits at the gate, and the gate.
struct Waiting {
    at_gate: AtGate,
    proxy: Proxy,
    /// The backend that waits.
    backend: String,
}

fn waiting(server: &Server, script: &str) -> Waiting {
    waiting_of(server, pending(server, &format!("{BEFORE}; {GATE}"), script))
}

fn waiting_of(server: &Server, pending: (Database, History)) -> Waiting {
    let proxy = Proxy::to(server);
    // The wait for the gate is no matter of a lock_timeout here.
    let at_gate = at_gate(pending, |call, database| {
        let call = call.database_url(database, &proxy.url_for(database));
        call.arg("--lock-timeout=0").arg("--stop-within=2s")
    });
    let backend = at_gate.database.superuser().query_one(
        "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name <> 'harness'",
        &[],
    );
    let backend = backend.unwrap().get(0);
    Waiting {
        at_gate,
        proxy,
        backend,
    }
}

fn rows_of_a(database: &Database) -> String {
    database.scalar("SELECT coalesce(string_agg(i::text, ',' ORDER BY i), '') FROM a")
}

#[test]
fn it_is_applied_once_and_by_the_same_run() {
    each(everywhere(&CASES, |case| case.0), |(server, (name, script, all))| {
        let Waiting { at_gate, proxy, .. } = waiting(server, script);
        let AtGate {
            database,
            mut run,
            gate,
            ..
        } = at_gate;
        proxy.cut_clients();
        run.wait_for_stderr("waiting for its end");
        open(gate);
        let run = run.wait();
        assert_eq!(run.code, 0, "{name}\n{run}");
        assert_eq!(rows_of_a(&database), all, "{name}\n{run}");
        is_true(name, &database, &run, Committed::All);
        assert_eq!(rows(&database).len(), 1, "{name}\n{run}");
    });
}

#[test]
fn a_stop_while_it_waits_for_its_own_backend_says_what_may_still_happen() {
    each(everywhere(&CASES, |case| case.0), |(server, (name, script, all))| {
        let waiting = waiting(server, script);
        let backend = waiting.backend.clone();
        let (database, history, run, gate) = stopped_while_its_backend_lives(waiting);
        assert_eq!(run.code, 60, "{name}\n{run}");
        let state = failure(&run, "state");
        assert!(
            state.contains(&backend) && state.contains("may still be committed"),
            "{name}: {backend}\n{run}"
        );
        open(gate);
        let run = deploy(&database, &history);
        assert_eq!(run.code, 0, "{name}\n{run}");
        assert_eq!(rows_of_a(&database), all, "{name}\n{run}");
        assert!(says_applied(&run) <= 1, "{name}\n{run}");
        let rows = rows(&database);
        assert!(rows.len() == 1 && rows[0].finished, "{name}: {rows:?}\n{run}");
    });
}

/// Cuts the run off, stops it while it waits for its backend, and leaves that at the gate.
fn stopped_while_its_backend_lives(waiting: Waiting) -> (Database, History, Run, Client) {
    let AtGate {
        database,
        history,
        mut run,
        gate,
    } = waiting.at_gate;
    waiting.proxy.cut_clients();
    run.wait_for_stderr("waiting for its end");
    run.signal(Signal::TERM);
    (database, history, run.wait(), gate)
}

#[test]
fn a_stop_of_a_run_whose_connection_is_silent_says_so_too() {
    each([CASES[1], CASES[4], CASES[5]], |(name, script, all)| {
        let Waiting {
            at_gate,
            proxy,
            backend,
        } = waiting(servers()[0], script);
        let AtGate {
            database,
            history,
            run,
            gate,
        } = at_gate;
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
        let run = deploy(&database, &history);
        assert_eq!(run.code, 0, "{name}\n{run}");
        assert_eq!(rows_of_a(&database), all, "{name}\n{run}");
    });
}

/// A name, a script of which no row can tell whether it ran, and how the next run ends once it has. `:n` is a number of its own.
const OPAQUE: [(&str, &str, i32); 7] = [
    ("seen: CALL", "call p();", 21),
    (
        "seen: PREPARE TRANSACTION",
        "begin; insert into a values(1); insert into gate values(1); prepare transaction 'it_:n';",
        // It ran to its end, and closed its row.
        0,
    ),
    (
        "DO that commits",
        "do $$ begin insert into a values(1); commit; insert into gate values(1); insert into a values(2); commit; end $$;",
        21,
    ),
    ("CALL in DO", "do $$ begin call p(); end $$;", 21),
    (
        "CALL behind other statements",
        "vacuum a; insert into a values(0); call p();",
        21,
    ),
    (
        "PREPARE TRANSACTION behind another transaction",
        "begin; insert into a values(1); commit; begin; insert into gate values(1); prepare transaction 'it_:n';",
        0,
    ),
    (
        "PREPARE TRANSACTION that the server refuses",
        "create temp table x(i int); insert into gate values(1); begin; prepare transaction 'it_:n';",
        21,
    ),
];

/// What of such a script is in the database, its row cannot tell.
#[test]
fn only_where_the_next_run_cannot_know_a_person_must_look() {
    let servers = [None, Some(Version::V13), Some(Version::V18)].map(|version| {
        let options = version.map_or_else(Options::new, |version| Options::new().version(version));
        Server::start(options.setting("max_prepared_transactions", "20"))
    });
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    for (n, server) in servers.iter().enumerate() {
        let cases = OPAQUE.into_iter();
        let cases = cases.filter(|(name, ..)| n == 0 || name.starts_with("seen"));
        each(cases, |(name, script, next)| {
            let opaque = || {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
                let before = format!("{BEFORE}; {GATE}");
                waiting_of(
                    server,
                    pending_in(server.database(), &before, &script.replace(":n", &number)),
                )
            };
            let waiting = opaque();
            let backend = waiting.backend.clone();
            let (database, history, run, gate) = stopped_while_its_backend_lives(waiting);
            assert_eq!(run.code, 61, "{name}\n{run}");
            let state = failure(&run, "state");
            assert!(
                state.contains(&backend) && state.contains("may still be committed"),
                "{name}\n{run}"
            );
            open(gate);
            let run = deploy(&database, &history);
            assert_eq!(run.code, next, "{name}\n{run}");
            // Not stopped, the same run says the same.
            let Waiting { at_gate, proxy, .. } = opaque();
            proxy.cut_clients();
            let AtGate { mut run, gate, .. } = at_gate;
            run.wait_for_stderr("waiting for its end");
            open(gate);
            let run = run.wait();
            assert_eq!(run.code, next, "{name}\n{run}");
        });
    }
}
