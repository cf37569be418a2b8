//! The protocol: how a script and its row in the ledger come to commit together, and how it is known what became of them.
//!
//! Two messages, sent without waiting between them. The first holds the row's beginning, the script, and the row's end; the server runs it as one
//! transaction unless the script says otherwise. The second leaves whatever transaction is open, and reads the row. What it reads alone decides:
//! a finished row: applied; none: nothing was committed; an unfinished one: something was. The error that the script may have raised only explains.
//! What cannot be sent so goes statement by statement (`steps.rs`), marked before it runs. `docs/architecture.md` has the whole table.

pub mod alone;
pub mod cleanup;
pub mod error;
pub mod message;
mod record;
mod retry;
pub mod session_state;
mod steps;
pub mod together;
mod verdict;

use crate::database::lock;
use crate::database::open::Login;
use crate::database::server_error::ServerError;
use crate::database::session::{Sent, Session};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{Backend, Ledger, Mark, Marked};
use crate::plan::Pending;
use crate::sql::assertion::Assertion;
use crate::sql::script::{self, Shape};
use crate::sql::steps::{self as sql_steps, Cut};
use crate::stop::{self, Reason, Stop};
use crate::watch::Watch;
use cleanup::Cleanup;
use error::Context;
use message::{Insert, Lock, Message, Part};
use record::no_verdict;
use retry::Retry;
use serde::Serialize;
use std::time::{Duration, Instant};
use uuid::Uuid;
use verdict::{Form, Raised, Row, Verdict, judge};

const NOTHING_OF_IT: &str = "the running migration was rolled back: nothing of it is in the database";

/// How a migration was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Script and row in one transaction.
    Atomic,
    /// One statement by itself.
    Alone,
    /// Statement by statement.
    StepByStep,
    /// In one transaction with all other migrations of the run.
    Together,
}

impl How {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            How::Atomic => "in one transaction",
            How::Alone => "by itself, outside a transaction",
            How::StepByStep => "statement by statement",
            How::Together => "in one transaction with the others",
        }
    }
}

impl From<Shape> for How {
    fn from(shape: Shape) -> How {
        match shape {
            Shape::Atomic { .. } | Shape::Transactions | Shape::Undecidable => How::Atomic,
            Shape::Alone => How::Alone,
            Shape::StepByStep => How::StepByStep,
        }
    }
}

/// How an attempt ended that did not fail.
#[derive(Debug)]
pub enum End {
    /// The migration is applied.
    Applied {
        /// How it was sent.
        how: How,
        /// What the session is fit for.
        session: Fitness,
    },
    /// The connection was lost: the row with this id tells what became of the attempt.
    Lost {
        /// The attempt's row.
        id: String,
        /// What ended the connection.
        error: ServerError,
        /// Whether anything was sent that the row announces. Where nothing was, the announcement can be taken back.
        sent: bool,
        /// Whether the row shows what the attempt committed, once no backend works on it any more.
        told_by_its_row: bool,
    },
    /// A session that waits for the migration lock keeps this migration from running. Nothing of it is done: the lock is to be left to those who wait,
    /// and taken again.
    GiveWay,
}

/// What a session is fit for when a migration is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// The next migration.
    Ready,
    /// The next migration, once the migration lock is taken again: a script has released it.
    WithoutLock,
    /// Nothing more: it could not be brought back to how it began.
    Unclean,
}

/// What the second message read.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    row: Row,
    session: Fitness,
    /// What was read is part of a transaction that is not committed.
    in_transaction: bool,
}

/// What is needed to apply migrations: the session that holds the migration lock, and the run's terms.
pub struct Applier<'a> {
    /// The session that holds the migration lock.
    pub session: &'a Session,
    /// Where the rows go.
    pub ledger: &'a Ledger,
    /// The session's backend.
    pub backend: Backend,
    /// As whom the session began.
    pub login: &'a Login,
    /// This run.
    pub run_id: &'a str,
    /// How long the migration lock is waited for.
    pub lock_wait: Duration,
    /// How long a migration is tried again while other sessions hold its locks.
    pub lock_retry_for: Duration,
    /// Whether the run is to stop.
    pub stop: &'a Stop,
    /// What the server does meanwhile.
    pub watch: &'a Watch,
}

