//! `execute`: SQL by hand, against a real server.

use crate::migrate;
use harness::postgres::{Database, Server};
use harness::process::{Run, Signal};
use harness::proxy::Proxy;
use harness::tool::Call;
use harness::until;
use serde_json::{Value, json};

/// A database with a table of three people.
fn prepared() -> Database {
    let database = Server::shared().database();
    database.execute(
        "CREATE TABLE person (id int PRIMARY KEY, name text, born date); \
         INSERT INTO person VALUES (1, 'Ann', '1970-01-01'), (2, NULL, NULL), (3, 'Zoë, the \"third\"', NULL)",
    );
    database
}

fn execute(database: &Database, arguments: &[&str]) -> Call {
    let words = ["execute"].iter().chain(arguments);
    migrate().verb(words.copied().collect::<Vec<_>>()).database(database)
}

/// Each line of standard output, as the JSON that it is.
fn rows(run: &Run) -> Vec<Value> {
    let row = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    run.stdout.lines().map(row).collect()
}

fn failure(run: &Run) -> &Value {
    &run.report.as_ref().unwrap()["failure"]
}

fn says(run: &Run, field: &str, text: &str) {
    let said = failure(run)[field].as_str().unwrap();
    assert!(said.contains(text), "{said:?} does not say {text:?}\n{run}");
}

fn people(database: &Database) -> String {
    database.scalar("SELECT count(*) FROM person")
}

/// Waits until the database runs a statement that holds this text.
fn runs(database: &Database, text: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
         AND pid <> pg_backend_pid() AND query LIKE '%{text}%'"
    );
    until(&format!("{text} runs"), || {
        let row = database.superuser().query_one(&sql, &[]).unwrap();
        row.get::<_, i64>(0) > 0
    });
}

#[test]
fn rows_are_json_objects_with_the_values_that_their_types_say() {
    let database = prepared();
    let sql = "SELECT id, name, born, id > 1 AS late, id / 2.0 AS half, 'NaN'::float8 AS nan, '{\"a\":\n[1]}'::json AS doc, \
               ARRAY[id] AS list, 1 AS id, E'\\x1b[2J\\n\\t\\u009b' AS raw FROM person ORDER BY person.id LIMIT 2";
    let run = execute(&database, &[sql]).run().expect(0);
    assert_eq!(
        rows(&run),
        [
            json!({"id": 1, "name": "Ann", "born": "1970-01-01", "late": false, "half": 0.5, "nan": "NaN", "doc": {"a": [1]},
                "list": "{1}", "id_2": 1, "raw": "\u{1b}[2J\n\t\u{9b}"}),
            json!({"id": 2, "name": null, "born": null, "late": true, "half": 1.0, "nan": "NaN", "doc": {"a": [1]},
                "list": "{2}", "id_2": 1, "raw": "\u{1b}[2J\n\t\u{9b}"}),
        ]
    );
    // The outcome is on standard error, as the last line there.
    let outcome: Value = serde_json::from_str(run.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(Some(&outcome), run.report.as_ref());
    assert_eq!(outcome["result"], "executed");
    assert_eq!(
        outcome["executed"],
        json!([{"command": "SELECT", "statements": 1, "rows": 2}])
    );
    assert_eq!(outcome["artifact"], Value::Null);
}

#[test]
fn a_type_of_ones_own_is_a_text_and_a_domain_is_what_it_is_made_of() {
    let database = prepared();
    database.execute("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0)");
    let run = execute(
        &database,
        &["SELECT 'ok'::mood AS mood, 3::positive AS number, person FROM person WHERE id = 2"],
    )
    .run()
    .expect(0);
    assert_eq!(rows(&run), [json!({"mood": "ok", "number": 3, "person": "(2,,)"})]);
}

#[test]
fn csv_is_as_copy_writes_it() {
    let database = prepared();
    let sql = "SELECT id, name, '' AS nothing, E'two\\nlines\\x1b' AS \"a,b\" FROM person ORDER BY id; SELECT 1 AS one WHERE false";
    let run = execute(&database, &["--format", "csv", sql]).run().expect(0);
    assert_eq!(
        run.stdout,
        "id,name,nothing,\"a,b\"\n1,Ann,\"\",\"two\nlines\u{1b}\"\n2,,\"\",\"two\nlines\u{1b}\"\n\
         3,\"Zoë, the \"\"third\"\"\",\"\",\"two\nlines\u{1b}\"\n\none\n"
    );
}

#[test]
fn a_table_is_for_people_and_steers_no_terminal() {
    let database = prepared();
    let sql = "SELECT id, name FROM person ORDER BY id; SELECT 'NULL' AS \"\u{1b}[2J\", E'\\x1b]0;owned\\x07\\n' AS text; \
               UPDATE person SET name = 'x' WHERE id > 1; CREATE TABLE pet (id int); SELECT FROM person WHERE id = 1";
    let run = execute(&database, &["--confirm", "--log-format=text", sql])
        .run()
        .expect(0);
    assert_eq!(
        run.stdout,
        concat!(
            " id | name\n",
            "----+------------------\n",
            "  1 | Ann\n",
            "  2 | NULL\n",
            "  3 | Zoë, the \"third\"\n",
            "(3 rows)\n",
            "\n",
            " \\u{1b}[2J | text\n",
            "-----------+-----------------------\n",
            " \"NULL\"    | \\u{1b}]0;owned\\u{7}\\n\n",
            "(1 row)\n",
            "\n",
            "UPDATE 2\n",
            "CREATE TABLE\n",
            "\n",
            "\n",
            "\n",
            "\n",
            "(1 row)\n",
        )
    );
    let heading = run.stderr.lines().last().unwrap();
    assert!(heading.starts_with("5 statements executed  "), "{run}");
    assert_eq!(database.scalar("SELECT count(*) FROM person WHERE name = 'x'"), "2");
}

#[test]
fn the_sql_comes_from_an_argument_a_file_or_standard_input() {
    let database = prepared();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "\u{feff}-- from a file\nSELECT 2 AS a;").unwrap();
    let path = file.path().to_str().unwrap();
    let calls = [
        (execute(&database, &["SELECT 2 AS a"]), 0),
        (execute(&database, &["--file", path]), 0),
        (execute(&database, &["-"]).stdin("SELECT 2 AS a"), 0),
        (execute(&database, &[]).stdin("SELECT 2 AS a"), 0),
        (execute(&database, &["--file", "/there/is/none"]), 2),
        (execute(&database, &[]).stdin("-- nothing\n;"), 2),
        (execute(&database, &[]).stdin(vec![b'a', 0xff]), 2),
        (execute(&database, &["SELECT 1", "--file", path]).without_report(), 2),
        (execute(&database, &[]).terminal(), 2),
    ];
    for (call, code) in calls {
        let run = call.run().expect(code);
        assert_eq!(run.stdout, if code == 0 { "{\"a\":2}\n" } else { "" }, "{run}");
    }
}

