//! A server's error, read once.

use crate::sql::assertion::Assertion;
use crate::sql::password;
use tokio_postgres::error::{DbError, ErrorPosition, Severity};

/// What the server said, or the driver where the server said nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The assertion of ours that failed. Its message is what that means, and it has no SQLSTATE: the server's own are those of the expression that
    /// fails.
    pub assertion: Option<Assertion>,
}

impl ServerError {
    /// The connection is gone.
    pub fn closed(message: String) -> ServerError {
        ServerError {
            message,
            closed: true,
            ..ServerError::default()
        }
    }

    /// This program's own finding about what the server answered.
    pub fn ours(message: impl Into<String>) -> ServerError {
        ServerError {
            message: message.into(),
            ..ServerError::default()
        }
    }

    /// Whether its SQLSTATE is one of these.
    pub fn is(&self, sqlstates: &[&str]) -> bool {
        self.sqlstate.as_deref().is_some_and(|code| sqlstates.contains(&code))
    }

    /// Whether code in a procedural language raised this, and chose its SQLSTATE. PL/Perl and PL/Tcl cannot choose one.
    pub fn is_raised(&self) -> bool {
        match self.routine.as_deref() {
            // PL/pgSQL's RAISE. An error that it catches and raises again (`RAISE;`) keeps its routine.
            Some("exec_stmt_raise") => true,
            // PL/Python. An error of the server that passes through Python is named like this.
            Some("PLy_elog_impl") => !self.message.starts_with("spiexceptions."),
            // PL/v8 (plv8.cc), which does not tell the two apart.
            Some("rethrow") => true,
            _ => false,
        }
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
        // The input function of a number raises it, and nothing else of ours has this code.
        let assertion = (code == "22P02").then(|| Assertion::failed(db.message())).flatten();
        if let Some(assertion) = assertion {
            return ServerError {
                message: assertion.meaning(),
                assertion: Some(assertion),
                position: position(db),
                ..ServerError::default()
            };
        }
        let details = [("DETAIL", db.detail()), ("HINT", db.hint()), ("CONTEXT", db.where_())]
            .into_iter()
            .filter_map(|(label, text)| text.map(|text| format!("{label}: {}", password::starred(text))))
            .collect();
        ServerError {
            sqlstate: Some(code.to_owned()),
            routine: db.routine().map(str::to_owned),
            message: password::starred(db.message()),
            details,
            position: position(db),
            closed: ends_session(db) || error.is_closed(),
            assertion: None,
        }
    }
}

fn position(error: &DbError) -> Option<u32> {
    match error.position() {
        Some(ErrorPosition::Original(position)) => Some(*position),
        _ => None,
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
