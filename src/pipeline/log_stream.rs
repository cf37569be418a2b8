//! The task's log: read from CloudWatch Logs as it comes, shown, and searched for the outcome.

use super::clients::Clients;
use super::patience::{Patience, Request, insist};
use super::place::Place;
use crate::log;
use aws_sdk_cloudwatchlogs::config::Region;
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// The pause between two looks at a log that has nothing new.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a log may bring nothing new behind the task's end before it counts as complete: CloudWatch shows events seconds after they were sent.
const QUIET: Duration = Duration::from_secs(10);
/// The same once the outcome is there: standard output and error are two pipes, and one may be a moment behind the other.
const QUIET_BEHIND_OUTCOME: Duration = Duration::from_secs(1);

/// From this length on an event may be a piece of a longer line: the drivers cut lines at 256 KiB, some at 16.
const PIECE: usize = 16_000;

/// A line that is longer than this is not put together.
const LONGEST_LINE: usize = 64 << 20;

/// What a log held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The outcome, as JSON: its last line, mostly.
    pub outcome: Option<String>,
    /// Why it was not read to its end.
    pub trouble: Option<String>,
    /// How many events it had.
    pub events: usize,
}

/// Reads the log until the task is over and nothing comes any more. `is_over` says whether it ever started, once it is over.
pub(super) async fn read(
    clients: &Clients,
    place: &Place,
    task_arn: &str,
    mut is_over: watch::Receiver<Option<bool>>,
    spoke: &dyn Fn(),
    rows: &dyn Fn(&str),
) -> Log {
    let mut reader = Reader {
        log: Log::default(),
        piece: String::new(),
        rows,
    };
    let Some(stream) = place.stream(task_arn) else {
        reader.log.trouble = Some("nothing tells where its log is (--log-group, --log-stream-prefix)".to_owned());
        return reader.log;
    };
    let mut token = None;
    let mut quiet_since = Instant::now();
    loop {
        let over = *is_over.borrow_and_update();
        match page(clients, place, &stream, token.as_deref()).await {
            Err(trouble) => {
                tracing::warn!("the task's log cannot be read: {trouble}");
                reader.log.trouble = Some(trouble);
                return reader.log;
            }
            Ok(page) => {
                if !page.events.is_empty() {
                    spoke();
                    quiet_since = Instant::now();
                }
                for event in &page.events {
                    reader.event(event);
                }
                let at_end = page.next.is_none() || page.next == token;
                token = page.next.or(token);
                if !at_end {
                    continue;
                }
            }
        }
        match over {
            // A container that never started has written nothing.
            Some(false) => return reader.end(),
            Some(true) if quiet_since.elapsed() > reader.patience() => return reader.end(),
            Some(true) => sleep(PAUSE / 2).await,
            None => {
                // It is looked at once more as soon as the task is over.
                if let Ok(Ok(())) = timeout(PAUSE, is_over.changed()).await {
                    quiet_since = Instant::now();
                }
            }
        }
    }
}

struct Page {
    events: Vec<String>,
    next: Option<String>,
}

async fn page(clients: &Clients, place: &Place, stream: &str, token: Option<&str>) -> Result<Page, String> {
    let Some(at) = &place.log else {
        return Err("nothing tells where it is".to_owned());
    };
    let on = format!("{}:{stream}", at.group);
    let request = Request {
        action: "logs:GetLogEvents",
        on: &on,
    };
    let region = at.region.clone().filter(|region| *region != clients.region());
    let answer = insist(clients, request, Patience::Endless, async || {
        let request = clients
            .logs()
            .get_log_events()
            .log_group_name(&at.group)
            .log_stream_name(stream)
            .start_from_head(true)
            .set_next_token(token.map(str::to_owned));
        match &region {
            None => request.send().await,
            Some(region) => {
                let config = aws_sdk_cloudwatchlogs::config::Builder::new().region(Region::new(region.clone()));
                request.customize().config_override(config).send().await
            }
        }
    });
    match answer.await {
        Ok(answer) => Ok(Page {
            next: answer.next_forward_token,
            events: answer
                .events
                .unwrap_or_default()
                .into_iter()
                .filter_map(|event| event.message)
                .collect(),
        }),
        // The driver makes the stream when the container starts.
        Err(refused) if refused.code() == "ResourceNotFoundException" => Ok(Page {
            events: Vec::new(),
            next: None,
        }),
        Err(refused) => Err(format!("{refused}; {}", refused.next())),
    }
}

struct Reader<'a> {
    log: Log,
    /// The beginning of a line that was cut into several events.
    piece: String,
    rows: &'a dyn Fn(&str),
}

