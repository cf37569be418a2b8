//! The outcome for people.

use crate::apply::How;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::printable::printable;
use std::borrow::Cow;

/// The outcome as text, without a final newline.
pub fn render(outcome: &Outcome, colour: bool) -> String {
    let mut page = Page {
        text: String::new(),
        colour,
    };
    page.heading(outcome);
    for applied in &outcome.applied {
        let how = match applied.how {
            How::Atomic => "",
            How::Alone => "  by itself, outside a transaction",
            How::StepByStep => "  statement by statement",
        };
        page.line(&format!(
            "  applied   {}  {}{how}",
            applied.name,
            seconds(applied.duration_ms)
        ));
    }
    for sentence in &outcome.recovered {
        page.line(&format!("  recovered {sentence}"));
    }
    for sentence in &outcome.resolved {
        page.line(&format!("  {sentence}"));
    }
    for name in &outcome.pending {
        page.line(&format!("  pending   {name}"));
    }
    for warning in &outcome.warnings {
        page.line(&format!("  warning   {warning}"));
    }
    if let Some(failure) = &outcome.failure {
        page.failure(failure);
    }
    page.text.truncate(page.text.trim_end().len());
    page.text
}

struct Page {
    text: String,
    colour: bool,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(&printable(line));
        self.text.push('\n');
    }

    fn painted(&mut self, code: &str, line: &str) {
        let line = printable(line);
        let painted = if self.colour {
            Cow::Owned(format!("\u{1b}[{code}m{line}\u{1b}[0m"))
        } else {
            line
        };
        self.text.push_str(&painted);
        self.text.push('\n');
    }

    fn heading(&mut self, outcome: &Outcome) {
        let database = match &outcome.database {
            Some(server) => {
                let schema = server.ledger_schema.as_ref().or(server.schema.as_ref());
                format!(
                    " {}{}",
                    server.address,
                    schema.map(|s| format!(" (schema {s})")).unwrap_or_default()
                )
            }
            None => String::new(),
        };
        let took = seconds(outcome.duration_ms);
        let count = |n: usize| {
            if n == 1 {
                "1 migration".to_owned()
            } else {
                format!("{n} migrations")
            }
        };
        let found = outcome
            .migrations
            .map(|n| format!(", {} in the artifact", count(n)))
            .unwrap_or_default();
        match outcome.result {
            "failed" => self.painted("31;1", &format!("{} failed:{database}, {took}", outcome.verb)),
            "pending" => self.painted(
                "33;1",
                &format!("{} pending:{database}{found}", count(outcome.pending.len())),
            ),
            "applied" => self.painted(
                "32;1",
                &format!("{} applied:{database}{found}, {took}", count(outcome.applied.len())),
            ),
            "resolved" => self.painted("32;1", &format!("resolved:{database}")),
            _ => self.painted("32;1", &format!("up to date:{database}{found}, {took}")),
        }
    }

    fn failure(&mut self, failure: &Failure) {
        self.text.push('\n');
        let migration = failure
            .migration
            .as_ref()
            .map(|name| format!("migration {name}: "))
            .unwrap_or_default();
        let codes = [
            failure.prisma_code.map(str::to_owned),
            failure.sqlstate.as_ref().map(|s| format!("SQLSTATE {s}")),
        ];
        let codes: Vec<String> = codes.into_iter().flatten().collect();
        let codes = if codes.is_empty() {
            String::new()
        } else {
            format!(" [{}]", codes.join(", "))
        };
        self.painted("1", &format!("{migration}{}{codes}", failure.what));
        if let Some(place) = &failure.place {
            self.line(&place.excerpt);
        }
        for detail in &failure.details {
            self.line(detail);
        }
        self.line(&format!("state: {}", failure.state));
        self.line(&format!("next:  {}", failure.next));
        self.line(&format!("exit code {}", failure.exit.code()));
    }
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03} s", millis / 1000, millis % 1000)
}
