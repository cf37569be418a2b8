//! What is said when something goes wrong: each sentence is seen here as a reader sees it. What is not the SQL's fault is not answered with "fix the SQL".

mod advice;
mod given;
mod help;
mod ledger;
mod lines;
mod scripts;

use harness::history::History;
use harness::postgres::Database;
use harness::process::Run;
use serde_json::Value;

use crate::migrate;

const NAME: &str = "20240102000000_it";

/// A history with one migration that is applied by [`deploy`]'s first run.
fn history() -> History {
    History::new().migration("20240101000000_init", "CREATE TABLE a (id int PRIMARY KEY, note text);")
}

/// Applies the first migration.
fn begin(database: &Database) {
    migrate().deploy(history().folder()).database(database).run().expect(0);
}

/// Deploys a script to a database on which the first migration is applied already.
fn deploy(database: &Database, script: &str) -> Run {
    if !database.has_ledger() {
        begin(database);
    }
    let history = history().migration(NAME, script);
    migrate().deploy(history.folder()).database(database).run()
}

fn failure(run: &Run) -> &Value {
    &run.report.as_ref().unwrap_or_else(|| panic!("no report\n{run}"))["failure"]
}

/// Asserts that a field of the failure holds these words.
#[track_caller]
fn says(run: &Run, field: &str, words: &[&str]) {
    let text = match &failure(run)[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for word in words {
        assert!(text.contains(word), "{field} does not say {word:?}: {text}\n{run}");
    }
}

/// Asserts that nothing that was said holds these words.
#[track_caller]
fn never_says(run: &Run, words: &[&str]) {
    let report = run.report.as_ref().map(ToString::to_string).unwrap_or_default();
    for word in words {
        let said = [&run.stdout, &run.stderr, &report]
            .iter()
            .any(|text| text.contains(word));
        assert!(!said, "it says {word:?}\n{run}");
    }
}
