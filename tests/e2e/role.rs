//! `--role`: the session works as another role than the user that logs in.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Signal;
use harness::until;
use std::fmt;

/// A role that cannot log in, and that the database's user is a member of without having its rights; dropped with what it owns.
pub struct Owner<'a> {
    database: &'a Database,
    name: String,
}

impl Owner<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Owner<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let _ = self
            .database
            .superuser()
            .batch_execute(&format!("DROP OWNED BY \"{name}\" CASCADE; DROP ROLE \"{name}\""));
    }
}

/// Its name needs quotes; the database and its public schema are open to it.
pub fn owner_of(database: &Database) -> Owner<'_> {
    let (user, name) = (database.user(), database.name());
    let owner = Owner {
        database,
        name: format!("Own er\\{}", &user[5..]),
    };
    database
        .superuser()
        .batch_execute(&format!(
            "CREATE ROLE \"{owner}\" NOLOGIN; GRANT \"{owner}\" TO {user}; ALTER ROLE {user} NOINHERIT; \
             GRANT CREATE ON DATABASE {name} TO \"{owner}\"; GRANT CREATE, USAGE ON SCHEMA public TO \"{owner}\""
        ))
        .unwrap();
    owner
}

/// The owner of a table of `public`.
pub fn owner(database: &Database, table: &str) -> String {
    database.scalar(&format!(
        "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = '{table}' AND relnamespace = 'public'::regnamespace"
    ))
}

#[test]
fn what_is_made_belongs_to_the_role_and_every_migration_begins_as_it() {
    let database = Server::shared().database();
    let role = owner_of(&database);
    let user = database.user();
    let history = History::new()
        .migration("20240101000000_a", format!("CREATE TABLE a (id int); SET ROLE {user};"))
        .migration(
            "20240102000000_b",
            format!("CREATE TABLE b (id int); SET ROLE {user}; RESET ROLE; CREATE TABLE c (id int);"),
        )
        .migration(
            "20240103000000_d",
            "CREATE INDEX CONCURRENTLY i ON c (id);\nCREATE TABLE d (id int);",
        );
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .env("ROLE", role.name())
        .run()
        .expect(0);
    for table in ["_prisma_migrations", "a", "b", "c", "d"] {
        assert_eq!(owner(&database, table), role.name(), "{table}");
    }
    assert_eq!(run.report.as_ref().unwrap()["database"]["user"], role.name());
    assert!(run.stderr.contains(&format!("logged in as {user}")), "{run}");

    let status = |role: &str| {
        migrate()
            .verb(["status"])
            .arg(history.folder())
            .database(&database)
            .env("ROLE", role)
            .run()
    };
    status(role.name()).expect(0);
    // Without the role the table cannot be read; an empty variable counts as unset.
    status("").expect(50);
}

#[test]
fn a_role_that_the_user_is_no_member_of_or_that_is_not_there_ends_the_run_at_once() {
    let database = Server::shared().database();
    let history = History::new().migration("20240101000000_a", "SELECT 1;");
    for (role, sqlstate, next) in [
        (
            "postgres",
            "42501",
            format!("GRANT \"postgres\" TO \"{}\"", database.user()),
        ),
        ("no such role", "22023", "create the role".to_owned()),
    ] {
        let run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg(format!("--role={role}"))
            .run()
            .expect(50);
        let failure = &run.report.as_ref().unwrap()["failure"];
        assert_eq!(failure["sqlstate"], sqlstate, "{run}");
        assert_eq!(failure["prisma_code"], "P1010", "{run}");
        assert!(failure["what"].as_str().unwrap().contains(role), "{run}");
        assert!(failure["next"].as_str().unwrap().contains(&next), "{run}");
        assert!(!run.stderr.contains("waiting for the database"), "{run}");
    }
}

#[test]
fn with_a_role_the_holder_of_the_lock_is_still_seen_and_an_orphan_can_be_ended() {
    let database = Server::shared().database();
    let role = owner_of(&database);
    let history = History::new().migration("20240101000000_a", "SELECT pg_sleep(300);");
    let call = || {
        migrate()
            .deploy(history.folder())
            .database(&database)
            .env("ROLE", role.name())
    };
    let mut first = call().arg("--progress-every=1s").spawn();
    // The second connection sees the first one's backend.
    first.wait_for_stderr("running for ");
    let run = call().arg("--lock-wait=0").run().expect(30);
    let what = run.report.as_ref().unwrap()["failure"]["what"].as_str().unwrap();
    assert!(what.contains("prisma-migrate-task/"), "{run}");
    let status = migrate()
        .verb(["status"])
        .arg(history.folder())
        .database(&database)
        .env("ROLE", role.name())
        .run();
    assert_eq!(
        status.report.as_ref().unwrap()["running"]["migration"],
        "20240101000000_a",
        "{status}"
    );
    first.kill();
    history.write("migrations/20240101000000_a/migration.sql", "SELECT 1;");
    call().arg("--terminate-orphan").arg("--lock-wait=0").run().expect(0);
}

#[test]
fn with_a_role_a_signal_cancels_what_runs() {
    let database = Server::shared().database();
    let role = owner_of(&database);
    let history = History::new().migration("20240101000000_a", "SELECT pg_sleep(300);");
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .env("ROLE", role.name())
        .spawn();
    until("it sleeps", || {
        database.scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
        ) == "1"
    });
    run.signal(Signal::TERM);
    run.wait().expect(60);
}

#[test]
fn a_database_that_is_made_belongs_to_the_role() {
    let database = Server::shared().database();
    let role = owner_of(&database);
    let user = database.user();
    database
        .superuser()
        .batch_execute(&format!("ALTER ROLE \"{role}\" CREATEDB"))
        .unwrap();
    let missing = format!("{}_new", database.name());
    let url = database.url().replace(database.name(), &missing);
    let history = History::new().migration("20240101000000_a", "CREATE TABLE a (id int);");
    migrate()
        .deploy(history.folder())
        .database_url(&database, &url)
        .env("ROLE", role.name())
        .run()
        .expect(0);
    let owned = database.scalar(&format!(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{missing}'"
    ));
    database
        .superuser()
        .batch_execute(&format!("DROP DATABASE {missing} WITH (FORCE)"))
        .unwrap();
    assert_eq!(owned, role.name(), "and not {user}");
}

#[test]
fn a_script_that_goes_step_by_step_may_end_under_another_role() {
    let database = Server::shared().database();
    let other = owner_of(&database);
    let grant = format!("GRANT ALL ON SCHEMA public TO {}", database.user());
    database.superuser().batch_execute(&grant).unwrap();
    let script = format!(
        "CREATE TABLE t (id int);\nCREATE INDEX CONCURRENTLY i ON t (id);\nSET ROLE \"{other}\";\nCREATE TABLE theirs (id int);"
    );
    let history = History::new()
        .migration("1_it", script)
        .migration("2_next", "CREATE TABLE n (id int);");
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    assert!(
        database.ledger().iter().all(|row| row.finished),
        "{:?}",
        database.ledger()
    );
    assert_eq!(owner(&database, "theirs"), other.name());
    assert_eq!(owner(&database, "n"), database.user());
}
