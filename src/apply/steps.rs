//! Scripts that are gone on with where they stopped: several transactions in one message, or statement by statement.
//!
//! The row is committed before anything of the script is sent. Each transaction of the script takes a note into the row with it: how far the script has
//! come. A statement that cannot run in a transaction is announced in the row before it is sent ([`super::alone`]), and noted after it. A later run goes
//! on behind the last committed note if the text before it is unchanged and its session can be made like the one that ended.

use super::alone::{self, AloneEnd};
use super::cleanup::NotCleaned;
use super::error;
use super::message::{self, Failed, Insert, Message, Part};
use super::record::{Left, no_verdict};
use super::retry::Retry;
use super::session_state::{self, NotRestored, custom_settings};
use super::verdict::{Form, Row, Verdict, judge};
use super::{Applier, End, Fitness, How, context, raised, strange};
use crate::database::lock;
use crate::database::server_error::ServerError;
use crate::database::session::Sent;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{Mark, Marked, Prefix, Progress, SessionMark, SessionState};
use crate::plan::Pending;
use crate::sql::kind::{self, Alone, Kind};
use crate::sql::local;
use crate::sql::quote;
use crate::sql::script::Statement;
use crate::sql::steps::{Boundary, Cut, Step, boundaries, can_begin_at, leaves_session, steps};
use crate::stop;
use std::borrow::Cow;
use std::ops::Range;
use uuid::Uuid;

/// A script that is being sent, and how far it has come.
pub(super) struct Run<'a> {
    pub(super) pending: &'a Pending<'a>,
    statements: Cow<'a, [Statement]>,
    boundaries: Vec<Boundary>,
    /// Settings of its own that the script names.
    custom: Vec<String>,
    pub(super) cut: Cut,
    pub(super) id: String,
    /// Whether the row is in the ledger yet.
    written: bool,
    /// Transactions or steps that are committed.
    pub(super) done: usize,
    /// All of them.
    pub(super) of: usize,
    /// The end of what is committed, in bytes of the script.
    pub(super) at: usize,
    /// Whether a statement was sent last whose end nothing but its own answer tells.
    opaque: bool,
    /// What the script has made of the session; none where it could not be read.
    session: Option<SessionState>,
    /// Whether the session is as what is committed has left it, so that the rest can be sent again.
    can_resend: bool,
}

/// What was read behind a message.
struct Behind {
    row: Row,
    lock_held: bool,
    session: Option<SessionState>,
    /// What the row says of the session.
    noted: Option<SessionMark>,
}

enum StepEnd {
    Done {
        lock_held: bool,
    },
    /// Less than the whole step is committed: what is left is cut anew.
    Cut,
    End(End),
}

