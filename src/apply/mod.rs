//! The protocol: how a script and its row in the ledger come to commit together, and how it is known what became of them.
//!
//! Two messages, sent without waiting between them. The first holds the row's beginning, the script, and the row's end; the server runs it as one
//! transaction unless the script says otherwise. The second leaves whatever transaction is open, and reads the row. What it reads alone decides:
//! a finished row: applied; none: nothing was committed; an unfinished one: something was. The error that the script may have raised only explains.
//! What cannot be sent so goes statement by statement (`steps.rs`), marked before it runs. `docs/architecture.md` has the whole table.

pub mod alone;
pub mod error;
pub mod message;
mod record;
mod retry;
mod steps;
pub mod together;

use crate::database::lock;
use crate::database::server_error::ServerError;
use crate::database::session::{Sent, Session};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{Ledger, Mark, Marked};
use crate::plan::Pending;
use crate::sql::script::{self, Shape};
use crate::stop::{self, Reason, Stop};
use crate::watch::Watch;
use error::Context;
use message::{Lock, Message};
use record::no_verdict;
use retry::Retry;
use serde::Serialize;
use std::time::{Duration, Instant};
use uuid::Uuid;

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

impl From<Shape> for How {
    fn from(shape: Shape) -> How {
        match shape {
            Shape::Atomic { .. } | Shape::Undecidable => How::Atomic,
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
        /// Whether the session still holds the migration lock: a script may have released it.
        lock_held: bool,
    },
    /// The connection was lost: the row with this id tells what became of the attempt.
    Lost {
        /// The attempt's row.
        id: String,
        /// What ended the connection.
        error: ServerError,
        /// Whether anything was sent that the row announces. Where nothing was, the announcement can be taken back.
        sent: bool,
    },
    /// A session that waits for the migration lock keeps this migration from running, or the migration released the lock between two of its steps.
    /// The ledger has whatever is done of it: the lock is to be left to those who wait, and taken again.
    GiveWay,
}

/// What the second message read.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    row: RowSeen,
    lock_held: bool,
    /// What was read is part of a transaction that is not committed.
    in_transaction: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum RowSeen {
    Finished,
    Unfinished { steps: usize },
    None,
}

/// What is needed to apply migrations: the session that holds the migration lock, and the run's terms.
pub struct Applier<'a> {
    /// The session that holds the migration lock.
    pub session: &'a Session,
    /// Where the rows go.
    pub ledger: &'a Ledger,
    /// The session's backend.
    pub pid: u32,
    /// This run.
    pub run_id: &'a str,
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
        let end = match pending.shape {
            _ if pending.resume.is_some() => self.step_by_step(pending).await,
            Shape::Atomic { head, whole } => self.atomic(pending, head, whole).await,
            Shape::Undecidable => self.undecidable(pending).await,
            Shape::Alone | Shape::StepByStep => self.step_by_step(pending).await,
        };
        self.watch.end();
        self.session.set_subject(None);
        end
    }

    async fn atomic(&self, pending: &Pending<'_>, at: usize, whole: bool) -> Result<End, Failure> {
        let mut retry = Retry::new(self.lock_retry_for);
        // A transaction that the script does not end keeps the migration lock, whatever the script does with it.
        let lock = if whole { Lock::Kept } else { Lock::Unknown };
        loop {
            let id = Uuid::new_v4().to_string();
            let started = Instant::now();
            let mark = self.mark(Marked::Partial);
            let begin = self.ledger.begin(&id, pending.name, &pending.checksum, &mark);
            let mut head = vec![self.opening(pending), begin];
            let mut tail = self.before_close();
            tail.push(self.ledger.close(&id, &pending.checksum));
            if lock == Lock::Kept {
                head.push(lock::guard());
                tail.push(lock::keep());
            }
            let mut message = Message::new(pending.script, at, &head, &tail);
            let (sent, verdict) = self.send_whole(&mut message, &id, lock).await?;
            let verdict = match verdict {
                Ok(verdict) => verdict,
                Err(error) if error.closed => return Ok(End::Lost { id, error, sent: true }),
                Err(error) => return Err(no_verdict(pending, &error)),
            };
            match verdict.row {
                RowSeen::Finished => {
                    return Ok(End::Applied {
                        how: How::Atomic,
                        lock_held: verdict.lock_held,
                    });
                }
                RowSeen::Unfinished { .. } if pending.enclosed => {
                    if let Err(failure) = self.write(&self.ledger.close(&id, &pending.checksum), pending).await {
                        if failure.connection_lost {
                            let error = ServerError::closed(failure.what);
                            return Ok(End::Lost { id, error, sent: true });
                        }
                        return Err(failure);
                    }
                    return Ok(End::Applied {
                        how: How::Atomic,
                        lock_held: verdict.lock_held,
                    });
                }
                RowSeen::Unfinished { .. } => {
                    let failure = self.explain(&context(pending), sent, &message).await;
                    return Err(self.partially_committed(pending, &id, failure).await);
                }
                RowSeen::None => {}
            }
            if let Some(reason) = self.cancelled_by(sent.error.as_ref().and_then(|error| error.sqlstate.as_deref())) {
                return Err(stop::interrupted(reason, NOTHING_OF_IT).of(pending.name));
            }
            match &sent.error {
                Some(error) if error::is_refusal(error) => {
                    tracing::info!(
                        migration = pending.name,
                        "cannot run in one transaction ({}): runs statement by statement",
                        error.message
                    );
                    return self.step_by_step(pending).await;
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

    /// A script with ROLLBACK in it may take back its own row, so that the row's absence would prove nothing: it is committed before the script, in the
    /// same message. So it is there only if the server has the whole script and could parse it.
    async fn undecidable(&self, pending: &Pending<'_>) -> Result<End, Failure> {
        let id = Uuid::new_v4().to_string();
        let started = Instant::now();
        let mark = self.mark(Marked::Undecidable);
        let begin = self.ledger.begin(&id, pending.name, &pending.checksum, &mark);
        let mut tail = self.before_close();
        tail.push(self.ledger.close(&id, &pending.checksum));
        let mut message = Message::new(
            pending.script,
            0,
            &[self.opening(pending), "BEGIN".to_owned(), begin, "COMMIT".to_owned()],
            &tail,
        );
        let (sent, verdict) = self.send_whole(&mut message, &id, Lock::Unknown).await?;
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) if error.closed => return Ok(End::Lost { id, error, sent: true }),
            Err(error) => return Err(no_verdict(pending, &error)),
        };
        match verdict.row {
            RowSeen::Finished => Ok(End::Applied {
                how: How::Atomic,
                lock_held: verdict.lock_held,
            }),
            RowSeen::Unfinished { .. } => {
                let failure = self.explain(&context(pending), sent, &message).await;
                Err(self.partially_committed(pending, &id, failure).await)
            }
            RowSeen::None => match self.cancelled_by(sent.error.as_ref().and_then(|error| error.sqlstate.as_deref())) {
                Some(reason) => Err(stop::interrupted(reason, NOTHING_OF_IT).of(pending.name)),
                None => {
                    let failure = self.explain(&context(pending), sent, &message).await;
                    Err(self.rolled_back(pending, started, failure).await)
                }
            },
        }
    }

    /// Sends a whole script and its verdict. Where the script has left a transaction open, the verdict is asked for again, behind a ROLLBACK.
    async fn send_whole(
        &self,
        message: &mut Message,
        id: &str,
        lock: Lock,
    ) -> Result<(Sent, Result<Verdict, ServerError>), Failure> {
        let verdict = message::verdict(self.ledger, id, &self.session.kept_settings(), lock);
        let script = self.session.script(std::mem::take(&mut message.text));
        let both = async {
            let (sent, seen) = tokio::join!(script, self.ask(&verdict));
            let is_open = match &seen {
                Ok(seen) => seen.in_transaction,
                // The server's own error: that the transaction has failed, and nothing is answered in it.
                Err(error) => error.sqlstate.is_some() && !error.closed,
            };
            match is_open {
                true => (sent, self.ask(&self.verdict_behind_rollback(id)).await),
                false => (sent, seen),
            }
        };
        self.stop
            .ended(self.session, both)
            .await
            .ok_or_else(|| self.not_in_time())
    }

    /// Sends both messages at once and reads both answers.
    async fn send(
        &self,
        message: &mut Message,
        verdict: &str,
    ) -> Result<(Sent, Result<Verdict, ServerError>), Failure> {
        let script = self.session.script(std::mem::take(&mut message.text));
        let both = async { tokio::join!(script, self.ask(verdict)) };
        self.stop
            .ended(self.session, both)
            .await
            .ok_or_else(|| self.not_in_time())
    }

    async fn ask(&self, verdict: &str) -> Result<Verdict, ServerError> {
        self.read_verdict(&self.session.raw(verdict).await?)
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
        message::at_backend(self.pid)
    }

    fn step_verdict(&self, id: &str) -> String {
        message::step_verdict(self.ledger, id, self.session.made_setting("role"))
    }

    fn before_close(&self) -> Vec<String> {
        message::before_close(self.session.made_setting("role"))
    }

    fn verdict_behind_rollback(&self, id: &str) -> String {
        message::verdict_behind_rollback(self.ledger, id, &self.session.kept_settings())
    }

    /// The failure of a run that was stopped and could not see what became of the running statement.
    fn not_in_time(&self) -> Failure {
        let state =
            "what the server made of the running statement was not seen in time; the next run reads it from the ledger";
        match self.stop.reason() {
            Some(reason) => stop::interrupted_partially(reason, state),
            None => Failure::new(
                Exit::Unexpected,
                "it stopped without having been asked to",
                "report this as a bug",
            )
            .state(state),
        }
    }

    /// Why the run was stopped, where that is what ended this statement.
    fn cancelled_by(&self, sqlstate: Option<&str>) -> Option<Reason> {
        self.stop.reason().filter(|_| sqlstate == Some("57014"))
    }

    fn read_verdict(&self, rows: &[tokio_postgres::SimpleQueryRow]) -> Result<Verdict, ServerError> {
        let row = rows.last().ok_or_else(|| strange("the verdict came without a row"))?;
        // Where a pooler stands between, the run's id was made again a moment ago, and only the backend's number proves anything.
        let backend = row.get(4).and_then(|pid| pid.parse().ok());
        if row.get(2) != Some(self.run_id) || backend != Some(self.pid) {
            return Err(strange(
                "another session answered: a pooler in transaction mode stands between this program and the server",
            ));
        }
        let steps = row.get(3).and_then(|n| n.parse().ok()).unwrap_or(0);
        let seen = match row.get(0) {
            Some("finished") => RowSeen::Finished,
            Some(_) => RowSeen::Unfinished { steps },
            None => RowSeen::None,
        };
        Ok(Verdict {
            row: seen,
            lock_held: row.get(1) == Some("t"),
            in_transaction: row.get(5) == Some("t"),
        })
    }

    fn mark(&self, state: Marked) -> Mark {
        Mark {
            run_id: self.run_id.to_owned(),
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
        let in_tail = error.position.map(|at| message.place(at)) == Some(message::Place::Tail);
        if error.is(&["42601"]) && (in_tail || script::is_unterminated(context.script)) {
            return self.unterminated(context, error).await;
        }
        context.failure(&error, message, sent.completed)
    }

    /// The script's end swallowed our tail. Asked again with an end that can never be right, the server shows the script's own error and runs
    /// nothing, since it parses a whole message before it runs any of it.
    async fn unterminated(&self, context: &Context<'_>, first: ServerError) -> Failure {
        const NEVER_RIGHT: &str = "\n;)(";
        let message = Message::new(&format!("{}{NEVER_RIGHT}", context.script), 0, &[], &[]);
        let again = self.session.script(message.text.clone()).await;
        let mut error = again.error.filter(|error| error.is(&["42601"])).unwrap_or(first);
        error.message = error.message.replace(NEVER_RIGHT, "");
        context.failure(&error, &message, 0)
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
    ServerError {
        sqlstate: None,
        routine: None,
        message: message.to_owned(),
        details: Vec::new(),
        position: None,
        closed: false,
    }
}