#[test]
fn without_confirm_nothing_is_written_away_from_a_terminal() {
    let database = prepared();
    let attempts = [
        "DELETE FROM person",
        "SELECT 1; DELETE FROM person",
        "SET TRANSACTION READ WRITE; DELETE FROM person",
        "SET transaction_read_only = off; DELETE FROM person",
        "SELECT set_config('transaction_read_only', 'off', false); DELETE FROM person",
        "SAVEPOINT a; SET LOCAL transaction_read_only = off; DELETE FROM person",
        "SET default_transaction_read_only = off; DELETE FROM person",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; DELETE FROM person; END $$",
        "WITH gone AS (DELETE FROM person RETURNING 1) SELECT count(*) FROM gone",
        "EXPLAIN ANALYZE DELETE FROM person",
    ];
    for sql in attempts {
        for flag in [None, Some("--read-only")] {
            let call = execute(&database, &[sql]);
            let run = flag
                .map_or_else(|| call.clone(), |flag| call.clone().arg(flag))
                .run()
                .expect(24);
            says(
                &run,
                "next",
                flag.map_or("give --confirm to write", |_| "leave --read-only out"),
            );
            says(&run, "state", "nothing was changed");
            assert_eq!(run.report.as_ref().unwrap()["executed"], json!([]));
        }
    }
    assert_eq!(people(&database), "3");
    // A person at a terminal is asked nothing, and can be kept from it all the same.
    execute(&database, &["--read-only", "DELETE FROM person"])
        .terminal()
        .run()
        .expect(24);
    execute(&database, &["DELETE FROM person WHERE id = 1"])
        .terminal()
        .run()
        .expect(0);
    execute(&database, &["--confirm", "DELETE FROM person WHERE id = 2"])
        .run()
        .expect(0);
    assert_eq!(people(&database), "1");
}

