//! Gets the artifact from S3: one GET of exactly the object that was asked for, into memory.

pub mod failure;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{ConfigBag, Intercept, ProvideCredentials, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::aws;
use failure::{Failure, S3Error};

/// How long one attempt may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one attempt may take until the answer begins; the SDK itself ends a body that stalls.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Which object to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key, not url-encoded.
    pub key: String,
    /// Exactly this version, even if a newer one exists.
    pub version_id: Option<String>,
    /// Without a version: only while the object still has this etag.
    pub etag: Option<String>,
}

/// An object, and what S3 said of it.
#[derive(Debug)]
pub struct Object {
    /// The whole object.
    pub bytes: Vec<u8>,
    /// Its version, in a bucket with versioning.
    pub version_id: Option<String>,
    /// Its etag, with the quotes that S3 puts around it.
    pub etag: Option<String>,
}

/// Reads an object of at most `limit` bytes, with the credentials, region and endpoint that the environment gives to any SDK program.
///
/// # Errors
/// See [`S3Error`].
pub async fn get(address: &Address, limit: u64) -> Result<Object, S3Error> {
    let sdk = aws::config().await;
    if sdk.region().is_none() {
        return Err(S3Error::NoRegion);
    }
    let attempts = Attempts::default();
    let client = client(sdk, attempts.clone()).await?;

    // The version says it all: with an etag beside it, S3 would compare the two and could only disagree.
    let if_match = address
        .etag
        .as_deref()
        .filter(|_| address.version_id.is_none())
        .map(quoted);
    let sent = client
        .get_object()
        .bucket(&address.bucket)
        .key(&address.key)
        .set_version_id(address.version_id.clone())
        .set_if_match(if_match)
        .send()
        .await;
    let region = sdk.region().map(ToString::to_string);
    let answer = sent.map_err(|error| Failure::of(&error).explain(address, region.as_deref(), attempts.count()))?;
    tracing::debug!(
        bucket = address.bucket,
        key = address.key,
        attempts = attempts.count(),
        "S3 answered"
    );

    let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
    if let Some(size) = size.filter(|&size| size > limit) {
        return Err(S3Error::TooLarge { size, limit });
    }
    let mut bytes = Vec::with_capacity(size.and_then(|size| usize::try_from(size).ok()).unwrap_or_default());
    let mut body = answer.body;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| S3Error::Body {
            received: bytes.len() as u64,
            reason: failure::innermost(&error),
        })?;
        bytes.extend_from_slice(&chunk);
        let size = bytes.len() as u64;
        if size > limit {
            return Err(S3Error::TooLarge { size, limit });
        }
    }
    Ok(Object {
        bytes,
        version_id: answer.version_id,
        etag: answer.e_tag,
    })
}

async fn client(sdk: &SdkConfig, attempts: Attempts) -> Result<Client, S3Error> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build();
    let mut config = aws_sdk_s3::config::Builder::from(sdk)
        .timeout_config(timeouts)
        .interceptor(attempts);
    // Another S3 than Amazon's seldom has a host name for each bucket. The SDK has no getter for the endpoint of S3 alone.
    let own_endpoint = std::env::var_os("AWS_ENDPOINT_URL_S3").is_some_and(|url| !url.is_empty());
    config = config.force_path_style(own_endpoint || sdk.endpoint_url().is_some());
    // Asked for here, and not by the SDK in the course of the request, so that their absence is told apart from S3's not answering.
    if let Some(provider) = sdk.credentials_provider() {
        let credentials = provider.provide_credentials().await;
        config = config.credentials_provider(credentials.map_err(|error| S3Error::NoCredentials {
            reason: failure::innermost(&error),
        })?);
    }
    Ok(Client::from_conf(config.build()))
}

fn quoted(etag: &str) -> String {
    match etag.starts_with(['"', 'W', '*']) {
        true => etag.to_owned(),
        false => format!("\"{etag}\""),
    }
}

/// Counts the attempts that the SDK makes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(Arc<AtomicU32>);

impl Attempts {
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "attempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_quoted_once() {
        assert_eq!(quoted("0a1b"), "\"0a1b\"");
        assert_eq!(quoted("\"0a1b-2\""), "\"0a1b-2\"");
    }
}
