//! Long scripts in steps: the work grows with their length, and line ends do not matter.

use super::{Committed, deploy, each, is_true, pending, rewrite, servers};
use crate::migrate;
use std::thread::sleep;
use std::time::Duration;

/// The CPU time of a deploy of so many INSERTs of 2 KB beside an index, in clock ticks.
fn ticks(inserts: usize) -> u64 {
    let insert = format!("insert into t values ('{}');\n", "x".repeat(2_000));
    let script = format!(
        "create index concurrently t_i on t(length(x));\n{}",
        insert.repeat(inserts)
    );
    let (database, history) = pending(servers()[0], "CREATE TABLE t (x text)", &script);
    let mut run = migrate()
        .deploy(history.folder())
        .database(&database)
        .without_report()
        .spawn();
    let stat = format!("/proc/{}/stat", run.id());
    let mut ticks = 0;
    while run.is_running() {
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        // Behind the name, which ends with the last parenthesis: state, 10 numbers, utime, stime.
        let fields: Vec<u64> = text
            .rsplit_once(')')
            .map(|(_, rest)| {
                rest.split_whitespace()
                    .skip(11)
                    .take(2)
                    .filter_map(|n| n.parse().ok())
                    .collect()
            })
            .unwrap_or_default();
        ticks = ticks.max(fields.iter().sum());
        sleep(Duration::from_millis(5));
    }
    run.wait().expect(0);
    assert_eq!(database.scalar("SELECT count(*) FROM t"), inserts.to_string());
    ticks
}

#[test]
fn twice_the_statements_are_twice_the_work() {
    let (half, whole) = (ticks(500), ticks(1_000));
    assert!(whole < half * 3, "{half} ticks of CPU for 500, {whole} for 1,000");
}

#[test]
fn line_ends_do_not_matter_to_a_resume() {
    for (name, one, other) in [
        ("seen: CRLF, then LF", "\r\n", "\n"),
        ("LF, then CRLF", "\n", "\r\n"),
        ("the same", "\r\n", "\r\n"),
    ] {
        each(
            [
                (
                    "an index",
                    "insert into t values ('a');\ncreate index concurrently t_i on t(x);\ninsert into t values ('b',\n 1);\n",
                ),
                (
                    "a transaction",
                    "begin;\ninsert into t values ('a');\ncommit;\nvacuum t;\ninsert into t values ('b',\n 1);\n",
                ),
                (
                    "comments",
                    "-- a\n\n/* b\n */ insert into t values ('a'); -- c\nvacuum t;\n\n-- d\ninsert into t values ('b', 1);\n",
                ),
            ],
            |(form, first)| {
                let (database, history) = pending(servers()[0], "CREATE TABLE t (x text)", &first.replace('\n', one));
                let run = deploy(&database, &history).expect(21);
                is_true(name, &database, &run, Committed::Part);
                rewrite(
                    &history,
                    &first.replace(",\n 1", "").replace(", 1", "").replace('\n', other),
                );
                let run = deploy(&database, &history);
                assert_eq!(run.code, 0, "{name}, {form}\n{run}");
                is_true(name, &database, &run, Committed::All);
                assert_eq!(
                    database.scalar("SELECT string_agg(x, ',' ORDER BY x) FROM t"),
                    "a,b",
                    "{name}, {form}\n{run}"
                );
            },
        );
    }
}
