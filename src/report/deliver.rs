//! Brings the outcome to those who wait for it elsewhere: an object in S3, CloudFormation.
//!
//! All at once, since none of them may keep the others waiting; each again and again while it makes sense; all of them bounded, by the time that the run
//! has to stop where it is to stop. What cannot be delivered makes exit code 70 of a success, and nothing of a failure, which is the truer word.

use super::answer::Answer;
use super::place::Place;
use super::{document, undelivered};
use crate::artifact::s3::{self, Address};
use crate::http::{Http, HttpError};
use crate::outcome::Outcome;
use crate::settings::Output;
use crate::stop::Stop;
use futures_util::future::join_all;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long each is tried where the run is not to stop.
const LIMIT: Duration = Duration::from_secs(120);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The pause behind the first attempt; twice as long each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether anybody waits for it elsewhere.
pub fn waits(output: &Output) -> bool {
    matches!(output.report, Some(Place::Object(_) | Place::Below(_))) || !output.answers.is_empty()
}

/// Delivers it. What failed is in its warnings and its exit code.
pub async fn deliver(outcome: &mut Outcome, output: &Output, stop: &Stop) {
    let object = match &output.report {
        Some(Place::Object(address)) => Some(address.clone()),
        Some(Place::Below(prefix)) => Some(prefix.object(outcome)),
        Some(Place::File(_)) | None => None,
    };
    // Whoever waits is told by the last run alone.
    let is_last = output.retries == 0 || !outcome.exit_code.is_start_again();
    let answers = if is_last { output.answers.as_slice() } else { &[] };
    if !is_last && !output.answers.is_empty() {
        tracing::warn!(
            "CloudFormation is not answered yet: its gate starts the task again, {} more at most",
            times(output.retries)
        );
    }
    if object.is_none() && answers.is_empty() {
        return;
    }
    let over = async || tokio::select! { () = sleep(LIMIT) => {}, () = stop.over() => {} };
    let told = &*outcome;
    let http = Http::anywhere();
    let report = async {
        match &object {
            Some(address) => put_report(told, address, over()).await.err(),
            None => None,
        }
    };
    let answers = answers.iter().map(|answer| put_answer(answer, &http, told, over()));
    let (report, answers) = tokio::join!(report, join_all(answers));
    for what in report.into_iter().chain(answers.into_iter().filter_map(Result::err)) {
        undelivered(outcome, what);
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

async fn put_report(outcome: &Outcome, to: &Address, over: impl Future<Output = ()>) -> Result<(), String> {
    let name = format!("s3://{}/{}", to.bucket, to.key);
    let text = format!("{:#}\n", document(outcome));
    tokio::select! {
        put = s3::put(to, "application/json", text.into_bytes()) => match put {
            Ok(_) => {
                tracing::info!("the report is in {name}");
                Ok(())
            }
            Err(error) => Err(format!("the report could not be written to {name}: {error}; {}", error.next_step())),
        },
        () = over => Err(format!("the report could not be written to {name}: S3 did not take it in time")),
    }
}

async fn put_answer(
    answer: &Answer,
    http: &Http,
    outcome: &Outcome,
    over: impl Future<Output = ()>,
) -> Result<(), String> {
    let (name, body) = (answer.name(), answer.body(outcome));
    let taken = until_taken(async || http.put(answer.url(), &body).await, over).await;
    match taken {
        Ok(()) => {
            tracing::info!("{name} has its answer");
            Ok(())
        }
        Err(error) => Err(format!("{name} could not be answered: {error}")),
    }
}

/// Tries until it is taken, or refused for good, or time is over.
async fn until_taken(
    mut attempt: impl AsyncFnMut() -> Result<(), HttpError>,
    over: impl Future<Output = ()>,
) -> Result<(), HttpError> {
    let mut over = pin!(over);
    let mut pause = PAUSE;
    let mut last = HttpError::Timeout;
    loop {
        let tried = tokio::select! {
            biased;
            tried = timeout(ATTEMPT, attempt()) => tried.unwrap_or(Err(HttpError::Timeout)),
            () = &mut over => return Err(last),
        };
        match tried {
            Err(error) if error.is_passing() => {
                tracing::debug!("an answer was not taken, and is sent again: {error}");
                last = error;
            }
            done => return done,
        }
        tokio::select! {
            () = sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
            () = &mut over => return Err(last),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(after: Duration, answers: impl Fn(usize) -> Result<(), HttpError>) -> (Result<(), HttpError>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut tries = 0;
        let attempt = async || {
            tries += 1;
            answers(tries)
        };
        let ended = runtime.block_on(async { until_taken(attempt, sleep(after)).await });
        (ended, tries)
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let long = Duration::from_secs(60);
        let unavailable = |tries| match tries {
            1 => Err(HttpError::Status(503)),
            2 => Err(HttpError::Unreachable(String::new())),
            _ => Ok(()),
        };
        assert_eq!(ends(long, unavailable), (Ok(()), 3));
        for status in [301, 400, 403, 404] {
            assert_eq!(
                ends(long, |_| Err(HttpError::Status(status))),
                (Err(HttpError::Status(status)), 1)
            );
        }
        let (ended, tries) = ends(PAUSE * 3, |_| Err(HttpError::Status(500)));
        assert_eq!(ended, Err(HttpError::Status(500)));
        assert!(tries >= 2, "{tries}");
    }
}
