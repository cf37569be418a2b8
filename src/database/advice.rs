//! What to check when the database cannot be used: the next step of every [`ConnectError`].

use super::error::{ConnectError, ServerMessage, Stage};
use super::pooler;
use super::tls::TlsSetupError;
use crate::sql::quote;
use std::borrow::Cow;
use tokio_postgres::error::SqlState;

impl ConnectError {
    /// What to check, most likely cause first.
    pub fn next_step(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Resolve { .. } => {
                "check the host name, and whether the VPC's DNS resolves it from this subnet (a database that was just made has its name a little later)"
            }
            Self::TimedOut {
                stage: Stage::Startup, ..
            } => {
                "check that a PostgreSQL server listens there; a database that wakes up may need a longer --connect-timeout"
            }
            Self::TimedOut { .. } => {
                "check that the database's security group admits this task's on that port, that there is a route from this subnet, and that host and \
                 port are right; a database that wakes up may need a longer --connect-timeout"
            }
            Self::Unreachable { .. } => {
                "check that the server runs, that host and port are right, and that the database's security group admits this task's"
            }
            Self::Closed { .. } => "check that a PostgreSQL server listens there, and its log",
            Self::Starting { .. } => "wait until the server is up; raise --connect-timeout if it needs longer",
            Self::TooManyConnections { .. } => {
                "free connections, or raise max_connections (on RDS it grows with the instance's memory) or the user's CONNECTION LIMIT"
            }
            Self::Authentication { .. } => {
                "check user and password (has the secret been rotated? by DB_SECRET_ARN the program fetches it itself); where the password is an IAM token, \
                 the user needs the role rds_iam"
            }
            Self::AuthenticationMethod { reason, .. } if reason.contains("channel binding") => {
                "channel_binding=require needs TLS, and this connection has none: add sslmode=require, or leave channel_binding out"
            }
            Self::AuthenticationMethod { .. } => {
                "check that a password is given, and what pg_hba.conf asks of this user"
            }
            Self::DatabaseMissing { .. } => "check the database's name, or create it",
            Self::Denied {
                user,
                database,
                message,
                ..
            } => return denied(user, database, message),
            Self::Role {
                user, role, message, ..
            } if message.sqlstate == SqlState::INSUFFICIENT_PRIVILEGE => return Cow::Owned(take_role(role, user)),
            Self::Role { .. } => "check the name that --role gives, or create the role",
            Self::Pooler { rds_proxy: true, .. } => pooler::USE_INSTEAD_OF_RDS_PROXY,
            Self::Pooler { .. } => pooler::USE_INSTEAD,
            Self::NoTls { .. } => "turn TLS on in the server, or ask for less with sslmode",
            Self::Tls { .. } => {
                "give the authority that signed the server's certificate in DB_CA_FILE or DB_CA (or sslrootcert), connect by the name that the certificate holds, \
                 or renew it"
            }
            Self::TlsSetup(TlsSetupError::NoSystemRoots | TlsSetupError::NoAmazonRoots) => {
                "name a PEM file of trusted certificates in DB_CA_FILE (or sslrootcert), or put its text into DB_CA"
            }
            Self::TlsSetup(_) => {
                "check what DB_CA holds, or the file that DB_CA_FILE, sslrootcert, sslcert or sslidentity names"
            }
            Self::Refused { .. } => "see the server's own message and its log",
            Self::Protocol { .. } => "check that a PostgreSQL server listens there",
            Self::NoMaintenanceDatabase { .. } => {
                "create the database yourself, or let the user connect to the database postgres"
            }
            Self::CreateDatabase { .. } => {
                "give the user (with --role: that role) the CREATEDB privilege, or create the database yourself"
            }
            Self::GaveUp { last, .. } => return last.next_step(),
            Self::CredentialsRefused { next, .. } => return Cow::Owned(next.clone()),
            Self::Credentials(error) => return Cow::Owned(error.next_step()),
        })
    }
}

/// What to check where the server knows the user and does not let it in. Told by the server's words, since one SQLSTATE (28000) stands for all of it.
fn denied(user: &str, database: &str, message: &ServerMessage) -> Cow<'static, str> {
    let says = |words: &str| message.text.contains(words);
    Cow::Borrowed(
        if says("no pg_hba.conf entry") && (says("no encryption") || says("SSL off")) {
            "the server wants TLS (on RDS: rds.force_ssl is on): take sslmode=disable out of the connection string"
        } else if says("pg_hba.conf") {
            "check the user and the database that the server's pg_hba.conf admits from this address"
        } else if says("PAM authentication failed") {
            "the user has the role rds_iam, so that the server takes an IAM token for this host and user, at most 15 minutes old, and no password: check \
         that the task's role is allowed rds-db:connect for the user; or revoke rds_iam from the user to use a password"
        } else if says("is not permitted to log in") {
            return Cow::Owned(format!(
                "let the user log in: ALTER ROLE {} LOGIN",
                quote::identifier(user)
            ));
        } else if says("does not exist") {
            "check the user's name, or create the user"
        } else if message.sqlstate == SqlState::INSUFFICIENT_PRIVILEGE {
            let (user, database) = (quote::identifier(user), quote::identifier(database));
            return Cow::Owned(format!(
                "let the user connect: GRANT CONNECT ON DATABASE {database} TO {user}"
            ));
        } else if message.sqlstate == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE {
            return Cow::Owned(format!(
                "let the database be connected to: ALTER DATABASE {} ALLOW_CONNECTIONS true",
                quote::identifier(database)
            ));
        } else {
            "check the user's CONNECT privilege and pg_hba.conf"
        },
    )
}

