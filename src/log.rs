//! The log, on standard error: lines for people on a terminal, one JSON object a line elsewhere.

use crate::cli::{LogFormat, LogLevel};
use crate::live;
use crate::printable::{duration, printable, printable_name};
use crate::settings;
use crate::stderr;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log. Only this program's own lines are in it: the driver's would hold whole statements, and a script can hold passwords.
pub fn start(format: Option<LogFormat>, level: LogLevel) {
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    if format == LogFormat::Text && settings::may_redraw(terminal) {
        live::start();
    }
    let look = Look {
        format,
        terminal,
        colour: format == LogFormat::Text && settings::may_colour(terminal),
    };
    let _ = SHOWN.set((look, level));
    stderr::start(dropped);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Lines::default)
        .event_format(look);
    let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    // Started once; a second start (in a test) changes nothing.
    let _ = tracing_subscriber::registry().with(lines).with(own).try_init();
}

/// How lines look, for those that no event makes.
static SHOWN: OnceLock<(Look, Level)> = OnceLock::new();

/// Where each event is written as one text.
#[derive(Clone, Copy, Debug, Default)]
struct Lines;

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        stderr::write(text.to_vec());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether lines are JSON.
pub fn is_json() -> bool {
    SHOWN.get().is_some_and(|(look, _)| look.format == LogFormat::Json)
}

/// The migrations that a line on a terminal has called applied.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The migrations that a person at this terminal has read to be applied: they need not be told once more.
pub fn told() -> BTreeSet<String> {
    match SHOWN.get() {
        Some((look, _)) if look.terminal => TOLD.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        _ => BTreeSet::new(),
    }
}

/// What is said of lines that nobody has read in time.
pub fn missing(count: u64) -> String {
    let lines = match count {
        1 => "1 line of the log was dropped".to_owned(),
        _ => format!("{count} lines of the log were dropped"),
    };
    format!("{lines}, because standard error was not read fast enough")
}

/// The line that says it.
fn dropped(count: u64) -> String {
    let look = SHOWN.get().map_or(LogFormat::Json, |(look, _)| look.format);
    let colour = SHOWN.get().is_some_and(|(look, _)| look.colour);
    let mut fields = Fields::default();
    fields.0.insert("message".into(), missing(count).into());
    match look {
        LogFormat::Json => fields.json(Level::WARN).to_string(),
        LogFormat::Text => fields.text(Level::WARN, colour),
    }
}

/// Shows a line of the task's log as if it were one of this process, where it is of ours: a JSON object with a level. What is passed on as JSON stays as
/// it is.
#[cfg(feature = "client")]
pub fn relay(line: &str) {
    let Some((look, least)) = SHOWN.get() else { return };
    let fields = serde_json::from_str::<Map<String, Value>>(line).unwrap_or_default();
    let level = fields.get("level").and_then(Value::as_str);
    let level = level.and_then(|level| level.parse::<Level>().ok());
    if level.is_some_and(|level| level > *least) {
        return;
    }
    let text = match (look.format, level) {
        (LogFormat::Json, _) => line.to_owned(),
        // Metrics are for CloudWatch.
        (LogFormat::Text, None) if fields.contains_key("_aws") => return,
        (LogFormat::Text, None) => printable(line).into_owned(),
        (LogFormat::Text, Some(level)) => Fields(fields).of_another_process().text(level, look.colour),
    };
    stderr::line(text);
}

#[derive(Clone, Copy, Debug)]
struct Look {
    format: LogFormat,
    terminal: bool,
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Look
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        match self.format {
            LogFormat::Json => writeln!(writer, "{}", fields.json(level)),
            LogFormat::Text => writeln!(writer, "{}", fields.text(level, self.colour)),
        }
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    /// What every line of a log has is not told on each line to a person.
    #[cfg(feature = "client")]
    fn of_another_process(mut self) -> Fields {
        self.0.retain(|name, _| !matches!(name.as_str(), "time" | "level"));
        for value in self.0.values_mut() {
            if let Value::String(text) = value {
                *text = printable(text).into_owned();
            }
        }
        self
    }

    fn json(mut self, level: Level) -> Value {
        let mut line = Map::new();
        line.insert(
            "time".into(),
            humantime::format_rfc3339_millis(SystemTime::now()).to_string().into(),
        );
        line.insert("level".into(), level.as_str().to_lowercase().into());
        line.append(&mut self.0);
        Value::Object(line)
    }

    fn text(mut self, level: Level, colour: bool) -> String {
        let mut take = |name: &str| self.0.remove(name).and_then(|value| value.as_str().map(str::to_owned));
        let message = take("message").unwrap_or_default();
        let name = take("migration");
        let migration = name
            .as_ref()
            .map(|name| format!("{}: ", printable_name(name)))
            .unwrap_or_default();
        let mut line = match level {
            Level::ERROR => format!("{} {migration}{message}", paint("error:", "31;1", colour)),
            Level::WARN => format!("{} {migration}{message}", paint("warning:", "33;1", colour)),
            _ => format!("{migration}{message}"),
        };
        if let Some(millis) = self.0.remove("duration_ms").and_then(|millis| millis.as_u64()) {
            line.push_str(&format!(" in {}", duration(Duration::from_millis(millis))));
            if let Some(name) = name.filter(|_| message.starts_with("applied")) {
                TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
            }
        }
        // The message of a long wait says both.
        self.0.retain(|name, _| !matches!(name.as_str(), "seconds" | "percent"));
        for (name, value) in &self.0 {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line.push_str(&paint(&format!(" {name}={value}"), "2", colour));
        }
        // A text of several lines must not look like several lines of the log.
        line.replace('\n', "\n    ")
    }
}

fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), printable(value).into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}
