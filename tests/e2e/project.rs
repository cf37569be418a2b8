//! What a project's own files say: which folder holds the migrations, which schemas and tables count, whose migrations they are, and which URL is used.

use crate::migrate;
use harness::history::{History, Layout};
use harness::pgbouncer::{PgBouncer, PoolMode};
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::tool::{Call, Tool};
use std::fs;
use std::path::Path;

const BINARY: &str = env!("CARGO_BIN_EXE_prisma-migrate-task");
const LOCK: &str = "provider = \"postgresql\"\n";

fn failure<'a>(run: &'a Run, field: &str) -> &'a str {
    run.report.as_ref().unwrap()["failure"][field]
        .as_str()
        .unwrap_or_default()
}

fn warnings(run: &Run) -> String {
    run.report.as_ref().unwrap()["warnings"].to_string()
}

/// A folder with these files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

/// The same as a zip.
fn zipped(root: &Path) -> (tempfile::TempDir, std::path::PathBuf) {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prisma.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let name = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(&fs::read(&entry).unwrap()).unwrap();
        }
    }
    zip.finish().unwrap();
    (folder, path)
}

fn verb(verb: &str, source: &Path, database: &Database) -> Call {
    migrate().verb([verb]).arg(source).database(database)
}

fn tables(database: &Database) -> String {
    database.scalar(
        "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '') FROM pg_tables WHERE schemaname = 'public'",
    )
}

#[test]
fn the_folder_that_a_config_file_names_is_applied_and_no_other() {
    let right = "CREATE TABLE \"right\" (id int);";
    let wrong = "CREATE TABLE wrong (id int);";
    let cases: [(&str, &[(&str, &str)]); 6] = [
        (
            "export default defineConfig",
            &[
                (
                    "prisma.config.ts",
                    "import { defineConfig } from 'prisma/config';\n// path: 'tools/migrations'\nexport default defineConfig({ schema: 'prisma/schema.prisma', migrations: { path: 'prisma/pg' } });",
                ),
                (
                    "prisma/schema.prisma",
                    "datasource db {\n  provider = \"postgresql\"\n}\n",
                ),
                ("prisma/pg/20240101000000_a/migration.sql", right),
                ("tools/migrations/20240101000000_b/migration.sql", wrong),
            ],
        ),
        (
            "module.exports, relative to the file",
            &[
                (
                    "db/prisma.config.cjs",
                    "module.exports = { migrations: { path: '../sql' } }",
                ),
                ("sql/20240101000000_a/migration.sql", right),
                ("prisma/migrations/20240101000000_b/migration.sql", wrong),
            ],
        ),
        (
            "a hidden folder",
            &[
                (
                    "prisma.config.mjs",
                    "export default { migrations: { path: '.migrations' } }",
                ),
                ("prisma/schema.prisma", ""),
                ("prisma/migrations/migration_lock.toml", LOCK),
                (".migrations/20240101000000_a/migration.sql", right),
            ],
        ),
        (
            "beside the schema that is named",
            &[
                (
                    "prisma.config.js",
                    "module.exports = defineConfig({ schema: './db/main.prisma' })",
                ),
                ("db/main.prisma", "datasource db { provider = \"postgresql\" }"),
                ("db/migrations/20240101000000_a/migration.sql", right),
                ("prisma/migrations/20240101000000_b/migration.sql", wrong),
            ],
        ),
        (
            "of Prisma 7, whose config has another name beside Prisma 8's",
            &[
                (
                    "prisma.config.ts",
                    "export default definePrismaConfig({ orm: orm({ contract: 'tools' }) })",
                ),
                (
                    "prisma7.config.ts",
                    "export default defineConfig({ migrations: { path: 'prisma/pg' } })",
                ),
                ("prisma/pg/20240101000000_a/migration.sql", right),
                ("tools/migrations/20240101000000_b/migration.sql", wrong),
            ],
        ),
        (
            "a constant that is exported",
            &[
                (
                    "prisma.config.ts",
                    "const config: PrismaConfig = { migrations: { path: \"prisma/pg\" } }\nexport default config\n",
                ),
                ("prisma/pg/20240101000000_a/migration.sql", right),
                ("prisma/migrations/20240101000000_b/migration.sql", wrong),
            ],
        ),
    ];
    for (case, files) in cases {
        let root = project(files);
        let (_kept, zip) = zipped(root.path());
        for source in [root.path(), &zip] {
            let database = Server::shared().database();
            let run = verb("deploy", source, &database).run();
            assert_eq!(run.code, 0, "{case}\n{run}");
            assert_eq!(tables(&database), "_prisma_migrations right", "{case}\n{run}");
        }
        // The flag beats the config.
        if let Some(other) = files.iter().find(|(_, content)| *content == wrong) {
            let database = Server::shared().database();
            let folder = Path::new(other.0).parent().and_then(Path::parent).unwrap();
            verb("deploy", root.path(), &database)
                .arg("--migrations-path")
                .arg(folder)
                .run()
                .expect(0);
            assert_eq!(tables(&database), "_prisma_migrations wrong", "{case}");
        }
    }
}

