//! What Prisma does and what is done better here: every case by its name, against a real server.

mod adopt;
mod baseline;
mod deploys;
mod history;
mod place;
mod refusals;
mod resolve;
mod scripts;
mod status;
mod tables;
mod text;

use harness::history::History;
use harness::postgres::{Client, Database};
use harness::process::Run;
use harness::tool::{Call, Tool};
use serde_json::Value;

pub fn tool() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_prisma-migrate-task"))
}

/// `deploy` of this history to this database.
pub fn deploy(history: &History, database: &Database) -> Call {
    tool().deploy(history.folder()).database(database)
}

/// The ledger in words, oldest row first: `1_init applied`, `2_more rolled back`, `3_bad unfinished`.
pub fn ledger(database: &Database) -> Vec<String> {
    let state = |finished, rolled_back| match (finished, rolled_back) {
        (_, true) => "rolled back",
        (true, false) => "applied",
        (false, false) => "unfinished",
    };
    let rows = database.ledger();
    rows.iter()
        .map(|row| format!("{} {}", row.name, state(row.finished, row.rolled_back)))
        .collect()
}

/// The ordinary tables of `public`, without the ledger.
pub fn tables(database: &Database) -> Vec<String> {
    let rows = database.rows(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace \
         AND relname <> '_prisma_migrations' ORDER BY 1",
    );
    rows.into_iter().flatten().collect()
}

/// The report's `failure`.
#[track_caller]
pub fn failure(run: &Run) -> &Value {
    let report = run.report.as_ref().unwrap_or_else(|| panic!("no report\n{run}"));
    let failure = &report["failure"];
    assert!(failure.is_object(), "the report names no failure\n{run}");
    failure
}

/// The names in one of the report's lists: strings, or objects with a name.
pub fn names<'a>(run: &'a Run, list: &str) -> Vec<&'a str> {
    let list = run.report.as_ref().unwrap()[list].as_array().unwrap();
    list.iter()
        .map(|entry| entry.as_str().or(entry["name"].as_str()).unwrap())
        .collect()
}

/// The report's warnings, one a line.
pub fn warnings(run: &Run) -> String {
    names(run, "warnings").join("\n")
}

/// The log's lines, each of which is a JSON object.
pub fn log(run: &Run) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{run}"));
    run.stderr.lines().map(parse).collect()
}

/// Holds whatever script asks for [`Gate::WAIT`] until it is opened.
pub struct Gate<'a> {
    database: &'a Database,
    holder: Client,
}

impl Gate<'_> {
    /// What a script waits with. It must be given `--lock-timeout 0` if that may take long.
    pub const WAIT: &'static str = "SELECT pg_advisory_xact_lock(42);";

    pub fn closed(database: &Database) -> Gate<'_> {
        let mut holder = database.client();
        holder.batch_execute("SELECT pg_advisory_lock(42)").unwrap();
        Gate { database, holder }
    }

    /// Waits until a script has come as far as the gate.
    pub fn reached(&self) {
        harness::until("a script waits at the gate", || waits_for(self.database, 42));
    }

    pub fn open(mut self) {
        self.holder.batch_execute("SELECT pg_advisory_unlock(42)").unwrap();
    }
}

/// Whether a session waits for this advisory lock.
pub fn waits_for(database: &Database, key: u32) -> bool {
    let sql = format!(
        "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = {key} AND NOT granted AND database = \
         (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    database.scalar(&sql) == "t"
}

/// Prisma's migration lock.
pub const MIGRATION_LOCK: u32 = 72_707_369;

/// A session that holds the migration lock and calls itself `the other one`.
pub fn lock_holder(database: &Database) -> Client {
    let mut holder = database.client();
    let sql = format!("SET application_name = 'the other one'; SELECT pg_advisory_lock({MIGRATION_LOCK})");
    holder.batch_execute(&sql).unwrap();
    holder
}
