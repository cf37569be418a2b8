//! Scripts that are more than one transaction, or that meddle with what the program needs: what a run says of them must be true of the database.
//!
//! Each file has one subject. Its cases are examples of a kind, with the example that was seen first.

mod bookkeeping;
mod chained;
mod copy;
mod durable;
mod forged;
mod left_behind;
mod local;
mod long;
mod lost_client;
mod names;
mod noted;
mod prepared;
mod raised;
mod read_only;
mod released_lock;
mod session;
mod slot;
mod stopped;
mod strings;
mod verdict;

use crate::migrate;
use harness::history::History;
use harness::postgres::{Client, Database, LedgerRow, Server, Version};
use harness::process::{Run, Running};
use harness::tool::Call;
use harness::until;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

const NAME: &str = "20240101000000_it";
const BEFORE: &str = "20230101000000_before";

/// What of a migration is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Committed {
    Nothing,
    Part,
    All,
}

/// The default server, and the oldest and the newest version.
fn servers() -> [&'static Server; 3] {
    [
        Server::shared(),
        Server::version(Version::V13),
        Server::version(Version::V18),
    ]
}

/// Every case on the default server, and those that were seen first on the oldest and the newest version too.
fn everywhere<T: Copy>(cases: &[T], name: impl Fn(&T) -> &str) -> Vec<(&'static Server, T)> {
    let on = |(n, server): (usize, &'static Server)| {
        let cases = cases.iter().filter(|case| n == 0 || name(case).starts_with("seen"));
        cases.map(|case| (server, *case)).collect::<Vec<_>>()
    };
    servers().into_iter().enumerate().flat_map(on).collect()
}

/// A database to which one migration is applied, and its history with another one pending.
fn pending(server: &Server, before: &str, script: &str) -> (Database, History) {
    pending_in(server.database(), before, script)
}

fn pending_in(database: Database, before: &str, script: &str) -> (Database, History) {
    let before = format!("{before};");
    let history = History::new().migration(BEFORE, &before);
    // As Prisma leaves it; a deploy would take longer.
    database.execute(&format!(
        "CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY NOT NULL, checksum varchar(64) NOT NULL, finished_at timestamptz, \
         migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(), \
         applied_steps_count integer NOT NULL DEFAULT 0); \
         {before} \
         INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, applied_steps_count) \
         VALUES ('before', encode(sha256(convert_to($before${before}$before$, 'UTF8')), 'hex'), now(), '{BEFORE}', 1)"
    ));
    (database, history.migration(NAME, script))
}

fn deploy(database: &Database, history: &History) -> Run {
    migrate().deploy(history.folder()).database(database).run()
}

/// Puts another script there.
fn rewrite(history: &History, script: &str) {
    history.write(format!("migrations/{NAME}/migration.sql"), script);
}

fn rows(database: &Database) -> Vec<LedgerRow> {
    database.ledger().into_iter().filter(|row| row.name == NAME).collect()
}

fn failure(run: &Run, field: &str) -> String {
    let report = run.report.as_ref().unwrap_or_else(|| panic!("no report\n{run}"));
    report["failure"][field].as_str().unwrap_or_default().to_owned()
}

fn says_applied(run: &Run) -> usize {
    let report = run.report.as_ref().unwrap_or_else(|| panic!("no report\n{run}"));
    let applied = report["applied"].as_array().unwrap();
    applied.iter().filter(|applied| applied["name"] == NAME).count()
}

