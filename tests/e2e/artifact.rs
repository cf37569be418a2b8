//! Where the migrations come from: S3, a zip, a folder; what a deployer packs, and what can be wrong with it.

use std::io::{Cursor, Write};

use harness::history::{History, Layout};
use harness::postgres::{Client, Database, NoTls, Options, Server};
use harness::process::Run;
use harness::s3::{Fault, S3};
use harness::tool::Call;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::migrate;

const BUCKET: &str = "artifacts";
const KEY: &str = "deploy/CODE/app/prisma.zip";

fn history() -> History {
    History::new()
        .migration("20240101000000_init", "CREATE TABLE a (id int);")
        .migration("20240102000000_more", "CREATE TABLE b (id int);")
}

/// One migration that makes a table of this name.
fn making(table: &str) -> History {
    History::new().migration("20240101000000_init", format!("CREATE TABLE {table} (id int);"))
}

/// A zip of these files, in this order.
fn zip_of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The variables of the task's definition, and no argument at all.
fn bare(s3: &S3, database: &Database) -> Call {
    migrate()
        .verb([] as [&str; 0])
        .s3(s3)
        .env("ARTIFACT_BUCKET", BUCKET)
        .env("PRISMA_ARTIFACT_KEY", KEY)
        .database_parts(database)
}

fn tables(database: &Database) -> String {
    database.scalar(
        "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '') FROM pg_tables WHERE schemaname = 'public'",
    )
}

#[track_caller]
fn applied(run: &Run, database: &Database) {
    let names: Vec<_> = database
        .ledger()
        .into_iter()
        .map(|row| (row.name, row.finished, row.steps))
        .collect();
    let expected = ["20240101000000_init", "20240102000000_more"].map(|name| (name.to_owned(), true, 1));
    assert_eq!(names, expected, "{run}");
    assert_eq!(tables(database), "_prisma_migrations a b", "{run}");
}

/// The failure's words, once it is sure that the database was not touched.
#[track_caller]
fn refused(call: Call, database: &Database, code: i32) -> String {
    let run = call.run().expect(code);
    assert!(
        !database.has_ledger() && tables(database).is_empty(),
        "the database was touched\n{run}"
    );
    let failure = &run.report.as_ref().unwrap()["failure"];
    assert_eq!(failure["state"], "nothing was changed");
    assert!(!failure["next"].as_str().unwrap().is_empty());
    failure["what"].as_str().unwrap().to_owned()
}

/// Puts these bytes where the task looks, and expects exit code 40.
#[track_caller]
fn refused_as(bytes: impl Into<Vec<u8>>) -> String {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, bytes);
    let what = refused(bare(&s3, &database), &database, 40);
    assert!(what.starts_with(&format!("s3://{BUCKET}/{KEY}: ")), "{what}");
    what
}

/// The server listens on PostgreSQL's own port, at an address of its own, so that port and database can be left to their defaults.
#[test]
fn the_five_variables_of_todays_deployer_are_enough() {
    let [_, b, c, d] = std::process::id().to_be_bytes();
    let host = format!("127.{}.{}.{}", 16 + b, c, 1 + d % 250);
    let options = Options::new()
        .setting("port", "5432")
        .setting("listen_addresses", &host);
    let server = Server::start(options.access("host all all 127.0.0.0/8 scram-sha-256"));
    let socket = format!(
        "host={} port=5432 user=postgres dbname=postgres",
        server.socket().display()
    );
    let mut superuser = Client::connect(&socket, NoTls).unwrap();
    let password = "p@ss/w:o%rd? #&'\"é sesame";
    let statement = format!("ALTER ROLE postgres PASSWORD '{}'", password.replace('\'', "''"));
    superuser.batch_execute(&statement).unwrap();

    let s3 = S3::start();
    s3.put(BUCKET, KEY, history().zip(Layout::Project));
    let task = || {
        let task = migrate()
            .verb([] as [&str; 0])
            .without_report()
            .s3(&s3)
            .secret("sesame");
        let task = task.env("ARTIFACT_BUCKET", BUCKET).env("PRISMA_ARTIFACT_KEY", KEY);
        task.env("DB_USERNAME", "postgres")
            .env("DB_PASSWORD", password)
            .env("DB_HOST", &host)
    };
    let outcome: serde_json::Value = serde_json::from_str(&task().run().expect(0).stdout).unwrap();
    assert_eq!(outcome["result"], "applied");
    let sql = "SELECT count(finished_at) FROM public._prisma_migrations";
    assert_eq!(superuser.query_one(sql, &[]).unwrap().get::<_, i64>(0), 2);
    superuser
        .batch_execute("SELECT FROM public.a; SELECT FROM public.b")
        .unwrap();
    let outcome: serde_json::Value = serde_json::from_str(&task().run().expect(0).stdout).unwrap();
    assert_eq!(outcome["result"], "up_to_date");
}

