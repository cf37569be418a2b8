//! Why the database cannot be used: the error of this boundary.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

use super::credentials::CredentialsError;
use super::pooler;
use super::target::Target;
use super::tls::{self, TlsSetupError};
use crate::exit::Exit;

/// An attempt to reach a database, or to make it, that failed.
///
/// `server` is always `host:port`; the messages hold the server's own words and never a secret. Each message is whole: it holds its cause, so there
/// is no `source` to print after it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("cannot reach the database server at {server}: the host name could not be resolved ({cause})")]
    Resolve {
        /// Where.
        server: String,
        /// The resolver's words.
        cause: io::Error,
    },
    /// The server's machine or network refuses the connection, or the socket's file is missing.
    #[error("cannot reach the database server at {server}: {cause}")]
    Unreachable {
        /// Where.
        server: String,
        /// The operating system's words.
        cause: io::Error,
    },
    /// Time ran out.
    #[error("cannot reach the database server at {server}: {stage} in {}", seconds(*after))]
    TimedOut {
        /// Where.
        server: String,
        /// What did not happen.
        stage: Stage,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection ended while it was being made.
    #[error(
        "the server at {server} closed the connection while it was being made{}",
        because(cause)
    )]
    Closed {
        /// Where.
        server: String,
        /// The operating system's words, if any.
        cause: Option<io::Error>,
    },
    /// The server is starting up, shutting down or recovering (57P03), or shut down while the session began (57P01, 57P02).
    #[error("the server at {server} does not accept connections yet: {message}")]
    Starting {
        /// Where.
        server: String,
        /// The server's words.
        message: ServerMessage,
    },
    /// No connection is free (53300).
    #[error("the server at {server} has no connection free: {message}")]
    TooManyConnections {
        /// Where.
        server: String,
        /// The server's words.
        message: ServerMessage,
    },
    /// The password, or the user, is wrong (28P01).
    #[error("the server at {server} refused the credentials of user {user}: {message}")]
    Authentication {
        /// Where.
        server: String,
        /// Who.
        user: String,
        /// The server's words.
        message: ServerMessage,
    },
    /// The server refused credentials that came from AWS: what they are explains more than the server does.
    #[error("{refusal}; {note}")]
    CredentialsRefused {
        /// The server's refusal.
        refusal: Box<ConnectError>,
        /// What is known of the credentials.
        note: String,
        /// What to check.
        next: String,
    },
    /// There are no credentials to connect with.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Client and server found no way to authenticate: no password given, an unknown method, channel binding required and not to be had.
    #[error("cannot authenticate user {user} at {server}: {reason}")]
    AuthenticationMethod {
        /// Where.
        server: String,
        /// Who.
        user: String,
        /// The driver's words.
        reason: String,
    },
    /// The database does not exist (3D000).
    #[error("the database {database} does not exist at {server}: {message}")]
    DatabaseMissing {
        /// Where.
        server: String,
        /// Which.
        database: String,
        /// The server's words.
        message: ServerMessage,
    },
    /// The user may not connect to this database (42501), or not from here (28000), or nobody may (55000).
    #[error("user {user} was denied access to the database {database} at {server}: {message}")]
    Denied {
        /// Where.
        server: String,
        /// Who.
        user: String,
        /// Which database.
        database: String,
        /// The server's words.
        message: ServerMessage,
    },
    /// The user may not take the role to work as (42501), or there is none of that name (22023).
    #[error("user {user} cannot work as the role {role} at {server}: {message}")]
    Role {
        /// Where.
        server: String,
        /// Who.
        user: String,
        /// As whom.
        role: String,
        /// The server's words.
        message: ServerMessage,
    },
    /// A pooler answers there, which takes no startup options.
    #[error(
        "a pooler answers at {server}, which takes no startup options, and a session of our own begins with some: {message}"
    )]
    Pooler {
        /// Where.
        server: String,
        /// Whether it is RDS Proxy, which has no session mode.
        rds_proxy: bool,
        /// The pooler's words.
        message: ServerMessage,
    },
    /// TLS was asked for, and the server has none.
    #[error("cannot open a TLS connection to {server}: the server has no TLS")]
    NoTls {
        /// Where.
        server: String,
    },
    /// The TLS handshake failed, mostly at the server's certificate.
    #[error("cannot open a TLS connection to {server}: {reason}")]
    Tls {
        /// Where.
        server: String,
        /// What is wrong.
        reason: String,
        /// rustls' own error.
        cause: rustls::Error,
    },
    /// TLS could not be set up on our side.
    #[error("cannot prepare TLS: {0}")]
    TlsSetup(TlsSetupError),
    /// Any other refusal of the server.
    #[error("the server at {server} refused the connection: {message}")]
    Refused {
        /// Where.
        server: String,
        /// The server's words.
        message: ServerMessage,
    },
    /// What the driver made of an answer that is none of the above: the other end is perhaps no PostgreSQL.
    #[error("cannot speak with the server at {server}: {reason}")]
    Protocol {
        /// Where.
        server: String,
        /// The driver's words.
        reason: String,
    },
    /// It was tried again and again, until the time was up.
    #[error("{last} (gave up after {} in {})", crate::printable::count(*attempts as usize, "attempt", "attempts"), crate::printable::duration(*waited))]
    GaveUp {
        /// How often.
        attempts: u32,
        /// How long.
        waited: Duration,
        /// The last attempt's error.
        last: Box<ConnectError>,
    },
    /// The database is missing, and there is no other database to make it from.
    #[error("cannot create the database {database} at {server}: none of {tried} admits user {user}")]
    NoMaintenanceDatabase {
        /// Where.
        server: String,
        /// Who.
        user: String,
        /// Which database.
        database: String,
        /// The databases that were tried.
        tried: String,
    },
    /// `CREATE DATABASE` failed.
    #[error("cannot create the database {database} at {server}: {message}")]
    CreateDatabase {
        /// Where.
        server: String,
        /// Which.
        database: String,
        /// The server's words.
        message: ServerMessage,
    },
}

