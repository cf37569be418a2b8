//! The JSON document against docs/outcome.md: what occurs is documented, and what is documented occurs.

use std::collections::{BTreeMap, BTreeSet};

use harness::endpoint::Endpoint;
use harness::history::{History, Layout};
use harness::postgres::{Database, Server};
use harness::s3::S3;
use serde_json::Value;

use crate::migrate;

const DOCUMENT: &str = include_str!("../../docs/outcome.md");

/// The table's rows: the field's path, and what is said of it.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let row = |line: &'static str| line.strip_prefix("| `")?.split_once("` |");
    DOCUMENT.lines().filter_map(row).collect()
}

/// The example.
fn example() -> Value {
    let block = DOCUMENT
        .split("```json\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    serde_json::from_str(block.expect("an example in JSON")).unwrap()
}

/// The paths of all fields, `a.b[].c`; `said`: only those that hold something.
fn paths(value: &Value, said: bool) -> BTreeSet<String> {
    fn walk(at: &str, value: &Value, said: bool, paths: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if at.is_empty() {
                        name.clone()
                    } else {
                        format!("{at}.{name}")
                    };
                    let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
                    if !(said && empty) {
                        paths.insert(path.clone());
                    }
                    // A row as it stands in the database, and the names of its objects.
                    if path != "adopted[].row" && path != "schema.objects" {
                        walk(&path, value, said, paths);
                    }
                }
            }
            Value::Array(items) => items
                .iter()
                .for_each(|item| walk(&format!("{at}[]"), item, said, paths)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk("", value, said, &mut found);
    found
}

/// A migration that its script's own transaction committed, and whose run died before it closed the row.
fn interrupt(database: &Database, name: &str, script: &str) {
    database.execute(script);
    database.execute(&format!(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) VALUES \
         ('11111111-1111-4111-8111-111111111111', encode(sha256('{script}'), 'hex'), '{name}', \
         'prisma-migrate-task/1 run=22222222-2222-4222-8222-222222222222 state=partial')"
    ));
}

/// The documents of real runs, one for each result and for whatever else fills a field.
fn documents() -> Vec<Value> {
    let (s3, database) = (S3::start(), Server::shared().database());
    let mut documents = Vec::new();
    let mut keep = |run: harness::process::Run, code: i32, result: &str| {
        let document = run.expect(code).report.unwrap();
        assert_eq!(document["result"], result);
        assert_eq!(document["exit_code"], code);
        documents.push(document);
    };
    let seeded = Server::shared().database();
    let with_seed = History::new()
        .migration("1_a", "SELECT 1;")
        .raw("seed.sql", "SELECT 1;");
    keep(
        migrate()
            .deploy(with_seed.folder())
            .database(&seeded)
            .envs(Endpoint::start().ecs())
            .env("EVENT_ID", "6a7e8feb-b491-4cf7-a9f1-bf3703467718")
            .run(),
        0,
        "applied",
    );
    let enclosed = "BEGIN; CREATE TABLE d (id int); COMMIT;";
    let history = History::new()
        .migration("20240102_b", "CREATE TABLE b (id int); CREATE TABLE b2 (id int);")
        .migration("20240103_c", "CREATE INDEX CONCURRENTLY c ON b (id);")
        .migration(
            "20240104_c2",
            "CREATE TABLE c2 (id int); CREATE INDEX CONCURRENTLY c3 ON c2 (id);",
        );

    s3.put("artifacts", "prisma.zip", history.zip(Layout::Project));
    keep(
        migrate()
            .deploy("s3://artifacts/prisma.zip")
            .s3(&s3)
            .database(&database)
            .run(),
        0,
        "applied",
    );
    keep(
        migrate()
            .deploy(history.zip_file(Layout::Root))
            .database(&database)
            .run(),
        0,
        "up_to_date",
    );

    let history = history
        .migration("20240105_d", enclosed)
        .migration("20240101_late", "SELECT 1;");
    interrupt(&database, "20240105_d", enclosed);
    keep(
        migrate().deploy(history.folder()).database(&database).run(),
        0,
        "applied",
    );

    let history = history
        .migration("20240106_bad", "CREATE TABLE e (id int);\nSELECT lengt('x');")
        .migration("20240107_f", "SELECT 1;");
    keep(
        migrate()
            .verb(["status"])
            .arg(history.folder())
            .database(&database)
            .run(),
        10,
        "pending",
    );
    keep(
        migrate().deploy(history.folder()).database(&database).run(),
        20,
        "failed",
    );
    let resolve = migrate()
        .verb(["resolve", "--applied", "20240106_bad"])
        .arg(history.folder());
    keep(resolve.database(&database).run(), 0, "resolved");
    keep(
        migrate().verb(["execute", "SELECT 1"]).database(&database).run(),
        0,
        "executed",
    );
    let rows = tempfile::tempdir().unwrap();
    let select = migrate()
        .verb(["execute", "SELECT 1", "--output"])
        .arg(rows.path().join("rows.json"));
    keep(select.database(&database).run(), 0, "executed");
    keep(migrate().verb(["deploy"]).run(), 2, "failed");

    let grown = Server::shared().database();
    grown.execute("CREATE TABLE a (id int)");
    let history = History::new()
        .migration("1_a", "SELECT 1;")
        .migration("2_b", "SELECT 1;");
    let baseline = migrate().verb(["baseline", "--to", "1_a"]).arg(history.folder());
    keep(baseline.database(&grown).run(), 0, "resolved");
    let together = migrate().deploy(history.folder()).arg("--all-or-nothing");
    keep(together.database(&grown).run(), 0, "applied");

    documents.extend(statuses());
    documents.push(planned());
    documents.extend(drifts());
    grown.execute("UPDATE _prisma_migrations SET checksum = 'remote-migration'");
    grown.execute("INSERT INTO _prisma_migrations SELECT 'again', checksum, finished_at, migration_name FROM _prisma_migrations WHERE migration_name = '1_a'");
    let adopt = migrate().verb(["adopt"]).arg(history.folder()).database(&grown).run();
    documents.push(adopt.expect(24).report.unwrap());
    documents
}

