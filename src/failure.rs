//! What went wrong, once, for every reader: a person, a log, a pipeline.

use crate::advice::{self, Around};
use crate::database::server_error::ServerError;
use crate::exit::Exit;
use crate::invocation::command;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

/// Everything that a failure has to say: what happened, to what, what state the database is in, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Failure {
    /// The exit code; in the JSON document it is the outcome's.
    #[serde(skip)]
    #[cfg_attr(feature = "client", serde(default = "unread"))]
    pub exit: Exit,
    /// Prisma's code, since that is what people search for.
    pub prisma_code: Option<Cow<'static, str>>,
    /// The server's SQLSTATE.
    pub sqlstate: Option<String>,
    /// The migration that it is about.
    pub migration: Option<String>,
    /// What happened, to what: a sentence without a full stop.
    pub what: String,
    /// The server's DETAIL, HINT and CONTEXT, and whatever else explains it: a line each.
    pub details: Vec<String>,
    /// Where in `migration.sql`.
    pub place: Option<Place>,
    /// What state the database is in.
    pub state: String,
    /// What to do next.
    pub next: String,
    /// Whether the session is gone: a new one may go on.
    #[serde(skip)]
    pub connection_lost: bool,
    /// The server's error that it is made of.
    #[serde(skip)]
    pub error: Option<Box<ServerError>>,
    /// What to do about that error if the SQL is not at fault: [`advice::of`].
    #[serde(skip)]
    pub advice: Option<String>,
}

/// A place in a migration's script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Place {
    /// The file, from the migrations folder.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The line with a caret, ready to print.
    pub excerpt: String,
}

/// In the JSON document the outcome has the exit code; whoever reads one gives it to the failure.
#[cfg(feature = "client")]
fn unread() -> Exit {
    Exit::Unexpected
}

/// What a failure says of the database where nothing was touched.
pub const UNCHANGED: &str = "nothing was changed";

impl Failure {
    /// A failure that left the database as it was.
    pub fn new(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure {
            exit,
            prisma_code: None,
            sqlstate: None,
            migration: None,
            what: what.into(),
            details: Vec::new(),
            place: None,
            state: UNCHANGED.to_owned(),
            next: next.into(),
            connection_lost: false,
            error: None,
            advice: None,
        }
    }

    /// With the server's error that it is made of, and what is to be done about that as far as the error itself tells.
    pub fn caused_by(mut self, error: &ServerError) -> Failure {
        self.sqlstate.clone_from(&error.sqlstate);
        self.details.clone_from(&error.details);
        self.advice = advice::of(error, &Around::default());
        self.error = Some(Box::new(error.clone()));
        self
    }

    /// With Prisma's code.
    pub fn prisma(mut self, code: Option<&'static str>) -> Failure {
        self.prisma_code = code.map(Cow::Borrowed);
        self
    }

    /// With the migration that it is about.
    pub fn of(mut self, migration: &str) -> Failure {
        self.migration = Some(migration.to_owned());
        self
    }

    /// With what state the database is in.
    pub fn state(mut self, state: impl Into<String>) -> Failure {
        self.state = state.into();
        self
    }

    /// With a line that explains it.
    pub fn detail(mut self, detail: impl Into<String>) -> Failure {
        self.details.push(detail.into());
        self
    }
}

impl Failure {
    /// What happened, to what, where.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        if let Some(code) = &self.prisma_code {
            text.push_str(&format!("{code}: "));
        }
        if let Some(migration) = &self.migration {
            text.push_str(&format!("migration {migration}: "));
        }
        text.push_str(&self.what);
        if let Some(place) = &self.place {
            text.push_str(&format!(" ({}:{}:{})", place.file, place.line, place.column));
        }
        if let Some(sqlstate) = &self.sqlstate {
            text.push_str(&format!(" [SQLSTATE {sqlstate}]"));
        }
        text
    }
}

/// The failure in one line, as a log line or a reason has it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}; {}", self.summary(), self.state, self.next)
    }
}

impl std::error::Error for Failure {}

/// The same where it is a single statement that is not known to have run.
pub fn resolve_or_retry(migration: &str, statement: usize) -> String {
    format!(
        "{}; or, if statement {statement} left nothing in the database, fix what stopped it and run `{}`, which goes on with it",
        resolve_by_hand(migration),
        command(&["resolve", "--retry", migration])
    )
}

/// The two commands that get out of a partially committed migration.
pub fn resolve_by_hand(migration: &str) -> String {
    format!(
        "look at the database, then either complete the migration by hand and run `{}`, or undo it by hand and run `{}`",
        command(&["resolve", "--applied", migration]),
        command(&["resolve", "--rolled-back", migration])
    )
}
