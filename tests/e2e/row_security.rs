//! Row security on the migrations table that hides rows from whoever reads it: the table is refused, never read in part.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server, Version};
use harness::process::Run;

const NAME: &str = "20240101000000_it";

/// A database with one migration applied, and its history with another one.
fn database(server: &Server) -> (Database, History) {
    let database = server.database();
    let history = History::new().migration("20230101000000_before", "CREATE TABLE t (id int)");
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    (database, history.migration(NAME, "INSERT INTO t VALUES (1)"))
}

fn run(verb: &str, flags: &[&str], database: &Database, history: &History) -> Run {
    let call = migrate().verb([verb]).arg(history.folder()).database(database);
    flags.iter().fold(call, |call, flag| call.arg(flag)).run()
}

/// Refused, with the advice; of no migration is it said that it is pending.
#[track_caller]
fn is_refused(case: &str, run: &Run, advice: &[&str]) {
    assert_eq!(run.code, 50, "{case}\n{run}");
    assert!(
        !run.stdout.contains(NAME) && !run.stdout.contains("_before"),
        "{case}\n{run}"
    );
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("cannot be read"), "{case}\n{run}");
    for words in advice {
        assert!(said.contains(words), "{case}: {words}\n{run}");
    }
}

const POLICIES: [(&str, &str); 4] = [
    (
        "all rows are hidden",
        "CREATE POLICY p ON _prisma_migrations USING (false)",
    ),
    ("none are", "CREATE POLICY p ON _prisma_migrations USING (true)"),
    (
        "some are",
        "CREATE POLICY p ON _prisma_migrations USING (migration_name > '2024')",
    ),
    ("without a policy", "SELECT 1"),
];

const VERBS: [&str; 3] = ["deploy", "status", "plan"];

fn servers() -> [&'static Server; 3] {
    [
        Server::shared(),
        Server::version(Version::V13),
        Server::version(Version::V18),
    ]
}

#[test]
fn a_table_that_hides_rows_from_its_owner_is_refused() {
    for (n, server) in servers().into_iter().enumerate() {
        for (name, policy) in POLICIES.iter().take(if n == 0 { 4 } else { 1 }) {
            let (database, history) = database(server);
            database.execute(&format!(
                "ALTER TABLE _prisma_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; {policy}"
            ));
            let advice = "ALTER TABLE public._prisma_migrations NO FORCE ROW LEVEL SECURITY";
            for verb in VERBS {
                let run = run(verb, &[], &database, &history);
                is_refused(&format!("{name}, {verb}"), &run, &[advice]);
                assert!(!format!("{}{}", run.stdout, run.stderr).contains("--role"), "{run}");
            }
            database.execute(advice);
            run("deploy", &[], &database, &history).expect(0);
        }
    }
}

/// The table is another user's, and this one may read it.
#[test]
fn a_table_that_hides_rows_from_another_user_is_refused() {
    for (n, server) in servers().into_iter().enumerate() {
        for (name, policy) in POLICIES.iter().take(if n == 0 { 4 } else { 1 }) {
            for forced in [false, true] {
                let (database, history) = database(server);
                let (user, owner) = (database.user(), format!("{}_owner", database.user()));
                let mut superuser = database.superuser();
                let force = if forced { ", FORCE ROW LEVEL SECURITY" } else { "" };
                superuser
                    .batch_execute(&format!(
                        "CREATE ROLE {owner}; GRANT USAGE, CREATE ON SCHEMA public TO {owner}; \
                         ALTER TABLE _prisma_migrations OWNER TO {owner}; ALTER TABLE t OWNER TO {owner}; \
                         GRANT ALL ON _prisma_migrations TO {user}; \
                         ALTER TABLE _prisma_migrations ENABLE ROW LEVEL SECURITY {force}; {policy}"
                    ))
                    .unwrap();
                let grant = format!("GRANT {owner} TO {user}");
                let role = format!("--role {owner}");
                let no_force = "ALTER TABLE public._prisma_migrations NO FORCE ROW LEVEL SECURITY";
                for verb in VERBS {
                    let run = run(verb, &[], &database, &history);
                    let case = format!("{name}, {verb}, forced: {forced}");
                    is_refused(&case, &run, &[&grant, &role]);
                    assert_eq!(
                        format!("{}{}", run.stdout, run.stderr).contains(no_force),
                        forced,
                        "{case}\n{run}"
                    );
                }
                // As the advice says.
                if forced {
                    superuser.batch_execute(no_force).unwrap();
                }
                superuser
                    .batch_execute(&format!("ALTER ROLE {user} NOINHERIT; {grant}"))
                    .unwrap();
                if server.major() >= 16 {
                    let noinherit = format!("GRANT {owner} TO {user} WITH INHERIT FALSE");
                    superuser.batch_execute(&noinherit).unwrap();
                }
                let run = run("status", &[], &database, &history);
                is_refused("a member", &run, &[&role]);
                assert!(!format!("{}{}", run.stdout, run.stderr).contains("GRANT"), "{run}");
                let role = format!("--role={owner}");
                self::run("status", &[&role], &database, &history).expect(10);
                self::run("deploy", &[&role], &database, &history).expect(0);
            }
        }
    }
}
