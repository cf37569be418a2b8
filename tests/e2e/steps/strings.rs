//! `standard_conforming_strings = off` on the database or the role: the text is read as the server reads it.

use super::{Committed, deploy, is_true, pending, servers};
use harness::postgres::Database;

/// A name, a script, the rows of `a` afterwards, and what is committed.
const CASES: [(&str, &str, &str, Committed); 8] = [
    (
        "seen: it hides a ROLLBACK and a COMMIT",
        r"select '\'' as x; rollback; insert into a values(1); commit; select 1/0; select '';",
        "1",
        Committed::Part,
    ),
    (
        "it hides a COMMIT",
        r"insert into a values(1); select '\''; commit; select 1/0; select '';",
        "1",
        Committed::Part,
    ),
    (
        "it hides a COMMIT AND CHAIN",
        r"begin; insert into a values(1); select '\''; commit and chain; insert into a values(2); select 1/0; commit; select '';",
        "1",
        Committed::Part,
    ),
    (
        "it hides a CONCURRENTLY",
        r"insert into a values(1); select '\'' as x; create index concurrently a_i on a(i); select '';",
        "1",
        Committed::All,
    ),
    (
        "it hides a BEGIN without a COMMIT",
        r"insert into a values(1); commit; select '\''; begin; insert into a values(2); select '';",
        "1",
        Committed::Part,
    ),
    (
        "it makes a COMMIT of what is text",
        r"insert into a values(1); select '\'; commit; --'; select 1/0;",
        "0",
        Committed::Nothing,
    ),
    (
        "it makes a CONCURRENTLY of what is text",
        r"insert into a values(1); select '\'; create index concurrently a_i on a(i); --';",
        "1",
        Committed::All,
    ),
    (
        "E'' reads the same either way",
        r"insert into a values(1); select E'\'', 'it''s'; commit; insert into a values(1/0);",
        "1",
        Committed::Part,
    ),
];

fn of_the_database(database: &Database) -> String {
    format!(
        "ALTER DATABASE {} SET standard_conforming_strings = off",
        database.name()
    )
}

fn of_the_role(database: &Database) -> String {
    format!("ALTER ROLE {} SET standard_conforming_strings = off", database.user())
}

#[test]
fn a_script_is_read_as_the_server_reads_it() {
    for (n, server) in servers().into_iter().enumerate() {
        for (name, script, rows, committed) in CASES {
            for off in &[of_the_database, of_the_role][..if n == 0 && name.contains("COMMIT") { 2 } else { 1 }] {
                let (database, history) = pending(server, "CREATE TABLE a (i int)", script);
                database.superuser().batch_execute(&off(&database)).unwrap();
                let run = deploy(&database, &history);
                assert_eq!(database.scalar("SELECT count(*) FROM a"), rows, "{name}\n{run}");
                is_true(name, &database, &run, committed);
                let again = deploy(&database, &history);
                assert_eq!(
                    database.scalar("SELECT count(*) FROM a"),
                    rows,
                    "{name}, again\n{again}"
                );
            }
        }
    }
}
