//! Scripts that release the migration lock: the run ends, and takes the lock again a few times at most.

use super::{Committed, each, is_true, pending, servers};
use crate::migrate;

const BEFORE: &str = "CREATE TABLE t (i int); \
    CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_unlock_all(); INSERT INTO t VALUES (1); COMMIT; END'; \
    CREATE FUNCTION f(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_unlock_all(); RETURN i; END'; \
    INSERT INTO t VALUES (0)";

/// A name, and the script; each ends with the rows 0 and 1 in `t`.
const CASES: [(&str, &str); 8] = [
    (
        "seen: a lone statement, before an index",
        "do $$ begin perform pg_advisory_unlock_all(); insert into t values(1); commit; end $$; create index concurrently t_i on t(i);",
    ),
    (
        "a lone statement that is the whole script",
        "do $$ begin perform pg_advisory_unlock_all(); insert into t values(1); commit; end $$;",
    ),
    ("CALL", "call p(); vacuum t;"),
    ("DISCARD ALL", "insert into t values(1); discard all; vacuum t;"),
    (
        "an index over a function",
        "insert into t values(1); create index concurrently t_i on t(f(i));",
    ),
    (
        "a step of its own, twice",
        "select pg_advisory_unlock_all(); insert into t values(1); vacuum t; select pg_advisory_unlock_all(); vacuum t;",
    ),
    (
        "between two transactions",
        "begin; insert into t values(1); commit; select pg_advisory_unlock(72707369); begin; update t set i = i; commit;",
    ),
    (
        "the last statement",
        "insert into t values(1); commit; select pg_advisory_unlock_all();",
    ),
];

#[test]
fn a_script_that_releases_the_lock_ends() {
    for (n, server) in servers().into_iter().enumerate() {
        each(
            CASES.into_iter().filter(|(name, _)| n == 0 || name.starts_with("seen")),
            |(name, script)| {
                let (database, history) = pending(server, BEFORE, script);
                let run = migrate()
                    .deploy(history.folder())
                    .database(&database)
                    .arg("--max-duration=30s")
                    .run();
                assert_eq!(run.code, 0, "{name}\n{run}");
                is_true(name, &database, &run, Committed::All);
                assert_eq!(
                    database.scalar("SELECT string_agg(i::text, ',' ORDER BY i) FROM t"),
                    "0,1",
                    "{name}\n{run}"
                );
                assert!(run.stderr.matches("taken again").count() <= 3, "{name}\n{run}");
                assert_eq!(database.scalar("SELECT pg_try_advisory_lock(72707369)"), "t", "{name}");
            },
        );
    }
}
