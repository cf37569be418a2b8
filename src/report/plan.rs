//! What a deploy would do, for people: a block for each migration, and in it the statements that touch what is there now.

use super::text::{BOLD, DIM, Page, RED, YELLOW};
use crate::apply::How;
use crate::hazard::{Hazard, Lock, Planned, Statement, size};
use crate::printable::{printable, printable_name};

/// Below a statement's text.
const INDENT: &str = "          ";

impl Page {
    /// The plan, with each hazard below its statement.
    pub(super) fn plan(&mut self, plan: &[Planned], hazards: &[Hazard]) {
        for migration in plan {
            self.blank();
            let how = match migration.how {
                How::Atomic => "in one transaction",
                How::Alone => "by itself, outside a transaction",
                How::Together => "in one transaction with all others",
                How::StepByStep => "statement by statement",
            };
            let how = match &migration.why {
                Some(why) => format!("{how}: {why}"),
                None => how.to_owned(),
            };
            let file = format!("{}/migration.sql", printable_name(&migration.name));
            let (file, how) = (self.painted(BOLD, &file), self.painted(DIM, &how));
            self.text.push_str(&format!("{file}  {how}\n"));
            let own: Vec<&Hazard> = hazards
                .iter()
                .filter(|hazard| hazard.migration == migration.name)
                .collect();
            let mut others = 0;
            for (at, statement) in migration.statements.iter().enumerate() {
                let hazards: Vec<&&Hazard> = own.iter().filter(|hazard| hazard.statement == at).collect();
                let touches = statement.locks.iter().any(|lock| !lock.new);
                if hazards.is_empty() && !touches && statement.note.is_none() {
                    others += statement.count;
                    continue;
                }
                self.statement(statement);
                for hazard in hazards {
                    self.hazard(hazard);
                }
            }
            let others = match (others, others < migration.statements.iter().map(|s| s.count).sum()) {
                (0, true) => continue,
                (0, false) => "no statements".to_owned(),
                (1, more) => format!("{}1 statement that locks nothing that is there now", and(more)),
                (n, more) => format!("{}{n} statements that lock nothing that is there now", and(more)),
            };
            let others = self.painted(DIM, &others);
            self.text.push_str(&format!("          {others}\n"));
        }
    }

    fn statement(&mut self, statement: &Statement) {
        let place = self.painted(DIM, &format!("{:>8}", format!(":{}", statement.line)));
        let sql = printable(&statement.sql).into_owned();
        let more = match statement.count {
            1 => String::new(),
            n => self.painted(DIM, &format!("  and {} more", n - 1)),
        };
        self.text.push_str(&format!("{place}  {sql}{more}\n"));
        for lock in statement.locks.iter().filter(|lock| !lock.new) {
            let text = self.painted(DIM, &locked(lock));
            self.text.push_str(&format!("{INDENT}{text}\n"));
        }
        if let Some(note) = &statement.note {
            let (label, note) = (self.painted(BOLD, "note:"), printable(note).into_owned());
            self.text.push_str(&format!("{INDENT}{label} {note}\n"));
        }
    }

    fn hazard(&mut self, hazard: &Hazard) {
        let paint = if hazard.refused { RED } else { YELLOW };
        let refused = if hazard.refused { ", refused" } else { "" };
        let class = self.painted(paint, &format!("{}{refused}:", hazard.class));
        let instead = self.painted(BOLD, "instead:");
        let (what, recipe) = (printable(&hazard.what).into_owned(), &hazard.recipe);
        self.text
            .push_str(&format!("{INDENT}{class} {what}\n{INDENT}{instead} {recipe}\n"));
    }
}

fn and(more: bool) -> &'static str {
    if more { "and " } else { "" }
}

/// `ACCESS EXCLUSIVE on orders, 48 GB, ~310 M rows`.
fn locked(lock: &Lock) -> String {
    let mut text = format!("{} on {}", lock.mode, lock.relation);
    for part in [lock.bytes.map(size::bytes), lock.rows.map(size::rows)]
        .into_iter()
        .flatten()
    {
        text.push_str(&format!(", {part}"));
    }
    text
}