/// What to do where a user may not take a role.
pub(super) fn take_role(role: &str, user: &str) -> String {
    format!(
        "let the user take the role: GRANT {} TO {}; or name another one with --role",
        quote::identifier(role),
        quote::identifier(user)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use std::time::Duration;

    fn said(sqlstate: &SqlState, text: &str) -> ServerMessage {
        ServerMessage {
            sqlstate: sqlstate.clone(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn each_way_of_being_turned_away_says_what_to_check() {
        let server = || "db:5432".to_owned();
        let denied = |sqlstate, text| ConnectError::Denied {
            server: server(),
            user: "app".into(),
            database: "news".into(),
            message: said(sqlstate, text),
        };
        let forbidden = &SqlState::INVALID_AUTHORIZATION_SPECIFICATION;
        let timed_out = |stage| ConnectError::TimedOut {
            server: server(),
            stage,
            after: Duration::from_secs(5),
        };
        let pooler = |rds_proxy| ConnectError::Pooler {
            server: server(),
            rds_proxy,
            message: said(&SqlState::PROTOCOL_VIOLATION, "unsupported startup parameter: options"),
        };
        let role = |sqlstate, text| ConnectError::Role {
            server: server(),
            user: "app".into(),
            role: "own\"er".into(),
            message: said(sqlstate, text),
        };
        let message = |sqlstate| said(sqlstate, "FATAL: as the server says");
        for (error, waking, words) in [
            (timed_out(Stage::Connect), true, "security group"),
            (timed_out(Stage::Startup), true, "--connect-timeout"),
            (
                ConnectError::Authentication {
                    server: server(),
                    user: "app".into(),
                    message: message(&SqlState::INVALID_PASSWORD),
                },
                false,
                "has the secret been rotated?",
            ),
            (
                ConnectError::TooManyConnections {
                    server: server(),
                    message: message(&SqlState::TOO_MANY_CONNECTIONS),
                },
                true,
                "max_connections",
            ),
            (
                ConnectError::Starting {
                    server: server(),
                    message: message(&SqlState::CANNOT_CONNECT_NOW),
                },
                true,
                "--connect-timeout",
            ),
            (
                denied(
                    forbidden,
                    "FATAL: no pg_hba.conf entry for host \"10.0.0.7\", user \"app\", database \"news\", no encryption",
                ),
                false,
                "rds.force_ssl",
            ),
            (
                denied(
                    forbidden,
                    "FATAL: no pg_hba.conf entry for host \"10.0.0.7\", user \"app\", database \"news\", SSL off",
                ),
                false,
                "rds.force_ssl",
            ),
            (
                denied(
                    forbidden,
                    "FATAL: no pg_hba.conf entry for host \"10.0.0.7\", user \"app\", database \"news\", SSL encryption",
                ),
                false,
                "pg_hba.conf admits",
            ),
            (
                denied(forbidden, "FATAL: PAM authentication failed for user \"app\""),
                false,
                "rds-db:connect",
            ),
            (
                denied(forbidden, "FATAL: role \"app\" is not permitted to log in"),
                false,
                "ALTER ROLE \"app\" LOGIN",
            ),
            (
                denied(forbidden, "FATAL: role \"app\" does not exist"),
                false,
                "create the user",
            ),
            (
                denied(
                    &SqlState::INSUFFICIENT_PRIVILEGE,
                    "FATAL: permission denied for database \"news\"",
                ),
                false,
                "GRANT CONNECT ON DATABASE \"news\" TO \"app\"",
            ),
            (
                denied(
                    &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "FATAL: database \"news\" is not currently accepting connections",
                ),
                false,
                "ALLOW_CONNECTIONS",
            ),
            (pooler(true), false, "in place of the proxy's"),
            (pooler(false), false, "--allow-pooler"),
            (
                role(
                    &SqlState::INSUFFICIENT_PRIVILEGE,
                    "FATAL: permission denied to set role",
                ),
                false,
                "GRANT \"own\"\"er\" TO \"app\"",
            ),
            (
                role(&SqlState::INVALID_PARAMETER_VALUE, "FATAL: role does not exist"),
                false,
                "create the role",
            ),
        ] {
            assert!(error.next_step().contains(words), "{error}: {}", error.next_step());
            assert_eq!((error.is_waking(), error.exit()), (waking, Exit::Database), "{error}");
        }
    }
}
