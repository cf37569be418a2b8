//! rustls below the driver: the handshake, what came of it, and SCRAM's channel binding.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::{TlsConnector, client};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5912 as oid;

/// Makes the TLS connections of one session, and keeps what the last handshake came to: the driver does not hand the stream out.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    handshake: Arc<Mutex<Option<Handshake>>>,
}

/// What client and server agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// `TLSv1.3`, as PostgreSQL writes it.
    pub protocol: &'static str,
    /// The cipher suite by its name at IANA.
    pub suite: String,
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.protocol, self.suite)
    }
}

impl Handshake {
    fn of(connection: &ClientConnection) -> Option<Handshake> {
        let suite = connection.negotiated_cipher_suite()?.suite();
        Some(Handshake {
            protocol: match connection.protocol_version()? {
                ProtocolVersion::TLSv1_2 => "TLSv1.2",
                ProtocolVersion::TLSv1_3 => "TLSv1.3",
                other => other.as_str()?,
            },
            // rustls tells the suites of TLS 1.3 apart by a prefix of its own.
            suite: suite.as_str()?.replacen("TLS13_", "TLS_", 1),
        })
    }
}

impl Connector {
    pub(super) fn new(config: ClientConfig) -> Connector {
        Connector {
            config: Arc::new(config),
            handshake: Arc::default(),
        }
    }

    /// The same settings for another session.
    pub(in crate::database) fn fresh(&self) -> Connector {
        Connector {
            config: Arc::clone(&self.config),
            handshake: Arc::default(),
        }
    }

    /// What the last handshake came to; none where there was none.
    pub(in crate::database) fn handshake(&self) -> Option<Handshake> {
        self.handshake.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = Connect;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, Infallible> {
        Ok(Connect {
            connector: self.clone(),
            host: host.to_owned(),
        })
    }
}

/// One handshake to come.
pub struct Connect {
    connector: Connector,
    host: String,
}

impl<S> TlsConnect<S> for Connect
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Connect { connector, host } = self;
            let host =
                ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let stream = TlsConnector::from(connector.config).connect(host, stream).await?;
            *connector.handshake.lock().unwrap_or_else(PoisonError::into_inner) = Handshake::of(stream.get_ref().1);
            Ok(Stream(stream))
        })
    }
}

/// An encrypted connection.
pub struct Stream<S>(client::TlsStream<S>);

impl<S> TlsStream for Stream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn channel_binding(&self) -> ChannelBinding {
        let certificates = self.0.get_ref().1.peer_certificates().unwrap_or_default();
        match certificates.first().and_then(end_point) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

/// The hash of the server's certificate by the hash function that its own signature uses, SHA-256 in the place of older ones; none where the signature
/// names no hash function (Ed25519). Source: RFC 5929, section 4.1.
fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let signature = Certificate::from_der(certificate).ok()?.signature_algorithm.oid;
    Some(match signature {
        oid::MD_5_WITH_RSA_ENCRYPTION
        | oid::SHA_1_WITH_RSA_ENCRYPTION
        | oid::SHA_256_WITH_RSA_ENCRYPTION
        | oid::ECDSA_WITH_SHA_256 => Sha256::digest(certificate).to_vec(),
        oid::SHA_384_WITH_RSA_ENCRYPTION | oid::ECDSA_WITH_SHA_384 => Sha384::digest(certificate).to_vec(),
        oid::SHA_512_WITH_RSA_ENCRYPTION | oid::ECDSA_WITH_SHA_512 => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
