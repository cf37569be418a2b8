//! What this side asks S3: what is stored at the artifact's place, the reports, and whether anybody is told of an upload.

use crate::artifact::s3::failure::{Failure, S3Error};
use crate::artifact::s3::{Address, Attempts, S3};
use crate::aws;

/// The newest version of an object, or the one that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// In a bucket with versioning.
    pub version_id: Option<String>,
    /// With its quotes.
    pub etag: Option<String>,
    /// When it was stored, in seconds since 1970 by S3's clock.
    pub stored_at: Option<i64>,
}

/// What S3 knows of an object, without reading it.
///
/// # Errors
/// See [`S3Error`].
pub async fn head(address: &Address) -> Result<Head, S3Error> {
    let S3 { client, region } = S3::of_environment().await?;
    let attempts = Attempts::default();
    let request = client
        .head_object()
        .bucket(&address.bucket)
        .key(&address.key)
        .set_version_id(address.version_id.clone())
        .customize()
        .interceptor(attempts.clone());
    match request.send().await {
        Ok(head) => Ok(Head {
            version_id: head.version_id.filter(|id| id != "null"),
            etag: head.e_tag,
            stored_at: head.last_modified.map(|time| time.secs()),
        }),
        Err(error) => match Failure::of(&error) {
            // An answer to HEAD has no body, and so no code of S3's.
            Failure::Answer { status: 404, .. } => Err(S3Error::NoSuchKey { beside: Vec::new() }),
            Failure::Answer {
                status: 403, message, ..
            } => Err(Failure::Answer {
                status: 403,
                code: "AccessDenied".to_owned(),
                message,
                bucket_region: None,
            }
            .explain(address, region.as_deref(), attempts.count())),
            failure => Err(failure.explain(address, region.as_deref(), attempts.count())),
        },
    }
}

/// The keys below a prefix with the times at which they were stored, in seconds since 1970.
///
/// # Errors
/// See [`S3Error`].
pub async fn list(bucket: &str, prefix: &str) -> Result<Vec<(String, i64)>, S3Error> {
    let S3 { client, region } = S3::of_environment().await?;
    let address = Address {
        bucket: bucket.to_owned(),
        key: prefix.to_owned(),
        version_id: None,
        etag: None,
    };
    let attempts = Attempts::default();
    let (mut keys, mut page) = (Vec::new(), None);
    loop {
        let request = client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .set_continuation_token(page)
            .customize()
            .interceptor(attempts.clone());
        let answer = request.send().await.map_err(|error| {
            match Failure::of(&error).explain(&address, region.as_deref(), attempts.count()) {
                S3Error::Denied { .. } => S3Error::Denied {
                    action: "s3:ListBucket",
                    arn: format!(
                        "arn:{}:s3:::{bucket}",
                        aws::partition(region.as_deref().unwrap_or_default())
                    ),
                },
                error => error,
            }
        })?;
        let found = answer.contents.unwrap_or_default().into_iter();
        keys.extend(found.filter_map(|object| Some((object.key?, object.last_modified.map_or(0, |time| time.secs())))));
        page = answer.next_continuation_token;
        if page.is_none() {
            return Ok(keys);
        }
    }
}

/// Whether a bucket tells EventBridge of its uploads; none where these credentials may not know.
pub async fn tells_eventbridge(bucket: &str) -> Option<bool> {
    let S3 { client, .. } = S3::of_environment().await.ok()?;
    let answer = client
        .get_bucket_notification_configuration()
        .bucket(bucket)
        .send()
        .await;
    answer.ok().map(|answer| answer.event_bridge_configuration.is_some())
}
