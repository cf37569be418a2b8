//! What a script makes of its session is the script's: our own statements run as they always do, and the script finds its settings again.

use crate::cases::{deploy, failure, ledger, tables};
use crate::session;
use harness::history::History;
use harness::postgres::{Database, Options, Server};
use prisma_migrate_task::database::connect::{Startup, connect};
use prisma_migrate_task::database::session::{Began, Session};

/// What scripts leave behind, each by its name; LOWLY is a role without any right in the database.
const LEFT: [(&str, &str); 13] = [
    ("a role", "SET ROLE LOWLY"),
    ("a session's user", "SET SESSION AUTHORIZATION LOWLY"),
    (
        "a session's user and a role",
        "SET SESSION AUTHORIZATION OTHER; SET ROLE LOWLY",
    ),
    ("read only", "SET default_transaction_read_only = on"),
    ("serializable", "SET default_transaction_isolation = serializable"),
    (
        "deferrable",
        "SET default_transaction_isolation = serializable; SET default_transaction_read_only = on; SET default_transaction_deferrable = on",
    ),
    ("statement_timeout", "SET statement_timeout = '50ms'"),
    ("lock_timeout", "SET lock_timeout = '1ms'"),
    ("a path", "SET search_path = side, pg_catalog"),
    ("no path", "SET search_path = ''"),
    ("row security", "SET row_security = off"),
    ("synchronous_commit", "SET synchronous_commit = off"),
    ("a role by set_config", "SELECT set_config('role', 'LOWLY', false)"),
];

struct Stage {
    database: Database,
    lowly: String,
    other: String,
}

impl Stage {
    /// Its user is a superuser, for SET SESSION AUTHORIZATION; in `side` there is another ledger, with functions and operators.
    fn on(server: &Server) -> Stage {
        let database = server.database();
        let (lowly, other) = (
            format!("lowly_{}", database.user()),
            format!("other_{}", database.user()),
        );
        database
            .superuser()
            .batch_execute(&format!(
                "CREATE ROLE {lowly}; CREATE ROLE {other}; GRANT {lowly} TO {other}; ALTER ROLE {} SUPERUSER; CREATE SCHEMA side; \
                 CREATE TABLE side._prisma_migrations (id varchar(36)); \
                 CREATE FUNCTION side.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$; \
                 CREATE FUNCTION side.same(varchar, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$; \
                 CREATE OPERATOR side.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = side.same)",
                database.user()
            ))
            .unwrap();
        Stage { database, lowly, other }
    }

    fn left(&self, sql: &str) -> String {
        sql.replace("LOWLY", &self.lowly).replace("OTHER", &self.other)
    }

    /// A session as a deploy has it, without what a deploy reads.
    fn session(&self) -> (tokio::runtime::Runtime, Session) {
        let runtime = session::runtime();
        let target = session::target(&self.database.url());
        let options = [("statement_timeout", "0"), ("lock_timeout", "7000ms")];
        let startup = Startup {
            options: options
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            ..Startup::default()
        };
        let connected = runtime.block_on(connect(&target, &startup)).unwrap();
        let mut session = runtime.block_on(async { Session::new(connected) });
        session.began(Began {
            writable: true,
            synchronous_commit: "on".to_owned(),
            search_path: "public".to_owned(),
        });
        (runtime, session)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Stage { lowly, other, .. } = self;
        let _ = self
            .database
            .superuser()
            .batch_execute(&format!("DROP ROLE IF EXISTS {lowly}; DROP ROLE IF EXISTS {other}"));
    }
}

/// What a transaction is, in one row.
const IS: &str = "SELECT current_user, session_user, pg_catalog.current_setting('transaction_isolation'), \
     pg_catalog.current_setting('transaction_read_only'), pg_catalog.current_setting('transaction_deferrable'), \
     pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('lock_timeout'), \
     pg_catalog.current_setting('search_path'), pg_catalog.current_setting('row_security'), \
     pg_catalog.current_setting('synchronous_commit')";

fn row(rows: &[tokio_postgres::SimpleQueryRow]) -> Vec<String> {
    let [row] = rows else { panic!("{rows:?}") };
    (0..row.len())
        .map(|at| row.get(at).unwrap_or("NULL").to_owned())
        .collect()
}

/// Whether the server's version is one that loses a script's role where its user was set too.
fn loses_roles(database: &Database) -> bool {
    let number: u32 = database
        .scalar("SELECT current_setting('server_version_num')")
        .parse()
        .unwrap();
    let fixed = match number / 10_000 {
        13 => 17,
        14 => 14,
        15 => 9,
        16 => 5,
        17 => 1,
        _ => 0,
    };
    number % 10_000 < fixed
}

