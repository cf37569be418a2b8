//! `--to` and `--all-or-nothing`: how much of what is pending a deploy applies.

use crate::cases::{Gate, failure, ledger, names, tables};
use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Signal;
use harness::proxy::{Direction, Proxy};
use harness::tool::Call;

fn three() -> History {
    History::new()
        .migration("1_a", "CREATE TABLE a (id int PRIMARY KEY);")
        .migration("2_b", "CREATE TABLE b (id int REFERENCES a (id));")
        .migration("3_c", "CREATE TABLE c (id int);")
}

fn deploy(history: &History, database: &Database, flags: &[&str]) -> Call {
    let call = migrate().deploy(history.folder()).database(database);
    flags.iter().fold(call, Call::arg)
}

fn all_or_nothing(history: &History, database: &Database) -> Call {
    deploy(history, database, &["--all-or-nothing"])
}

/// Neither a table nor a row of the run is in the database.
#[track_caller]
fn holds_nothing(database: &Database) {
    assert!(tables(database).is_empty(), "{:?}", tables(database));
    assert!(ledger(database).is_empty(), "{:?}", ledger(database));
}

#[test]
fn up_to_a_migration_and_later_the_rest() {
    let database = Server::shared().database();
    let run = deploy(&three(), &database, &["--to", "2_b"]).run().expect(0);
    assert_eq!(names(&run, "applied"), ["1_a", "2_b"]);
    assert_eq!(names(&run, "pending"), ["3_c"]);
    let run = deploy(&three(), &database, &["--to", "2_b"]).run().expect(0);
    assert_eq!(run.report.as_ref().unwrap()["result"], "up_to_date");
    assert_eq!(names(&run, "pending"), ["3_c"]);
    deploy(&three(), &database, &[]).run().expect(0);
    assert_eq!(tables(&database), ["a", "b", "c"]);
}

#[test]
fn up_to_a_migration_that_is_not_there() {
    let database = Server::shared().database();
    let run = deploy(&three(), &database, &["--to", "2"]).run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3017");
    assert!(!database.has_ledger());
}

#[test]
fn what_comes_behind_it_is_not_read() {
    let database = Server::shared().database();
    let history = three().migration("4_bad", b"SELECT '\xff';");
    deploy(&history, &database, &[]).run().expect(40);
    deploy(&history, &database, &["--to", "3_c"]).run().expect(0);
    assert_eq!(tables(&database), ["a", "b", "c"]);
}

#[test]
fn all_are_applied_in_one_transaction() {
    let database = Server::shared().database();
    let run = all_or_nothing(&three(), &database).run().expect(0);
    assert_eq!(names(&run, "applied"), ["1_a", "2_b", "3_c"]);
    assert_eq!(run.report.as_ref().unwrap()["applied"][0]["how"], "together");
    let rows = "SELECT count(DISTINCT xmin::text) || ' ' || count(*) || ' ' || bool_and(applied_steps_count = 1 AND logs IS NULL \
         AND finished_at >= started_at) FROM _prisma_migrations";
    assert_eq!(database.scalar(rows), "1 3 true");
    assert_eq!(ledger(&database), ["1_a applied", "2_b applied", "3_c applied"]);
    all_or_nothing(&three(), &database).run().expect(0);
}

#[test]
fn one_failure_takes_all_of_them_back() {
    let database = Server::shared().database();
    let history = three().migration("4_bad", "CREATE TABLE d (id int);\nSELECT 1/0;");
    let run = all_or_nothing(&history, &database).run().expect(20);
    assert_eq!(failure(&run)["migration"], "4_bad");
    assert_eq!(failure(&run)["place"]["line"], 2);
    assert!(
        failure(&run)["state"]
            .as_str()
            .unwrap()
            .contains("everything of this run"),
        "{run}"
    );
    assert_eq!(names(&run, "pending"), ["1_a", "2_b", "3_c", "4_bad"]);
    assert!(names(&run, "applied").is_empty() && tables(&database).is_empty());
    assert_eq!(ledger(&database), ["4_bad rolled back"]);
    let mended = history.migration("4_bad", "CREATE TABLE d (id int);");
    all_or_nothing(&mended, &database).run().expect(0);
    assert_eq!(tables(&database), ["a", "b", "c", "d"]);
}

#[test]
fn an_unterminated_script_in_the_middle_shows_its_own_error() {
    let database = Server::shared().database();
    let history = three().migration("2_b", "CREATE TABLE b (id int);\nSELECT 'open;");
    let run = all_or_nothing(&history, &database).run().expect(20);
    assert!(
        failure(&run)["what"]
            .as_str()
            .unwrap()
            .contains("unterminated quoted string"),
        "{run}"
    );
    assert!(tables(&database).is_empty());
}

#[test]
fn what_cannot_share_a_transaction_is_refused_beforehand_by_name() {
    let database = Server::shared().database();
    let history = three()
        .migration("4_idx", "SELECT 1;\nCREATE INDEX CONCURRENTLY i ON c (id);")
        .migration("5_own", "BEGIN;\nCREATE TABLE e (id int);\nCOMMIT;")
        .migration(
            "6_serial",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\nCREATE TABLE f (id int);",
        );
    let run = all_or_nothing(&history, &database).run().expect(24);
    let details = failure(&run)["details"].to_string();
    for (name, why) in [
        (
            "4_idx",
            "line 2: CREATE INDEX CONCURRENTLY i … cannot run in a transaction",
        ),
        ("5_own", "line 1: BEGIN … controls the transaction itself"),
        (
            "6_serial",
            "line 1: SET TRANSACTION ISOLATION LEVEL … must come first in its transaction",
        ),
    ] {
        assert!(details.contains(&format!("{name}: {why}")), "{name}\n{run}");
    }
    assert!(!details.contains("1_a"));
    assert!(!database.has_ledger());
    deploy(&history, &database, &["--all-or-nothing", "--to", "3_c"])
        .run()
        .expect(0);
    deploy(&history, &database, &[]).run().expect(0);
}