#[test]
fn what_is_ambiguous_or_elsewhere_is_never_up_to_date() {
    let script = "CREATE TABLE a (id int);";
    let cases: [(&[(&str, &str)], &str); 7] = [
        (
            &[
                ("prisma/migrations/20240101000000_a/migration.sql", script),
                ("db/other/20240101000000_a/migration.sql", script),
            ],
            "several folders hold migrations: db/other, prisma/migrations",
        ),
        (
            &[
                ("prisma/schema.prisma", ""),
                ("prisma/migrations/migration_lock.toml", LOCK),
                ("prisma/pg/20240101000000_a/migration.sql", script),
            ],
            "prisma/migrations holds a lock file and no migration.sql",
        ),
        (
            &[
                ("prisma/schema.prisma", ""),
                (".migrations/20240101000000_a/migration.sql", script),
            ],
            "the only migrations are in .migrations",
        ),
        (
            &[
                (
                    "prisma.config.ts",
                    "export default { migrations: { path: 'prisma/pq' } }",
                ),
                ("prisma/pg/20240101000000_a/migration.sql", script),
            ],
            "prisma.config.ts (migrations.path) says that the migrations are in prisma/pq, where there are none",
        ),
        (
            &[
                (
                    "prisma.config.ts",
                    "export default { migrations: { path: process.env.MIGRATIONS ?? 'prisma/pg' } }",
                ),
                ("prisma/pg/20240101000000_a/migration.sql", script),
                ("prisma/migrations/20240101000000_a/migration.sql", script),
            ],
            "several folders hold migrations: prisma/migrations, prisma/pg",
        ),
        (
            &[
                (
                    "db/prisma.config.ts",
                    "export default { migrations: { path: '../../elsewhere' } }",
                ),
                ("prisma/pg/20240101000000_a/migration.sql", script),
            ],
            "which is not inside the artifact",
        ),
        (
            &[
                ("prisma/schema.prisma", "datasource db { provider = \"mysql\" }"),
                ("prisma/migrations/20240101000000_a/migration.sql", script),
            ],
            "prisma/schema.prisma names the provider \"mysql\"",
        ),
    ];
    for (files, expected) in cases {
        let root = project(files);
        let (_kept, zip) = zipped(root.path());
        let database = Server::shared().database();
        for (verb_, source) in [
            ("deploy", root.path()),
            ("deploy", &zip),
            ("status", root.path()),
            ("plan", &zip),
        ] {
            let run = verb(verb_, source, &database).run();
            assert_eq!(run.code, if expected.contains("mysql") { 23 } else { 40 }, "{run}");
            assert!(failure(&run, "what").contains(expected), "{expected}\n{run}");
        }
        assert!(!database.has_ledger() && tables(&database).is_empty());
    }
}

