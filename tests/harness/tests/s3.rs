//! The S3 of the harness keeps what the real one promises, seen through the real SDK.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use harness::s3::{Fault, S3};
use tokio::runtime::Runtime;

struct Setting {
    s3: S3,
    client: Client,
    runtime: Runtime,
}

fn setting() -> Setting {
    let s3 = S3::start();
    let client = client(&s3, s3.secret_key());
    Setting {
        s3,
        client,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap(),
    }
}

fn client(s3: &S3, secret: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(s3.endpoint())
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .credentials_provider(Credentials::new(s3.access_key(), secret, None, None, "test"));
    Client::from_conf(config.build())
}

/// The HTTP status and S3's code of a refusal.
fn refusal<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E, aws_sdk_s3::config::http::HttpResponse>>,
) -> (u16, String) {
    let error = result.expect_err("S3 refuses");
    let status = error
        .raw_response()
        .unwrap_or_else(|| panic!("no answer: {error:?}"))
        .status()
        .as_u16();
    (status, error.code().unwrap_or_default().to_owned())
}

impl Setting {
    fn get(&self, key: &str) -> aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder {
        self.client.get_object().bucket("artifacts").key(key)
    }

    fn read(&self, request: aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder) -> Vec<u8> {
        self.runtime
            .block_on(async { request.send().await.unwrap().body.collect().await.unwrap().to_vec() })
    }
}

#[test]
fn every_version_stays_what_it_was() {
    let s = setting();
    let first = s.s3.put("artifacts", "a/prisma.zip", "first");
    let second = s.s3.put("artifacts", "a/prisma.zip", "second");
    assert_ne!(first.version, second.version);
    assert_eq!(s.read(s.get("a/prisma.zip")), b"second");
    assert_eq!(s.read(s.get("a/prisma.zip").version_id(&first.version)), b"first");
    let got = s
        .runtime
        .block_on(s.get("a/prisma.zip").version_id(&first.version).send())
        .unwrap();
    assert_eq!(
        (got.version_id(), got.e_tag()),
        (Some(first.version.as_str()), Some(first.etag.as_str()))
    );
    let missing = s.runtime.block_on(s.get("a/prisma.zip").version_id("0000").send());
    assert_eq!(refusal(missing), (404, "NoSuchVersion".to_owned()));
}

#[test]
fn conditions_are_honoured() {
    let s = setting();
    let first = s.s3.put("artifacts", "k", "first");
    assert_eq!(s.read(s.get("k").if_match(&first.etag)), b"first");
    let unchanged = s.runtime.block_on(s.get("k").if_none_match(&first.etag).send());
    assert_eq!(refusal(unchanged).0, 304);
    s.s3.put("artifacts", "k", "second");
    let changed = s.runtime.block_on(s.get("k").if_match(&first.etag).send());
    assert_eq!(refusal(changed), (412, "PreconditionFailed".to_owned()));
    let taken = s
        .client
        .put_object()
        .bucket("artifacts")
        .key("k")
        .if_none_match("*")
        .body(ByteStream::from_static(b"third"));
    assert_eq!(
        refusal(s.runtime.block_on(taken.send())),
        (412, "PreconditionFailed".to_owned())
    );
    assert_eq!(s.s3.get("artifacts", "k").unwrap(), b"second");
}

#[test]
fn the_etag_is_the_md5() {
    let stored = S3::start().put("artifacts", "k", "hello");
    assert_eq!(stored.etag, "\"5d41402abc4b2a76b9719d911017c592\"");
}

#[test]
fn a_range_is_exactly_that_part_and_only_that_is_sent() {
    let s = setting();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    s.s3.put("artifacts", "k", bytes.clone());
    assert_eq!(s.read(s.get("k").range("bytes=1000-200999")), bytes[1000..201_000]);
    assert_eq!((s.s3.requests(), s.s3.bytes_sent()), (1, 200_000));
    assert_eq!(s.read(s.get("k").range("bytes=-22")), bytes[bytes.len() - 22..]);
    let part = s
        .runtime
        .block_on(s.get("k").range("bytes=999990-1000005").send())
        .unwrap();
    assert_eq!(
        (part.content_range(), part.content_length()),
        (Some("bytes 999990-999999/1000000"), Some(10))
    );
    assert_eq!(
        refusal(s.runtime.block_on(s.get("k").range("bytes=1000000-").send())),
        (416, "InvalidRange".to_owned())
    );
}

