//! The example history in `migrations/`, which the demo applies.

use std::fs;
use std::path::Path;

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::prisma;

/// What Prisma up to 7.3 cannot run: it sends the file as one transaction, and PostgreSQL lets no transaction use an enum's value that it added.
const NOT_FOR_PRISMA: &str = "20240611083000_live_blogs";

fn example() -> History {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut history = History::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            let script = fs::read(entry.path().join("migration.sql")).unwrap();
            history = history.migration(entry.file_name().to_str().unwrap(), script);
        }
    }
    history
}

fn deployed(history: &History) -> Database {
    let database = Server::shared().database();
    crate::migrate()
        .deploy(history.folder())
        .database(&database)
        .run()
        .expect(0);
    database
}

#[test]
fn after_a_deploy_of_the_example_prisma_finds_nothing_to_do() {
    let history = example();
    let database = deployed(&history);

    assert_eq!(database.ledger().len(), 10);
    assert!(
        database
            .ledger()
            .iter()
            .all(|row| row.finished && !row.rolled_back && row.steps == 1 && row.logs.is_none())
    );
    let status = prisma::migrate(&database.url(), history.folder(), ["status"]).expect(0);
    assert!(status.stdout.contains("Database schema is up to date"), "{status}");
    let deploy = prisma::migrate(&database.url(), history.folder(), ["deploy"]).expect(0);
    assert!(deploy.stdout.contains("No pending migrations to apply"), "{deploy}");
    assert_eq!(database.ledger().len(), 10);
}

#[test]
fn prisma_comes_to_the_same_schema_once_the_script_it_cannot_run_is_split_in_two() {
    let history = example();
    let ours = deployed(&history);
    let script = fs::read_to_string(history.migrations().join(NOT_FOR_PRISMA).join("migration.sql")).unwrap();
    let second = script.find("UPDATE").unwrap();

    let history = history
        .migration(NOT_FOR_PRISMA, &script[..second])
        .migration("20240611083001_live_blogs_used", &script[second..]);
    let theirs = Server::shared().database();
    prisma::migrate(&theirs.url(), history.folder(), ["deploy"]).expect(0);

    assert_eq!(theirs.dump(), ours.dump());
    let articles = r#"SELECT "headline", "status", "slug", "search" FROM "Article" ORDER BY "id""#;
    assert_eq!(theirs.rows(articles), ours.rows(articles));
}