#[test]
fn what_is_computed_is_told() {
    for (path, key) in [
        ("process.env.X ?? 'prisma/pg'", "migrations.path"),
        ("path.join('prisma', 'pg')", "migrations.path"),
        ("`prisma/pg`", "migrations.path"),
    ] {
        let root = project(&[
            (
                "prisma.config.ts",
                &format!("export default {{ migrations: {{ path: {path} }} }}"),
            ),
            ("prisma/pg/20240101000000_a/migration.sql", "SELECT 1;"),
        ]);
        let database = Server::shared().database();
        let run = verb("deploy", root.path(), &database).run().expect(0);
        assert!(
            warnings(&run).contains(&format!("prisma.config.ts: {key} is computed")),
            "{run}"
        );
    }
    let root = project(&[
        ("prisma.config.ts", "export default makeConfig()"),
        ("prisma/migrations/20240101000000_a/migration.sql", "SELECT 1;"),
    ]);
    let run = verb("status", root.path(), &Server::shared().database())
        .run()
        .expect(10);
    assert!(warnings(&run).contains("nothing in it was used"), "{run}");
}

#[test]
fn migrations_of_other_tools_are_refused_by_name() {
    let script = "CREATE TABLE a (id int);\n--> statement-breakpoint\nCREATE TABLE b (id int);";
    let cases: [(&str, &[(&str, &str)]); 6] = [
        (
            "Drizzle",
            &[
                ("drizzle/20240101000000_a/migration.sql", script),
                ("drizzle/20240101000000_a/snapshot.json", "{}"),
            ],
        ),
        ("Drizzle", &[("drizzle/20240101000000_a/migration.sql", script)]),
        (
            "Drizzle",
            &[
                ("drizzle/0000_a.sql", script),
                ("drizzle/meta/_journal.json", "{}"),
                ("prisma/schema.prisma", ""),
            ],
        ),
        (
            "Flyway",
            &[("db/migration/V1__init.sql", "SELECT 1;"), ("prisma/schema.prisma", "")],
        ),
        ("Knex", &[("migrations/20240101000000_init.js", "exports.up = x")]),
        (
            "Flyway",
            &[
                ("prisma/migrations/migration_lock.toml", LOCK),
                ("prisma/migrations/V1__init.sql", "SELECT 1;"),
            ],
        ),
    ];
    for (tool, files) in cases {
        let root = project(files);
        let (_kept, zip) = zipped(root.path());
        let database = Server::shared().database();
        for source in [root.path(), &zip] {
            let run = verb("deploy", source, &database).run().expect(40);
            assert!(
                failure(&run, "what").contains(&format!("holds the migrations of {tool}")),
                "{run}"
            );
            assert!(failure(&run, "next").contains(tool), "{run}");
        }
        assert!(!database.has_ledger() && tables(&database).is_empty());
    }
    // A comment in a script of Prisma's is a comment.
    let root = project(&[
        ("prisma/migrations/migration_lock.toml", LOCK),
        ("prisma/migrations/20240101000000_a/migration.sql", script),
    ]);
    let database = Server::shared().database();
    verb("deploy", root.path(), &database).run().expect(0);
    assert_eq!(tables(&database), "_prisma_migrations a b");
}

const PRISMA_8: &str = "CREATE SCHEMA prisma_contract; CREATE TABLE prisma_contract.marker (space text PRIMARY KEY DEFAULT 'app', core_hash text NOT NULL);";

