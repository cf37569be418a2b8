//! The artifact in S3: exactly the object that was asked for, and of its bytes only those that are needed.

mod attempts;
mod beside;
pub mod failure;
mod multipart;
mod object;
mod ranges;
mod reader;

use std::io::Read;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ProvideCredentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_types::service_config::ServiceConfigKey;

use crate::aws;
pub(crate) use attempts::Attempts;
use failure::{Failure, S3Error};
pub use multipart::Multipart;
pub use object::Object;
pub use reader::{ObjectReader, read};

/// How long one attempt may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one attempt may take until the answer begins; the SDK itself ends a body that stalls.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How often storing an object is tried, and the longest pause between two attempts.
const PUT_ATTEMPTS: u32 = 20;
const PUT_BACKOFF: Duration = Duration::from_secs(5);

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

/// S3, with the credentials, region and endpoint that the environment gives to any SDK program.
#[derive(Clone, Debug)]
pub struct S3 {
    pub(crate) client: Client,
    pub(crate) region: Option<String>,
}

impl S3 {
    /// Reads the environment, and asks for credentials.
    ///
    /// # Errors
    /// No region, no credentials.
    pub async fn of_environment() -> Result<Self, S3Error> {
        let sdk = aws::config().await;
        if sdk.region().is_none() {
            return Err(S3Error::NoRegion);
        }
        Ok(S3 {
            client: client(&sdk).await?,
            region: sdk.region().map(ToString::to_string),
        })
    }

    /// Finds an object. Of its bytes, at most `limit` are read, however often they are asked for.
    ///
    /// # Errors
    /// See [`S3Error`].
    pub async fn find(&self, address: &Address, limit: u64) -> Result<Object, S3Error> {
        Object::find(self.client.clone(), address.clone(), self.region.clone(), limit).await
    }
}

/// All of an object of at most `limit` bytes, for what is read as a whole.
///
/// # Errors
/// See [`S3Error`].
pub async fn whole(address: &Address, limit: u64) -> Result<Vec<u8>, S3Error> {
    let object = S3::of_environment().await?.find(address, limit).await?;
    let read = read(object, |reader| {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    read.await?.map_err(|error| S3Error::Request(error.to_string()))
}

/// What S3 calls an object that it has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// In a bucket with versioning.
    pub version_id: Option<String>,
    /// With its quotes.
    pub etag: Option<String>,
}

/// Stores an object with its SHA-256, which S3 compares with what arrived, and keeps. What passes (no connection, 5xx, SlowDown) is tried again for a
/// minute and more: whoever has less time gives it up.
///
/// # Errors
/// See [`S3Error`].
pub async fn put(address: &Address, content_type: &str, content: Vec<u8>) -> Result<Stored, S3Error> {
    let S3 { client, region } = S3::of_environment().await?;
    let attempts = Attempts::default();
    let request = client
        .put_object()
        .bucket(&address.bucket)
        .key(&address.key)
        .content_type(content_type)
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .body(content.into())
        .customize()
        .config_override(aws_sdk_s3::config::Config::builder().retry_config(persistent()))
        .interceptor(attempts.clone());
    match request.send().await {
        Ok(stored) => Ok(Stored {
            version_id: stored.version_id.filter(|id| id != "null"),
            etag: stored.e_tag,
        }),
        Err(error) => Err(Failure::of(&error).explain_write(address, region.as_deref(), attempts.count())),
    }
}

pub(crate) fn persistent() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(PUT_ATTEMPTS)
        .with_max_backoff(PUT_BACKOFF)
}

async fn client(sdk: &SdkConfig) -> Result<Client, S3Error> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build();
    let mut config = aws_sdk_s3::config::Builder::from(sdk).timeout_config(timeouts);
    // Another S3 than Amazon's seldom has a host name for each bucket.
    config = config.force_path_style(sdk.endpoint_url().is_some() || has_own_endpoint(sdk));
    // Asked for here, and not by the SDK in the course of the request, so that their absence is told apart from S3's not answering.
    if let Some(provider) = sdk.credentials_provider() {
        let credentials = provider.provide_credentials().await;
        config = config.credentials_provider(credentials.map_err(|error| S3Error::NoCredentials {
            reason: failure::innermost(&error),
        })?);
    }
    Ok(Client::from_conf(config.build()))
}

/// Whether there is an endpoint for S3 alone: `AWS_ENDPOINT_URL_S3`, or `endpoint_url` for S3 in the profile's services.
fn has_own_endpoint(sdk: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let endpoint = sdk
        .service_config()
        .zip(key.ok())
        .and_then(|(config, key)| config.load_config(key));
    endpoint.is_some_and(|url| !url.is_empty())
}
