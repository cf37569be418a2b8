//! CREATE INDEX CONCURRENTLY with names that the server stores otherwise than written, and indexes of others.

use super::{Committed, deploy, each, failure, is_true, pending, rewrite, servers, terminate, until_true};
use crate::migrate;
use harness::history::History;
use harness::postgres::Database;

const LONG: &str = "an_index_whose_name_is_longer_than_what_the_server_keeps_of_it_by_far_and_further";
const BEFORE: &str = "CREATE TABLE t (i int, note text); INSERT INTO t VALUES (1, 'same'), (2, 'same'); \
    CREATE SCHEMA \"Side\"; CREATE TABLE \"Side\".\"T t\" (i int, note text); INSERT INTO \"Side\".\"T t\" VALUES (1, 'same'), (2, 'same')";

/// An index's name and its table, as written.
fn cases() -> Vec<(&'static str, String)> {
    vec![
        ("seen: over 63 bytes", format!("{LONG} on t")),
        ("seen: capitals beyond ASCII", "ÄÖÜ_Straße on t".into()),
        ("U&\"\"", "U&\"i\\00e4\\+000041\" on t".into()),
        ("U&\"\" with another escape", "U&\"i!00e4\" UESCAPE '!' on t".into()),
        (
            "over 63 bytes, quoted, cut within a character",
            format!("\"{}ß\" on t", "é".repeat(31) + "x"),
        ),
        ("quotes and a dot in it", "\"a \"\"b\"\".c\" on t".into()),
        ("without a name", "on t".into()),
        (
            "without a name, IF NOT EXISTS beside it",
            "if not exists \"I\" on only t using btree".into(),
        ),
        ("another schema, quoted", "Ä on \"Side\".\"T t\"".into()),
        ("another schema, U&", "Ä on U&\"S\\0069de\".\"T t\"".into()),
        ("comments between", "/* a */ i /* b */ on -- c\n t".into()),
        ("over 63 bytes, capitals", format!("{}É on t", LONG.to_uppercase())),
    ]
}

fn indexes(database: &Database) -> String {
    database.scalar("SELECT coalesce(string_agg(indisvalid::text, ','), '') FROM pg_index WHERE indrelid IN ('t'::regclass, '\"Side\".\"T t\"'::regclass)")
}

#[test]
fn a_build_that_fails_leaves_nothing_whatever_its_name() {
    for (n, server) in servers().into_iter().enumerate() {
        each(cases(), |(name, index)| {
            if n > 0 && !name.starts_with("seen") && !name.starts_with('U') {
                return;
            }
            let (database, history) = pending(
                server,
                BEFORE,
                format!("create unique index concurrently {index} (note);").as_str(),
            );
            let run = deploy(&database, &history);
            assert_eq!(run.code, 20, "{name}\n{run}");
            assert_eq!(failure(&run, "sqlstate"), "23505", "{name}\n{run}");
            is_true(name, &database, &run, Committed::Nothing);
            assert_eq!(indexes(&database), "", "{name}\n{run}");
            database.execute("UPDATE t SET note = i::text; UPDATE \"Side\".\"T t\" SET note = i::text");
            let run = deploy(&database, &history);
            assert_eq!(run.code, 0, "{name}\n{run}");
            assert_eq!(indexes(&database), "true", "{name}\n{run}");
        });
    }
}

/// Kills the run and its backend while the index waits for a writer.
fn killed(database: &Database, history: &History, between: &str) {
    let mut writer = database.client();
    writer
        .batch_execute("BEGIN; INSERT INTO t VALUES (0); INSERT INTO \"Side\".\"T t\" VALUES (0)")
        .unwrap();
    let run = migrate().deploy(history.folder()).database(database).spawn();
    until_true(
        database,
        "the index is there and INVALID",
        "SELECT count(*) = 1 FROM pg_index WHERE indrelid > 16000 AND NOT indisvalid",
    );
    run.kill();
    terminate(database);
    writer.batch_execute("ROLLBACK").unwrap();
    database.execute(between);
}

