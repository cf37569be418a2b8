//! What the program under test makes of a script.

use crate::migrate;
use crate::script::Script;
use crate::start::{Copy, IT, SCHEMA, START, Start};
use crate::state::{Row, State};
use harness::history::History;
use harness::process::Running;
use std::thread;
use std::time::{Duration, Instant};

/// No script takes nearly as long; a run that does would not end by itself.
const LONGEST: Duration = Duration::from_secs(20);

/// How a run ended, and what is in the database then.
#[derive(Clone, Debug)]
pub struct Ours {
    /// The exit code; none where it had to be killed.
    pub code: Option<i32>,
    /// The SQLSTATE of its failure.
    pub sqlstate: Option<String>,
    /// What it says happened, of the database's state, and of what to do next.
    pub said: [String; 3],
    /// What is in the database.
    pub state: State,
    /// The migration's rows.
    pub rows: Vec<Row>,
}

/// The files of a script.
pub fn history(script: &Script) -> History {
    History::new().migration(START, SCHEMA).migration(IT, script.text())
}

/// Starts a deploy.
pub fn start(start: &Start, database: &Copy, history: &History) -> Running {
    let call = migrate().deploy(history.folder());
    // A script may raise what looks like contention: that is tried again as long as this.
    call.env("DATABASE_URL", start.url(database))
        .arg("--lock-retry-for=300ms")
        .spawn()
}

/// Waits for the end of a run, and looks at what it left.
pub fn end(start: &Start, database: &Copy, mut running: Running) -> Ours {
    let begun = Instant::now();
    while running.is_running() && begun.elapsed() < LONGEST {
        thread::sleep(Duration::from_millis(3));
    }
    let run = if running.is_running() {
        running.kill();
        None
    } else {
        Some(running.wait())
    };
    let (state, rows) = State::with_rows(&start.server, &database.name);
    let failure = run.as_ref().and_then(|run| run.report.as_ref());
    let failure = failure.map(|report| report["failure"].clone()).unwrap_or_default();
    Ours {
        code: run.as_ref().map(|run| run.code),
        sqlstate: failure["sqlstate"].as_str().map(str::to_owned),
        said: ["what", "state", "next"].map(|field| failure[field].as_str().unwrap_or_default().to_owned()),
        state,
        rows,
    }
}