/// How far a connection had come when the time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The host's name.
    Resolve,
    /// The TCP connection.
    Connect,
    /// TLS, authentication, the server's first `ReadyForQuery`.
    Startup,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the host name was not resolved",
            Self::Connect => "no answer to the attempt to connect",
            Self::Startup => "the connection was accepted, but nothing answered",
        })
    }
}

/// What the server said, on one line and free of control characters.
#[derive(Clone, Debug)]
pub struct ServerMessage {
    /// The five characters by which PostgreSQL's documentation lists errors.
    pub sqlstate: SqlState,
    /// Severity, message, detail and hint.
    pub text: String,
}

impl From<&DbError> for ServerMessage {
    fn from(error: &DbError) -> Self {
        let mut text = format!("{}: {}", error.severity(), error.message());
        for more in [error.detail(), error.hint()].into_iter().flatten() {
            text.push_str("; ");
            text.push_str(more);
        }
        Self {
            sqlstate: error.code().clone(),
            text: printable(&text),
        }
    }
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.sqlstate.code())
    }
}

impl From<TlsSetupError> for ConnectError {
    fn from(error: TlsSetupError) -> Self {
        Self::TlsSetup(error)
    }
}

impl ConnectError {
    /// What the driver's error means for this target. Public parts only: the driver's errors hold no password.
    pub(super) fn from_driver(error: tokio_postgres::Error, target: &Target, timeout: Option<Duration>) -> Self {
        if let Some(db) = error.as_db_error() {
            return Self::from_server(db, target);
        }
        let server = target.describe_server();
        // The driver keeps the kind of its error to itself; its `Display` is the kind's fixed text, and the live tests hold these.
        let kind = error.to_string();
        let Some(source) = error.into_source() else {
            return if kind == "connection closed" {
                Self::Closed { server, cause: None }
            } else {
                Self::Protocol { server, reason: kind }
            };
        };
        let source = match source.downcast::<io::Error>() {
            Ok(io) => return Self::from_io(*io, target, timeout),
            Err(other) => other,
        };
        let reason = printable(&source.to_string());
        match kind.as_str() {
            "error performing TLS handshake" if reason == "server does not support TLS" => Self::NoTls { server },
            "authentication error" | "invalid configuration" => Self::AuthenticationMethod {
                server,
                user: printable(&target.user),
                reason,
            },
            _ => Self::Protocol {
                server,
                reason: format!("{kind}: {reason}"),
            },
        }
    }