#[test]
fn a_build_that_was_killed_is_done_again_whatever_its_name() {
    each(cases().into_iter().take(8), |(name, index)| {
        let (database, history) = pending(
            servers()[0],
            BEFORE,
            format!("create index concurrently {index} (note);\nselect 1;").as_str(),
        );
        killed(&database, &history, "SELECT 1");
        let run = deploy(&database, &history);
        match (run.code, name.starts_with("without")) {
            (0, _) => assert_eq!(indexes(&database), "true", "{name}\n{run}"),
            // That it was this run's may not be told from the index of another session.
            (21, true) => {}
            (code, _) => panic!("exit code {code}: {name}\n{run}"),
        }
    });
}

/// The script's own error is shown, whatever to_regclass makes of the name.
#[test]
fn a_table_name_that_cannot_be_read_shows_the_scripts_error() {
    for (name, script, sqlstate) in [
        (
            "seen: a dot first",
            "create index concurrently i on .\"T\"(i);",
            "42601",
        ),
        (
            "no such table",
            "create index concurrently i on \"no. such\".t(i);",
            "3F000",
        ),
        ("too many parts", "create index concurrently i on a.b.c.t(i);", "42601"),
        (
            "another database",
            "create index concurrently i on elsewhere.public.t(i);",
            "0A000",
        ),
        ("an empty name", "create index concurrently i on \"\"(i);", "42601"),
        (
            "an index as a table",
            "create index concurrently i on t_pkey_is_none(i);",
            "42P01",
        ),
        (
            "drop of a name with too many parts",
            "drop index concurrently a.b.c.d;",
            "42601",
        ),
    ] {
        each([script.to_owned(), format!("select 1;\n{script}")], |script| {
            let (database, history) = pending(servers()[0], BEFORE, &script);
            let run = deploy(&database, &history);
            let told = format!("{name}: {script}\n{run}");
            assert!(matches!(run.code, 20 | 21), "{told}");
            assert_eq!(failure(&run, "sqlstate"), sqlstate, "{told}");
            assert_eq!(run.code == 20, !failure(&run, "state").contains("committed"), "{told}");
            rewrite(&history, "select 2;");
        });
    }
}

/// What another session makes meanwhile is not taken for ours.
#[test]
fn an_index_of_another_session_is_never_ours() {
    each(
        [
            (
                "another index on the table, ours without a name",
                "create index concurrently on t(note);",
                "CREATE INDEX of_others ON t (i)",
                "SELECT to_regclass('of_others') IS NOT NULL",
                "SELECT count(*) > 0 FROM pg_index JOIN pg_attribute a ON attrelid = indrelid AND attnum = indkey[0] WHERE indrelid = 't'::regclass AND attname = 'note' AND indisvalid",
            ),
            (
                "another index on the table, ours with a name",
                "create index concurrently ours on t(note);",
                "CREATE INDEX of_others ON t (i)",
                "SELECT to_regclass('of_others') IS NOT NULL",
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ours')",
            ),
            (
                "one of the same name on another table",
                "create index concurrently ours on t(note);",
                "DROP INDEX ours; CREATE INDEX ours ON \"Side\".\"T t\" (i)",
                "SELECT to_regclass('\"Side\".ours') IS NOT NULL",
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('public.ours')",
            ),
            (
                "one of the same name on the same table, of another column",
                "create index concurrently ours on t(note);",
                "DROP INDEX ours; CREATE INDEX ours ON t (i)",
                "SELECT indkey[0] = 1 FROM pg_index WHERE indexrelid = to_regclass('ours')",
                "SELECT indkey[0] = 2 FROM pg_index WHERE indexrelid = to_regclass('ours')",
            ),
        ],
        |(name, script, between, there, done)| {
            let (database, history) = pending(servers()[0], BEFORE, script);
            killed(&database, &history, between);
            let run = deploy(&database, &history);
            assert_eq!(database.scalar(there), "t", "{name}: the other's index is gone\n{run}");
            if run.code == 0 {
                assert_eq!(database.scalar(done), "t", "{name}: applied, without its index\n{run}");
            }
        },
    );
}
