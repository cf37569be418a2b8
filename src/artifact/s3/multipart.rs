//! An object that is stored while it is still being made: S3's multipart upload. Nobody sees any of it before its end, and what is given up leaves
//! nothing but parts, which are taken back.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use std::error::Error as StdError;
use std::time::Duration;
use tokio::time::timeout;

use super::failure::{Failure, S3Error};
use super::{Address, Attempts, S3, persistent};

/// What is collected before it is sent, in bytes. S3 takes 10,000 parts (S3 User Guide, "Amazon S3 multipart upload limits"), so an object can have
/// 156 GiB.
const PART_BYTES: usize = 16 << 20;
const PARTS: i32 = 10_000;
/// How long taking back may hold up the end of a run.
const ABORT_WITHIN: Duration = Duration::from_secs(5);

/// An object that is being made.
#[derive(Debug)]
pub struct Multipart {
    client: Client,
    region: Option<String>,
    address: Address,
    upload_id: String,
    parts: Vec<CompletedPart>,
    collected: Vec<u8>,
}

impl Multipart {
    /// Asks S3 for it: that the bucket is there and may be written is known from then on.
    ///
    /// # Errors
    /// See [`S3Error`].
    pub async fn begin(address: Address) -> Result<Multipart, S3Error> {
        let S3 { client, region } = S3::of_environment().await?;
        let attempts = Attempts::default();
        let request = client
            .create_multipart_upload()
            .bucket(&address.bucket)
            .key(&address.key)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .customize()
            .config_override(patient())
            .interceptor(attempts.clone());
        let begun = request.send().await;
        let begun = begun.map_err(|error| explain(&error, &address, region.as_deref(), &attempts))?;
        Ok(Multipart {
            upload_id: begun.upload_id.unwrap_or_default(),
            client,
            region,
            address,
            parts: Vec::new(),
            collected: Vec::new(),
        })
    }

    /// Adds bytes, and sends them once they make a part.
    ///
    /// # Errors
    /// See [`S3Error`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), S3Error> {
        // Grown by doubling, it would hold twice as much at each part's end.
        if self.collected.capacity() == 0 {
            self.collected.reserve(PART_BYTES + bytes.len());
        }
        self.collected.extend_from_slice(bytes);
        if self.collected.len() >= PART_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// Sends what is left. S3 has everything then, and shows none of it.
    ///
    /// # Errors
    /// See [`S3Error`].
    pub async fn flush(&mut self) -> Result<(), S3Error> {
        // An upload without a part cannot be completed, and an empty part is one.
        if self.collected.is_empty() && !self.parts.is_empty() {
            return Ok(());
        }
        self.send().await
    }

    async fn send(&mut self) -> Result<(), S3Error> {
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        if number > PARTS {
            return Err(S3Error::Request(format!(
                "it is larger than {PARTS} parts of {PART_BYTES} bytes"
            )));
        }
        let attempts = Attempts::default();
        let request = self
            .client
            .upload_part()
            .bucket(&self.address.bucket)
            .key(&self.address.key)
            .upload_id(&self.upload_id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(std::mem::take(&mut self.collected).into())
            .customize()
            .config_override(patient())
            .interceptor(attempts.clone());
        let sent = request.send().await;
        let sent = sent.map_err(|error| explain(&error, &self.address, self.region.as_deref(), &attempts))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32);
        self.parts.push(part.build());
        Ok(())
    }

    /// Shows the object, in the place of one that has this key. What cannot be shown is taken back.
    ///
    /// # Errors
    /// See [`S3Error`].
    pub async fn complete(self) -> Result<(), S3Error> {
        let attempts = Attempts::default();
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(self.parts.clone()))
            .build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.address.bucket)
            .key(&self.address.key)
            .upload_id(&self.upload_id)
            .multipart_upload(parts)
            .customize()
            .config_override(patient())
            .interceptor(attempts.clone());
        let Err(error) = request.send().await else {
            return Ok(());
        };
        let error = explain(&error, &self.address, self.region.as_deref(), &attempts);
        self.abort().await;
        Err(error)
    }

    /// Takes everything back. What remains where that fails is for the bucket's lifecycle rule.
    pub async fn abort(self) {
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.address.bucket)
            .key(&self.address.key)
            .upload_id(&self.upload_id);
        let reason = match timeout(ABORT_WITHIN, request.send()).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => explain(&error, &self.address, self.region.as_deref(), &Attempts::default()).to_string(),
            Err(_) => "S3 did not answer in time".to_owned(),
        };
        tracing::warn!(
            "the parts of s3://{}/{} that were sent could not be taken back ({reason}): a lifecycle rule of the bucket with \
             AbortIncompleteMultipartUpload removes them",
            self.address.bucket,
            self.address.key
        );
    }
}

/// Behind it is a query that took long.
fn patient() -> aws_sdk_s3::config::Builder {
    Config::builder().retry_config(persistent())
}

fn explain<E>(
    error: &SdkError<E, HttpResponse>,
    address: &Address,
    region: Option<&str>,
    attempts: &Attempts,
) -> S3Error
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    Failure::of(error).explain_write(address, region, attempts.count())
}
