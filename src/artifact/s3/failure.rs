//! S3's errors in words: pure, from what the SDK says to what is wrong and what to do.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

use super::Address;
use crate::aws;

/// Why the object could not be had. No variant holds a secret: access key ids, tokens and signed URLs never get in.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum S3Error {
    /// 403: S3 does not tell a missing key from a forbidden one to somebody who may not list the bucket.
    #[error(
        "S3 denied access (403): the object is not there, or the role may not read it (it needs {action} on {arn})"
    )]
    Denied {
        /// The permission that the request needs.
        action: &'static str,
        /// The resource that the permission is about.
        arn: String,
    },
    /// 403, as an object was to be stored.
    #[error("S3 denied access (403): the role may not write it (it needs s3:PutObject on {arn})")]
    PutDenied {
        /// The resource that the permission is about.
        arn: String,
    },
    /// The object is encrypted with a key that the role may not use, or that is disabled.
    #[error("S3 could not decrypt the object: {reason}")]
    Kms {
        /// The service's own words.
        reason: String,
    },
    /// 404.
    #[error("there is no such key in the bucket (404 NoSuchKey){}", near(beside))]
    NoSuchKey {
        /// Keys beside it; none where the bucket may not be listed.
        beside: Vec<String>,
    },
    /// 404.
    #[error("there is no such bucket (404 NoSuchBucket)")]
    NoSuchBucket,
    /// 404.
    #[error("there is no version {0} of the object (404 NoSuchVersion)")]
    NoSuchVersion(String),
    /// The version is a delete marker.
    #[error("the version {0} of the object is a delete marker: the object was deleted (405)")]
    Deleted(String),
    /// The bucket lies in another region than the one that was asked.
    #[error("the bucket is in {}, and {asked} was asked", actual.as_deref().unwrap_or("another region"))]
    WrongRegion {
        /// Where S3 says that it is.
        actual: Option<String>,
        /// The region of our configuration.
        asked: String,
    },
    /// 412: a newer upload has taken the place of the one that was asked for.
    #[error("the object no longer has the etag {0}: it was superseded by a newer upload (412)")]
    Superseded(String),
    /// 412, where any object would have done: a newer upload came between two requests.
    #[error("the object was replaced by newer uploads again and again while it was being read")]
    Replaced,
    /// The object must be restored from an archive first.
    #[error("the object is archived and cannot be read until it is restored ({0})")]
    Archived(String),
    /// No provider of the SDK's chain gave credentials.
    #[error("no AWS credentials were found: {reason}")]
    NoCredentials {
        /// The provider's own words.
        reason: String,
    },
    /// S3 knows the credentials as invalid or expired.
    #[error("S3 refused the AWS credentials: {code}")]
    CredentialsRefused {
        /// S3's code.
        code: String,
    },
    /// The clocks differ by more than 15 minutes.
    #[error("S3 refused the request's time: the clock of this machine is wrong ({code})")]
    ClockSkew {
        /// S3's code.
        code: String,
    },
    /// No region is configured.
    #[error("no AWS region is configured")]
    NoRegion,
    /// No connection to S3.
    #[error("S3 could not be reached (attempts: {attempts}): {reason}")]
    Unreachable {
        /// How often the SDK tried.
        attempts: u32,
        /// The transport's own words.
        reason: String,
    },
    /// No answer in time.
    #[error("S3 did not answer in time (attempts: {attempts})")]
    Timeout {
        /// How often the SDK tried.
        attempts: u32,
    },
    /// The connection broke within the object.
    #[error("the connection to S3 broke after {received} bytes: {reason}")]
    Body {
        /// How much had come.
        received: u64,
        /// The transport's own words.
        reason: String,
    },
    /// More than the limit.
    #[error("more than {limit} bytes would have to be read of the object's {size}: that is the limit")]
    TooMuch {
        /// The whole object's, in bytes.
        size: u64,
        /// [`crate::artifact::Limits::fetched_bytes`]: it follows from the flags.
        limit: u64,
    },
    /// Not the bytes that were asked for.
    #[error("the endpoint was asked for {asked} and answered with {answered}: a proxy, or not S3 at all")]
    Mismatch {
        /// What was asked for.
        asked: String,
        /// What came.
        answered: String,
    },
    /// Anything else that S3 answered.
    #[error("S3 answered {status} {code} (attempts: {attempts}): {message}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// S3's code.
        code: String,
        /// S3's message.
        message: String,
        /// How often the SDK tried.
        attempts: u32,
    },
    /// An error without S3's code in it.
    #[error("the endpoint answered {status} without an error of S3's: a proxy, or not S3 at all")]
    Stranger {
        /// The HTTP status.
        status: u16,
    },
    /// The request could not be made.
    #[error("the request to S3 could not be made: {0}")]
    Request(String),
}

