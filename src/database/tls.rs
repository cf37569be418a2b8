//! TLS by rustls: what each `sslmode` verifies, and the client's own certificate.
//!
//! The provider (aws-lc-rs) is passed explicitly: nothing is installed for the whole process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::der::{Decode, Encode};

use crate::secret::Secret;

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

/// What the connection string says of TLS, its parameters weighed against each other.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// How far the connection is protected.
    pub mode: TlsMode,
    /// Whether somebody asked for this mode, or it is the default.
    pub explicit: bool,
    /// PEM files of trusted authorities. Empty: the system's.
    pub roots: Vec<PathBuf>,
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
    /// The system (a bare container) has no trusted certificates.
    #[error("no trusted certificates were found on this system to verify the server with")]
    NoSystemRoots,
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
    /// The connector for these settings. With [`TlsMode::Disable`] it is never asked.
    ///
    /// # Errors
    /// A file that cannot be read or used; no authority to verify the server with.
    pub fn connector(&self) -> Result<MakeRustlsConnect, TlsSetupError> {
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
        Ok(MakeRustlsConnect::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsSetupError> {
        let mut store = RootCertStore::empty();
        if self.roots.is_empty() {
            // What cannot be parsed or read is left out: a system's bundle often holds such a certificate, and the others still count.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if store.is_empty() {
                Err(TlsSetupError::NoSystemRoots)
            } else {
                Ok(store)
            };
        }
        for file in &self.roots {
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

/// The server's certificate, checked as far as the mode asks.
///
/// The handshake's signature is verified in every mode: without it a server could show a certificate whose key it does not have, and SCRAM's channel
/// binding would bind to nothing.
#[derive(Debug)]
struct Verifier {
    mode: TlsMode,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.mode.verifies() {
            let leaf = ParsedCertificate::try_from(leaf)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, algorithms)?;
            if self.mode == TlsMode::VerifyFull {
                verify_server_name(&leaf, host)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match verify_tls13_signature(message, certificate, signed, algorithms) {
            // A certificate of X.509 version 1, as PostgreSQL's manual makes them with OpenSSL before 3.2, is none for rustls. Where nothing is
            // asked of it, its key is enough.
            Err(rustls::Error::InvalidCertificate(_)) if !self.mode.verifies() => {
                verify_tls13_signature_with_raw_key(message, &public_key(certificate)?, signed, algorithms)
            }
            result => result,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
    let key = x509_cert::Certificate::from_der(certificate)
        .and_then(|certificate| certificate.tbs_certificate.subject_public_key_info.to_der())
        .map_err(|_| CertificateError::BadEncoding)?;
    Ok(key.into())
}

/// What is wrong with the server's TLS, in words; `None` for what only rustls' own text can say.
pub(super) fn explain(error: &rustls::Error) -> Option<String> {
    use rustls::{AlertDescription as Alert, Error};
    Some(match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "the server's certificate does not come from a trusted authority".into(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet (is a clock wrong?)".into()
            }
            CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
                "the server's certificate names no host (it needs a subjectAltName for {}; a common name does not count)",
                expected.to_str()
            ),
            CertificateError::NotValidForNameContext { expected, presented } => {
                // They come as `DnsName("host")` and `IpAddress(address)`.
                let bare = |name: &String| name.split(['(', ')']).nth(1).unwrap_or(name).replace('"', "");
                let names: Vec<String> = presented.iter().map(bare).collect();
                format!(
                    "the server's certificate is for {}, not for {}",
                    names.join(", "),
                    expected.to_str()
                )
            }
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the server shows an authority's certificate as its own (self-signed, with CA:TRUE)".into()
            }
            CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
                "the server's certificate is of X.509 version 1, which cannot be verified".into()
            }
            _ => return None,
        },
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnknownCA,
        ) => format!("the server refuses the client's certificate ({error})"),
        _ => return None,
    })
}
