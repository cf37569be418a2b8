//! TLS by rustls: what each `sslmode` verifies, and the client's own certificate.
//!
//! The provider (aws-lc-rs) is passed explicitly: nothing is installed for the whole process.

mod connector;
pub mod rds;
mod verifier;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

pub use self::connector::{Connector, Handshake};
use self::verifier::Verifier;
pub(super) use self::verifier::explain;
use super::target::Host;
use crate::artifact::s3::failure::S3Error;
use crate::artifact::s3::{self, Address};
use crate::artifact::{Source, SourceError};
use crate::secret::Secret;

/// The largest file of authorities that is read from S3: Amazon's global bundle has 170 kB.
const LARGEST_BUNDLE: u64 = 1 << 20;

/// How far the connection is protected: libpq's `sslmode`, with `allow` taken as `prefer`.
///
/// Source: PostgreSQL's documentation, "SSL Support", the table of sslmode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS if the server says that it has it, the server not verified.
    #[default]
    Prefer,
    /// TLS, the server not verified.
    Require,
    /// TLS, and the server's certificate comes from a trusted authority.
    VerifyCa,
    /// As [`TlsMode::VerifyCa`], and the certificate is for the host that was asked for.
    VerifyFull,
}

impl TlsMode {
    /// Whether the server must prove anything.
    pub fn verifies(self) -> bool {
        self >= Self::VerifyCa
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

/// The authorities that a server's certificate may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
    #[default]
    System,
    /// Amazon's for RDS, which travel in the program.
    Amazon,
    /// Those of these PEM files.
    Files(Vec<PathBuf>),
    /// Those of this PEM text.
    Text {
        /// The text.
        pem: String,
        /// Where it is from: a variable, or an object in S3.
        origin: String,
    },
    /// Those of a PEM file in S3, which is not read yet: [`TlsSettings::load`].
    Object(Address),
}

impl Roots {
    /// What a place of authorities names: a file, or an object as `s3://bucket/key`.
    ///
    /// # Errors
    /// It begins with `s3://` and goes on otherwise.
    pub fn of_place(place: &str) -> Result<Roots, SourceError> {
        if !place.starts_with("s3://") {
            return Ok(Roots::Files(vec![PathBuf::from(place)]));
        }
        match Source::parse(place)? {
            Source::S3(address) => Ok(Roots::Object(address)),
            _ => Ok(Roots::Files(vec![PathBuf::from(place)])),
        }
    }
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("the system's authorities"),
            Self::Amazon => f.write_str("Amazon's RDS roots"),
            Self::Files(files) => {
                let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                f.write_str(&files.join(" and "))
            }
            Self::Text { origin, .. } => f.write_str(origin),
            Self::Object(address) => write!(f, "{}", Source::S3(address.clone())),
        }
    }
}

/// What the connection string says of TLS, its parameters weighed against each other.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// How far the connection is protected.
    pub mode: TlsMode,
    /// Whether somebody asked for this mode, or it is the default.
    pub explicit: bool,
    /// Whose authority is trusted, where the server is verified.
    pub roots: Roots,
    /// The client's own certificate.
    pub identity: Option<Identity>,
}

/// A client's certificate and key, in a PKCS#12 file (Prisma's `sslidentity` and `sslpassword`).
#[derive(Clone, Debug)]
pub struct Identity {
    /// The file.
    pub file: PathBuf,
    /// Its password; `None` is the empty one.
    pub password: Option<Secret>,
}

/// Why TLS cannot be set up on our side: the connection has not been tried yet.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// A file of trusted certificates cannot be read, or is no PEM.
    #[error("cannot read the certificate file {}: {cause}", file.display())]
    ReadRoots {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: rustls::pki_types::pem::Error,
    },
    /// A certificate in the file cannot be an authority's.
    #[error("the certificate file {} holds a certificate that cannot be used: {cause}", file.display())]
    UnusableRoot {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: rustls::Error,
    },
    /// The file is PEM without a certificate.
    #[error("the certificate file {} holds no certificate", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A PEM text of trusted certificates cannot be used.
    #[error("the certificates of {origin} cannot be used: {cause}")]
    Text {
        /// Where it is from.
        origin: String,
        /// Why.
        cause: String,
    },
    /// The system (a bare container) has no trusted certificates.
    #[error("no trusted certificates were found on this system to verify the server with")]
    NoSystemRoots,
    /// The program was built with an unusable file in the place of Amazon's authorities.
    #[error("this build of the program holds none of Amazon's RDS roots")]
    NoAmazonRoots,
    /// The client's identity cannot be read.
    #[error("cannot read the client identity {}: {cause}", file.display())]
    ReadIdentity {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The client's identity cannot be opened: not PKCS#12, or another password.
    #[error("cannot open the client identity {} (is it PKCS#12, and is sslpassword right?): {cause}", file.display())]
    OpenIdentity {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: p12_keystore::error::Error,
    },
    /// The client's identity has no key with a certificate.
    #[error("the client identity {} holds no key with its certificate", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// rustls refuses the settings, mostly the client's key.
    #[error("{0}")]
    Refused(rustls::Error),
}

impl From<rustls::Error> for TlsSetupError {
    fn from(error: rustls::Error) -> Self {
        Self::Refused(error)
    }
}

