//! A turn of a deploy under the migration lock: settles what is left of earlier runs, plans, applies, seeds. There is another one where the session was
//! lost or the lock given away.

use super::beforehand::{Early, check_drift, examine};
use super::pending::apply;
use super::{take_lock, warn, with_existing, writable};
use crate::artifact::Artifact;
use crate::database::lock;
use crate::database::open::{self, Opened};
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{History, Ledger, State};
use crate::losses::{Attempt, Losses};
use crate::outcome::{Applied, Outcome, millis};
use crate::prepare;
use crate::recover::{self, Recovery, Rows};
use crate::seed;
use crate::settings::Settings;
use crate::stop::{self, Stop};
use crate::watch::Watch;
use std::time::Instant;

/// How a turn ended.
pub(super) enum Turn {
    /// Nothing is pending any more.
    Done,
    /// Nothing was pending, and so the lock was not taken.
    UpToDate,
    /// The lock was lost or given away: take it, read and plan again.
    Again,
    /// The session is gone.
    Lost(Attempt),
    /// The session cannot be used any more: open another.
    Renew,
}

/// What the turns of one deploy share.
pub(super) struct Turns<'a> {
    pub(super) artifact: &'a Artifact,
    pub(super) settings: &'a Settings,
    pub(super) stop: &'a Stop,
    pub(super) seed: Option<&'a seed::Sql>,
    /// Whether all is done that is done before the lock.
    pub(super) forewarned: bool,
    /// What was planned then; for the first turn.
    pub(super) early: Option<Early<'a>>,
    pub(super) losses: &'a mut Losses,
    /// When this run sent the seed.
    pub(super) seed_sent: Option<Instant>,
}

impl<'a> Turns<'a> {
    /// What needs no lock and writes nothing: what is wrong with the artifact, with the schema, with the pending migrations; or that none is pending.
    pub(super) async fn beforehand(&mut self, opened: &Opened, outcome: &mut Outcome) -> Result<Turn, Failure> {
        let artifact: &'a Artifact = self.artifact;
        let early = Early::new(artifact, opened, self.settings).await?;
        early.check(self.settings)?;
        self.stop.unless(check_drift(self.settings, opened, outcome)).await??;
        let wanted = self.settings.target.schema.as_deref();
        if let Err(failure) = prepare::check(opened, wanted, &artifact.datasource).await {
            return Err(with_existing(opened, &artifact.migrations, failure).await);
        }
        let to_seed = match (self.seed, opened.server.ledger()) {
            (Some(_), Some(ledger)) => seed::is_expected(&opened.session, &ledger).await?,
            _ => false,
        };
        if !to_seed && early.nothing_pending(opened, outcome) {
            return Ok(Turn::UpToDate);
        }
        early.forewarn(opened, self.settings, outcome).await?;
        self.early = Some(early);
        self.forewarned = true;
        Ok(Turn::Again)
    }

    /// One turn under the lock.
    pub(super) async fn turn(&mut self, opened: &Opened, outcome: &mut Outcome) -> Result<Turn, Failure> {
        writable(opened)?;
        let session = &opened.session;
        if let Some(lost) = self.losses.unjudged() {
            // It may still commit, with or without the migration lock.
            let (wait, terminate) = (self.settings.lock_wait, self.settings.terminate_orphan);
            let gone = lock::until_gone(session, &lost.backend, wait, terminate);
            let gone = self.stop.unless(gone).await?;
            gone.map_err(|error| open::unusable("the backend of the lost connection could not be looked for", &error))?
                .map_err(|alive| recover::still_at_work(&lost.migrations.join(", "), Some(&alive)))?;
        }
        self.stop.unless(take_lock(session, self.settings)).await??;
        let ledger = prepare::prepare(
            opened,
            self.settings.target.schema.as_deref(),
            &self.artifact.datasource,
        )
        .await?;
        if let Some(server) = &mut outcome.database {
            server.ledger_schema = Some(ledger.schema().to_owned());
        }
        let history = self.settled(opened, &ledger, outcome).await?;
        self.credit(&history, outcome);
        self.losses.judged();
        let early = self.early.take();
        let plan = match Early::plan_by(early, self.artifact, &history, opened, self.settings).await? {
            Ok(plan) => plan,
            Err(failure) => return Err(with_existing(opened, &self.artifact.migrations, failure).await),
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
    async fn settled(&self, opened: &Opened, ledger: &Ledger, outcome: &mut Outcome) -> Result<History, Failure> {
        let session = &opened.session;
        let mut history = open::read_history_within(session, ledger, self.settings.lock_wait).await?;
        let announced = self.losses.attempt.as_ref().filter(|lost| !lost.sent);
        if let Some(row) = announced.and_then(|lost| history.rows.iter().find(|row| row.id == lost.id)) {
            recover::take_back(session, ledger, row)
                .await
                .map_err(|error| open::unusable("what was announced and not sent could not be taken back", &error))?;
            history = open::read_history_within(session, ledger, self.settings.lock_wait).await?;
        }
        // To drop an INVALID index is to wait for whoever uses its table.
        let terms = self.settings.terms(&outcome.run_id);
        let watch = Watch::new(&terms, opened.server.backend.pid, self.settings.progress_every);
        let recovery = Recovery {
            rows: Rows {
                session,
                server: &opened.server,
                ledger,
                wait: self.settings.lock_wait,
                terminate: self.settings.terminate_orphan,
            },
            watch: &watch,
            retry_for: self.settings.lock_retry_for,
        };
        let settled = recovery.settle(&history, &self.artifact.migrations);
        let Some(settled) = self.stop.in_time(settled).await else {
            return Err(self.not_settled());
        };
        let settled = settled.map_err(recover::not_settled)?;
        if history.unfinished().next().is_some() {
            outcome.recovered.extend(settled);
            history = open::read_history_within(session, ledger, self.settings.lock_wait).await?;
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

/// Whether the ledger says that an attempt was applied.
fn is_applied(history: &History, id: &str) -> bool {
    history
        .rows
        .iter()
        .any(|row| row.id == id && row.state == State::Applied)
}
