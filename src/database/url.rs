//! Prisma's connection string, read into a [`Target`].
//!
//! The rules are Prisma's (WHATWG URL, its parameters and defaults), with PostgreSQL's own words for `sslmode`, `sslrootcert` and `hostaddr` added. Stricter than
//! Prisma in three places, since a guess there would go to another server or weaken the encryption: an unescaped reserved character is refused
//! wherever it can be told, an unknown value of `sslmode`, `sslaccept` or `channel_binding` is an error, and so is an impossible number.
//!
//! No error here shows any part of the URL: where a reserved character splits the password, every part may be a piece of it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::ChannelBinding;
use url::{ParseError, Url};

use super::credentials::Credentials;
use super::target::{DEFAULT_CONNECT_TIMEOUT, DEFAULT_DATABASE, DEFAULT_PORT, Host, Target};
use super::tls::{Identity, Roots, TlsMode, TlsSettings};
use crate::exit::Exit;
use crate::secret::Secret;

/// Why a connection string, or the single values in its place, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing was given.
    #[error("the connection string is empty")]
    Empty,
    /// It still has the quotation marks of a shell or an env file around it.
    #[error("the connection string begins with a quotation mark")]
    Quoted,
    /// Another scheme, or none.
    #[error("the connection string does not begin with postgresql:// or postgres://")]
    Scheme,
    /// `prisma://` or `prisma+postgres://`.
    #[error("the connection string is one of Prisma Accelerate or Prisma Postgres, which is not PostgreSQL's protocol")]
    Accelerate,
    /// A tab, a line break or another control character, which the URL's rules would drop without a word.
    #[error("the connection string holds a line break, a tab or another control character")]
    ControlCharacter,
    /// A reserved character stands where it splits the password, the user or the database's name.
    #[error("the connection string holds an unescaped reserved character (@, /, # or ?), most likely in the password")]
    Unescaped,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// As [`UrlError::Port`], in a URL: there what follows the first `:` may be the first piece of a password.
    #[error("invalid port number, or an unescaped reserved character (@, /, # or ?) in the password")]
    PortOrPassword,
    /// No host.
    #[error("no host is given")]
    HostMissing,
    /// The host cannot be one.
    #[error("the host is not a host name, an IP address or a socket's directory")]
    Host,
    /// Several hosts with commas, as libpq allows.
    #[error("several hosts are given")]
    SeveralHosts,
    /// After decoding, a part is not UTF-8.
    #[error("the {part} is not UTF-8 after percent-decoding")]
    NotUtf8 {
        /// Which part of the URL.
        part: &'static str,
    },
    /// A part holds a NUL, which PostgreSQL's protocol cannot carry.
    #[error("the {part} holds a NUL character")]
    Nul {
        /// Which part.
        part: &'static str,
    },
    /// A parameter's value is not one of those it can have.
    #[error("the parameter {name} is not {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// `sslrootcert=system` beside an sslmode that does not check the host name: anybody can have a certificate of a public authority.
    #[error("sslrootcert=system needs sslmode=verify-full")]
    WeakSystemRoots,
}

impl UrlError {
    /// Prisma's code.
    pub fn code(&self) -> &'static str {
        "P1013"
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        Exit::Usage
    }

    /// What to do about it.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Empty | Self::Scheme => "give postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or the DB_* variables",
            Self::Quoted => "remove the quotation marks: they belong to the shell or the env file, not to the value",
            Self::Accelerate => "give the direct connection string of the database, which begins with postgresql://",
            Self::ControlCharacter => "remove it, or percent-encode it when it belongs to the password",
            Self::Unescaped | Self::PortOrPassword => {
                "percent-encode the password (@ is %40, / is %2F, # is %23, ? is %3F, % is %25), \
                 or give it as it is in DB_PASSWORD with the other DB_* variables"
            }
            Self::Port => "give the server's port, mostly 5432",
            Self::HostMissing | Self::Host => "give the server's host name",
            Self::SeveralHosts => "give the host of the primary alone",
            Self::NotUtf8 { .. } | Self::Nul { .. } => "check how this part is percent-encoded",
            Self::Parameter { .. } => "correct the parameter, or leave it out",
            Self::WeakSystemRoots => "use sslmode=verify-full, or name the server's own authority in sslrootcert",
        }
    }
}

/// Something in the connection string that the log should mention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Parameters that are not known, by name: for the debug log.
    Ignored(Vec<String>),
    /// A host of Amazon RDS that is not verified in full, since this mode was asked for.
    WeakOnRds(TlsMode),
    /// A root certificate is named, but the settings do not have the server verified.
    RootUnused,
    /// `sslaccept=strict` beside `sslmode=disable`.
    StrictWithoutTls,
    /// `sslkey` is libpq's; Prisma's `sslcert` is an authority, not the client's certificate.
    ClientKey,
}

