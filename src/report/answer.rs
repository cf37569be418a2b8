//! What CloudFormation waits for: a custom resource's answer, or a wait condition's signal. Pure: from the outcome to the body.
//!
//! Source: the CloudFormation user guide, "Custom resource response objects" and "Wait condition signal JSON format".

use crate::exit::Exit;
use crate::outcome::Outcome;
use crate::printable::{count, printable, printable_name};
use crate::secret::Secret;
use serde_json::{Value, json};

/// The most that CloudFormation takes as a custom resource's answer, in bytes.
const LARGEST: usize = 4096;

/// Who waits, and what he must be told so that he knows it is for him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A custom resource.
    CustomResource {
        /// The presigned URL.
        url: Secret,
        /// `StackId` of its event.
        stack_id: String,
        /// `RequestId`.
        request_id: String,
        /// `LogicalResourceId`.
        logical_resource_id: String,
        /// The same in all its events: CloudFormation deletes a resource whose id changes.
        physical_resource_id: String,
    },
    /// A wait condition.
    WaitCondition {
        /// The presigned URL of its handle.
        url: Secret,
        /// Each signal has one of its own; none: the run's.
        unique_id: Option<String>,
    },
}

/// Whether CloudFormation goes on: only where the verb did all that it was asked to. The end of a run whose artifact was superseded is none of these: the
/// migrations of that artifact are not in, and what comes behind must not be deployed.
fn is_success(exit: Exit) -> bool {
    matches!(exit, Exit::Success | Exit::Report)
}

impl Answer {
    /// The presigned URL.
    pub fn url(&self) -> &Secret {
        match self {
            Answer::CustomResource { url, .. } | Answer::WaitCondition { url, .. } => url,
        }
    }

    /// Who waits, for a message.
    pub fn name(&self) -> &'static str {
        match self {
            Answer::CustomResource { .. } => "CloudFormation's custom resource",
            Answer::WaitCondition { .. } => "CloudFormation's wait condition",
        }
    }

    /// The body of the request, with as much of the reason as there is room for.
    pub fn body(&self, outcome: &Outcome) -> String {
        let success = is_success(outcome.exit_code);
        let mut body = match self {
            Answer::CustomResource {
                stack_id,
                request_id,
                logical_resource_id,
                physical_resource_id,
                ..
            } => json!({
                "Status": if success { "SUCCESS" } else { "FAILED" },
                "Reason": "",
                "PhysicalResourceId": physical_resource_id,
                "StackId": stack_id,
                "RequestId": request_id,
                "LogicalResourceId": logical_resource_id,
                "Data": {
                    "RunId": outcome.run_id,
                    "Result": outcome.result,
                    "ExitCode": outcome.exit_code.code().to_string(),
                    "Applied": outcome.applied.len().to_string(),
                },
            }),
            Answer::WaitCondition { unique_id, .. } => json!({
                "Status": if success { "SUCCESS" } else { "FAILURE" },
                "Reason": "",
                "UniqueId": unique_id.as_ref().unwrap_or(&outcome.run_id),
                "Data": format!("{} {} (run {})", outcome.verb, outcome.result, outcome.run_id),
            }),
        };
        let room = LARGEST.saturating_sub(body.to_string().len());
        body["Reason"] = Value::String(Reason::of(outcome).fit(room));
        body.to_string()
    }
}

/// A sentence whose middle can be shortened.
struct Reason {
    head: String,
    what: String,
    tail: String,
}

impl Reason {
    fn of(outcome: &Outcome) -> Reason {
        let log = outcome.task.as_ref().and_then(|task| task.log_url.as_deref());
        let log = log.map(|url| format!("; log: {url}")).unwrap_or_default();
        let code = outcome.exit_code.code();
        let Some(failure) = &outcome.failure else {
            let said = match &*outcome.result {
                "applied" => format!("{} applied", count(outcome.applied.len(), "migration", "migrations")),
                word => format!("{} {}", outcome.verb, word.replace('_', " ")),
            };
            return Reason {
                head: String::new(),
                what: said,
                tail: format!("; exit code {code}{log}"),
            };
        };
        let mut head = failure
            .prisma_code
            .as_ref()
            .map(|code| format!("{code}: "))
            .unwrap_or_default();
        if let Some(migration) = &failure.migration {
            head.push_str(&format!("migration {}: ", printable_name(migration)));
        }
        if let Some(sqlstate) = &failure.sqlstate {
            head.push_str(&format!("[SQLSTATE {sqlstate}] "));
        }
        if let Some(place) = &failure.place {
            head.push_str(&format!(
                "{}:{}:{}: ",
                printable_name(&place.file),
                place.line,
                place.column
            ));
        }
        Reason {
            head,
            what: line(&failure.what),
            tail: format!(
                "; database: {}; exit code {code}{log}; next: {}",
                line(&failure.state),
                line(&failure.next)
            ),
        }
    }

    /// In at most so many bytes of a JSON string.
    fn fit(&self, room: usize) -> String {
        let Reason { head, what, tail } = self;
        let around = escaped(head) + escaped(tail);
        if around + escaped(what) <= room {
            return format!("{head}{what}{tail}");
        }
        match room.checked_sub(around + MARK.len()) {
            Some(rest) => format!("{head}{}{MARK}{tail}", beginning(what, rest)),
            None => {
                let most = room.saturating_sub(MARK.len());
                format!("{}{MARK}", beginning(&format!("{head}{MARK}{tail}"), most))
            }
        }
    }
}