impl S3Error {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            S3Error::Denied { action, arn } => format!(
                "check the key, and give the task role {action} on {arn} (and kms:Decrypt if the bucket uses a KMS key)"
            ),
            S3Error::PutDenied { arn } => format!("give the task role s3:PutObject on {arn} (and kms:GenerateDataKey if the bucket uses a KMS key)"),
            S3Error::Kms { .. } => "give the task role kms:Decrypt on the bucket's KMS key, and see that the key is enabled".into(),
            S3Error::NoSuchKey { .. } | S3Error::NoSuchVersion(_) | S3Error::Deleted(_) => {
                "check the key and the version, and whether the upload has finished".into()
            }
            S3Error::NoSuchBucket => "check the bucket's name and the account".into(),
            S3Error::WrongRegion { actual: Some(region), .. } => format!("set AWS_REGION to {region}"),
            S3Error::WrongRegion { actual: None, .. } => "set AWS_REGION to the bucket's region".into(),
            S3Error::Superseded(_) => "nothing: the newer upload has its own run".into(),
            S3Error::Archived(_) => "restore the object, or upload it again".into(),
            S3Error::NoCredentials { reason } if reason.contains("SSO") => "sign in with `aws sso login`, and start again".into(),
            S3Error::NoCredentials { .. } => {
                "give the ECS task definition a task role (taskRoleArn), or configure credentials as for any AWS program".into()
            }
            S3Error::CredentialsRefused { .. } => "renew the credentials, or check the task role".into(),
            S3Error::ClockSkew { .. } => "correct the clock of this machine".into(),
            S3Error::NoRegion => "set AWS_REGION (ECS sets it by itself on Fargate)".into(),
            S3Error::Unreachable { .. } | S3Error::Timeout { .. } => {
                "see that the subnet has a route to S3 (a gateway endpoint or NAT), that the security group lets port 443 out, and that AWS_ENDPOINT_URL is right if it is set".into()
            }
            S3Error::Body { .. } => "start again".into(),
            S3Error::Replaced => "start again when the uploads are over, or name one version with PRISMA_ARTIFACT_VERSION_ID".into(),
            S3Error::TooMuch { .. } => "upload the prisma folder alone, without node_modules".into(),
            S3Error::Answer { status, .. } if *status >= 500 => "start again later".into(),
            S3Error::Stranger { .. } | S3Error::Mismatch { .. } => "check AWS_ENDPOINT_URL and the proxy variables (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)".into(),
            S3Error::Answer { .. } | S3Error::Request(_) => "check the bucket, the key and the AWS configuration".into(),
        }
    }
}

/// What the SDK says, as plain values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Timeout,
    Unreachable(String),
    Request(String),
    Answer {
        status: u16,
        code: String,
        message: String,
        bucket_region: Option<String>,
    },
}

