//! An S3 server in this process: crate s3s speaks the protocol and checks the signatures, the objects live in memory.
//!
//! What a pinned download depends on is honoured to the letter: `versionId`, `If-Match` and `If-None-Match`, `Range`, ETags. What is not
//! implemented is refused, never ignored. Clients must address buckets by path: `http://127.0.0.1:port/bucket/key`.

mod event;
mod objects;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::token;
pub use objects::{Created, Fault, Stored};
use objects::{Objects, Versioning};

/// A server with one access key, running until the value is dropped.
#[derive(Debug)]
pub struct S3 {
    address: SocketAddr,
    access_key: String,
    secret_key: String,
    objects: Objects,
    runtime: Option<Runtime>,
}

impl S3 {
    /// An empty server on a port that was free, with a key of its own.
    pub fn start() -> S3 {
        S3::listen(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            format!("AKIA{}", token().to_uppercase()),
            format!("{}{}", token(), token()),
        )
    }

    /// An empty server at this address (port 0: one that is free), with this key.
    pub fn listen(address: SocketAddr, access_key: String, secret_key: String) -> S3 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("no runtime for S3");
        let objects = Objects::default();
        let mut service = S3ServiceBuilder::new(objects.clone());
        service.set_auth(SimpleAuth::from_single(access_key.clone(), secret_key.clone()));
        service.set_access(objects.clone());
        let service = service.build();

        let listener = runtime.block_on(TcpListener::bind(address)).expect("no port for S3");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = objects.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, state) = (service.clone(), state.clone());
                let counted = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    state.requests.fetch_add(1, Ordering::SeqCst);
                    Service::call(&service, request)
                });
                // A client that goes away in the middle is no business of the server's.
                tokio::spawn(async move {
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), counted)
                        .await
                        .ok()
                });
            }
        });
        S3 {
            address,
            access_key,
            secret_key,
            objects,
            runtime: Some(runtime),
        }
    }

    /// `http://127.0.0.1:port`, where it listens there.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The access key id.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret key: letters and digits only, so that it looks the same wherever it leaks to.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The variables by which an AWS SDK finds this server and signs for it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL_S3", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Stores an object; a bucket that does not exist is made, with versioning on.
    pub fn put(&self, bucket: &str, key: &str, bytes: impl Into<Vec<u8>>) -> Stored {
        self.objects.make(bucket, Versioning::Enabled);
        self.objects.store(bucket, key, bytes.into())
    }

    /// Makes a bucket without versioning, unless it exists: a later object takes the place of the earlier one.
    pub fn unversioned(&self, bucket: &str) {
        self.objects.make(bucket, Versioning::Off);
    }

    /// Switches on EventBridge for a bucket. Nothing carries its events here: the test starts what the rule would start.
    pub fn tell_eventbridge(&self, bucket: &str) {
        self.objects.tell_eventbridge(bucket);
    }

    /// The version and the etag of the newest object, once there is one.
    pub fn stored(&self, bucket: &str, key: &str) -> Option<Stored> {
        self.objects.stored(bucket, key)
    }

    /// The newest bytes of an object, as a client would read them.
    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.objects.newest(bucket, key)
    }

    /// The objects that were stored so far, the oldest first.
    pub fn created(&self) -> Vec<Created> {
        self.objects.created.lock().unwrap().clone()
    }

    /// How many multipart uploads are neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> usize {
        self.objects.unfinished()
    }

    /// Answers the next `count` requests with an error, such as `(503, "SlowDown")` or `(403, "AccessDenied")`.
    pub fn fail(&self, count: usize, status: u16, code: &str) {
        for _ in 0..count {
            self.fault(Fault::Error {
                status,
                code: code.to_owned(),
            });
        }
    }

    /// Puts a fault in the queue: every request takes one, the first the first.
    pub fn fault(&self, fault: Fault) {
        self.objects.faults.lock().unwrap().push_back(fault);
    }

    /// The requests so far, whatever the answer.
    pub fn requests(&self) -> usize {
        self.objects.requests.load(Ordering::SeqCst)
    }

    /// The bytes of objects that were sent so far; headers and errors do not count.
    pub fn bytes_sent(&self) -> u64 {
        self.objects.sent.load(Ordering::SeqCst)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
