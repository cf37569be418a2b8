//! From a [`Target`] to a connected client: one attempt, or as many as a database needs that is waking up.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config};

pub use super::cancel::Cancel;
use super::error::{ConnectError, Stage};
use super::pooler;
use super::server_error::ServerError;
use super::target::{Host, Target};
use super::tls::{Connector, Handshake, TlsMode};
use crate::sql::quote;

/// After how much silence the client's kernel asks whether the server is still there: under the 350 s after which AWS' NAT gateways and load
/// balancers forget an idle connection, while a long migration sends nothing.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 6;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a session is to begin with, so that `RESET ALL` comes back to it.
#[derive(Clone, Debug, Default)]
pub struct Startup {
    /// The session's `application_name`, unless the connection string has one.
    pub application_name: String,
    /// Settings, name and value, any text. They come after the connection string's own `options` and win over them.
    pub options: Vec<(String, String)>,
    /// A pooler may stand between, and takes no startup options: none are sent, and all are left to be made by statements ([`Connected::settings`]).
    pub pooler: bool,
}

impl Startup {
    /// The role that the session is to run as, where it is not the user's own.
    fn role(&self) -> Option<&str> {
        self.options
            .iter()
            .find(|(name, _)| name == "role")
            .map(|(_, role)| role.as_str())
    }
}

/// A session on the server.
pub struct Connected {
    /// The client. It does nothing until [`Connected::messages`] is polled.
    pub client: Client,
    /// The connection itself: polling it moves the bytes; it yields notices and notifications, an error when the connection breaks, and ends after
    /// the client is dropped.
    pub messages: BoxStream<'static, Result<AsyncMessage, tokio_postgres::Error>>,
    /// What ended the connection.
    pub ended: Ended,
    /// Cancels what runs in this session.
    pub cancel: Cancel,
    /// The server's version as it names itself (`15.18 (Debian …)`).
    pub server_version: Option<String>,
    /// What the TLS handshake came to; none on a connection in clear.
    pub handshake: Option<Handshake>,
    /// What the session has not begun with, and is to be made by statements; empty unless [`Startup::pooler`].
    pub settings: Vec<(String, String)>,
}

/// What ended a connection, once it has ended: whoever waits for an answer is told by the driver that it has, and not why.
#[derive(Clone, Debug, Default)]
pub struct Ended(Arc<Mutex<Option<ServerError>>>);

impl Ended {
    fn keep(&self, error: ServerError) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }

    /// The server's last words where it had any, else the driver's.
    pub fn why(&self) -> Option<ServerError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Connects once, within the target's connect timeout.
///
/// # Errors
/// See [`ConnectError`]; [`ConnectError::is_waking`] tells what another attempt may cure.
pub async fn connect(target: &Target, startup: &Startup) -> Result<Connected, ConnectError> {
    let tls = target.tls.connector()?;
    admitted(target, startup, &tls, target.connect_timeout).await
}

