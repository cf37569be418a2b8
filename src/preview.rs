//! `plan`: says what a deploy would do. Takes no lock and writes nothing.

use crate::apply::together;
use crate::database::open;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hazard;
use crate::look::look;
use crate::outcome::Outcome;
use crate::plan;
use crate::settings::Settings;

/// Plans as a deploy does, and looks at what the plan would lock.
///
/// # Errors
/// What would keep a deploy from running, and what `--fail-on` refuses; what could be seen is in the outcome all the same.
pub async fn preview(settings: &Settings, check: bool, outcome: &mut Outcome) -> Result<Exit, Failure> {
    look(settings, outcome, async |seen, outcome| {
        seen.check_place(settings, outcome).await?;
        let plan = plan::plan(&seen.judgement, &settings.policy)?;
        outcome.warnings.extend(plan.announcements());
        outcome.pending = plan.names(&seen.judgement);
        outcome.warnings.extend(plan.warnings);
        if settings.all_or_nothing {
            together::check(&plan.pending)?;
        }
        let wanted = settings.target.schema.as_deref();
        let schema = seen
            .opened
            .and_then(|opened| opened.server.schema.as_deref())
            .or(wanted);
        let session = seen.opened.map(|opened| &opened.session);
        let examined = hazard::examine(session, schema, &plan.pending, settings)
            .await
            .map_err(|error| open::unusable("the tables of the pending migrations could not be looked at", &error))?;
        outcome.warnings.extend(examined.warnings);
        outcome.plan = Some(examined.plan);
        outcome.hazards = examined.hazards;
        together::check_values(&examined.obstacles, plan.pending.len())?;
        hazard::refuse(&outcome.hazards)?;
        Ok(match check && !outcome.pending.is_empty() {
            true => Exit::Pending,
            false => Exit::Success,
        })
    })
    .await
}