/// The exit code, the outcome and the ledger say of the migration what is in the database.
#[track_caller]
fn is_true(case: &str, database: &Database, run: &Run, committed: Committed) {
    let rows = rows(database);
    let finished = rows.iter().filter(|row| row.finished && !row.rolled_back).count();
    let unfinished = rows.iter().filter(|row| !row.finished && !row.rolled_back).count();
    let told = format!("{case}: {committed:?}\n{rows:?}\n{run}");
    if run.code == 0 {
        assert_eq!(committed, Committed::All, "{told}");
        assert_eq!((finished, unfinished), (1, 0), "{told}");
        assert!(
            rows.iter()
                .all(|row| !row.finished || (row.logs.is_none() && row.steps == 1)),
            "{told}"
        );
        assert!(run.report.is_none() || says_applied(run) == 1, "{told}");
        return;
    }
    let state = failure(run, "state");
    // That a later run changed nothing says nothing of what an earlier one committed.
    let state = state.replace("nothing was changed by this run", "");
    let denies = [
        "nothing was changed",
        "everything of this migration was rolled back",
        "nothing of it",
    ]
    .iter()
    .any(|words| state.contains(words));
    assert_eq!(says_applied(run), 0, "{told}");
    match committed {
        Committed::Nothing => {
            assert!(matches!(run.code, 20 | 24 | 30 | 31 | 50 | 60), "{told}");
            assert_eq!((finished, unfinished), (0, 0), "{told}");
            assert!(denies, "{told}");
        }
        Committed::Part => {
            assert!(matches!(run.code, 21 | 31 | 60 | 61), "{told}");
            assert_eq!((finished, unfinished), (0, 1), "{told}");
            assert!(!denies && !state.is_empty(), "{told}");
        }
        Committed::All => {
            assert!(matches!(run.code, 21 | 60 | 61), "{told}");
            assert!(!denies && !state.contains("the rest is not"), "{told}");
            assert!(!state.contains("nothing after that"), "{told}");
        }
    }
}

/// Waits until the condition, a query of one truth value, holds for a superuser.
fn until_true(database: &Database, what: &str, query: &str) {
    let mut superuser = database.superuser();
    until(what, || {
        superuser.query_one(query, &[]).unwrap().get::<_, Option<bool>>(0) == Some(true)
    });
}

/// Waits until a backend of the program waits for this relation, advisory lock or transaction.
fn until_blocked(database: &Database) {
    until_true(
        database,
        "a backend of the run waits",
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
         AND usename <> 'postgres' AND application_name <> 'harness'",
    );
}

/// Ends whoever works in the database, except the harness.
fn terminate(database: &Database) {
    let mut superuser = database.superuser();
    until("no backend of a run is left", || {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'harness'";
        superuser.query(sql, &[]).unwrap().is_empty()
    });
}

/// A session that holds the table `gate`, in which statements of a script wait that insert 1 into it.
fn gate(database: &Database) -> Client {
    let mut client = database.client();
    client.batch_execute("BEGIN; INSERT INTO gate VALUES (1)").unwrap();
    client
}

const GATE: &str = "CREATE TABLE gate (id int PRIMARY KEY)";

fn open(mut gate: Client) {
    gate.batch_execute("ROLLBACK").unwrap();
}

/// A run whose script waits at the gate.
struct AtGate {
    database: Database,
    history: History,
    run: Running,
    gate: Client,
}

/// Deploys to a database that has a [`GATE`], and waits until the script is there.
fn at_gate((database, history): (Database, History), call: impl FnOnce(Call, &Database) -> Call) -> AtGate {
    let gate = gate(&database);
    let deploy = migrate().deploy(history.folder()).database(&database);
    let run = call(deploy, &database).spawn();
    until_blocked(&database);
    AtGate {
        database,
        history,
        run,
        gate,
    }
}

/// A session in a transaction that has done this.
fn in_transaction(database: &Database, sql: &str) -> Client {
    let mut client = database.client();
    client
        .batch_execute(&format!("SET application_name = 'the stranger'; BEGIN; {sql}"))
        .unwrap();
    client
}

/// A session that sends this, which waits.
fn waiting(database: &Database, sql: &'static str) -> JoinHandle<Client> {
    let mut client = database.client();
    thread::spawn(move || {
        client.batch_execute(sql).unwrap();
        client
    })
}

/// Kills the run and its backend while it waits at the gate, and opens it.
fn kill(database: &Database, run: Running, gate: Client) {
    run.kill();
    terminate(database);
    open(gate);
}

/// A role of the database's own, of which its user is a member.
fn role(database: &Database, name: &str) -> String {
    let user = database.user();
    let role = format!("{user}_{name}");
    let sql = format!("CREATE ROLE {role}; GRANT {role} TO {user}; GRANT CREATE, USAGE ON SCHEMA public TO {role}");
    database.superuser().batch_execute(&sql).unwrap();
    role
}

/// Checks every case, also behind one that fails.
#[track_caller]
fn each<T>(cases: impl IntoIterator<Item = T>, check: impl Fn(T)) {
    let ended = cases
        .into_iter()
        .map(|case| catch_unwind(AssertUnwindSafe(|| check(case))).is_ok());
    let ended: Vec<bool> = ended.collect();
    let failed = ended.iter().filter(|passed| !**passed).count();
    assert_eq!(failed, 0, "{failed} of {} cases failed, as said above", ended.len());
}
