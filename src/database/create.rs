//! Making a database that does not exist yet, as `prisma migrate deploy` does, but safe against several runs at once.

use std::future;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::sleep;
use tokio_postgres::error::{DbError, SqlState};

use super::connect::{Startup, connect};
use super::error::{ConnectError, ServerMessage};
use super::session::made;
use super::target::Target;
use crate::sql::quote;

/// The databases to make another one from, in Prisma's order: the first that admits the user.
const MAINTENANCE: [&str; 3] = ["postgres", "template1", "defaultdb"];

/// How often a template in use (55006) is tried again. The server itself waits five seconds for the others before it says so.
const ATTEMPTS: u32 = 6;

/// Who made the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// This call.
    Here,
    /// Another run, at the same time.
    Elsewhere,
}

/// Creates the target's database, which does not exist ([`ConnectError::DatabaseMissing`]). The caller connects again afterwards.
///
/// Any number of runs may do this at once: those that come second succeed too.
///
/// # Errors
/// No database to do it from; the user may not create databases; the connection failed.
pub async fn create_database(target: &Target, startup: &Startup) -> Result<Created, ConnectError> {
    for database in MAINTENANCE {
        match connect(&target.at_database(database), startup).await {
            Ok(connected) => {
                let create = async {
                    let result = create(&connected.client, target, &made(&connected.settings)).await;
                    drop(connected.client);
                    result
                };
                // The stream ends when the client is gone, or with the connection: then the client's own call has failed as well.
                let drive = connected.messages.for_each(|_| future::ready(()));
                return tokio::join!(create, drive).0;
            }
            Err(ConnectError::DatabaseMissing { .. } | ConnectError::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ConnectError::NoMaintenanceDatabase {
        server: target.describe_server(),
        user: target.user.escape_debug().to_string(),
        database: target.database.escape_debug().to_string(),
        tried: MAINTENANCE.join(", "),
    })
}

async fn create(client: &tokio_postgres::Client, target: &Target, settings: &str) -> Result<Created, ConnectError> {
    if let Err(error) = client.batch_execute(settings).await {
        return Err(ConnectError::from_driver(error, target, None));
    }
    let statement = format!("CREATE DATABASE {}", quote::identifier(&target.database));
    let mut attempt = 1;
    loop {
        let error = match client.batch_execute(&statement).await {
            Ok(()) => return Ok(Created::Here),
            Err(error) => error,
        };
        let Some(refusal) = error.as_db_error() else {
            return Err(ConnectError::from_driver(error, target, None));
        };
        if made_elsewhere(refusal) {
            return Ok(Created::Elsewhere);
        }
        if *refusal.code() == SqlState::OBJECT_IN_USE && attempt < ATTEMPTS {
            tracing::info!(
                database = target.database,
                attempt,
                "waiting to create the database: {}",
                refusal.message()
            );
            sleep(Duration::from_millis(fastrand::u64(100..500) * u64::from(attempt))).await;
            attempt += 1;
            continue;
        }
        return Err(ConnectError::CreateDatabase {
            server: target.describe_server(),
            database: target.database.escape_debug().to_string(),
            message: ServerMessage::from(refusal),
        });
    }
}

/// 42P04, or its twin: a run that looked before the other one's commit and wrote after it meets the catalogue's unique index instead.
fn made_elsewhere(error: &DbError) -> bool {
    match *error.code() {
        SqlState::DUPLICATE_DATABASE => true,
        SqlState::UNIQUE_VIOLATION => error.constraint() == Some("pg_database_datname_index"),
        _ => false,
    }
}
