//! Artifact against ledger: what is missing on either side, and in which order.

use harness::history::History;
use harness::postgres::{Database, Server};

use super::{deploy, failure, ledger, names, tables, tool, warnings};

/// A failed row as Prisma leaves it.
fn failed_row(database: &Database, name: &str, logs: &str) {
    database.execute(&format!(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) VALUES (gen_random_uuid(), repeat('0', 64), '{name}', {logs})"
    ));
}

#[test]
fn empty_or_missing_migrations_folder() {
    let empty = History::new();
    let missing = History::new();
    std::fs::remove_dir_all(missing.migrations()).unwrap();
    for history in [empty, missing] {
        let database = Server::shared().database();
        let run = deploy(&history, &database).run().expect(0);
        assert_eq!(run.report.as_ref().unwrap()["result"], "up_to_date");
        assert!(database.has_ledger() && database.ledger().is_empty());
    }
}

#[test]
fn files_and_links_in_the_migrations_folder_are_ignored_and_any_directory_counts() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration(".hidden", "CREATE TABLE hidden (id int);")
        .migration("2 with spaces.and.dots", "CREATE TABLE b (id int);")
        .raw("migrations/README.md", "not SQL")
        .raw("migrations/1_init/down.sql", "DROP TABLE a;");
    std::os::unix::fs::symlink("1_init", history.migrations().join("3_link")).unwrap();
    deploy(&history, &database).run().expect(0);
    assert_eq!(
        ledger(&database),
        [".hidden applied", "1_init applied", "2 with spaces.and.dots applied"]
    );
}

#[test]
fn rows_without_a_directory() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_gone", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(0);
    let history = history.remove("2_gone").migration("3_next", "CREATE TABLE c (id int);");

    let strict = deploy(&history, &database).arg("--strict").run().expect(23);
    assert!(failure(&strict)["details"].to_string().contains("2_gone"), "{strict}");
    assert_eq!(ledger(&database), ["1_init applied", "2_gone applied"]);

    let run = deploy(&history, &database).run().expect(0);
    assert!(warnings(&run).contains("2_gone was applied and is missing"), "{run}");
    assert_eq!(
        ledger(&database),
        ["1_init applied", "2_gone applied", "3_next applied"]
    );
}

#[test]
fn late_migrations() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("20240101000000_init", "CREATE TABLE a (id int);")
        .migration("20240301000000_third", "CREATE TABLE c (id int);");
    deploy(&history, &database).run().expect(0);
    let history = history.migration("20240201000000_second", "CREATE TABLE b (id int);");

    let strict = deploy(&history, &database).arg("--strict").run().expect(23);
    assert!(
        failure(&strict)["details"]
            .to_string()
            .contains("20240201000000_second is late"),
        "{strict}"
    );
    assert_eq!(tables(&database), ["a", "c"]);

    let run = deploy(&history, &database).run().expect(0);
    let said = warnings(&run);
    assert!(
        said.contains("20240201000000_second is late") && said.contains("20240301000000_third"),
        "{run}"
    );
    assert_eq!(names(&run, "applied"), ["20240201000000_second"]);
    assert_eq!(tables(&database), ["a", "b", "c"]);
}

#[test]
fn the_order_is_that_of_prisma_since_6_6() {
    let database = Server::shared().database();
    let insert = |name: &str| {
        format!("CREATE TABLE IF NOT EXISTS ran (at serial, name text); INSERT INTO ran (name) VALUES ('{name}');")
    };
    let mut history = History::new();
    for name in ["10_b", "1_a", "2_B", "2_a", "2-c"] {
        history = history.migration(name, insert(name));
    }
    let run = deploy(&history, &database).run().expect(0);

    let ran: Vec<_> = database
        .rows("SELECT name FROM ran ORDER BY at")
        .into_iter()
        .flatten()
        .collect();
    // As `[…].sort((a, b) => a.localeCompare(b))` has it in Node.
    assert_eq!(ran, ["1_a", "10_b", "2_a", "2_B", "2-c"]);
    assert!(warnings(&run).contains("the order of these migrations"), "{run}");
}

