//! Poolers: connections that look like a session of the server and may not be one.
//!
//! A migration needs one session of the server for itself: the migration lock belongs to it, and so do its settings. A pooler in session mode gives
//! one, a pooler in transaction mode gives another whenever it likes. It is not asked which it is, it is found out:
//!
//! - The startup options hold the run's id. A pooler refuses such options (PgBouncer, RDS Proxy) or drops them, and either is seen.
//! - With `--allow-pooler` nothing travels in the startup options, and before anything is set [`prove`] looks whether a second connection moves the
//!   first one to another backend.
//! - Whatever was seen at the beginning, every message that begins or notes a part of a migration fails where it came to another backend
//!   ([`crate::apply::message::at_backend`]), and every verdict says from which backend it comes.

use super::connect::{Startup, connect};
use super::server_error::ServerError;
use super::session::Session;
use super::target::{Host, Target};
use crate::exit::Exit;
use crate::failure::Failure;
use std::time::Duration;
use tokio::time::timeout;

/// What to do about a pooler that does not keep a session.
pub const USE_INSTEAD: &str = "connect to the server itself (on AWS: the instance's endpoint or the cluster's writer endpoint), since a migration \
     needs a session of its own; a pooler in session mode can be used with --allow-pooler";

/// What to do about RDS Proxy, which has no session mode.
pub const USE_INSTEAD_OF_RDS_PROXY: &str =
    "connect to the instance's endpoint or the cluster's writer endpoint in place of the proxy's";

/// How often the two connections of [`prove`] get in each other's way.
const ROUNDS: u32 = 3;
/// How long the second connection may wait for a backend while the first one needs none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the host is an endpoint of RDS Proxy by its name: `NAME.proxy-ID.REGION.rds.amazonaws.com`, or `NAME.endpoint.proxy-ID.…` (AWS' RDS User
/// Guide, "Connecting to a database through RDS Proxy").
pub fn is_rds_proxy(host: &Host) -> bool {
    let Host::Tcp(host) = host else { return false };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let name = host
        .strip_suffix(".rds.amazonaws.com")
        .or_else(|| host.strip_suffix(".rds.amazonaws.com.cn"));
    name.is_some_and(|name| name.split('.').skip(1).any(|label| label.starts_with("proxy-")))
}

/// Whether these are a pooler's words for startup options that it does not take.
///
/// PgBouncer: `unsupported startup parameter: options` (08P01), since 1.20 `unsupported startup parameter in options: NAME` and `unsupported options
/// startup parameter: …` (its `client.c`). RDS Proxy: `Feature not supported: RDS Proxy currently doesn’t support command-line options.` (0A000).
pub fn refuses_options(sqlstate: &str, message: &str) -> bool {
    let pgbouncer = ["unsupported startup parameter", "unsupported options startup parameter"];
    (sqlstate == "08P01" && pgbouncer.iter().any(|words| message.contains(words)))
        || (message.contains("RDS Proxy") && message.contains("command-line options"))
}

/// Whether these are PgBouncer's words for a server behind it that it cannot reach, or not yet (its `objects.c` and `client.c`).
pub fn waits_for_its_server(sqlstate: &str, message: &str) -> bool {
    let words = [
        "server login has been failing",
        "pgbouncer cannot connect to server",
        "query_wait_timeout",
    ];
    sqlstate == "08P01" && words.iter().any(|words| message.contains(words))
}

/// The settings in startup options of libpq's form: `-c name=value`, `-cname=value` and `--name=value`, with the server's rules for backslashes and
/// white space (PostgreSQL's `pg_split_opts` and `process_postgres_switches`). `None` where anything else is in them.
pub fn settings_in(options: &str) -> Option<Vec<(String, String)>> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        if character.is_ascii_whitespace() || character == '\u{b}' {
            words.extend(word.take());
        } else {
            let character = if character == '\\' {
                characters.next()
            } else {
                Some(character)
            };
            word.get_or_insert_default().extend(character);
        }
    }
    words.extend(word);
    let mut settings = vec![];
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") if word == "-c" => words.next()?,
            Some(assignment) => assignment.to_owned(),
            None => return None,
        };
        let (name, value) = assignment.split_once('=')?;
        // The server takes a dash in a setting's name for an underscore.
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Some(settings)
}