#[test]
fn prisma_8_beside_prisma_7_is_a_warning_until_the_database_is_its_own() {
    let seven = (
        "prisma/migrations/20240101000000_a/migration.sql",
        "CREATE TABLE a (id int);",
    );
    let lock = ("prisma/migrations/migration_lock.toml", LOCK);
    for (folder, named) in [
        ("migrations/app/20260101T0000_init", "migrations"),
        ("prisma/migrations/app/20260101T0000_init", "prisma/migrations/app"),
        ("db/eight/app/20260101T0000_init", "db/eight"),
    ] {
        let (metadata, operations) = (format!("{folder}/migration.json"), format!("{folder}/ops.json"));
        let files = [seven, lock, (&*metadata, "{}"), (&*operations, "[]")];
        let root = project(&files);
        let (_kept, zip) = zipped(root.path());
        for source in [root.path(), &zip] {
            let database = Server::shared().database();
            let run = verb("deploy", source, &database).run().expect(0);
            assert!(
                warnings(&run).contains(&format!("{named} holds Prisma 8 migrations")),
                "{run}"
            );
            for text in [&run.stdout, &run.stderr] {
                assert!(!text.contains("remove") && !text.contains("delete"), "{run}");
            }
            // Control tables alone are no signature.
            database.execute(PRISMA_8);
            verb("status", source, &database).run().expect(0);
            database.execute("INSERT INTO prisma_contract.marker (core_hash) VALUES ('0a')");
            for verb_ in ["deploy", "status", "plan"] {
                let run = verb(verb_, source, &database).run().expect(23);
                assert!(failure(&run, "what").contains("Prisma 8 owns this database"), "{run}");
                assert!(failure(&run, "next").contains("prisma db migrate"), "{run}");
                assert!(!failure(&run, "next").contains("remove"), "{run}");
            }
        }
    }
    // While Prisma 7 owns the migrations, the database may be signed too.
    let root = project(&[seven, lock]);
    let database = Server::shared().database();
    database.execute(PRISMA_8);
    database.execute("INSERT INTO prisma_contract.marker (core_hash) VALUES ('0a')");
    verb("deploy", root.path(), &database).run().expect(0);
}

fn shop(schemas: &str, script: &str) -> History {
    History::new()
        .raw("schema.prisma", format!("datasource db {{\n  provider = \"postgresql\"\n  url = env(\"DATABASE_URL\")\n  schemas = {schemas}\n}}\n"))
        .migration("20240101000000_init", script)
}

#[test]
fn tables_in_a_listed_schema_stop_the_first_deploy() {
    let script =
        "DROP TABLE IF EXISTS shop.orders; CREATE SCHEMA IF NOT EXISTS shop; CREATE TABLE shop.orders (id int);";
    for (schemas, made, expected) in [
        (
            "[\"shop\"]",
            "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int); INSERT INTO shop.orders VALUES (1);",
            "the schema shop (1 table: orders)",
        ),
        (
            "[\"base\", \"shop\"]",
            "CREATE SCHEMA shop; CREATE SCHEMA base; CREATE TABLE shop.orders (id int); CREATE TABLE base.a (); CREATE TABLE base.b (); INSERT INTO shop.orders VALUES (1);",
            "the schemas base (2 tables: a, b) and shop (1 table: orders)",
        ),
        (
            "[\"public\", \"shop\"]",
            "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int); CREATE TABLE x (); INSERT INTO shop.orders VALUES (1);",
            "the schemas public (1 table: x) and shop (1 table: orders)",
        ),
    ] {
        let history = shop(schemas, script);
        let database = Server::shared().database();
        database.execute(made);
        for (verb_, source) in [
            ("deploy", history.folder()),
            ("deploy", history.zip_file(Layout::Project)),
            ("status", history.folder()),
            ("plan", history.folder()),
        ] {
            let run = verb(verb_, &source, &database).run().expect(23);
            assert_eq!(failure(&run, "prisma_code"), "P3005", "{run}");
            assert!(failure(&run, "what").contains(expected), "{run}");
        }
        let prisma = harness::prisma::migrate(&database.url(), history.folder(), ["deploy"]);
        assert!(prisma.code == 1 && prisma.stderr.contains("P3005"), "{prisma}");
        assert!(!database.has_ledger());
        assert_eq!(database.scalar("SELECT count(*) FROM shop.orders"), "1");
    }
    // A schema that is not listed does not count, and neither does an empty one.
    for schemas in ["[\"shop\"]", "[\"other\", \"shop\"]"] {
        let database = Server::shared().database();
        database.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.orders (id int); CREATE SCHEMA other;");
        verb("deploy", &shop(schemas, script).folder(), &database)
            .run()
            .expect(0);
    }
}

