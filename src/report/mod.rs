//! Where the outcome goes: standard output (of `execute`: standard error), as text or as JSON; a file or an object in S3; CloudFormation; CloudWatch.
//! All are views of the one value, and standard output comes last: what could not be delivered is part of what is printed.

pub mod answer;
pub mod deliver;
mod log_line;
pub mod metrics;
pub mod place;
mod plan;
mod text;

use crate::cli::LogFormat;
use crate::exit::Exit;
use crate::log;
use crate::outcome::Outcome;
use crate::printable::printable;
use crate::settings;
use crate::stderr;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::Path;

/// Writes the outcome to standard output, or to standard error where the other is for the rows of `execute`. A reader that has gone away changes
/// nothing about the outcome. `deploy` is the command that applies what is pending, as whoever reads this would give it. `in_log`: in JSON it is a line of
/// the log, whose reader knows no other documents.
pub fn print(outcome: &Outcome, format: Option<LogFormat>, in_log: bool, deploy: &str) {
    // The log comes first, where both go to the same place.
    stderr::flush();
    let (mut to, terminal): (Box<dyn Write>, bool) = match &*outcome.verb {
        "execute" => (Box::new(std::io::stderr()), std::io::stderr().is_terminal()),
        _ => (Box::new(std::io::stdout()), std::io::stdout().is_terminal()),
    };
    let text = match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => {
            let told = if terminal { log::told() } else { BTreeSet::new() };
            text::render(outcome, settings::may_colour(terminal), &told, deploy)
        }
        LogFormat::Json if in_log => log_line::line(outcome),
        LogFormat::Json => {
            let mut document = document(outcome);
            without_objects(&mut document);
            document.to_string()
        }
    };
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// Says in the log what it came to, where no text for people says it: a failure is a line of level error. `delivered`: somebody waits for it elsewhere, and
/// whoever kills the process before it is taken there finds it in the log. `in_log`: its last line will be the outcome itself.
pub fn log(outcome: &Outcome, delivered: bool, in_log: bool) {
    let (code, sentence) = (outcome.exit_code.code(), outcome.sentence());
    match &outcome.failure {
        Some(_) if in_log && !delivered => {}
        // Whoever counts the lines of level error counts a failure once.
        Some(failure) if in_log => tracing::info!(exit_code = code, "{} failed: {failure}", outcome.verb),
        Some(failure) if delivered => tracing::error!(exit_code = code, "{} failed: {failure}", outcome.verb),
        Some(_) if log::is_json() => tracing::error!(exit_code = code, "{sentence}"),
        None if delivered => tracing::info!(exit_code = code, "{}: {}", outcome.verb, outcome.result),
        _ => {}
    }
}

/// A line takes so much, and these can be more than that.
fn without_objects(document: &mut Value) {
    if let Some(objects) = document.pointer_mut("/schema/objects") {
        *objects = serde_json::json!({});
    }
}

/// Writes a text to standard output. A reader that has gone away wants no more of it.
pub fn say(text: &str) {
    let mut stdout = std::io::stdout();
    let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Writes the outcome as a JSON document to a file. Where that fails, the outcome says so, and its exit code too if it was a success.
pub fn write(outcome: &mut Outcome, file: &Path) {
    let text = format!("{:#}\n", document(outcome));
    if let Err(error) = std::fs::write(file, text) {
        undelivered(
            outcome,
            format!("the report could not be written to {}: {error}", file.display()),
        );
    }
}

/// Says that a view of the outcome did not reach whom it is for.
pub fn undelivered(outcome: &mut Outcome, warning: String) {
    tracing::error!("{warning}");
    outcome.warnings.push(warning);
    if outcome.exit_code == Exit::Success {
        outcome.exit_code = Exit::Report;
    }
}

/// The JSON document, without characters that steer a terminal: JSON's own escapes leave some of them in.
fn document(outcome: &Outcome) -> Value {
    let mut document = serde_json::to_value(outcome).unwrap_or_default();
    clean(&mut document);
    document
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let std::borrow::Cow::Owned(shown) = printable(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}
