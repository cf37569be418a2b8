//! The table of `status`.

use super::{BOLD, DIM, GREEN, Page, RED, YELLOW, seconds};
use crate::excerpt;
use crate::judgement::Remark;
use crate::outcome::Outcome;
use crate::overview::{Overview, State};
use crate::printable::printable_name;
use crate::status::Running;

/// So many of the migrations that are simply applied are listed, the last ones; the document has all of them.
const APPLIED_SHOWN: usize = 10;

/// A line for each migration that needs a look, and for the last of those that do not; then what runs now.
pub(super) fn show(page: &mut Page, outcome: &Outcome) {
    let is_plain = |overview: &&Overview| {
        overview.state == State::Applied && overview.remarks.iter().all(|remark| *remark == Remark::NotRun)
    };
    let plain = outcome.migrations.iter().filter(is_plain).count();
    let mut hidden = plain.saturating_sub(APPLIED_SHOWN);
    if hidden > 0 {
        page.blank();
        page.line(&format!("  … {hidden} more applied before these"), DIM, "");
    }
    let shown: Vec<&Overview> = outcome
        .migrations
        .iter()
        .filter(|overview| {
            let hide = is_plain(overview) && hidden > 0;
            hidden -= usize::from(hide);
            !hide
        })
        .collect();
    if plain <= APPLIED_SHOWN {
        page.blank();
    }
    let width = shown
        .iter()
        .map(|overview| printable_name(&overview.name).chars().count())
        .max()
        .unwrap_or(0);
    let states = shown
        .iter()
        .map(|overview| state(overview.state).1.len())
        .max()
        .unwrap_or(0);
    for overview in shown {
        let (paint, state) = state(overview.state);
        let state = page.painted(paint, &format!("{state:<states$}"));
        let name = printable_name(&overview.name);
        let about = page.painted(DIM, &about(overview));
        page.text
            .push_str(format!("  {state}  {name:<width$}  {about}").trim_end());
        page.text.push('\n');
        if let Some(logs) = overview.logs.as_deref().filter(|_| overview.state != State::Running) {
            page.line(&" ".repeat(states + 4), "", &excerpt::shortened(logs));
        }
    }
    if let Some(running) = &outcome.running {
        page.blank();
        page.line("running:  ", BOLD, &sentence(running));
        for blocker in &running.blocked_by {
            page.line("          ", "", &format!("{blocker} is in its way"));
        }
    }
}

fn state(state: State) -> (&'static str, &'static str) {
    match state {
        State::Applied => (GREEN, "applied"),
        State::Pending => (YELLOW, "pending"),
        State::Running => (YELLOW, "running"),
        State::Interrupted => (YELLOW, "interrupted"),
        State::Failed => (RED, "failed"),
        State::RolledBack => (YELLOW, "rolled back"),
    }
}

fn about(overview: &Overview) -> String {
    let mut about = Vec::new();
    if let Some(at) = overview.ended_at.as_ref().or(overview.started_at.as_ref()) {
        // The time of day to the second is what a person compares with other logs.
        let at = at.get(..19).unwrap_or(at).replace('T', " ");
        about.push(format!("{at} UTC"));
    }
    match overview.state {
        State::Applied => about.extend(overview.duration_ms.map(|millis| format!("{:>9}", seconds(millis)))),
        State::RolledBack => about.push("pending again".into()),
        State::Failed => about.push("did not finish".into()),
        State::Interrupted | State::Running | State::Pending => {}
    }
    about.extend(
        overview
            .next_deploy
            .as_ref()
            .map(|does| format!("the next deploy {does}")),
    );
    about.extend(overview.remarks.iter().map(|remark| match remark {
        Remark::Edited => "the file was edited since".into(),
        Remark::NoChecksum => "without a checksum: written by another program".into(),
        Remark::Missing => "not in the artifact".into(),
        Remark::FileMissing => "its migration.sql is missing".into(),
        Remark::Late => "late: a later one is applied".into(),
        Remark::NotRun => "recorded by hand, not run".into(),
    }));
    if overview.attempts > 1 {
        about.push(format!("{} attempts", overview.attempts));
    }
    about.join("  ")
}

fn sentence(running: &Running) -> String {
    let mut text = format!(
        "backend {} ({:?}) holds the migration lock, {} s",
        running.backend, running.application_name, running.seconds
    );
    if let Some(migration) = &running.migration {
        text.push_str(&format!("; migration {}", printable_name(migration)));
    }
    if let Some(progress) = &running.progress {
        text.push_str(&format!("; {progress}"));
    }
    if let Some(wait) = &running.waits_for {
        text.push_str(&format!("; waits for {wait}"));
    }
    text
}
