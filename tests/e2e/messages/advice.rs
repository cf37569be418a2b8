//! The advice by SQLSTATE, for errors that a real server raises.

use harness::postgres::{Database, Options, Server};
use harness::until;

use super::{NAME, begin, deploy, failure, history, never_says, says};
use crate::migrate;

/// As superuser, in this database.
fn as_superuser(database: &Database, sql: &str) {
    database
        .superuser()
        .batch_execute(sql)
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

/// A role that goes away with what it owns.
struct Role<'a>(String, &'a Database);

impl<'a> Role<'a> {
    fn new(database: &'a Database) -> Role<'a> {
        let role = format!("owner_{}", database.name());
        as_superuser(
            database,
            &format!("CREATE ROLE {role}; GRANT CREATE, USAGE ON SCHEMA public TO {role}"),
        );
        Role(role, database)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let Role(role, database) = self;
        let _ = database
            .superuser()
            .batch_execute(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
    }
}

#[test]
fn who_owns_what_the_user_may_not_change_is_named() {
    for version in [13, 15, 18] {
        let database = Server::version(version).database();
        begin(&database);
        let role = Role::new(&database);
        let (owner, user) = (&role.0, database.user());
        as_superuser(
            &database,
            &format!(
                "CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {owner}; CREATE TYPE mood AS ENUM ('a'); ALTER TYPE mood OWNER TO {owner}; \
                 CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION f() OWNER TO {owner}; \
                 CREATE SCHEMA s AUTHORIZATION {owner}; CREATE VIEW v AS SELECT 1 AS a; ALTER VIEW v OWNER TO {owner}"
            ),
        );
        for (script, what) in [
            ("ALTER TABLE theirs ADD COLUMN x int", "table theirs"),
            ("ALTER TYPE mood ADD VALUE 'b'", "type mood"),
            ("ALTER FUNCTION f() STABLE", "function f"),
            ("DROP SCHEMA s", "schema s"),
            ("ALTER VIEW v RENAME TO w", "view v"),
        ] {
            let run = deploy(&database, script).expect(20);
            says(&run, "what", &["must be owner of"]);
            says(
                &run,
                "next",
                &[
                    &format!(
                        "run `GRANT {owner} TO {user}` as an administrator, and work as the owner with `--role {owner}`"
                    ),
                    &format!(
                        "({what} belongs to {owner}, of which {user} is no member), then deploy again; there is nothing to resolve"
                    ),
                ],
            );
            never_says(&run, &["fix the SQL"]);
        }
        // Who is a member of the owner already needs no GRANT. NOINHERIT is what still keeps it from the table.
        as_superuser(
            &database,
            &format!("ALTER ROLE {user} NOINHERIT; GRANT {owner} TO {user}"),
        );
        let run = deploy(&database, "ALTER TABLE theirs ADD COLUMN x int").expect(20);
        says(
            &run,
            "next",
            &[&format!(
                "work as the owner with `--role {owner}` (table theirs belongs to {owner}, of which {user} is a member)"
            )],
        );
        never_says(&run, &["`GRANT"]);
    }
}

#[test]
fn following_the_advice_makes_the_deploy_succeed() {
    let database = Server::shared().database();
    begin(&database);
    let role = Role::new(&database);
    let (owner, user) = (&role.0, database.user());
    as_superuser(
        &database,
        &format!("CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {owner}"),
    );
    let script = "ALTER TABLE theirs ADD COLUMN x int";
    deploy(&database, script).expect(20);
    as_superuser(
        &database,
        &format!("GRANT {owner} TO {user}; ALTER TABLE _prisma_migrations OWNER TO {owner}"),
    );
    let history = history().migration(NAME, script);
    let run = migrate()
        .deploy(history.folder())
        .arg("--role")
        .arg(owner)
        .database(&database)
        .run();
    run.expect(0);
}

#[test]
fn a_script_that_changes_its_role_is_not_told_of_another_one() {
    let database = Server::shared().database();
    let role = Role::new(&database);
    let (other, user) = (&role.0, database.user());
    as_superuser(&database, &format!("GRANT {other} TO {user}"));
    let run = deploy(&database, &format!("SET ROLE {other}; ALTER TABLE a ADD COLUMN x int")).expect(20);
    says(&run, "next", &["find out which role owns table a"]);
    never_says(&run, &["is no member"]);
}

#[test]
fn a_missing_privilege_comes_with_its_grant() {
    let database = Server::shared().database();
    begin(&database);
    let role = Role::new(&database);
    let (owner, user) = (&role.0, database.user());
    as_superuser(
        &database,
        &format!(
            "CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {owner}; CREATE SEQUENCE theirs_seq; ALTER SEQUENCE theirs_seq OWNER TO {owner}; \
             CREATE SCHEMA closed AUTHORIZATION {owner}; CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             ALTER FUNCTION mine() OWNER TO {owner}; REVOKE EXECUTE ON FUNCTION mine() FROM PUBLIC"
        ),
    );
    for (script, grant) in [
        ("INSERT INTO theirs VALUES (1)", "ON TABLE theirs"),
        ("SELECT nextval('theirs_seq')", "ON SEQUENCE theirs_seq"),
        ("CREATE TABLE closed.t (id int)", "GRANT USAGE, CREATE ON SCHEMA closed"),
        ("SELECT mine()", "GRANT EXECUTE ON ROUTINE mine"),
    ] {
        let run = deploy(&database, script).expect(20);
        says(
            &run,
            "next",
            &[&format!(
                "{grant} TO {user}` as its owner {owner}, or work as {owner} with `--role {owner}`, then deploy again"
            )],
        );
    }
    let run = deploy(&database, &format!("ALTER TABLE a OWNER TO {owner}")).expect(20);
    says(
        &run,
        "next",
        &[&format!(
            "run `GRANT {owner} TO {user}` as an administrator, then deploy again"
        )],
    );
    let run = deploy(&database, "CREATE ROLE somebody_else").expect(20);
    says(&run, "next", &["rds_superuser"]);
}

#[test]
fn a_schema_in_which_nothing_may_be_made_is_p1010_with_its_grant() {
    for version in [13, 18] {
        let database = Server::version(version).database();
        as_superuser(
            &database,
            "ALTER SCHEMA public OWNER TO postgres; REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC",
        );
        let run = migrate()
            .deploy(history().folder())
            .database(&database)
            .run()
            .expect(50);
        says(&run, "prisma_code", &["P1010"]);
        says(&run, "what", &["permission denied for schema public"]);
        says(
            &run,
            "next",
            &[&format!(
                "run `GRANT USAGE, CREATE ON SCHEMA public TO {}` as its owner postgres",
                database.user()
            )],
        );
        never_says(&run, &["check the user's privileges"]);
    }
}

#[test]
fn a_ledger_that_may_not_be_read_or_written_comes_with_its_grant() {
    let database = Server::shared().database();
    begin(&database);
    as_superuser(&database, "ALTER TABLE _prisma_migrations OWNER TO postgres");
    let run = deploy(&database, "SELECT 2").expect(50);
    says(
        &run,
        "what",
        &["the migrations table _prisma_migrations cannot be read: permission denied for table _prisma_migrations"],
    );
    let grant = format!("ON TABLE _prisma_migrations TO {}`", database.user());
    says(&run, "next", &[&grant, "as its owner postgres"]);
    says(&run, "prisma_code", &["P1010"]);
    as_superuser(
        &database,
        &format!("GRANT SELECT ON _prisma_migrations TO {}", database.user()),
    );
    let run = deploy(&database, "SELECT 3").expect(50);
    says(
        &run,
        "what",
        &["the migration's row in _prisma_migrations could not be written: permission denied"],
    );
    says(&run, "next", &[&grant]);
}

#[test]
fn a_statement_that_somebody_cancels_is_not_the_scripts_fault() {
    let database = Server::shared().database();
    begin(&database);
    let history = history().migration(NAME, "SELECT 1;\nSELECT pg_sleep(50);");
    let running = migrate().deploy(history.folder()).database(&database).spawn();
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                  AND query LIKE '%pg_sleep(50)%' AND pid <> pg_backend_pid()";
    until("the statement is cancelled", || !database.rows(cancel).is_empty());
    let run = running.wait().expect(20);
    says(&run, "sqlstate", &["57014"]);
    says(
        &run,
        "next",
        &[
            "ask who cancelled the statement (pg_cancel_backend) and why, then deploy again; there is nothing to resolve",
        ],
    );
    // A timeout of the script's own is another thing.
    let run = deploy(&database, "SET statement_timeout = '10ms'; SELECT pg_sleep(50);").expect(20);
    says(
        &run,
        "next",
        &["raise the statement_timeout that the script or one of its functions sets"],
    );
}

#[test]
fn a_step_by_step_script_goes_on_once_the_cause_is_gone() {
    let database = Server::shared().database();
    begin(&database);
    let role = Role::new(&database);
    as_superuser(
        &database,
        &format!("CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {}", role.0),
    );
    let run = deploy(
        &database,
        "CREATE INDEX CONCURRENTLY i ON a (note);\nALTER TABLE theirs ADD COLUMN x int;",
    )
    .expect(21);
    says(
        &run,
        "next",
        &[
            &format!("run `GRANT {} TO {}`", role.0, database.user()),
            "then deploy again: it goes on after line 1 if the lines up to 1 are unchanged",
            &format!("`prisma-migrate-task resolve --applied {NAME} "),
        ],
    );
}

#[test]
fn what_the_server_lacks_is_named() {
    let server = Server::start(
        Options::new()
            .setting("max_locks_per_transaction", "10")
            .setting("max_connections", "10")
            .setting("temp_file_limit", "64kB"),
    );
    let database = server.database();
    begin(&database);
    as_superuser(
        &database,
        &format!("GRANT pg_write_server_files TO {}", database.user()),
    );
    for (script, sqlstate, words) in [
        // A device that is always full.
        (
            "COPY (SELECT generate_series(1, 100000)) TO '/dev/full'",
            "53100",
            "free space on the server's disk or make it larger",
        ),
        (
            "DO $$ BEGIN FOR n IN 1..4000 LOOP EXECUTE format('CREATE TABLE many_%s ()', n); END LOOP; END $$",
            "53200",
            "raise max_locks_per_transaction",
        ),
        (
            "SET work_mem = '64kB'; SELECT count(*) FROM (SELECT n FROM generate_series(1, 100000) n ORDER BY random()) _",
            "53400",
            "raise temp_file_limit",
        ),
        (
            "COPY (SELECT 1) TO '/no/such/folder/x'",
            "58P01",
            "missing on the server's machine",
        ),
        (
            "CREATE FUNCTION c() RETURNS int LANGUAGE c AS 'no_such_library'",
            "42501",
            "LANGUAGE c TO",
        ),
    ] {
        let run = deploy(&database, script).expect(20);
        says(&run, "sqlstate", &[sqlstate]);
        says(
            &run,
            "next",
            &[words, ", then deploy again; there is nothing to resolve"],
        );
        never_says(&run, &["fix the SQL"]);
    }
}

#[test]
fn an_extension_that_the_server_does_not_have_is_named() {
    for version in [13, 15, 18] {
        let database = Server::version(version).database();
        as_superuser(&database, &format!("ALTER ROLE {} SUPERUSER", database.user()));
        let run = deploy(&database, "CREATE EXTENSION no_such_extension").expect(20);
        says(
            &run,
            "next",
            &[
                "install the extension no_such_extension on the server",
                "`SHOW rds.extensions`",
                "then deploy again",
            ],
        );
    }
}

#[test]
fn an_event_trigger_that_refuses_a_statement_is_named() {
    let database = Server::shared().database();
    begin(&database);
    as_superuser(
        &database,
        "CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'tables stay' USING HINT = 'ask Mary'; END $$; \
         CREATE EVENT TRIGGER keep_tables ON sql_drop EXECUTE FUNCTION guard()",
    );
    let run = deploy(&database, "DROP TABLE a").expect(20);
    as_superuser(&database, "DROP EVENT TRIGGER keep_tables");
    says(&run, "what", &["tables stay"]);
    says(&run, "details", &["ask Mary"]);
    says(
        &run,
        "next",
        &[
            "change what the event trigger keep_tables refuses, or have an administrator disable it meanwhile (`ALTER EVENT TRIGGER keep_tables DISABLE`)",
        ],
    );
    // A trigger of a table is part of what the script works on.
    let run = deploy(
        &database,
        "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '42501'; END $$",
    )
    .expect(20);
    says(&run, "next", &["fix the SQL and deploy again"]);
}

#[test]
fn a_database_that_is_in_use_is_not_the_scripts_fault() {
    let (database, other) = (Server::shared().database(), Server::shared().database());
    begin(&database);
    as_superuser(
        &database,
        &format!("ALTER DATABASE {} OWNER TO {}", other.name(), database.user()),
    );
    let session = other.superuser();
    let run = deploy(&database, &format!("DROP DATABASE {}", other.name())).expect(20);
    drop(session);
    says(&run, "sqlstate", &["55006"]);
    says(
        &run,
        "next",
        &["end the sessions that use it, or wait for them, then deploy again"],
    );
}

#[test]
fn execute_has_the_same_advice() {
    let database = Server::shared().database();
    begin(&database);
    let role = Role::new(&database);
    as_superuser(
        &database,
        &format!("CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {}", role.0),
    );
    let execute = |sql: &str| {
        let call = migrate().verb(["execute", "--confirm", sql]).database(&database);
        call.run().expect(20)
    };
    let run = execute("ALTER TABLE theirs ADD COLUMN x int");
    says(
        &run,
        "next",
        &[
            &format!("run `GRANT {} TO {}`", role.0, database.user()),
            "then run it again",
        ],
    );
    let run = execute("SELECT nothing");
    assert_eq!(failure(&run)["next"], "fix the SQL and run it again");
}
