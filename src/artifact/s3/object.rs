//! One object, pinned: every request after the first is for the same bytes, or fails.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::attempts::Attempts;
use super::failure::{self, Failure, S3Error};
use super::ranges::{self, PARALLEL, TAIL};
use super::{Address, beside};

/// How often a part is asked for whose body breaks off. The SDK's own attempts are over when an answer begins.
const TRIES: u32 = 3;
/// The pause before such a part is asked for again; twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);

/// A part of an object.
#[derive(Debug, Default)]
pub struct Part {
    /// Where it begins, in bytes from the object's beginning.
    pub start: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl Part {
    /// What it holds from this position of the object on; none when the position does not lie in it.
    pub fn from(&self, position: u64) -> Option<&[u8]> {
        let offset = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.bytes.get(offset..).filter(|rest| !rest.is_empty())
    }
}

/// An object that was found, and its last bytes.
#[derive(Debug)]
pub struct Object {
    client: Client,
    address: Address,
    region: Option<String>,
    /// In bytes.
    pub size: u64,
    /// Its version, in a bucket with versioning.
    pub version_id: Option<String>,
    /// Its etag, with the quotes that S3 puts around it.
    pub etag: Option<String>,
    /// Its last bytes (`TAIL` in `ranges.rs`), or all of it.
    pub tail: Part,
    limit: u64,
    fetched: u64,
    requests: u64,
}

impl Object {
    /// Finds an object and reads its end: one request, which for a small object is the only one. At most `limit` bytes of the object are read in all.
    pub(super) async fn find(
        client: Client,
        address: Address,
        region: Option<String>,
        limit: u64,
    ) -> Result<Self, S3Error> {
        let mut object = Object {
            client,
            address,
            region,
            size: 0,
            version_id: None,
            etag: None,
            tail: Part::default(),
            limit,
            fetched: 0,
            requests: 1,
        };
        let suffix = format!("bytes=-{}", TAIL.min(limit));
        let mut answer = match object.get(Some(suffix)).await {
            // An empty object has no last byte. S3 says 416, others send nothing; asked for as a whole, all of them answer.
            Ok(answer) if answer.content_length() == Some(0) => object.whole().await?,
            Err(S3Error::Answer { status: 416, .. }) => object.whole().await?,
            answer => answer?,
        };
        (object.version_id, object.etag) = (answer.version_id.take(), answer.e_tag.take());
        let (part, size) = match answer.content_range() {
            // An endpoint that knows no ranges sends everything.
            None => {
                let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
                let size = size.ok_or_else(|| mismatch("its last bytes", "an answer of no known length"))?;
                (0..size, size)
            }
            Some(header) => match ranges::content_range(header) {
                Some((part, size)) if part.end == size => (part, size),
                _ => return Err(mismatch("its last bytes", header)),
            },
        };
        object.size = size;
        object.take(part.end - part.start)?;
        object.tail = match body(answer.body, &part).await {
            Err(S3Error::Body { received, reason }) => {
                object.broke(&part, received, &reason, 1).await;
                object.part(part, 2).await?
            }
            read => read?,
        };
        Ok(object)
    }

    /// These parts, in this order, several at once.
    ///
    /// # Errors
    /// See [`S3Error`]; [`S3Error::Superseded`] or [`S3Error::Replaced`] when another object has taken the place of this one.
    pub async fn fetch(&mut self, parts: &[Range<u64>]) -> Result<Vec<Part>, S3Error> {
        for part in parts {
            self.take(part.end - part.start)?;
            self.requests += 1;
        }
        if self.etag.is_none() {
            return Err(mismatch("its last bytes", "an answer without an ETag"));
        }
        let requests = parts.iter().map(|part| self.part(part.clone(), 1));
        stream::iter(requests).buffered(PARALLEL).try_collect().await
    }

    /// Says in the log what was read of the object.
    pub fn say_what_it_took(&self) {
        let Object {
            size,
            fetched,
            requests,
            ..
        } = self;
        tracing::info!(requests, bytes = fetched, size, "the artifact was read");
    }

    fn take(&mut self, bytes: u64) -> Result<(), S3Error> {
        self.fetched = self.fetched.saturating_add(bytes);
        match self.fetched > self.limit {
            true => Err(S3Error::TooMuch {
                size: self.size,
                limit: self.limit,
            }),
            false => Ok(()),
        }
    }

