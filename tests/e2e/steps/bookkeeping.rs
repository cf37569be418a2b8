//! The program's own statements run as its own user, with its own settings, whatever the script has made of the session.

use super::{Committed, GATE, deploy, each, failure, gate, is_true, open, pending, rewrite, role, servers, until_true};
use crate::migrate;
use harness::postgres::Database;

/// A name, and a script that is right by itself. `:role` has no rights on the ledger, `:user` is the user.
const CASES: [(&str, &str); 16] = [
    (
        "seen: a role without rights",
        "set role :role; create table a(id int); create index concurrently a_i on a(id); reset role;",
    ),
    (
        "seen: read-only transactions",
        "create table a(id int); create index concurrently a_i on a(id); set default_transaction_read_only=on; select count(*) from a; set default_transaction_read_only=off;",
    ),
    (
        "read-only to the end",
        "create table a(id int); create index concurrently a_i on a(id); set default_transaction_read_only=on;",
    ),
    (
        "session characteristics",
        "create table a(id int); create index concurrently a_i on a(id); set session characteristics as transaction read only; select count(*) from a;",
    ),
    (
        "a role that stays",
        "set role :role; create table a(id int); create index concurrently a_i on a(id);",
    ),
    (
        "a role in a transaction of its own",
        "begin; set local role :role; create table a(id int); commit; vacuum;",
    ),
    (
        "a role over two transactions",
        "begin; set role :role; create table a(id int); commit; begin; insert into a values (1); commit;",
    ),
    (
        "a role by set_config, in one transaction",
        "select set_config('role', ':role', false); create table a(id int);",
    ),
    (
        "a role in DO",
        "do $$ begin set role :role; create table a(id int); commit; end $$;",
    ),
    (
        "serializable transactions",
        "set default_transaction_isolation='serializable'; create table a(id int); create index concurrently a_i on a(id);",
    ),
    (
        "deferrable ones",
        "set default_transaction_isolation='serializable'; set default_transaction_deferrable=on; create table a(id int); vacuum a;",
    ),
    (
        "an empty path",
        "create table a(id int); set search_path=''; create index concurrently a_i on public.a(id);",
    ),
    (
        "short timeouts",
        "create table a(id int); vacuum a; set statement_timeout='1ms'; set lock_timeout='1ms';",
    ),
    (
        "row security off",
        "set row_security=off; create table a(id int); create index concurrently a_i on a(id);",
    ),
    (
        "its transaction read-only",
        "create table a(id int); vacuum a; begin; set transaction read only; select count(*) from a; commit;",
    ),
    (
        "all that writes is a replica's",
        "create table a(id int); set application_name='x'; set idle_in_transaction_session_timeout='1ms'; create index concurrently a_i on a(id);",
    ),
];

#[test]
fn a_script_that_is_right_is_applied_under_any_settings() {
    for (n, server) in servers().into_iter().enumerate() {
        each(
            CASES
                .into_iter()
                .filter(|(name, _)| n == 0 || name.starts_with("seen") || name.contains("role")),
            |(name, script)| {
                let (database, history) = pending(server, "SELECT 1", "");
                let role = role(&database, "lowly");
                rewrite(&history, &script.replace(":role", &role));
                let run = deploy(&database, &history);
                assert_eq!(run.code, 0, "{name}\n{run}");
                is_true(name, &database, &run, Committed::All);
                assert_eq!(database.scalar("SELECT to_regclass('a') IS NOT NULL"), "t", "{name}");
            },
        );
    }
}

/// The same with an error behind the index: what is committed is said, and a repair goes on there.
#[test]
fn an_error_under_any_settings_leaves_a_true_row() {
    each(
        CASES.into_iter().filter(|(_, script)| script.contains("concurrently")),
        |(name, script)| {
            let (database, history) = pending(servers()[0], "SELECT 1", "");
            let role = role(&database, "lowly");
            let script = script.replace(":role", &role);
            rewrite(&history, &format!("{script}\nselect oops;"));
            let run = deploy(&database, &history);
            is_true(name, &database, &run, Committed::Part);
            assert_eq!(run.code, 21, "{name}\n{run}");
            let status = migrate()
                .verb(["status"])
                .arg(history.folder())
                .database(&database)
                .run();
            assert!(
                status.stdout.contains("20240101000000_it") && !status.stdout.contains("\"up_to_date\""),
                "{name}\n{status}"
            );
            rewrite(&history, &script);
            let run = deploy(&database, &history).expect(0);
            is_true(name, &database, &run, Committed::All);
        },
    );
}

