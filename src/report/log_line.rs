//! The outcome as the last line of a task's log: a line like the others, with a level and a message, and no longer than log drivers take.

use super::document;
use crate::exit::Exit;
use crate::outcome::Outcome;
use serde_json::{Map, Value, json};

/// In bytes, without the line's end. Docker cuts a line into pieces of 16,384 bytes, and with it the awslogs driver.
const LONGEST: usize = 16_000;

/// The most of one sentence, in bytes.
const MESSAGE: usize = 1_000;

/// What is kept if the whole is too long: so many items of each list, and so many bytes of each text. The first that fits counts.
const CUTS: [(usize, usize); 7] = [
    (50, 4_000),
    (20, 2_000),
    (10, 1_000),
    (5, 500),
    (2, 250),
    (1, 120),
    (0, 60),
];

/// `{"level":"error","message":"…","outcome":{…}}`. Of lists that are too long the first items are kept, and `outcome.omitted` says how many are not.
pub fn line(outcome: &Outcome) -> String {
    let failed = outcome.failure.is_some() || outcome.exit_code == Exit::Report;
    let mut message = outcome.sentence();
    cut_text(&mut message, MESSAGE);
    let mut whole = document(outcome);
    super::without_objects(&mut whole);
    let around = |outcome: Value| {
        json!({
            "level": if failed { "error" } else { "info" },
            "message": message,
            "outcome": outcome,
        })
        .to_string()
    };
    let mut said = around(whole.clone());
    let mut omitted = Map::new();
    for (items, bytes) in CUTS {
        if said.len() <= LONGEST {
            break;
        }
        cut(&mut whole, "", (items, bytes), &mut omitted);
        let mut shorter = whole.clone();
        if let Value::Object(fields) = &mut shorter {
            fields.insert("omitted".to_owned(), Value::Object(omitted.clone()));
        }
        said = around(shorter);
    }
    said
}

/// Shortens all lists and texts in a value; `omitted` counts the items by the list's path, as `docs/outcome.md` writes it.
fn cut(value: &mut Value, path: &str, (items, bytes): (usize, usize), omitted: &mut Map<String, Value>) {
    match value {
        Value::String(text) => cut_text(text, bytes),
        Value::Array(values) => {
            if let Some(more @ 1..) = values.len().checked_sub(items) {
                values.truncate(items);
                let before = omitted.get(path).and_then(Value::as_u64).unwrap_or(0);
                omitted.insert(path.to_owned(), (before + more as u64).into());
            }
            for value in values {
                cut(value, &format!("{path}[]"), (items, bytes), omitted);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                cut(value, &path, (items, bytes), omitted);
            }
        }
        _ => {}
    }
}

fn cut_text(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use std::time::Duration;

    fn failed(change: impl FnOnce(&mut Outcome)) -> Value {
        let mut outcome = Outcome::new("deploy", "id".into());
        let failure = Failure::new(
            Exit::RolledBack,
            "column \"x\" does not exist",
            "fix the SQL and deploy again",
        )
        .of("1_a");
        outcome.end(Err(failure), Duration::ZERO);
        change(&mut outcome);
        let line = line(&outcome);
        assert!(line.len() <= LONGEST && !line.contains('\n'), "{} bytes", line.len());
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_failure_is_a_line_of_level_error_with_one_sentence() {
        let line = failed(|_| {});
        assert_eq!(line["level"], "error");
        assert_eq!(
            line["message"],
            "deploy failed: migration 1_a: column \"x\" does not exist"
        );
        assert_eq!(line["outcome"]["failure"]["next"], "fix the SQL and deploy again");
        assert_eq!(line["outcome"]["omitted"], Value::Null);
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["level", "message", "outcome"]);
    }

    #[test]
    fn long_lists_and_long_texts_are_left_to_the_report() {
        let line =
            failed(|outcome| outcome.pending = (0..1_000).map(|n| format!("2024010100{n:04}_a_migration")).collect());
        let kept = line["outcome"]["pending"].as_array().unwrap().len() as u64;
        assert_eq!(line["outcome"]["omitted"]["pending"], 1_000 - kept);
        assert!(kept > 0 && line["outcome"]["pending"][0] == "20240101000000_a_migration");

        let line = failed(|outcome| outcome.warnings = vec!["\"\\\u{1b}é".repeat(100_000); 30]);
        assert_eq!(line["level"], "error");

        let line = failed(|outcome| {
            if let Some(failure) = &mut outcome.failure {
                failure.what = "\"".repeat(300_000);
                failure.details = vec!["\"".repeat(30_000); 100];
                failure.state = "\\".repeat(300_000);
            }
        });
        assert!(line["message"].as_str().unwrap().len() < 1_100);
        assert_eq!(line["outcome"]["exit_code"], 20);
    }
}
