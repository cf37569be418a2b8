//! One session on the server: the one that holds the migration lock and migrates.

use super::connect::{Cancel, Connected};
use super::error::ConnectError;
use super::server_error::ServerError;
use crate::sql::{password, quote};
use futures_util::StreamExt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, SimpleQueryMessage, SimpleQueryRow, SimpleQueryStream};

/// The custom setting that carries the run's id, sent as a startup option, so that RESET ALL comes back to it. Where it cannot be read back, a
/// pooler stands between us and the server.
pub const RUN_ID_SETTING: &str = "prisma_migrate_task.run_id";

/// A session and the task that reads from its connection.
///
/// Everything goes by the simple query protocol: one round trip a message, nothing prepared, nothing that a pooler would have to keep. The one exception
/// is [`Session::describe`].
pub struct Session {
    client: tokio_postgres::Client,
    reader: tokio::task::JoinHandle<()>,
    cancel: Cancel,
    subject: Arc<Mutex<Option<String>>>,
    made: Vec<(String, String)>,
    kept: Mutex<Vec<(String, String)>>,
}

/// How a message went that may hold many statements.
#[derive(Debug)]
pub struct Sent {
    /// How many of its statements were completed.
    pub completed: usize,
    /// Why it stopped, where it did.
    pub error: Option<ServerError>,
}

