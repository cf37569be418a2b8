//! Beside the real Prisma CLI: it must not be able to tell our work from its own, nor we stumble over its.

mod crash;
mod histories;
mod ledger;
mod managed;
mod race;
mod rival;

use harness::history::History;
use harness::postgres::Database;
use harness::prisma;
use harness::process::Run;

/// `prisma migrate <words>` on this database.
fn migrate<const N: usize>(history: &History, database: &Database, words: [&str; N]) -> Run {
    prisma::migrate(&database.url(), history.folder(), words)
}

/// Prisma finds a database that is up to date, by `status` and by `deploy`.
#[track_caller]
fn expect_clean(history: &History, database: &Database) {
    let status = migrate(history, database, ["status"]).expect(0);
    assert!(status.stdout.contains("Database schema is up to date!"), "{status}");
    let before = database.ledger();
    let deploy = migrate(history, database, ["deploy"]).expect(0);
    assert!(deploy.stdout.contains("No pending migrations to apply"), "{deploy}");
    assert_eq!(database.ledger(), before);
}

/// Ends every session of the database but the harness's own, as the server does once it notices that a client is gone.
fn end_backends(database: &Database) {
    harness::until("the backends are gone", || {
        database.scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name <> 'harness' AND backend_type = 'client backend'",
        ) == "0"
    });
}