#[test]
fn a_bucket_without_versioning_keeps_the_newest_only() {
    let s = setting();
    s.s3.unversioned("artifacts");
    s.s3.put("artifacts", "k", "first");
    assert_eq!(s.s3.put("artifacts", "k", "second").version, "null");
    let got = s.runtime.block_on(s.get("k").send()).unwrap();
    assert_eq!(got.version_id(), None);
    assert_eq!(s.read(s.get("k")), b"second");
}

#[test]
fn what_is_not_there_is_said_by_name() {
    let s = setting();
    assert_eq!(
        refusal(s.runtime.block_on(s.get("k").send())),
        (404, "NoSuchBucket".to_owned())
    );
    s.s3.put("artifacts", "other", "");
    assert_eq!(
        refusal(s.runtime.block_on(s.get("k").send())),
        (404, "NoSuchKey".to_owned())
    );
    let head = s.client.head_object().bucket("artifacts").key("k");
    assert_eq!(refusal(s.runtime.block_on(head.send())).0, 404);
}

#[test]
fn a_wrong_key_and_no_key_are_refused() {
    let s = setting();
    s.s3.put("artifacts", "k", "x");
    let stranger = client(&s.s3, "wrong").get_object().bucket("artifacts").key("k");
    assert_eq!(
        refusal(s.runtime.block_on(stranger.send())),
        (403, "SignatureDoesNotMatch".to_owned())
    );
    let mut stream = TcpStream::connect(s.s3.endpoint().trim_start_matches("http://")).unwrap();
    stream
        .write_all(b"GET /artifacts/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("AccessDenied"),
        "{answer}"
    );
    assert_eq!(s.s3.requests(), 2);
}

#[test]
fn what_the_sdk_stores_can_be_read_and_listed() {
    let s = setting();
    s.runtime
        .block_on(s.client.create_bucket().bucket("artifacts").send())
        .unwrap();
    for key in ["reports/1.json", "reports/2.json", "x"] {
        let put = s
            .client
            .put_object()
            .bucket("artifacts")
            .key(key)
            .body(ByteStream::from(key.as_bytes().to_vec()));
        s.runtime.block_on(put.send()).unwrap();
    }
    assert_eq!(s.s3.get("artifacts", "reports/2.json").unwrap(), b"reports/2.json");
    let list = s
        .runtime
        .block_on(s.client.list_objects_v2().bucket("artifacts").prefix("reports/").send())
        .unwrap();
    let keys: Vec<_> = list
        .contents()
        .iter()
        .map(|object| (object.key().unwrap(), object.size().unwrap()))
        .collect();
    assert_eq!(keys, [("reports/1.json", 14), ("reports/2.json", 14)]);
}

#[test]
fn faults_come_in_their_turn() {
    let s = setting();
    let first = s.s3.put("artifacts", "k", vec![7; 300_000]);
    s.s3.fail(1, 503, "SlowDown");
    s.s3.fail(1, 403, "AccessDenied");
    s.s3.fault(Fault::None);
    s.s3.fault(Fault::CutBody(100_000));
    s.s3.fault(Fault::Overwrite {
        bucket: "artifacts".into(),
        key: "k".into(),
        bytes: b"new".into(),
    });
    assert_eq!(
        refusal(s.runtime.block_on(s.get("k").send())),
        (503, "SlowDown".to_owned())
    );
    assert_eq!(
        refusal(s.runtime.block_on(s.get("k").send())),
        (403, "AccessDenied".to_owned())
    );
    assert_eq!(s.read(s.get("k")).len(), 300_000);
    let body = s
        .runtime
        .block_on(async { s.get("k").send().await.unwrap().body.collect().await });
    assert!(body.is_err(), "the body was not cut");
    let changed = s.runtime.block_on(s.get("k").if_match(&first.etag).send());
    assert_eq!(refusal(changed), (412, "PreconditionFailed".to_owned()));
    assert_eq!(s.read(s.get("k")), b"new");
}
