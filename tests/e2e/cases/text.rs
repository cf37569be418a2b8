//! The bytes of a script: what is sent, and what the checksum is made of.

use harness::history::History;
use harness::postgres::Server;
use sha2::{Digest, Sha256};

use super::{deploy, failure, ledger, tables, tool, warnings};
use crate::session::Session;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn crlf_and_byte_order_mark_are_in_the_checksum() {
    let scripts: [&[u8]; 3] = [
        b"CREATE TABLE a (\r\n  id int\r\n);\r\n",
        b"\xef\xbb\xbfCREATE TABLE b (id int);\n",
        b"\xef\xbb\xbfCREATE TABLE c (id int);\r\n",
    ];
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_crlf", scripts[0])
        .migration("2_bom", scripts[1])
        .migration("3_both", scripts[2]);
    deploy(&history, &database).run().expect(0);

    let checksums: Vec<_> = database.ledger().into_iter().map(|row| row.checksum).collect();
    assert_eq!(checksums, scripts.map(sha256));
    assert_eq!(tables(&database), ["a", "b", "c"]);
}

#[test]
fn a_change_of_line_endings_is_no_edit() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (\n  id int\n);\n");
    deploy(&history, &database).run().expect(0);
    let history = history.migration("1_init", "CREATE TABLE a (\r\n  id int\r\n);\r\n");
    let run = deploy(&history, &database).arg("--strict").run().expect(0);
    assert_eq!(warnings(&run), "");
}

#[test]
fn nul_and_not_utf8_are_refused_before_the_first_runs() {
    let cases: [(&[u8], &str); 2] = [
        (b"SELECT 'a\0b';", "contains a NUL byte at offset 9"),
        (b"SELECT 'caf\xe9';", "is not UTF-8 (first bad byte at offset 11)"),
    ];
    for (script, said) in cases {
        let database = Server::shared().database();
        let history = History::new()
            .migration("1_init", "CREATE TABLE a (id int);")
            .migration("2_bytes", script);
        let run = deploy(&history, &database).run().expect(40);

        let failure = failure(&run);
        assert!(failure["what"].as_str().unwrap().contains(said), "{run}");
        assert_eq!(failure["migration"], "2_bytes");
        assert!(!database.has_ledger() && tables(&database).is_empty());
    }
}

#[test]
fn an_applied_one_that_cannot_be_sent_stops_nothing() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    let history = history
        .migration("1_init", b"\xff\0")
        .migration("2_next", "CREATE TABLE b (id int);");
    let run = deploy(&history, &database).run().expect(0);
    assert!(warnings(&run).contains("1_init was edited"), "{run}");
    assert_eq!(ledger(&database), ["1_init applied", "2_next applied"]);
}

#[test]
fn a_character_that_the_database_cannot_hold_is_the_scripts_failure() {
    let database = Server::shared().database();
    let name = format!("{}_latin1", database.name());
    let create = format!(
        "CREATE DATABASE {name} OWNER {} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
        database.user()
    );
    database.superuser().batch_execute(&create).unwrap();
    let url = format!("{}_latin1", database.url());
    let history = History::new()
        .migration("1_held", "CREATE TABLE a AS SELECT 'café' AS name;")
        .migration("2_not_held", "CREATE TABLE b AS SELECT '☕' AS name;");
    let run = tool()
        .deploy(history.folder())
        .database_url(&database, &url)
        .run()
        .expect(20);

    assert_eq!(
        (failure(&run)["sqlstate"].as_str(), failure(&run)["migration"].as_str()),
        (Some("22P05"), Some("2_not_held"))
    );
    let session = Session::open(&url).unwrap();
    assert_eq!(session.scalar("SELECT name FROM a"), "café");
    assert_eq!(session.scalar("SELECT to_regclass('b') IS NULL"), "t");
    assert_eq!(
        session.scalar("SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL"),
        "0"
    );
}
