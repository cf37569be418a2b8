//! States in which only the artifact and finished rows differ.

use super::{BEFORE, Deploy, LATER, NAME, State, TABLE, each, pending};
use harness::history::History;
use harness::postgres::Server;

fn empty(history: History) -> State {
    State {
        database: Server::shared().database(),
        history,
        held: Vec::new(),
    }
}

fn applied() -> State {
    pending("CREATE TABLE b (id int);").deployed(0)
}

#[test]
fn what_is_applied_and_what_is_not() {
    each(&[
        ("an empty database", Deploy::Applies, || {
            empty(History::new().migration(NAME, "CREATE TABLE b (id int);"))
        }),
        ("all is applied", Deploy::Nothing, applied),
        ("one is pending", Deploy::Applies, || {
            pending("CREATE TABLE b (id int);")
        }),
        ("two are pending", Deploy::Applies, || {
            pending("CREATE TABLE b (id int);").later()
        }),
        (
            "it was rolled back and is still broken",
            Deploy::FailsRunning(20),
            || pending("SELECT 1/0;").deployed(20),
        ),
        ("it was rolled back and is mended", Deploy::Applies, || {
            pending("SELECT 1/0;").deployed(20).script("CREATE TABLE b (id int);")
        }),
        ("it was rolled back twice", Deploy::FailsRunning(20), || {
            pending("SELECT 1/0;").deployed(20).deployed(20)
        }),
        (
            "it was rolled back and a later one is pending",
            Deploy::FailsRunning(20),
            || pending("SELECT 1/0;").deployed(20).later(),
        ),
        ("a late one", Deploy::Applies, || {
            let state = applied();
            State {
                history: state
                    .history
                    .migration("20230601000000_late", "CREATE TABLE late (id int);"),
                ..state
            }
        }),
    ]);
}

#[test]
fn files_that_changed_after_they_were_applied() {
    each(&[
        ("an edited one", Deploy::Nothing, || {
            applied().script("CREATE TABLE b (id bigint);")
        }),
        ("an edited one, and one pending", Deploy::Applies, || {
            applied().script("CREATE TABLE b (id bigint);").later()
        }),
        ("one that is missing from the artifact", Deploy::Nothing, || {
            let state = applied();
            State {
                history: state.history.remove(NAME),
                ..state
            }
        }),
        ("one that is missing, and one pending", Deploy::Applies, || {
            let state = applied().later();
            State {
                history: state.history.remove(NAME),
                ..state
            }
        }),
        (
            "its migration.sql is gone and its directory is there",
            Deploy::Nothing,
            || {
                let state = applied();
                std::fs::remove_file(state.history.migrations().join(NAME).join("migration.sql")).unwrap();
                state
            },
        ),
        ("a renamed one", Deploy::FailsRunning(20), || {
            let state = applied();
            State {
                history: state
                    .history
                    .remove(NAME)
                    .migration("20240101000000_renamed", "CREATE TABLE b (id int);"),
                ..state
            }
        }),
    ]);
}

#[test]
fn scripts_that_no_run_can_send() {
    each(&[
        ("no migration.sql", Deploy::Refused(40), || {
            let state = pending("SELECT 1;");
            std::fs::remove_file(state.history.migrations().join(NAME).join("migration.sql")).unwrap();
            state
        }),
        ("UTF-16", Deploy::Refused(40), || {
            let state = pending("SELECT 1;");
            let text: Vec<u8> = "SELECT 1;".encode_utf16().flat_map(u16::to_le_bytes).collect();
            state.history.write(
                format!("migrations/{NAME}/migration.sql"),
                [&[0xff, 0xfe], &text[..]].concat(),
            );
            state
        }),
        ("COPY FROM STDIN", Deploy::Refused(20), || pending("COPY t FROM STDIN;")),
        ("what means something else in steps", Deploy::Refused(20), || {
            pending("SET LOCAL search_path = public;\nCREATE INDEX CONCURRENTLY i ON t (id);")
        }),
    ]);
}

#[test]
fn rows_that_were_written_by_hand() {
    each(&[
        ("resolve --applied", Deploy::Nothing, || {
            let state = pending("SELECT 1/0;");
            state.call("resolve", &["--applied", NAME]).run().expect(0);
            state
        }),
        ("resolve --applied of one that was rolled back", Deploy::Nothing, || {
            let state = pending("SELECT 1/0;").deployed(20);
            state.call("resolve", &["--applied", NAME]).run().expect(0);
            state
        }),
        ("resolve --accept", Deploy::Nothing, || {
            let state = applied().script("CREATE TABLE b (id bigint);");
            state.call("resolve", &["--accept", NAME]).run().expect(0);
            state
        }),
        ("baseline", Deploy::Applies, || {
            let state = empty(
                History::new()
                    .migration(BEFORE, TABLE)
                    .migration(LATER, "INSERT INTO ran VALUES (1);"),
            )
            .sql(TABLE);
            state.call("baseline", &["--to", BEFORE]).run().expect(0);
            state
        }),
        (
            "baseline after a first deploy that was rolled back",
            Deploy::Nothing,
            || {
                let state = empty(History::new().migration(BEFORE, TABLE)).deployed(0);
                let state = state.sql("UPDATE _prisma_migrations SET rolled_back_at = now(), finished_at = NULL");
                state.call("baseline", &["--to", BEFORE]).run().expect(0);
                state
            },
        ),
        ("a program wrote it without a checksum", Deploy::Nothing, || {
            applied().sql("UPDATE _prisma_migrations SET checksum = 'remote-migration'")
        }),
        ("a program wrote it twice without a checksum", Deploy::Nothing, || {
            applied().sql(
                "INSERT INTO _prisma_migrations SELECT md5(random()::text), 'remote-migration', finished_at, migration_name, logs, \
                 rolled_back_at, started_at, applied_steps_count FROM _prisma_migrations",
            )
        }),
        ("infinite times", Deploy::Nothing, || {
            applied().sql("UPDATE _prisma_migrations SET started_at = '-infinity', finished_at = 'infinity'")
        }),
        ("rolled back at no time", Deploy::Applies, || {
            applied().sql(&format!(
                "UPDATE _prisma_migrations SET rolled_back_at = 'infinity' WHERE migration_name = '{NAME}'; DROP TABLE b"
            ))
        }),
    ]);
}
