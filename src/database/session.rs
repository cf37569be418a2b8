//! One session on the server: the one that holds the migration lock and migrates.

use super::connect::{Cancel, Connected};
use super::error::ConnectError;
use super::server_error::ServerError;
use crate::printable::printable_name;
use crate::sql::{password, quote};
use futures_util::StreamExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, SimpleQueryMessage, SimpleQueryRow, SimpleQueryStream};

/// The custom setting that carries the run's id, sent as a startup option, so that RESET ALL comes back to it. Where it cannot be read back, a
/// pooler stands between us and the server.
pub const RUN_ID_SETTING: &str = "prisma_migrate_task.run_id";

/// A session and the task that reads from its connection.
///
/// Everything goes by the simple query protocol: one round trip a message, nothing prepared, nothing that a pooler would have to keep. The one exception
/// is [`Session::describe`].
///
/// Our own statements go through [`Session::rows`], or through [`Session::ours_beside_script`] between the parts of a script. Only what cannot be in a
/// transaction, or has to see the session as a script does, goes through [`Session::raw`].
pub struct Session {
    client: tokio_postgres::Client,
    reader: tokio::task::JoinHandle<()>,
    cancel: Cancel,
    subject: Arc<Mutex<Option<String>>>,
    made: Vec<(String, String)>,
    kept: Mutex<Vec<(String, String)>>,
    began: Began,
    /// Whether anything was sent that may have changed what the session is.
    changed: AtomicBool,
}

/// What a session was when it began, as far as the startup options do not say it.
#[derive(Clone, Debug, Default)]
pub struct Began {
    /// Whether its transactions could write.
    pub writable: bool,
    /// Its `synchronous_commit`.
    pub synchronous_commit: String,
    /// Its `search_path`.
    pub search_path: String,
}

