//! What S3 tells EventBridge of an upload.

use serde_json::{Value, json};

use super::objects::Created;
use crate::ecs::{ACCOUNT, REGION};
use crate::token;

impl Created {
    /// The event "Object Created" of this upload, another one at each call: EventBridge delivers at least once. Its key is not URL-encoded, its ETag
    /// has no quotes, and it names a version only where the bucket has versions.
    ///
    /// Source: the S3 user guide, "EventBridge event message structure".
    pub fn event(&self) -> Value {
        let mut object = json!({
            "key": self.key,
            "size": self.size,
            "etag": self.stored.etag.trim_matches('"'),
            "sequencer": format!("{:018X}", self.number),
        });
        if self.stored.version != "null" {
            object["version-id"] = self.stored.version.clone().into();
        }
        json!({
            "version": "0",
            "id": uuid::Uuid::new_v4().to_string(),
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": ACCOUNT,
            "time": "2026-11-12T00:00:00Z",
            "region": REGION,
            "resources": [format!("arn:aws:s3:::{}", self.bucket)],
            "detail": {
                "version": "0",
                "bucket": { "name": self.bucket },
                "object": object,
                "request-id": token().to_uppercase(),
                "requester": ACCOUNT,
                "source-ip-address": "192.0.2.1",
                "reason": "PutObject",
            },
        })
    }
}
