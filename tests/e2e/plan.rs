//! `plan`, and the hazards that `deploy` says and refuses: against tables that are really filled, with the size that counts as large lowered to fit.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::tool::Call;
use serde_json::Value;

use crate::cases::{failure, ledger, names, tables, warnings};

/// A table of some 600 kB and one of a page, as a deploy left them.
const BEFORE: &str = "CREATE TABLE \"Order\" (id int PRIMARY KEY, note varchar(200), paid boolean); \
     INSERT INTO \"Order\" SELECT n, repeat('x', 100), true FROM generate_series(1, 4000) n; \
     CREATE TABLE small (id int PRIMARY KEY, note text); INSERT INTO small VALUES (1, 'a'); \
     CREATE TABLE bare (id int); ANALYZE \"Order\"; ANALYZE small;";

fn before() -> History {
    History::new().migration("20240101_before", BEFORE)
}

fn database() -> Database {
    let database = Server::shared().database();
    let history = before();
    let deploy = crate::migrate().deploy(history.folder()).database(&database);
    deploy.run().expect(0);
    database
}

/// `plan` with 100 kB as large.
fn plan(history: &History, database: &Database) -> Call {
    let plan = crate::migrate().verb(["plan", "--large-table", "100kB"]);
    plan.arg(history.folder()).database(database)
}

fn deploy(history: &History, database: &Database) -> Call {
    let deploy = crate::migrate().verb(["deploy", "--large-table", "100kB"]);
    deploy.arg(history.folder()).database(database)
}

/// `class file:line relation`, one for each hazard.
fn hazards(run: &Run) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let hazard = |hazard: &Value| {
        let place = hazard["file"].as_str().unwrap().replace("/migration.sql", "");
        format!(
            "{} {place}:{} {}",
            text(&hazard["class"]),
            hazard["line"],
            text(&hazard["relation"])
        )
    };
    let hazards = run.report.as_ref().unwrap()["hazards"].as_array().unwrap();
    hazards.iter().map(hazard).collect()
}

/// The hazards of one script, as `class relation`.
fn classes(script: &str, database: &Database) -> Vec<String> {
    let history = before().migration("2_it", script);
    let run = plan(&history, database).run().expect(0);
    hazards(&run)
        .iter()
        .map(|hazard| {
            let (class, rest) = hazard.split_once(' ').unwrap();
            format!("{class} {}", rest.split_once(' ').unwrap().1)
        })
        .collect()
}

#[test]
fn nothing_is_written_and_the_lock_is_not_taken() {
    let database = database();
    let history = before().migration("20240102_more", "CREATE TABLE more (id int);");
    let holder = crate::cases::lock_holder(&database);
    let rows = database.ledger().len();
    let run = plan(&history, &database).run().expect(0);
    assert_eq!(names(&run, "pending"), ["20240102_more"]);
    assert_eq!(run.report.as_ref().unwrap()["result"], "planned");
    assert!(warnings(&run).contains("the migration lock is held by"), "{run}");
    assert_eq!(database.ledger().len(), rows);
    assert!(!tables(&database).contains(&"more".to_owned()));
    drop(holder);
    plan(&history, &database).arg("--check").run().expect(10);
    deploy(&history, &database).run().expect(0);
    let run = plan(&history, &database).arg("--check").run().expect(0);
    assert_eq!(run.report.unwrap()["result"], "up_to_date");
}

#[test]
fn a_missing_database_and_a_missing_table_are_said_and_not_made() {
    let database = Server::shared().database();
    let history = before();
    let run = plan(&history, &database).run().expect(0);
    assert!(warnings(&run).contains("there is no migrations table yet"), "{run}");
    assert!(!database.has_ledger());

    let missing = format!("{}_missing", database.name());
    let url = database.url().replace(database.name(), &missing);
    let call = crate::migrate().verb(["plan"]).arg(history.folder());
    let run = call.database_url(&database, &url).run().expect(0);
    assert!(warnings(&run).contains("does not exist: deploy creates it"), "{run}");
    assert_eq!(names(&run, "pending"), ["20240101_before"]);
    assert_eq!(hazards(&run), [] as [&str; 0]);
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{missing}'");
    assert_eq!(database.scalar(&count), "0");
}