impl Session {
    /// Begins to read from a connection; the server's notices go to the log from now on.
    pub fn new(connected: Connected) -> Session {
        let Connected {
            client,
            mut messages,
            cancel,
            settings,
            ..
        } = connected;
        let subject = Arc::new(Mutex::new(None));
        let about = Arc::clone(&subject);
        let reader = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) => log_notice(&about, &notice),
                    Ok(_) => {}
                    // Whoever waits for an answer is told by the driver.
                    Err(_) => break,
                }
            }
        });
        Session {
            client,
            reader,
            cancel,
            subject,
            made: settings,
            kept: Mutex::default(),
        }
    }

    /// Makes what the session could not begin with ([`super::connect::Startup::pooler`]).
    ///
    /// # Errors
    /// The server's: a role that this user may not have, for one.
    pub async fn make_settings(&self) -> Result<(), ServerError> {
        if self.made.is_empty() {
            return Ok(());
        }
        self.rows(&made(&self.made)).await.map(drop)
    }

    /// The value of a setting that was made by a statement, because it could not travel in the startup options.
    pub fn made_setting(&self, name: &str) -> Option<&str> {
        let setting = self.made.iter().find(|(made, _)| made == name);
        setting.map(|(_, value)| value.as_str())
    }

    /// Makes these settings where `condition` holds, and keeps those that the server knows, to be made again whenever the session is reset. All are
    /// sent at once.
    pub async fn keep_settings(&self, settings: &[(&str, &str)], condition: &str) {
        let make = |(name, value): &(&str, &str)| {
            let sql = format!(
                "{} WHERE {condition}",
                made(&[((*name).to_owned(), (*value).to_owned())])
            );
            async move { self.rows(&sql).await }
        };
        let answers = futures_util::future::join_all(settings.iter().map(make)).await;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for ((name, value), answer) in settings.iter().zip(answers) {
            match answer {
                Ok(_) => kept.push(((*name).to_owned(), (*value).to_owned())),
                Err(error) => tracing::debug!("{name} = {value}: {}", error.message),
            }
        }
    }

    /// The statement that makes those settings again that RESET ALL and RESET ROLE do not come back to; empty where there is none.
    pub fn kept_settings(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<(String, String)> = self.made.iter().chain(kept.iter()).cloned().collect();
        made(&all)
    }

    /// Brings role and settings back to how the session began.
    ///
    /// # Errors
    /// The server's.
    pub async fn reset(&self) -> Result<(), ServerError> {
        let sql = format!(
            "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; {}",
            self.kept_settings()
        );
        self.rows(&sql).await.map(drop)
    }

    /// Says in every notice from now on which migration it belongs to.
    pub fn set_subject(&self, migration: Option<&str>) {
        *self.subject.lock().unwrap_or_else(PoisonError::into_inner) = migration.map(str::to_owned);
    }

    /// Sends statements of ours and reads all rows of all of them.
    ///
    /// A cancel that was meant for a script may arrive late and hit them: they are sent again then, since what is cancelled is rolled back.
    ///
    /// # Errors
    /// What the server answered, or that the connection is gone.
    pub async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, ServerError> {
        const TRIES: u32 = 4;
        let mut tried = 0;
        loop {
            tried += 1;
            match self.rows_once(sql).await {
                Err(error) if error.is(&["57014"]) && tried < TRIES => {}
                answered => return answered,
            }
        }
    }

    /// Asks the server to cancel what this session runs.
    ///
    /// # Errors
    /// The server could not be reached.
    pub async fn cancel(&self) -> Result<(), ConnectError> {
        self.cancel.send().await
    }

    async fn rows_once(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, ServerError> {
        let messages = self.client.simple_query(sql).await?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }

    /// Sends a script; its results are dropped as they come, so memory stays flat. The text is freed once it is encoded.
    pub async fn script(&self, text: String) -> Sent {
        let stream = self.client.simple_query_raw(&text).await;
        drop(text);
        let mut completed = 0;
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                return Sent {
                    completed,
                    error: Some(error.into()),
                };
            }
        };
        tokio::pin!(stream);
        while let Some(message) = stream.next().await {
            match message {
                Ok(SimpleQueryMessage::CommandComplete(_)) => completed += 1,
                Ok(_) => {}
                Err(error) => {
                    return Sent {
                        completed,
                        error: Some(error.into()),
                    };
                }
            }
        }
        Sent { completed, error: None }
    }

    /// Has the server parse a statement, without running it: the names and types of the columns that it yields, none where it yields no rows.
    ///
    /// By the extended query protocol, which takes exactly one statement: a text that the server takes for more is its error.
    ///
    /// # Errors
    /// The server's, with the place in the statement.
    pub async fn describe(&self, statement: &str) -> Result<Vec<(String, Type)>, ServerError> {
        let prepared = self.client.prepare(statement).await?;
        let column = |column: &tokio_postgres::Column| (column.name().to_owned(), column.type_().clone());
        Ok(prepared.columns().iter().map(column).collect())
    }

    /// Sends a text and hands out what it yields as it comes: no more than a few messages are held.
    ///
    /// # Errors
    /// The connection is gone. The server's errors come in the stream.
    pub async fn stream(&self, text: &str) -> Result<SimpleQueryStream, ServerError> {
        Ok(self.client.simple_query_raw(text).await?)
    }

    /// Ends a session that nothing was set in, without waiting.
    pub fn abandon(self) {
        drop(self.client);
    }

    /// Ends the session and waits until our side of the connection is closed.
    pub async fn close(self) {
        if !self.made.is_empty()
            && let Err(error) = self.rows_once("DISCARD ALL").await
        {
            // A pooler may hand the server's session on as it is.
            tracing::debug!("the session could not be given back as it was: {}", error.message);
        }
        drop(self.client);
        // The reader ends by itself once the goodbye is sent; whether it could be sent changes nothing.
        let _ = self.reader.await;
    }
}

/// One statement that makes these settings, whose values no other setting changes the meaning of; empty where there are none.
pub(super) fn made(settings: &[(String, String)]) -> String {
    if settings.is_empty() {
        return String::new();
    }
    let set = |(name, value): &(String, String)| {
        let (name, value) = (quote::literal(name), quote::literal(value));
        format!("pg_catalog.set_config({name}, {value}, false)")
    };
    format!("SELECT {}", settings.iter().map(set).collect::<Vec<_>>().join(", "))
}

fn log_notice(subject: &Mutex<Option<String>>, notice: &tokio_postgres::error::DbError) {
    // Our own ROLLBACK in the verdict says this wherever the script left no transaction open.
    if notice.code().code() == "25P01" && notice.routine() == Some("UserAbortTransactionBlock") {
        return;
    }
    let subject = subject.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let migration = subject.as_deref();
    let message = password::starred(notice.message());
    let (severity, detail, hint) = (notice.severity(), notice.detail().map(password::starred), notice.hint());
    match severity {
        "WARNING" => tracing::warn!(migration, severity, detail, hint, "{message}"),
        "DEBUG" | "LOG" => tracing::debug!(migration, severity, detail, hint, "{message}"),
        _ => tracing::info!(migration, severity, detail, hint, "{message}"),
    }
}
