//! What is wrong with a script's text: shown, named, and with what to do.

use harness::postgres::{Database, Server};

use super::{NAME, deploy, failure, says};

fn database() -> Database {
    Server::shared().database()
}

#[test]
fn what_cannot_be_seen_is_shown_and_named() {
    let database = database();
    for (script, excerpt, word, name) in [
        (
            "CREATE TABLE b (\n  id\u{a0}int\n);",
            ");",
            "line 2: id<U+00A0>int holds",
            "a no-break space (U+00A0)",
        ),
        (
            "\u{a0}CREATE TABLE b (id int);",
            "<U+00A0>CREATE TABLE",
            "line 1: <U+00A0>CREATE",
            "a no-break space (U+00A0)",
        ),
        (
            "CREATE\u{200b} TABLE b (id int);",
            "CREATE<U+200B> TABLE",
            "CREATE<U+200B>",
            "a zero-width space (U+200B)",
        ),
        (
            "SELECT 1;\n\u{feff}SELECT 2;",
            "<U+FEFF>SELECT 2;",
            "line 2: <U+FEFF>SELECT",
            "a byte order mark (U+FEFF)",
        ),
        (
            "SELECT id\u{a0} FROM a;",
            "id<U+00A0> FROM",
            "id<U+00A0>",
            "a no-break space (U+00A0)",
        ),
        (
            "SELECT * FROM a\u{202f};",
            "a<U+202F>;",
            "a<U+202F>",
            "a no-break space (U+202F)",
        ),
        (
            "SELECT 1;\u{3000}SELECT 2;",
            "<U+3000>SELECT",
            "<U+3000>SELECT",
            "a Unicode space (U+3000)",
        ),
        (
            "CREATE TABLE b (id int,\u{a0}\n  note text);",
            "",
            "<U+00A0>",
            "a no-break space (U+00A0)",
        ),
    ] {
        let run = deploy(&database, script).expect(20);
        let place = failure(&run)["place"]["excerpt"].as_str().unwrap();
        assert!(place.contains(excerpt) || !place.contains("1 |"), "{run}");
        says(
            &run,
            "details",
            &[
                word,
                &format!("holds {name}, which cannot be seen and is no space to PostgreSQL"),
            ],
        );
    }
}

#[test]
fn a_backslash_is_not_always_psqls() {
    let database = database();
    let (of_psql, outside) = ("a command of psql", "a backslash stands outside of a string here");
    for (script, words) in [
        ("\\connect shop\nSELECT 1;", of_psql),
        ("SELECT 1;\n  \\d a\n", of_psql),
        ("SELECT 1;\n\\.\n", of_psql),
        ("\\restrict abc\nSELECT 1;", of_psql),
        ("\\set ON_ERROR_STOP on\n", of_psql),
        ("SELECT 'SELECT 1' \\gexec", of_psql),
        ("INSERT INTO a VALUES (1, \\N);", outside),
        ("SELECT \\x41;", outside),
        ("SELECT 1,\n  \\\n  2;", outside),
        ("SELECT 'C:' \\temp;", outside),
    ] {
        let run = deploy(&database, script).expect(20);
        says(&run, "details", &[words]);
    }
}

#[test]
fn a_statement_that_cannot_stand_in_the_scripts_transaction_has_the_caret() {
    let database = database();
    for (script, line, words) in [
        (
            "BEGIN;\nALTER TABLE a ADD COLUMN x int;\nCREATE INDEX CONCURRENTLY i ON a (x);\nCOMMIT;",
            3,
            "CREATE INDEX CONCURRENTLY",
        ),
        (
            "BEGIN;\nDROP INDEX CONCURRENTLY i;\nCOMMIT;\n",
            2,
            "DROP INDEX CONCURRENTLY",
        ),
        ("BEGIN;\nINSERT INTO a VALUES (1);\nVACUUM a;\nEND;\n", 3, "VACUUM"),
        (
            "BEGIN; SELECT 1; COMMIT;\nBEGIN;\nREINDEX TABLE CONCURRENTLY a;\nCOMMIT;\n",
            3,
            "REINDEX TABLE CONCURRENTLY",
        ),
    ] {
        let run = deploy(&database, script).expect(20);
        assert_eq!(failure(&run)["place"]["line"], line, "{run}");
        says(&run, "what", &[words, "cannot run in a transaction"]);
        says(
            &run,
            "next",
            &[&format!(
                "move line {line} out of the BEGIN … COMMIT around it, behind the COMMIT or into a migration of its own, then deploy again"
            )],
        );
    }
}

#[test]
fn a_character_that_the_databases_encoding_lacks_has_a_place() {
    let database = database();
    let latin = format!("{}_latin", database.name());
    database
        .superuser()
        .batch_execute(&format!(
            "CREATE DATABASE {latin} OWNER {} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
            database.user()
        ))
        .unwrap();
    let url = database.url().replace(database.name(), &latin);
    let history = super::history().migration(
        NAME,
        "INSERT INTO a VALUES (1, 'é');\nINSERT INTO a VALUES (2, '5 €');\n",
    );
    let run = crate::migrate()
        .deploy(history.folder())
        .database_url(&database, &url)
        .run();
    database
        .superuser()
        .batch_execute(&format!("DROP DATABASE {latin} WITH (FORCE)"))
        .unwrap();
    let run = run.expect(20);
    says(&run, "sqlstate", &["22P05"]);
    let place = &failure(&run)["place"];
    assert_eq!((&place["line"], &place["column"]), (&2.into(), &29.into()), "{run}");
    says(&run, "details", &["the character is € (U+20AC)"]);
    says(&run, "next", &["use a database whose encoding is UTF8"]);
}

#[test]
fn utf_16_is_named_and_so_is_what_writes_it() {
    let database = database();
    let utf_16 = |mark: &[u8], order: fn(u16) -> [u8; 2], text: &str| -> Vec<u8> {
        mark.iter()
            .copied()
            .chain(text.encode_utf16().flat_map(order))
            .collect()
    };
    let text = "CREATE TABLE b (id int);\r\n";
    for bytes in [
        utf_16(b"\xff\xfe", u16::to_le_bytes, text),
        utf_16(b"\xfe\xff", u16::to_be_bytes, text),
        utf_16(b"", u16::to_le_bytes, text),
        utf_16(b"\xff\xfe", u16::to_le_bytes, "CREATE TABLE é (id int);"),
    ] {
        let history = super::history().migration(NAME, &bytes);
        let run = crate::migrate()
            .deploy(history.folder())
            .database(&database)
            .run()
            .expect(40);
        says(&run, "what", &["migration.sql is UTF-16", "PowerShell"]);
        says(&run, "next", &["Set-Content -Encoding utf8", "iconv -f UTF-16"]);
        let file = history.folder().join("utf16.sql");
        std::fs::write(&file, &bytes).unwrap();
        let run = crate::migrate()
            .verb(["execute", "--file"])
            .arg(&file)
            .database(&database)
            .run()
            .expect(2);
        says(&run, "what", &["is UTF-16"]);
    }
}