impl Reader<'_> {
    fn event(&mut self, text: &str) {
        self.log.events += 1;
        let text = text.strip_suffix('\n').unwrap_or(text);
        if self.piece.is_empty() {
            if text.len() >= PIECE && text.starts_with('{') && object(text).is_none() {
                self.piece.push_str(text);
            } else {
                self.line(text);
            }
            return;
        }
        // Another object of its own: what is missing of the line before it was lost.
        if object(text).is_some() {
            let piece = std::mem::take(&mut self.piece);
            self.line(&piece);
            self.line(text);
            return;
        }
        self.piece.push_str(text);
        if object(&self.piece).is_some() || self.piece.len() > LONGEST_LINE {
            let whole = std::mem::take(&mut self.piece);
            self.line(&whole);
        }
    }

    fn line(&mut self, line: &str) {
        let fields = object(line);
        match &fields {
            Some(fields) if is_outcome(fields) => self.log.outcome = Some(line.to_owned()),
            // The last line of a task's log.
            Some(fields)
                if fields.get("level").is_some()
                    && fields.get("outcome").and_then(Value::as_object).is_some_and(is_outcome) =>
            {
                self.log.outcome = fields.get("outcome").map(Value::to_string);
            }
            Some(fields) if is_log(fields) => log::relay(line),
            _ => (self.rows)(line),
        }
    }

    fn patience(&self) -> Duration {
        match self.log.outcome {
            Some(_) => QUIET_BEHIND_OUTCOME,
            None => QUIET,
        }
    }

    fn end(mut self) -> Log {
        if !self.piece.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            self.line(&piece);
        }
        self.log
    }
}

fn object(text: &str) -> Option<Map<String, Value>> {
    if !(text.starts_with('{') && text.ends_with('}')) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The outcome by the fields that every version of it has, in their places: a row of `execute` would have to be called so.
fn is_outcome(fields: &Map<String, Value>) -> bool {
    let first = ["version", "program_version", "run_id", "verb", "result", "exit_code"];
    fields.keys().map(String::as_str).take(first.len()).eq(first)
}

/// A line as `log.rs` writes it, or metrics.
fn is_log(fields: &Map<String, Value>) -> bool {
    let first: Vec<&str> = fields.keys().map(String::as_str).take(2).collect();
    first == ["time", "level"] || fields.contains_key("_aws")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn read(events: &[&str]) -> (Log, Vec<String>) {
        let rows = RefCell::new(Vec::new());
        let keep = |row: &str| rows.borrow_mut().push(row.to_owned());
        let mut reader = Reader {
            log: Log::default(),
            piece: String::new(),
            rows: &keep,
        };
        for event in events {
            reader.event(event);
        }
        let log = reader.end();
        (log, rows.into_inner())
    }

    fn outcome(warning: &str) -> String {
        format!(
            r#"{{"version":1,"program_version":"0","run_id":"r","verb":"plan","result":"planned","exit_code":0,"warnings":["{warning}"]}}"#
        )
    }

    #[test]
    fn the_outcome_is_told_from_rows_and_from_the_log() {
        let line = r#"{"time":"2026-01-01T00:00:00.000Z","level":"info","message":"hello"}"#;
        let rows = [r#"{"id":1}"#, "a | b", ""];
        let (log, seen) = read(&[line, rows[0], rows[1], rows[2], &outcome("w")]);
        assert_eq!((log.outcome, log.events), (Some(outcome("w")), 5));
        assert_eq!(seen, rows);
    }

    #[test]
    fn the_last_line_of_a_task_holds_the_outcome() {
        let line = format!(
            r#"{{"level":"error","message":"deploy failed","outcome":{}}}"#,
            outcome("w")
        );
        let (log, rows) = read(&["a row", &line]);
        assert_eq!((log.outcome, rows), (Some(outcome("w")), vec!["a row".to_owned()]));
    }

    #[test]
    fn a_line_that_was_cut_is_put_together() {
        let whole = outcome(&"ü".repeat(300_000));
        let cut = whole.floor_char_boundary(262_118);
        let (first, rest) = whole.split_at(cut);
        let (second, third) = rest.split_at(rest.floor_char_boundary(262_118));
        let (log, rows) = read(&[first, second, third]);
        assert!(log.outcome.as_deref() == Some(whole.as_str()) && rows.is_empty());
    }

    #[test]
    fn a_line_whose_end_was_lost_does_not_take_the_next_one_with_it() {
        let cut = format!("{{\"{}", "a".repeat(20_000));
        let (log, rows) = read(&[&cut, &outcome("")]);
        assert_eq!((log.outcome, rows), (Some(outcome("")), vec![cut]));
    }
}