/// A plan with a hazard of every class, and whatever else a plan says.
fn planned() -> Value {
    let database = Server::shared().database();
    let before =
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'); CREATE TABLE u AS SELECT 1 AS a; ANALYZE t";
    let history = History::new().migration("1_t", before);
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    let history = history
        .migration(
            "2_t",
            "ALTER TABLE t ALTER a TYPE bigint; ALTER TABLE t ALTER b SET NOT NULL; CREATE INDEX ON t (a);",
        )
        .migration(
            "3_t",
            "UPDATE t SET a = 2; ALTER TABLE t RENAME a TO c; DROP TABLE u; DO 'BEGIN END';",
        )
        .migration("4_t", "CREATE INDEX CONCURRENTLY i ON t (c);");
    let plan = migrate().verb(["plan", "--large-table", "0"]).arg(history.folder());
    plan.database(&database).run().expect(0).report.unwrap()
}

/// What a comparison says of a schema as it was, and of one in which something was added, removed and changed.
fn drifts() -> [Value; 2] {
    let database = Server::shared().database();
    let history = History::new().migration("1_a", "CREATE TABLE a (id int); CREATE TABLE b (id int);");
    let deploy = migrate().deploy(history.folder()).database(&database).run().expect(0);
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    std::fs::write(&report, deploy.report.unwrap().to_string()).unwrap();
    let drift = || {
        migrate()
            .verb(["drift", "--since"])
            .arg(&report)
            .database(&database)
            .run()
    };
    let none = drift().expect(0).report.unwrap();
    database.execute("ALTER TABLE a ALTER id TYPE bigint; DROP TABLE b; CREATE TABLE c (id int)");
    [none, drift().expect(11).report.unwrap()]
}

/// What `status` says of a migration in each state, and of a run that is under way.
fn statuses() -> [Value; 2] {
    let database = Server::shared().database();
    let on = |verb: &[&str], history: &History| migrate().verb(verb).arg(history.folder()).database(&database);
    let history = History::new()
        .migration("1_a", "CREATE TABLE a (id int);")
        .migration("2_gone", "SELECT 2;")
        .migration("3_edited", "SELECT 3;")
        .migration("6_bad", "SELECT 1/0;");
    on(&["deploy"], &history).run().expect(20);
    let history = history
        .migration("4_by_hand", "SELECT 4;")
        .migration("9_last", "SELECT 9;");
    let by_hand = ["resolve", "--applied", "4_by_hand", "--applied", "9_last"];
    on(&by_hand, &history).run().expect(0);
    let history = history
        .remove("2_gone")
        .migration("3_edited", "SELECT 33;")
        .migration("5_index", "CREATE INDEX CONCURRENTLY i ON a (id);")
        .migration("7_next", "SELECT 7;");
    let mut writer = database.client();
    writer.batch_execute("BEGIN; INSERT INTO a VALUES (1)").unwrap();
    let running = on(&["deploy"], &history).spawn();
    let builds =
        "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database() AND lockers_total > 0";
    harness::until("the index build waits", || database.scalar(builds) == "1");
    let under_way = on(&["status"], &history).run().expect(10);
    writer.batch_execute("COMMIT").unwrap();
    running.wait().expect(20);
    let enclosed = "BEGIN; CREATE TABLE eight (id int); COMMIT;";
    let history = history.migration("8_interrupted", enclosed);
    interrupt(&database, "8_interrupted", enclosed);
    std::fs::remove_file(history.migrations().join("9_last/migration.sql")).unwrap();
    database.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) VALUES ('x', '', '7_next', 'it broke'); \
         UPDATE _prisma_migrations SET checksum = 'remote-migration' WHERE migration_name = '1_a'",
    );
    let failed = on(&["status"], &history).run().expect(22);
    [under_way.report.unwrap(), failed.report.unwrap()]
}

