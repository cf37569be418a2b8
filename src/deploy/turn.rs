//! A turn of a deploy under the migration lock: settles what is left of earlier runs, plans, applies, seeds. There is another one where the session was
//! lost or the lock given away.

use super::beforehand::{Early, examine};
use super::pending::apply;
use super::{take_lock, warn, with_traces, writable};
use crate::artifact::Artifact;
use crate::database::open::{self, Opened};
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{History, Ledger, State};
use crate::losses::{Attempt, Losses};
use crate::outcome::{Applied, Outcome, millis};
use crate::prepare;
use crate::recover::{self, RecoverError};
use crate::seed;
use crate::settings::Settings;
use crate::stop::{self, Stop};
use std::time::Instant;

/// How a turn ended.
pub(super) enum Turn {
    /// Nothing is pending any more.
    Done,
    /// The lock was lost or given away: take it, read and plan again.
    Again,
    /// The session is gone.
    Lost(Attempt),
}

/// What the turns of one deploy share.
pub(super) struct Turns<'a> {
    pub(super) artifact: &'a Artifact,
    pub(super) settings: &'a Settings,
    pub(super) stop: &'a Stop,
    pub(super) seed: Option<&'a seed::Sql>,
    /// What was planned before the lock; for the first turn.
    pub(super) early: Option<Early<'a>>,
    pub(super) losses: Losses,
    /// When this run sent the seed.
    pub(super) seed_sent: Option<Instant>,
}

impl Turns<'_> {
    /// One turn under the lock.
    pub(super) async fn turn(&mut self, opened: &Opened, outcome: &mut Outcome) -> Result<Turn, Failure> {
        writable(opened)?;
        let session = &opened.session;
        self.stop.unless(take_lock(session, self.settings)).await??;
        let ledger = prepare::prepare(opened, self.settings.target.schema.as_deref()).await?;
        if let Some(server) = &mut outcome.database {
            server.ledger_schema = Some(ledger.schema().to_owned());
        }
        let history = self.settled(session, &ledger, outcome).await?;
        self.credit(&history, outcome);
        let plan = match Early::plan_by(self.early.take(), self.artifact, &history, self.settings) {
            Ok(plan) => plan,
            Err(failure) => return Err(with_traces(session, &self.artifact.migrations, failure).await),
        };
        examine(&plan, opened, self.settings, outcome).await?;
        match (self.seed, &self.artifact.seed) {
            (Some(_), _) => seed::expect(session, &ledger, &history).await?,
            (None, Some(program)) if history.rows.is_empty() => {
                let is_left = format!(
                    "the seed {} is a program, which is not run here: run it yourself",
                    program.path
                );
                warn(vec![is_left], outcome);
            }
            _ => {}
        }
        let turn = apply(plan, opened, &ledger, self.settings, self.stop, outcome).await?;
        if matches!(turn, Turn::Done) && outcome.pending.is_empty() {
            self.run_seed(session, &ledger, outcome).await?;
        }
        Ok(turn)
    }

    /// The ledger, once what interrupted runs left in it is settled, and what a lost session of this one announced without sending is taken back.
    async fn settled(&self, session: &Session, ledger: &Ledger, outcome: &mut Outcome) -> Result<History, Failure> {
        let mut history = open::read_history(session, ledger).await?;
        let announced = self.losses.attempt.as_ref().filter(|lost| !lost.sent);
        if let Some(row) = announced.and_then(|lost| history.rows.iter().find(|row| row.id == lost.id)) {
            recover::take_back(session, ledger, row)
                .await
                .map_err(|error| open::unusable("what was announced and not sent could not be taken back", &error))?;
            history = open::read_history(session, ledger).await?;
        }
        // To drop an INVALID index is to wait for whoever uses its table.
        let settled = settle(session, ledger, &history, self.artifact);
        let Some(settled) = self.stop.in_time(settled).await else {
            return Err(self.not_settled());
        };
        let settled = settled?;
        if !settled.is_empty() {
            outcome.recovered.extend(settled);
            history = open::read_history(session, ledger).await?;
        }
        Ok(history)
    }

    fn not_settled(&self) -> Failure {
        let state = "what an earlier run left is as it was; the next run settles it";
        match self.stop.reason() {
            Some(reason) => stop::interrupted(reason, state),
            None => Failure::new(
                Exit::Unexpected,
                "it stopped without having been asked to",
                "report this as a bug",
            ),
        }
    }

    /// What was applied when its session was lost is this run's work too.
    fn credit(&self, history: &History, outcome: &mut Outcome) {
        let Some(lost) = self
            .losses
            .attempt
            .as_ref()
            .filter(|lost| is_applied(history, &lost.id))
        else {
            return;
        };
        let duration_ms = millis(lost.started.elapsed());
        for name in &lost.migrations {
            if !outcome.applied.iter().any(|applied| applied.name == *name) {
                outcome.applied.push(Applied {
                    name: name.clone(),
                    how: lost.how,
                    duration_ms,
                });
            }
        }
    }

    /// Runs the seed where it is still to run. Where its connection was lost, the note that it commits with tells whether it has.
    async fn run_seed(&mut self, session: &Session, ledger: &Ledger, outcome: &mut Outcome) -> Result<(), Failure> {
        let Some(seed) = self.seed else { return Ok(()) };
        if seed::is_expected(session, ledger).await? {
            self.seed_sent = Some(Instant::now());
            outcome.seeded = Some(seed::run(session, ledger, seed, self.stop).await?);
        } else if let Some(sent) = self.seed_sent
            && seed::has_run(session, ledger, seed).await?
        {
            outcome.seeded = Some(seed.ran(sent.elapsed()));
        }
        Ok(())
    }
}

async fn settle(
    session: &Session,
    ledger: &Ledger,
    history: &History,
    artifact: &Artifact,
) -> Result<Vec<String>, Failure> {
    recover::settle(session, ledger, history, &artifact.migrations)
        .await
        .map_err(|error| match error {
            RecoverError::Busy(migration) => Failure::new(
                Exit::MigrationLock,
                "a backend of an earlier run still works on it",
                "wait until that backend has ended, or end it with pg_terminate_backend, then deploy again",
            )
            .of(&migration),
            RecoverError::Server(error) => open::unusable("what an interrupted run left could not be examined", &error),
        })
}

/// Whether the ledger says that an attempt was applied.
fn is_applied(history: &History, id: &str) -> bool {
    history
        .rows
        .iter()
        .any(|row| row.id == id && row.state == State::Applied)
}