#[test]
fn p3015_before_the_first_runs() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .raw("migrations/2_nothing/README.md", "no script");
    let run = deploy(&history, &database).run().expect(40);

    assert_eq!(
        (
            failure(&run)["prisma_code"].as_str(),
            failure(&run)["migration"].as_str()
        ),
        (Some("P3015"), Some("2_nothing"))
    );
    assert!(tables(&database).is_empty() && !database.has_ledger());
}

#[test]
fn p3015_does_not_concern_what_is_applied() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    std::fs::remove_file(history.migrations().join("1_init/migration.sql")).unwrap();
    let history = history.migration("2_next", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(0);
    assert_eq!(ledger(&database), ["1_init applied", "2_next applied"]);
}

#[test]
fn p3019_before_anything_is_touched() {
    let database = Server::shared().database();
    let allow = format!("ALTER ROLE \"{}\" CREATEDB", database.user());
    database.superuser().batch_execute(&allow).unwrap();
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .raw("migrations/migration_lock.toml", "provider = \"mysql\"\n");
    let url = format!("{}_untouched", database.url());
    let run = tool()
        .deploy(history.folder())
        .database_url(&database, &url)
        .run()
        .expect(23);

    assert_eq!(failure(&run)["prisma_code"], "P3019");
    assert!(failure(&run)["what"].as_str().unwrap().contains("mysql"), "{run}");
    let name = format!("{}_untouched", database.name());
    assert_eq!(
        database.scalar(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")),
        "0"
    );
    deploy(&history, &database).run().expect(23);
    assert!(!database.has_ledger());
}

#[test]
fn a_lock_file_is_not_needed_and_may_say_postgres() {
    let missing = History::new();
    std::fs::remove_file(missing.migrations().join("migration_lock.toml")).unwrap();
    let short = History::new().raw("migrations/migration_lock.toml", "provider='postgres' # by hand");
    for history in [missing, short] {
        let database = Server::shared().database();
        let history = history.migration("1_init", "CREATE TABLE a (id int);");
        deploy(&history, &database).run().expect(0);
        assert_eq!(ledger(&database), ["1_init applied"]);
    }
}

#[test]
fn p3009_with_its_logs() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    failed_row(&database, "2_failed", "'ERROR: something is\n  amiss'");
    failed_row(&database, "3_killed", "NULL");
    let history = history
        .migration("2_failed", "CREATE TABLE b (id int);")
        .migration("3_killed", "CREATE TABLE c (id int);")
        .migration("4_next", "CREATE TABLE d (id int);");
    let before = database.ledger();
    let run = deploy(&history, &database).run().expect(22);

    let failure = failure(&run);
    assert_eq!(
        (failure["prisma_code"].as_str(), failure["migration"].as_str()),
        (Some("P3009"), Some("2_failed"))
    );
    assert!(
        failure["what"].as_str().unwrap().contains("2_failed, 3_killed"),
        "{run}"
    );
    let details = failure["details"].to_string();
    assert!(
        details.contains("something is") && details.contains("amiss") && details.contains("was killed"),
        "{run}"
    );
    let next = failure["next"].as_str().unwrap();
    assert!(
        next.contains("resolve --applied 2_failed") && next.contains("resolve --rolled-back 2_failed"),
        "{run}"
    );
    assert_eq!((database.ledger(), tables(&database)), (before, vec!["a".to_owned()]));
}

#[test]
fn a_failed_row_without_a_directory_blocks_too() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    failed_row(&database, "2_elsewhere", "NULL");
    deploy(&history, &database).run().expect(22);
}

#[test]
fn thousands_of_rows_without_a_file_are_not_told_one_by_one() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    database.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at) \
         SELECT gen_random_uuid(), repeat('0', 64), '0_gone_' || n, now() FROM generate_series(1, 5000) AS n, generate_series(1, 2)",
    );
    let run = deploy(&history, &database).run().expect(0);
    let warnings = run.report.as_ref().unwrap()["warnings"].as_array().unwrap().clone();
    assert_eq!(warnings.len(), 101, "{run}");
    assert_eq!(
        warnings[100],
        "4900 more migrations were applied and are missing from the artifact"
    );
}
