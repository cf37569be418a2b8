//! Where to go: one validated description, however it was given.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;

use super::credentials::Credentials;
use super::tls::rds::Endpoint;
use super::tls::{Roots, TlsMode, TlsSettings};
use super::url::UrlError;
use crate::printable::printable_name;
use crate::secret::Secret;

/// PostgreSQL's port where none is given.
pub const DEFAULT_PORT: u16 = 5432;
/// The database where none is given, as Prisma has it.
pub const DEFAULT_DATABASE: &str = "postgres";
/// What one attempt to connect may take where the URL does not say, as Prisma has it.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A host name or an IP address, IPv6 without brackets.
    Tcp(String),
    /// The directory of a Unix-domain socket, absolute.
    Socket(PathBuf),
}

impl Host {
    /// A text that begins with `/` is a socket's directory, everything else a host: libpq's rule.
    pub(super) fn new(text: &str) -> Self {
        if text.starts_with('/') {
            Self::Socket(PathBuf::from(text))
        } else {
            Self::Tcp(text.to_owned())
        }
    }

    /// The endpoint of Amazon RDS that this is, if it is one.
    pub(super) fn rds(&self) -> Option<Endpoint> {
        match self {
            Self::Tcp(host) => Endpoint::of(host),
            Self::Socket(_) => None,
        }
    }
}

/// A database, the user to be there, and how to reach it. Made by [`Target::from_url`] or [`Target::from_parts`].
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's address.
    pub host: Host,
    /// The address to connect to in the place of those that the host's name has; the name is still the one that is verified. For tunnels.
    pub hostaddr: Option<IpAddr>,
    /// The TCP port; for a socket the number in its file's name.
    pub port: u16,
    /// The database's name, decoded.
    pub database: String,
    /// The user's name, decoded. Empty: the operating system's user, as libpq has it.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// Where user and password come from at each attempt to connect: those above, or what takes their place.
    pub credentials: Credentials,
    /// Prisma's `schema`: the one and only entry of the search path. `None`: the search path is the server's.
    pub schema: Option<String>,
    /// Whether and how the connection is encrypted and the server verified.
    pub tls: TlsSettings,
    /// Whether SCRAM is bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// What one attempt may take, name lookup to first `ReadyForQuery`. `None`: for ever.
    pub connect_timeout: Option<Duration>,
    /// The user's own `application_name`.
    pub application_name: Option<String>,
    /// The user's own startup `options`, in libpq's form (`-c name=value …`).
    pub options: Option<String>,
}

/// The single values of a [`Target`], as a container's environment gives them (`DB_HOST` and its kin). Nothing in them is encoded.
#[derive(Clone, Debug)]
pub struct Parts {
    /// A host name, an IP address (IPv6 with or without brackets) or a socket's directory.
    pub host: String,
    /// The port; [`DEFAULT_PORT`] where `None`.
    pub port: Option<u16>,
    /// The database; [`DEFAULT_DATABASE`] where `None`.
    pub database: Option<String>,
    /// The user.
    pub user: String,
    /// The password, byte for byte.
    pub password: Option<Secret>,
    /// The schema, as the URL's `schema`.
    pub schema: Option<String>,
    /// The authorities to trust instead of the usual ones: then the server is verified in full. `None`: an Amazon RDS host is verified in
    /// full, elsewhere there is TLS where the server has it.
    pub roots: Option<Roots>,
}

impl Target {
    /// A target from single values, each taken as it is.
    ///
    /// # Errors
    /// An empty or impossible host, or a NUL in a value: what the URL's parser refuses too.
    pub fn from_parts(parts: Parts) -> Result<Self, UrlError> {
        let Parts {
            host,
            port,
            database,
            user,
            password,
            schema,
            roots,
        } = parts;
        let host = host.trim();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let host = Host::new(host);
        let tls = match roots {
            Some(roots) => TlsSettings {
                mode: TlsMode::VerifyFull,
                explicit: true,
                roots,
                ..TlsSettings::default()
            },
            None => TlsSettings::usual(&host),
        };
        Self {
            host,
            hostaddr: None,
            port: port.unwrap_or(DEFAULT_PORT),
            database: database
                .filter(|d| !d.is_empty())
                .unwrap_or_else(|| DEFAULT_DATABASE.to_owned()),
            user,
            password,
            credentials: Credentials::Given,
            schema: schema.filter(|s| !s.is_empty()),
            tls,
            channel_binding: ChannelBinding::Prefer,
            connect_timeout: Some(DEFAULT_CONNECT_TIMEOUT),
            application_name: None,
            options: None,
        }
        .validated()
    }