#[test]
fn our_statements_are_ours_and_the_script_goes_on_as_it_was() {
    let stage = Stage::on(Server::shared());
    let user = stage.database.user();
    let ours = [
        user,
        user,
        "read committed",
        "off",
        "off",
        "0",
        "7s",
        "pg_catalog, pg_temp",
        "on",
        "on",
    ];
    for (what, left) in LEFT {
        let (runtime, session) = stage.session();
        let script = format!(
            "CREATE TEMP TABLE t (i int); CREATE TEMP TABLE pg_class (i int); {}",
            stage.left(left)
        );
        assert!(runtime.block_on(session.script(script)).error.is_none(), "{what}");
        let before = row(&runtime.block_on(session.raw(IS)).unwrap());
        assert_eq!(row(&runtime.block_on(session.rows(IS)).unwrap()), ours, "{what}");
        let lost = left.contains("ROLE") && left.contains("AUTHORIZATION") && loses_roles(&stage.database);
        if !lost {
            assert_eq!(row(&runtime.block_on(session.raw(IS)).unwrap()), before, "{what}");
        }

        let (runtime, session) = stage.session();
        runtime.block_on(session.script(stage.left(left)));
        let answer = runtime.block_on(session.ours_beside_script(IS));
        match lost {
            true => assert!(answer.unwrap_err().message.contains("lost the role"), "{what}"),
            false => assert_eq!(row(&answer.unwrap()), ours, "{what}"),
        }
        // It can write, and a statement that fails leaves the session as it was.
        let write = "CREATE TABLE public.written (i int); DROP TABLE public.written";
        assert!(runtime.block_on(session.rows(write)).is_ok(), "{what}");
        let error = runtime.block_on(session.rows("SELECT 1 / 0")).unwrap_err();
        assert_eq!(error.sqlstate.as_deref(), Some("22012"), "{what}");
        if !lost {
            assert_eq!(row(&runtime.block_on(session.raw(IS)).unwrap()), before, "{what}");
        }
    }
}

#[test]
fn a_transaction_that_a_script_left_open_is_never_committed_by_ours() {
    let stage = Stage::on(Server::shared());
    for (what, script) in [
        ("it has written", "BEGIN; CREATE TABLE public.left_open (i int)"),
        ("it has read", "BEGIN; SELECT 1"),
        (
            "it is serializable",
            "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE public.left_open (i int)",
        ),
        (
            "it has a savepoint",
            "BEGIN; CREATE TABLE public.left_open (i int); SAVEPOINT s",
        ),
    ] {
        let (runtime, session) = stage.session();
        runtime.block_on(session.script(script.to_owned()));
        let error = runtime.block_on(session.rows("SELECT 1")).unwrap_err();
        assert_eq!(error.sqlstate.as_deref(), Some("25001"), "{what}");
        assert!(runtime.block_on(session.rows("SELECT 1")).is_ok(), "{what}");
        assert_eq!(
            stage.database.scalar("SELECT to_regclass('public.left_open') IS NULL"),
            "t",
            "{what}"
        );
    }
    // One that has failed is left.
    let (runtime, session) = stage.session();
    runtime.block_on(session.script("BEGIN; SELECT 1 / 0".to_owned()));
    assert!(runtime.block_on(session.rows("SELECT 1")).is_ok());
}

/// Deploys a script that leaves something behind, and another migration after it.
fn deployed(form: &str, code: i32, ends: &[&str], made: &[&str]) {
    for (what, left) in LEFT {
        let stage = Stage::on(Server::shared());
        let database = &stage.database;
        let script = form.replace("LEFT", &stage.left(left));
        let history = History::new()
            .migration("1_it", &script)
            .migration("2_next", "CREATE TABLE public.next (i int);");
        let run = deploy(&history, database).run().expect(code);
        let recorded = ledger(database);
        assert_eq!(recorded, ends, "{what}: {run}");
        assert_eq!(tables(database), made, "{what}");
        if code != 0 {
            assert!(
                failure(&run)["what"].as_str().unwrap().contains("division by zero"),
                "{what}: {run}"
            );
            let logs = database.ledger()[0].logs.clone().unwrap();
            assert!(logs.contains("division by zero"), "{what}: {logs}");
        }
        if made.contains(&"next") {
            let owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'next'";
            assert_eq!(database.scalar(owner), database.user(), "{what}");
        }
    }
}

#[test]
fn what_a_script_leaves_does_not_reach_the_row_of_it_nor_the_next_migration() {
    let both = ["1_it applied", "2_next applied"];
    deployed("CREATE TABLE public.a (i int); LEFT;", 0, &both, &["a", "next"]);
    deployed(
        "BEGIN; CREATE TABLE public.a (i int); LEFT; COMMIT;",
        0,
        &both,
        &["a", "next"],
    );
}

#[test]
fn what_a_failing_script_leaves_does_not_keep_the_failure_from_being_recorded() {
    deployed(
        "CREATE TABLE public.a (i int); LEFT; SELECT 1 / 0;",
        20,
        &["1_it rolled back"],
        &[],
    );
    deployed(
        "BEGIN; CREATE TABLE public.a (i int); LEFT; SELECT 1 / 0; COMMIT;",
        20,
        &["1_it rolled back"],
        &[],
    );
    deployed(
        "CREATE TABLE public.a (i int); LEFT; COMMIT; SELECT 1 / 0;",
        21,
        &["1_it unfinished"],
        &["a"],
    );
}

#[test]
fn a_database_that_is_serializable_read_only_or_asynchronous_by_default_changes_nothing() {
    let server = Server::start(
        Options::new()
            .setting("default_transaction_isolation", "serializable")
            .setting("default_transaction_deferrable", "on")
            .setting("synchronous_commit", "off"),
    );
    let database = server.database();
    let history = History::new().migration("1_it", "CREATE TABLE a (i int);");
    deploy(&history, &database).run().expect(0);
    assert_eq!(ledger(&database), ["1_it applied"]);
    database.execute(&format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name()
    ));
    let history = history.migration("2_next", "CREATE TABLE b (i int);");
    deploy(&history, &database).run().expect(50);
}
