//! The outcome for people: a heading, a line for each migration, the warnings, and what to do next.

mod overview;

use crate::apply::How;
use crate::database::open::Server;
use crate::drift::{Change, Difference};
use crate::excerpt;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hazard;
use crate::outcome::{Executed, Outcome};
use crate::printable::{self, printable, printable_name};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) const BOLD: &str = "1";
pub(super) const DIM: &str = "2";
pub(super) const RED: &str = "31;1";
const GREEN: &str = "32;1";
pub(super) const YELLOW: &str = "33;1";

/// The outcome as text, without a final newline.
///
/// `told`: the migrations that the log on the same terminal has called applied.
pub fn render(outcome: &Outcome, colour: bool, told: &BTreeSet<String>, deploy: &str) -> String {
    let mut page = Page {
        text: String::new(),
        colour,
    };
    page.heading(outcome);
    if let Some(plan) = &outcome.plan {
        page.plan(plan, &outcome.hazards);
    } else if outcome.migrations.is_empty() {
        page.migrations(outcome, told);
    } else {
        overview::show(&mut page, outcome);
    }
    if let Some(seeded) = &outcome.seeded {
        page.blank();
        page.line(
            "  seeded   ",
            GREEN,
            &format!("{}  {}", seeded.path, seconds(seeded.duration_ms)),
        );
    }
    if let ("upload", Some(artifact)) = (&*outcome.verb, &outcome.artifact) {
        page.blank();
        page.line("  ", "", &artifact.origin.to_string());
    }
    if let Some(written) = &outcome.written {
        let rows = match written.rows {
            1 => "1 row".to_owned(),
            rows => format!("{rows} rows"),
        };
        page.blank();
        page.line(
            "  written  ",
            GREEN,
            &format!("{}  {rows}, {}", written.place, hazard::size::bytes(written.bytes)),
        );
    }
    page.paragraph(&outcome.drift, Page::difference);
    page.paragraph(&outcome.recovered, |page, sentence| {
        page.line("recovered: ", DIM, sentence)
    });
    page.paragraph(&outcome.resolved, |page, sentence| page.line("", BOLD, sentence));
    // Each difference is listed above.
    let drift: Vec<String> = outcome
        .drift
        .iter()
        .map(|difference| format!("drift: {difference}"))
        .collect();
    let warnings: Vec<&String> = outcome
        .warnings
        .iter()
        .filter(|warning| !drift.contains(warning))
        .collect();
    page.paragraph(&warnings, |page, warning| page.line("warning: ", YELLOW, warning));
    if let Some(failure) = &outcome.failure {
        let log = outcome.task.as_ref().and_then(|task| task.log_url.as_deref());
        page.failure(failure, &outcome.drift, log);
    } else if outcome.exit_code == Exit::Pending || outcome.result == "planned" {
        page.blank();
        page.line("next:  ", BOLD, deploy);
    }
    page.text.truncate(page.text.trim_end().len());
    page.text
}

pub(super) struct Page {
    pub(super) text: String,
    colour: bool,
}

