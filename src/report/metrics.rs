//! CloudWatch metrics: one line of the log in the embedded metric format, out of which CloudWatch Logs makes them by itself.

use crate::outcome::Outcome;
use crate::stderr;
use serde_json::json;
use std::time::SystemTime;

/// Writes the line to standard error. Nobody reads it there but CloudWatch: that it cannot be written changes nothing.
pub fn write(outcome: &Outcome) {
    stderr::line(line(outcome, SystemTime::now()).to_string());
}

/// Source: the CloudWatch user guide, "Embedded metric format specification". Dimensions that are not known are left out.
fn line(outcome: &Outcome, now: SystemTime) -> serde_json::Value {
    let family = outcome.task.as_ref().and_then(|task| task.family.as_deref());
    let dimensions = match family {
        Some(_) => vec!["Family", "Verb"],
        None => vec!["Verb"],
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut line = json!({
        "_aws": {
            "Timestamp": crate::outcome::millis(now),
            "CloudWatchMetrics": [{
                "Namespace": "PrismaMigrateTask",
                "Dimensions": [dimensions],
                "Metrics": [
                    {"Name": "Duration", "Unit": "Milliseconds"},
                    {"Name": "Applied", "Unit": "Count"},
                    {"Name": "ExitCode", "Unit": "None"},
                ],
            }],
        },
        "Verb": outcome.verb,
        "Duration": outcome.duration_ms,
        "Applied": outcome.applied.len(),
        "ExitCode": outcome.exit_code.code(),
        "RunId": outcome.run_id,
    });
    if let Some(family) = family {
        line["Family"] = family.into();
    }
    line
}
