//! Opening the session that migrates: connect, see where we are, read the ledger: all in one round trip after the connection is made.

use super::advice::take_role;
use super::connect::{Ended, Startup, connect_with_retry};
use super::create::create_database;
use super::error::ConnectError;
use super::lock::{self, APPLICATION};
use super::locked_ledger::{self, ServerErrorOrLocked, is_locked};
use super::pooler;
use super::server_error::ServerError;
use super::session::{Began, RUN_ID_SETTING, Session};
use super::target::Target;
use crate::advice;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{self, Backend, Columns, History, Ledger};
use crate::printable::printable_name;
use crate::sql::quote;
use crate::sql::script::Strings;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// Where to.
    pub target: &'a Target,
    /// This run's id: in application_name, and in a setting that is read back to see that the session is ours alone.
    pub run_id: &'a str,
    /// How long a database is waited for that is waking up.
    pub connect_timeout: Duration,
    /// How long a statement waits for a lock before it gives up; zero: for ever.
    pub lock_timeout: Duration,
    /// How long the ledger is waited for where another session has locked it.
    pub lock_wait: Duration,
    /// The role to run as, where it is not the user's own.
    pub role: Option<&'a str>,
    /// Whether a pooler in session mode may stand between.
    pub allow_pooler: bool,
    /// What is read of the ledger's rows; none if the ledger is not read.
    pub ledger: Option<Columns>,
    /// Whether the session's transactions are READ ONLY unless they say otherwise.
    pub read_only: bool,
}

/// An open session and what it found.
pub struct Opened {
    /// The session.
    pub session: Session,
    /// The server.
    pub server: Server,
    /// Every row of the ledger; none where the table does not exist, or was not to be read.
    pub history: Option<Arc<History>>,
    /// What ended the connection, once it has ended.
    pub ended: Ended,
}

/// The database as the session sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Server {
    /// Host, port and database, as given.
    pub address: String,
    /// How the session is protected: protocol, cipher suite and how the server was verified.
    pub tls: String,
    /// The server's version in its own words.
    #[serde(rename = "server_version")]
    pub version: String,
    /// The user that the session runs as.
    pub user: String,
    /// The schema that unqualified names are made in; none where no schema of the search path exists.
    pub schema: Option<String>,
    /// The schema that holds the migrations table.
    pub ledger_schema: Option<String>,
    /// The session's backend.
    #[serde(skip)]
    pub backend: Backend,
    /// As whom the session began.
    #[serde(skip)]
    pub login: Login,
    /// How the server reads strings.
    #[serde(skip)]
    pub strings: Strings,
    /// Whether triggers, rules or row security stand between a statement and the migrations table.
    #[serde(skip)]
    pub ledger_is_watched: bool,
    /// Whether triggers on the migrations table may run only when a transaction is committed.
    #[serde(skip)]
    pub ledger_defers: bool,
    /// Whether it takes writes: neither a standby nor read-only by default.
    #[serde(skip)]
    pub writable: bool,
}

/// As whom a session began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The user that logged in.
    pub user: String,
    /// The role that the run works as; none for the user's own.
    pub role: Option<String>,
}

impl Server {
    /// The ledger, where it is or where it will be made.
    pub fn ledger(&self) -> Option<Ledger> {
        self.ledger_schema
            .as_deref()
            .or(self.schema.as_deref())
            .map(|schema| Ledger::in_schema(schema).watched(self.ledger_is_watched, self.ledger_defers))
    }
}