impl Applier<'_> {
    /// Applies one migration.
    ///
    /// # Errors
    /// The failure, with what state it left; the ledger has it too.
    pub async fn apply(&self, pending: &Pending<'_>) -> Result<End, Failure> {
        self.session.set_subject(Some(pending.name));
        self.watch.begin(Some(pending.name));
        let end = match (&pending.resume, pending.shape) {
            (Some(resume), _) => self.in_steps(pending, resume.cut).await,
            // A trigger may take the row away in the script's own transaction, and with it what blocks the next run.
            (None, Shape::Atomic { .. }) if self.ledger.defers() => self.in_steps(pending, Cut::Transactions).await,
            (None, Shape::Atomic { head, tail }) => self.atomic(pending, head, tail).await,
            (None, Shape::Transactions) => self.in_steps(pending, Cut::Transactions).await,
            (None, Shape::Undecidable) => self.undecidable(pending).await,
            (None, Shape::Alone | Shape::StepByStep) => self.in_steps(pending, Cut::Statements).await,
        };
        self.watch.end();
        self.session.set_subject(None);
        end
    }

    async fn atomic(&self, pending: &Pending<'_>, head_at: usize, tail_at: Option<usize>) -> Result<End, Failure> {
        let mut retry = Retry::new(self.lock_retry_for);
        let tail_at = tail_at.unwrap_or(pending.script.len());
        loop {
            let id = Uuid::new_v4().to_string();
            let started = Instant::now();
            let mark = self.mark(Marked::Partial(None));
            let begin = self.ledger.begin(&id, pending.name, &pending.checksum, &mark);
            // A transaction that the script does not end keeps the migration lock, whatever the script does with it.
            let head = vec![self.opening(pending), begin, lock::guard()];
            let mut tail = self.closing(pending, &id);
            tail.push(lock::keep());
            let inserts = vec![
                Insert {
                    at: head_at,
                    statements: head,
                    part: Part::Head,
                },
                Insert {
                    at: tail_at,
                    statements: tail,
                    part: Part::Tail,
                },
            ];
            let mut message = Message::weave(pending.script, 0..pending.script.len(), inserts);
            let (sent, seen) = self.send_whole(&mut message, &id, Lock::Kept).await?;
            let seen = match seen {
                Ok(seen) => seen,
                Err(error) if error.closed => return Ok(lost(id, error::why_lost(sent.error.as_ref(), error))),
                Err(error) => return Err(no_verdict(pending, &error)),
            };
            match judge(Form::Whole, seen.row, raised(&sent, seen.in_transaction)) {
                Verdict::Applied => {
                    return Ok(End::Applied {
                        how: How::Atomic,
                        session: seen.session,
                    });
                }
                Verdict::Nothing => {}
                verdict => return Err(self.unclear(pending, (&id, seen.row), verdict, sent, &message).await),
            }
            if let Some(reason) = self.cancelled_by(sent.error.as_ref().and_then(|error| error.sqlstate.as_deref())) {
                return Err(stop::interrupted(reason, NOTHING_OF_IT).of(pending.name));
            }
            match &sent.error {
                Some(_) if leaves_read_only_open(pending, &sent, &message) => {
                    let sent = Sent { error: None, ..sent };
                    let failure = self.explain(&context(pending), sent, &message).await;
                    return Err(self.rolled_back(pending, started, failure).await);
                }
                Some(error) if error::is_refusal(error) => {
                    if let Some(reason) = self.stop.reason() {
                        return Err(stop::interrupted(reason, NOTHING_OF_IT).of(pending.name));
                    }
                    if let Some(failure) = self.cannot_go_in_steps(pending, 0, Some(error)) {
                        return Err(self.rolled_back(pending, started, failure).await);
                    }
                    tracing::info!(
                        migration = pending.name,
                        "cannot run in one transaction ({}): runs statement by statement",
                        error.message
                    );
                    return self.in_steps(pending, Cut::Statements).await;
                }
                Some(error) if error::is_contention(error) => {
                    // What a script releases stays released where the script is rolled back.
                    if lock::is_lost(self.session).await {
                        let why = "the script releases the migration lock, without which it is not tried again";
                        return Err(self.still_locked(pending, error).detail(why));
                    }
                    if !self.again(&mut retry, pending, error).await? {
                        return Err(self.still_locked(pending, error));
                    }
                }
                _ => {
                    let failure = self.explain(&context(pending), sent, &message).await;
                    return Err(self.rolled_back(pending, started, failure).await);
                }
            }
        }
    }

    /// What closes the row in the script's own transaction.
    fn closing(&self, pending: &Pending<'_>, id: &str) -> Vec<String> {
        let close = self.ledger.close(id, &pending.checksum);
        // Deferred triggers run after it. Up to PostgreSQL 17 they run in the role that is set then.
        let mut tail = if pending.sets_role {
            message::noted(close, self.session)
        } else {
            let mut tail = message::before_close(self.session);
            tail.push(close);
            tail
        };
        tail.extend(self.ledger.confirm_closed(id));
        tail
    }

    /// A script with PREPARE TRANSACTION in it: what others make of that is not known here. Its row is committed before the script, in the same message,
    /// so it is there only if the server has the whole script and could parse it.
    async fn undecidable(&self, pending: &Pending<'_>) -> Result<End, Failure> {
        let id = Uuid::new_v4().to_string();
        let started = Instant::now();
        let mark = self.mark(Marked::Undecidable);
        let begin = self.ledger.begin(&id, pending.name, &pending.checksum, &mark);
        let head = vec![self.opening(pending), "BEGIN".to_owned(), begin, "COMMIT".to_owned()];
        let mut message = Message::new(pending.script, 0, head, self.closing(pending, &id));
        let (sent, seen) = self.send_whole(&mut message, &id, Lock::Unknown).await?;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) if error.closed => {
                return Ok(End::Lost {
                    id,
                    error: error::why_lost(sent.error.as_ref(), error),
                    sent: true,
                    told_by_its_row: false,
                });
            }
            Err(error) => return Err(no_verdict(pending, &error)),
        };
        // The row is committed by the fourth statement of ours.
        let unparsed = sent.completed < 4 && sent.error.as_ref().is_some_and(|error| !error.closed);
        match (seen.row, &sent.error) {
            (Row::Finished, None) if !seen.in_transaction => Ok(End::Applied {
                how: How::Atomic,
                session: seen.session,
            }),
            (Row::Missing, Some(error)) if unparsed => match self.cancelled_by(error.sqlstate.as_deref()) {
                Some(reason) => Err(stop::interrupted(reason, NOTHING_OF_IT).of(pending.name)),
                None => {
                    let failure = self.explain(&context(pending), sent, &message).await;
                    Err(self.rolled_back(pending, started, failure).await)
                }
            },
            _ => Err(self
                .unclear(pending, (&id, seen.row), Verdict::NotKnown, sent, &message)
                .await),
        }
    }

    /// Sends a whole script and its verdict. Where the script has left a transaction open, the verdict is asked for again, behind a ROLLBACK.
    async fn send_whole(
        &self,
        message: &mut Message,
        id: &str,
        lock: Lock,
    ) -> Result<(Sent, Result<Seen, ServerError>), Failure> {
        let kept = self.session.kept_settings();
        let verdict = message::verdict(self.ledger, id, &kept, lock);
        let script = self.session.script(std::mem::take(&mut message.text));
        let both = async {
            let (sent, seen) = tokio::join!(script, self.ask(&verdict));
            let is_open = match &seen {
                Ok(seen) => seen.in_transaction,
                // Others have locked the migrations table, which they cannot while a transaction that wrote to it is open.
                Err(error) if error::is_contention(error) => false,
                // The server's own error: that the transaction has failed, and nothing is answered in it.
                Err(error) => error.sqlstate.is_some() && !error.closed,
            };
            if !is_open && !seen.as_ref().is_err_and(error::is_contention) {
                return (sent, seen);
            }
            let mut retry = Retry::new(self.lock_retry_for);
            loop {
                let seen = self
                    .ask(&message::verdict_behind_rollback(self.ledger, id, &kept))
                    .await;
                match seen {
                    // Others have locked the migrations table.
                    Err(error) if error::is_contention(&error) && retry.again(id, &error).await => {}
                    seen => {
                        let seen = seen.map(|seen| Seen {
                            in_transaction: is_open && sent.error.is_none(),
                            ..seen
                        });
                        return (sent, seen);
                    }
                }
            }
        };
        self.stop
            .ended(self.session, both)
            .await
            .ok_or_else(|| self.not_in_time(true))
    }

    async fn ask(&self, verdict: &str) -> Result<Seen, ServerError> {
        let (rows, error) = self.session.rows_until_error(verdict).await;
        // Where settings are made again, each yields a row too.
        let row = rows.last().filter(|row| row.len() == message::VERDICT_COLUMNS);
        match (row, error) {
            // The row is read, and what comes behind it only brings the session back to how it began.
            (Some(row), error) if error.as_ref().is_none_or(|error| !error.closed) => {
                let mut seen = self.read_verdict(row)?;
                if let Some(error) = error {
                    tracing::warn!(
                        "the session could not be brought back to how it began ({}): a new one is opened",
                        error.message
                    );
                    seen.session = Fitness::Unclean;
                }
                Ok(seen)
            }
            (_, Some(error)) => Err(error),
            (_, None) => Err(strange("the verdict came without a row")),
        }
    }

    /// Waits before the next try of a migration that other sessions kept from its locks; false where the time for that is spent.
    async fn again(&self, retry: &mut Retry, pending: &Pending<'_>, error: &ServerError) -> Result<bool, Failure> {
        for blocker in self.watch.blockers() {
            tracing::warn!(migration = pending.name, "{blocker} was in its way");
        }
        let again = self.stop.unless(retry.again(pending.name, error)).await?;
        if again {
            self.watch.begin(Some(pending.name));
        }
        Ok(again)
    }

    fn opening(&self, pending: &Pending<'_>) -> String {
        message::opening(pending.name, &self.at_backend())
    }

    fn at_backend(&self) -> String {
        message::at_backend(self.backend.pid)
    }

    fn verdict_behind_rollback(&self, id: &str) -> String {
        message::verdict_behind_rollback(self.ledger, id, &self.session.kept_settings())
    }

    /// The failure of a run that was stopped and could not see what became of the running statement.
    fn not_in_time(&self, next_run_knows: bool) -> Failure {
        let pid = self.backend.pid;
        let Some(reason) = self.stop.reason() else {
            return Failure::new(
                Exit::Unexpected,
                "it stopped without having been asked to",
                "report this as a bug",
            )
            .state("not known to this run; the ledger knows");
        };
        if next_run_knows {
            stop::interrupted(
                reason,
                &format!(
                    "backend {pid} did not answer in time and may still be at work: the running migration may still be committed. \
                     The next run waits for that backend and then reads the migration's row"
                ),
            )
        } else {
            stop::interrupted_partially(
                reason,
                &format!(
                    "backend {pid} did not answer in time and may still be at work: the running statement may still be committed, \
                     and its row may not tell whether it was"
                ),
            )
        }
    }

    /// Why the run was stopped, where that is what ended this statement.
    fn cancelled_by(&self, sqlstate: Option<&str>) -> Option<Reason> {
        self.stop.reason().filter(|_| sqlstate == Some("57014"))
    }

    fn read_verdict(&self, row: &tokio_postgres::SimpleQueryRow) -> Result<Seen, ServerError> {
        // Where a pooler stands between, the run's id was made again a moment ago, and only the backend's number proves anything.
        let backend = row.get(4).and_then(|pid| pid.parse().ok());
        if row.get(2) != Some(self.run_id) || backend != Some(self.backend.pid) {
            return Err(strange(
                "another session answered: a pooler in transaction mode stands between this program and the server",
            ));
        }
        let seen = match row.get(0) {
            Some("finished") => Row::Finished,
            Some(_) if row.get(3).is_some_and(|logs| self.marks_whole(logs)) => Row::Ours(0),
            Some(_) => Row::Altered,
            None => Row::Missing,
        };
        Ok(Seen {
            row: seen,
            session: match row.get(1) {
                Some("t") => Fitness::Ready,
                _ => Fitness::WithoutLock,
            },
            in_transaction: row.get(5) == Some("t"),
        })
    }

    /// Whether this run has written this mark, for a script that it sent as a whole.
    fn marks_whole(&self, logs: &str) -> bool {
        Mark::parse(logs).is_some_and(|mark| {
            mark.run_id == self.run_id && matches!(mark.state, Marked::Partial(None) | Marked::Undecidable)
        })
    }

    fn cleanup<'a>(&'a self, migration: &'a str) -> Cleanup<'a> {
        Cleanup {
            session: self.session,
            watch: self.watch,
            migration,
            retry_for: self.lock_retry_for,
        }
    }

    fn mark(&self, state: Marked) -> Mark {
        // A row that is not visible before its script is committed need not say whose it is.
        let backend = (state != Marked::Partial(None)).then(|| self.backend.clone());
        Mark {
            run_id: self.run_id.to_owned(),
            backend,
            state,
        }
    }

    /// The failure that a script's error means, or its silence where nothing was raised and yet it was not applied.
    async fn explain(&self, context: &Context<'_>, sent: Sent, message: &Message) -> Failure {
        let Some(error) = sent.error else {
            return Failure::new(
                Exit::RolledBack,
                "the script leaves a transaction open: a BEGIN (or COMMIT AND CHAIN) has no COMMIT",
                "",
            )
            .prisma(Some("P3018"))
            .of(context.migration);
        };
        let in_tail = error.position.map(|at| message.place(at, context.script)) == Some(message::Place::Tail);
        if error.is(&["42601"]) && (in_tail || script::is_unterminated(context.script)) {
            return self.unterminated(context, error).await;
        }
        context.failure(&error, message, sent.completed)
    }

    /// The script's end swallowed our tail. Asked again with an end that can never be right, the server shows the script's own error and runs
    /// nothing, since it parses a whole message before it runs any of it.
    async fn unterminated(&self, context: &Context<'_>, first: ServerError) -> Failure {
        const NEVER_RIGHT: &str = "\n;)(";
        let text = format!("{}{NEVER_RIGHT}", context.script);
        let message = Message::new(&text, 0, Vec::new(), Vec::new());
        let again = self.session.script(message.text.clone()).await;
        let mut error = again.error.filter(|error| error.is(&["42601"])).unwrap_or(first);
        error.message = error.message.replace(NEVER_RIGHT, "");
        context.failure(&error, &message, 0)
    }
}

/// Whether a script ends in a READ ONLY transaction that it does not end, in which its row cannot be closed.
fn leaves_read_only_open(pending: &Pending<'_>, sent: &Sent, message: &Message) -> bool {
    let statements = pending.statements();
    steps::note_cannot_be_written(sent, message, &statements)
        && sql_steps::steps(pending.script, &statements, 0, Cut::Transactions)
            .iter()
            .any(|step| step.left_open)
}

/// What the server said of a message, for the verdict.
fn raised(sent: &Sent, left_open: bool) -> Raised {
    match &sent.error {
        None if left_open => Raised::LeftOpen,
        None => Raised::Nothing,
        Some(error) if matches!(error.assertion, Some(Assertion::Written | Assertion::Changed)) => Raised::Ours,
        Some(_) => Raised::Script,
    }
}

fn lost(id: String, error: ServerError) -> End {
    End::Lost {
        id,
        error,
        sent: true,
        told_by_its_row: true,
    }
}

fn context<'a>(pending: &'a Pending<'_>) -> Context<'a> {
    Context {
        migration: pending.name,
        script: pending.script,
        statements: pending.statements(),
    }
}

fn strange(message: &str) -> ServerError {
    ServerError::ours(message)
}