    /// That the session cannot begin as this role, where that is what the error says: raised by the check of the setting `role` (PostgreSQL's
    /// `check_role`), whose errors name no setting.
    pub(super) fn of_role(error: &tokio_postgres::Error, target: &Target, role: &str) -> Option<Self> {
        let db = error.as_db_error()?;
        let is_check = db.routine() == Some("call_string_check_hook") && db.message().contains(&format!("\"{role}\""));
        let known = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_PARAMETER_VALUE].contains(db.code());
        (is_check && known).then(|| Self::Role {
            server: target.describe_server(),
            user: printable(&target.user),
            role: printable(role),
            message: ServerMessage::from(db),
        })
    }

    fn from_server(error: &DbError, target: &Target) -> Self {
        let message = ServerMessage::from(error);
        let server = target.describe_server();
        let (user, database) = (printable(&target.user), printable(&target.database));
        if pooler::refuses_options(error.code().code(), error.message()) {
            let rds_proxy = pooler::is_rds_proxy(&target.host) || error.message().contains("RDS Proxy");
            return Self::Pooler {
                server,
                rds_proxy,
                message,
            };
        }
        if pooler::waits_for_its_server(error.code().code(), error.message()) {
            return Self::Starting { server, message };
        }
        match *error.code() {
            SqlState::INVALID_PASSWORD => {
                let mut message = message;
                if target.password_ends_in_a_line_break() {
                    message
                        .text
                        .push_str("; the password that was given ends in a line break");
                }
                Self::Authentication { server, user, message }
            }
            SqlState::INVALID_CATALOG_NAME => Self::DatabaseMissing {
                server,
                database,
                message,
            },
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            | SqlState::INSUFFICIENT_PRIVILEGE
            | SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => Self::Denied {
                server,
                user,
                database,
                message,
            },
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
                Self::Starting { server, message }
            }
            SqlState::TOO_MANY_CONNECTIONS => Self::TooManyConnections { server, message },
            _ => Self::Refused { server, message },
        }
    }

    fn from_io(error: io::Error, target: &Target, timeout: Option<Duration>) -> Self {
        use io::ErrorKind as Kind;
        let server = target.describe_server();
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            let reason = tls::explain(tls, target).unwrap_or_else(|| printable(&tls.to_string()));
            return Self::Tls {
                server,
                reason,
                cause: tls.clone(),
            };
        }
        match (error.kind(), timeout) {
            // An error of the operating system has a number; without one it is the driver's own timer.
            (Kind::TimedOut, Some(after)) if error.raw_os_error().is_none() => Self::TimedOut {
                server,
                stage: Stage::Connect,
                after,
            },
            (Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe, _) => {
                Self::Closed {
                    server,
                    cause: Some(error),
                }
            }
            // The codec's words for an end within a message (tokio-util's `Decoder::decode_eof`), for which it has no kind.
            _ if error.to_string() == "bytes remaining on stream" => Self::Closed {
                server,
                cause: Some(error),
            },
            _ if error.raw_os_error().is_some() => Self::Unreachable { server, cause: error },
            _ => Self::Protocol {
                server,
                reason: printable(&error.to_string()),
            },
        }
    }

    /// Whether trying again a little later may cure it: a database that is waking up, starting, or full for the moment.
    pub fn is_waking(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. }
                | Self::Unreachable { .. }
                | Self::TimedOut { .. }
                | Self::Closed { .. }
                | Self::Starting { .. }
                | Self::TooManyConnections { .. }
        )
    }

    /// Prisma's code, where Prisma has one.
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Authentication { .. } | Self::AuthenticationMethod { .. } => "P1000",
            Self::Resolve { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Starting { .. } => "P1001",
            Self::DatabaseMissing { .. } | Self::CreateDatabase { .. } => "P1003",
            Self::Denied { .. } | Self::Role { .. } => "P1010",
            Self::NoTls { .. } | Self::Tls { .. } | Self::TlsSetup(_) => "P1011",
            Self::Closed { .. } => "P1017",
            Self::NoMaintenanceDatabase { .. } => "P3000",
            Self::GaveUp { last, .. } => return last.code(),
            Self::CredentialsRefused { refusal, .. } => return refusal.code(),
            Self::Credentials(_)
            | Self::TooManyConnections { .. }
            | Self::Pooler { .. }
            | Self::Refused { .. }
            | Self::Protocol { .. } => {
                return None;
            }
        })
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::TlsSetup(_) => Exit::Usage,
            Self::Credentials(error) => error.exit(),
            _ => Exit::Database,
        }
    }

    /// The server's SQLSTATE, where it was the server that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Starting { message, .. }
            | Self::TooManyConnections { message, .. }
            | Self::Authentication { message, .. }
            | Self::DatabaseMissing { message, .. }
            | Self::Denied { message, .. }
            | Self::Role { message, .. }
            | Self::Pooler { message, .. }
            | Self::Refused { message, .. }
            | Self::CreateDatabase { message, .. } => Some(message.sqlstate.code()),
            Self::GaveUp { last, .. } => last.sqlstate(),
            Self::CredentialsRefused { refusal, .. } => refusal.sqlstate(),
            _ => None,
        }
    }
}

/// Names and the server's texts can hold control characters, which must not reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A limit, as it was given.
fn seconds(duration: Duration) -> humantime::FormattedDuration {
    // A tenth of a second is as exact as anybody wants it.
    let tenths = duration.as_millis().div_ceil(100);
    humantime::format_duration(Duration::from_millis(u64::try_from(tenths * 100).unwrap_or(u64::MAX)))
}

fn because(cause: &Option<impl fmt::Display>) -> String {
    cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default()
}
