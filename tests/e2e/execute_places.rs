//! `execute`: SQL that comes from S3, and rows that go to a file or to S3.

use crate::migrate;
use harness::postgres::{Database, Server};
use harness::process::{Run, Signal};
use harness::s3::{Fault, S3};
use harness::tool::Call;
use harness::until;
use serde_json::json;
use std::path::Path;

const BUCKET: &str = "reports";

fn prepared() -> Database {
    let database = Server::shared().database();
    database.execute(
        "CREATE TABLE person (id int PRIMARY KEY, name text); INSERT INTO person VALUES (1, 'Ann'), (2, NULL)",
    );
    database
}

/// A server with the bucket, which is empty.
fn reports() -> S3 {
    let s3 = S3::start();
    s3.unversioned(BUCKET);
    s3
}

fn execute(database: &Database, s3: &S3, arguments: &[&str]) -> Call {
    let words = ["execute"].iter().chain(arguments);
    migrate()
        .verb(words.copied().collect::<Vec<_>>())
        .database(database)
        .s3(s3)
}

fn object(s3: &S3, key: &str) -> Option<String> {
    s3.get(BUCKET, key).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn people(database: &Database) -> String {
    database.scalar("SELECT count(*) FROM person")
}

fn failure<'a>(run: &'a Run, field: &str) -> &'a str {
    run.report.as_ref().unwrap()["failure"][field].as_str().unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn sql_is_read_from_s3_in_the_version_that_is_named() {
    let (database, s3) = (prepared(), S3::start());
    let first = s3.put(BUCKET, "sql/count.sql", "\u{feff}SELECT 1 AS first");
    s3.put(BUCKET, "sql/count.sql", "SELECT 2 AS second");
    let file = "--file=s3://reports/sql/count.sql";
    assert_eq!(
        execute(&database, &s3, &[file]).run().expect(0).stdout,
        "{\"second\":2}\n"
    );
    let pinned = execute(&database, &s3, &[file, "--file-version-id", &first.version]);
    assert_eq!(pinned.run().expect(0).stdout, "{\"first\":1}\n");

    let wrong = execute(&database, &s3, &["--file=s3://reports/sql/cuont.sql"])
        .run()
        .expect(2);
    assert!(
        failure(&wrong, "what").contains("s3://reports/sql/cuont.sql: there is no such key"),
        "{wrong}"
    );
    let local = execute(&database, &s3, &["--file=count.sql", "--file-version-id=1"])
        .run()
        .expect(2);
    assert!(failure(&local, "what").contains("--file is no object in S3"), "{local}");
    s3.put(BUCKET, "sql/error.sql", "SELECT 1;\nSELECT nme FROM person");
    let error = execute(&database, &s3, &["--file=s3://reports/sql/error.sql"])
        .run()
        .expect(20);
    let place = &error.report.as_ref().unwrap()["failure"]["place"];
    assert_eq!(
        (&place["file"], &place["line"]),
        (&json!("s3://reports/sql/error.sql"), &json!(2))
    );
}

#[test]
fn rows_go_to_a_file_once_all_of_them_are_there() {
    let (database, s3, folder) = (prepared(), reports(), tempfile::tempdir().unwrap());
    let csv = folder.path().join("people.csv");
    std::fs::write(&csv, "of yesterday").unwrap();
    let to = format!("--output={}", csv.display());
    let failed = execute(
        &database,
        &s3,
        &[&to, "SELECT id FROM person; SELECT 1 / (id - 1) FROM person"],
    );
    failed.run().expect(20);
    assert_eq!(std::fs::read_to_string(&csv).unwrap(), "of yesterday");

    let run = execute(&database, &s3, &[&to, "SELECT id, name FROM person ORDER BY id"])
        .run()
        .expect(0);
    assert_eq!(std::fs::read_to_string(&csv).unwrap(), "id,name\n1,Ann\n2,\n");
    assert_eq!(run.stdout, "");
    assert_eq!(
        run.report.as_ref().unwrap()["written"],
        json!({"place": csv.display().to_string(), "rows": 2, "bytes": 17})
    );
    assert_eq!(files(folder.path()), ["people.csv"]);

    for (place, reason) in [
        ("/dev/null", "no ordinary file"),
        ("/not/there/rows.csv", "No such file"),
    ] {
        let run = execute(&database, &s3, &["--confirm", "--output", place, "DELETE FROM person"])
            .run()
            .expect(2);
        assert!(failure(&run, "what").contains(reason), "{run}");
    }
    assert_eq!(people(&database), "2");
}

#[test]
fn rows_go_to_s3_however_many_they_are_and_memory_stays_flat() {
    let (database, s3) = (prepared(), reports());
    let peak = |key: &str, rows: usize| {
        let sql = format!("SELECT repeat('x', 500) AS a, n FROM generate_series(1, {rows}) n");
        let place = format!("s3://{BUCKET}/{key}");
        let run = execute(&database, &s3, &["--output", &place, &sql]).run().expect(0);
        let text = object(&s3, key).unwrap();
        assert_eq!(text.lines().count(), rows);
        assert!(text.lines().all(|line| line.len() > 500 && line.ends_with('}')));
        let written = json!({"place": place, "rows": rows, "bytes": text.len()});
        assert_eq!(run.report.as_ref().unwrap()["written"], written);
        run.peak_memory / 1024
    };
    let (few, many, more) = (
        peak("few.json", 10),
        peak("many.json", 80_000),
        peak("more.json", 240_000),
    );
    // One part of 16 MiB, and what the SDK and the allocator keep of it.
    assert!(
        many.max(more) < few + 64 * 1024,
        "KiB: {few}, {many} for 40 MB, {more} for 120 MB"
    );
    peak("none.json", 0);
    assert_eq!(s3.unfinished_uploads(), 0);
}