/// What stands for a text that was left out.
const MARK: &str = "…";

/// On one line, with nothing that steers a terminal.
fn line(text: &str) -> String {
    printable(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As much of the text as takes at most so many bytes in a JSON string: whole characters.
fn beginning(text: &str, bytes: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += escaped_char(c);
        if used > bytes {
            return &text[..at];
        }
    }
    text
}

/// How many bytes it takes in a JSON string, as serde_json writes it.
fn escaped(text: &str) -> usize {
    text.chars().map(escaped_char).sum()
}

fn escaped_char(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Place};
    use crate::task::Task;
    use std::time::Duration;

    const URL: &str =
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/x";

    fn custom_resource() -> Answer {
        Answer::CustomResource {
            url: Secret::new("https://answers.example/?X-Amz-Signature=hush"),
            stack_id: "arn:aws:cloudformation:eu-west-1:1:stack/s/1".into(),
            request_id: "request".into(),
            logical_resource_id: "Gate".into(),
            physical_resource_id: "gate".into(),
        }
    }

    fn signal(unique_id: Option<&str>) -> Answer {
        Answer::WaitCondition {
            url: Secret::new("https://answers.example/"),
            unique_id: unique_id.map(str::to_owned),
        }
    }

    fn outcome(result: Result<Exit, Failure>) -> Outcome {
        let mut outcome = Outcome::new("deploy", "run".into());
        outcome.task = Some(Task {
            arn: "arn".into(),
            family: None,
            revision: None,
            image_digest: None,
            log_group: None,
            log_stream: None,
            log_url: Some(URL.into()),
        });
        outcome.end(result, Duration::ZERO);
        outcome
    }

    fn failure(what: &str) -> Failure {
        let mut failure = Failure::new(Exit::RolledBack, what, "mend it")
            .prisma(Some("P3018"))
            .of("20240101_bad")
            .state("all of it was rolled back");
        failure.sqlstate = Some("42703".into());
        failure.place = Some(Place {
            file: "20240101_bad/migration.sql".into(),
            line: 3,
            column: 7,
            excerpt: "SELECT nme".into(),
        });
        failure
    }

    fn read(answer: &Answer, outcome: &Outcome) -> Value {
        serde_json::from_str(&answer.body(outcome)).unwrap()
    }

    #[test]
    fn success_is_that_all_was_done() {
        for (exit, _) in Exit::TABLE {
            let outcome = match exit {
                Exit::Success | Exit::Report | Exit::Pending | Exit::Drift => outcome(Ok(*exit)),
                _ => outcome(Err(Failure::new(*exit, "it", "do"))),
            };
            let goes_on = [0, 70].contains(&exit.code());
            let expected = if goes_on {
                ["SUCCESS", "SUCCESS"]
            } else {
                ["FAILED", "FAILURE"]
            };
            let said =
                [read(&custom_resource(), &outcome), read(&signal(None), &outcome)].map(|body| body["Status"].clone());
            assert_eq!(said, expected, "{exit:?}");
        }
    }

    #[test]
    fn the_reason_names_the_migration_the_sqlstate_the_state_and_the_log() {
        let body = read(
            &custom_resource(),
            &outcome(Err(failure("column \"nme\"\ndoes not exist"))),
        );
        assert_eq!(
            body["Reason"].as_str().unwrap(),
            format!(
                "P3018: migration 20240101_bad: [SQLSTATE 42703] 20240101_bad/migration.sql:3:7: column \"nme\" does not exist; \
                 database: all of it was rolled back; exit code 20; log: {URL}; next: mend it"
            )
        );
        assert_eq!(body["PhysicalResourceId"], "gate");
        assert_eq!(body["Data"]["ExitCode"], "20");
        assert_eq!(read(&signal(Some("1")), &outcome(Ok(Exit::Success)))["UniqueId"], "1");
        assert_eq!(read(&signal(None), &outcome(Ok(Exit::Success)))["UniqueId"], "run");
    }

    #[test]
    fn a_reason_is_cut_between_two_characters_to_the_byte() {
        for filler in ["x", "é", "😀", "\"", "\\", "\u{1b}", "\u{1}é\""] {
            for extra in 0..8 {
                let what = format!("{}{}", "a".repeat(extra), filler.repeat(5000));
                for answer in [custom_resource(), signal(Some("1"))] {
                    let outcome = outcome(Err(failure(&what)));
                    let body = answer.body(&outcome);
                    // Less only by one character that would not have fitted, and that is 6 bytes at most.
                    assert!(
                        (LARGEST - 6..=LARGEST).contains(&body.len()),
                        "{filler:?} {extra}: {}",
                        body.len()
                    );
                    let reason = read(&answer, &outcome)["Reason"].as_str().unwrap().to_owned();
                    assert!(
                        reason.starts_with("P3018: migration 20240101_bad: [SQLSTATE 42703] "),
                        "{reason}"
                    );
                    assert!(reason.contains("…; database: all of it was rolled back"), "{reason}");
                    assert!(reason.contains(URL) && reason.ends_with("; next: mend it"), "{reason}");
                }
            }
        }
    }

    #[test]
    fn also_what_stands_around_it_is_cut_where_it_must_be() {
        let mut failure = failure("it");
        failure.state = "\n\"é".repeat(4000);
        let body = custom_resource().body(&outcome(Err(failure)));
        assert!(body.len() <= LARGEST, "{}", body.len());
        assert!(body.contains("migration 20240101_bad"), "{body}");
    }
}