#[test]
fn every_layout_of_the_zip_from_s3_and_from_disk() {
    let s3 = S3::start();
    for layout in Layout::ALL {
        let history = history();
        let database = Server::shared().database();
        s3.put(BUCKET, KEY, history.zip(layout));
        applied(&bare(&s3, &database).run().expect(0), &database);
        let database = Server::shared().database();
        applied(
            &migrate()
                .deploy(history.zip_file(layout))
                .database(&database)
                .run()
                .expect(0),
            &database,
        );
    }
}

#[test]
fn thousands_of_entries_of_node_modules_and_what_else_is_found_in_zips() {
    let packages: Vec<String> = (0..5000)
        .flat_map(|n| {
            [
                format!("node_modules/package-{n}/index.js"),
                format!("node_modules/package-{n}/prisma/migrations/{n:014}_decoy/migration.sql"),
                format!("node_modules/@scope/package-{n}/migrations/{n:014}_decoy/migration.sql"),
                format!("packages/app/node_modules/package-{n}/migrations/migration_lock.toml"),
            ]
        })
        .collect();
    let decoys = packages
        .iter()
        .map(|name| (name.as_str(), "CREATE TABLE decoy (id int);"));
    let project = [
        ("package.json", "{}"),
        ("__MACOSX/prisma/migrations/20240101000000_init/._migration.sql", "\0"),
        ("prisma/schema/main.prisma", ""),
        ("prisma/schema/user.prisma", ""),
        ("prisma/sql/seed.sql", "CREATE TABLE seed (id int);"),
        ("prisma/migrations/README.md", "# how to"),
        ("prisma/migrations/migration_lock.toml", "provider = \"postgresql\""),
        (
            "prisma/migrations/20240101000000_init/migration.sql",
            "CREATE TABLE a (id int);",
        ),
        ("prisma/migrations/20240101000000_init/down.sql", "DROP TABLE a;"),
        ("prisma/migrations/20240101000000_init/schema.prisma", ""),
        (
            "prisma/migrations/20240101000000_init/tests/1/migration.sql",
            "CREATE TABLE test (id int);",
        ),
        ("prisma/migrations/20240102000000_more/migration.ts", ""),
        (
            "prisma/migrations/20240102000000_more/migration.sql",
            "CREATE TABLE b (id int);",
        ),
    ];
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, zip_of(decoys.chain(project)));
    let run = bare(&s3, &database).run().expect(0);
    applied(&run, &database);
    assert_eq!(run.report.unwrap()["artifact"]["migrations_path"], "prisma/migrations");
}

#[test]
fn a_folder_may_be_the_project_its_prisma_folder_or_the_migrations_themselves() {
    let history = history();
    let project = history.folder().parent().unwrap().to_owned();
    for folder in [project, history.folder(), history.migrations()] {
        let database = Server::shared().database();
        let run = migrate().deploy(&folder).database(&database).run().expect(0);
        applied(&run, &database);
        assert_eq!(run.report.unwrap()["artifact"]["kind"], "folder");
    }
}

#[test]
fn an_s3_source_is_given_and_the_variables_of_the_artifact_yield_to_it() {
    let (s3, database) = (S3::start(), Server::shared().database());
    let stored = s3.put(BUCKET, "a b/é+%41.zip", history().zip(Layout::Root));
    let call = bare(&s3, &database).arg(format!("s3://{BUCKET}/a b/é+%41.zip"));
    let run = call.run().expect(0);
    applied(&run, &database);
    let artifact = &run.report.as_ref().unwrap()["artifact"];
    assert_eq!(
        (&artifact["kind"], &artifact["key"]),
        (&"s3".into(), &"a b/é+%41.zip".into())
    );
    assert_eq!(
        (&artifact["version_id"], &artifact["etag"]),
        (&stored.version.into(), &stored.etag.into())
    );
}

