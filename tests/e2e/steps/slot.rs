//! A logical replication slot wants a transaction that has written nothing.

use super::{Committed, deploy, is_true, pending_in};
use harness::postgres::{Options, Server, Version};

const CASES: [(&str, &str); 6] = [
    (
        "seen: by itself",
        "SELECT pg_create_logical_replication_slot(':slot','pgoutput');",
    ),
    (
        "qualified, in FROM",
        "SELECT slot_name FROM pg_catalog.pg_create_logical_replication_slot(slot_name => ':slot', plugin => 'pgoutput')",
    ),
    (
        "in DO",
        "DO $$ BEGIN PERFORM pg_create_logical_replication_slot(':slot', 'pgoutput'); END $$;",
    ),
    (
        "in a transaction of its own",
        "BEGIN; SELECT pg_create_logical_replication_slot(':slot', 'pgoutput'); COMMIT;",
    ),
    (
        "behind a publication",
        "CREATE PUBLICATION p FOR TABLE t; SELECT pg_create_logical_replication_slot(':slot', 'pgoutput');",
    ),
    (
        "before a table",
        "SELECT pg_create_logical_replication_slot(':slot', 'pgoutput'); CREATE TABLE a (i int);",
    ),
];

#[test]
fn a_logical_slot_can_be_made() {
    for options in [
        Options::new(),
        Options::new().version(Version::V13),
        Options::new().version(Version::V18),
    ] {
        let server = Server::start(
            options
                .setting("wal_level", "logical")
                .setting("max_replication_slots", "20"),
        );
        for (n, (name, script)) in CASES.into_iter().enumerate() {
            let (database, history) = pending_in(
                server.database(),
                "CREATE TABLE t (i int)",
                script.replace(":slot", &format!("slot_{n}")).as_str(),
            );
            database
                .superuser()
                .batch_execute(&format!("ALTER ROLE {} REPLICATION", database.user()))
                .unwrap();
            let run = deploy(&database, &history);
            assert_eq!(run.code, 0, "{name}\n{run}");
            is_true(name, &database, &run, Committed::All);
            let slots = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'slot_{n}'");
            assert_eq!(database.scalar(&slots), "1", "{name}\n{run}");
            database
                .superuser()
                .batch_execute(&format!("SELECT pg_drop_replication_slot('slot_{n}')"))
                .unwrap();
        }
    }
}
