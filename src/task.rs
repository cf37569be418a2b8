//! The ECS task that this process is the container of: what it runs, and where its log can be read.

use crate::aws;
use crate::http::Http;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// How long ECS's metadata is waited for, in all: it comes from this machine, and the run does not depend on it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The task, in ECS's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Task {
    /// The task's ARN.
    pub arn: String,
    /// Its task definition's family.
    pub family: Option<String>,
    /// And revision.
    pub revision: Option<String>,
    /// The digest of the image that this container runs.
    pub image_digest: Option<String>,
    /// The CloudWatch Logs group of this container; none where its log goes elsewhere.
    pub log_group: Option<String>,
    /// The stream in it.
    pub log_stream: Option<String>,
    /// That stream in CloudWatch's console.
    pub log_url: Option<String>,
}

/// Asks ECS. A container outside of ECS has no such address; one in it that cannot be reached is worth a line of the log and no more.
pub async fn of(metadata: &str) -> Option<Task> {
    match tokio::time::timeout(TIMEOUT, fetch(metadata)).await {
        Ok(Ok(task)) => Some(task),
        Ok(Err(reason)) => {
            tracing::warn!("what ECS says of this task could not be read: {reason}");
            None
        }
        Err(_) => {
            tracing::warn!("what ECS says of this task could not be read: no answer within {TIMEOUT:?}");
            None
        }
    }
}

async fn fetch(metadata: &str) -> Result<Task, String> {
    let http = Http::here();
    let document = async |url: String| {
        let bytes = http.get(&url).await.map_err(|error| error.to_string())?;
        serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string())
    };
    // The first is this container, the second the task with all of its containers.
    let (container, task) = tokio::try_join!(document(metadata.to_owned()), document(format!("{metadata}/task")))?;
    read(&container, &task).ok_or_else(|| "it holds no TaskARN".to_owned())
}

/// Source: the ECS developer guide, "Amazon ECS task metadata endpoint version 4".
fn read(container: &Value, task: &Value) -> Option<Task> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let arn = text(&task["TaskARN"])?;
    let options = &container["LogOptions"];
    let (log_group, log_stream) = (text(&options["awslogs-group"]), text(&options["awslogs-stream"]));
    let region = text(&options["awslogs-region"]).or_else(|| arn.split(':').nth(3).map(str::to_owned));
    let log_url = match (&region, &log_group, &log_stream) {
        (Some(region), Some(group), Some(stream)) => Some(log_url(region, group, stream)),
        _ => None,
    };
    Some(Task {
        arn,
        family: text(&task["Family"]),
        revision: text(&task["Revision"]),
        image_digest: text(&container["ImageID"]),
        log_group,
        log_stream,
        log_url,
    })
}

/// What JavaScript's `encodeURIComponent` leaves as it is, by which the console encodes.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The stream in the console: names are encoded twice there, and `%` is written as `$`.
pub(crate) fn log_url(region: &str, group: &str, stream: &str) -> String {
    let encoded = |name: &str| {
        let once = utf8_percent_encode(name, COMPONENT).to_string();
        utf8_percent_encode(&once, COMPONENT).to_string().replace('%', "$")
    };
    let console = match aws::partition(region) {
        "aws-cn" => "console.amazonaws.cn",
        "aws-us-gov" => "console.amazonaws-us-gov.com",
        _ => "console.aws.amazon.com",
    };
    format!(
        "https://{region}.{console}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{}/log-events/{}",
        encoded(group),
        encoded(stream)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_log_is_linked_in_each_partition() {
        let table = [
            (
                "eu-west-1",
                "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1",
            ),
            (
                "cn-north-1",
                "https://cn-north-1.console.amazonaws.cn/cloudwatch/home?region=cn-north-1",
            ),
            (
                "us-gov-west-1",
                "https://us-gov-west-1.console.amazonaws-us-gov.com/cloudwatch/home?region=us-gov-west-1",
            ),
        ];
        for (region, console) in table {
            assert_eq!(
                log_url(region, "/ecs/a b", "x/$y"),
                format!("{console}#logsV2:log-groups/log-group/$252Fecs$252Fa$2520b/log-events/x$252F$2524y")
            );
        }
    }

    #[test]
    fn what_is_not_told_is_not_guessed() {
        let arn = "arn:aws:ecs:eu-west-1:123456789012:task/c/1";
        let task = read(&json!({"LogDriver": "awsfirelens"}), &json!({"TaskARN": arn})).unwrap();
        assert_eq!((task.arn.as_str(), task.log_url, task.family), (arn, None, None));
        assert_eq!(read(&json!({}), &json!({"Family": "f"})), None);
    }
}
