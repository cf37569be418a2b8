//! Cancelling what a session runs.

use super::error::{ConnectError, Stage};
use super::target::{Host, Target};
use super::tls::Connector;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Error};

/// How long a request to cancel is given to be read.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);

/// The way to cancel a session's running statement: a connection of its own, protected as the session's is.
///
/// The driver's own way closes that connection as soon as the request is written. A pooler that has not read it by then drops it with its client. So the
/// connection is made here, and closed only after the other side has closed it, as libpq does.
#[derive(Clone)]
pub struct Cancel {
    pub(super) token: CancelToken,
    pub(super) tls: Connector,
    pub(super) target: Target,
    /// Where the session is; none for a socket's file.
    pub(super) address: Option<IpAddr>,
}

impl Cancel {
    /// Asks the server to cancel what the session runs, and waits until the request is taken. The server does not say whether there was something to
    /// cancel, nor when it is done.
    ///
    /// # Errors
    /// The server could not be reached within the target's connect timeout.
    pub async fn send(&self) -> Result<(), ConnectError> {
        let Some(limit) = self.target.connect_timeout else {
            return self.request().await;
        };
        timeout(limit, self.request()).await.unwrap_or_else(|_| {
            Err(ConnectError::TimedOut {
                server: self.target.describe_server(),
                stage: Stage::Startup,
                after: limit,
            })
        })
    }

    async fn request(&self) -> Result<(), ConnectError> {
        match (&self.target.host, self.address) {
            (Host::Socket(folder), _) => {
                let path = folder.join(format!(".s.PGSQL.{}", self.target.port));
                let stream = UnixStream::connect(path).await.and_then(|stream| stream.into_std());
                let two = stream.and_then(|stream| {
                    let other = stream.try_clone()?;
                    Ok((UnixStream::from_std(stream)?, UnixStream::from_std(other)?))
                });
                let (stream, rest) = two.map_err(|cause| self.unreachable(cause))?;
                self.over(stream, "", rest).await
            }
            (Host::Tcp(host), Some(address)) => {
                let stream = TcpStream::connect((address, self.target.port)).await;
                let two = stream.and_then(TcpStream::into_std).and_then(|stream| {
                    let other = stream.try_clone()?;
                    Ok((TcpStream::from_std(stream)?, TcpStream::from_std(other)?))
                });
                let (stream, rest) = two.map_err(|cause| self.unreachable(cause))?;
                self.over(stream, host, rest).await
            }
            (Host::Tcp(_), None) => Err(self.unreachable(io::Error::from(io::ErrorKind::AddrNotAvailable))),
        }
    }

    /// Writes the request to a stream that the driver consumes, and reads the same connection to its end by `rest`.
    async fn over<S>(&self, stream: S, host: &str, mut rest: impl AsyncRead + Unpin) -> Result<(), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut tls = self.tls.fresh();
        let Ok(connect) = MakeTlsConnect::<KeptOpen<S>>::make_tls_connect(&mut tls, host);
        let written = self.token.cancel_query_raw(KeptOpen(stream), KeptOpen(connect)).await;
        written.map_err(|error: Error| ConnectError::from_driver(error, &self.target, self.target.connect_timeout))?;
        let mut chunk = [0; 256];
        // A reset is an end too. Whoever keeps the connection open has had the time to read the request.
        let end = async { while let Ok(1..) = rest.read(&mut chunk).await {} };
        let _ = timeout(TAKEN_WITHIN, end).await;
        Ok(())
    }

    fn unreachable(&self, cause: io::Error) -> ConnectError {
        ConnectError::Unreachable {
            server: self.target.describe_server(),
            cause,
        }
    }
}

/// A connection whose writing side the driver does not close.
struct KeptOpen<S>(S);

impl<S, C> TlsConnect<S> for KeptOpen<C>
where
    C: TlsConnect<S>,
    C::Future: Send + 'static,
    C::Stream: 'static,
{
    type Stream = KeptOpen<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<KeptOpen<C::Stream>, C::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connected = self.0.connect(stream);
        Box::pin(async move { connected.await.map(KeptOpen) })
    }
}

impl<S: TlsStream + Unpin> TlsStream for KeptOpen<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for KeptOpen<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KeptOpen<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
