//! Databases without a ledger, and ledgers that cannot be used.

use super::{BEFORE, Deploy, LATER, NAME, State, TABLE, each, pending};
use harness::history::History;
use harness::postgres::Server;

fn without_ledger(before: &str) -> State {
    let state = State {
        database: Server::shared().database(),
        history: History::new()
            .migration(BEFORE, TABLE)
            .migration(LATER, "ALTER TABLE t ADD COLUMN more int;"),
        held: Vec::new(),
    };
    state.sql(before)
}

#[test]
fn databases_without_a_ledger() {
    each(&[
        ("nothing is there", Deploy::Applies, || without_ledger("SELECT 1")),
        (
            "the tables of the first migration are there",
            Deploy::Refused(23),
            || without_ledger(TABLE),
        ),
        ("the tables of both migrations are there", Deploy::Refused(23), || {
            without_ledger(&format!("{TABLE}; ALTER TABLE t ADD COLUMN more int"))
        }),
        ("tables that no migration makes are there", Deploy::Refused(23), || {
            without_ledger("CREATE TABLE of_others (id int)")
        }),
        ("a view is there", Deploy::Applies, || {
            without_ledger("CREATE VIEW v AS SELECT 1")
        }),
        ("no schema of the search path is there", Deploy::Refused(50), || {
            let state = without_ledger("SELECT 1");
            let sql = format!("ALTER DATABASE \"{}\" SET search_path = nowhere", state.database.name());
            state.superuser(&sql)
        }),
    ]);
}

#[test]
fn a_failure_over_tables_without_a_ledger_names_the_migration_to_baseline() {
    for (there, fits) in [
        (TABLE.to_owned(), Some(BEFORE)),
        (format!("{TABLE}; ALTER TABLE t ADD COLUMN more int"), Some(LATER)),
        ("CREATE TABLE of_others (id int)".to_owned(), None),
        ("CREATE TABLE t (id int)".to_owned(), None),
    ] {
        // Nothing of the last one can be seen, so it is never named.
        let state = without_ledger(&there);
        let history = state
            .history
            .migration("20250201000000_data", "INSERT INTO t VALUES (1);");
        let state = State { history, ..state };
        let run = state.call("status", &[]).run().expect(23);
        let next = super::text(&run, "next");
        assert_eq!(super::text(&run, "prisma_code"), "P3005", "{run}");
        match fits {
            Some(name) => assert!(next.contains(&format!("baseline --to {name}")), "{there}: {run}"),
            None => assert!(!next.contains(BEFORE) && !next.contains(LATER), "{there}: {run}"),
        }
    }
}

#[test]
fn the_migration_to_baseline_is_found_behind_changes_of_what_earlier_ones_made() {
    let before = "CREATE TABLE a (id int, old text, kind varchar(3)); CREATE INDEX i ON a (old); CREATE TYPE mood AS ENUM ('ok')";
    let after = "ALTER TABLE a RENAME TO b; ALTER TABLE b RENAME COLUMN old TO new; ALTER TABLE b ALTER kind TYPE text; \
                 DROP INDEX i; ALTER TYPE mood ADD VALUE 'fine'";
    for (there, fits) in [
        (before.to_owned(), "1_before"),
        (format!("{before}; {after}"), "2_after"),
        (
            format!("{before}; {after}; DROP TABLE b; CREATE TABLE c (id int)"),
            "3_again",
        ),
    ] {
        let history = History::new()
            .migration("1_before", before)
            .migration("2_after", after)
            .migration("3_again", "DROP TABLE b; CREATE TABLE c (id int);")
            .migration("4_not_yet", "CREATE TABLE d (id int);");
        let state = State {
            history,
            ..without_ledger(&there)
        };
        let run = state.call("status", &[]).run().expect(23);
        let next = super::text(&run, "next");
        assert!(next.contains(&format!("baseline --to {fits}")), "{there}\n{run}");
    }
}

#[test]
fn ledgers_that_cannot_be_used() {
    each(&[
        ("row security hides rows", Deploy::Refused(50), || {
            pending("SELECT 1;").sql(
                "ALTER TABLE _prisma_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
                 CREATE POLICY p ON _prisma_migrations USING (true)",
            )
        }),
        ("it is a view", Deploy::Refused(50), || {
            pending("SELECT 1;").sql(
                "ALTER TABLE _prisma_migrations RENAME TO kept; CREATE VIEW _prisma_migrations AS SELECT * FROM kept",
            )
        }),
        ("a column is missing", Deploy::Refused(50), || {
            pending("SELECT 1;").sql("ALTER TABLE _prisma_migrations DROP COLUMN logs")
        }),
        ("the user may not read it", Deploy::Refused(50), || {
            let state = pending("SELECT 1;");
            let user = state.database.user().to_owned();
            state.superuser(&format!(
                "ALTER TABLE _prisma_migrations OWNER TO postgres; REVOKE ALL ON _prisma_migrations FROM \"{user}\""
            ))
        }),
    ]);
}

#[test]
fn a_database_that_does_not_exist() {
    // Only one that may create it can tell what a deploy would do.
    let state = pending("SELECT 1;");
    let allow = format!("ALTER ROLE \"{}\" CREATEDB", state.database.user());
    let state = state.superuser(&allow);
    let url = format!("{}_missing", state.database.url());
    let call = |verb: &str, argument: &[&str]| {
        let call = crate::migrate()
            .verb([verb])
            .arg(state.history.folder())
            .database_url(&state.database, &url);
        argument.iter().fold(call, |call, argument| call.arg(argument)).run()
    };
    let status = call("status", &[]).expect(10);
    let plan = call("plan", &["--check"]).expect(10);
    for run in [&status, &plan] {
        assert_eq!(
            super::names(run, "pending"),
            [BEFORE.to_owned(), NAME.to_owned()].into()
        );
        assert!(
            super::report(run)["warnings"]
                .to_string()
                .contains("does not exist: deploy creates it"),
            "{run}"
        );
    }
    let deploy = call("deploy", &[]).expect(0);
    assert_eq!(
        super::names(&deploy, "applied"),
        super::names(&status, "pending"),
        "{deploy}"
    );
    let drop = format!("DROP DATABASE \"{}_missing\"", state.database.name());
    state.superuser(&drop);
}
