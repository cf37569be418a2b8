//! CloudWatch Logs: the streams of the containers, and GetLogEvents.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::Shared;
use super::server::{Answer, Refusal, text};
use super::task::{last, milliseconds};

/// The most events of one answer.
const MOST: usize = 10_000;

/// What awslogs reads at once: a longer line arrives as several events.
const LONGEST_EVENT: usize = 16 * 1024;

/// All streams, by group and name.
#[derive(Debug, Default)]
pub(super) struct Logs {
    streams: BTreeMap<(String, String), Stream>,
    /// Whether what is said is kept back.
    delayed: bool,
    /// How many events of a stream arrive at all.
    most: Option<usize>,
}

#[derive(Debug, Default)]
struct Stream {
    events: Vec<Event>,
    /// How many of them CloudWatch has.
    delivered: usize,
}

#[derive(Debug)]
struct Event {
    at: u64,
    message: String,
}

impl Logs {
    /// A container's stream is there as soon as it starts, with nothing in it.
    pub(super) fn open(&mut self, stream: &(String, String)) {
        self.streams.entry(stream.clone()).or_default();
    }

    pub(super) fn say(&mut self, stream: &(String, String), line: &[u8]) {
        let delayed = self.delayed;
        let stream = self.streams.entry(stream.clone()).or_default();
        let at = milliseconds(SystemTime::now());
        // An event cannot be empty: an empty line makes none.
        for part in line.chunks(LONGEST_EVENT) {
            let message = String::from_utf8_lossy(part).into_owned();
            stream.events.push(Event { at, message });
        }
        if !delayed {
            stream.delivered = stream.events.len();
        }
    }

    pub(super) fn delay(&mut self) {
        self.delayed = true;
    }

    pub(super) fn deliver(&mut self) {
        self.delayed = false;
        for stream in self.streams.values_mut() {
            stream.delivered = stream.events.len();
        }
    }

    pub(super) fn lose_after(&mut self, events: usize) {
        self.most = Some(events);
    }

    /// All that was said, delivered or not.
    pub(super) fn text(&self, stream: &(String, String)) -> String {
        let events = self.streams.get(stream).into_iter().flat_map(|stream| &stream.events);
        events.map(|event| format!("{}\n", event.message)).collect()
    }

    /// What CloudWatch has of a stream.
    fn delivered(&self, group: &str, name: &str) -> Result<&[Event], Refusal> {
        let refuse = |what: &str| {
            Refusal::client(
                "ResourceNotFoundException",
                &format!("The specified log {what} does not exist."),
            )
        };
        if !self.streams.keys().any(|(known, _)| known == group) {
            return Err(refuse("group"));
        }
        let stream = self.streams.get(&(group.to_owned(), name.to_owned()));
        let stream = stream.ok_or_else(|| refuse("stream"))?;
        let most = self.most.unwrap_or(usize::MAX).min(stream.delivered);
        Ok(&stream.events[..most])
    }
}

/// Where a token points: `f/<the next event>/<serial>` and `b/<the event behind>/<serial>`.
struct Token {
    is_forward: bool,
    at: usize,
    serial: usize,
}

impl Token {
    fn read(token: &str) -> Option<Token> {
        let mut parts = token.split('/');
        let is_forward = match parts.next()? {
            "f" => true,
            "b" => false,
            _ => return None,
        };
        let token = Token {
            is_forward,
            at: parts.next()?.parse().ok()?,
            serial: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(token)
    }

    fn write(direction: char, at: usize, serial: usize) -> String {
        format!("{direction}/{at:056}/{serial}")
    }
}

/// `empty`: the page holds nothing, and its token says that this is not the end.
pub(super) fn get_log_events(shared: &Shared, request: &Value, empty: bool) -> Answer {
    let state = shared.lock();
    for other in ["startTime", "endTime", "unmask"] {
        if !request[other].is_null() {
            return Err(Refusal::not_implemented(&format!("GetLogEvents with {other}")));
        }
    }
    // An identifier is a name or an ARN.
    let identifier =
        text(request, "logGroupIdentifier").map(|arn| arn.rsplit(":log-group:").next().unwrap_or(last(arn)));
    let group = text(request, "logGroupName").or(identifier);
    let (Some(group), Some(name)) = (group, text(request, "logStreamName")) else {
        return Err(Refusal::invalid("a log group and a log stream must be named"));
    };
    let events = state.logs.delivered(group, name)?;
    let limit = request["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
    let most = limit.unwrap_or(MOST).min(state.page.unwrap_or(MOST));
    let from_head = request["startFromHead"].as_bool().unwrap_or(false);
    let given = text(request, "nextToken");
    let token = match given {
        None => None,
        Some(token) => Some(Token::read(token).ok_or_else(|| Refusal::invalid("The specified nextToken is invalid."))?),
    };
    // Source: the API reference, "GetLogEvents": a forward token must come with startFromHead.
    if token.as_ref().is_some_and(|token| token.is_forward) && !from_head {
        return Err(Refusal::invalid("nextForwardToken needs startFromHead"));
    }
    let serial = token.as_ref().map_or(0, |token| token.serial);
    let (from, until) = match &token {
        Some(token) if token.is_forward => (token.at, events.len().min(token.at + most)),
        Some(token) => (token.at.saturating_sub(most), token.at),
        None if from_head => (0, events.len().min(most)),
        None => (events.len().saturating_sub(most), events.len()),
    };
    let (from, until) = (from.min(events.len()), until.min(events.len()));
    let (until, serial) = if empty { (from, serial + 1) } else { (until, serial) };
    let page: Vec<Value> = events[from..until]
        .iter()
        .map(|event| json!({ "timestamp": event.at, "message": event.message, "ingestionTime": event.at }))
        .collect();
    Ok(json!({
        "events": page,
        "nextForwardToken": Token::write('f', until, serial),
        "nextBackwardToken": Token::write('b', from, serial),
    }))
}