    async fn part(&self, part: Range<u64>, mut attempt: u32) -> Result<Part, S3Error> {
        loop {
            let asked = format!("bytes={}-{}", part.start, part.end - 1);
            let answer = self.get(Some(asked.clone())).await?;
            if answer.e_tag != self.etag {
                return Err(self.replaced());
            }
            let said = answer.content_range().unwrap_or("all of it");
            if ranges::content_range(said) != Some((part.clone(), self.size)) {
                return Err(mismatch(&asked, said));
            }
            match body(answer.body, &part).await {
                Err(S3Error::Body { received, reason }) if attempt < TRIES => {
                    self.broke(&part, received, &reason, attempt).await;
                    attempt += 1;
                }
                read => return read,
            }
        }
    }

    async fn broke(&self, part: &Range<u64>, received: u64, reason: &str, attempt: u32) {
        let length = part.end - part.start;
        tracing::warn!(
            "the connection to S3 broke after {received} of {length} bytes ({reason}): asking for them again"
        );
        tokio::time::sleep(PAUSE * attempt).await;
    }

    async fn whole(&mut self) -> Result<GetObjectOutput, S3Error> {
        self.requests += 1;
        self.get(None).await
    }

    async fn get(&self, range: Option<String>) -> Result<GetObjectOutput, S3Error> {
        let Address {
            bucket,
            key,
            version_id,
            etag,
        } = &self.address;
        // The user's version says it all: with the user's etag beside it, S3 would compare the two and could only disagree. The version that the first
        // answer named is not asked for: that would need s3:GetObjectVersion, and the etag tells a newer object as well.
        let asked = etag.as_deref().filter(|_| version_id.is_none()).map(quoted);
        let attempts = Attempts::default();
        let request = self.client.get_object().bucket(bucket).key(key);
        let request = request
            .set_version_id(version_id.clone())
            .set_if_match(self.etag.clone().or(asked))
            .set_range(range);
        let sent = request.customize().interceptor(attempts.clone()).send().await;
        let count = attempts.count();
        match sent {
            Ok(answer) => {
                if count > 1 {
                    tracing::warn!("S3 answered after {count} attempts");
                }
                Ok(answer)
            }
            Err(error) => {
                let error = Failure::of(&error).explain(&self.address, self.region.as_deref(), count);
                match error {
                    S3Error::NoSuchKey { .. } => Err(S3Error::NoSuchKey {
                        beside: beside::keys(&self.client, bucket, key).await,
                    }),
                    error => Err(error),
                }
            }
        }
    }

    fn replaced(&self) -> S3Error {
        match (&self.address.version_id, &self.address.etag) {
            (None, Some(etag)) => S3Error::Superseded(etag.clone()),
            _ => S3Error::Replaced,
        }
    }
}

/// Exactly the bytes of this part.
async fn body(mut body: ByteStream, part: &Range<u64>) -> Result<Part, S3Error> {
    let length = part.end - part.start;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    while let Some(chunk) = body.next().await {
        let received = bytes.len() as u64;
        let chunk = chunk.map_err(|error| S3Error::Body {
            received,
            reason: failure::innermost(&error),
        })?;
        if received + chunk.len() as u64 > length {
            return Err(mismatch(&format!("{length} bytes"), "more"));
        }
        bytes.extend_from_slice(&chunk);
    }
    match bytes.len() as u64 {
        received if received < length => Err(S3Error::Body {
            received,
            reason: "it ended early".into(),
        }),
        _ => Ok(Part {
            start: part.start,
            bytes,
        }),
    }
}

fn mismatch(asked: &str, answered: &str) -> S3Error {
    S3Error::Mismatch {
        asked: asked.to_owned(),
        answered: answered.to_owned(),
    }
}

fn quoted(etag: &str) -> String {
    match etag.starts_with(['"', 'W', '*']) {
        true => etag.to_owned(),
        false => format!("\"{etag}\""),
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

    #[test]
    fn a_part_holds_its_own_positions() {
        let part = Part {
            start: 10,
            bytes: b"abc".to_vec(),
        };
        assert_eq!(part.from(9), None);
        assert_eq!(part.from(10), Some(&b"abc"[..]));
        assert_eq!(part.from(12), Some(&b"c"[..]));
        assert_eq!(part.from(13), None);
        assert_eq!(Part::default().from(0), None);
    }

    #[tokio::test]
    async fn a_body_is_exactly_as_long_as_its_part() {
        let read = body(ByteStream::from_static(b"abc"), &(5..8)).await.unwrap();
        assert_eq!((read.start, &read.bytes[..]), (5, &b"abc"[..]));
        let short = body(ByteStream::from_static(b"ab"), &(5..8)).await.unwrap_err();
        assert!(matches!(short, S3Error::Body { received: 2, .. }), "{short}");
        let long = body(ByteStream::from_static(b"abcd"), &(5..8)).await.unwrap_err();
        assert!(matches!(long, S3Error::Mismatch { .. }), "{long}");
    }
}