impl Note {
    /// Whether a person should see it; the others are for the debug log.
    pub fn is_warning(&self) -> bool {
        !matches!(self, Self::Ignored(_))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored(names) => {
                f.write_str("ignored parameters of the connection string:")?;
                names.iter().try_for_each(|name| write!(f, " {}", name.escape_debug()))
            }
            Self::WeakOnRds(mode) => {
                let (says, weak) = match mode {
                    TlsMode::Disable => ("sslmode=disable", "the connection is not encrypted"),
                    TlsMode::Prefer => ("sslmode=prefer", "the connection may be unencrypted, and the server is not verified"),
                    TlsMode::Require => ("sslmode=require", "the server is not verified"),
                    TlsMode::VerifyCa | TlsMode::VerifyFull => (
                        "sslmode=verify-ca",
                        "whoever has a certificate of the same authority can pose as the server",
                    ),
                };
                write!(
                    f,
                    "{says} on an Amazon RDS host: {weak}; without an sslmode it is verified in full (verify-full)"
                )
            }
            Self::RootUnused => f.write_str(
                "a root certificate is given, but the server is not verified: add sslmode=verify-full, or sslaccept=strict",
            ),
            Self::StrictWithoutTls => f.write_str("sslaccept=strict has no effect: sslmode=disable turns TLS off"),
            Self::ClientKey => f.write_str(
                "sslkey is ignored, and sslcert is read as an authority, as Prisma does: give a client certificate as PKCS#12 in sslidentity",
            ),
        }
    }
}

impl Target {
    /// Reads Prisma's connection string.
    ///
    /// Repeated parameters: the last one counts. Unknown ones are ignored and named in a note. File names are relative to the working directory.
    ///
    /// # Errors
    /// All are the caller's to correct (P1013); none holds a part of the URL.
    pub fn from_url(url: &Secret) -> Result<(Self, Vec<Note>), UrlError> {
        let url = parse(url.expose().trim())?;
        let (parameters, ignored) = Parameters::read(&url)?;

        let text = |part, text: &str| -> Result<String, UrlError> {
            let decoded = percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| UrlError::NotUtf8 { part })?;
            Ok(decoded.into_owned())
        };
        let host = match (&parameters.host, url.host_str()) {
            (Some(host), _) => host.clone(),
            (None, None | Some("")) => "localhost".to_owned(),
            (None, Some(host)) => text("host", host.trim_start_matches('[').trim_end_matches(']'))?,
        };
        let host = Host::new(&host);
        let database = text("database", url.path().trim_matches('/'))?;
        let (tls, mut notes) = parameters.tls(&host)?;
        if !ignored.is_empty() {
            notes.push(Note::Ignored(ignored));
        }
        let target = Self {
            host,
            hostaddr: parameters.hostaddr,
            port: url.port().unwrap_or(DEFAULT_PORT),
            database: if database.is_empty() {
                DEFAULT_DATABASE.to_owned()
            } else {
                database
            },
            user: text("user", url.username())?,
            password: url
                .password()
                .map(|p| text("password", p))
                .transpose()?
                .map(Secret::new),
            credentials: Credentials::Given,
            schema: parameters.schema,
            tls,
            channel_binding: parameters.channel_binding,
            connect_timeout: parameters.connect_timeout,
            application_name: parameters.application_name,
            options: parameters.options,
        };
        Ok((target.validated()?, notes))
    }
}

/// The URL's grammar, and the checks that tell an unescaped reserved character from a strange but honest URL.
fn parse(text: &str) -> Result<Url, UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.starts_with(['"', '\'']) {
        return Err(UrlError::Quoted);
    }
    if text.contains(char::is_control) {
        return Err(UrlError::ControlCharacter);
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "postgresql" | "postgres" => {}
        "prisma" | "prisma+postgres" => return Err(UrlError::Accelerate),
        _ => return Err(UrlError::Scheme),
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.rsplit('@').next().is_some_and(|host| host.contains(',')) {
        return Err(UrlError::SeveralHosts);
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => UrlError::PortOrPassword,
        ParseError::EmptyHost => UrlError::HostMissing,
        _ => UrlError::Host,
    })?;

    // A password split by '/', '?' or '#' leaves the real '@' behind in what then looks like path, query or fragment.
    let path = url.path().trim_matches('/');
    if url.fragment().is_some() || path.contains(['@', '/']) {
        return Err(UrlError::Unescaped);
    }
    if url.port() == Some(0) {
        return Err(UrlError::PortOrPassword);
    }
    for pair in url.query().unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name.contains(['@', '/']) || (value.contains('@') && !KNOWN.contains(&name)) {
            return Err(UrlError::Unescaped);
        }
    }
    Ok(url)
}

/// Prisma's parameters and libpq's `sslrootcert` and `hostaddr`.
const KNOWN: &[&str] = &[
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

/// The query part.
struct Parameters {
    schema: Option<String>,
    mode: Option<TlsMode>,
    strict: Option<bool>,
    roots: Vec<PathBuf>,
    system_roots: bool,
    identity: Option<PathBuf>,
    identity_password: Option<Secret>,
    client_key: bool,
    host: Option<String>,
    hostaddr: Option<IpAddr>,
    connect_timeout: Option<Duration>,
    application_name: Option<String>,
    options: Option<String>,
    channel_binding: ChannelBinding,
}

impl Parameters {
    /// The parameters, and the names of those that are not known.
    fn read(url: &Url) -> Result<(Self, Vec<String>), UrlError> {
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
    fn tls(&self, host: &Host) -> Result<(TlsSettings, Vec<Note>), UrlError> {
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

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
