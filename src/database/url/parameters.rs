//! The connection string's parameters: Prisma's, with `sslrootcert` and `hostaddr` of libpq.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;
use url::Url;

use super::{Note, UrlError};
use crate::database::target::{DEFAULT_CONNECT_TIMEOUT, Host};
use crate::database::tls::{Identity, Roots, TlsMode, TlsSettings};
use crate::secret::Secret;

/// Those that mean something here, or to Prisma.
pub(super) const KNOWN: &[&str] = &[
    "schema",
    "sslmode",
    "sslcert",
    "sslrootcert",
    "sslidentity",
    "sslpassword",
    "sslaccept",
    "host",
    "hostaddr",
    "connect_timeout",
    "socket_timeout",
    "connection_limit",
    "pool_timeout",
    "max_connection_lifetime",
    "max_idle_connection_lifetime",
    "single_use_connections",
    "pgbouncer",
    "statement_cache_size",
    "application_name",
    "options",
    "channel_binding",
];

/// Those of libpq that change nothing here.
const OF_LIBPQ: &[&str] = &[
    "sslkey",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "sslcompression",
    "sslcertmode",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "gssencmode",
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "require_auth",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "load_balance_hosts",
    "fallback_application_name",
    "client_encoding",
    "replication",
    "passfile",
    "service",
    "requirepeer",
    "uselibpqcompat",
];

/// What the log says of parameters that are not read.
pub(super) fn notes(ignored: Vec<String>) -> Vec<Note> {
    let (of_libpq, unknown): (Vec<String>, Vec<String>) =
        ignored.into_iter().partition(|name| OF_LIBPQ.contains(&name.as_str()));
    let mut notes = Vec::new();
    if !unknown.is_empty() {
        let named = unknown.into_iter().map(|name| {
            let like = KNOWN
                .iter()
                .copied()
                .filter(|known| strsim::damerau_levenshtein(known, &name) <= 2);
            let like = like.min_by_key(|known| strsim::damerau_levenshtein(known, &name));
            // What is no name may be a piece of a password.
            let is_name = name.len() <= 40 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
            let shown = if is_name {
                name
            } else {
                "one whose name is not shown".to_owned()
            };
            (shown, like)
        });
        notes.push(Note::Unknown(named.collect()));
    }
    if !of_libpq.is_empty() {
        notes.push(Note::Ignored(of_libpq));
    }
    notes
}

/// The query part.
pub(super) struct Parameters {
    pub(super) schema: Option<String>,
    mode: Option<TlsMode>,
    strict: Option<bool>,
    roots: Vec<PathBuf>,
    system_roots: bool,
    identity: Option<PathBuf>,
    identity_password: Option<Secret>,
    client_key: bool,
    pub(super) host: Option<String>,
    pub(super) hostaddr: Option<IpAddr>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) application_name: Option<String>,
    pub(super) options: Option<String>,
    pub(super) channel_binding: ChannelBinding,
}

