//! Secrets Manager in a process of its own: moto's server, which checks access keys and IAM policies once it is told to.
//!
//! It comes from PyPI, pinned, on first use, into a virtual environment in the build's target folder, and ends with the test process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::python::programs;
use crate::token;

const REQUIREMENTS: &str = include_str!("secrets_manager/requirements.txt");
const SERVER: &str = include_str!("secrets_manager/server.py");

/// The region of every secret.
pub const REGION: &str = "eu-west-1";

/// A running service.
#[derive(Debug)]
pub struct SecretsManager {
    port: u16,
    access_key: String,
    secret_key: String,
    /// The server ends when this closes.
    stdin: Option<ChildStdin>,
    child: Child,
}

impl SecretsManager {
    /// The one of this test process, started on first use. It hands every secret to everybody.
    pub fn shared() -> &'static SecretsManager {
        static SHARED: OnceLock<SecretsManager> = OnceLock::new();
        SHARED.get_or_init(SecretsManager::start)
    }

    /// One of a test's own.
    pub fn start() -> SecretsManager {
        let mut command = Command::new(programs("moto", REQUIREMENTS).join("python"));
        // A process group of its own: Ctrl-C ends the tests, and then it ends by itself.
        command.args(["-c", SERVER]).process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("cannot run moto's server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("moto's server says nothing");
        SecretsManager {
            port: line.trim().parse().expect("moto's server names no port"),
            access_key: format!("AKIA{}", token().to_uppercase()),
            secret_key: format!("{}{}", token(), token()),
            stdin: child.stdin.take(),
            child,
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The secret access key: letters and digits only.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The variables by which an AWS SDK finds this service and signs for it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut variables = self.place();
        variables.extend([
            ("AWS_ACCESS_KEY_ID".to_owned(), self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), self.secret_key.clone()),
        ]);
        variables
    }

    /// The same without credentials.
    pub fn place(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.endpoint()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Makes a secret with a name of its own; its ARN.
    pub fn create(&self, text: &str) -> String {
        let name = format!("newsroom/db-{}", token());
        let made = self.call(
            "CreateSecret",
            &json!({ "Name": name, "SecretString": text, "ClientRequestToken": uuid::Uuid::new_v4().to_string() }),
        );
        made["ARN"].as_str().expect("a secret has an ARN").to_owned()
    }

    /// Gives a secret a new current version.
    pub fn put(&self, arn: &str, text: &str) {
        self.call(
            "PutSecretValue",
            &json!({ "SecretId": arn, "SecretString": text, "ClientRequestToken": uuid::Uuid::new_v4().to_string() }),
        );
    }

    /// Marks a secret for deletion.
    pub fn delete(&self, arn: &str) {
        self.call("DeleteSecret", &json!({ "SecretId": arn, "RecoveryWindowInDays": 7 }));
    }

    /// An IAM user that may do nothing: its access key id and secret access key. From now on policies are checked, so this is for a service of a
    /// test's own.
    pub fn powerless_user(&self) -> (String, String) {
        let made = ["Action=CreateUser", "Action=CreateAccessKey"].map(|action| {
            let body = format!("{action}&UserName=nobody&Version=2010-05-08");
            self.request(
                "/",
                &[("Content-Type", "application/x-www-form-urlencoded")],
                "iam",
                &body,
            )
        });
        let between = |tag: &str| {
            let text = made[1]
                .split_once(&format!("<{tag}>"))
                .and_then(|(_, rest)| rest.split_once('<'));
            text.unwrap_or_else(|| panic!("no {tag} in {}", made[1])).0.to_owned()
        };
        self.request("/moto-api/reset-auth", &[], "iam", "0");
        (between("AccessKeyId"), between("SecretAccessKey"))
    }

    fn call(&self, action: &str, body: &Value) -> Value {
        let target = format!("secretsmanager.{action}");
        let headers = [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("X-Amz-Target", target.as_str()),
        ];
        let answer = self.request("/", &headers, "secretsmanager", &body.to_string());
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{action}: {error}\n{answer}"))
    }

    /// A POST; the body of its answer, which must be a 200.
    fn request(&self, path: &str, headers: &[(&str, &str)], service: &str, body: &str) -> String {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("moto's server is gone");
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\
             Authorization: AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n{body}",
            body.len()
        )
        .expect("moto's server does not listen");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("moto's server does not answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("moto's server speaks no HTTP");
        assert!(head.contains(" 200 "), "{answer}");
        body.to_owned()
    }
}

impl Drop for SecretsManager {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