#[test]
fn what_blocks_a_deploy_blocks_its_plan() {
    let database = Server::shared().database();
    database.execute("CREATE TABLE mine (id int)");
    let history = before();
    let run = plan(&history, &database).run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3005");

    let database = self::database();
    database.execute("INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('x', '', '20240102_more')");
    let history = before().migration("20240102_more", "CREATE TABLE more (id int);");
    let run = plan(&history, &database).run().expect(22);
    assert_eq!(failure(&run)["prisma_code"], "P3009");
    database.execute(
        "UPDATE _prisma_migrations SET logs = 'prisma-migrate-task/1 run=22222222-2222-4222-8222-222222222222 state=partial' WHERE id = 'x'",
    );
    plan(&history, &database).run().expect(21);
    let late = before().migration("20230101_late", "SELECT 1;");
    database.execute("DELETE FROM _prisma_migrations WHERE id = 'x'");
    let run = plan(&late, &database).run().expect(0);
    assert!(warnings(&run).contains("20230101_late is late"), "{run}");
    plan(&late, &database).arg("--strict").run().expect(23);
}

#[test]
fn the_example_is_without_hazards_on_an_empty_database() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let database = Server::shared().database();
    let call = crate::migrate().verb(["plan", "--large-table", "0"]).arg(&folder);
    let run = call.database(&database).run().expect(0);
    assert_eq!(names(&run, "pending").len(), 10);
    assert_eq!(hazards(&run), [] as [&str; 0]);
    let how: Vec<&str> = run.report.as_ref().unwrap()["plan"]
        .as_array()
        .unwrap()
        .iter()
        .map(|migration| migration["how"].as_str().unwrap())
        .collect();
    assert_eq!(how.iter().filter(|how| **how == "alone").count(), 1);
}

#[test]
fn each_class_on_a_large_table() {
    let database = database();
    let order = |class: &str| vec![format!("{class} \"Order\"")];
    let cases = [
        ("ALTER TABLE \"Order\" ALTER id TYPE bigint;", order("table-rewrite")),
        (
            "ALTER TABLE \"public\".\"Order\" ADD COLUMN key uuid NOT NULL DEFAULT gen_random_uuid();",
            order("table-rewrite"),
        ),
        ("ALTER TABLE \"Order\" ADD COLUMN n serial;", order("table-rewrite")),
        ("VACUUM FULL \"Order\";", order("table-rewrite")),
        ("ALTER TABLE \"Order\" ALTER note SET NOT NULL;", order("table-scan")),
        ("ALTER TABLE \"Order\" ADD CHECK (id > 0);", order("table-scan")),
        (
            "ALTER TABLE \"Order\" ADD FOREIGN KEY (id) REFERENCES small;",
            order("table-scan"),
        ),
        ("CREATE INDEX ON \"Order\" (note);", order("index-build")),
        ("ALTER TABLE \"Order\" ADD UNIQUE (note);", order("index-build")),
        ("UPDATE \"Order\" SET paid = false;", order("data-change")),
        ("DELETE FROM \"Order\" WHERE paid;", order("data-change")),
        ("DROP TABLE \"Order\";", order("drop")),
        ("ALTER TABLE \"Order\" DROP COLUMN note;", order("drop")),
        ("TRUNCATE \"Order\";", order("drop")),
        ("ALTER TABLE \"Order\" RENAME TO orders;", order("rename")),
        ("ALTER TABLE \"Order\" RENAME note TO remark;", order("rename")),
        // What costs nothing, or only a moment.
        (
            "ALTER TABLE \"Order\" ADD COLUMN a int NOT NULL DEFAULT 5, ADD COLUMN b timestamptz DEFAULT now();",
            vec![],
        ),
        ("ALTER TABLE \"Order\" ALTER note TYPE text;", vec![]),
        ("ALTER TABLE \"Order\" ALTER id SET NOT NULL;", vec![]),
        (
            "ALTER TABLE \"Order\" ADD CONSTRAINT c CHECK (id > 0) NOT VALID;",
            vec![],
        ),
        ("CREATE INDEX CONCURRENTLY ON \"Order\" (note);", vec![]),
        ("UPDATE \"Order\" SET paid = false WHERE id = 5;", vec![]),
        ("ALTER TABLE small ADD FOREIGN KEY (id) REFERENCES \"Order\";", vec![]),
        // Small, empty or new.
        (
            "ALTER TABLE small ALTER id TYPE bigint; CREATE INDEX ON small (note); UPDATE small SET note = 'b';",
            vec![],
        ),
        (
            "DROP TABLE bare; ALTER TABLE small ADD COLUMN x int; ALTER TABLE small DROP COLUMN x;",
            vec![],
        ),
        (
            "CREATE TABLE a (id int); ALTER TABLE a RENAME TO b; CREATE INDEX ON b (id); DROP TABLE b;",
            vec![],
        ),
    ];
    for (script, expected) in cases {
        assert_eq!(classes(script, &database), expected, "{script}");
    }
}