#[test]
fn what_only_the_server_can_tell_is_taken_back_as_a_whole() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_enum", "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE a (m mood);")
        .migration("2_more", "ALTER TYPE mood ADD VALUE 'fine';");
    deploy(&history, &database, &["--to", "1_enum"]).run().expect(0);
    // Nobody looks into a DO block; without one it is refused before anything is sent (plan.rs).
    let history = history.migration("3_use", "DO $$ BEGIN INSERT INTO a VALUES ('fine'); END $$;");
    let run = all_or_nothing(&history, &database).run().expect(24);
    assert_eq!(failure(&run)["sqlstate"], "55P04");
    assert_eq!(failure(&run)["migration"], "3_use");
    assert_eq!(ledger(&database), ["1_enum applied"]);
    deploy(&history, &database, &[]).run().expect(0);
}

#[test]
fn what_a_script_sets_is_not_seen_by_the_next() {
    let database = Server::shared().database();
    let role = database.user();
    let history = History::new()
        .migration(
            "1_sets",
            format!(
                "CREATE SCHEMA other; SET search_path = other; CREATE TEMP TABLE passing (id int); SET ROLE \"{role}\"; SET LOCAL work_mem = '1MB';"
            ),
        )
        .migration("2_sees", "CREATE TABLE a AS SELECT current_setting('search_path') p, current_setting('work_mem') m, to_regclass('passing') t;");
    all_or_nothing(&history, &database).run().expect(0);
    assert_eq!(tables(&database), ["a"]);
    assert_eq!(
        database.scalar("SELECT m <> '1MB' AND p <> 'other' AND t IS NULL FROM a"),
        "t"
    );
}

#[test]
fn a_deferred_constraint_speaks_at_the_commit() {
    let database = Server::shared().database();
    let history = three()
        .migration(
            "2_b",
            "CREATE TABLE b (id int REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED);",
        )
        .migration("3_c", "INSERT INTO b VALUES (7);");
    let run = all_or_nothing(&history, &database).run().expect(20);
    assert_eq!(failure(&run)["sqlstate"], "23503");
    holds_nothing(&database);
}

#[test]
fn a_signal_leaves_nothing_of_any() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let history = three().migration("3_c", Gate::WAIT);
    let running = all_or_nothing(&history, &database)
        .arg("--lock-timeout")
        .arg("0")
        .spawn();
    gate.reached();
    running.signal(Signal::TERM);
    running.wait().expect(60);
    gate.open();
    holds_nothing(&database);
}

#[test]
fn a_lost_session_begins_all_of_them_again() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let history = three().migration("3_c", Gate::WAIT);
    let running = all_or_nothing(&history, &database)
        .arg("--lock-timeout")
        .arg("0")
        .spawn();
    gate.reached();
    database
        .superuser()
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND objid = 42 \
             AND NOT granted AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .unwrap();
    gate.reached();
    gate.open();
    let run = running.wait().expect(0);
    assert_eq!(names(&run, "applied"), ["1_a", "2_b", "3_c"]);
    assert_eq!(ledger(&database), ["1_a applied", "2_b applied", "3_c applied"]);
}

#[test]
fn a_lock_that_others_hold_is_waited_for_and_all_are_begun_again() {
    let database = Server::shared().database();
    deploy(&three(), &database, &["--to", "1_a"]).run().expect(0);
    let mut other = database.client();
    other.batch_execute("BEGIN; LOCK TABLE a").unwrap();
    let history = three();
    let mut running = deploy(&history, &database, &["--all-or-nothing", "--lock-timeout", "100ms"]).spawn();
    running.wait_for_stderr("again in");
    other.batch_execute("COMMIT").unwrap();
    let run = running.wait().expect(0);
    assert_eq!(names(&run, "applied"), ["2_b", "3_c"]);
}

/// Whatever answer the connection is cut in: at the end all are in, each once.
#[test]
fn a_connection_that_is_cut_in_any_answer_of_the_end_changes_nothing() {
    let undisturbed = {
        let database = Server::shared().database();
        let proxy = Proxy::to(Server::shared());
        let history = three();
        let call = migrate()
            .deploy(history.folder())
            .arg("--all-or-nothing")
            .without_report();
        call.database_url(&database, &proxy.url_for(&database)).run().expect(0);
        proxy.bytes(Direction::ToClient)
    };
    for before_the_end in [0, 40, 120, 200, 300, 500, 800] {
        let database = Server::shared().database();
        let proxy = Proxy::to(Server::shared());
        proxy.cut_after(Direction::ToClient, undisturbed - 1 - before_the_end);
        let history = three();
        let call = migrate()
            .deploy(history.folder())
            .arg("--all-or-nothing")
            .without_report();
        let run = call.database_url(&database, &proxy.url_for(&database)).run().expect(0);
        assert_eq!(
            ledger(&database),
            ["1_a applied", "2_b applied", "3_c applied"],
            "{before_the_end}\n{run}"
        );
        assert_eq!(tables(&database), ["a", "b", "c"]);
    }
}