impl<'a> Run<'a> {
    fn new(pending: &'a Pending<'a>, cut: Cut) -> Run<'a> {
        let statements = pending.statements();
        let resume = pending.resume.as_ref();
        let mut run = Run {
            boundaries: boundaries(pending.script, &statements),
            custom: custom_settings(pending.script),
            statements,
            pending,
            cut,
            id: resume.map_or_else(|| Uuid::new_v4().to_string(), |resume| resume.id.clone()),
            written: resume.is_some(),
            done: resume.map_or(0, |resume| resume.done),
            of: 0,
            at: resume.map_or(0, |resume| resume.at),
            opaque: false,
            session: Some(SessionState::default()),
            can_resend: true,
        };
        run.of = run.done + run.rest().iter().map(|step| step.notes.len()).sum::<usize>();
        run
    }

    /// What is left, as messages.
    fn rest(&self) -> Vec<Step> {
        steps(self.pending.script, &self.statements, self.at, self.cut)
    }

    /// Goes on in another way from where it is.
    fn cut_anew(&mut self, cut: Cut) -> Vec<Step> {
        self.cut = cut;
        let rest = self.rest();
        self.of = self.done + rest.iter().map(|step| step.notes.len()).sum::<usize>();
        rest
    }

    /// The mark of what would be committed with the text up to `at`.
    pub(super) fn marked(&self, done: usize, at: usize, session: SessionMark) -> Marked {
        let progress = self.progress(done, at, session);
        match self.cut {
            Cut::Transactions => Marked::Partial(Some(progress)),
            Cut::Statements => Marked::Steps(progress),
        }
    }

    fn progress(&self, done: usize, at: usize, session: SessionMark) -> Progress {
        let found = self.boundaries.binary_search_by_key(&at, |boundary| boundary.at);
        let text = found.map_or_else(|_| String::new(), |found| self.boundaries[found].text.clone());
        Progress {
            done,
            before: Prefix::Text(text),
            session,
        }
    }

    /// What is known of the session.
    pub(super) fn known(&self) -> SessionMark {
        match &self.session {
            Some(state) => SessionMark::Known(Box::new(state.clone())),
            None => SessionMark::Unread,
        }
    }

    /// What will be known of the session behind this place without reading it.
    fn known_behind(&self, end: usize) -> SessionMark {
        let between = |statement: &&Statement| statement.range.start >= self.at && statement.range.end <= end;
        let inert = self
            .statements
            .iter()
            .filter(between)
            .all(|statement| leaves_session(&self.pending.script[statement.range.clone()]));
        match inert {
            true => self.known(),
            false => SessionMark::Unread,
        }
    }

    /// The line on which the committed part ends.
    pub(super) fn line(&self) -> usize {
        self.pending.script[..self.at].trim_end().matches('\n').count() + 1
    }
}