#[test]
fn what_would_end_the_transaction_or_cannot_be_sent_is_refused_before_anything_runs() {
    let database = prepared();
    let cases = [
        ("COMMIT", "COMMIT is refused"),
        ("ROLLBACK", "ROLLBACK is refused"),
        ("/* a */ begin", "BEGIN is refused"),
        ("COMMIT AND CHAIN", "COMMIT is refused"),
        ("END", "END is refused"),
        ("PREPARE TRANSACTION 'a'", "PREPARE is refused"),
        ("VACUUM person", "VACUUM cannot run in a transaction"),
        (
            "CREATE INDEX CONCURRENTLY i ON person (name)",
            "CREATE INDEX cannot run",
        ),
        ("COPY person FROM STDIN", "COPY is refused"),
        ("COPY (SELECT 1) TO STDOUT", "COPY is refused"),
    ];
    for (sql, what) in cases {
        let sql = format!("DELETE FROM person;\n  {sql};");
        let run = execute(&database, &["--confirm", &sql]).run().expect(2);
        says(&run, "what", what);
        assert_eq!(failure(&run)["place"]["line"], 2, "{run}");
        assert_eq!(run.report.as_ref().unwrap()["database"], Value::Null);
    }
    execute(
        &database,
        &["--confirm", "--no-transaction", "BEGIN; DELETE FROM person; COMMIT"],
    )
    .run()
    .expect(2);
    execute(&database, &["--confirm", "--read-only", "SELECT 1"])
        .run()
        .expect(2);
    execute(&database, &["--no-transaction", "--read-only", "SELECT 1"])
        .run()
        .expect(2);
    assert_eq!(people(&database), "3");
}

/// What this program takes for one statement and the server for several must not get past the look at its first words.
#[test]
fn a_text_that_the_server_splits_otherwise_is_not_run() {
    let database = prepared();
    let sql = "SET standard_conforming_strings = off; SELECT '\\''; COMMIT; DELETE FROM person; SELECT '';";
    let run = execute(&database, &[sql]).run().expect(20);
    says(
        &run,
        "what",
        "cannot insert multiple commands into a prepared statement",
    );
    assert_eq!(people(&database), "3");
}

#[test]
fn an_error_takes_everything_back_and_shows_its_place() {
    let database = prepared();
    let sql = "DELETE FROM person;\nSELECT 'é',\n  nme FROM person;";
    let run = execute(&database, &["--confirm", "-"]).stdin(sql).run().expect(20);
    let failure = failure(&run);
    assert_eq!(failure["sqlstate"], "42703");
    assert_eq!(failure["prisma_code"], Value::Null);
    assert_eq!(failure["place"]["file"], "standard input");
    assert_eq!(
        failure["place"]["excerpt"],
        " --> standard input:3:3\n  |\n3 |   nme FROM person;\n  |   ^^^"
    );
    says(&run, "state", "everything was rolled back");
    assert_eq!(people(&database), "3");
    // At the commit.
    database.execute("CREATE TABLE child (id int REFERENCES person DEFERRABLE INITIALLY DEFERRED)");
    let run = execute(&database, &["--confirm", "INSERT INTO child VALUES (99)"])
        .run()
        .expect(20);
    assert_eq!(self::failure(&run)["sqlstate"], "23503");
    assert_eq!(database.scalar("SELECT count(*) FROM child"), "0");
    let run = execute(&database, &["\\d person"]).run().expect(20);
    assert!(self::failure(&run)["details"].to_string().contains("psql"), "{run}");
}