#[test]
fn a_ledger_in_another_listed_schema_is_never_joined_by_a_second() {
    for schemas in ["[\"shop\"]", "[\"public\", \"shop\"]", "[\"shop\", \"base\"]"] {
        let history = shop(
            schemas,
            "CREATE SCHEMA IF NOT EXISTS shop; CREATE TABLE shop.orders (id int);",
        );
        let database = Server::shared().database();
        database.execute("CREATE SCHEMA shop");
        let in_shop = format!("{}?schema=shop", database.url());
        migrate()
            .deploy(history.folder())
            .database_url(&database, &in_shop)
            .run()
            .expect(0);
        let name = "20240101000000_init";
        for words in [
            &["deploy"][..],
            &["status"],
            &["plan"],
            &["resolve", "--applied", name],
            &["baseline", "--to", name],
        ] {
            let run = migrate()
                .verb(words)
                .arg(history.folder())
                .database(&database)
                .run()
                .expect(23);
            let what = failure(&run, "what");
            assert!(
                what.contains("in the schema shop") && what.contains("schema is public"),
                "{run}"
            );
            assert!(failure(&run, "next").contains("?schema=shop"), "{run}");
        }
        assert!(!database.has_ledger());
        migrate()
            .verb(["status"])
            .arg(history.folder())
            .database_url(&database, &in_shop)
            .run()
            .expect(0);
    }
}

#[test]
fn external_tables_do_not_stop_the_first_deploy() {
    let schema = "datasource db { provider = \"postgresql\" schemas = [\"public\", \"auth\"] }";
    let config = |tables: &str| {
        format!(
            "export default defineConfig({{ experimental: {{ externalTables: true }}, tables: {{ external: {tables} }} }})"
        )
    };
    for (tables, code) in [
        ("['auth.users', 'public.cats']", 0),
        ("[\"public.cats\", \"auth.users\",] as const", 0),
        ("['auth.users']", 23),
        // As with Prisma, a name without a schema has no effect.
        ("['users', 'cats']", 23),
        ("[...tables]", 23),
    ] {
        let root = project(&[
            ("prisma.config.ts", &config(tables)),
            ("prisma/schema.prisma", schema),
            (
                "prisma/migrations/20240101000000_a/migration.sql",
                "CREATE TABLE a (id int);",
            ),
        ]);
        let database = Server::shared().database();
        database.execute("CREATE SCHEMA auth; CREATE TABLE auth.users (id int); CREATE TABLE cats (id int);");
        let run = verb("deploy", root.path(), &database).run().expect(code);
        if code == 23 {
            assert!(
                failure(&run, "what").contains("public (1 table: cats)"),
                "{tables}\n{run}"
            );
            assert_eq!(
                failure(&run, "what").contains("users"),
                !tables.contains("auth.users"),
                "{tables}\n{run}"
            );
        }
    }
}

/// Schema files and configs that name `DIRECT_URL`.
const NAMES_IT: [(&str, &str); 4] = [
    (
        "prisma/schema.prisma",
        "datasource db {\n  provider  = \"postgresql\"\n  url       = env(\"DATABASE_URL\")\n  directUrl = env(\"DIRECT_URL\")\n}\n",
    ),
    (
        "prisma/schema/base.prisma",
        "datasource db { provider = \"postgresql\" directUrl = env(\"DIRECT_URL\") }",
    ),
    (
        "prisma.config.ts",
        "import { defineConfig, env } from 'prisma/config'\nexport default defineConfig({ datasource: { url: env('DIRECT_URL') } })",
    ),
    (
        "prisma.config.cjs",
        "module.exports = { datasource: { url: env<Env>(\"DIRECT_URL\") } }",
    ),
];