#[test]
fn a_version_id_means_that_version_though_a_newer_one_exists() {
    let (s3, database) = (S3::start(), Server::shared().database());
    let wanted = s3.put(BUCKET, KEY, making("wanted").zip(Layout::Folder));
    s3.put(BUCKET, KEY, making("newer").zip(Layout::Folder));
    let call = bare(&s3, &database).env("PRISMA_ARTIFACT_VERSION_ID", &wanted.version);
    let run = call.run().expect(0);
    assert_eq!(tables(&database), "_prisma_migrations wanted");
    assert_eq!(run.report.unwrap()["artifact"]["version_id"], wanted.version);

    let database = Server::shared().database();
    let call = bare(&s3, &database).env("PRISMA_ARTIFACT_VERSION_ID", "nosuchversion");
    let what = refused(call, &database, 40);
    assert!(what.contains("no version nosuchversion of the object"), "{what}");
}

#[test]
fn an_etag_that_a_newer_upload_took_away_is_superseded() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.unversioned(BUCKET);
    let old = s3.put(BUCKET, KEY, making("old").zip(Layout::Folder));
    let new = s3.put(BUCKET, KEY, making("new").zip(Layout::Folder));
    let what = refused(
        bare(&s3, &database).env("PRISMA_ARTIFACT_ETAG", &old.etag),
        &database,
        41,
    );
    assert!(
        what.contains(old.etag.trim_matches('"')) && what.contains("superseded"),
        "{what}"
    );
    // The event carries the etag without its quotes.
    bare(&s3, &database)
        .env("PRISMA_ARTIFACT_ETAG", new.etag.trim_matches('"'))
        .run()
        .expect(0);
    assert_eq!(tables(&database), "_prisma_migrations new");
}

#[test]
fn a_missing_bucket_key_or_permission_is_named() {
    let (s3, database) = (S3::start(), Server::shared().database());
    let what = refused(bare(&s3, &database), &database, 40);
    assert!(
        what.contains(&format!("s3://{BUCKET}/{KEY}")) && what.contains("no such bucket"),
        "{what}"
    );
    s3.put(BUCKET, "another", "");
    let what = refused(bare(&s3, &database), &database, 40);
    assert!(
        what.contains(&format!("s3://{BUCKET}/{KEY}")) && what.contains("no such key"),
        "{what}"
    );
    s3.fail(1, 403, "AccessDenied");
    let what = refused(bare(&s3, &database), &database, 40);
    assert!(what.contains("403") && what.contains("s3:GetObject"), "{what}");
}

#[test]
fn nothing_is_created_where_the_artifact_cannot_be_had() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, "another", "");
    database
        .superuser()
        .batch_execute(&format!("ALTER ROLE {} CREATEDB", database.user()))
        .unwrap();
    let missing = format!("{}_missing", database.name());
    bare(&s3, &database).env("DB_NAME", &missing).run().expect(40);
    assert_eq!(
        database.scalar(&format!("SELECT count(*) FROM pg_database WHERE datname = '{missing}'")),
        "0"
    );
}

#[test]
fn a_503_of_s3_is_tried_again() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, history().zip(Layout::Folder));
    s3.fail(2, 503, "SlowDown");
    applied(&bare(&s3, &database).run().expect(0), &database);
    assert!(s3.requests() >= 3);

    let database = Server::shared().database();
    s3.fail(100, 503, "SlowDown");
    let what = refused(bare(&s3, &database), &database, 40);
    assert!(what.contains("503 SlowDown"), "{what}");
}

#[test]
fn a_body_that_breaks_off_is_no_artifact() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, history().zip(Layout::Project));
    for _ in 0..100 {
        s3.fault(Fault::CutBody(200));
    }
    let what = refused(bare(&s3, &database), &database, 40);
    assert!(what.contains("the connection to S3 broke after"), "{what}");
}

#[test]
fn what_is_not_a_zip_is_told_in_words() {
    let page = refused_as("<!DOCTYPE html><html><body>Please sign in</body></html>");
    assert!(
        page.contains("it is not a zip") && page.to_lowercase().contains("html"),
        "{page}"
    );
    let empty = refused_as("");
    assert!(empty.contains("it is not a zip") && empty.contains("empty"), "{empty}");
    let whole = history().zip(Layout::Project);
    let truncated = refused_as(&whole[..whole.len() / 2]);
    assert!(
        truncated.contains("it is not a zip") || truncated.contains("damaged"),
        "{truncated}"
    );
    let other = refused_as("\x1f\u{8b} something else");
    assert!(other.contains("it is not a zip"), "{other}");
}