impl Began {
    /// `on` waits for the disk, and for standbys where the server has synchronous ones; only `remote_apply` waits for more.
    fn synchronous_commit(&self) -> &'static str {
        match self.synchronous_commit.as_str() {
            "remote_apply" => "remote_apply",
            _ => "on",
        }
    }
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
            began: Began::default(),
            changed: AtomicBool::new(false),
        }
    }

    /// Says how the session began. Until then our own transactions are READ ONLY.
    pub fn began(&mut self, began: Began) {
        self.began = began;
    }

    /// The search path that the session began with.
    pub fn search_path(&self) -> &str {
        &self.began.search_path
    }

    /// Makes what the session could not begin with ([`super::connect::Startup::pooler`]).
    ///
    /// # Errors
    /// The server's: a role that this user may not have, for one.
    pub async fn make_settings(&self) -> Result<(), ServerError> {
        if self.made.is_empty() {
            return Ok(());
        }
        self.send(&made(&self.made)).await.map(drop)
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
            async move { self.send(&sql).await }
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
        self.raw(&sql).await.map(drop)
    }

    /// Says in every notice from now on which migration it belongs to.
    pub fn set_subject(&self, migration: Option<&str>) {
        *self.subject.lock().unwrap_or_else(PoisonError::into_inner) = migration.map(str::to_owned);
    }

    /// Runs statements of ours in a transaction of their own, in one message, and reads all rows of all of them.
    ///
    /// Whatever a script has made of the session, the transaction is READ COMMITTED, READ WRITE if the session could write when it began, under our
    /// user and role, with our timeouts, and with a search path in which nobody else can create anything. The script's settings are back afterwards.
    /// `NOT DEFERRABLE` also has the server refuse the message inside a transaction that a script has left open, which it would commit otherwise.
    ///
    /// A cancel that was meant for a script may arrive late and hit the message: it is sent again then, since what is cancelled is rolled back.
    ///
    /// # Errors
    /// What the server answered, or that the connection is gone. The transaction is rolled back then.
    pub async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, ServerError> {
        let as_ours = match self.changed.load(Ordering::Relaxed) {
            true => self.as_ours(),
            false => self.as_began(),
        };
        let message = format!("{}{as_ours}{sql}; COMMIT", self.begin());
        let mut tried = 0;
        loop {
            tried += 1;
            match self.send(&message).await {
                Ok(rows) => return Ok(rows),
                Err(error) => self.left(error, tried).await?,
            }
        }
    }

    /// [`Session::rows`] between two parts of a script, whose role must be back afterwards. Server versions before 13.17, 14.14, 15.9, 16.5 and 17.1
    /// can lose a SET ROLE at the end of a transaction that has set the session's user, so the users are compared.
    ///
    /// # Errors
    /// As [`Session::rows`]; or the script's role is lost, and then the statements are committed.
    pub async fn ours_beside_script(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, ServerError> {
        const USERS: &str = "SELECT current_user, session_user";
        let (begin, as_ours) = (self.begin(), self.as_ours());
        let message = format!("{begin}{USERS}; {as_ours}{sql}; COMMIT");
        let mut tried = 0;
        let (mut rows, after) = loop {
            tried += 1;
            let (ours, after) = tokio::join!(self.send(&message), self.send(USERS));
            match ours {
                Ok(rows) => break (rows, after),
                Err(error) => self.left(error, tried).await?,
            }
        };
        let after = match after {
            Err(error) if error.is(&["57014"]) => self.raw(USERS).await?,
            after => after?,
        };
        let before = users((!rows.is_empty()).then(|| rows.remove(0)));
        let after = users(after.into_iter().next());
        if before != after {
            return Err(role_lost(&before, &after));
        }
        Ok(rows)
    }

    /// Sends statements as they are, under whatever a script has made of the session. They qualify every function, operator and type.
    ///
    /// A late cancel is treated as in [`Session::rows`].
    ///
    /// # Errors
    /// What the server answered, or that the connection is gone.
    pub async fn raw(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, ServerError> {
        self.changed.store(true, Ordering::Relaxed);
        let mut tried = 0;
        loop {
            tried += 1;
            match self.send(sql).await {
                Err(error) if error.is(&["57014"]) && tried < TRIES => {}
                answered => return answered,
            }
        }
    }

    /// [`Session::raw`] for statements that change nothing of what the session is. Sent once.
    ///
    /// # Errors
    /// What the server answered, or that the connection is gone.
    pub(super) async fn send(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, ServerError> {
        let messages = self.client.simple_query(sql).await?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }

    /// The beginning of a transaction of ours.
    fn begin(&self) -> String {
        let access = if self.began.writable { "WRITE" } else { "ONLY" };
        format!("BEGIN ISOLATION LEVEL READ COMMITTED, READ {access}, NOT DEFERRABLE; ")
    }

    /// What makes a transaction ours in a session that is as it began.
    fn as_began(&self) -> String {
        let wanted = self.began.synchronous_commit();
        match self.began.synchronous_commit == wanted || !self.began.writable {
            true => OUR_PATH.to_owned(),
            false => format!("{OUR_PATH}SET LOCAL synchronous_commit TO {wanted}; "),
        }
    }

    /// What makes a transaction ours whatever a script has made of the session.
    fn as_ours(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.iter().filter(|(name, _)| name == "transaction_timeout");
        let kept: String = kept.map(|(name, value)| local(name, Some(value))).collect();
        format!(
            "{}SET LOCAL SESSION AUTHORIZATION DEFAULT; {}{OUR_PATH}{}SET LOCAL synchronous_commit TO {}; {}{kept}",
            // First of all, since it counts for each of these statements.
            self.local("statement_timeout"),
            self.local("role"),
            self.local("lock_timeout"),
            self.began.synchronous_commit(),
            self.local("row_security"),
        )
    }

    /// The statement that gives a setting the value that the session began with, until the transaction ends.
    fn local(&self, name: &str) -> String {
        local(name, self.made_setting(name))
    }

    /// Leaves the transaction of ours that an error has failed; the error itself where it is not worth another try.
    async fn left(&self, error: ServerError, tried: u32) -> Result<(), ServerError> {
        if error.closed {
            return Err(error);
        }
        if let Err(error) = self.send("ROLLBACK").await {
            // Where the transaction is still there, it refuses the next one of ours, and is left then.
            tracing::debug!("a failed transaction could not be left: {}", error.message);
        }
        // A late cancel; or a transaction that had failed before.
        match error.is(&["57014", "25P02"]) && tried < TRIES {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// [`Session::raw`] with the rows that come before an error. Sent once.
    pub async fn rows_until_error(&self, sql: &str) -> (Vec<SimpleQueryRow>, Option<ServerError>) {
        self.changed.store(true, Ordering::Relaxed);
        let stream = match self.client.simple_query_raw(sql).await {
            Ok(stream) => stream,
            Err(error) => return (Vec::new(), Some(error.into())),
        };
        tokio::pin!(stream);
        let mut rows = Vec::new();
        while let Some(message) = stream.next().await {
            match message {
                Ok(SimpleQueryMessage::Row(row)) => rows.push(row),
                Ok(_) => {}
                Err(error) => return (rows, Some(error.into())),
            }
        }
        (rows, None)
    }

    /// Runs a statement of ours that cannot be in a transaction, beside a script whose settings are back afterwards. It waits for a lock no longer than the
    /// session's own `lock_timeout`; if that is 0, which is for ever, no longer than `longest`.
    ///
    /// # Errors
    /// What the server answered, or that the connection is gone.
    pub async fn aside(&self, statement: &str, longest: Duration) -> Result<(), ServerError> {
        const SETTINGS: [&str; 7] = [
            "lock_timeout",
            "search_path",
            "statement_timeout",
            "default_transaction_isolation",
            "default_transaction_read_only",
            "default_transaction_deferrable",
            "synchronous_commit",
        ];
        let values = SETTINGS
            .map(|name| format!("pg_catalog.current_setting('{name}')"))
            .join(", ");
        let rows = self
            .raw(&format!(
                "SELECT session_user, pg_catalog.current_setting('role'), {values}"
            ))
            .await?;
        let column = |at: usize| rows.last().and_then(|row| row.get(at)).unwrap_or_default();
        let set = |name: &str, value: &str| {
            let (name, value) = (quote::literal(name), quote::literal(value));
            format!("pg_catalog.set_config({name}, {value}, false)")
        };
        let ours = [
            "pg_catalog, pg_temp",
            "0",
            "read committed",
            "off",
            "off",
            self.durability(),
        ];
        let role = self
            .made_setting("role")
            .map_or_else(String::new, |role| format!("SET ROLE {}; ", quote::identifier(role)));
        let [_, others @ ..] = SETTINGS;
        let pairs: Vec<String> = others.iter().zip(ours).map(|(name, value)| set(name, value)).collect();
        self.raw(&format!(
            "RESET SESSION AUTHORIZATION; RESET ROLE; {role}{}; SELECT {}",
            self.bounded_lock_timeout(longest),
            pairs.join(", ")
        ))
        .await?;
        let ran = self.raw(statement).await;
        let pairs: Vec<String> = SETTINGS
            .iter()
            .enumerate()
            .map(|(at, name)| set(name, column(at + 2)))
            .chain([set("session_authorization", column(0)), set("role", column(1))])
            .collect();
        self.raw(&format!("SELECT {}", pairs.join(", "))).await?;
        ran.map(drop)
    }

    /// The statement that brings back the `lock_timeout` that the session began with, or sets `longest` if that was 0.
    fn bounded_lock_timeout(&self, longest: Duration) -> String {
        let began = self.made_setting("lock_timeout").map_or_else(
            || "reset_val".to_owned(),
            |made| quote::literal(made.trim_end_matches("ms")),
        );
        // 0 is no limit to the server, and its highest value is that of a signed 32-bit number.
        let longest = longest.as_millis().clamp(1, 2_147_483_647);
        format!(
            "SELECT pg_catalog.set_config('lock_timeout', CASE WHEN {began} OPERATOR(pg_catalog.=) '0' THEN '{longest}' ELSE {began} END, false) \
             FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'lock_timeout'"
        )
    }

    /// The settings that this program has made by statements, with their values as `pg_settings` has them; without one where any value is ours.
    pub fn our_settings(&self) -> Vec<(String, Option<String>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.iter().map(|(name, _)| (name.clone(), None));
        let made = self.made.iter().map(|(name, value)| {
            let value = value.trim_end_matches(['m', 's']).to_owned();
            (name.clone(), Some(value))
        });
        kept.chain(made).collect()
    }

    /// How durable a commit of ours is: `synchronous_commit`.
    pub fn durability(&self) -> &'static str {
        self.began.synchronous_commit()
    }

    /// Asks the server to cancel what this session runs.
    ///
    /// # Errors
    /// The server could not be reached.
    pub async fn cancel(&self) -> Result<(), ConnectError> {
        self.cancel.send().await
    }

    /// Sends a script; its results are dropped as they come, so memory stays flat. The text is freed once it is encoded.
    pub async fn script(&self, text: String) -> Sent {
        self.changed.store(true, Ordering::Relaxed);
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
                Err(error) if is_copied_out(&error) => {}
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
        self.changed.store(true, Ordering::Relaxed);
        Ok(self.client.simple_query_raw(text).await?)
    }

    /// Ends a session that nothing was set in, without waiting.
    pub fn abandon(self) {
        drop(self.client);
    }

    /// Ends the session and waits until our side of the connection is closed.
    pub async fn close(self) {
        if !self.made.is_empty()
            && let Err(error) = self.send("DISCARD ALL").await
        {
            // A pooler may hand the server's session on as it is.
            tracing::debug!("the session could not be given back as it was: {}", error.message);
        }
        drop(self.client);
        // The reader ends by itself once the goodbye is sent; whether it could be sent changes nothing.
        let _ = self.reader.await;
    }
}

/// The driver knows no `COPY … TO STDOUT` in a simple query, and calls each of its messages unexpected; what comes behind them is read as ever.
fn is_copied_out(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none() && !error.is_closed() && error.to_string() == "unexpected message from server"
}

/// How often a message of ours is sent that a late cancel hits.
const TRIES: u32 = 4;

/// With pg_temp named, and last, temporary tables and types of a script hide nothing of the catalogue's.
const OUR_PATH: &str = "SET LOCAL search_path TO pg_catalog, pg_temp; ";

fn local(name: &str, made: Option<&str>) -> String {
    let value = made.map_or_else(|| "DEFAULT".to_owned(), quote::literal);
    format!("SET LOCAL {name} TO {value}; ")
}

/// The current user and the session's user.
fn users(row: Option<SimpleQueryRow>) -> Option<[String; 2]> {
    row.map(|row| [0, 1].map(|at| row.get(at).unwrap_or_default().to_owned()))
}

fn role_lost(before: &Option<[String; 2]>, after: &Option<[String; 2]>) -> ServerError {
    let user = |users: &Option<[String; 2]>| {
        users
            .as_ref()
            .map_or_else(String::new, |[user, _]| printable_name(user))
    };
    ServerError::ours(format!(
        "the server lost the role of the script: it ran as {} and would go on as {}; PostgreSQL 13.17, 14.14, 15.9, 16.5 and 17.1 keep it",
        user(before),
        user(after)
    ))
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
