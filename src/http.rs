//! Plain HTTP requests by the SDK's own client, for what has no SDK: CloudFormation's presigned URLs and the metadata of the ECS task.

use crate::artifact::s3::failure::innermost;
use crate::secret::Secret;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::http::Request;
use thiserror::Error;

/// Why a request came to nothing. The URL is never in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum HttpError {
    /// It cannot be asked at all.
    #[error("the URL cannot be used")]
    Url,
    /// No connection, or it broke.
    #[error("it could not be reached: {0}")]
    Unreachable(String),
    /// No answer within the time for one attempt.
    #[error("it did not answer in time")]
    Timeout,
    /// An answer that is not 2xx.
    #[error("it answered {0}")]
    Status(u16),
}

impl HttpError {
    /// Whether another attempt may come to something else.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            HttpError::Url => false,
            HttpError::Unreachable(_) | HttpError::Timeout => true,
            HttpError::Status(status) => *status >= 500 || matches!(status, 408 | 429),
        }
    }
}

/// A client.
#[derive(Debug)]
pub(crate) struct Http(Connector);

impl Http {
    /// For what is in this machine: never by a proxy.
    pub(crate) fn here() -> Http {
        Http(Connector::builder().build_http())
    }

    /// For what may be anywhere: over TLS, by the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`).
    pub(crate) fn anywhere() -> Http {
        let builder: ConnectorBuilder = Connector::builder().proxy_config(ProxyConfig::from_env());
        Http(builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build())
    }

    /// Fetches what the URL names.
    pub(crate) async fn get(&self, url: &str) -> Result<Vec<u8>, HttpError> {
        self.request("GET", url, SdkBody::empty()).await
    }

    /// Puts a body there, without a `Content-Type`: a presigned URL is signed for none.
    pub(crate) async fn put(&self, url: &Secret, body: &str) -> Result<(), HttpError> {
        self.request("PUT", url.expose(), SdkBody::from(body)).await.map(|_| ())
    }

    async fn request(&self, method: &str, url: &str, body: SdkBody) -> Result<Vec<u8>, HttpError> {
        let mut request = Request::new(body);
        request.set_method(method).map_err(|_| HttpError::Url)?;
        request.set_uri(url.to_owned()).map_err(|_| HttpError::Url)?;
        let answer = self.0.call(request).await;
        let answer = answer.map_err(|error| HttpError::Unreachable(innermost(&error)))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(HttpError::Status(status.as_u16()));
        }
        let body = ByteStream::new(answer.into_body()).collect().await;
        let body = body.map_err(|error| HttpError::Unreachable(innermost(&error)))?;
        Ok(body.to_vec())
    }
}
