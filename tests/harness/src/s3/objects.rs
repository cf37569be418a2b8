//! The objects and what S3 says about them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::StatusCode;
use md5::{Digest, Md5};
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag,
    ETagCondition, EventBridgeConfiguration, GetBucketNotificationConfigurationInput,
    GetBucketNotificationConfigurationOutput, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, Range, StreamingBlob, Timestamp,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use sha2::Sha256;

/// What is handed to the socket at once.
const CHUNK: usize = 64 * 1024;

/// What S3 said when an object was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version's id; `null` in a bucket without versioning.
    pub version: String,
    /// The ETag with its quotes: the MD5 of the bytes.
    pub etag: String,
}

/// An object that was stored, by whatever way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// In bytes.
    pub size: usize,
    /// Its version and ETag.
    pub stored: Stored,
    /// The first of the server has 1.
    pub number: usize,
}

/// What happens to one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: it is answered as usual.
    None,
    /// It is answered with this HTTP status and S3's error code.
    Error {
        /// The HTTP status.
        status: u16,
        /// S3's name for the error.
        code: String,
    },
    /// The connection breaks after the headers and at most so many bytes of the body; a request for less is answered as usual.
    CutBody(u64),
    /// `Range` is not understood: it is answered with everything and status 200.
    IgnoreRange,
    /// It is answered with the range that begins one byte earlier, as its header says: a cache that confuses its parts.
    ShiftRange,
    /// Somebody stores this object just before the answer.
    Overwrite {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The new content.
        bytes: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versioning {
    Enabled,
    Off,
}

#[derive(Clone, Debug)]
struct Version {
    id: String,
    etag: ETag,
    bytes: Bytes,
    modified: SystemTime,
}

#[derive(Debug)]
struct Bucket {
    versioning: Versioning,
    tells_eventbridge: bool,
    /// By key; the newest version comes last.
    objects: BTreeMap<String, Vec<Version>>,
}

/// What was begun by CreateMultipartUpload and is neither completed nor aborted.
#[derive(Debug)]
struct Upload {
    bucket: String,
    key: String,
    /// Whether checksums were announced: each part is then to be named with its own.
    checksums: bool,
    /// By number.
    parts: BTreeMap<i32, Part>,
}

#[derive(Debug)]
struct Part {
    etag: ETag,
    crc32: Option<String>,
    bytes: Vec<u8>,
}

/// S3 takes a smaller part as the last one only.
const LEAST_PART: usize = 5 << 20;

/// Clones share the same objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    uploads: Arc<Mutex<BTreeMap<String, Upload>>>,
    buckets: Arc<Mutex<BTreeMap<String, Bucket>>>,
    pub(super) faults: Arc<Mutex<VecDeque<Fault>>>,
    pub(super) requests: Arc<AtomicUsize>,
    pub(super) sent: Arc<AtomicU64>,
    pub(super) created: Arc<Mutex<Vec<Created>>>,
}

/// Carries [`Fault::CutBody`] from the check of a request to its answer.
#[derive(Clone, Copy)]
struct Cut(u64);

/// Likewise [`Fault::IgnoreRange`] and [`Fault::ShiftRange`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Ignored,
    Shifted,
}

impl Objects {
    pub(super) fn make(&self, bucket: &str, versioning: Versioning) {
        let mut buckets = self.buckets.lock().unwrap();
        buckets.entry(bucket.to_owned()).or_insert_with(|| Bucket {
            versioning,
            tells_eventbridge: false,
            objects: BTreeMap::new(),
        });
    }

    pub(super) fn tell_eventbridge(&self, bucket: &str) {
        let mut buckets = self.buckets.lock().unwrap();
        let bucket = buckets.get_mut(bucket).expect("a bucket that was made");
        bucket.tells_eventbridge = true;
    }

    /// What HeadObject says of the newest object.
    pub(super) fn stored(&self, bucket: &str, key: &str) -> Option<Stored> {
        let buckets = self.buckets.lock().unwrap();
        let newest = buckets.get(bucket)?.objects.get(key)?.last()?;
        Some(Stored {
            version: newest.id.clone(),
            etag: format!("\"{}\"", newest.etag.value()),
        })
    }

