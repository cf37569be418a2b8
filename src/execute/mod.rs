//! `execute`: runs SQL that somebody gives, and prints what it yields.
//!
//! All of it is one transaction, unless it is told otherwise. Nothing is written without being asked to: away from a terminal the transaction is
//! READ ONLY until `--confirm` is given. A READ ONLY transaction cannot be left by the SQL in it: statements that end a transaction are refused, and
//! once a query has run, the server lets none be made READ WRITE (`check_transaction_read_only` in its sources). That a text is one statement, and
//! not several of which only the first was looked at, the server says itself (`Session::describe`).
//!
//! Rows that go to a file or to S3 are all there, unseen, before the commit, and are shown after it: what cannot be written is not committed, and what
//! is not committed is not shown. Only the showing itself can fail behind a commit, which the outcome says then.
//!
//! It takes no migration lock, since it does not touch the ledger and is what one looks with while a deploy runs.

mod check;
mod failure;
mod format;
mod input;
mod output;
mod run;
mod sink;
mod table;

pub use input::Input;
pub use sink::Destination;

use crate::advice::{self, Around};
use crate::cli::Format;
use crate::database::open;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::{Executed, Outcome};
use crate::settings::Settings;
use crate::sql::script;
use crate::stop::Stop;
use crate::watch::Watch;
use failure::{Scene, failure, not_in_time};
use output::Output;
use run::{Broken, Run};
use sink::{Sink, SinkError};

/// What is to be run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Where the SQL comes from.
    pub input: Input,
    /// Whether it may write.
    pub access: Access,
    /// Whether all of it is one transaction; else each statement is committed by itself.
    pub transaction: bool,
    /// How rows are printed.
    pub format: Format,
    /// Where they go.
    pub destination: Destination,
}

/// Whether the SQL may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `--confirm`, or a person at a terminal.
    Write,
    /// `--read-only`.
    ReadOnly,
    /// Nobody said that it may.
    Unconfirmed,
}

/// How far it has come.
#[derive(Debug, Default)]
struct Progress {
    executed: Vec<Executed>,
    /// How many statements have ended.
    completed: usize,
    /// Set from when the commit is sent.
    committing: bool,
}

impl Progress {
    /// A statement has ended. Equal commands in a row are counted together: a script may have very many.
    fn completed(&mut self, command: String, rows: Option<u64>) {
        self.completed += 1;
        match self.executed.last_mut() {
            Some(last) if last.command == command && last.rows.is_some() == rows.is_some() => {
                last.statements += 1;
                last.rows = last.rows.zip(rows).map(|(before, now)| before + now);
            }
            _ => self.executed.push(Executed {
                command,
                statements: 1,
                rows,
            }),
        }
    }
}

/// Runs it.
///
/// # Errors
/// The first failure. In the one transaction everything is rolled back then; else what was executed before it is in the outcome, and committed.
pub async fn execute(settings: &Settings, order: &Order, stop: &Stop, outcome: &mut Outcome) -> Result<Exit, Failure> {
    if !order.transaction && order.access == Access::Unconfirmed {
        return Err(Failure::new(
            Exit::Refused,
            "--no-transaction commits each statement by itself, which nobody has confirmed",
            "give --confirm too",
        ));
    }
    let sql = stop.unless(order.input.read()).await??;
    let statements = script::statements(&sql);
    check::check(&sql, &statements, order)?;
    let run_id = outcome.run_id.clone();
    let terms = settings.terms(&run_id);
    let opened = stop.unless(open::open_with_retry(&terms)).await??;
    outcome.database = Some(opened.server.clone());
    let session = &opened.session;
    let watch = Watch::new(&terms, opened.server.backend.pid, settings.progress_every);
    let run = Run {
        session,
        watch: &watch,
        stop,
        order,
        sql: &sql,
        statements: &statements,
    };
    let sink = match stop.unless(Sink::open(&order.destination, &run_id)).await {
        Ok(Ok(sink)) => sink,
        Ok(Err(failure)) | Err(failure) => {
            stop.goodbye(opened.session.close()).await;
            return Err(failure);
        }
    };
    let (mut progress, mut output) = (Progress::default(), Output::new(order.format, sink, stop));
    let ended = stop.ended(session, run.all(&mut progress, &mut output)).await;
    watch.end();
    let around = match &ended {
        Some(Err(Broken::Server(error, _))) if stop.reason().is_none() => {
            let looked = stop.unless(advice::look(session, error)).await;
            looked.unwrap_or_default()
        }
        _ => Around::default(),
    };
    let scene = Scene {
        order,
        sql: &sql,
        statements: &statements,
        progress: &progress,
        stopped: stop.reason(),
        blockers: watch.blockers(),
        writable: opened.server.writable,
        around,
    };
    let all_committed = !order.transaction && progress.completed == statements.len();
    let result = match ended {
        Some(Ok(())) => match output.publish(&order.destination).await {
            Ok(written) => {
                outcome.written = written;
                Ok(Exit::Success)
            }
            Err(error) if order.access == Access::Write => Ok(unwritten(order, &error, outcome)),
            Err(SinkError::Stopped) => Err(failure(&scene, Broken::Stopped)),
            Err(error) => Err(failure(&scene, Broken::Output(error, None))),
        },
        Some(Err(Broken::Output(error, _))) if all_committed => {
            output.discard().await;
            Ok(unwritten(order, &error, outcome))
        }
        broken => {
            output.discard().await;
            Err(broken
                .and_then(Result::err)
                .map_or_else(|| not_in_time(&scene), |broken| failure(&scene, broken)))
        }
    };
    if result.is_ok() || !order.transaction {
        outcome.executed = progress.executed;
    }
    // What is not committed is rolled back by the end of the session, if nothing else did.
    stop.goodbye(opened.session.close()).await;
    result
}

/// Everything is committed, and its rows are nowhere.
fn unwritten(order: &Order, error: &SinkError, outcome: &mut Outcome) -> Exit {
    let warning = format!(
        "all of it is committed, and its rows could not be written to {}: {error}; do not run it again before you have looked",
        order.destination
    );
    tracing::error!("{warning}");
    outcome.warnings.push(warning);
    Exit::Report
}
