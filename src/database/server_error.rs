//! A server's error, read once.

use crate::sql::password;
use tokio_postgres::error::{DbError, ErrorPosition, Severity};

/// What the server said, or the driver where the server said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// SQLSTATE; none where the error is not the server's (a lost connection).
    pub sqlstate: Option<String>,
    /// The C function in the server that raised it: tells apart errors that share a SQLSTATE.
    pub routine: Option<String>,
    /// The message alone; in it and in `details` passwords are starred out, since the server quotes statements.
    pub message: String,
    /// DETAIL, HINT, CONTEXT: a line each.
    pub details: Vec<String>,
    /// Characters from the beginning of what was sent, from 1.
    pub position: Option<u32>,
    /// Whether the connection is gone.
    pub closed: bool,
}

impl ServerError {
    /// The connection is gone.
    pub fn closed(message: String) -> ServerError {
        ServerError {
            sqlstate: None,
            routine: None,
            message,
            details: Vec::new(),
            position: None,
            closed: true,
        }
    }

    /// Whether its SQLSTATE is one of these.
    pub fn is(&self, sqlstates: &[&str]) -> bool {
        self.sqlstate.as_deref().is_some_and(|code| sqlstates.contains(&code))
    }

    /// Everything that it says, as the ledger keeps it.
    pub fn text(&self) -> String {
        let mut text = match &self.sqlstate {
            Some(code) => format!("ERROR: {} (SQLSTATE {code})", self.message),
            None => format!("ERROR: {}", self.message),
        };
        for detail in &self.details {
            text.push('\n');
            text.push_str(detail);
        }
        text
    }
}

impl From<&tokio_postgres::Error> for ServerError {
    fn from(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // The driver's Display is a category only; what it wraps says which.
            let mut message = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            return ServerError::closed(message);
        };
        let code = db.code().code();
        let details = [("DETAIL", db.detail()), ("HINT", db.hint()), ("CONTEXT", db.where_())]
            .into_iter()
            .filter_map(|(label, text)| text.map(|text| format!("{label}: {}", password::starred(text))))
            .collect();
        ServerError {
            sqlstate: Some(code.to_owned()),
            routine: db.routine().map(str::to_owned),
            message: password::starred(db.message()),
            details,
            position: match db.position() {
                Some(ErrorPosition::Original(position)) => Some(*position),
                _ => None,
            },
            closed: ends_session(db) || error.is_closed(),
        }
    }
}

/// Whether the server ends the session with this error. Its severity says so (PostgreSQL's documentation, "Message Severity Levels"), and no SQLSTATE does: a
/// script may raise an error of any class, 57P01 and 08006 too.
fn ends_session(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        // Only poolers leave out the field that is never translated.
        None => matches!(error.severity(), "FATAL" | "PANIC"),
    }
}

impl From<tokio_postgres::Error> for ServerError {
    fn from(error: tokio_postgres::Error) -> Self {
        ServerError::from(&error)
    }
}