/// Connects, and tries again with growing pauses while the database may be waking up, until `budget` has passed; an attempt that is under way then
/// is cut off. A budget of zero is one attempt.
///
/// Every failed attempt is logged, so that whoever waits knows for what.
///
/// # Errors
/// At once for what no retry cures; else [`ConnectError::GaveUp`] with the last attempt's error.
pub async fn connect_with_retry(
    target: &Target,
    startup: &Startup,
    budget: Duration,
) -> Result<Connected, ConnectError> {
    let begin = Instant::now();
    let tls = target.tls.connector()?;
    if budget.is_zero() {
        return admitted(target, startup, &tls, target.connect_timeout).await;
    }
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let left = budget.saturating_sub(begin.elapsed());
        let limit = target.connect_timeout.map_or(left, |one| one.min(left));
        let error = match admitted(target, startup, &tls, Some(limit)).await {
            Err(error) if error.is_waking() => error,
            result => return result,
        };
        let waited = begin.elapsed();
        // Half of the pause is random: tasks that start together must not knock together.
        let next = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        if waited + next >= budget {
            return Err(ConnectError::GaveUp {
                attempts,
                waited,
                last: Box::new(error),
            });
        }
        tracing::info!(
            server = target.describe_server(),
            attempt = attempts,
            waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            "waiting for the database: {error}"
        );
        sleep(next).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One attempt, with the credentials of this moment; where the server refuses them and there are other ones by now, with those.
async fn admitted(
    target: &Target,
    startup: &Startup,
    tls: &Connector,
    limit: Option<Duration>,
) -> Result<Connected, ConnectError> {
    let login = target.credentials.apply(target).await?;
    let begin = Instant::now();
    let refusal = match attempt(&login, startup, tls, limit).await {
        Err(refusal) => refusal,
        connected => return connected,
    };
    let left = limit.map(|limit| limit.saturating_sub(begin.elapsed()));
    let login = target.credentials.after(login, refusal).await?;
    attempt(&login, startup, tls, left).await
}

async fn attempt(
    target: &Target,
    startup: &Startup,
    tls: &Connector,
    limit: Option<Duration>,
) -> Result<Connected, ConnectError> {
    let begin = Instant::now();
    let config = config(target, startup);
    let tls = tls.fresh();
    let addresses: Vec<Option<IpAddr>> = match (&target.host, target.hostaddr) {
        (Host::Socket(_), _) => vec![None],
        (Host::Tcp(_), Some(address)) => vec![Some(address)],
        (Host::Tcp(host), None) => within(limit, resolve(host, target.port))
            .await
            .ok_or_else(|| timed_out(target, Stage::Resolve, limit))?
            .map_err(|cause| ConnectError::Resolve {
                server: target.describe_server(),
                cause,
            })?
            .into_iter()
            .map(Some)
            .collect(),
    };
    let left = limit.map(|limit| limit.saturating_sub(begin.elapsed()));
    // One address that swallows everything must not use up the time of the next; a little less than the rest, so that this timer and not the one around
    // it says that it was TCP that got no answer.
    let each = left.map(|left| left.mul_f64(0.95) / u32::try_from(addresses.len()).unwrap_or(u32::MAX));
    // One after the other, as the driver would, which does not say in the end which of them it was: a request to cancel goes there.
    let one_of_them = async {
        let mut last = None;
        for address in addresses {
            match connect_to(&config, target, address, each, &tls).await {
                Ok((client, connection)) => return Ok((client, connection, address)),
                Err(error) => last = Some(error),
            }
        }
        Err(last)
    };
    let (client, mut connection, address) = within(left, one_of_them)
        .await
        .ok_or_else(|| timed_out(target, Stage::Startup, limit))?
        .map_err(|error| match error {
            Some(error) => startup
                .role()
                .and_then(|role| ConnectError::of_role(&error, target, role))
                .unwrap_or_else(|| ConnectError::from_driver(error, target, limit)),
            None => ConnectError::Resolve {
                server: target.describe_server(),
                cause: io::ErrorKind::NotFound.into(),
            },
        })?;

    let server_version = connection.parameter("server_version").map(str::to_owned);
    let cancel = Cancel {
        token: client.cancel_token(),
        tls: tls.fresh(),
        target: target.clone(),
        address,
    };
    let ended = Ended::default();
    let end = ended.clone();
    let messages = stream::poll_fn(move |cx| connection.poll_message(cx))
        .inspect_err(move |error| end.keep(error.into()))
        .boxed();
    Ok(Connected {
        ended,
        client,
        messages,
        cancel,
        server_version,
        handshake: tls.handshake(),
        settings: if startup.pooler {
            settings(target, startup)
        } else {
            Vec::new()
        },
    })
}

type Connection =
    tokio_postgres::Connection<tokio_postgres::Socket, <Connector as MakeTlsConnect<tokio_postgres::Socket>>::Stream>;

/// Connects to one address; to the socket's file where there is none.
async fn connect_to(
    config: &Config,
    target: &Target,
    address: Option<IpAddr>,
    limit: Option<Duration>,
    tls: &Connector,
) -> Result<(Client, Connection), tokio_postgres::Error> {
    let mut config = config.clone();
    match (&target.host, address) {
        (Host::Socket(folder), _) => {
            config.host_path(folder);
        }
        (Host::Tcp(host), address) => {
            config.host(host);
            if let Some(address) = address {
                config.hostaddr(address);
            }
            if let Some(limit) = limit {
                config.connect_timeout(limit);
            }
        }
    }
    config.connect(tls.clone()).await
}

/// The addresses of a host, each once. The driver would look the name up too, but would not say which of the two failed.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in tokio::net::lookup_host((host, port)).await?.map(|a: SocketAddr| a.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// Everything but the host.
fn config(target: &Target, startup: &Startup) -> Config {
    let mut config = Config::new();
    config
        .port(target.port)
        .dbname(&target.database)
        .application_name(target.application_name.as_ref().unwrap_or(&startup.application_name))
        .channel_binding(target.channel_binding)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .ssl_mode(match target.tls.mode {
            _ if !target.can_have_tls() => SslMode::Disable,
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
    // A pooler refuses the parameter whatever is in it.
    if !startup.pooler {
        config.options(options(target, startup));
    }
    if !target.user.is_empty() {
        config.user(&target.user);
    }
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    config
}

/// The startup packet's `options`: the user's own, then the search path, then ours. The server takes them as a command line in which a backslash
/// escapes the next character and white space separates (PostgreSQL's `pg_split_opts`).
fn options(target: &Target, startup: &Startup) -> String {
    let mut options = target.options.clone().unwrap_or_default();
    let backslashes = options.len() - options.trim_end_matches('\\').len();
    if backslashes % 2 == 1 {
        // The server drops a last backslash with nothing behind it; here it would glue the next option on.
        options.pop();
    }
    for (name, value) in search_path(target).into_iter().chain(startup.options.iter().cloned()) {
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str("-c ");
        for character in name.chars().chain(['=']).chain(value.chars()) {
            if character == '\\' || character.is_ascii_whitespace() || character == '\u{b}' {
                options.push('\\');
            }
            options.push(character);
        }
    }
    options
}

/// What [`options`] says, setting by setting.
fn settings(target: &Target, startup: &Startup) -> Vec<(String, String)> {
    let theirs = target
        .options
        .as_deref()
        .and_then(pooler::settings_in)
        .unwrap_or_default();
    theirs
        .into_iter()
        .chain(search_path(target))
        .chain(startup.options.iter().cloned())
        .collect()
}

fn search_path(target: &Target) -> Option<(String, String)> {
    let schema = target.schema.as_deref()?;
    Some(("search_path".to_owned(), quote::identifier(schema)))
}

async fn within<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    match limit {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

fn timed_out(target: &Target, stage: Stage, limit: Option<Duration>) -> ConnectError {
    ConnectError::TimedOut {
        server: target.describe_server(),
        stage,
        after: limit.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn target(query: &str) -> Target {
        Target::from_url(&Secret::new(format!("postgresql://u:p@h/db?{query}")))
            .unwrap()
            .0
    }

    #[test]
    fn options_are_the_users_then_the_search_path_then_ours() {
        let pairs = |pairs: &[(&str, &str)]| Startup {
            options: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..Startup::default()
        };
        for (query, ours, expected) in [
            ("", &[][..], ""),
            ("", &[("role", "owner")], "-c role=owner"),
            ("", &[("a.b", "x y\\z\t")], "-c a.b=x\\ y\\\\z\\\t"),
            ("schema=s", &[], r#"-c search_path="s""#),
            ("schema=My%20\"s", &[], r#"-c search_path="My\ ""s""#),
            (
                "options=-c%20a%3D1&schema=s",
                &[("b", "2")],
                r#"-c a=1 -c search_path="s" -c b=2"#,
            ),
            (r"options=-c%20a%3D1\", &[("b", "2")], "-c a=1 -c b=2"),
            (r"options=-c%20a%3D1\\", &[("b", "2")], r"-c a=1\\ -c b=2"),
        ] {
            assert_eq!(options(&target(query), &pairs(ours)), expected, "{query}");
        }
    }
}