impl Failure {
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: StdError + ProvideErrorMetadata + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => Failure::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Failure::Timeout,
            SdkError::DispatchFailure(failure) => Failure::Unreachable(
                failure
                    .as_connector_error()
                    .map_or_else(String::new, |error| innermost(error)),
            ),
            SdkError::ServiceError(_) | SdkError::ResponseError(_) => match error.raw_response() {
                Some(response) => Failure::Answer {
                    status: response.status().as_u16(),
                    code: error.code().unwrap_or_default().to_owned(),
                    message: error.message().unwrap_or_default().to_owned(),
                    bucket_region: response.headers().get("x-amz-bucket-region").map(str::to_owned),
                },
                None => Failure::Request(innermost(error)),
            },
            other => Failure::Request(innermost(other)),
        }
    }

    /// What it means for the object that was asked for.
    pub(crate) fn explain(self, address: &Address, asked_region: Option<&str>, attempts: u32) -> S3Error {
        let (status, code, message, bucket_region) = match self {
            Failure::Timeout => return S3Error::Timeout { attempts },
            Failure::Unreachable(reason) => return S3Error::Unreachable { attempts, reason },
            Failure::Request(reason) => return S3Error::Request(reason),
            Failure::Answer {
                status,
                code,
                message,
                bucket_region,
            } => (status, code, message, bucket_region),
        };
        let asked = asked_region.unwrap_or("no region").to_owned();
        let version = || address.version_id.clone().unwrap_or_else(|| "asked for".into());
        match (status, code.as_str()) {
            (301, _) if bucket_region.is_some() => S3Error::WrongRegion {
                actual: bucket_region,
                asked,
            },
            (412, _) => match (&address.version_id, &address.etag) {
                (None, Some(etag)) => S3Error::Superseded(etag.clone()),
                _ => S3Error::Replaced,
            },
            (_, "") => S3Error::Stranger { status },
            (301, _) | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                let actual = bucket_region;
                S3Error::WrongRegion { actual, asked }
            }
            (_, "RequestTimeTooSkewed") => S3Error::ClockSkew { code },
            (
                _,
                "InvalidAccessKeyId"
                | "ExpiredToken"
                | "InvalidToken"
                | "SignatureDoesNotMatch"
                | "TokenRefreshRequired",
            ) => S3Error::CredentialsRefused { code },
            (_, kms) if kms.starts_with("KMS.") => S3Error::Kms {
                reason: format!("{code}: {message}"),
            },
            (403, _) if message.contains("kms:") || message.contains("KMS") => S3Error::Kms { reason: message },
            (403, "InvalidObjectState") => S3Error::Archived(code),
            (403, _) => S3Error::Denied {
                action: match address.version_id {
                    Some(_) => "s3:GetObjectVersion",
                    None => "s3:GetObject",
                },
                arn: format!("arn:{}:s3:::{}/{}", aws::partition(&asked), address.bucket, address.key),
            },
            (404, "NoSuchBucket") => S3Error::NoSuchBucket,
            (404, "NoSuchVersion") => S3Error::NoSuchVersion(version()),
            (404, "NoSuchKey") => S3Error::NoSuchKey { beside: Vec::new() },
            (405, _) if address.version_id.is_some() => S3Error::Deleted(version()),
            _ => S3Error::Answer {
                status,
                code,
                message,
                attempts,
            },
        }
    }

    /// What it means for the object that was to be stored.
    pub(crate) fn explain_write(self, address: &Address, asked_region: Option<&str>, attempts: u32) -> S3Error {
        match self.explain(address, asked_region, attempts) {
            S3Error::Denied { arn, .. } => S3Error::PutDenied { arn },
            error => error,
        }
    }
}

fn near(keys: &[String]) -> String {
    match keys {
        [] => String::new(),
        keys => format!("; beside it: {}", keys.join(", ")),
    }
}