#[test]
fn what_occurs_is_documented_and_what_is_documented_occurs() {
    let (documented, documents) = (documented(), documents());
    let known: BTreeSet<String> = documented.keys().map(|&path| path.to_owned()).collect();
    let occurring: BTreeSet<String> = documents.iter().flat_map(|document| paths(document, false)).collect();
    let said: BTreeSet<String> = documents.iter().flat_map(|document| paths(document, true)).collect();
    assert_eq!(
        occurring.difference(&known).collect::<Vec<_>>(),
        [] as [&str; 0],
        "not documented"
    );
    assert_eq!(
        known.difference(&said).collect::<Vec<_>>(),
        [] as [&str; 0],
        "documented, and in no run"
    );

    // The values of a field in all documents: the words that its row lists, no more and no fewer.
    let pointers = [
        ("verb", "/verb"),
        ("result", "/result"),
        ("artifact.kind", "/artifact/kind"),
        ("applied[].how", "/how"),
        ("migrations[].state", "/state"),
        ("migrations[].remarks", "/remarks/0"),
        ("adopted[].action", "/action"),
        ("drift[].change", "/change"),
        ("hazards[].class", "/class"),
    ];
    let listed = ["applied", "migrations", "adopted", "drift", "hazards"]
        .into_iter()
        .flat_map(|list| {
            documents
                .iter()
                .flat_map(move |document| document[list].as_array().unwrap())
        });
    let values: Vec<&Value> = documents.iter().chain(listed).collect();
    for (path, pointer) in pointers {
        let found = values.iter().filter_map(|value| value.pointer(pointer)?.as_str());
        let listed = documented[path].split('`').skip(1).step_by(2);
        assert_eq!(found.collect::<BTreeSet<_>>(), listed.collect(), "{path}");
    }
}

#[test]
fn every_document_has_the_same_fields_at_the_top_in_the_order_of_the_table() {
    let table: Vec<&str> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(path, _)| path)
        .collect();
    let top: Vec<&str> = table.into_iter().filter(|path| !path.contains('.')).collect();
    for document in documents().iter().chain([&example()]) {
        let fields: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, top);
        assert_eq!(document["version"], 1);
    }
}

#[test]
fn the_example_is_as_the_table_says() {
    let example = example();
    let known: BTreeSet<String> = documented().keys().map(|&path| path.to_owned()).collect();
    assert!(paths(&example, false).is_subset(&known));
    assert!(
        paths(&example, true).contains("failure.place.excerpt"),
        "the example shows a failure"
    );
}

/// What a person reads, with the address and the times taken out, which vary.
fn page(words: &[&str], history: &History, database: &Database, code: i32) -> String {
    let call = migrate()
        .verb(words)
        .arg(history.folder())
        .arg("--log-format=text")
        .database(database);
    let page = call.run().expect(code).stdout.replace(
        &format!("{}:{}/{}", database.host(), database.port(), database.name()),
        "DATABASE",
    );
    let page = page.replace(&history.folder().display().to_string(), "SOURCE");
    let is_time = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    let line = |line: &str| {
        line.split(' ')
            .map(|word| if is_time(word) { "TIME" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    };
    page.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_page_for_people() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("20240101_users", "CREATE TABLE users (id int);")
        .migration("20240102_users_index", "CREATE INDEX CONCURRENTLY i ON users (id);");
    assert_eq!(
        page(&["status"], &history, &database, 10),
        "\
2 migrations pending  DATABASE (schema public), 2 migrations in the artifact, TIME s

  pending  20240101_users
  pending  20240102_users_index

warning: there is no migrations table yet: Prisma does not manage this database, and deploy creates the table

next:  prisma-migrate-task deploy SOURCE"
    );
    assert_eq!(
        page(&["deploy"], &history, &database, 0),
        "\
2 migrations applied  DATABASE (schema public), 2 migrations in the artifact, TIME s

  applied  20240101_users          TIME s
  applied  20240102_users_index    TIME s  by itself, outside a transaction"
    );
    assert_eq!(
        page(&["deploy"], &history, &database, 0),
        "up to date  DATABASE (schema public), 2 migrations in the artifact, TIME s"
    );
    let history = history
        .migration("20240103_names", "ALTER TABLE users ADD name text;")
        .migration("20240104_bad", "SELECT 1;\nSELECT\n  nme FROM users;\n")
        .migration("20240105_last", "SELECT 1;");
    assert_eq!(
        page(&["deploy"], &history, &database, 20),
        "\
deploy failed  DATABASE (schema public), 5 migrations in the artifact, TIME s

  applied  20240103_names    TIME s
  failed   20240104_bad
  pending  20240105_last

error: migration 20240104_bad: column \"nme\" does not exist [P3018, SQLSTATE 42703]
 --> 20240104_bad/migration.sql:3:3
  |
3 |   nme FROM users;
  |   ^^^
HINT: Perhaps you meant to reference the column \"users.name\".

database:   everything of this migration was rolled back: the database is as it was before it
next:       fix the SQL and deploy again; there is nothing to resolve
exit code:  20"
    );
    assert_eq!(
        page(&["resolve", "--applied", "20240104_bad"], &history, &database, 0),
        "\
resolved  DATABASE (schema public), 5 migrations in the artifact, TIME s

20240104_bad is recorded as applied; it was not run

warning: migration 20240104_bad: 2 statements were not looked at, because the catalogue cannot show what they did (lines 1, 2)"
    );
}
