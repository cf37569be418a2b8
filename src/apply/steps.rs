//! Statement by statement: for what the server refuses as a whole.
//!
//! A statement that can run in a transaction shares it with a note in the row of how far the script has come. One that cannot is announced in the
//! row before it is sent ([`super::alone`]). A later run goes on behind the last committed step if the text before it is unchanged.

use super::alone::{self, AloneEnd};
use super::error::{self, Context};
use super::message::{self, Message};
use super::record::{logs, no_verdict, rolled_back};
use super::retry::Retry;
use super::{Applier, End, How, RowSeen, context};
use crate::database::lock;
use crate::database::server_error::ServerError;
use crate::exit::Exit;
use crate::failure::{Failure, resolve_by_hand, resolve_or_retry};
use crate::history::Marked;
use crate::plan::Pending;
use crate::sql::kind::{self, Alone};
use crate::sql::steps::{Step, prefix, steps};
use crate::stop;
use uuid::Uuid;

/// The row of a script that goes step by step.
struct Progress {
    id: String,
    /// Whether the row is in the ledger yet.
    written: bool,
    done: usize,
}

impl Applier<'_> {
    /// Sends a script step by step, from where an earlier run stopped if there was one.
    pub(super) async fn step_by_step(&self, pending: &Pending<'_>) -> Result<End, Failure> {
        let mut progress = match &pending.resume {
            Some(resume) => Progress {
                id: resume.id.clone(),
                written: true,
                done: resume.done,
            },
            None => Progress {
                id: Uuid::new_v4().to_string(),
                written: false,
                done: 0,
            },
        };
        match self.all_steps(pending, &mut progress).await {
            // Lost between two steps: the row tells how far it came, as after any other loss.
            Err(failure) if failure.connection_lost => Ok(End::Lost {
                id: progress.id,
                error: ServerError::closed(failure.what),
                sent: true,
            }),
            ended => ended,
        }
    }

    async fn all_steps(&self, pending: &Pending<'_>, progress: &mut Progress) -> Result<End, Failure> {
        let steps = steps(pending.script, &pending.statements());
        // What the steps before the interruption set, the session of this run does not have.
        for step in steps.iter().take(progress.done).filter(|step| step.setting) {
            let made = self.session.raw(&pending.script[step.range.clone()]).await;
            made.map_err(|error| no_verdict(pending, &error))?;
        }
        let mut lock_held = true;
        for (at, step) in steps.iter().enumerate().skip(progress.done) {
            let end = match &step.alone {
                Some(alone) => self.alone_step(pending, &steps, at, alone, progress).await?,
                None => self.step(pending, &steps, at, progress).await?,
            };
            match end {
                // The row says how far it came: another run may go on with it meanwhile, as this one will where none does.
                StepEnd::Done { lock_held: false } if at + 1 < steps.len() => {
                    tracing::warn!(
                        migration = pending.name,
                        "released the migration lock between two steps: it is taken again"
                    );
                    return Ok(End::GiveWay);
                }
                StepEnd::Done { lock_held: held } => lock_held = held,
                StepEnd::Lost(end) | StepEnd::GiveWay(end) => return Ok(end),
            }
            progress.done = at + 1;
        }
        if !progress.written {
            self.write_mark(pending, &steps, progress).await?;
        }
        // The last step may have left another role behind.
        let mut close = self.before_close();
        close.push(self.ledger.close(&progress.id, &pending.checksum));
        self.write(&close.join("; "), pending).await?;
        // Brings the session back to how it began.
        let _ = self.session.raw(&self.verdict_behind_rollback(&progress.id)).await;
        let how = if steps.len() == 1 { How::Alone } else { How::StepByStep };
        Ok(End::Applied { how, lock_held })
    }

    /// One step in a transaction with its note.
    async fn step(
        &self,
        pending: &Pending<'_>,
        steps: &[Step],
        at: usize,
        progress: &mut Progress,
    ) -> Result<StepEnd, Failure> {
        let step = &steps[at];
        if !progress.written {
            self.write_mark(pending, steps, progress).await?;
        }
        let mut retry = Retry::new(self.lock_retry_for);
        loop {
            let done = at + 1;
            let mark = self.mark(Marked::Steps {
                done,
                prefix: prefix(pending.script, steps, done),
            });
            let note = self.ledger.remark(&progress.id, &mark, done);
            let text = &pending.script[step.range.clone()];
            let mut head = vec![self.opening(pending)];
            match steps[..at].iter().any(|before| before.setting) {
                true => head.extend(message::under_our_role(note, self.session.made_setting("role"))),
                false => head.push(note),
            }
            let mut message = Message::new(text, step.head, &head, &[]);
            let (sent, verdict) = self.send(&mut message, &self.step_verdict(&progress.id)).await?;
            let verdict = match verdict {
                Ok(verdict) => verdict,
                Err(error) => return Err(no_verdict(pending, &error)),
            };
            if verdict.row == (RowSeen::Unfinished { steps: done }) {
                return Ok(StepEnd::Done {
                    lock_held: verdict.lock_held,
                });
            }
            match sent.error {
                Some(error) if error::is_refusal(&error) => {
                    let alone = Alone::Opaque {
                        commits: kind::may_commit(text),
                    };
                    return self.alone_step(pending, steps, at, &alone, progress).await;
                }
                Some(error) if error::is_contention(&error) => {
                    if !self.again(&mut retry, pending, &error).await? {
                        let failure = self.still_locked(pending, &error);
                        return Err(self.stopped(pending, steps, progress, failure).await);
                    }
                }
                Some(error) => {
                    let failure = context(pending).step_failure(&error, &message, step.range.start);
                    return Err(self.stopped(pending, steps, progress, failure).await);
                }
                None => {
                    let failure = Failure::new(Exit::RolledBack, "the script leaves a transaction open", "")
                        .prisma(Some("P3018"))
                        .of(pending.name);
                    return Err(self.stopped(pending, steps, progress, failure).await);
                }
            }
        }
    }

    /// One step that cannot run in a transaction.
    async fn alone_step(
        &self,
        pending: &Pending<'_>,
        steps: &[Step],
        at: usize,
        alone: &Alone,
        progress: &mut Progress,
    ) -> Result<StepEnd, Failure> {
        let step = &steps[at];
        let text = &pending.script[step.range.clone()];
        let mut retry = Retry::new(self.lock_retry_for);
        loop {
            let before = alone::look(self.session, alone)
                .await
                .map_err(|error| no_verdict(pending, &error))?;
            let mark = Marked::Alone {
                step: at + 1,
                prefix: prefix(pending.script, steps, at),
                before: before.clone(),
            };
            if let Err(failure) = self.announce(pending, progress, mark).await {
                return unsent(&progress.id, failure).map(StepEnd::Lost);
            }
            let Some(ended) = alone::send(self.session, self.stop, alone, text, &before).await else {
                return Err(self.not_in_time());
            };
            let end = match ended {
                Ok(end) => end,
                Err(error) => return Err(no_verdict(pending, &error)),
            };
            match end {
                AloneEnd::Done => {
                    let done = Marked::Steps {
                        done: at + 1,
                        prefix: prefix(pending.script, steps, at + 1),
                    };
                    let sql = format!(
                        "{}; {}",
                        self.ledger.remark(&progress.id, &self.mark(done), at + 1),
                        self.step_verdict(&progress.id)
                    );
                    let lock_held = match self.session.raw(&sql).await.and_then(|rows| self.read_verdict(&rows)) {
                        Ok(verdict) => verdict.lock_held,
                        Err(error) => return Err(no_verdict(pending, &error)),
                    };
                    return Ok(StepEnd::Done { lock_held });
                }
                AloneEnd::Contention(error) => {
                    let waiters = lock::waiters(self.session).await.unwrap_or_default();
                    for waiter in &waiters {
                        tracing::warn!(
                            migration = pending.name,
                            "{waiter} waits for the migration lock with an open snapshot, which this statement must outwait"
                        );
                    }
                    if waiters.iter().any(|waiter| waiter.outlasts_prisma()) {
                        self.take_back(pending, steps, progress).await?;
                        return Ok(StepEnd::GiveWay(End::GiveWay));
                    }
                    if !self.again(&mut retry, pending, &error).await? {
                        let failure = self.still_locked(pending, &error);
                        return Err(self.stopped(pending, steps, progress, failure).await);
                    }
                }
                AloneEnd::Failed(error) => {
                    let failure = context(pending).statement_failure(&error, step.range.start);
                    return Err(self.stopped(pending, steps, progress, failure).await);
                }
                AloneEnd::Invalid { index, error } => {
                    let failure = invalid_index(&context(pending), &index, error.as_ref(), step.range.start);
                    return Err(self.stopped(pending, steps, progress, failure).await);
                }
                AloneEnd::Unknown(error) => {
                    let failure = context(pending).statement_failure(&error, step.range.start);
                    let mut failure = self.partially_committed(pending, &progress.id, failure).await;
                    failure.next = resolve_or_retry(pending.name, at + 1);
                    return Err(failure);
                }
            }
        }
    }

    /// Writes the row, or its new mark, before something is sent that cannot share a transaction with it.
    async fn announce(&self, pending: &Pending<'_>, progress: &mut Progress, mark: Marked) -> Result<(), Failure> {
        let mark = self.mark(mark);
        let sql = if progress.written {
            self.ledger.remark(&progress.id, &mark, progress.done)
        } else {
            self.ledger.begin(&progress.id, pending.name, &pending.checksum, &mark)
        };
        self.write(&sql, pending).await?;
        progress.written = true;
        Ok(())
    }

    /// Writes what is done so far.
    async fn write_mark(&self, pending: &Pending<'_>, steps: &[Step], progress: &mut Progress) -> Result<(), Failure> {
        let done = progress.done;
        let mark = Marked::Steps {
            done,
            prefix: prefix(pending.script, steps, done),
        };
        self.announce(pending, progress, mark).await
    }

    /// Leaves the row as a later run can go on from: rolled back where nothing is committed, else unfinished behind its last committed step.
    async fn take_back(&self, pending: &Pending<'_>, steps: &[Step], progress: &mut Progress) -> Result<(), Failure> {
        if progress.done == 0 {
            let sql = self.ledger.roll_back(
                &progress.id,
                "gave way to another session that waits for the migration lock",
            );
            return self.write(&sql, pending).await;
        }
        self.write_mark(pending, steps, progress).await
    }

    /// Ends a script at a step that left nothing of itself behind.
    async fn stopped(
        &self,
        pending: &Pending<'_>,
        steps: &[Step],
        progress: &mut Progress,
        mut failure: Failure,
    ) -> Failure {
        let done = progress.done;
        if let Some(reason) = self.cancelled_by(failure.sqlstate.as_deref()) {
            failure = stop::interrupted(reason, "").of(pending.name);
        }
        let stopped = failure.exit == Exit::Interrupted;
        let kept = if done == 0 {
            failure = rolled_back(failure);
            self.session
                .rows(&self.ledger.roll_back(&progress.id, &logs(&failure)))
                .await
                .map(drop)
        } else {
            let line = pending.script[..steps[done - 1].range.end].matches('\n').count() + 1;
            failure.exit = if stopped {
                Exit::InterruptedPartially
            } else {
                Exit::PartiallyCommitted
            };
            failure.state = format!(
                "statement by statement: {done} of {} steps are committed (to line {line}), the next one left nothing behind",
                steps.len()
            );
            failure.next = if stopped {
                failure.next
            } else {
                format!(
                    "mend the text behind line {line} and deploy again: it goes on there as long as the text before is unchanged; or {}",
                    resolve_by_hand(pending.name)
                )
            };
            let mark = self.mark(Marked::Steps {
                done,
                prefix: prefix(pending.script, steps, done),
            });
            let sql = format!(
                "{}; {}",
                self.ledger.remark(&progress.id, &mark, done),
                self.ledger.explain(&progress.id, &logs(&failure))
            );
            self.session.raw(&sql).await.map(drop)
        };
        if let Err(error) = kept {
            tracing::warn!(
                migration = pending.name,
                "the failure could not be recorded in the ledger: {}",
                error.message
            );
        }
        let _ = self.session.raw(&self.verdict_behind_rollback(&progress.id)).await;
        failure
    }
}

/// The connection was lost while the row was written that announces what is sent after it; the failure itself where it was not lost.
fn unsent(id: &str, failure: Failure) -> Result<End, Failure> {
    if !failure.connection_lost {
        return Err(failure);
    }
    Ok(End::Lost {
        id: id.to_owned(),
        error: ServerError::closed(failure.what),
        sent: false,
    })
}

enum StepEnd {
    Done { lock_held: bool },
    Lost(End),
    GiveWay(End),
}

fn invalid_index(context: &Context<'_>, index: &str, error: Option<&ServerError>, start: usize) -> Failure {
    let mut failure = Failure::new(
        Exit::RolledBack,
        match error {
            Some(error) => error.message.clone(),
            None => format!("the index {index} was there before, INVALID, and IF NOT EXISTS did not build it"),
        },
        format!("drop it with `DROP INDEX CONCURRENTLY {index}` and deploy again"),
    )
    .prisma(Some("P3018"))
    .of(context.migration);
    failure.details.push(format!(
        "the INVALID index {index} is not of this run and was left as it is"
    ));
    failure.place = Some(crate::excerpt::place(
        context.migration,
        context.script,
        context.script[..start].chars().count(),
    ));
    failure
}
