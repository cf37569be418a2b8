//! HTTP: JSON 1.1 as the SDK speaks it (`X-Amz-Target`), the faults on request, and the metadata that ECS tells a container.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::Shared;
use super::{describe, logs, run_task};

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// ThrottlingException.
    Throttled,
    /// 500, the service's own fault.
    Internal,
    /// ExpiredTokenException: the credentials are too old.
    ExpiredToken,
    /// AccessDeniedException.
    AccessDenied,
    /// The connection is closed without an answer, and nothing is done.
    Close,
    /// It is done, and the connection is closed without an answer.
    CloseAfter,
    /// DescribeTasks does not know the tasks yet: ECS is eventually consistent.
    Unknown,
    /// GetLogEvents finds nothing on this page, and says that there may be more.
    EmptyPage,
}

/// An operation's answer.
pub(super) type Answer = Result<Value, Refusal>;

/// An error, as JSON 1.1 has them.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    body: Value,
}

impl Refusal {
    fn new(status: u16, code: &str, message: &str) -> Refusal {
        let body = json!({ "__type": code, "message": message });
        Refusal { status, body }
    }

    pub(super) fn client(code: &str, message: &str) -> Refusal {
        Refusal::new(400, code, message)
    }

    pub(super) fn invalid(message: &str) -> Refusal {
        Refusal::client("InvalidParameterException", message)
    }

    /// What AWS may well do, and this does not.
    pub(super) fn not_implemented(what: &str) -> Refusal {
        Refusal::client(
            "UnknownOperationException",
            &format!("the harness does not implement {what}"),
        )
    }

    pub(super) fn with(mut self, name: &str, value: Value) -> Refusal {
        self.body[name] = value;
        self
    }
}

/// A parameter that is a text; one that is empty is none.
pub(super) fn text<'a>(request: &'a Value, name: &str) -> Option<&'a str> {
    request[name].as_str().filter(|text| !text.is_empty())
}

pub(super) fn bind(runtime: &Runtime) -> (TcpListener, SocketAddr) {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)));
    let listener = listener.expect("no port for ECS");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
        // A client that goes away in the middle is no business of the server's.
        tokio::spawn(async move {
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok()
        });
    }
}

/// The connection is closed: hyper does so when a service fails.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on request")
    }
}

impl std::error::Error for Closed {}

impl From<Infallible> for Closed {
    fn from(never: Infallible) -> Closed {
        match never {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Closed> {
    if request.method() == Method::GET {
        return Ok(metadata(&shared, request.uri().path()));
    }
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (target, authorization) = (header("x-amz-target"), header("authorization"));
    let body = request.into_body().collect().await.map_err(|_| Closed)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = dispatch(&shared, &target, &authorization, &body)?;
    let (status, body) = answer.map_or_else(|refusal| (refusal.status, refusal.body), |body| (200, body));
    Ok(respond(status, &body))
}

/// One operation, or the fault that is in its way.
fn dispatch(shared: &Arc<Shared>, target: &str, authorization: &str, body: &Value) -> Result<Answer, Closed> {
    let (service, operation) = target.split_once('.').unwrap_or_default();
    let name = match service {
        "AmazonEC2ContainerServiceV20141113" => "ecs",
        "Logs_20140328" => "logs",
        _ => return Ok(Err(Refusal::client("UnknownOperationException", target))),
    };
    if !authorization.contains(&format!("/{}/{name}/aws4_request", super::REGION)) {
        let message = "Missing Authentication Token";
        return Ok(Err(Refusal::client("MissingAuthenticationTokenException", message)));
    }
    let fault = {
        let mut state = shared.lock();
        state.requests.push((operation.to_owned(), body.clone()));
        if state
            .expired
            .iter()
            .any(|key| authorization.contains(&format!("Credential={key}/")))
        {
            let message = "The security token included in the request is expired";
            return Ok(Err(Refusal::client("ExpiredTokenException", message)));
        }
        state.faults.get_mut(operation).and_then(|faults| faults.pop_front())
    };
    match &fault {
        Some(Fault::Throttled) => return Ok(Err(Refusal::client("ThrottlingException", "Rate exceeded"))),
        Some(Fault::Internal) => {
            return Ok(Err(Refusal::new(
                500,
                "ServerException",
                "Service Unavailable. Please try again later.",
            )));
        }
        Some(Fault::ExpiredToken) => {
            let message = "The security token included in the request is expired";
            return Ok(Err(Refusal::client("ExpiredTokenException", message)));
        }
        Some(Fault::AccessDenied) => {
            let message = format!(
                "User: arn:aws:iam::{}:user/nobody is not authorized to perform: {name}:{operation}",
                super::ACCOUNT
            );
            return Ok(Err(Refusal::client("AccessDeniedException", &message)));
        }
        Some(Fault::Close) => return Err(Closed),
        Some(Fault::CloseAfter | Fault::Unknown | Fault::EmptyPage) | None => {}
    }
    let answer = match operation {
        "RunTask" => run_task::run_task(shared, body),
        "StopTask" => run_task::stop_task(shared, body),
        "DescribeTasks" => describe::describe_tasks(shared, body, fault == Some(Fault::Unknown)),
        "ListTasks" => describe::list_tasks(shared, body),
        "DescribeTaskDefinition" => describe::describe_task_definition(shared, body),
        "GetLogEvents" => logs::get_log_events(shared, body, fault == Some(Fault::EmptyPage)),
        other => Err(Refusal::not_implemented(other)),
    };
    if fault == Some(Fault::CloseAfter) {
        return Err(Closed);
    }
    Ok(answer)
}

/// `/v4/<task id>-1` is the container, `/v4/<task id>-1/task` its task.
fn metadata(shared: &Shared, path: &str) -> Response<Full<Bytes>> {
    let of_task = path.ends_with("/task");
    let id = path
        .trim_start_matches("/v4/")
        .trim_end_matches("/task")
        .trim_end_matches("-1");
    let state = shared.lock();
    match state.tasks.get(id) {
        Some(task) => respond(200, &task.metadata(of_task)),
        None => respond(404, &Value::Null),
    }
}

fn respond(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amzn-requestid", uuid::Uuid::new_v4().to_string())
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("an answer can be built")
}
