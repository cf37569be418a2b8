//! Why a connection string cannot be used, and what of it the log should mention.

use std::fmt;

use crate::database::tls::TlsMode;
use crate::exit::Exit;

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
    /// `host:port` where only a host belongs. An IPv6 address has several colons and is a host.
    #[error("the host contains a port")]
    HostWithPort,
    /// The JSON of a secret, whole.
    #[error("the connection string is the JSON of a whole secret")]
    Json,
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
            Self::HostWithPort => "give the host alone (DB_HOST), and the port by itself (DB_PORT)",
            Self::Json => {
                "name the key of the secret that holds it (in a task definition: valueFrom SECRET-ARN:KEY::), or give DB_SECRET_ARN"
            }
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
    /// Parameters that nothing knows, by name: each with the known one that is like it, if there is one.
    Unknown(Vec<(String, Option<&'static str>)>),
    /// Parameters of libpq that mean nothing here, by name: for the debug log.
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
            Self::Unknown(names) => {
                let named = |(name, like): &(String, Option<&'static str>)| match (name.as_str(), like) {
                    (name @ ("port" | "user" | "password" | "dbname"), _) => {
                        format!("{name} (it is not read here: it belongs before the question mark)")
                    }
                    (name, Some(like)) => format!("{name} (did you mean {like}?)"),
                    (name, None) => name.escape_debug().to_string(),
                };
                let names: Vec<String> = names.iter().map(named).collect();
                write!(f, "the connection string has parameters that are not known and have no effect: {}", names.join(", "))
            }
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