#[test]
fn without_a_transaction_each_statement_stays_and_the_first_error_ends_it() {
    let database = prepared();
    let refused = execute(&database, &["--no-transaction", "VACUUM person"])
        .run()
        .expect(24);
    says(&refused, "next", "--confirm");
    let one_by_one = |sql: &str| execute(&database, &["--confirm", "--no-transaction", sql]);
    one_by_one("VACUUM person; CREATE INDEX CONCURRENTLY i ON person (name)")
        .run()
        .expect(0);
    assert_eq!(
        database.scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"),
        "t"
    );

    let run = one_by_one(
        "DELETE FROM person WHERE id = 1; DELETE FROM person WHERE id = 2;\n\nSELECT 1/0; DELETE FROM person",
    )
    .run()
    .expect(21);
    says(
        &run,
        "state",
        "the first 2 statements are committed; the next one, at line 3, left nothing behind",
    );
    says(&run, "next", "run what begins at line 3");
    assert_eq!(
        run.report.as_ref().unwrap()["executed"],
        json!([{"command": "DELETE", "statements": 2, "rows": 2}])
    );
    assert_eq!(people(&database), "1");

    let run = one_by_one("SELECT 1/0").run().expect(20);
    says(&run, "state", "everything was rolled back");
    let run = one_by_one("CREATE UNIQUE INDEX CONCURRENTLY j ON person ((1/0))")
        .run()
        .expect(21);
    says(&run, "state", "an INVALID index");
    let run = one_by_one("DO $$ BEGIN DELETE FROM person; COMMIT; PERFORM 1/0; END $$")
        .run()
        .expect(21);
    says(&run, "state", "may have stayed");
    assert_eq!(people(&database), "0");
}

#[test]
fn what_only_the_server_knows_not_to_run_in_a_transaction_is_told_how_it_can() {
    let database = prepared();
    let sql = "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'; CALL p()";
    let run = execute(&database, &["--confirm", sql]).run().expect(20);
    assert_eq!(failure(&run)["sqlstate"], "2D000");
    says(&run, "next", "--no-transaction");
}

#[test]
fn notices_are_logged_and_passwords_in_the_sql_are_not() {
    let database = prepared();
    let run = execute(
        &database,
        &["DO $$ BEGIN RAISE NOTICE 'halfway'; RAISE WARNING 'odd'; END $$"],
    )
    .run()
    .expect(0);
    assert!(
        run.stderr.contains("\"message\":\"halfway\"") && run.stderr.contains("\"level\":\"warn\""),
        "{run}"
    );
    assert_eq!(run.stdout, "");
    let sql = "SELECT 1;\nALTER ROLE nobody_at_all PASSWORD 'qzsesamexk' OOPS; SELECT 2";
    for level in ["info", "debug"] {
        let run = execute(&database, &["--confirm", "--log-level", level, sql])
            .secret("qzsesamexk")
            .run()
            .expect(20);
        assert!(
            failure(&run)["place"]["excerpt"]
                .as_str()
                .unwrap()
                .contains("PASSWORD *"),
            "{run}"
        );
    }
}

#[test]
fn a_signal_or_the_clock_cancels_it_and_everything_is_rolled_back() {
    let database = prepared();
    let sql = "DELETE FROM person; SELECT pg_sleep(300)";
    for signal in [Signal::TERM, Signal::INT] {
        let run = execute(&database, &["--confirm", sql]).spawn();
        runs(&database, "pg_sleep");
        run.signal(signal);
        let run = run.wait().expect(60);
        says(&run, "state", "everything was rolled back");
        says(&run, "next", "run it again");
    }
    let run = execute(&database, &["--confirm", "--max-duration=1s", sql])
        .run()
        .expect(60);
    says(&run, "what", "--max-duration");
    let run = execute(&database, &["--confirm", "--no-transaction", sql]).spawn();
    runs(&database, "pg_sleep");
    assert_eq!(people(&database), "0");
    run.signal(Signal::TERM);
    let run = run.wait().expect(61);
    says(&run, "state", "the first statement is committed");
}

#[test]
fn a_stop_does_not_wait_for_a_reader_that_does_not_read() {
    let database = prepared();
    let call = execute(
        &database,
        &["SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"],
    );
    // Standard output is a pipe that stays open and that nobody empties.
    let run = call.stall_stdout().spawn();
    runs(&database, "generate_series");
    run.signal(Signal::TERM);
    let run = run.wait().expect(60);
    says(&run, "state", "nothing was changed");
}

#[test]
fn a_run_that_waits_for_its_input_stops_at_once() {
    let database = prepared();
    let run = execute(&database, &["-"]).terminal().spawn();
    // What the program says before it listens to signals is too early.
    until("SIGTERM is caught", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", run.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (15 - 1)) != 0
    });
    run.signal(Signal::TERM);
    run.wait().expect(60);
}