/// Opens a session.
///
/// # Errors
/// The database cannot be reached or used, or another session answers than the one that was opened (a pooler).
pub async fn open(terms: &Terms<'_>) -> Result<Opened, Failure> {
    if terms.allow_pooler && pooler::is_rds_proxy(&terms.target.host) {
        return Err(Failure::new(
            Exit::Database,
            format!(
                "{} is an RDS Proxy, which does not keep a session",
                terms.target.describe()
            ),
            pooler::USE_INSTEAD_OF_RDS_PROXY,
        ));
    }
    let connected = connect_with_retry(terms.target, &startup(terms), terms.connect_timeout)
        .await
        .map_err(unreachable)?;
    let tls = terms.target.tls.describe(connected.handshake.as_ref());
    tracing::info!("connected to {}: {tls}", terms.target.describe());
    let ended = connected.ended.clone();
    let mut session = Session::new(connected);
    if terms.allow_pooler {
        pooler::prove(&session, terms.target, &startup(terms)).await?;
    }
    let ledger = Ledger::select(history::TABLE, terms.ledger.unwrap_or(Columns::Judged));
    let facts = facts();
    // A backend that does not have our run's id may be the application's, lent by a pooler: nothing is set there.
    let ours = format!(
        "pg_catalog.current_setting('{RUN_ID_SETTING}', true) OPERATOR(pg_catalog.=) {}",
        quote::literal(terms.run_id)
    );
    // Sent in this order: all but the last may fail, and an error is seen before its answer has ended; behind the facts all is answered.
    let (made, (), rows, facts) = tokio::join!(
        session.make_settings(),
        session.keep_settings(&OPTIONAL, &ours),
        async {
            match terms.ledger {
                Some(_) => session.send(&ledger).await.map(Some),
                None => Ok(None),
            }
        },
        session.send(&facts)
    );
    made.map_err(|error| unsettable(terms, &error))?;
    log_settings(&session).await;
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => return Err(unexamined(&session, &error).await),
    };
    let column = |at: usize| facts.first().and_then(|row| row.get(at)).map(str::to_owned);
    if column(0).as_deref() != Some(terms.run_id) {
        return Err(Failure::new(
            Exit::Database,
            format!(
                "{} does not keep a session: a pooler in transaction mode answers there",
                terms.target.describe()
            ),
            pooler::USE_INSTEAD,
        ));
    }
    let server = Server {
        address: terms.target.describe(),
        tls,
        version: column(3).unwrap_or_default(),
        user: column(6).unwrap_or_default(),
        schema: column(4),
        ledger_schema: column(5),
        backend: Backend {
            pid: column(7).and_then(|pid| pid.parse().ok()).unwrap_or(0),
            started: column(11).and_then(|started| started.parse().ok()).unwrap_or(0),
        },
        login: Login {
            user: column(8).unwrap_or_default(),
            role: terms.role.map(str::to_owned),
        },
        strings: match column(12).as_deref() {
            Some("off") => Strings::Escapes,
            _ => Strings::Standard,
        },
        ledger_is_watched: column(13).as_deref() == Some("t"),
        ledger_defers: column(14).as_deref() == Some("t"),
        writable: column(1).as_deref() == Some("f") && column(2).as_deref() == Some("off"),
    };
    session.began(Began {
        writable: server.writable,
        synchronous_commit: column(9).unwrap_or_default(),
        search_path: column(10).unwrap_or_default(),
    });
    if terms.role.is_some() {
        tracing::info!(
            "works as the role {}, logged in as {}",
            printable_name(&server.user),
            printable_name(&column(8).unwrap_or_default())
        );
    }
    let rows = match rows {
        Err(error) if is_locked(&error) => {
            let read = locked_ledger::read(&session, &ledger, error, terms.lock_wait).await;
            match read {
                Ok(rows) => Ok(Some(rows)),
                Err(ServerErrorOrLocked::Server(error)) => Err(error),
                Err(ServerErrorOrLocked::Locked(failure)) => {
                    session.abandon();
                    return Err(*failure);
                }
            }
        }
        rows => rows,
    };
    let history = match rows {
        Ok(rows) => rows.as_deref().map(read).map(Arc::new),
        Err(error) if error.is(&["42P01"]) => None,
        Err(error) => return Err(advised(&session, unreadable(&session, history::TABLE, &error).await).await),
    };
    Ok(Opened {
        session,
        server,
        history,
        ended,
    })
}