/// Makes sure that the session is kept, as far as that can be seen: while a second connection of the same user to the same database holds a backend
/// in a transaction, and while it does not, the session's backend stays the same and is never the other's. A pooler in transaction mode hands an idle
/// backend to whoever comes next, so one of the two would not hold.
///
/// Nothing is set, locked or written meanwhile: where the backends are shared, they are the application's.
///
/// # Errors
/// The session is not kept, or that could not be seen.
pub async fn prove(session: &Session, target: &Target, startup: &Startup) -> Result<(), Failure> {
    let unseen = |why: &str| {
        Failure::new(
            Exit::Database,
            format!(
                "{}: whether it keeps a session could not be seen: {why}",
                target.describe()
            ),
            "free a connection in the pool or enlarge it, or connect to the server itself",
        )
    };
    let not_kept = || {
        Failure::new(
            Exit::Database,
            format!(
                "{} does not keep a session: a pooler in transaction mode answers there, and --allow-pooler is for one in session mode",
                target.describe()
            ),
            USE_INSTEAD,
        )
    };
    let lost = |error: ServerError| {
        let mut failure = unseen(&error.message);
        failure.connection_lost = error.closed;
        failure
    };
    let own = backend(session, "").await.map_err(lost)?;
    let second = connect(target, startup).await;
    let second = Session::new(second.map_err(|error| unseen(&format!("no second connection: {error}")))?);
    let rounds = async {
        for _ in 0..ROUNDS {
            let other = match timeout(PATIENCE, backend(&second, "BEGIN; ")).await {
                Ok(Ok(other)) => other,
                // A pooler in statement mode takes no BEGIN.
                Ok(Err(error)) if error.message.contains("statement pooling mode") => return Err(not_kept()),
                Ok(Err(error)) => return Err(unseen(&error.message)),
                Err(_) => return Err(unseen("a second connection was given no backend")),
            };
            let still = backend(session, "").await.map_err(lost)?;
            second.send("ROLLBACK").await.map_err(|error| unseen(&error.message))?;
            if own == other || own != still || own != backend(session, "").await.map_err(lost)? {
                return Err(not_kept());
            }
        }
        Ok(())
    };
    let proven = rounds.await;
    second.abandon();
    proven
}

async fn backend(session: &Session, before: &str) -> Result<String, ServerError> {
    let rows = session
        .send(&format!("{before}SELECT pg_catalog.pg_backend_pid()"))
        .await?;
    let pid = rows.last().and_then(|row| row.get(0));
    Ok(pid.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rds_proxy_is_known_by_its_name() {
        for (host, expected) in [
            ("app.proxy-c1x2.eu-west-1.rds.amazonaws.com", true),
            ("APP.Proxy-c1x2.eu-west-1.rds.amazonaws.com.", true),
            ("ro.endpoint.proxy-c1x2.eu-west-1.rds.amazonaws.com", true),
            ("app.proxy-c1x2.cn-north-1.rds.amazonaws.com.cn", true),
            ("proxy-app.c1x2.eu-west-1.rds.amazonaws.com", false),
            ("app.cluster-c1x2.eu-west-1.rds.amazonaws.com", false),
            ("app.proxy-c1x2.example.com", false),
            ("/tmp", false),
        ] {
            assert_eq!(is_rds_proxy(&Host::new(host)), expected, "{host}");
        }
    }

    #[test]
    fn the_words_of_poolers() {
        for (sqlstate, message, expected) in [
            ("08P01", "unsupported startup parameter: options", true),
            ("08P01", "unsupported startup parameter in options: lock_timeout", true),
            (
                "08P01",
                "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed",
                true,
            ),
            (
                "0A000",
                "Feature not supported: RDS Proxy currently doesn’t support command-line options.",
                true,
            ),
            ("08P01", "no such database: x", false),
            (
                "0A000",
                "unsupported frontend protocol 1.0: server supports 3.0 to 3.0",
                false,
            ),
        ] {
            assert_eq!(refuses_options(sqlstate, message), expected, "{message}");
        }
    }

    #[test]
    fn startup_options_are_read_as_the_server_does() {
        let pairs = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            Some(owned.collect::<Vec<_>>())
        };
        for (options, expected) in [
            ("", pairs(&[])),
            ("  ", pairs(&[])),
            (
                "-c a=1 -cb=2  --my-c=3",
                pairs(&[("a", "1"), ("b", "2"), ("my_c", "3")]),
            ),
            (r"-c a=x\ y\\z", pairs(&[("a", r"x y\z")])),
            (r"-c a=\", pairs(&[("a", "")])),
            ("-c a=b=c", pairs(&[("a", "b=c")])),
            ("-c", None),
            ("-c a", None),
            ("-d 5", None),
            ("a=1", None),
        ] {
            assert_eq!(settings_in(options), expected, "{options}");
        }
    }
}