#[test]
fn what_cannot_be_written_to_s3_is_not_run() {
    let (database, s3) = (prepared(), reports());
    s3.fail(1, 403, "AccessDenied");
    let delete = [
        "--confirm",
        "--output=s3://reports/gone.json",
        "DELETE FROM person RETURNING *",
    ];
    let run = execute(&database, &s3, &delete).run().expect(2);
    assert!(
        failure(&run, "what").contains("may not write it (it needs s3:PutObject"),
        "{run}"
    );
    let elsewhere = [
        "--confirm",
        "--output=s3://elsewhere/gone.json",
        "DELETE FROM person RETURNING *",
    ];
    let run = execute(&database, &s3, &elsewhere).run().expect(2);
    assert!(failure(&run, "what").contains("no such bucket"), "{run}");
    assert_eq!(people(&database), "2");
}

#[test]
fn rows_that_s3_does_not_take_take_everything_back() {
    let (database, s3) = (prepared(), reports());
    s3.fault(Fault::None);
    s3.fail(1, 403, "AccessDenied");
    let delete = [
        "--confirm",
        "--output=s3://reports/gone.json",
        "DELETE FROM person RETURNING *",
    ];
    let run = execute(&database, &s3, &delete).run().expect(20);
    assert!(
        failure(&run, "what").contains("could not be written to s3://reports/gone.json"),
        "{run}"
    );
    assert!(failure(&run, "state").contains("everything was rolled back"), "{run}");
    assert_eq!((people(&database).as_str(), object(&s3, "gone.json")), ("2", None));
    assert_eq!(s3.unfinished_uploads(), 0);

    // What each statement committed by itself stays, and is said.
    s3.fault(Fault::None);
    s3.fail(1, 403, "AccessDenied");
    let alone = [&["--no-transaction"], &delete[..]].concat();
    let run = execute(&database, &s3, &alone).run().expect(70);
    let report = run.report.as_ref().unwrap();
    assert_eq!(
        (&report["result"], &report["failure"]),
        (&json!("executed"), &json!(null))
    );
    assert!(
        report["warnings"][0]
            .as_str()
            .unwrap()
            .starts_with("all of it is committed, and its rows could not be written"),
        "{run}"
    );
    assert_eq!((people(&database).as_str(), object(&s3, "gone.json")), ("0", None));
    assert_eq!(s3.unfinished_uploads(), 0);
}

#[test]
fn a_commit_is_not_hidden_by_rows_that_cannot_be_shown() {
    let (database, s3) = (prepared(), reports());
    let complete_fails = || {
        s3.fault(Fault::None);
        s3.fault(Fault::None);
        s3.fail(1, 403, "AccessDenied");
    };
    complete_fails();
    let reads = ["--output=s3://reports/rows.json", "SELECT * FROM person"];
    let run = execute(&database, &s3, &reads).run().expect(20);
    assert!(failure(&run, "state").contains("nothing was changed"), "{run}");

    complete_fails();
    let writes = [
        "--confirm",
        "--output=s3://reports/rows.json",
        "DELETE FROM person RETURNING *",
    ];
    let run = execute(&database, &s3, &writes).run().expect(70);
    let report = run.report.as_ref().unwrap();
    assert_eq!(report["result"], "executed");
    assert_eq!(
        report["executed"],
        json!([{"command": "DELETE", "statements": 1, "rows": 2}])
    );
    assert_eq!(report["written"], json!(null));
    assert!(
        report["warnings"][0]
            .as_str()
            .unwrap()
            .contains("all of it is committed"),
        "{run}"
    );
    assert_eq!((people(&database).as_str(), object(&s3, "rows.json")), ("0", None));
    assert_eq!(s3.unfinished_uploads(), 0);
}

#[test]
fn a_run_that_is_stopped_leaves_no_rows_anywhere() {
    let (database, s3, folder) = (prepared(), reports(), tempfile::tempdir().unwrap());
    let file = folder.path().join("rows.json");
    for place in ["s3://reports/rows.json", file.to_str().unwrap()] {
        let sql = "SELECT * FROM person; SELECT pg_sleep(600)";
        let run = execute(&database, &s3, &["--output", place, sql]).spawn();
        let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                      AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%'";
        until("it sleeps", || {
            database.superuser().query_one(sleeps, &[]).unwrap().get::<_, i64>(0) > 0
        });
        run.signal(Signal::TERM);
        let run = run.wait().expect(60);
        assert_eq!(run.report.as_ref().unwrap()["written"], json!(null));
    }
    assert_eq!(object(&s3, "rows.json"), None);
    assert_eq!(s3.unfinished_uploads(), 0);
    assert_eq!(files(folder.path()), Vec::<String>::new());
}