#[test]
fn a_zip_without_migrations_says_what_is_in_it() {
    let what = refused_as(zip_of([("dist/index.js", ""), ("package.json", "{}")]));
    assert!(
        what.contains("no migrations folder was found") && what.contains("at its top level: dist, package.json"),
        "{what}"
    );
}

#[test]
fn several_migrations_folders_are_listed_and_migrations_path_picks_one() {
    let zip = zip_of([
        (
            "apps/one/prisma/migrations/20240101000000_init/migration.sql",
            "CREATE TABLE one (id int);",
        ),
        (
            "apps/two/prisma/migrations/20240101000000_init/migration.sql",
            "CREATE TABLE two (id int);",
        ),
    ]);
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, zip);
    let what = refused(bare(&s3, &database), &database, 40);
    assert!(
        what.contains("apps/one/prisma/migrations, apps/two/prisma/migrations"),
        "{what}"
    );
    let run = bare(&s3, &database).run().expect(40);
    assert!(
        run.report.unwrap()["failure"]["next"]
            .as_str()
            .unwrap()
            .contains("--migrations-path")
    );

    let two = "apps/two/prisma/migrations";
    bare(&s3, &database).arg("--migrations-path").arg(two).run().expect(0);
    assert_eq!(tables(&database), "_prisma_migrations two");
    let database = Server::shared().database();
    bare(&s3, &database).env("MIGRATIONS_PATH", two).run().expect(0);
    assert_eq!(tables(&database), "_prisma_migrations two");
    let database = Server::shared().database();
    let what = refused(bare(&s3, &database).arg("--migrations-path=apps/three"), &database, 40);
    assert!(what.contains("apps/three is not there"), "{what}");
}

#[test]
fn a_prisma_8_bundle_is_another_system_in_one_sentence() {
    let what = refused_as(zip_of([
        ("prisma/schema.prisma", ""),
        ("prisma/migrations/app/20260101000000_init/migration.json", "{}"),
        ("prisma/migrations/app/20260101000000_init/ops.json", "[]"),
    ]));
    assert!(
        what.contains("holds Prisma 8 migrations") && !what.contains("no migrations"),
        "{what}"
    );
}

#[test]
fn a_lock_file_of_another_provider_is_refused_before_anything_is_touched() {
    let history = history().raw("migrations/migration_lock.toml", "provider = \"mysql\"");
    let database = Server::shared().database();
    let what = refused(migrate().deploy(history.folder()).database(&database), &database, 23);
    assert!(what.contains("mysql"), "{what}");
}

#[test]
fn a_later_migration_that_cannot_be_read_keeps_the_first_from_running() {
    for (script, word) in [(&b"SELECT 1; -- \xff"[..], "UTF-8"), (b"SELECT 1;\0", "NUL")] {
        let history = making("first").migration("20240102000000_bad", script);
        let database = Server::shared().database();
        let run = migrate().deploy(history.folder()).database(&database).run().expect(40);
        assert_eq!(tables(&database).replace("_prisma_migrations", ""), "", "{run}");
        assert!(
            run.report.as_ref().unwrap()["failure"]["what"]
                .as_str()
                .unwrap()
                .contains(word),
            "{run}"
        );
    }
    let history = making("first").raw("migrations/20240102000000_empty/README.md", "no script");
    let database = Server::shared().database();
    let run = migrate().deploy(history.folder()).database(&database).run().expect(40);
    assert_eq!(run.report.as_ref().unwrap()["failure"]["prisma_code"], "P3015", "{run}");
    assert_eq!(tables(&database).replace("_prisma_migrations", ""), "", "{run}");
}

#[test]
fn what_s3_answers_is_told_in_words() {
    for (status, code, said) in [
        (400, "KMS.DisabledException", "could not decrypt"),
        (403, "RequestTimeTooSkewed", "clock"),
        (301, "PermanentRedirect", "region"),
    ] {
        let (s3, database) = (S3::start(), Server::shared().database());
        s3.put("artifacts", "prisma.zip", making("a").zip(Layout::Project));
        s3.fail(1, status, code);
        let call = migrate()
            .deploy("s3://artifacts/prisma.zip")
            .s3(&s3)
            .database(&database);
        let what = refused(call, &database, 40);
        assert!(what.contains(said), "{code}: {what}");
    }
    let (s3, database) = (S3::start(), Server::shared().database());
    let call = migrate()
        .deploy("s3://artifacts/prisma.zip")
        .s3(&s3)
        .database(&database);
    let what = refused(call.env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"), &database, 40);
    assert!(what.contains("127.0.0.1:1") || what.contains("reach"), "{what}");
}