#[test]
fn a_check_that_is_valid_lets_set_not_null_pass() {
    let database = database();
    let order = ["table-scan \"Order\""];
    let add = "ALTER TABLE \"Order\" ADD CONSTRAINT c CHECK (note IS NOT NULL) NOT VALID;";
    let validate = "ALTER TABLE \"Order\" VALIDATE CONSTRAINT c;";
    let set = "ALTER TABLE \"Order\" ALTER note SET NOT NULL;";
    // In one transaction the scan is under the lock that ADD CONSTRAINT took.
    assert_eq!(classes(&format!("{add} {validate}"), &database), order);
    let history = before()
        .migration("2_add", add)
        .migration("3_validate", validate)
        .migration("4_set", set);
    assert_eq!(hazards(&plan(&history, &database).run().expect(0)), [] as [&str; 0]);
    database.execute(add);
    assert_eq!(classes(set, &database), order);
    assert_eq!(classes(validate, &database), [] as [&str; 0]);
    database.execute(validate);
    assert_eq!(classes(set, &database), [] as [&str; 0]);
    database.execute(set);
    assert_eq!(classes(set, &database), [] as [&str; 0]);
}

#[test]
fn what_is_refused_is_refused_before_anything_is_written() {
    let database = database();
    let history = before()
        .migration("20240102_fine", "CREATE TABLE fine (id int);")
        .migration(
            "20240103_index",
            "-- CreateIndex\nCREATE INDEX i ON \"Order\" (note);\nALTER TABLE \"Order\" RENAME note TO remark;",
        );
    let before = database.dump();
    for call in [plan(&history, &database), deploy(&history, &database)] {
        let run = call.arg("--fail-on=index-build,drop").run().expect(24);
        let failure = failure(&run);
        assert_eq!(failure["migration"], "20240103_index");
        let what = failure["what"].as_str().unwrap();
        assert!(
            what.starts_with("20240103_index/migration.sql:2: index-build: builds an index on \"Order\" ("),
            "{what}"
        );
        assert!(
            failure["next"].as_str().unwrap().contains("CREATE INDEX CONCURRENTLY"),
            "{run}"
        );
        assert_eq!(
            hazards(&run),
            [
                "index-build 20240103_index:2 \"Order\"",
                "rename 20240103_index:3 \"Order\""
            ]
        );
        let refused = &run.report.as_ref().unwrap()["hazards"];
        assert_eq!(
            (&refused[0]["refused"], &refused[1]["refused"]),
            (&true.into(), &false.into())
        );
        assert_eq!(database.dump(), before);
    }
    assert_eq!(ledger(&database), ["20240101_before applied"]);

    // The variable, and nothing that is refused: said as it starts, and done.
    let run = deploy(&history, &database)
        .env("FAIL_ON", "table-rewrite")
        .run()
        .expect(0);
    assert!(
        run.stderr.contains("20240103_index/migration.sql:2: index-build"),
        "{run}"
    );
    assert_eq!(hazards(&run).len(), 2);
    assert_eq!(ledger(&database).len(), 3);
}

#[test]
fn a_first_deploy_that_is_refused_leaves_no_ledger() {
    let database = Server::shared().database();
    database.execute("CREATE SCHEMA old; CREATE TABLE old.t AS SELECT 1 AS id");
    let history = History::new().migration("1_drop", "DROP TABLE old.t;");
    deploy(&history, &database).arg("--fail-on=drop").run().expect(24);
    assert!(!database.has_ledger());
}