impl Applier<'_> {
    /// Sends a script from where an earlier run stopped, if there was one.
    pub(super) async fn in_steps(&self, pending: &Pending<'_>, cut: Cut) -> Result<End, Failure> {
        let mut run = Run::new(pending, cut);
        match self.all_steps(&mut run).await {
            // Lost between two steps: the row tells how far it came, as after any other loss.
            Err(failure) if failure.connection_lost => Ok(End::Lost {
                id: run.id,
                error: ServerError::closed(failure.what),
                sent: true,
                told_by_its_row: !run.opaque,
            }),
            ended => ended,
        }
    }

    async fn all_steps(&self, run: &mut Run<'_>) -> Result<End, Failure> {
        let pending = run.pending;
        if let Some(resume) = &pending.resume {
            if let Some(failure) = self.cannot_be_restored(run, &resume.session).await? {
                return Err(failure);
            }
            // The row names the backend that works on it.
            self.write_mark(run).await?;
        }
        if self.ledger.defers() {
            if !run.written {
                self.write_mark(run).await?;
            }
            self.is_kept(run).await?;
        }
        let mut rest = run.rest();
        let mut at = 0;
        let mut lock_held = true;
        let mut retry = Retry::new(self.lock_retry_for);
        while at < rest.len() {
            let step = rest[at].clone();
            let read_only = || {
                run.session.as_ref().is_some_and(|state| {
                    state
                        .settings
                        .get("default_transaction_read_only")
                        .is_some_and(|on| on == "on")
                })
            };
            // In a transaction that cannot write, no note can be either; it does no harm when it runs once more.
            let alone = step
                .alone
                .clone()
                .or_else(|| (read_only() && !step.read_write).then_some(Alone::Repeatable { concurrently: false }));
            let end = match &alone {
                Some(alone) => self.alone_step(run, &step, alone, &mut retry).await?,
                None => self.step(run, &step, &mut retry).await?,
            };
            match end {
                StepEnd::Done { lock_held: held } => {
                    lock_held = held;
                    at += 1;
                    retry = Retry::new(self.lock_retry_for);
                    if !held && at < rest.len() {
                        self.take_lock_again(run).await?;
                        lock_held = true;
                    }
                }
                StepEnd::Cut => {
                    rest = run.rest();
                    at = 0;
                }
                StepEnd::End(end) => return Ok(end),
            }
        }
        let how = match run.cut {
            Cut::Transactions => How::Atomic,
            Cut::Statements if run.of <= 1 => How::Alone,
            Cut::Statements => How::StepByStep,
        };
        if run.cut == Cut::Statements || run.at < pending.script.len() {
            self.close(run).await?;
        }
        Ok(End::Applied {
            how,
            session: self.begin_again(&run.id, lock_held).await,
        })
    }

    /// Closes the row of a script whose steps are all committed.
    async fn close(&self, run: &mut Run<'_>) -> Result<(), Failure> {
        if !run.written {
            self.write_mark(run).await?;
        }
        let mut sql = self.ledger.close(&run.id, &run.pending.checksum);
        if let Some(confirm) = self.ledger.confirm_closed(&run.id) {
            sql = format!("{sql}; {confirm}");
        }
        self.write(&sql, run.pending)
            .await
            .map_err(|failure| match failure.connection_lost {
                true => failure,
                false => Failure {
                    exit: Exit::PartiallyCommitted,
                    state: "all of this migration is committed, and its row is not closed".into(),
                    next: "look for rules, triggers or row security on the table, then deploy again: it closes the row"
                        .into(),
                    ..failure
                },
            })
    }

    /// Brings the session back to how it began.
    pub(super) async fn begin_again(&self, id: &str, lock_held: bool) -> Fitness {
        match self.ask(&self.verdict_behind_rollback(id)).await {
            Ok(seen) if seen.session == Fitness::Ready && !lock_held => Fitness::WithoutLock,
            Ok(seen) => seen.session,
            Err(_) => Fitness::Unclean,
        }
    }

    /// One step that runs in transactions, each with its note.
    async fn step(&self, run: &mut Run<'_>, step: &Step, retry: &mut Retry) -> Result<StepEnd, Failure> {
        let pending = run.pending;
        if !run.written
            && let Err(failure) = self.write_mark(run).await
        {
            return self.unsent(run, failure).map(StepEnd::End);
        }
        let expected = run.done + step.notes.len();
        let script_end = run.statements.last().map_or(0, |last| last.range.end);
        let last = run.cut == Cut::Transactions && step.range.end >= script_end;
        // A function may set something for its transaction, which is not seen in the text.
        let sets_perhaps = run.cut == Cut::Statements && !step.leaves_session && is_single(run, step);
        // What ends with a transaction is not told apart within it from what lasts.
        let is_local = |between: Range<usize>| {
            let within = run
                .statements
                .iter()
                .filter(|statement| between.contains(&statement.range.start));
            within
                .filter(|statement| matches!(statement.kind, Kind::Ordinary | Kind::WithoutSnapshot | Kind::Setting))
                .any(|statement| local::is_local(&pending.script[statement.range.clone()]))
        };
        let mut noted_to = step.range.start;
        let mut marks: Vec<Mark> = Vec::new();
        let mut inserts = vec![Insert {
            at: step.head,
            statements: match step.chained {
                true => vec!["BEGIN".to_owned(), self.opening(pending)],
                false => vec![self.opening(pending)],
            },
            part: Part::Head,
        }];
        for (n, note) in step.notes.iter().enumerate() {
            let done = run.done + n + 1;
            let is_local = is_local(noted_to..note.end);
            noted_to = note.end;
            let mark = self.mark(run.marked(done, note.end, run.known_behind(note.end)));
            let (sql, confirm) = if last && done == expected {
                (
                    self.ledger.close(&run.id, &pending.checksum),
                    self.ledger.confirm_closed(&run.id),
                )
            } else {
                let sql = match mark
                    .around_session()
                    .filter(|_| mark.session() == Some(&SessionMark::Unread))
                {
                    // The server itself says it.
                    Some((before, after)) if !is_local && !note.early => {
                        let session = (before.as_str(), session_state::IN_NOTE, after.as_str());
                        self.ledger.remark_with(&run.id, session, done)
                    }
                    _ => self.ledger.remark(&run.id, &mark, done),
                };
                (sql, self.ledger.confirm_marked(&run.id, &mark))
            };
            let mut statements = Vec::new();
            let kept = !is_local && !note.early && mark.session() == Some(&SessionMark::Unread);
            if sets_perhaps || kept {
                statements.extend(session_state::unlimited());
            }
            if sets_perhaps {
                statements.push(session_state::keep_within());
            }
            if kept {
                statements.push(session_state::keep_for_note(self.session, self.login, &run.custom));
            }
            statements.extend(message::noted(sql, self.session));
            statements.extend(confirm);
            inserts.push(Insert {
                at: note.at,
                statements,
                part: Part::Tail,
            });
            marks.push(mark);
        }
        let mut message = Message::weave(pending.script, step.range.clone(), inserts);
        let script = self.session.script(std::mem::take(&mut message.text));
        let both = async {
            let (sent, behind) = tokio::join!(script, self.behind(run, &marks));
            (sent, self.behind_again(run, &marks, behind).await)
        };
        let Some((sent, behind)) = self.stop.ended(self.session, both).await else {
            return Err(self.not_in_time(true));
        };
        let behind = match behind {
            Ok(behind) => behind,
            Err(error) if error.closed => {
                let error = error::why_lost(sent.error.as_ref(), error);
                return Ok(StepEnd::End(super::lost(run.id.clone(), error)));
            }
            Err(error) => return Err(no_verdict(pending, &error)),
        };
        let done = match judge(Form::Announced, behind.row, raised(&sent, false)) {
            Verdict::Applied => {
                run.done = expected;
                run.at = pending.script.len();
                return Ok(StepEnd::Done {
                    lock_held: behind.lock_held,
                });
            }
            Verdict::Committed(done) => done,
            verdict => {
                return Err(self
                    .unclear(pending, (&run.id, behind.row), verdict, sent, &message)
                    .await);
            }
        };
        let before = run.at;
        let advanced = done - run.done;
        let committed = match (advanced, &behind.noted) {
            (0, _) => run.session.take(),
            (_, Some(SessionMark::Known(state))) => Some(state.as_ref().clone()),
            _ => None,
        };
        if advanced > 0 {
            run.at = step.notes[advanced - 1].end;
            run.done = done;
        }
        run.session = behind.session;
        if sent.error.is_some() {
            self.take_back_prepared(run, committed).await?;
        }
        let is_noted = behind.noted.as_ref() == Some(&run.known());
        if done == expected && sent.error.is_none() && !last {
            // A trigger may have changed what the text does not show.
            if !is_noted {
                self.write_mark(run).await?;
            }
            if sets_perhaps && run.at < script_end {
                self.set_for_good(run, step).await?;
            }
            return Ok(StepEnd::Done {
                lock_held: behind.lock_held,
            });
        }
        if advanced > 0 && !is_noted {
            self.write_mark(run).await?;
        }
        self.stopped_in(run, step, before, sent, &message, retry).await
    }

    /// Drops the statements that a transaction has prepared which was rolled back: they outlive it, and are prepared again when the rest is sent again. What
    /// it has dropped itself cannot be made again.
    async fn take_back_prepared(&self, run: &mut Run<'_>, committed: Option<SessionState>) -> Result<(), Failure> {
        let Some(now) = run.session.as_mut() else {
            return Ok(());
        };
        let Some(committed) = committed else {
            let text = run.pending.script.to_ascii_lowercase();
            run.can_resend = now.prepared.is_empty() && !text.contains("prepare") && !text.contains("deallocate");
            return Ok(());
        };
        run.can_resend = committed.prepared.iter().all(|name| now.prepared.contains(name));
        let added = now.prepared.iter().filter(|name| !committed.prepared.contains(name));
        let drops: Vec<String> = added
            .map(|name| format!("DEALLOCATE {}", quote::identifier(name)))
            .collect();
        if run.can_resend && !drops.is_empty() {
            let dropped = self.session.raw(&drops.join("; ")).await;
            dropped.map_err(|error| no_verdict(run.pending, &error))?;
            now.prepared = committed.prepared;
        }
        Ok(())
    }

    /// Ends a script of which a statement has set something that ended with its transaction, since the rest was to find it.
    async fn set_for_good(&self, run: &mut Run<'_>, step: &Step) -> Result<(), Failure> {
        let ended = session_state::ended_with_its_transaction(self.session).await;
        let names = ended.map_err(|error| no_verdict(run.pending, &error))?;
        if names.is_empty() {
            return Ok(());
        }
        let line = run.pending.script[..step.range.start].matches('\n').count() + 1;
        let failure = Failure::new(
            Exit::PartiallyCommitted,
            format!(
                "line {line} sets {} until its transaction ends, and this script has a transaction for each statement",
                names.join(", ")
            ),
            "",
        )
        .prisma(Some("P3018"))
        .of(run.pending.name);
        // No later run may go on with it either.
        run.session = None;
        let mut failure = self.stopped(run, failure).await;
        failure.next = crate::failure::resolve_by_hand(run.pending.name);
        Err(failure)
    }

    /// What becomes of a step that did not come to its end.
    async fn stopped_in(
        &self,
        run: &mut Run<'_>,
        step: &Step,
        before: usize,
        sent: Sent,
        message: &Message,
        retry: &mut Retry,
    ) -> Result<StepEnd, Failure> {
        let pending = run.pending;
        let is_open = step.left_open && note_cannot_be_written(&sent, message, &run.statements);
        let Some(error) = sent.error.as_ref().filter(|_| !is_open) else {
            let sent = Sent { error: None, ..sent };
            let failure = self.explain(&context(pending), sent, message).await;
            return Err(self.stopped(run, failure).await);
        };
        let can_go_on = run.can_resend && can_begin_at(pending.script, &run.statements, run.at);
        if let Some(reason) = self.stop.reason()
            && can_go_on
            && (error::is_refusal(error) || error::is_contention(error))
        {
            // Nothing is wrong with the script: it would be sent again.
            let failure = stop::interrupted(reason, "").of(pending.name);
            return Err(self.stopped(run, failure).await);
        }
        if error::is_refusal(error) && can_go_on {
            if run.cut == Cut::Transactions {
                if let Some(failure) = self.cannot_go_in_steps(pending, run.at, Some(error)) {
                    return Err(self.stopped(run, failure).await);
                }
                tracing::info!(
                    migration = pending.name,
                    "cannot run in its transaction ({}): goes on statement by statement",
                    error.message
                );
                run.cut_anew(Cut::Statements);
                if run.done == 0 {
                    // A prepared statement or an advisory lock outlives the transaction that made it.
                    self.begin_again(&run.id, true).await;
                    run.session = Some(SessionState::default());
                }
                self.write_mark(run).await?;
                return Ok(StepEnd::Cut);
            }
            if run.at == before && is_single(run, step) {
                let alone = Alone::Opaque {
                    commits: kind::may_commit(&pending.script[step.range.clone()]),
                };
                return self.alone_step(run, step, &alone, retry).await;
            }
        }
        if error::is_contention(error) && can_go_on {
            if run.at > before {
                *retry = Retry::new(self.lock_retry_for);
            }
            match self.again(retry, pending, error).await {
                Ok(true) => return Ok(StepEnd::Cut),
                Ok(false) => {
                    let failure = self.still_locked(pending, error);
                    return Err(self.stopped(run, failure).await);
                }
                Err(failure) => return Err(self.stopped(run, failure).await),
            }
        }
        let failure = self.explain(&context(pending), sent, message).await;
        Err(self.stopped(run, failure).await)
    }

    /// What is read behind a message: its transaction is left, the session read as the script left it, then the row.
    async fn behind(&self, run: &Run<'_>, marks: &[Mark]) -> Result<Behind, ServerError> {
        let sql = message::row(self.ledger, &run.id);
        let (left, session, rows) = tokio::join!(
            self.session.raw("ROLLBACK"),
            session_state::read(self.session, self.login, &run.custom),
            self.session.ours_beside_script(&sql)
        );
        left?;
        let rows = rows?;
        let row = rows.last().ok_or_else(|| strange("the verdict came without a row"))?;
        if row.get(3).and_then(|pid| pid.parse().ok()) != Some(self.backend.pid) {
            return Err(strange(
                "another session answered: a pooler in transaction mode stands between this program and the server",
            ));
        }
        let session = match session {
            Ok(session) => Some(session),
            Err(error) if error.closed => return Err(error),
            Err(error) => {
                tracing::debug!("the session could not be read: {}", error.message);
                None
            }
        };
        let mark = Mark::parse(row.get(2).unwrap_or_default());
        let is = |noted: &Mark| {
            mark.as_ref()
                .is_some_and(|mark| mark.is_same_but_for_the_session(noted))
        };
        Ok(Behind {
            row: match row.get(0) {
                Some("finished") => Row::Finished,
                Some(_) => match marks.iter().rposition(is) {
                    Some(at) => Row::Ours(run.done + at + 1),
                    None if is(&self.mark(run.marked(run.done, run.at, run.known()))) => Row::Ours(run.done),
                    None => Row::Altered,
                },
                None => Row::Missing,
            },
            lock_held: row.get(1) == Some("t"),
            session,
            noted: mark.as_ref().and_then(Mark::session).cloned(),
        })
    }

    /// Reads again what others' locks on the migrations table kept from being read.
    async fn behind_again(
        &self,
        run: &Run<'_>,
        marks: &[Mark],
        first: Result<Behind, ServerError>,
    ) -> Result<Behind, ServerError> {
        let mut behind = first;
        let mut retry = Retry::new(self.lock_retry_for);
        while let Err(error) = &behind
            && !error.closed
            && error::is_contention(error)
            && retry.again(run.pending.name, error).await
        {
            behind = self.behind(run, marks).await;
        }
        behind
    }

    /// One step that cannot run in a transaction.
    async fn alone_step(
        &self,
        run: &mut Run<'_>,
        step: &Step,
        alone: &Alone,
        retry: &mut Retry,
    ) -> Result<StepEnd, Failure> {
        let pending = run.pending;
        let text = &pending.script[step.range.clone()];
        loop {
            let seen = alone::look(self.session, alone)
                .await
                .map_err(|error| no_verdict(pending, &error))?;
            let mark = Marked::Alone {
                progress: run.progress(run.done, run.at, run.known()),
                before: seen.before.clone(),
                names: seen.names.clone(),
            };
            if let Err(failure) = self.announce(run, mark).await {
                return self.unsent(run, failure).map(StepEnd::End);
            }
            run.opaque = matches!(alone, Alone::Opaque { .. });
            let cleanup = self.cleanup(pending.name);
            let Some(ended) = alone::send(&cleanup, self.stop, alone, text, &seen).await else {
                return Err(self.not_in_time(!run.opaque));
            };
            let end = match ended {
                Ok(end) => end,
                Err(NotCleaned::Locked(locked)) => return Err(self.left_behind(run, &locked).await),
                Err(NotCleaned::Server(error)) => return Err(no_verdict(pending, &error)),
            };
            run.opaque = false;
            match end {
                AloneEnd::Done => {
                    run.done += 1;
                    run.at = step.notes.last().map_or(step.range.end, |note| note.end);
                    run.session = session_state::read(self.session, self.login, &run.custom).await.ok();
                    let lock_held = self.note(run).await?;
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
                        if let Some(end) = self.give_way(run).await? {
                            return Ok(StepEnd::End(end));
                        }
                        continue;
                    }
                    match self.again(retry, pending, &error).await {
                        Ok(true) => {}
                        Ok(false) => {
                            let failure = self.still_locked(pending, &error);
                            return Err(self.stopped(run, failure).await);
                        }
                        Err(failure) => return Err(self.stopped(run, failure).await),
                    }
                }
                AloneEnd::Failed(error) => {
                    let failure = context(pending).statement_failure(&error, step.range.start);
                    return Err(self.stopped(run, failure).await);
                }
                AloneEnd::Invalid { index, error } => {
                    let failure = alone::invalid_index(&context(pending), &index, error.as_ref(), step.range.start);
                    return Err(self.stopped(run, failure).await);
                }
                AloneEnd::Unknown(error) => {
                    let failure = context(pending).statement_failure(&error, step.range.start);
                    return Err(self.may_have_committed(run, failure).await);
                }
            }
        }
    }

    /// Notes a step that is done, and whether the migration lock is still held.
    async fn note(&self, run: &mut Run<'_>) -> Result<bool, Failure> {
        let mut retry = Retry::new(self.lock_retry_for);
        loop {
            let mark = self.mark(run.marked(run.done, run.at, run.known()));
            let mut sql = vec![self.ledger.remark(&run.id, &mark, run.done)];
            sql.extend(self.ledger.confirm_marked(&run.id, &mark));
            sql.push(message::row(self.ledger, &run.id));
            match self.session.ours_beside_script(&sql.join("; ")).await {
                Ok(rows) => return Ok(rows.last().and_then(|row| row.get(1)) == Some("t")),
                Err(error) if error::is_contention(&error) && retry.again(run.pending.name, &error).await => {}
                Err(error) => {
                    let mut failure = self.not_written(run.pending, &error);
                    let left = Left::of(run);
                    failure.state = format!("{}; the last of them is not noted in its row", left.sentence());
                    failure.exit = match failure.connection_lost {
                        true => failure.exit,
                        false => Exit::PartiallyCommitted,
                    };
                    return Err(failure);
                }
            }
        }
    }

    /// Takes the migration lock again that a step has released. Other runs of this program leave the row alone as long as this backend lives.
    async fn take_lock_again(&self, run: &mut Run<'_>) -> Result<(), Failure> {
        tracing::warn!(
            migration = run.pending.name,
            "released the migration lock between two steps: it is taken again"
        );
        let taken = self.stop.unless(lock::take(self.session, self.lock_wait, false)).await;
        let failure = match taken {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => lock::not_taken(error),
            Err(failure) => failure,
        };
        if failure.connection_lost {
            return Err(failure);
        }
        Err(self.stopped(run, failure.of(run.pending.name)).await)
    }

    /// Leaves the lock to the sessions that wait for it and stand in the way. Where nothing is committed yet, what they do with it decides what is
    /// pending; else the row keeps them off.
    async fn give_way(&self, run: &mut Run<'_>) -> Result<Option<End>, Failure> {
        if run.done == 0 {
            let sql = self
                .ledger
                .roll_back(&run.id, "gave way to another session that waits for the migration lock");
            self.write(&sql, run.pending).await?;
            return Ok(Some(End::GiveWay));
        }
        self.write_mark(run).await?;
        match self.stop.unless(lock::give_way(self.session, self.lock_wait)).await {
            Ok(given) => given.map_err(|error| no_verdict(run.pending, &error))?,
            Err(failure) => return Err(self.stopped(run, failure).await),
        }
        self.take_lock_again(run).await?;
        Ok(None)
    }

    /// Writes the row, or its new mark, before something is sent that cannot share a transaction with it.
    async fn announce(&self, run: &mut Run<'_>, mark: Marked) -> Result<(), Failure> {
        let mark = self.mark(mark);
        let sql = if run.written {
            self.ledger.remark(&run.id, &mark, run.done)
        } else {
            self.ledger
                .begin(&run.id, run.pending.name, &run.pending.checksum, &mark)
        };
        let sql = match self.ledger.confirm_marked(&run.id, &mark) {
            Some(confirm) => format!("{sql}; {confirm}"),
            None => sql,
        };
        let mut retry = Retry::new(self.lock_retry_for);
        loop {
            match self.write(&sql, run.pending).await {
                Ok(()) => break,
                // Others have locked the migrations table.
                Err(failure) if failure.sqlstate.as_deref() == Some("55P03") => {
                    let error = ServerError {
                        sqlstate: failure.sqlstate.clone(),
                        ..strange(&failure.what)
                    };
                    if !self.stop.unless(retry.again(run.pending.name, &error)).await? {
                        return Err(Failure {
                            exit: Exit::TableLock,
                            ..failure
                        });
                    }
                }
                Err(mut failure) => {
                    if run.done > 0 && !failure.connection_lost {
                        failure.state = Left::of(run).sentence();
                        failure.exit = Exit::PartiallyCommitted;
                    }
                    return Err(failure);
                }
            }
        }
        run.written = true;
        Ok(())
    }

    /// Writes what is done so far.
    async fn write_mark(&self, run: &mut Run<'_>) -> Result<(), Failure> {
        let mark = run.marked(run.done, run.at, run.known());
        self.announce(run, mark).await
    }

    /// Looks whether a row that was announced is there: a deferred trigger may have taken it away when it was committed.
    async fn is_kept(&self, run: &Run<'_>) -> Result<(), Failure> {
        let behind = self.behind(run, &[]).await;
        let behind = behind.map_err(|error| no_verdict(run.pending, &error))?;
        if behind.row == Row::Ours(run.done) {
            return Ok(());
        }
        let what = format!(
            "the migration's row in {} was written, and something has removed or changed it",
            self.ledger.table()
        );
        let next = "look for triggers, rules or row security on the table, then deploy again";
        Err(Failure::new(Exit::Database, what, next)
            .of(run.pending.name)
            .state(match run.done {
                0 => "nothing of this migration was run".to_owned(),
                _ => Left::of(run).sentence(),
            }))
    }

    /// Makes the session like the one that an earlier run lost; the failure if that cannot be.
    async fn cannot_be_restored(&self, run: &mut Run<'_>, wanted: &SessionMark) -> Result<Option<Failure>, Failure> {
        let pending = run.pending;
        let skipped = &run.statements[..run.statements.partition_point(|s| s.range.start < run.at)];
        let restored = session_state::make_again(self.session, self.login, wanted, (pending.script, skipped)).await;
        let why = match restored {
            Ok(()) => {
                run.session = session_state::read(self.session, self.login, &run.custom).await.ok();
                return Ok(None);
            }
            Err(NotRestored::Server(error)) if error.closed => return Err(no_verdict(pending, &error)),
            Err(NotRestored::Server(error)) => format!("the server refuses it: {}", error.message),
            Err(NotRestored::Because(why)) => why,
        };
        let failure = Failure::new(
            Exit::PartiallyCommitted,
            format!("an interrupted run cannot be gone on with, because its session cannot be made again: {why}"),
            crate::failure::resolve_by_hand(pending.name),
        )
        .prisma(Some("P3009"))
        .of(pending.name)
        .state(Left::of(run).sentence());
        let _ = self.begin_again(&run.id, true).await;
        Ok(Some(failure))
    }

    /// The connection was lost while the row was written that announces what is sent after it; the failure itself where it was not lost.
    fn unsent(&self, run: &Run<'_>, failure: Failure) -> Result<End, Failure> {
        if !failure.connection_lost {
            return Err(failure);
        }
        Ok(End::Lost {
            id: run.id.clone(),
            error: ServerError::closed(failure.what),
            sent: false,
            told_by_its_row: true,
        })
    }
}

/// Whether it is our note at the end that failed, in a transaction that cannot write. If the script does not end that transaction, there is no more to say.
pub(super) fn note_cannot_be_written(sent: &Sent, message: &Message, statements: &[Statement]) -> bool {
    sent.error.as_ref().is_some_and(|error| error.is(&["25006"]))
        && message.failed(sent.completed, statements) == Failed::Tail
}

/// Whether a step is one statement, which may run by itself.
fn is_single(run: &Run<'_>, step: &Step) -> bool {
    let within =
        |statement: &&Statement| step.range.start <= statement.range.start && statement.range.end <= step.range.end;
    run.statements.iter().filter(within).count() == 1
}
