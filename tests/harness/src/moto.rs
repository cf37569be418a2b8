//! moto's server: AWS services in a process of their own, from PyPI, pinned, installed on first use into a virtual environment in the build's target
//! folder. It ends with the test process.
//!
//! Not true to AWS, and so not used: its ECS runs nothing, its EventBridge starts no tasks, its CloudFormation knows no wait conditions and no security
//! groups but its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};

use crate::python::programs;

const REQUIREMENTS: &str = include_str!("moto/requirements.txt");
const SERVER: &str = include_str!("moto/server.py");

/// The region of everything in it.
pub const REGION: &str = "eu-west-1";

/// A running server.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    side_door: u16,
    /// The server ends when this closes.
    stdin: Option<ChildStdin>,
    child: Child,
}

impl Moto {
    /// A server.
    pub fn start() -> Moto {
        Moto::launch(&[])
    }

    /// One whose CloudFormation makes stacks with custom resources: what their functions would be asked is in [`Moto::custom_resources`], and the stack
    /// goes on.
    pub fn with_stacks() -> Moto {
        Moto::launch(&["--stacks"])
    }

    fn launch(arguments: &[&str]) -> Moto {
        let mut command = Command::new(programs("moto", REQUIREMENTS).join("python"));
        // A process group of its own: Ctrl-C ends the tests, and then it ends by itself.
        command.args(["-c", SERVER]).args(arguments).process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("cannot run moto's server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("moto's server says nothing");
        let mut ports = line
            .split_whitespace()
            .map(|port| port.parse().expect("a port is a number"));
        let mut port = || ports.next().expect("moto's server names no port");
        Moto {
            port: port(),
            side_door: port(),
            stdin: child.stdin.take(),
            child,
        }
    }

    /// `http://127.0.0.1:port`, of every service.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Any operation of any service, by boto3's names: `call("ssm", "get_parameter", &json!({ "Name": … }))`.
    #[track_caller]
    pub fn call(&self, service: &str, operation: &str, parameters: &Value) -> Value {
        let body = json!({ "service": service, "operation": operation, "parameters": parameters });
        let answer = self.door("/call", &body);
        answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// DescribeStacks says this status from now on.
    #[track_caller]
    pub fn set_status(&self, stack: &str, status: &str) {
        let answer = self.door("/status", &json!({ "stack": stack, "status": status }));
        answer.unwrap_or_else(|error| panic!("{stack}: {error}"));
    }

    /// Whether an event matches a rule's pattern, by moto's own matcher. An operator that AWS does not document is a panic.
    #[track_caller]
    pub fn matches(&self, pattern: &Value, event: &Value) -> bool {
        let answer = self.door("/match", &json!({ "pattern": pattern, "event": event }));
        let answer = answer.unwrap_or_else(|error| panic!("{error}"));
        answer.as_bool().expect("it matches or not")
    }

    /// What a rule's target is given of an event.
    ///
    /// # Errors
    /// A variable of the template is not in the event: EventBridge could not invoke the target.
    pub fn transform(&self, transformer: &Value, event: &Value) -> Result<Value, String> {
        self.door("/transform", &json!({ "transformer": transformer, "event": event }))
    }

    /// What CloudFormation has asked the functions of custom resources, the oldest first.
    pub fn custom_resources(&self) -> Vec<Value> {
        let events = self.door("/events", &Value::Null).expect("there is always a list");
        events.as_array().cloned().unwrap_or_default()
    }

    fn door(&self, path: &str, body: &Value) -> Result<Value, String> {
        let answer = post(self.side_door, path, "", &body.to_string());
        let (head, body) = answer.split_once("\r\n\r\n").expect("the side door speaks no HTTP");
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}\n{answer}"));
        match head.contains(" 200 ") {
            true => Ok(body),
            false => Err(body.as_str().unwrap_or_default().to_owned()),
        }
    }

    /// A POST as an SDK makes it; the body of its answer, which must be a 200.
    #[track_caller]
    pub(crate) fn request(&self, path: &str, headers: &[(&str, &str)], service: &str, body: &str) -> String {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let authorization = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n"
        );
        let answer = post(self.port, path, &format!("{headers}{authorization}"), body);
        let (head, body) = answer.split_once("\r\n\r\n").expect("moto's server speaks no HTTP");
        assert!(head.contains(" 200 "), "{answer}");
        body.to_owned()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

fn post(port: u16, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("moto's server is gone");
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .expect("moto's server does not listen");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("moto's server does not answer");
    answer
}