#[test]
fn a_statement_s_locks_come_with_the_table_s_size() {
    let database = database();
    let history = before().migration(
        "2_it",
        "ALTER ROLE CURRENT_USER PASSWORD 'secret';\nALTER TABLE \"Order\" ADD COLUMN x int;\n\
         INSERT INTO small VALUES (2, 'b');\nINSERT INTO small VALUES (3, 'c');\nDO $$ BEGIN END $$;",
    );
    let run = plan(&history, &database).run().expect(0);
    let migration = &run.report.as_ref().unwrap()["plan"][0];
    assert_eq!((&migration["how"], &migration["why"]), (&"atomic".into(), &Value::Null));
    let statements = migration["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 4);
    assert_eq!(statements[0]["sql"], "ALTER ROLE CURRENT_USER PASSWORD ********");
    let lock = &statements[1]["locks"][0];
    assert_eq!(
        (&lock["mode"], &lock["relation"]),
        (&"ACCESS EXCLUSIVE".into(), &"\"Order\"".into())
    );
    assert_eq!((&lock["rows"], &lock["new"]), (&4000.into(), &false.into()));
    let bytes = database.scalar("SELECT pg_table_size('\"Order\"')");
    assert_eq!(lock["bytes"].to_string(), bytes);
    assert_eq!(
        (&statements[2]["line"], &statements[2]["count"]),
        (&3.into(), &2.into())
    );
    assert!(statements[3]["note"].as_str().unwrap().contains("cannot be seen into"));
}

#[test]
fn a_table_that_is_locked_is_not_waited_for() {
    let database = database();
    let mut holder = database.client();
    holder.batch_execute("BEGIN; LOCK TABLE \"Order\"").unwrap();
    let history = before().migration("2_it", "ALTER TABLE \"Order\" ALTER id TYPE bigint;");
    let run = plan(&history, &database).run().expect(0);
    assert_eq!(hazards(&run), ["table-rewrite 2_it:1 \"Order\""]);
    assert!(
        warnings(&run).contains("sizes are those of the last VACUUM or ANALYZE"),
        "{run}"
    );
}

#[test]
fn partitions_count_together() {
    let database = database();
    database.execute(
        "CREATE TABLE p (id int, note text) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); \
         CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); \
         INSERT INTO p SELECT 1 + n % 2, repeat('x', 100) FROM generate_series(1, 2000) n; ANALYZE p1; ANALYZE p2",
    );
    let history = before().migration("2_it", "CREATE INDEX ON p (note);");
    let run = plan(&history, &database).run().expect(0);
    let hazard = &run.report.as_ref().unwrap()["hazards"][0];
    assert_eq!(
        (&hazard["class"], &hazard["rows"]),
        (&"index-build".into(), &2000.into())
    );
    assert!(hazard["what"].as_str().unwrap().contains("2 partitions"), "{run}");
    assert!(hazard["recipe"].as_str().unwrap().contains("ON ONLY"), "{run}");
}

#[test]
fn the_page_for_people() {
    let database = database();
    let history = before()
        .migration(
            "20240102_bigger_ids",
            "-- AlterTable\nALTER TABLE \"Order\" ALTER COLUMN \"id\" SET DATA TYPE BIGINT,\n  ADD COLUMN \"total\" DECIMAL(10,2);\n\n\
             CREATE TABLE \"Line\" (\n  id int PRIMARY KEY\n);\nALTER TABLE small ADD COLUMN at date NOT NULL;\n",
        )
        .migration("20240103_index", "CREATE INDEX CONCURRENTLY i ON \"Order\" (note);");
    let run = plan(&history, &database).arg("--log-format=text").run().expect(0);
    let size = run.report.as_ref().unwrap()["hazards"][0]["bytes"].as_u64().unwrap();
    let size = prisma_migrate_task::hazard::size::bytes(size);
    let (_, page) = run.stdout.split_once('\n').unwrap();
    assert!(
        run.stdout
            .starts_with("2 migrations pending, 1 hazard: 1 table-rewrite  127.0.0.1:"),
        "{run}"
    );
    let expected = format!(
        "
20240102_bigger_ids/migration.sql  in one transaction
      :2  ALTER TABLE \"Order\" ALTER COLUMN \"id\" SET DATA TYPE BIGINT, ADD COLUMN \"total\" DECIMAL(10,2)
          ACCESS EXCLUSIVE on \"Order\", {size}, ~4000 rows
          table-rewrite: writes \"Order\" ({size}, ~4000 rows) anew, since id changes from integer to BIGINT, under ACCESS EXCLUSIVE: \
nobody can read or write it meanwhile
          instead: add a column of the new type, keep it in step by a trigger, fill it in batches, then swap the two
      :8  ALTER TABLE small ADD COLUMN at date NOT NULL
          ACCESS EXCLUSIVE on small, 16 kB, ~1 row
          note: fails unless small has no rows: at is NOT NULL and has no default
          and 1 statement that locks nothing that is there now

20240103_index/migration.sql  by itself, outside a transaction: CREATE INDEX CONCURRENTLY cannot run in a transaction
      :1  CREATE INDEX CONCURRENTLY i ON \"Order\" (note)
          SHARE UPDATE EXCLUSIVE on \"Order\", {size}, ~4000 rows

next:  prisma-migrate-task deploy {}
",
        history.folder().display()
    );
    assert_eq!(page, expected);
}

/// A database of its own with what is renamed and dropped here.
fn named() -> Database {
    let database = database();
    database.execute(
        "CREATE TYPE kind AS ENUM ('a', 'b'); CREATE TYPE pair AS (x int, y int); CREATE DOMAIN amount AS numeric; \
         CREATE TABLE item (id int PRIMARY KEY, kind kind, kinds kind[], price amount, pair pair); \
         INSERT INTO item VALUES (1, 'a', '{b}', 2, NULL); CREATE TABLE empty_item (kind kind); \
         CREATE VIEW cheap AS SELECT id FROM item; CREATE MATERIALIZED VIEW sums AS SELECT id FROM item; \
         CREATE TABLE parts (id int) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF parts DEFAULT; \
         CREATE SCHEMA shop; CREATE TABLE shop.old AS SELECT 1 AS id; CREATE SCHEMA bare_schema; CREATE TABLE bare_schema.t (id int)",
    );
    database
}

#[test]
fn what_the_application_knows_by_name_is_a_hazard() {
    let database = named();
    let cases: &[(&str, &[&str])] = &[
        ("ALTER TABLE item SET SCHEMA shop;", &["rename item"]),
        ("ALTER VIEW cheap SET SCHEMA shop;", &["rename cheap"]),
        ("ALTER VIEW cheap RENAME TO cheaper;", &["rename cheap"]),
        ("ALTER VIEW cheap RENAME id TO identity;", &["rename cheap"]),
        ("ALTER MATERIALIZED VIEW sums RENAME TO totals;", &["rename sums"]),
        ("ALTER MATERIALIZED VIEW sums SET SCHEMA shop;", &["rename sums"]),
        ("ALTER MATERIALIZED VIEW sums RENAME COLUMN id TO n;", &["rename sums"]),
        ("ALTER TYPE kind RENAME TO sort;", &["rename kind"]),
        ("ALTER TYPE kind SET SCHEMA shop;", &["rename kind"]),
        ("ALTER TYPE kind RENAME VALUE 'a' TO 'c';", &["rename kind"]),
        ("ALTER TYPE pair RENAME ATTRIBUTE x TO z;", &["rename pair"]),
        ("ALTER DOMAIN amount RENAME TO price;", &["rename amount"]),
        ("ALTER SCHEMA shop RENAME TO store;", &["rename shop"]),
        ("DROP VIEW cheap;", &["drop cheap"]),
        ("DROP VIEW IF EXISTS public.cheap CASCADE;", &["drop cheap"]),
        ("DROP MATERIALIZED VIEW sums;", &["drop sums"]),
        ("DROP TYPE kind CASCADE;", &["drop item"]),
        ("DROP DOMAIN amount CASCADE;", &["drop item"]),
        ("DROP SCHEMA shop CASCADE;", &["drop shop"]),
        // The new name is the old one again when the transaction ends, or nobody knew it.
        (
            "CREATE TYPE kind_new AS ENUM ('a', 'b', 'c'); ALTER TABLE empty_item ALTER kind TYPE kind_new USING kind::text::kind_new; \
             ALTER TYPE kind RENAME TO kind_old; ALTER TYPE kind_new RENAME TO kind;",
            &[],
        ),
        ("DROP VIEW cheap; CREATE VIEW cheap AS SELECT id, kind FROM item;", &[]),
        (
            "ALTER VIEW cheap RENAME TO cheap_1; CREATE VIEW cheap AS SELECT id FROM item;",
            &[],
        ),
        (
            "CREATE TYPE n AS ENUM ('x'); ALTER TYPE n RENAME TO m; ALTER TYPE m RENAME VALUE 'x' TO 'y'; DROP TYPE m CASCADE;",
            &[],
        ),
        ("CREATE VIEW n AS SELECT 1; ALTER VIEW n RENAME TO m; DROP VIEW m;", &[]),
        ("ALTER TYPE kind ADD VALUE 'c';", &[]),
        (
            "ALTER TABLE item RENAME CONSTRAINT item_pkey TO item_key; ALTER INDEX item_key RENAME TO item_pkey;",
            &[],
        ),
        (
            "ALTER TABLE item RENAME TO items; ALTER TABLE items SET SCHEMA shop;",
            &["rename item"],
        ),
        (
            "ALTER SCHEMA shop RENAME TO store; DROP SCHEMA store CASCADE;",
            &["rename shop", "drop store"],
        ),
        ("DROP SCHEMA bare_schema CASCADE;", &[]),
        ("DROP VIEW IF EXISTS nothing; DROP TYPE IF EXISTS nothing CASCADE;", &[]),
        ("ALTER TABLE empty_item DROP COLUMN kind; DROP TABLE empty_item;", &[]),
    ];
    for (script, expected) in cases {
        assert_eq!(classes(script, &database), *expected, "{script}");
    }
}

#[test]
fn a_hazard_belongs_to_its_statement() {
    let database = database();
    let script = "ALTER TABLE \"Order\" RENAME note TO remark; ALTER TABLE \"Order\" DROP paid;\nSELECT 1;";
    let history = before().migration("2_it", script);
    let run = plan(&history, &database).arg("--log-format=text").run().expect(0);
    let hazards = run.report.as_ref().unwrap()["hazards"].clone();
    let place = |at: usize| (hazards[at]["line"].clone(), hazards[at]["statement"].clone());
    assert_eq!((place(0), place(1)), ((1.into(), 0.into()), (1.into(), 1.into())));
    let drop = run.stdout.split_once("DROP paid").unwrap();
    assert!(
        drop.0.contains("rename: note of") && !drop.0.contains("drop: drops"),
        "{run}"
    );
    assert!(
        drop.1.contains("drop: drops the column paid") && !drop.1.contains("rename:"),
        "{run}"
    );
}

#[test]
fn the_time_zone_is_the_session_s() {
    let database = database();
    database.execute("CREATE TABLE at AS SELECT now()::timestamp AS t, repeat('x', 100) FROM generate_series(1, 2000)");
    let script = "ALTER TABLE at ALTER t TYPE timestamptz;";
    for (zone, expected) in [
        ("Europe/Berlin", vec!["table-rewrite at".to_owned()]),
        ("UTC", Vec::new()),
    ] {
        database.execute(&format!("ALTER DATABASE {} SET TimeZone = '{zone}'", database.name()));
        assert_eq!(classes(script, &database), expected, "{zone}");
    }
    database.execute("ALTER ROLE CURRENT_USER SET TimeZone = 'Asia/Tokyo'");
    assert_eq!(classes(script, &database), ["table-rewrite at"]);
    let other = before()
        .migration("2_it", "SET TIME ZONE 'UTC';")
        .migration("3_it", script);
    let run = plan(&other, &database).run().expect(0);
    assert_eq!(
        hazards(&run),
        ["table-rewrite 3_it:1 at"],
        "a migration's settings end with it"
    );
}

#[test]
fn an_index_that_is_there_is_not_refused() {
    let database = database();
    database.execute("CREATE INDEX \"Order_note_idx\" ON \"Order\" (note)");
    let script = "CREATE INDEX IF NOT EXISTS \"Order_note_idx\" ON \"Order\" (note);";
    let history = before().migration("2_it", script);
    plan(&history, &database).arg("--fail-on=index-build").run().expect(0);
}

/// The warnings of a plan about what does not exist.
fn missing(scripts: &[&str], database: &Database) -> Vec<String> {
    let mut history = before();
    for (at, script) in scripts.iter().enumerate() {
        history = history.migration(&format!("2024020{at}_it"), script);
    }
    let run = plan(&history, database).run().expect(0);
    let warnings = run.report.as_ref().unwrap()["warnings"].as_array().unwrap().clone();
    let warnings = warnings
        .iter()
        .filter_map(|warning| warning.as_str()?.split_once("migration.sql:"));
    warnings
        .filter(|(_, what)| what.ends_with("does not exist, and no pending migration makes it"))
        .map(|(_, what)| what.replace(" does not exist, and no pending migration makes it", ""))
        .collect()
}

#[test]
fn what_does_not_exist_is_said() {
    let database = named();
    let cases: &[(&[&str], &[&str])] = &[
        (&["UPDATE \"Orders\" SET paid = true;"], &["1: \"Orders\""]),
        (
            &["SELECT 1;\nDELETE FROM public.orders WHERE id = 1;"],
            &["2: public.orders"],
        ),
        (&["INSERT INTO \"Orders\" (id) VALUES (1);"], &["1: \"Orders\""]),
        (
            &["INSERT INTO small (id) SELECT id FROM \"Orders\";"],
            &["1: \"Orders\""],
        ),
        (&["ALTER TABLE \"Orders\" ADD COLUMN x int;"], &["1: \"Orders\""]),
        (&["CREATE INDEX ON \"Orders\" (id);"], &["1: \"Orders\""]),
        (&["CREATE TABLE n (id int REFERENCES \"Orders\");"], &["1: \"Orders\""]),
        (
            &["ALTER TABLE small ADD FOREIGN KEY (id) REFERENCES \"Orders\" (id);"],
            &["1: \"Orders\""],
        ),
        (&["DROP TABLE \"Orders\";"], &["1: \"Orders\""]),
        (&["TRUNCATE \"Orders\";"], &["1: \"Orders\""]),
        (&["CREATE VIEW n AS SELECT * FROM \"Orders\";"], &["1: \"Orders\""]),
        (
            &["UPDATE small SET note = 'x' FROM shop.orders o WHERE o.id = small.id;"],
            &["1: shop.orders"],
        ),
        (
            &["UPDATE \"Order\" SET payed = true;"],
            &["1: the column payed of \"Order\""],
        ),
        (
            &["UPDATE \"Order\" SET paid = true WHERE \"Id\" = 4;"],
            &["1: the column \"Id\" of \"Order\""],
        ),
        (
            &["ALTER TABLE \"Order\" DROP COLUMN payed;"],
            &["1: the column payed of \"Order\""],
        ),
        (
            &["ALTER TABLE \"Order\" ALTER COLUMN payed SET NOT NULL;"],
            &["1: the column payed of \"Order\""],
        ),
        (
            &["ALTER TABLE \"Order\" RENAME payed TO x;"],
            &["1: the column payed of \"Order\""],
        ),
        (
            &["CREATE INDEX ON \"Order\" (paid, payed);"],
            &["1: the column payed of \"Order\""],
        ),
        (
            &["INSERT INTO small (id, text) VALUES (1, 'a');"],
            &["1: the column text of small"],
        ),
        (
            &["CREATE TABLE n (id int); UPDATE n SET x = 1;"],
            &["1: the column x of n"],
        ),
        // What pending migrations do counts.
        (&["DROP TABLE bare; UPDATE bare SET id = 1;"], &["1: bare"]),
        (
            &[
                "ALTER TABLE bare RENAME TO b;",
                "UPDATE bare SET id = 1; UPDATE b SET id = 1;",
            ],
            &["1: bare"],
        ),
        (
            &[
                "ALTER TABLE bare RENAME id TO n;",
                "UPDATE bare SET n = 1; UPDATE bare SET id = 1;",
            ],
            &["1: the column id of bare"],
        ),
        (
            &[
                "CREATE TABLE \"Orders\" (id int);",
                "UPDATE \"Orders\" SET id = 1; ALTER TABLE \"Orders\" ADD x int; CREATE INDEX ON \"Orders\" (x);",
            ],
            &[],
        ),
        (
            &["CREATE OR REPLACE VIEW cheap AS SELECT id, kind FROM item; UPDATE cheap SET kind = 'a';"],
            &[],
        ),
        (
            &["ALTER TABLE parts ADD n int; UPDATE part SET n = 1; UPDATE part SET m = 1;"],
            &["1: the column m of part"],
        ),
        (
            &["CREATE TABLE shop.n AS SELECT 1 AS id; UPDATE shop.n SET id = 2, x = 3;"],
            &[],
        ),
        (
            &["CREATE TEMP TABLE t (id int); INSERT INTO t VALUES (1); UPDATE t SET id = 2;"],
            &[],
        ),
        (
            &["CREATE TEMP TABLE t (id int);", "INSERT INTO t VALUES (1);"],
            &["1: t"],
        ),
        (&["SELECT 1 AS id INTO n; DELETE FROM n;"], &[]),
        (&["ALTER TABLE bare SET SCHEMA shop; UPDATE shop.bare SET id = 1;"], &[]),
        (
            &["ALTER SCHEMA shop RENAME TO store; UPDATE store.old SET id = 1;"],
            &[],
        ),
        (
            &["CREATE TABLE a (id int, b_id int); ALTER TABLE a ADD COLUMN c int, ADD CONSTRAINT u UNIQUE (c);"],
            &[],
        ),
        // Nothing that is guarded, read by another name, or not to be known.
        (
            &[
                "ALTER TABLE IF EXISTS \"Orders\" ADD x int; DROP TABLE IF EXISTS \"Orders\"; ALTER TABLE \"Order\" DROP COLUMN IF EXISTS payed;",
            ],
            &[],
        ),
        (
            &["WITH orders AS (SELECT 1 AS id) UPDATE small SET note = 'x' FROM orders WHERE orders.id = small.id;"],
            &[],
        ),
        (
            &["UPDATE small s SET note = 'x' WHERE s.id = 1 AND s.note IS NULL AND ctid IS NOT NULL;"],
            &[],
        ),
        (
            &["DO $$ BEGIN EXECUTE 'CREATE TABLE orders (id int)'; END $$; UPDATE orders SET id = 1;"],
            &[],
        ),
        (&["SELECT make_tables();", "UPDATE orders SET id = 1;"], &[]),
        (
            &["CREATE EXTENSION IF NOT EXISTS citext; UPDATE orders SET id = 1;"],
            &["1: orders"],
        ),
        (&["CREATE EXTENSION postgis; UPDATE spatial_ref_sys SET srid = 1;"], &[]),
        (
            &["SET search_path TO shop; UPDATE old SET id = 1; UPDATE other SET id = 1;"],
            &[],
        ),
        (
            &[
                "SELECT relname FROM pg_class; SELECT * FROM information_schema.tables; SELECT * FROM generate_series(1, 2) g;",
            ],
            &[],
        ),
        (&["DELETE FROM small WHERE note = current_user OR small IS NULL;"], &[]),
    ];
    for (scripts, expected) in cases {
        assert_eq!(missing(scripts, &database), *expected, "{scripts:?}");
    }
}

/// Why `--all-or-nothing` refuses these migrations, or none; `deploy` then says the same and writes nothing, or applies them.
fn refused(scripts: &[&str], version: u32) -> Option<String> {
    let database = Server::version(version).database();
    let mut history = History::new().migration(
        "1_before",
        "CREATE TYPE kind AS ENUM ('a', 'b'); CREATE DOMAIN sort AS kind; \
         CREATE TABLE t (id int, kind kind, kinds kind[], note text, s sort); INSERT INTO t VALUES (1, 'a', '{b}', 'x', 'a');",
    );
    crate::migrate()
        .deploy(history.folder())
        .database(&database)
        .run()
        .expect(0);
    for (at, script) in scripts.iter().enumerate() {
        history = history.migration(&format!("2024020{at}_it"), script);
    }
    let rows = database.ledger().len();
    let call = |verb: &str| {
        crate::migrate()
            .verb([verb, "--all-or-nothing"])
            .arg(history.folder())
            .database(&database)
            .run()
    };
    let planned = call("plan");
    let deployed = call("deploy");
    assert_eq!(planned.code, deployed.code, "{scripts:?} {planned} {deployed}");
    if planned.code == 0 {
        return None;
    }
    assert_eq!(planned.code, 24, "{planned}");
    assert_eq!(failure(&planned), failure(&deployed));
    assert!(!deployed.stderr.contains("applying"), "{deployed}");
    assert_eq!(database.ledger().len(), rows);
    Some(failure(&planned)["details"][0].as_str().unwrap().to_owned())
}

#[test]
fn values_of_enums_that_share_a_transaction_with_their_use_are_refused_beforehand() {
    let add = "ALTER TYPE kind ADD VALUE 'c';";
    let uses = [
        "UPDATE t SET kind = 'c';",
        "SELECT * FROM t x WHERE x.kind IN ('a', 'c');",
        "ALTER TABLE t ALTER kind SET DEFAULT 'c';",
        "ALTER TABLE t ADD more kind NOT NULL DEFAULT 'c';",
        "CREATE TABLE n (kind kind DEFAULT 'c');",
        "INSERT INTO t (id, kind) VALUES (2, 'a'), (3, 'c');",
        "INSERT INTO t VALUES (1, 'c');",
        "INSERT INTO t (id, kind) SELECT 1, 'c';",
        "UPDATE t SET kinds = '{a,c}';",
        "UPDATE t SET kinds = ARRAY['c']::kind[];",
        "CREATE INDEX ON t (id) WHERE kind = 'c';",
        "ALTER TABLE t ADD CHECK (kind <> 'c');",
        "SELECT CAST('c' AS public.kind);",
        "UPDATE t SET kind = CASE WHEN id = 1 THEN 'c' ELSE kind END;",
        "UPDATE t SET s = 'c';",
        "ALTER TABLE t ALTER note TYPE kind USING 'c';",
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM t WHERE kind = 'c' $$;",
    ];
    for script in uses {
        let said = refused(&[add, script], 15).unwrap_or_default();
        assert!(
            said.starts_with("20240201_it: line 1: ") && said.contains("line 1 of 20240200_it adds"),
            "{script} {said}"
        );
    }
    for version in harness::postgres::Version::ALL {
        let refused = |scripts: &[&str]| refused(scripts, version);
        let cases: &[(&[&str], bool)] = &[
            (&["ALTER TYPE kind ADD VALUE 'c';\nUPDATE t SET kind = 'c';"], true),
            (
                &[
                    add,
                    "ALTER TYPE kind RENAME VALUE 'c' TO 'd';",
                    "UPDATE t SET kind = 'd';",
                ],
                true,
            ),
            (
                &[
                    "ALTER TYPE kind RENAME TO sorts; ALTER TYPE sorts ADD VALUE 'c';",
                    "UPDATE t SET kind = 'c';",
                ],
                true,
            ),
            (
                &[
                    add,
                    "UPDATE t SET note = 'c'; INSERT INTO t (id, note) VALUES (2, 'c'); DELETE FROM t WHERE kind::text = 'c';",
                ],
                false,
            ),
            (
                &[
                    "ALTER TYPE kind ADD VALUE IF NOT EXISTS 'b';",
                    "UPDATE t SET kind = 'b';",
                ],
                false,
            ),
            (
                &["ALTER TYPE kind RENAME VALUE 'b' TO 'd';", "UPDATE t SET kind = 'd';"],
                false,
            ),
            (
                &[
                    "CREATE TYPE n AS ENUM ('x', 'y');",
                    "ALTER TABLE t ADD n n DEFAULT 'y';",
                ],
                false,
            ),
            (
                &[
                    add,
                    "ALTER TABLE t ALTER kind TYPE text USING kind::text; UPDATE t SET kind = 'c';",
                ],
                false,
            ),
            // Of a type of the same transaction they may be used since PostgreSQL 17.
            (
                &[
                    "CREATE TYPE n AS ENUM ('x'); ALTER TYPE n ADD VALUE 'y';",
                    "ALTER TABLE t ADD n n DEFAULT 'y';",
                ],
                version < 17,
            ),
        ];
        for (scripts, expected) in cases {
            assert_eq!(refused(scripts).is_some(), *expected, "{version} {scripts:?}");
        }
    }
}
