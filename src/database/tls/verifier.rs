//! The server's certificate, checked as far as `sslmode` asks, and what is wrong with it in words.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_cert::der::{Decode, Encode};

use super::rds::Endpoint;
use super::{Roots, TlsMode};
use crate::database::target::{Host, Target};

/// The server's certificate, checked as far as the mode asks.
///
/// The handshake's signature is verified in every mode: without it a server could show a certificate whose key it does not have, and SCRAM's channel
/// binding would bind to nothing.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) mode: TlsMode,
    pub(super) roots: RootCertStore,
    pub(super) provider: Arc<CryptoProvider>,
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

/// What is wrong with the TLS of this target's server, in words; `None` for what only rustls' own text can say.
pub(in crate::database) fn explain(error: &rustls::Error, target: &Target) -> Option<String> {
    use rustls::{AlertDescription as Alert, Error};
    Some(match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => untrusted(target),
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

fn untrusted(target: &Target) -> String {
    let what = "the server's certificate does not come from a trusted authority";
    match (&target.host, &target.tls.roots) {
        (Host::Tcp(host), Roots::Amazon) => match Endpoint::of(host) {
            Some(endpoint) => format!("{what}: {}", endpoint.untrusted()),
            None => what.to_owned(),
        },
        (_, roots) => format!("{what}: it was checked against {roots}"),
    }
}