#[test]
fn the_direct_url_is_used_if_the_artifact_names_it() {
    for (file, content) in NAMES_IT {
        let root = project(&[
            (file, content),
            (
                "prisma/migrations/20240101000000_a/migration.sql",
                "CREATE TABLE a (id int);",
            ),
        ]);
        let (_kept, zip) = zipped(root.path());
        for source in [root.path(), &zip] {
            let database = Server::shared().database();
            let pooler = PgBouncer::start(&database, PoolMode::Transaction, &[]);
            let call = |words: &[&str]| {
                let call = migrate()
                    .verb(words)
                    .database_url(&database, &pooler.url_for(&database));
                call.env("DIRECT_URL", database.url())
            };
            for verb in ["plan", "deploy", "status"] {
                let run = call(&[verb]).arg(source).run().expect(0);
                assert!(
                    run.stderr.contains(&format!("those of DIRECT_URL, which {file} names")),
                    "{run}"
                );
                assert!(!run.stderr.contains("those of DATABASE_URL"), "{run}");
            }
            assert!(database.has_ledger());
            // Without an artifact nobody names it.
            let run = call(&["execute", "SELECT 1"]).run().expect(50);
            assert!(
                failure(&run, "next").contains("DIRECT_URL is set and not used"),
                "{run}"
            );
        }
    }
}

#[test]
fn without_being_named_the_direct_url_is_not_used_and_the_refusal_of_a_pooler_names_it() {
    let database = Server::shared().database();
    let pooler = PgBouncer::start(&database, PoolMode::Transaction, &[]);
    let script = (
        "prisma/migrations/20240101000000_a/migration.sql",
        "CREATE TABLE a (id int);",
    );
    for (file, content) in [
        (
            "prisma/schema.prisma",
            "datasource db { directUrl = env(\"OTHER_URL\") }",
        ),
        (
            "prisma/schema.prisma",
            "datasource db {\n  // directUrl = env(\"DIRECT_URL\")\n}",
        ),
        (
            "prisma.config.ts",
            "export default { datasource: { url: process.env.DIRECT_URL } }",
        ),
        (
            "prisma.config.ts",
            "export default { datasource: { url: env('DATABASE_URL') } } // env('DIRECT_URL')",
        ),
    ] {
        let root = project(&[(file, content), script]);
        let call = verb("deploy", root.path(), &database)
            .database_url(&database, &pooler.url_for(&database))
            .env("OTHER_URL", database.url());
        let run = call.env("DIRECT_URL", database.url()).run().expect(50);
        assert!(
            failure(&run, "next").contains("DIRECT_URL is set and not used"),
            "{run}"
        );
        assert!(run.stderr.contains("DIRECT_URL is not used"), "{run}");
        // What is not used need not be sound.
        let sound = verb("deploy", root.path(), &database).env("DIRECT_URL", "nonsense");
        sound.run().expect(0);
    }
    let (file, content) = NAMES_IT[0];
    let root = project(&[(file, content), script]);
    let run = verb("deploy", root.path(), &database)
        .database_url(&database, &pooler.url_for(&database))
        .run()
        .expect(50);
    assert!(
        failure(&run, "next").contains("prisma/schema.prisma names DIRECT_URL, which is not set"),
        "{run}"
    );
}

