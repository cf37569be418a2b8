//! A session that waits for the migration lock with a blocking statement, as Prisma does, holds a snapshot all the while: CREATE INDEX CONCURRENTLY
//! waits for that snapshot, and the server ends one of the two by a deadlock.

use std::thread::{self, JoinHandle};

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::prisma;
use harness::process::{Run, Running};

use super::expect_clean;
use crate::cases::{Gate, MIGRATION_LOCK, deploy, ledger, log, tables, waits_for};

/// A blocking wait for the migration lock, in a session of its own; it ends with the statement.
struct Waiter {
    pid: i32,
    session: JoinHandle<Result<(), String>>,
}

impl Waiter {
    fn start(database: &Database) -> Waiter {
        let mut client = database.client();
        client.batch_execute("SET application_name = 'the rival'").unwrap();
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        let session = thread::spawn(move || {
            let sql = format!("SELECT pg_advisory_lock({MIGRATION_LOCK})");
            client.batch_execute(&sql).map_err(|error| error.to_string())
        });
        Waiter { pid, session }
    }

    fn named(&self) -> String {
        format!("backend {} (\"the rival\"", self.pid)
    }
}

/// A deploy that is about to build an index and does not yet.
fn before_the_index(database: &Database) -> (History, Running, Gate<'_>) {
    let set = format!("ALTER DATABASE \"{}\" SET deadlock_timeout = '100ms'", database.name());
    database.superuser().batch_execute(&set).unwrap();
    let gate = Gate::closed(database);
    let history = History::new()
        .migration("1_wait", format!("CREATE TABLE a (id int); {}", Gate::WAIT))
        .migration("2_index", "CREATE INDEX CONCURRENTLY a_id ON a (id);")
        .migration("3_last", "CREATE TABLE b (id int);");
    let run = deploy(&history, database).arg("--lock-timeout=0").spawn();
    gate.reached();
    (history, run, gate)
}

/// Waits until the backend has waited for the migration lock for so many seconds. By then the server has looked whether it is in a deadlock and will
/// not look again, so that it is ours that is ended.
fn has_waited(database: &Database, pid: i32, seconds: u32) {
    let look = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'advisory' \
         AND clock_timestamp() - query_start > make_interval(secs => {seconds})"
    );
    harness::until("the waiter has waited long enough", || database.scalar(&look) == "1");
}

/// `waiter`: how the log must name it.
fn is_through(run: &Run, waiter: &str, database: &Database) {
    let lines = log(run);
    let said = |text: &str| {
        let on_the_index = lines.iter().filter(|line| line["migration"] == "2_index");
        on_the_index
            .filter_map(|line| line["message"].as_str())
            .any(|message| message.contains(text))
    };
    assert!(said(waiter), "{run}");
    assert!(
        said("rolled back, because other sessions hold its locks (deadlock detected)"),
        "{run}"
    );
    assert_eq!(
        database.scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"),
        "t"
    );
    assert_eq!(
        database.scalar("SELECT count(*) FROM pg_index WHERE NOT indisvalid"),
        "0"
    );
    assert_eq!(tables(database), ["a", "b"]);
}

#[test]
fn a_waiter_that_goes_away_after_the_first_deadlock() {
    let database = Server::shared().database();
    let (_history, mut run, gate) = before_the_index(&database);
    let waiter = Waiter::start(&database);
    has_waited(&database, waiter.pid, 1);
    gate.open();
    run.wait_for_stderr("rolled back, because other sessions hold its locks");
    database.execute(&format!("SELECT pg_terminate_backend({})", waiter.pid));

    let run = run.wait().expect(0);
    is_through(&run, &waiter.named(), &database);
    assert!(waiter.session.join().unwrap().is_err(), "it ended without the lock");
    assert_eq!(
        ledger(&database),
        ["1_wait applied", "2_index applied", "3_last applied"]
    );
}

#[test]
fn a_waiter_that_stays_is_given_the_lock() {
    let database = Server::shared().database();
    let (_history, run, gate) = before_the_index(&database);
    let waiter = Waiter::start(&database);
    // Two seconds short of what a waiter of Prisma's could be: the first deadlock is met by trying again, a later one by giving way.
    has_waited(&database, waiter.pid, 13);
    gate.open();
    let run = run.wait().expect(0);

    is_through(&run, &waiter.named(), &database);
    assert_eq!(waiter.session.join().unwrap(), Ok(()), "the waiter had the lock");
    assert_eq!(
        ledger(&database),
        [
            "1_wait applied",
            "2_index rolled back",
            "2_index applied",
            "3_last applied"
        ]
    );
    assert!(database.ledger()[1].logs.as_deref().unwrap().contains("gave way"));
}

/// Prisma gives up after ten seconds and leaves its backend waiting, which nobody ends until it has had the lock.
#[test]
fn a_wait_that_prisma_left_behind() {
    let database = Server::shared().database();
    let (history, run, gate) = before_the_index(&database);
    let prisma = prisma::start(&database.url(), history.folder(), ["deploy"])
        .wait()
        .expect(1);
    assert!(prisma.to_string().contains("P1002"), "{prisma}");
    assert!(waits_for(&database, MIGRATION_LOCK), "its backend still waits");
    gate.open();
    let run = run.wait().expect(0);

    is_through(&run, "SELECT pg_advisory_lock(72707369)", &database);
    assert!(!waits_for(&database, MIGRATION_LOCK));
    expect_clean(&history, &database);
}