    pub(super) fn store(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Stored {
        self.store_if(bucket, key, bytes, None, None)
            .unwrap_or_else(|error| panic!("cannot store {key} in {bucket}: {error:?}"))
    }

    pub(super) fn newest(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let buckets = self.buckets.lock().unwrap();
        Some(buckets.get(bucket)?.objects.get(key)?.last()?.bytes.to_vec())
    }

    /// How many multipart uploads are neither completed nor aborted: what a bucket's owner pays for and does not see.
    pub(super) fn unfinished(&self) -> usize {
        self.uploads.lock().unwrap().len()
    }

    fn store_if(
        &self,
        bucket: &str,
        key: &str,
        bytes: Vec<u8>,
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<Stored> {
        let mut buckets = self.buckets.lock().unwrap();
        let name = bucket;
        let bucket = buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let versions = bucket.objects.get(key);
        let current = versions.and_then(|versions| versions.last());
        match (current, if_match) {
            (None, Some(_)) => return Err(s3_error!(NoSuchKey)),
            (Some(current), Some(condition)) if !holds(condition, &current.etag) => {
                return Err(s3_error!(PreconditionFailed));
            }
            _ => {}
        }
        if let (Some(current), Some(condition)) = (current, if_none_match)
            && holds(condition, &current.etag)
        {
            return Err(s3_error!(PreconditionFailed));
        }
        let digest = hex(&Md5::digest(&bytes));
        let id = match bucket.versioning {
            Versioning::Enabled => uuid::Uuid::new_v4().simple().to_string(),
            Versioning::Off => "null".to_owned(),
        };
        let stored = Stored {
            version: id.clone(),
            etag: format!("\"{digest}\""),
        };
        let mut created = self.created.lock().unwrap();
        let number = created.len() + 1;
        created.push(Created {
            bucket: name.to_owned(),
            key: key.to_owned(),
            size: bytes.len(),
            stored: stored.clone(),
            number,
        });
        let version = Version {
            id,
            etag: ETag::Strong(digest),
            bytes: bytes.into(),
            modified: SystemTime::now(),
        };
        let versions = bucket.objects.entry(key.to_owned()).or_default();
        if bucket.versioning == Versioning::Off {
            versions.clear();
        }
        versions.push(version);
        Ok(stored)
    }

    /// The version asked for, or the newest one; and whether the bucket numbers its versions.
    fn find(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<(Version, Versioning)> {
        let buckets = self.buckets.lock().unwrap();
        let bucket = buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let versions = bucket.objects.get(key);
        let found = match version {
            None => versions
                .and_then(|versions| versions.last())
                .ok_or_else(|| s3_error!(NoSuchKey)),
            Some(id) => {
                let mut versions = versions.into_iter().flatten();
                versions
                    .find(|version| version.id == id)
                    .ok_or_else(|| s3_error!(NoSuchVersion))
            }
        };
        Ok((found?.clone(), bucket.versioning))
    }
}

async fn received(body: Option<StreamingBlob>) -> S3Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut body) = body {
        while let Some(chunk) = body
            .try_next()
            .await
            .map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?
        {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn holds(condition: &ETagCondition, etag: &ETag) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.strong_cmp(etag),
    }
}

/// RFC 9110, 13.2.2: `If-Match` is looked at before `If-None-Match`.
fn check(etag: &ETag, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<()> {
    if if_match.is_some_and(|condition| !holds(condition, etag)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(|condition| holds(condition, etag)) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

/// The part of the object to send, and the header that names it.
fn part(range: Option<Range>, length: u64, shift: u64) -> S3Result<(std::ops::Range<u64>, Option<String>)> {
    let Some(range) = range else {
        return Ok((0..length, None));
    };
    let part = range.check(length).map_err(|_| s3_error!(InvalidRange))?;
    // RFC 9110, 14.1.1: no range of an empty object can be satisfied, also not its last bytes.
    if part.is_empty() {
        return Err(s3_error!(InvalidRange));
    }
    let part = part.start - shift.min(part.start)..part.end - shift.min(part.start);
    let header = format!("bytes {}-{}/{length}", part.start, part.end - 1);
    Ok((part, Some(header)))
}

fn signed(length: u64) -> Option<i64> {
    Some(i64::try_from(length).expect("an object of less than 8 EiB"))
}

/// The operations. Conditions by date, parts by number and customer keys are refused: a client that used them would have to be understood.
#[async_trait::async_trait]
impl S3 for Objects {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = request.input.bucket;
        if self.buckets.lock().unwrap().contains_key(&name) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        self.make(&name, Versioning::Off);
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{name}")),
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let bytes = received(input.body).await?;
        let wrong = input
            .checksum_sha256
            .is_some_and(|sum| sum != BASE64.encode(Sha256::digest(&bytes)));
        if wrong {
            return Err(s3_error!(BadDigest));
        }
        let stored = self.store_if(
            &input.bucket,
            &input.key,
            bytes,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(stored.etag.trim_matches('"').to_owned())),
            version_id: (stored.version != "null").then_some(stored.version),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        if !self.buckets.lock().unwrap().contains_key(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let upload = Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            checksums: input.checksum_algorithm.is_some(),
            parts: BTreeMap::new(),
        };
        self.uploads.lock().unwrap().insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            ..Default::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let bytes = received(input.body).await?;
        let etag = ETag::Strong(hex(&Md5::digest(&bytes)));
        let mut uploads = self.uploads.lock().unwrap();
        let upload = uploads
            .get_mut(&input.upload_id)
            .ok_or_else(|| s3_error!(NoSuchUpload))?;
        let part = Part {
            etag: etag.clone(),
            crc32: input.checksum_crc32.clone(),
            bytes,
        };
        upload.parts.insert(input.part_number, part);
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(etag),
            checksum_crc32: input.checksum_crc32,
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let asked = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let mut uploads = self.uploads.lock().unwrap();
        let upload = uploads.get(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let mut bytes = Vec::new();
        for (at, part) in asked.iter().enumerate() {
            let held = part.part_number.and_then(|number| upload.parts.get(&number));
            let held = held.ok_or_else(|| s3_error!(InvalidPart))?;
            let unproven = upload.checksums && (held.crc32.is_none() || part.checksum_crc32 != held.crc32);
            if part.e_tag.as_ref() != Some(&held.etag) || unproven {
                return Err(s3_error!(InvalidPart));
            }
            if at + 1 < asked.len() && held.bytes.len() < LEAST_PART {
                return Err(s3_error!(EntityTooSmall));
            }
            bytes.extend_from_slice(&held.bytes);
        }
        if asked.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        let stored = self.store_if(&upload.bucket, &upload.key, bytes, None, None)?;
        uploads.remove(&input.upload_id);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            e_tag: Some(ETag::Strong(stored.etag.trim_matches('"').to_owned())),
            version_id: (stored.version != "null").then_some(stored.version),
            ..Default::default()
        }))
    }

    async fn get_bucket_notification_configuration(
        &self,
        request: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketNotificationConfigurationOutput>> {
        let buckets = self.buckets.lock().unwrap();
        let bucket = buckets
            .get(&request.input.bucket)
            .ok_or_else(|| s3_error!(NoSuchBucket))?;
        Ok(S3Response::new(GetBucketNotificationConfigurationOutput {
            event_bridge_configuration: bucket.tells_eventbridge.then(EventBridgeConfiguration::default),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let removed = self.uploads.lock().unwrap().remove(&request.input.upload_id);
        removed.ok_or_else(|| s3_error!(NoSuchUpload))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        if input.if_modified_since.is_some() || input.if_unmodified_since.is_some() || input.part_number.is_some() {
            return Err(s3_error!(NotImplemented));
        }
        let (version, versioning) = self.find(&input.bucket, &input.key, input.version_id.as_deref())?;
        check(&version.etag, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let ranges = request.extensions.get::<Ranges>();
        let range = input.range.filter(|_| ranges != Some(&Ranges::Ignored));
        let shift = u64::from(ranges == Some(&Ranges::Shifted));
        let (part, content_range) = part(range, version.bytes.len() as u64, shift)?;
        let length = part.end - part.start;
        let cut = request.extensions.get::<Cut>().map_or(u64::MAX, |cut| cut.0);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(self.body(version.bytes.slice(part.start as usize..part.end as usize), cut)),
            content_length: signed(length),
            content_range,
            e_tag: Some(version.etag),
            last_modified: Some(Timestamp::from(version.modified)),
            version_id: (versioning == Versioning::Enabled).then_some(version.id),
            ..Default::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        if input.if_modified_since.is_some()
            || input.if_unmodified_since.is_some()
            || input.part_number.is_some()
            || input.range.is_some()
        {
            return Err(s3_error!(NotImplemented));
        }
        let (version, versioning) = self.find(&input.bucket, &input.key, input.version_id.as_deref())?;
        check(&version.etag, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: signed(version.bytes.len() as u64),
            e_tag: Some(version.etag),
            last_modified: Some(Timestamp::from(version.modified)),
            version_id: (versioning == Versioning::Enabled).then_some(version.id),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        if input.delimiter.is_some() || input.start_after.is_some() || input.continuation_token.is_some() {
            return Err(s3_error!(NotImplemented));
        }
        let buckets = self.buckets.lock().unwrap();
        let bucket = buckets.get(&input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let newest = bucket
            .objects
            .iter()
            .filter_map(|(key, versions)| Some((key, versions.last()?)));
        let most = usize::try_from(input.max_keys.unwrap_or(1000)).map_err(|_| s3_error!(InvalidArgument))?;
        let all: Vec<_> = newest.filter(|(key, _)| key.starts_with(&prefix)).collect();
        let contents: Vec<_> = all
            .iter()
            .take(most)
            .map(|(key, version)| Object {
                key: Some((*key).clone()),
                size: signed(version.bytes.len() as u64),
                e_tag: Some(version.etag.clone()),
                last_modified: Some(Timestamp::from(version.modified)),
                ..Default::default()
            })
            .collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            key_count: Some(i32::try_from(contents.len()).expect("fewer than two thousand million objects")),
            is_truncated: Some(contents.len() < all.len()),
            contents: Some(contents),
            ..Default::default()
        }))
    }
}

impl Objects {
    /// Counts what the client takes, and breaks off after `cut` bytes.
    fn body(&self, bytes: Bytes, cut: u64) -> StreamingBlob {
        let whole = (bytes.len() as u64) <= cut;
        let kept = bytes.slice(..bytes.len().min(usize::try_from(cut).unwrap_or(usize::MAX)));
        let chunks: Vec<_> = kept.chunks(CHUNK).map(|chunk| Ok(kept.slice_ref(chunk))).collect();
        let sent = Arc::clone(&self.sent);
        let counted = stream::iter(chunks).inspect(move |chunk: &Result<Bytes, std::io::Error>| {
            let length = chunk.as_ref().map_or(0, Bytes::len) as u64;
            sent.fetch_add(length, Ordering::SeqCst);
        });
        if whole {
            return StreamingBlob::wrap(counted);
        }
        let cut = stream::once(async {
            // hyper writes out what it holds when the body makes it wait, and throws it away when the body fails.
            tokio::task::yield_now().await;
            Err(std::io::Error::other("cut on request"))
        });
        StreamingBlob::wrap(counted.chain(cut))
    }
}

/// Whatever is signed with the one key is allowed; this is where the queue of faults is worked off.
#[async_trait::async_trait]
impl S3Access for Objects {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied));
        }
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            None | Some(Fault::None) => {}
            Some(Fault::Error { status, code }) => {
                let mut error = S3Error::new(S3ErrorCode::from_bytes(code.as_bytes()).expect("an error code in UTF-8"));
                error.set_status_code(StatusCode::from_u16(status).expect("an HTTP status"));
                return Err(error);
            }
            Some(Fault::CutBody(bytes)) => {
                request.extensions_mut().insert(Cut(bytes));
            }
            Some(Fault::IgnoreRange) => {
                request.extensions_mut().insert(Ranges::Ignored);
            }
            Some(Fault::ShiftRange) => {
                request.extensions_mut().insert(Ranges::Shifted);
            }
            Some(Fault::Overwrite { bucket, key, bytes }) => {
                self.store(&bucket, &key, bytes);
            }
        }
        Ok(())
    }
}