#[test]
fn two_urls_to_two_databases_are_refused() {
    let (file, content) = NAMES_IT[0];
    let root = project(&[
        (file, content),
        (
            "prisma/migrations/20240101000000_a/migration.sql",
            "CREATE TABLE a (id int);",
        ),
    ]);
    let (one, other) = (Server::shared().database(), Server::shared().database());
    for (direct, what) in [
        (other.url(), "the database"),
        (format!("{}?schema=other", one.url()), "the schema"),
        (
            "postgresql://u:sesame@127.0.0.1:port/x".to_owned(),
            "DIRECT_URL cannot be used",
        ),
    ] {
        for verb_ in ["deploy", "status", "plan"] {
            let call = verb(verb_, root.path(), &one)
                .env("DIRECT_URL", &direct)
                .secret("sesame");
            let run = call.secret(&other.password()).run().expect(2);
            assert!(failure(&run, "what").contains(what), "{run}");
        }
    }
    assert!(!one.has_ledger() && !other.has_ledger());
    // Alone it is used only if it is named.
    let alone = |root: &Path| {
        migrate()
            .deploy(root)
            .env("DIRECT_URL", one.url())
            .secret(&one.password())
    };
    alone(root.path()).run().expect(0);
    let unnamed = project(&[(
        "prisma/migrations/20240101000000_a/migration.sql",
        "CREATE TABLE a (id int);",
    )]);
    let run = alone(unnamed.path()).run().expect(2);
    assert!(
        failure(&run, "what").contains("DIRECT_URL is set and DATABASE_URL is not"),
        "{run}"
    );
    // Beside other ways to the database it is not read.
    let parts = migrate()
        .deploy(root.path())
        .database_parts(&one)
        .env("DIRECT_URL", other.url());
    parts.secret(&other.password()).run().expect(0);
    assert!(!other.has_ledger());
}

/// The program with this working directory.
fn within(folder: &Path, words: &str) -> Call {
    let line = format!("cd '{}' && exec '{BINARY}' {words}", folder.display());
    Tool::new("sh").verb(["-c", &line]).without_report()
}

#[test]
fn without_a_source_the_project_in_the_working_directory_is_taken() {
    let database = Server::shared().database();
    let script = (
        "prisma/migrations/20240101000000_a/migration.sql",
        "CREATE TABLE a (id int);",
    );
    let root = project(&[script, ("tools/migrations/20240101000000_b/migration.sql", "SELECT 1;")]);
    within(root.path(), "status").database(&database).run().expect(10);
    within(root.path(), "plan --check").database(&database).run().expect(10);
    within(root.path(), "").database(&database).run().expect(0);
    assert_eq!(tables(&database), "_prisma_migrations a");
    within(root.path(), "status").database(&database).run().expect(0);
    // ARTIFACT_BUCKET says where, and half of it is half of it.
    let run = within(root.path(), "status")
        .database(&database)
        .env("ARTIFACT_BUCKET", "b")
        .run()
        .expect(2);
    assert!(run.stdout.contains("PRISMA_ARTIFACT_KEY is not"), "{run}");
    // A config file of the project counts.
    let config = ("prisma.config.ts", "export default { migrations: { path: 'db' } }");
    let named = project(&[
        script,
        config,
        ("db/20240101000000_c/migration.sql", "CREATE TABLE c (id int);"),
    ]);
    let database = Server::shared().database();
    within(named.path(), "deploy").database(&database).run().expect(0);
    assert_eq!(tables(&database), "_prisma_migrations c");
    let empty = tempfile::tempdir().unwrap();
    let run = within(empty.path(), "").database(&database).run().expect(2);
    assert!(run.stdout.contains("nothing says where the migrations are"), "{run}");
}

#[test]
fn an_env_file_is_named_and_not_read() {
    let database = Server::shared().database();
    let url = format!("DATABASE_URL={}\n", database.url());
    let script = (
        "prisma/migrations/20240101000000_a/migration.sql",
        "CREATE TABLE a (id int);",
    );
    for (file, words, shown) in [
        (".env", "status", ".env is there and is not read"),
        (".env", "status ./prisma", ".env is there and is not read"),
        ("prisma/.env", "status", "prisma/.env is there and is not read"),
        ("prisma/.env", "deploy ./prisma", "prisma/.env is there and is not read"),
        ("other/.env", "status ./other/..", ""),
    ] {
        let root = project(&[(file, &url), script]);
        let run = within(root.path(), words).secret(&database.password()).run().expect(2);
        assert!(run.stdout.contains("nothing says where the database is"), "{run}");
        match shown {
            "" => assert!(!run.stdout.contains("is not read"), "{run}"),
            shown => assert!(run.stdout.contains(shown), "{run}"),
        }
    }
    // What is printed can be pasted.
    let root = project(&[(".env", &url.replace('=', "='").replace('\n', "'\n")), script]);
    let line = format!(
        "set -a; . './.env'; set +a; cd '{0}'; exec '{BINARY}' status",
        root.path().display()
    );
    let call = Tool::new("sh")
        .verb(["-c", &format!("cd '{}'; {line}", root.path().display())])
        .without_report();
    call.secret(&database.password()).run().expect(10);
}

