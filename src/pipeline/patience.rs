//! Requests that are made until they are answered: what passes is waited for, what never will is told.
//!
//! Lost connections, throttling and 5xx pass. Credentials that have expired pass too while a task runs, since it runs on without us and a person can
//! renew them meanwhile. Each trouble is said once, and its end once.

use super::clients::Clients;
use crate::artifact::s3::failure::Failure as Answer;
use crate::exit::Exit;
use crate::failure::Failure;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The pause behind the first failure; twice as long each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Nothing has begun: so long, and not for credentials that are refused.
    For(Duration),
    /// A task runs, or a snapshot is being taken: as long as it takes.
    Endless,
}

/// For what comes before there is anything to wait for.
pub const SHORT: Patience = Patience::For(Duration::from_secs(120));

/// A request by the permission that it needs, and what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Such as `ecs:RunTask`.
    pub action: &'static str,
    /// The resource, as a person knows it.
    pub on: &'a str,
}

/// A request that will not be answered as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    action: &'static str,
    on: String,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// It passes.
    Passing(String),
    /// They are missing, expired or unknown.
    Credentials(String),
    /// The caller may not.
    Denied(String),
    /// Anything else that the service says.
    Answer { status: u16, code: String, message: String },
    /// The request cannot be made, or what answers is no AWS.
    Wrong(String),
}

impl Refused {
    /// The service's code, where it has answered with one.
    pub fn code(&self) -> &str {
        match &self.why {
            Why::Answer { code, .. } => code,
            _ => "",
        }
    }

    /// Whether another attempt may have been heard, although no answer came back.
    pub fn is_passing(&self) -> bool {
        matches!(self.why, Why::Passing(_))
    }

    /// The failure of a run that has started nothing yet.
    pub fn before_start(self) -> Failure {
        let exit = if self.is_passing() {
            Exit::NeverStarted
        } else {
            Exit::Usage
        };
        Failure::new(exit, self.to_string(), self.next())
    }

    /// What to do about it.
    pub fn next(&self) -> String {
        match &self.why {
            Why::Passing(_) => "see that this machine reaches AWS, and start again".to_owned(),
            Why::Credentials(reason) if reason.to_lowercase().contains("sso") => {
                "sign in with `aws sso login`, and start again".to_owned()
            }
            Why::Credentials(_) => "renew the AWS credentials, and start again".to_owned(),
            Why::Denied(_) => format!("give these credentials {} on {}", self.action, self.on),
            Why::Answer { .. } => "check the names, the AWS account and the region".to_owned(),
            Why::Wrong(_) => "check AWS_ENDPOINT_URL and the proxy variables (HTTPS_PROXY, NO_PROXY)".to_owned(),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { action, on, why } = self;
        match why {
            Why::Passing(reason) => write!(f, "{action} on {on} was not answered: {reason}"),
            Why::Credentials(reason) => write!(
                f,
                "AWS credentials are missing, expired or unknown ({action}): {reason}"
            ),
            Why::Denied(message) => write!(f, "{action} on {on} is denied: {message}"),
            Why::Answer { status, code, message } => {
                write!(f, "{action} on {on} was refused: {status} {code}: {message}")
            }
            Why::Wrong(reason) => write!(f, "{action} on {on} cannot be asked: {reason}"),
        }
    }
}

/// Asks until there is an answer.
///
/// # Errors
/// There will be none, or not in time.
pub async fn insist<T, E>(
    clients: &Clients,
    request: Request<'_>,
    patience: Patience,
    ask: impl AsyncFn() -> Result<T, SdkError<E, HttpResponse>>,
) -> Result<T, Refused>
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    let began = Instant::now();
    let mut pause = PAUSE;
    let mut said = false;
    loop {
        let why = match ask().await {
            Ok(answer) => {
                if clients.credentials_refused(false) {
                    tracing::info!("the AWS credentials are valid again");
                } else if said {
                    tracing::info!("{} on {} is answered again", request.action, request.on);
                }
                return Ok(answer);
            }
            Err(error) => why(Answer::of(&error), clients, patience).await,
        };
        let refused = Refused {
            action: request.action,
            on: request.on.to_owned(),
            why,
        };
        let goes_on = match (&refused.why, patience) {
            (Why::Passing(_), Patience::For(time)) => began.elapsed() + pause < time,
            (Why::Passing(_) | Why::Credentials(_), Patience::Endless) => true,
            _ => false,
        };
        if !goes_on {
            return Err(refused);
        }
        let is_news = match refused.why {
            Why::Credentials(_) => clients.credentials_refused(true),
            _ => !std::mem::replace(&mut said, true),
        };
        if is_news {
            say(&refused);
        }
        sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        if matches!(refused.why, Why::Credentials(_)) {
            clients.renew().await;
        }
    }
}