#[test]
fn a_lock_that_is_not_had_in_time_is_reported_with_who_holds_it() {
    let database = prepared();
    let mut other = database.client();
    for sql in ["SET application_name = 'the stranger'", "BEGIN", "LOCK TABLE person"] {
        other.batch_execute(sql).unwrap();
    }
    let run = execute(&database, &["--confirm", "--lock-timeout=3s", "DELETE FROM person"])
        .run()
        .expect(31);
    assert_eq!(failure(&run)["sqlstate"], "55P03");
    assert!(failure(&run)["details"].to_string().contains("the stranger"), "{run}");
    let mut run = execute(
        &database,
        &[
            "--confirm",
            "--lock-timeout=0",
            "--progress-every=1s",
            "DELETE FROM person",
        ],
    )
    .spawn();
    run.wait_for_stderr("waits for Lock relation");
    run.wait_for_stderr("is in its way");
    other.batch_execute("ROLLBACK").unwrap();
    run.wait().expect(0);
    assert_eq!(people(&database), "0");
}

#[test]
fn a_large_result_is_not_held_in_memory() {
    let database = prepared();
    let peak = |format: &str, rows: usize| {
        let sql = format!("SELECT repeat('x', 500) AS a, n FROM generate_series(1, {rows}) n");
        let run = execute(&database, &["--format", format, &sql]).run().expect(0);
        assert!(run.stdout.lines().count() >= rows);
        run.peak_memory / 1024
    };
    for format in ["table", "json", "csv"] {
        let (few, many) = (peak(format, 10), peak(format, 200_000));
        assert!(
            many < few + 16 * 1024,
            "{format}: {few} KiB for 10 rows, {many} KiB for 100 MB of rows"
        );
    }
}

#[test]
fn a_reader_that_closes_the_pipe_ends_a_reading_run_quietly_and_no_writing_one() {
    let database = prepared();
    let endless = "SELECT repeat('x', 1000), generate_series(1, 1000000000)";
    let run = execute(&database, &["--format", "csv", endless])
        .read_at_most(10_000)
        .run()
        .expect(0);
    assert!(!run.stderr.contains("\"level\":\"error\"") && run.stdout.len() < 1_000_000);
    let writes = "SELECT repeat('x', 1000) FROM generate_series(1, 1000); DELETE FROM person RETURNING *";
    execute(&database, &["--confirm", writes])
        .read_at_most(10)
        .run()
        .expect(0);
    assert_eq!(people(&database), "0");
}

#[test]
fn output_that_cannot_be_written_takes_everything_back() {
    let database = prepared();
    let run = execute(
        &database,
        &["--confirm", "DELETE FROM person; SELECT repeat('x', 100000)"],
    )
    .stdout_to("/dev/full")
    .run()
    .expect(20);
    says(&run, "what", "could not be written to standard output");
    assert_eq!(people(&database), "3");
    // The server had committed before anybody could take it back.
    let sql = "DELETE FROM person WHERE id = 3 RETURNING repeat('x', 100000)";
    let run = execute(&database, &["--confirm", "--no-transaction", sql])
        .stdout_to("/dev/full")
        .run()
        .expect(70);
    assert_eq!(run.report.as_ref().unwrap()["result"], "executed");
    assert_eq!(people(&database), "2");
}

#[test]
fn it_needs_neither_an_artifact_nor_the_ledger_nor_the_lock() {
    let database = prepared();
    let user = database.user().to_owned();
    database
        .superuser()
        .batch_execute(&format!(
            "CREATE TABLE _prisma_migrations (strange int); REVOKE ALL ON _prisma_migrations FROM {user}"
        ))
        .unwrap();
    let mut holder = database.client();
    holder.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
    let run = execute(&database, &["SELECT 1 AS a"])
        .env("ARTIFACT_BUCKET", "without-a-key")
        .run()
        .expect(0);
    assert_eq!(rows(&run), [json!({"a": 1})]);
}

#[test]
fn a_connection_that_is_lost_leaves_nothing_unless_each_statement_was_committed() {
    let server = Server::shared();
    for (flags, code, state) in [
        (&["--confirm"][..], 50, "nothing was committed"),
        (
            &["--confirm", "--no-transaction"],
            21,
            "the first statement is committed",
        ),
    ] {
        let database = prepared();
        let proxy = Proxy::to(server);
        let words = ["execute"].iter().chain(flags).copied().collect::<Vec<_>>();
        let run = migrate()
            .verb(words)
            .arg("DELETE FROM person WHERE id = 1; SELECT pg_sleep(300)")
            .database_url(&database, &proxy.url_for(&database))
            .spawn();
        runs(&database, "pg_sleep");
        proxy.cut();
        let run = run.wait().expect(code);
        says(&run, "state", state);
    }
}