#[test]
fn a_word_that_is_no_verb_deploys_nothing() {
    let database = Server::shared().database();
    let root = project(&[
        (
            "prisma/migrations/20240101000000_a/migration.sql",
            "CREATE TABLE a (id int);",
        ),
        ("dir/x", ""),
    ]);
    for (words, shown) in [
        ("statsu", "`prisma-migrate-task status`"),
        ("delpoy", "`prisma-migrate-task deploy`"),
        ("--strict plna", "`prisma-migrate-task plan`"),
        ("migrate deploy", "\"migrate\" is not a command"),
        ("prisma", "`prisma-migrate-task deploy prisma`"),
        ("dir", "`prisma-migrate-task deploy dir`"),
        ("./prisma statsu", "`prisma-migrate-task status`"),
    ] {
        let run = within(root.path(), words).database(&database).run().expect(2);
        assert!(run.stderr.contains(shown), "{words}\n{run}");
        assert!(!database.has_ledger(), "{words}\n{run}");
    }
    for (words, code) in [
        ("prisma", 2),
        ("./prisma", 0),
        (".", 0),
        ("deploy prisma", 0),
        ("./prisma status", 0),
        ("--log-format text status prisma", 0),
    ] {
        within(root.path(), words).database(&database).run().expect(code);
    }
}

#[test]
fn a_flags_value_that_is_called_like_a_verb_is_a_value() {
    let server = Server::shared();
    let root = project(&[(
        "prisma/migrations/20240101000000_a/migration.sql",
        "CREATE TABLE a (id int);",
    )]);
    for verb in ["plan", "status", "run"] {
        let database = server.database();
        // Roles are the server's, shared by all tests.
        let exists = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{verb}'");
        if database.scalar(&exists) == "0" {
            database
                .superuser()
                .batch_execute(&format!("CREATE ROLE \"{verb}\""))
                .unwrap();
        }
        let grant = format!(
            "GRANT \"{verb}\" TO \"{}\"; GRANT ALL ON SCHEMA public TO \"{verb}\"",
            database.user()
        );
        database.superuser().batch_execute(&grant).unwrap();
        for words in [format!("--role {verb} ./prisma"), format!("--role={verb} ./prisma")] {
            within(root.path(), &words).database(&database).run().expect(0);
        }
        assert_eq!(
            database.scalar("SELECT tableowner FROM pg_tables WHERE tablename = 'a'"),
            verb
        );
        let status = within(root.path(), &format!("--role {verb} status ./prisma"))
            .database(&database)
            .run()
            .expect(0);
        assert!(status.stdout.contains("\"verb\":\"status\""), "{status}");
    }
}

#[test]
fn a_padded_zip_is_read() {
    let history = History::new().migration("20240101000000_a", "CREATE TABLE a (id int);");
    let whole = history.zip(Layout::Project);
    let block = 10_240 - whole.len() % 10_240;
    for padding in [
        vec![0; block],
        vec![0; 512],
        vec![0; 10_240],
        b"\n".to_vec(),
        b"\r\n".to_vec(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prisma.zip");
        fs::write(&path, [whole.clone(), padding].concat()).unwrap();
        let database = Server::shared().database();
        verb("deploy", &path, &database).run().expect(0);
        assert_eq!(tables(&database), "_prisma_migrations a");
    }
}