#[test]
fn a_session_authorization_of_a_superuser_is_not_ours() {
    each(
        [
            (
                "seen",
                "set session authorization :role; create table a(id int); create index concurrently a_i on a(id); reset session authorization;",
            ),
            (
                "to the end",
                "set session authorization :role; create table a(id int); create index concurrently a_i on a(id);",
            ),
            (
                "in a transaction",
                "begin; set session authorization :role; create table a(id int); commit; begin; insert into a values (1); commit;",
            ),
            (
                "by set_config",
                "select set_config('session_authorization', ':role', false); create table a(id int); create index concurrently a_i on a(id);",
            ),
            (
                "in one transaction",
                "set local session authorization :role; create table a(id int);",
            ),
        ],
        |(name, script)| {
            let (database, history) = pending(servers()[0], "SELECT 1", "");
            let role = role(&database, "lowly");
            let superuser = format!("ALTER ROLE {} SUPERUSER", database.user());
            database.superuser().batch_execute(&superuser).unwrap();
            rewrite(&history, &script.replace(":role", &role));
            let run = deploy(&database, &history);
            assert_eq!(run.code, 0, "{name}\n{run}");
            is_true(name, &database, &run, Committed::All);
            assert_eq!(
                database.scalar("SELECT tableowner LIKE '%_lowly' FROM pg_tables WHERE tablename = 'a'"),
                "t",
                "{name}"
            );
        },
    );
}

fn invalid(database: &Database) -> String {
    database.scalar("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
}

#[test]
fn a_lock_timeout_of_the_scripts_own_beside_an_open_writer_is_retried() {
    each(
        [
            (
                "seen",
                "set lock_timeout='200ms'; create index concurrently t_i on t(i);",
            ),
            (
                "behind a table",
                "create table a(id int); set lock_timeout='200ms'; create index concurrently t_i on t(i); reset lock_timeout;",
            ),
            (
                "in DO",
                "do $$ begin set lock_timeout='200ms'; end $$; create unique index concurrently t_i on t(i);",
            ),
            (
                "by set_config, without a name",
                "select set_config('lock_timeout', '200ms', false); create index concurrently on t(i);",
            ),
            (
                "REINDEX",
                "set lock_timeout='200ms'; reindex index concurrently t_pkey;",
            ),
        ],
        |(name, script)| {
            let (database, history) = pending(servers()[0], "CREATE TABLE t (i int PRIMARY KEY)", script);
            let mut writer = database.client();
            writer.batch_execute("BEGIN; INSERT INTO t VALUES (1)").unwrap();
            let run = migrate()
                .deploy(history.folder())
                .database(&database)
                .arg("--lock-retry-for=0s")
                .spawn();
            // What the build has left cannot be dropped before the writer ends.
            until_true(
                &database,
                "the INVALID index is being dropped",
                "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DROP INDEX%' AND wait_event_type = 'Lock'",
            );
            writer.batch_execute("COMMIT").unwrap();
            let run = run.wait();
            assert_eq!(run.code, 31, "{name}\n{run}");
            assert_eq!(invalid(&database), "0", "{name}\n{run}");
            assert!(failure(&run, "state").contains("committed"), "{name}\n{run}");
            let run = deploy(&database, &history).expect(0);
            is_true(name, &database, &run, Committed::All);
            assert_eq!(invalid(&database), "0", "{name}\n{run}");
        },
    );
}

/// What follows the script's settings in the same message, its close, waits for nothing of the script's.
#[test]
fn the_scripts_statement_timeout_does_not_end_its_close() {
    each(
        [
            "set statement_timeout='1s'; insert into gate values (1);",
            "insert into gate values (1); commit; set statement_timeout='1ms'; select 1;",
        ],
        |script| {
            let (database, history) = pending(
                servers()[0],
                &format!(
                    "{GATE}; CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$"
                ),
                script,
            );
            database.execute(
                "CREATE TRIGGER slow BEFORE UPDATE ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION slow()",
            );
            open(gate(&database));
            let run = deploy(&database, &history);
            assert_eq!(run.code, 0, "{script}\n{run}");
            is_true(script, &database, &run, Committed::All);
        },
    );
}