/// Opens a session; again where it is lost before its first answer is read, since the server may still be about to go down.
///
/// # Errors
/// As [`open`].
pub async fn open_with_retry(terms: &Terms<'_>) -> Result<Opened, Failure> {
    let until = Instant::now() + terms.connect_timeout;
    loop {
        match open(terms).await {
            Err(failure) if failure.connection_lost && Instant::now() < until => {
                tracing::info!("{}: connecting again", failure.what);
                // One try costs the server a backend.
                sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
            }
            opened => return opened,
        }
    }
}

/// Between two sessions that were lost at once, with jitter.
const PAUSE: Duration = Duration::from_millis(200);

/// Creates the database that was missing, and opens a session on it.
///
/// # Errors
/// It could not be created, or not be opened.
pub async fn create_and_open(terms: &Terms<'_>) -> Result<Opened, Failure> {
    create_database(terms.target, &startup(terms))
        .await
        .map_err(unreachable)?;
    tracing::info!("database {} did not exist and was created", terms.target.describe());
    open_with_retry(terms).await
}

/// Whether this failure says that the database does not exist.
pub fn is_missing(failure: &Failure) -> bool {
    failure.prisma_code.as_deref() == Some("P1003")
}

/// Reads the ledger again.
///
/// # Errors
/// The server's.
pub async fn read_history(session: &Session, ledger: &Ledger) -> Result<History, Failure> {
    read_history_within(session, ledger, Duration::ZERO).await
}

/// Reads the ledger again, and waits so long for those who have locked it.
///
/// # Errors
/// It stays locked; or the server's.
pub async fn read_history_within(session: &Session, ledger: &Ledger, wait: Duration) -> Result<History, Failure> {
    let sql = Ledger::select(ledger.table(), Columns::Judged);
    let rows = match session.rows(&sql).await {
        Err(error) if is_locked(&error) => match locked_ledger::read(session, &sql, error, wait).await {
            Ok(rows) => rows,
            Err(ServerErrorOrLocked::Locked(failure)) => return Err(*failure),
            Err(ServerErrorOrLocked::Server(error)) => return Err(unreadable(session, ledger.table(), &error).await),
        },
        Err(error) => return Err(unreadable(session, ledger.table(), &error).await),
        Ok(rows) => rows,
    };
    Ok(read(&rows))
}

/// Says in the debug log what the settings that could end or hold up long work really are.
async fn log_settings(session: &Session) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let sql = "SELECT name, setting, unit, source FROM pg_catalog.pg_settings \
         WHERE name OPERATOR(pg_catalog.=) ANY (ARRAY['statement_timeout', 'lock_timeout', \
         'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout', 'deadlock_timeout', 'search_path', 'role', \
         'client_connection_check_interval', 'tcp_keepalives_idle', 'tcp_user_timeout', 'synchronous_commit']::pg_catalog.text[]) ORDER BY name";
    match session.send(sql).await {
        Ok(rows) => {
            for row in rows {
                let column = |at: usize| row.get(at).unwrap_or_default();
                tracing::debug!("{} = {}{} ({})", column(0), column(1), column(2), column(3));
            }
        }
        Err(error) => tracing::debug!("the settings could not be read: {}", error.message),
    }
}

