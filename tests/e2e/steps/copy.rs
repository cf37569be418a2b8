//! COPY … FROM STDIN is refused before anything is sent, however many columns it names.

use super::{Committed, each, is_true, pending, servers};
use crate::migrate;

fn columns(count: usize, column: impl Fn(usize) -> String) -> String {
    (1..=count).map(column).collect::<Vec<_>>().join(", ")
}

fn cases() -> Vec<(&'static str, String)> {
    vec![
        (
            "seen: 22 columns",
            format!("COPY public.t ({}) FROM stdin;", columns(22, |n| format!("c{n}"))),
        ),
        (
            "seen: 100 columns",
            format!("COPY public.t ({}) FROM stdin;", columns(100, |n| format!("c{n}"))),
        ),
        (
            "1,600 quoted columns",
            format!(
                "COPY \"public\".\"t\" ({}) FROM STDIN WITH (FORMAT csv);",
                columns(1600, |n| format!("\"c {n}\""))
            ),
        ),
        ("no columns", "COPY t FROM STDIN;".into()),
        (
            "a column called from",
            format!("COPY t (\"from\", {}) FROM STDIN;", columns(30, |n| format!("c{n}"))),
        ),
        (
            "comments",
            format!(
                "COPY t ({}) /* from 'a file' */ FROM -- x\n stdin;",
                columns(40, |n| format!("c{n} /* , */"))
            ),
        ),
        (
            "BINARY",
            format!("COPY BINARY t ({}) FROM STDIN;", columns(25, |n| format!("c{n}")))
                .replace("COPY BINARY", "copy binary"),
        ),
    ]
}

#[test]
fn copy_from_stdin_is_refused_with_any_columns() {
    for (n, server) in servers().into_iter().enumerate() {
        each(cases().into_iter().take(if n == 0 { 7 } else { 2 }), |(name, copy)| {
            let script = format!("CREATE TABLE a (i int);\n{copy}\n1\t2\n\\.\n");
            let (database, history) = pending(server, "CREATE TABLE t (i int)", &script);
            let run = migrate()
                .deploy(history.folder())
                .database(&database)
                .arg("--max-duration=20s")
                .run();
            assert_eq!(run.code, 20, "{name}\n{run}");
            is_true(name, &database, &run, Committed::Nothing);
            assert_eq!(
                run.report.as_ref().unwrap()["failure"]["place"]["line"],
                2,
                "{name}\n{run}"
            );
            assert_eq!(database.scalar("SELECT to_regclass('a') IS NULL"), "t", "{name}");
        });
    }
}

/// COPY TO a client, and COPY of a query, are other statements.
#[test]
fn copy_to_is_not_copy_from() {
    let (database, history) = pending(
        servers()[0],
        "CREATE TABLE t (stdin int)",
        "INSERT INTO t VALUES (1); COPY (SELECT stdin FROM t) TO STDOUT; INSERT INTO t VALUES (2);",
    );
    let run = migrate()
        .deploy(history.folder())
        .database(&database)
        .arg("--max-duration=20s")
        .run();
    if run.code == 0 {
        is_true("COPY TO STDOUT", &database, &run, Committed::All);
    } else {
        is_true("COPY TO STDOUT", &database, &run, Committed::Nothing);
    }
}
