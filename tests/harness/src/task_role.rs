//! The credentials of a task's role, as ECS hands them out: temporary ones, new ones at every request.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::token;

/// Temporary credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// The access key id, different every time.
    pub access_key: String,
    /// The secret access key: letters and digits.
    pub secret_key: String,
    /// The session token.
    pub session_token: String,
}

/// The endpoint on 127.0.0.1. Its thread lives as long as the test process.
#[derive(Debug)]
pub struct TaskRole {
    port: u16,
    authorization: String,
    secret_key: String,
    given: Arc<Mutex<Vec<Temporary>>>,
}

impl TaskRole {
    /// An endpoint on a port that was free.
    pub fn start() -> TaskRole {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("no port for a task's role");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let role = TaskRole {
            port,
            authorization: token(),
            secret_key: format!("{}{}", token(), token()),
            given: Arc::default(),
        };
        let (authorization, secret_key, given) = (
            role.authorization.clone(),
            role.secret_key.clone(),
            Arc::clone(&role.given),
        );
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &authorization, &secret_key, &given);
            }
        });
        role
    }

    /// The variables by which an AWS SDK finds it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                format!("http://127.0.0.1:{}/v2/credentials/1", self.port),
            ),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", self.authorization.clone()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// The secret access key of all that it hands out.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// What was handed out so far.
    pub fn given(&self) -> Vec<Temporary> {
        self.given.lock().unwrap().clone()
    }
}

/// Answers one request, and closes. A client that goes away in the middle is no business of ours.
fn answer(mut stream: TcpStream, authorization: &str, secret_key: &str, given: &Mutex<Vec<Temporary>>) {
    // To the end of the request, which has no body: a connection that is closed with something unread is reset, and the answer may be lost.
    let lines: Vec<String> = BufReader::new(&stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let is_allowed = lines
        .iter()
        .any(|line| line.to_lowercase().starts_with("authorization:") && line.ends_with(authorization));
    if !is_allowed {
        let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let new = Temporary {
        access_key: format!("ASIA{}", token().to_uppercase()),
        secret_key: secret_key.to_owned(),
        session_token: format!("{}/+=={}", token(), token().repeat(60)),
    };
    given.lock().unwrap().push(new.clone());
    let body = json!({
        "AccessKeyId": new.access_key,
        "SecretAccessKey": new.secret_key,
        "Token": new.session_token,
        "Expiration": "2099-01-01T00:00:00Z",
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
    let _ = stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes());
}