/// Settings that not every server has; all else is in the startup options. The first has the server end what runs here soon after this program is
/// gone (PostgreSQL 14; where the platform can); the others would end what runs here while it is not.
const OPTIONAL: [(&str, &str); 3] = [
    ("client_connection_check_interval", "10s"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
];

fn facts() -> String {
    format!(
        "SELECT pg_catalog.current_setting('{RUN_ID_SETTING}', true), pg_catalog.pg_is_in_recovery(), \
         pg_catalog.current_setting('transaction_read_only'), pg_catalog.current_setting('server_version'), pg_catalog.current_schema(), \
         (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid OPERATOR(pg_catalog.=) c.relnamespace), current_user, \
         pg_catalog.pg_backend_pid(), session_user, pg_catalog.current_setting('synchronous_commit'), \
         pg_catalog.current_setting('search_path'), \
         (SELECT {} FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())), \
         pg_catalog.current_setting('standard_conforming_strings'), c.relhastriggers OR c.relhasrules OR c.relrowsecurity, \
         c.relhastriggers AND EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid OPERATOR(pg_catalog.=) c.oid AND tgdeferrable) \
         FROM (SELECT) AS always LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('_prisma_migrations')",
        lock::microseconds("backend_start")
    )
}

fn read(rows: &[tokio_postgres::SimpleQueryRow]) -> History {
    History {
        rows: rows.iter().map(|row| Ledger::row(|at| row.get(at))).collect(),
    }
}

fn startup(terms: &Terms<'_>) -> Startup {
    // Sent as startup options, so that RESET ALL comes back to them. What would end long work is set, never inherited from the role or the server.
    let mut options = vec![
        ("statement_timeout", "0".to_owned()),
        ("idle_in_transaction_session_timeout", "0".to_owned()),
        ("lock_timeout", format!("{}ms", terms.lock_timeout.as_millis())),
        // Without these a cut network leaves the backend, and the migration lock with it, for hours.
        ("tcp_keepalives_idle", "60".to_owned()),
        ("tcp_keepalives_interval", "10".to_owned()),
        ("tcp_keepalives_count", "6".to_owned()),
        ("tcp_user_timeout", "120s".to_owned()),
        (RUN_ID_SETTING, terms.run_id.to_owned()),
    ];
    if terms.read_only {
        options.push(("default_transaction_read_only", "on".to_owned()));
    }
    Startup {
        // At most 63 bytes are kept of it.
        application_name: format!("{APPLICATION}{} {}", env!("CARGO_PKG_VERSION"), terms.run_id),
        options: options
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .chain(terms.role.map(|role| ("role".to_owned(), role.to_owned())))
            .collect(),
        pooler: terms.allow_pooler,
    }
}

/// A setting that should have been made by a statement: as of one that travels in the startup options.
fn unsettable(terms: &Terms<'_>, error: &ServerError) -> Failure {
    let mut failure = unusable("the session's settings could not be made", error);
    if let Some(role) = terms.role.filter(|_| error.is(&["42501", "22023"])) {
        failure.next = take_role(role, &terms.target.user);
    }
    failure
}

fn unreachable(error: ConnectError) -> Failure {
    let mut failure = Failure::new(error.exit(), error.to_string(), error.next_step()).prisma(error.code());
    failure.sqlstate = error.sqlstate().map(str::to_owned);
    failure
}

/// The session's facts could not be read. Servers that only speak PostgreSQL's protocol lack functions of its catalogue, and say what they are.
async fn unexamined(session: &Session, error: &ServerError) -> Failure {
    const OTHERS: [&str; 4] = ["CockroachDB", "DSQL", "YugabyteDB", "Redshift"];
    if !error.closed
        && let Ok(rows) = session.send("SELECT pg_catalog.version()").await
        && let Some(version) = rows.first().and_then(|row| row.get(0))
        && OTHERS.iter().any(|other| version.contains(other))
    {
        return lock::no_advisory_locks(&ServerError::ours(printable_name(version)));
    }
    unusable("the session could not be examined", error)
}

/// A failure of one of our own statements.
pub fn unusable(what: &str, error: &ServerError) -> Failure {
    let code = match error.sqlstate.as_deref() {
        _ if error.closed => Some("P1017"),
        // Prisma: "User was denied access on the database".
        Some("42501") => Some("P1010"),
        _ => None,
    };
    let mut failure = Failure::new(Exit::Database, format!("{what}: {}", error.message), "")
        .prisma(code)
        .caused_by(error);
    failure.connection_lost = error.closed;
    failure.next = next_step(error, failure.advice.as_deref());
    failure
}

/// What to do about an error of one of our own statements.
fn next_step(error: &ServerError, advice: Option<&str>) -> String {
    if error.closed {
        return "deploy again once the server is back".to_owned();
    }
    let again = advice::then(advice, "start it again");
    again.unwrap_or_else(|| "see the server's message and its log, then start it again".to_owned())
}

/// The same failure, with what the catalogue knows of it: the owner and the user, if a privilege is missing.
pub async fn advised(session: &Session, mut failure: Failure) -> Failure {
    let Some(error) = failure.error.clone() else {
        return failure;
    };
    // What became of a script has its own next step.
    if failure.exit == Exit::Database && !failure.connection_lost && error.is(&["42501"]) {
        let around = advice::look(session, &error).await;
        failure.advice = advice::of(&error, &around);
        failure.next = next_step(&error, failure.advice.as_deref());
    }
    failure
}

/// `table`: the migrations table as it stands in SQL.
async fn unreadable(session: &Session, table: &str, error: &ServerError) -> Failure {
    let mut failure = unusable(
        &format!("the migrations table {} cannot be read", history::TABLE),
        error,
    );
    if error.is(&["42703"]) {
        failure.next = "the table is not as Prisma makes it: compare its columns, or move it away".into();
    }
    // insufficient_privilege, from check_enable_rls.
    if error.is(&["42501"]) && error.routine.as_deref() == Some("check_enable_rls") {
        failure.next = match row_security(session, table).await {
            Ok(Some(hidden)) => hidden.next_step(),
            _ => "row security hides rows of the table from this user: run this again as the table's owner".to_owned(),
        };
        failure.error = None;
    }
    // feature_not_supported: a view, or a foreign table.
    if error.is(&["0A000"]) {
        failure.what = format!("{} is not a table, so it is not Prisma's", history::TABLE);
        failure.next = format!(
            "find who has made it and why, then remove it: `DROP VIEW {}`",
            history::TABLE
        );
    }
    failure
}

/// From whom row security hides rows of the migrations table.
struct HiddenRows {
    /// The table's name, qualified and quoted.
    table: String,
    /// The role that owns the table, quoted.
    owner: String,
    /// The user that logged in, quoted.
    user: String,
    /// Whether the session has the owner's rights.
    is_owner: bool,
    /// Whether the user that logged in may become the owner.
    may_be_owner: bool,
    /// Whether row security applies to the owner too.
    forced: bool,
}

impl HiddenRows {
    fn next_step(&self) -> String {
        let HiddenRows { table, owner, user, .. } = self;
        let mut steps = Vec::new();
        if self.forced {
            steps.push(format!("`ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY`"));
        }
        if !self.is_owner && !self.may_be_owner {
            steps.push(format!("`GRANT {owner} TO {user}`"));
        }
        let from = match (self.is_owner, self.forced) {
            (true, _) => format!("its owner {owner}"),
            (false, true) => format!("this user and from its owner {owner}"),
            (false, false) => "this user".to_owned(),
        };
        let again = match self.is_owner {
            true => "run this again".to_owned(),
            false => format!("run this again with --role {owner}, or log in as {owner}"),
        };
        steps.push(again);
        format!(
            "row security hides rows of the table from {from}: {}",
            steps.join(", then ")
        )
    }
}

async fn row_security(session: &Session, table: &str) -> Result<Option<HiddenRows>, ServerError> {
    let sql = format!(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)), \
         pg_catalog.quote_ident(session_user), pg_catalog.pg_has_role(c.relowner, 'USAGE'), \
         pg_catalog.pg_has_role(session_user, c.relowner, 'MEMBER'), c.relforcerowsecurity \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({})",
        quote::literal(table)
    );
    let rows = session.send(&sql).await?;
    Ok(rows.first().map(|row| {
        let text = |at: usize| row.get(at).unwrap_or_default().to_owned();
        let holds = |at: usize| row.get(at) == Some("t");
        HiddenRows {
            table: text(0),
            owner: text(1),
            user: text(2),
            is_owner: holds(3),
            may_be_owner: holds(4),
            forced: holds(5),
        }
    }))
}