    /// The checks that hold however the target was given.
    pub(super) fn validated(self) -> Result<Self, UrlError> {
        match &self.host {
            Host::Tcp(host) if host.is_empty() => return Err(UrlError::HostMissing),
            Host::Tcp(host) if host.contains(',') => return Err(UrlError::SeveralHosts),
            Host::Tcp(host) if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c)) => {
                return Err(UrlError::Host);
            }
            // Only an IPv6 address holds colons, with its zone behind a percent sign. What looks like host:port would be looked for in DNS for a minute.
            Host::Tcp(host) if has_port(host) => return Err(UrlError::HostWithPort),
            _ => {}
        }
        if self.port == 0 {
            return Err(UrlError::Port);
        }
        let texts = [
            ("user", Some(self.user.as_str())),
            ("database", Some(self.database.as_str())),
            ("password", self.password.as_ref().map(Secret::expose)),
            ("schema", self.schema.as_deref()),
            ("application_name", self.application_name.as_deref()),
            ("options", self.options.as_deref()),
        ];
        match texts.iter().find(|(_, text)| text.is_some_and(|t| t.contains('\0'))) {
            Some((part, _)) => Err(UrlError::Nul { part }),
            None => Ok(self),
        }
    }

    /// Whether the password ends in a line break, as one that was read from a file often does.
    pub fn password_ends_in_a_line_break(&self) -> bool {
        let password = self.password.as_ref().map(Secret::expose);
        password.is_some_and(|password| password.ends_with(['\n', '\r']))
    }

    /// The same server and user, another database, no schema.
    pub(super) fn at_database(&self, database: &str) -> Self {
        Self {
            database: database.to_owned(),
            schema: None,
            ..self.clone()
        }
    }

    /// Whether TLS can be used at all: PostgreSQL has none on a Unix-domain socket, and libpq ignores `sslmode` there.
    pub(super) fn can_have_tls(&self) -> bool {
        matches!(self.host, Host::Tcp(_))
    }

    /// `host:port/database` for messages: no user, no secret.
    pub fn describe(&self) -> String {
        format!("{}/{}", self.describe_server(), self.database.escape_debug())
    }

    /// `host:port` for messages; `directory:port` for a socket.
    pub fn describe_server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn has_port(host: &str) -> bool {
    let address = host.split('%').next().unwrap_or(host);
    host.contains(':') && address.parse::<std::net::Ipv6Addr>().is_err()
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) if host.contains(':') => write!(f, "[{}]", printable_name(host)),
            Self::Tcp(host) => f.write_str(&printable_name(host)),
            Self::Socket(directory) => f.write_str(&printable_name(&directory.to_string_lossy())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(host: &str) -> Parts {
        Parts {
            host: host.to_owned(),
            port: None,
            database: None,
            user: "app".to_owned(),
            password: None,
            schema: None,
            roots: None,
        }
    }

    #[test]
    fn parts_have_prismas_defaults() {
        let target = Target::from_parts(parts("db.example.com")).unwrap();
        assert_eq!(target.describe(), "db.example.com:5432/postgres");
        assert_eq!(target.connect_timeout, Some(Duration::from_secs(5)));
        assert_eq!(target.tls.mode, TlsMode::Prefer);
        assert_eq!(target.schema, None);
    }

    #[test]
    fn any_password_is_taken_as_it_is() {
        for password in ["a@b/c#d?e:f%41 g", "%", "\u{1F511}\n\t", "'\"\\$", ""] {
            let with = Parts {
                password: Some(Secret::new(password)),
                ..parts("h")
            };
            let target = Target::from_parts(with).unwrap();
            assert_eq!(target.password.unwrap().expose(), password);
        }
    }

    #[test]
    fn hosts() {
        for (given, shown) in [
            ("::1", "[::1]:5432/postgres"),
            ("[fe80::1]", "[fe80::1]:5432/postgres"),
            ("fe80::1%eth0", "[fe80::1%eth0]:5432/postgres"),
            ("/var/run/postgresql", "/var/run/postgresql:5432/postgres"),
            (" db ", "db:5432/postgres"),
        ] {
            assert_eq!(Target::from_parts(parts(given)).unwrap().describe(), shown);
        }
        for (given, error) in [
            ("", UrlError::HostMissing),
            ("a,b", UrlError::SeveralHosts),
            ("a b", UrlError::Host),
            ("db.example.com:5432", UrlError::HostWithPort),
            ("127.0.0.1:5432", UrlError::HostWithPort),
            ("[::1]:5432", UrlError::HostWithPort),
            ("db:", UrlError::HostWithPort),
            ("postgresql://u:hunter2@h", UrlError::Host),
        ] {
            assert_eq!(Target::from_parts(parts(given)).unwrap_err(), error);
        }
    }

    #[test]
    fn a_ca_file_means_full_verification() {
        let with = Parts {
            roots: Some(Roots::Files(vec![PathBuf::from("/ca.pem")])),
            ..parts("h")
        };
        let target = Target::from_parts(with).unwrap();
        assert_eq!(target.tls.mode, TlsMode::VerifyFull);
        assert_eq!(target.tls.roots, Roots::Files(vec![PathBuf::from("/ca.pem")]));
    }

    #[test]
    fn an_rds_host_is_verified_in_full() {
        let tls = |host: &str, ca_file: Option<&str>| {
            let with = Parts {
                roots: ca_file.map(|file| Roots::Files(vec![PathBuf::from(file)])),
                ..parts(host)
            };
            let tls = Target::from_parts(with).unwrap().tls;
            (tls.mode, tls.roots)
        };
        let (full, file) = (TlsMode::VerifyFull, Roots::Files(vec![PathBuf::from("/ca.pem")]));
        let instance = "shop.c9a.eu-west-1.rds.amazonaws.com";
        let proxy = "shop.proxy-c9a.eu-west-1.rds.amazonaws.com";
        assert_eq!(tls(instance, None), (full, Roots::Amazon));
        assert_eq!(tls(proxy, None), (full, Roots::System));
        assert_eq!(tls(instance, Some("/ca.pem")), (full, file.clone()));
        assert_eq!(tls(proxy, Some("/ca.pem")), (full, file));
        assert_eq!(tls("db.internal", None), (TlsMode::Prefer, Roots::System));
        assert_eq!(tls("/run/postgresql", None), (TlsMode::Prefer, Roots::System));
    }

    #[test]
    fn nul_is_refused_wherever_it_is() {
        let with = Parts {
            password: Some(Secret::new("a\0b")),
            ..parts("h")
        };
        assert_eq!(
            Target::from_parts(with).unwrap_err(),
            UrlError::Nul { part: "password" }
        );
    }

    #[test]
    fn debug_shows_no_password() {
        let with = Parts {
            password: Some(Secret::new("hunter2")),
            ..parts("h")
        };
        assert!(!format!("{:?}", Target::from_parts(with).unwrap()).contains("hunter2"));
    }
}
