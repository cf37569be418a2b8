//! Rows that did not finish and are not ours, and indexes that are not what they seem.

use super::{Deploy, NAME, State, each, pending};

const SCRIPT: &str = "CREATE TABLE b (id int);\nCREATE INDEX b_i ON b (id);\nINSERT INTO b VALUES (1);";

#[test]
fn rows_that_prisma_did_not_finish() {
    each(&[
        ("nothing of it is there", Deploy::Refused(22), || {
            pending(SCRIPT).failed_of_prisma()
        }),
        ("a part of it is there", Deploy::Refused(22), || {
            pending(SCRIPT).failed_of_prisma().sql("CREATE TABLE b (id int)")
        }),
        ("all of it is there", Deploy::Refused(22), || {
            pending(SCRIPT).failed_of_prisma().sql(SCRIPT)
        }),
        ("its index is INVALID", Deploy::Refused(22), || {
            pending("CREATE INDEX CONCURRENTLY i ON t (id);")
                .failed_of_prisma()
                .sql("CREATE INDEX i ON t (id)")
                .superuser("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass")
        }),
        ("it is not in the artifact", Deploy::Refused(22), || {
            let state = pending(SCRIPT).failed_of_prisma();
            State {
                history: state.history.remove(NAME),
                ..state
            }
        }),
        ("two attempts did not finish", Deploy::Refused(22), || {
            pending(SCRIPT).failed_of_prisma().failed_of_prisma()
        }),
        ("another row says that it is applied", Deploy::Refused(22), || {
            pending(SCRIPT).deployed(0).failed_of_prisma()
        }),
        ("two migrations did not finish", Deploy::Refused(22), || {
            pending(SCRIPT)
                .failed_of_prisma()
                .sql("UPDATE _prisma_migrations SET finished_at = NULL")
        }),
        ("it was rolled back before", Deploy::Refused(22), || {
            pending("SELECT 1/0;").deployed(20).failed_of_prisma()
        }),
        ("its log is very long", Deploy::Refused(22), || {
            pending(SCRIPT)
                .failed_of_prisma()
                .sql("UPDATE _prisma_migrations SET logs = repeat('x', 3000000) WHERE finished_at IS NULL")
        }),
        ("it began at no time", Deploy::Refused(22), || {
            pending(SCRIPT)
                .failed_of_prisma()
                .sql("UPDATE _prisma_migrations SET started_at = 'infinity' WHERE finished_at IS NULL")
        }),
        ("a later one is pending", Deploy::Refused(22), || {
            pending(SCRIPT).failed_of_prisma().later()
        }),
    ]);
}

#[test]
fn the_help_of_a_failed_row_names_what_is_there_and_what_was_not_looked_at() {
    let script = "CREATE UNIQUE INDEX i ON t (id);\nALTER TABLE t ADD COLUMN extra int;\nALTER TABLE t ADD CONSTRAINT c CHECK (id > 0) NOT VALID;\n\
                  CREATE TYPE mood AS ENUM ('ok');\nDROP TABLE ran;\nUPDATE t SET note = 'x';\nDO $$ BEGIN END $$;";
    let state = pending(script).failed_of_prisma().sql(
        "CREATE UNIQUE INDEX i ON t (id); ALTER TABLE t ADD COLUMN extra text; ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
    );
    let state = state.superuser("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass");
    let run = state.call("status", &[]).run().expect(22);
    let details = super::report(&run)["failure"]["details"].to_string();
    for says in [
        "3 of the 4 objects that its script creates exist: index i, column t.extra, constraint c of t; missing: type mood",
        "index i is INVALID: PostgreSQL does not use it; drop it with `DROP INDEX CONCURRENTLY \\\"i\\\"`",
        "column t.extra differs: extra is text, not int",
        "still there, though its script removes it: table ran",
        "2 statements were not looked at, because the catalogue cannot show what they did (lines 6, 7)",
    ] {
        assert!(details.contains(says), "{says}\n{run}");
    }
    // Whoever records it nevertheless is told the same.
    let run = state.call("resolve", &["--applied", NAME]).run().expect(0);
    let warnings = super::report(&run)["warnings"].to_string();
    assert!(
        warnings.contains("index i is INVALID")
            && warnings.contains("creates what does not exist: type mood")
            && warnings.contains("2 statements were not looked at"),
        "{run}"
    );
}