/// The last cause of an error: the SDK's own layers say little more than that there is one. On one line.
pub(crate) fn innermost(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address {
            bucket: "artifacts".into(),
            key: "shop/PROD/db/prisma.zip".into(),
            version_id: None,
            etag: None,
        }
    }

    fn answer(status: u16, code: &str, message: &str) -> Failure {
        Failure::Answer {
            status,
            code: code.into(),
            message: message.into(),
            bucket_region: Some("eu-west-1".into()),
        }
    }

    #[test]
    fn every_answer_is_said_in_words() {
        let kms = "User: arn:aws:sts::1:assumed-role/task is not authorized to perform: kms:Decrypt on the resource";
        let table = [
            (
                answer(403, "AccessDenied", "Access Denied"),
                "needs s3:GetObject on arn:aws:s3:::artifacts/shop/PROD/db/prisma.zip",
            ),
            (
                answer(403, "AccessDenied", kms),
                "could not decrypt the object: User: arn",
            ),
            (
                answer(400, "KMS.DisabledException", "key is disabled"),
                "could not decrypt the object: KMS.DisabledException",
            ),
            (answer(403, "InvalidObjectState", ""), "archived"),
            (
                answer(403, "InvalidAccessKeyId", ""),
                "refused the AWS credentials: InvalidAccessKeyId",
            ),
            (
                answer(400, "ExpiredToken", ""),
                "refused the AWS credentials: ExpiredToken",
            ),
            (
                answer(403, "RequestTimeTooSkewed", ""),
                "the clock of this machine is wrong",
            ),
            (answer(404, "NoSuchKey", ""), "no such key"),
            (answer(404, "NoSuchBucket", ""), "no such bucket"),
            (
                answer(301, "PermanentRedirect", ""),
                "the bucket is in eu-west-1, and us-east-1 was asked",
            ),
            (
                answer(400, "AuthorizationHeaderMalformed", ""),
                "the bucket is in eu-west-1",
            ),
            (
                answer(503, "SlowDown", "Please reduce"),
                "S3 answered 503 SlowDown (attempts: 3): Please reduce",
            ),
            (answer(301, "", ""), "the bucket is in eu-west-1"),
            (
                answer(404, "", ""),
                "the endpoint answered 404 without an error of S3's",
            ),
            (Failure::Timeout, "did not answer in time (attempts: 3)"),
            (
                Failure::Unreachable("connection refused".into()),
                "could not be reached (attempts: 3): connection refused",
            ),
        ];
        for (failure, expected) in table {
            let error = failure.clone().explain(&address(), Some("us-east-1"), 3);
            assert!(error.to_string().contains(expected), "{failure:?}: {error}");
            assert!(!error.next_step().is_empty());
        }
    }

    #[test]
    fn a_pinned_object_has_answers_of_its_own() {
        let version = Address {
            version_id: Some("v1".into()),
            ..address()
        };
        let etag = Address {
            etag: Some("0a1b".into()),
            ..address()
        };
        let explain = |failure: Failure, address| failure.explain(address, None, 1);
        assert_eq!(
            explain(answer(412, "PreconditionFailed", ""), &etag),
            S3Error::Superseded("0a1b".into())
        );
        let any = address();
        for unpinned in [&any, &version] {
            assert_eq!(
                explain(answer(412, "PreconditionFailed", ""), unpinned),
                S3Error::Replaced
            );
        }
        assert_eq!(
            explain(answer(404, "NoSuchVersion", ""), &version),
            S3Error::NoSuchVersion("v1".into())
        );
        assert_eq!(
            explain(answer(405, "MethodNotAllowed", ""), &version),
            S3Error::Deleted("v1".into())
        );
        let china = answer(403, "AccessDenied", "").explain(&version, Some("cn-north-1"), 1);
        assert!(china.to_string().contains("arn:aws-cn:s3:::artifacts/"), "{china}");
        let denied = explain(answer(403, "AccessDenied", ""), &version);
        assert!(denied.to_string().contains("s3:GetObjectVersion"), "{denied}");
    }
}