fn say(refused: &Refused) {
    match &refused.why {
        Why::Credentials(reason) => {
            let how = if reason.to_lowercase().contains("sso") {
                "sign in with `aws sso login` in another terminal"
            } else {
                "renew them"
            };
            tracing::warn!("{refused}; {how}: this goes on as soon as they are valid, and the task goes on meanwhile");
        }
        _ => tracing::warn!("{refused}; trying again until it is"),
    }
}

async fn why(answer: Answer, clients: &Clients, patience: Patience) -> Why {
    match answer {
        Answer::Timeout => match clients.missing_credentials().await {
            Some(reason) => Why::Credentials(reason),
            None => Why::Passing("no answer in time".to_owned()),
        },
        // The SDK says of credentials that it cannot find no more than of a request that it cannot send.
        Answer::Unreachable(reason) => match clients.missing_credentials().await {
            Some(reason) => Why::Credentials(reason),
            None => Why::Passing(reason),
        },
        Answer::Request(reason) => match clients.missing_credentials().await {
            Some(reason) => Why::Credentials(reason),
            None => Why::Wrong(reason),
        },
        Answer::Answer {
            status, code, message, ..
        } => judge(status, code, message, patience),
    }
}

/// Source: each service's API reference, "Common Errors".
fn judge(status: u16, code: String, message: String, patience: Patience) -> Why {
    const THROTTLED: [&str; 5] = [
        "Throttl",
        "TooManyRequests",
        "RequestLimitExceeded",
        "RequestTimeout",
        "PriorRequestNotComplete",
    ];
    match code.as_str() {
        // While something is waited for, a portal that wants a login is no reason to look away for good.
        "" if status < 500 && patience != Patience::Endless => Why::Wrong(format!("what answered {status} is not AWS")),
        _ if status >= 500 || code.is_empty() => Why::Passing(format!("{status} {code}").trim_end().to_owned()),
        // RDS is about something else with the database, such as its nightly backup.
        "InvalidDBInstanceState" | "InvalidDBInstanceStateFault" | "InvalidDBClusterStateFault" => {
            Why::Passing(format!("{code}: {message}"))
        }
        _ if THROTTLED.iter().any(|word| code.contains(word)) => Why::Passing(format!("{status} {code}")),
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidToken"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Why::Credentials(code),
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized" => Why::Denied(message),
        _ => Why::Answer { status, code, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_never_will() {
        let table = [
            (500, "ServerException", "passing"),
            (503, "", "passing"),
            (400, "ThrottlingException", "passing"),
            (400, "Throttling", "passing"),
            (400, "ExpiredTokenException", "credentials"),
            (403, "ExpiredToken", "credentials"),
            (400, "AccessDeniedException", "denied"),
            (400, "ClusterNotFoundException", "answer"),
            (302, "", "wrong"),
        ];
        for (status, code, expected) in table {
            let why = judge(status, code.to_owned(), String::new(), SHORT);
            let kind = match why {
                Why::Passing(_) => "passing",
                Why::Credentials(_) => "credentials",
                Why::Denied(_) => "denied",
                Why::Answer { .. } => "answer",
                Why::Wrong(_) => "wrong",
            };
            assert_eq!(kind, expected, "{status} {code}");
        }
        let portal = judge(302, String::new(), String::new(), Patience::Endless);
        assert!(matches!(portal, Why::Passing(_)), "{portal:?}");
    }

    #[test]
    fn a_missing_permission_is_named_with_its_resource() {
        let refused = Refused {
            action: "ecs:RunTask",
            on: "migrate".into(),
            why: Why::Denied("User: x is not authorized".into()),
        };
        let failure = refused.before_start();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.next, "give these credentials ecs:RunTask on migrate");
    }
}
