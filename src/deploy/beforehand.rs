//! What a deploy looks at before it takes the lock, so that a run that has nothing to do, or is refused, writes nothing.

use super::warn;
use crate::apply::together;
use crate::artifact::Artifact;
use crate::cli::CheckDrift;
use crate::database::open::{self, Opened};
use crate::drift;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hazard;
use crate::history::History;
use crate::outcome::Outcome;
use crate::plan::{self, Plan};
use crate::prepare;
use crate::printable::count;
use crate::settings::Settings;
use crate::sql::script::Strings;
use std::sync::Arc;

/// What is planned by the ledger as it was when the session was opened. Under the lock it still holds where the ledger is the same: to plan is to read
/// every pending script.
pub(super) struct Early<'a> {
    history: Arc<History>,
    plan: Result<Plan<'a>, Failure>,
}

impl<'a> Early<'a> {
    /// Plans by this ledger; none is an empty one.
    pub(super) fn new(
        artifact: &'a Artifact,
        history: Option<&Arc<History>>,
        strings: Strings,
        settings: &Settings,
    ) -> Early<'a> {
        let history = history.cloned().unwrap_or_default();
        let plan = plan::plan(&artifact.migrations, &history, &settings.policy, strings);
        Early { history, plan }
    }

    /// The plan by a ledger that was read later.
    pub(super) fn plan_by(
        early: Option<Early<'a>>,
        artifact: &'a Artifact,
        (history, strings): (&History, Strings),
        settings: &Settings,
    ) -> Result<Plan<'a>, Failure> {
        match early {
            Some(early) if *early.history == *history => early.plan,
            _ => plan::plan(&artifact.migrations, history, &settings.policy, strings),
        }
    }

    /// What is wrong with a pending script, or with what was asked for, stays wrong under the lock: no database, schema or table is made for its sake.
    pub(super) fn check(&self, settings: &Settings) -> Result<(), Failure> {
        match &self.plan {
            Err(failure) if failure.exit == Exit::Artifact || failure.prisma_code.as_deref() == Some("P3017") => {
                Err(failure.clone())
            }
            Ok(plan) if settings.all_or_nothing => together::check(&plan.pending),
            _ => Ok(()),
        }
    }

    /// The lock-free fast path. It is safe, since a row and its script commit together: a ledger that holds all migrations at one moment holds them
    /// ever after, and this run writes nothing. Anything else, an unfinished row too, is judged under the lock: its run may be alive.
    pub(super) fn nothing_pending(&self, opened: &Opened, outcome: &mut Outcome) -> bool {
        let Ok(plan) = &self.plan else { return false };
        if opened.history.is_none() || self.history.unfinished().next().is_some() || !plan.pending.is_empty() {
            return false;
        }
        outcome.pending = plan.left.iter().map(|&name| name.to_owned()).collect();
        warn(plan.warnings.clone(), outcome);
        true
    }

    /// Says what of the pending migrations may harm a database that is in use, and refuses it where that is asked for: before the lock, so that a
    /// refusal writes nothing. What an interrupted run left has to be settled first, and then it is done under the lock.
    pub(super) async fn forewarn(
        &self,
        opened: &Opened,
        settings: &Settings,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        if opened.history.is_none()
            && let Some(schema) = &opened.server.schema
        {
            prepare::managed(&opened.session, schema).await?;
        }
        match &self.plan {
            Ok(plan) => examine(plan, opened, settings, outcome).await,
            Err(_) => Ok(()),
        }
    }
}

/// The same for a plan, once for each list of pending migrations.
pub(super) async fn examine(
    plan: &Plan<'_>,
    opened: &Opened,
    settings: &Settings,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let pending = plan.pending.iter().map(|pending| pending.name);
    let pending: Vec<String> = pending.chain(plan.left.iter().copied()).map(str::to_owned).collect();
    if outcome.pending == pending {
        return Ok(());
    }
    outcome.pending = pending;
    let schema = opened.server.schema.as_deref().or(settings.target.schema.as_deref());
    let examined = match hazard::examine(Some(&opened.session), schema, &plan.pending, settings).await {
        Ok(examined) => examined,
        Err(error) => {
            let failure = open::unusable("the tables of the pending migrations could not be looked at", &error);
            if failure.connection_lost {
                // They are looked at again over the next connection.
                outcome.pending.clear();
            }
            // What nobody asked to be refused is no reason not to deploy.
            if failure.connection_lost || !settings.watchfulness.fail_on.is_empty() {
                return Err(failure);
            }
            warn(vec![failure.what], outcome);
            return Ok(());
        }
    };
    for hazard in &examined.hazards {
        tracing::warn!(
            migration = hazard.migration,
            "{}:{}: {}: {}; instead: {}",
            hazard.file,
            hazard.line,
            hazard.class,
            hazard.what,
            hazard.recipe
        );
    }
    warn(examined.warning.into_iter().collect(), outcome);
    outcome.hazards = examined.hazards;
    hazard::refuse(&outcome.hazards)
}

/// Compares the schema with that of an earlier report before anything is applied.
pub(super) async fn check_drift(settings: &Settings, opened: &Opened, outcome: &mut Outcome) -> Result<(), Failure> {
    let Some((action, since)) = &settings.check_drift else {
        return Ok(());
    };
    let then = drift::report(since).await?;
    drift::compare(opened, &then, outcome).await?;
    outcome.schema = None;
    if outcome.drift.is_empty() {
        return Ok(());
    }
    let said = outcome.drift.iter().map(ToString::to_string);
    let differs = format!(
        "the schema differs in {} from that of the report",
        count(outcome.drift.len(), "place", "places")
    );
    match action {
        CheckDrift::Warn => {
            // The outcome lists them once more, and the log does not.
            tracing::warn!("{differs}");
            let warnings: Vec<String> = said.map(|difference| format!("drift: {difference}")).collect();
            outcome.warnings.extend(warnings);
            Ok(())
        }
        CheckDrift::Refuse => {
            let mut failure = Failure::new(
                Exit::Refused,
                differs,
                "put the changes into a migration or take them back; or deploy with --check-drift warn",
            );
            failure.details = said.collect();
            Err(failure)
        }
    }
}