impl Page {
    pub(super) fn blank(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// A painted label and a text as it is; of several lines the later ones stand below the text's first.
    fn line(&mut self, label: &str, paint: &str, text: &str) {
        let indent = format!("\n{}", " ".repeat(label.len()));
        let (label, text) = (self.painted(paint, label), printable(text).replace('\n', &indent));
        self.text.push_str(&format!("{label}{text}\n"));
    }

    fn paragraph<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Page, &T)) {
        if !items.is_empty() {
            self.blank();
        }
        for item in items {
            each(self, item);
        }
    }

    pub(super) fn painted(&self, code: &str, text: &str) -> String {
        let text = printable(text);
        if self.colour && !text.trim().is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.into_owned()
        }
    }

    fn heading(&mut self, outcome: &Outcome) {
        let held = outcome.artifact.as_ref().map(|artifact| artifact.migrations);
        let (paint, said) = match &*outcome.result {
            "failed" => (RED, format!("{} failed", outcome.verb)),
            "pending" if outcome.plan.is_some() => (YELLOW, self::planned(outcome)),
            "pending" => (YELLOW, format!("{} pending", count(outcome.pending.len()))),
            "planned" => (YELLOW, self::planned(outcome)),
            "applied" => (GREEN, format!("{} applied", count(outcome.applied.len()))),
            "resolved" => (GREEN, "resolved".to_owned()),
            "detached" => (YELLOW, "detached: the task goes on".to_owned()),
            "ended" => (GREEN, "the task ended".to_owned()),
            "uploaded" | "packed" => (GREEN, outcome.result.clone().into_owned()),
            "drift" => (
                YELLOW,
                format!(
                    "drift: {}",
                    printable::count(outcome.drift.len(), "difference", "differences")
                ),
            ),
            "no_drift" => (GREEN, "no drift".to_owned()),
            "executed" => (GREEN, executed(&outcome.executed)),
            _ => (GREEN, "up to date".to_owned()),
        };
        let mut about = Vec::new();
        about.extend(outcome.database.as_ref().map(place));
        about.extend(held.map(|held| format!("{} in the artifact", count(held))));
        about.push(seconds(outcome.duration_ms));
        let (said, about) = (self.painted(paint, &said), self.painted(DIM, &about.join(", ")));
        self.text.push_str(&format!("{said}  {about}\n"));
    }

    /// A line for each migration that this run has something to say of: what was applied, what failed, what is left.
    fn migrations(&mut self, outcome: &Outcome, told: &BTreeSet<String>) {
        let failed = outcome.failure.as_ref().and_then(|failure| failure.migration.as_ref());
        // A migration that was not to be applied now, such as one that blocks, is named with its error.
        let failed = failed.filter(|name| outcome.pending.contains(name)).map(String::as_str);
        let left = outcome.pending.iter().filter(|name| Some(name.as_str()) != failed);
        let untold = || outcome.applied.iter().filter(|applied| !told.contains(&applied.name));
        let rows: Vec<(&str, &str, String, String)> = untold()
            .map(|applied| {
                let how = match applied.how {
                    How::Atomic => String::new(),
                    how => format!("  {}", how.words()),
                };
                (
                    GREEN,
                    "applied",
                    printable_name(&applied.name),
                    format!("{:>9}{how}", seconds(applied.duration_ms)),
                )
            })
            .chain(failed.map(|name| (RED, "failed", printable_name(name), String::new())))
            .chain(left.map(|name| (YELLOW, "pending", printable_name(name), String::new())))
            .collect();
        let width = untold()
            .map(|applied| printable_name(&applied.name).chars().count())
            .max()
            .unwrap_or(0);
        self.paragraph(&rows, |page, (paint, state, name, about)| {
            let (state, about) = (page.painted(paint, &format!("{state:<7}")), page.painted(DIM, about));
            let row = format!("  {state}  {name:<width$}  {about}");
            page.text.push_str(row.trim_end());
            page.text.push('\n');
        });
    }

    fn difference(&mut self, difference: &Difference) {
        let (paint, word) = match difference.change {
            Change::Added => (GREEN, "added  "),
            Change::Removed => (RED, "removed"),
            Change::Changed => (YELLOW, "changed"),
        };
        self.line(&format!("  {word}  "), paint, &difference.object);
        let definitions = [("was ", &difference.before), ("is  ", &difference.after)];
        for (word, definition) in definitions {
            if let Some(definition) = definition.as_ref().filter(|text| !text.is_empty()) {
                self.line(&format!("             {word}"), DIM, definition);
            }
        }
    }

    fn failure(&mut self, failure: &Failure, drift: &[Difference], log: Option<&str>) {
        self.blank();
        let codes: Vec<String> = failure
            .prisma_code
            .iter()
            .map(ToString::to_string)
            .chain(failure.sqlstate.as_ref().map(|sqlstate| format!("SQLSTATE {sqlstate}")))
            .collect();
        let codes = if codes.is_empty() {
            String::new()
        } else {
            format!(" [{}]", codes.join(", "))
        };
        let migration = failure
            .migration
            .as_ref()
            .map(|name| format!("migration {}: ", printable_name(name)));
        self.line(
            "error: ",
            RED,
            &format!("{}{}{codes}", migration.unwrap_or_default(), failure.what),
        );
        if let Some(place) = &failure.place {
            self.line("", "", &place.excerpt);
        }
        let listed: Vec<String> = drift.iter().map(ToString::to_string).collect();
        for detail in failure.details.iter().filter(|detail| !listed.contains(detail)) {
            self.line("", "", &excerpt::shortened(detail));
        }
        self.blank();
        self.line("database:   ", BOLD, &failure.state);
        self.line("next:       ", BOLD, &failure.next);
        self.line("exit code:  ", BOLD, &failure.exit.code().to_string());
        if let Some(log) = log {
            self.line("log:        ", BOLD, log);
        }
    }
}

fn planned(outcome: &Outcome) -> String {
    let pending = count(outcome.pending.len());
    format!("{pending} pending, {}", hazard::summary(&outcome.hazards))
}

/// Where the migrations went: the server, the database, and the schema of the ledger.
fn place(server: &Server) -> String {
    match server.ledger_schema.as_ref().or(server.schema.as_ref()) {
        Some(schema) => format!("{} (schema {schema})", server.address),
        None => server.address.clone(),
    }
}

fn executed(executed: &[Executed]) -> String {
    match executed.iter().map(|executed| executed.statements).sum() {
        1 => "1 statement executed".to_owned(),
        n => format!("{n} statements executed"),
    }
}

fn count(migrations: usize) -> String {
    printable::count(migrations, "migration", "migrations")
}

fn seconds(millis: u64) -> String {
    printable::duration(Duration::from_millis(millis))
}