impl TlsSettings {
    /// What holds for this host where nobody says otherwise: Amazon RDS is verified in full, since what verifies it travels in the program; anything
    /// else as PostgreSQL's own clients do.
    pub(super) fn usual(host: &Host) -> Self {
        let endpoint = host.rds();
        Self {
            mode: if endpoint.is_some() {
                TlsMode::VerifyFull
            } else {
                TlsMode::default()
            },
            roots: match endpoint {
                Some(endpoint) if !endpoint.proxy => Roots::Amazon,
                _ => Roots::System,
            },
            ..Self::default()
        }
    }

    /// Trusts these authorities, and verifies the server in full by them where nobody asked for another mode. False, and nothing changed, where files were
    /// named already.
    pub fn trust(&mut self, roots: Roots) -> bool {
        if matches!(self.roots, Roots::Files(_)) {
            return false;
        }
        self.roots = roots;
        self.mode = match (self.explicit, self.mode) {
            (false, _) => TlsMode::VerifyFull,
            // As libpq has it where there is a file of roots.
            (true, TlsMode::Require) => TlsMode::VerifyCa,
            (true, mode) => mode,
        };
        self.explicit = true;
        true
    }

    /// Reads the authorities that are in S3, once: every connection is verified by the same ones.
    ///
    /// # Errors
    /// The object cannot be had.
    pub async fn load(&mut self) -> Result<(), (Address, S3Error)> {
        let Roots::Object(address) = &self.roots else {
            return Ok(());
        };
        let read = s3::whole(address, LARGEST_BUNDLE).await;
        let bytes = read.map_err(|error| (address.clone(), error))?;
        self.roots = Roots::Text {
            pem: String::from_utf8_lossy(&bytes).into_owned(),
            origin: Source::S3(address.clone()).to_string(),
        };
        Ok(())
    }

    /// Whether a connection over TCP is encrypted in any case: else a server, or whoever poses as one, can have it in clear.
    pub fn is_certain(&self) -> bool {
        self.mode >= TlsMode::Require
    }

    /// How a session is protected whose handshake came to this: protocol, cipher suite and how the server was verified.
    pub fn describe(&self, handshake: Option<&Handshake>) -> String {
        match handshake {
            None => "no TLS".to_owned(),
            Some(handshake) if self.mode.verifies() => {
                format!("{handshake}, server verified ({}) against {}", self.mode, self.roots)
            }
            Some(handshake) => format!("{handshake}, server not verified"),
        }
    }

    /// The connector for these settings. With [`TlsMode::Disable`] it is never asked.
    ///
    /// # Errors
    /// A file that cannot be read or used; no authority to verify the server with.
    pub fn connector(&self) -> Result<Connector, TlsSetupError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = if self.mode.verifies() {
            self.roots()?
        } else {
            RootCertStore::empty()
        };
        let verifier = Arc::new(Verifier {
            mode: self.mode,
            roots,
            provider: Arc::clone(&provider),
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &self.identity {
            Some(identity) if self.mode != TlsMode::Disable => {
                let (chain, key) = identity.open()?;
                builder.with_client_auth_cert(chain, key)?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Connector::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsSetupError> {
        let mut store = RootCertStore::empty();
        let files = match &self.roots {
            Roots::System => {
                // What cannot be parsed or read is left out: a system's bundle often holds such a certificate, and the others still count.
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                return if store.is_empty() {
                    Err(TlsSetupError::NoSystemRoots)
                } else {
                    Ok(store)
                };
            }
            Roots::Amazon => {
                let roots = rds::roots();
                return if roots.is_empty() {
                    Err(TlsSetupError::NoAmazonRoots)
                } else {
                    Ok(roots)
                };
            }
            Roots::Text { pem, origin } => return of_text(pem, origin),
            Roots::Object(address) => {
                let origin = Source::S3(address.clone()).to_string();
                return of_text("", &origin);
            }
            Roots::Files(files) => files,
        };
        for file in files {
            let before = store.len();
            let unreadable = |cause| TlsSetupError::ReadRoots {
                file: file.clone(),
                cause,
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
                let certificate = certificate.map_err(unreadable)?;
                store.add(certificate).map_err(|cause| TlsSetupError::UnusableRoot {
                    file: file.clone(),
                    cause,
                })?;
            }
            if store.len() == before {
                return Err(TlsSetupError::NoCertificate { file: file.clone() });
            }
        }
        Ok(store)
    }
}

fn of_text(pem: &str, origin: &str) -> Result<RootCertStore, TlsSetupError> {
    let unusable = |cause: String| TlsSetupError::Text {
        origin: origin.to_owned(),
        cause,
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(format!("it is no PEM: {error}")))?;
        store.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(store)
}

impl Identity {
    fn open(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsSetupError> {
        let file: &Path = &self.file;
        let bytes = std::fs::read(file).map_err(|cause| TlsSetupError::ReadIdentity {
            file: file.to_owned(),
            cause,
        })?;
        let password = self.password.as_ref().map_or("", Secret::expose);
        let store = KeyStore::from_pkcs12(&bytes, password, Pkcs12ImportPolicy::Relaxed).map_err(|cause| {
            TlsSetupError::OpenIdentity {
                file: file.to_owned(),
                cause,
            }
        })?;
        let (_, chain) = store
            .private_key_chain()
            .ok_or_else(|| TlsSetupError::NoKey { file: file.to_owned() })?;
        let certificates = chain
            .certs()
            .iter()
            .map(|c| CertificateDer::from(c.as_der().to_vec()))
            .collect();
        Ok((
            certificates,
            PrivatePkcs8KeyDer::from(chain.key().as_der().to_vec()).into(),
        ))
    }
}
