//! A small HTTP server that records what it is asked: the bucket behind CloudFormation's presigned URLs, and the metadata that ECS tells a container.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `PUT`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// As long as `content-length` says.
    pub body: String,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is answered with this status and nothing else.
    Status(u16),
    /// The connection is closed without an answer.
    Close,
    /// It is never answered.
    Silence,
}

/// The server on 127.0.0.1. Its threads live as long as the test process.
#[derive(Clone, Debug)]
pub struct Endpoint {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    replies: VecDeque<Reply>,
    always: Option<Reply>,
    documents: BTreeMap<String, String>,
    /// Connections that wait for an answer which never comes.
    waiting: Vec<TcpStream>,
}

impl Endpoint {
    /// A server on a port that was free, which answers everything with 200.
    pub fn start() -> Endpoint {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("no port for an endpoint");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Endpoint { port, state }
    }

    /// The URL of this path.
    pub fn url(&self, target: &str) -> String {
        format!("http://127.0.0.1:{}{target}", self.port)
    }

    /// Answers requests for this path with this document.
    pub fn document(&self, target: &str, document: &serde_json::Value) {
        let mut state = self.state.lock().unwrap();
        state.documents.insert(target.to_owned(), document.to_string());
    }

    /// Puts replies in the queue: every request takes one, the first the first.
    pub fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().replies.extend(replies);
    }

    /// From now on every request for which the queue holds nothing has this reply.
    pub fn always(&self, reply: Reply) {
        self.state.lock().unwrap().always = Some(reply);
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Sets what ECS sets and tells: the task `migrate` of version 7 in eu-west-1, with its log in CloudWatch.
    pub fn ecs(&self) -> Vec<(String, String)> {
        let path = "/v4/0123456789abcdef-1";
        let container = serde_json::json!({
            "DockerId": "0123456789abcdef-1",
            "Name": "migrate",
            "ImageID": "sha256:5f0d3c2f",
            "LogDriver": "awslogs",
            "LogOptions": {"awslogs-group": "/ecs/migrate", "awslogs-region": "eu-west-1", "awslogs-stream": "ecs/migrate/0123"},
        });
        let task = serde_json::json!({
            "Cluster": "newsroom",
            "TaskARN": "arn:aws:ecs:eu-west-1:123456789012:task/newsroom/0123",
            "Family": "migrate",
            "Revision": "7",
            "Containers": [container],
        });
        self.document(path, &container);
        self.document(&format!("{path}/task"), &task);
        vec![("ECS_CONTAINER_METADATA_URI_V4".to_owned(), self.url(path))]
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be shared"));
    // A client that goes away in the middle is no business of ours.
    while let Some(request) = read(&mut reader) {
        let mut state = state.lock().unwrap();
        let reply = state.replies.pop_front().or(state.always);
        let document = state.documents.get(&request.target).cloned().unwrap_or_default();
        state.requests.push(request);
        let status = match reply {
            None => 200,
            Some(Reply::Status(status)) => status,
            Some(Reply::Close) => return,
            Some(Reply::Silence) => {
                state.waiting.push(stream);
                return;
            }
        };
        drop(state);
        let head = format!("HTTP/1.1 {status} It\r\nContent-Length: {}\r\n\r\n", document.len());
        if stream.write_all(format!("{head}{document}").as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first()?.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let headers: BTreeMap<String, String> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        target,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
