//! A session that waits for the migration lock with a blocking statement, as Prisma does, holds a snapshot all the while: CREATE INDEX CONCURRENTLY
//! waits for that snapshot, and the server ends one of the two by a deadlock.

use std::thread::{self, JoinHandle};

use harness::history::History;
use harness::postgres::{Database, Server, SqlState};
use harness::process::{Run, Running};

use crate::cases::{Gate, MIGRATION_LOCK, deploy, ledger, tables};

/// A blocking wait for the migration lock, in a session of its own; it ends with the statement.
struct Waiter {
    pid: i32,
    session: JoinHandle<Result<(), Option<SqlState>>>,
}

impl Waiter {
    fn start(database: &Database) -> Waiter {
        let mut client = database.client();
        client.batch_execute("SET application_name = 'the rival'").unwrap();
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        let session = thread::spawn(move || {
            let sql = format!("SELECT pg_advisory_lock({MIGRATION_LOCK})");
            client.batch_execute(&sql).map_err(|error| error.code().cloned())
        });
        Waiter { pid, session }
    }
}

/// Begins a deploy of an index and stops before it until the waiter has waited for so many seconds. By then the server has looked whether the waiter
/// is in a deadlock and will not look again, so that it is ours that is ended.
fn overtaken(database: &Database, waited: u32) -> (History, Running, Waiter) {
    let set = format!("ALTER DATABASE \"{}\" SET deadlock_timeout = '100ms'", database.name());
    database.superuser().batch_execute(&set).unwrap();
    let gate = Gate::closed(database);
    let history = History::new()
        .migration("1_wait", format!("CREATE TABLE a (id int); {}", Gate::WAIT))
        .migration("2_index", "CREATE INDEX CONCURRENTLY a_id ON a (id);")
        .migration("3_last", "CREATE TABLE b (id int);");
    let run = deploy(&history, database).arg("--lock-timeout=0").spawn();
    gate.reached();
    let waiter = Waiter::start(database);
    let look = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event = 'advisory' \
         AND clock_timestamp() - query_start > make_interval(secs => {waited})",
        waiter.pid
    );
    harness::until("the waiter has waited long enough", || database.scalar(&look) == "1");
    gate.open();
    (history, run, waiter)
}

fn is_through(run: &Run, waiter: i32, database: &Database) {
    let named = format!("backend {waiter} (\"the rival\"");
    assert!(
        run.stderr.contains(&named) && run.stderr.contains("waits for the migration lock"),
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
    let (_history, mut run, waiter) = overtaken(&database, 1);
    run.wait_for_stderr("rolled back, because other sessions hold its locks");
    database.execute(&format!("SELECT pg_terminate_backend({})", waiter.pid));

    let run = run.wait().expect(0);
    assert_eq!(waiter.session.join().unwrap(), Err(Some(SqlState::ADMIN_SHUTDOWN)));
    is_through(&run, waiter.pid, &database);
    assert_eq!(
        ledger(&database),
        ["1_wait applied", "2_index applied", "3_last applied"]
    );
}

#[test]
fn a_waiter_that_stays_is_given_the_lock() {
    let database = Server::shared().database();
    // Two seconds short of what a waiter of Prisma's could be: the first deadlock is met by trying again, a later one by giving way.
    let (_history, run, waiter) = overtaken(&database, 13);
    let run = run.wait().expect(0);

    assert_eq!(waiter.session.join().unwrap(), Ok(()), "the waiter had the lock");
    is_through(&run, waiter.pid, &database);
    assert!(
        run.stderr
            .contains("rolled back, because other sessions hold its locks"),
        "{run}"
    );
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