impl Parameters {
    /// The parameters, and the names of those that are not known.
    pub(super) fn read(url: &Url) -> Result<(Self, Vec<String>), UrlError> {
        let mut ignored: Vec<String> = Vec::new();
        for (name, _) in url.query_pairs() {
            if !KNOWN.contains(&&*name) && !name.is_empty() && !ignored.iter().any(|known| *known == name) {
                ignored.push(name.into_owned());
            }
        }
        let last = |name: &str| {
            let value = url
                .query_pairs()
                .filter(|(n, _)| n == name)
                .last()
                .map(|(_, value)| value.into_owned());
            value.filter(|value| !value.is_empty())
        };
        let number = |name: &'static str| -> Result<Option<u64>, UrlError> {
            let error = UrlError::Parameter {
                name,
                expected: "a whole number",
            };
            last(name).map(|value| value.parse().map_err(|_| error)).transpose()
        };
        for name in [
            "socket_timeout",
            "connection_limit",
            "pool_timeout",
            "statement_cache_size",
        ] {
            number(name)?;
        }
        for name in ["max_connection_lifetime", "max_idle_connection_lifetime"] {
            number(name)?;
        }
        for name in ["pgbouncer", "single_use_connections"] {
            if !matches!(last(name).as_deref(), None | Some("true" | "false")) {
                return Err(UrlError::Parameter {
                    name,
                    expected: "true or false",
                });
            }
        }
        let system = |path: &String| path == "system";
        let sslrootcert = last("sslrootcert");
        let parameters = Self {
            schema: last("schema"),
            mode: last("sslmode").map(|mode| sslmode(&mode)).transpose()?,
            strict: match last("sslaccept").as_deref() {
                None => None,
                Some("strict") => Some(true),
                Some("accept_invalid_certs") => Some(false),
                Some(_) => {
                    return Err(UrlError::Parameter {
                        name: "sslaccept",
                        expected: "strict or accept_invalid_certs",
                    });
                }
            },
            system_roots: sslrootcert.as_ref().is_some_and(system),
            roots: sslrootcert
                .filter(|p| !system(p))
                .into_iter()
                .chain(last("sslcert"))
                .map(PathBuf::from)
                .collect(),
            identity: last("sslidentity").map(PathBuf::from),
            identity_password: last("sslpassword").map(Secret::new),
            client_key: ignored.iter().any(|name| name == "sslkey"),
            host: last("host"),
            hostaddr: last("hostaddr")
                .map(|address| {
                    address.parse().map_err(|_| UrlError::Parameter {
                        name: "hostaddr",
                        expected: "an IP address",
                    })
                })
                .transpose()?,
            connect_timeout: match number("connect_timeout")? {
                None => Some(DEFAULT_CONNECT_TIMEOUT),
                Some(0) => None,
                // A timer cannot reach further than this, and nobody waits for a year.
                Some(seconds) => Some(Duration::from_secs(seconds.min(31_536_000))),
            },
            application_name: last("application_name"),
            options: last("options"),
            channel_binding: match last("channel_binding").as_deref() {
                None | Some("prefer") => ChannelBinding::Prefer,
                Some("disable") => ChannelBinding::Disable,
                Some("require") => ChannelBinding::Require,
                Some(_) => {
                    let expected = "disable, prefer or require";
                    return Err(UrlError::Parameter {
                        name: "channel_binding",
                        expected,
                    });
                }
            },
        };
        Ok((parameters, ignored))
    }

    /// What the TLS parameters mean together.
    ///
    /// `sslmode` means what PostgreSQL's documentation says ("SSL Support"), and on a host of Amazon RDS it is verify-full by default; Prisma's `sslaccept=strict` raises prefer and require to
    /// verify-full, and its `accept_invalid_certs` keeps a named authority from raising require, but never lowers a mode that verifies.
    pub(super) fn tls(&self, host: &Host) -> Result<(TlsSettings, Vec<Note>), UrlError> {
        let mut notes = Vec::new();
        let usual = TlsSettings::usual(host);
        let named_root = !self.roots.is_empty();
        if self.system_roots && self.mode.is_some_and(|mode| mode != TlsMode::VerifyFull) {
            return Err(UrlError::WeakSystemRoots);
        }
        let asked = match self.mode {
            None if self.system_roots => TlsMode::VerifyFull,
            None => usual.mode,
            Some(mode) => mode,
        };
        let mode = match asked {
            TlsMode::Prefer | TlsMode::Require if self.strict == Some(true) => TlsMode::VerifyFull,
            TlsMode::Require if named_root && self.strict.is_none() => TlsMode::VerifyCa,
            mode => mode,
        };
        if mode == TlsMode::Disable && self.strict == Some(true) {
            notes.push(Note::StrictWithoutTls);
        }
        if mode != TlsMode::VerifyFull && host.rds().is_some() {
            notes.push(Note::WeakOnRds(mode));
        }
        if named_root && !mode.verifies() {
            notes.push(Note::RootUnused);
        }
        if self.client_key {
            notes.push(Note::ClientKey);
        }
        let settings = TlsSettings {
            mode,
            explicit: self.mode.is_some() || self.strict.is_some() || self.system_roots,
            roots: match (named_root, self.system_roots) {
                (true, _) => Roots::Files(self.roots.clone()),
                (false, true) => Roots::System,
                (false, false) => usual.roots,
            },
            identity: self.identity.clone().map(|file| Identity {
                file,
                password: self.identity_password.clone(),
            }),
        };
        Ok((settings, notes))
    }
}

fn sslmode(mode: &str) -> Result<TlsMode, UrlError> {
    Ok(match mode {
        "disable" => TlsMode::Disable,
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            let expected = "disable, allow, prefer, require, verify-ca or verify-full";
            return Err(UrlError::Parameter {
                name: "sslmode",
                expected,
            });
        }
    })
}
