//! What an upload's runs have reported to S3: it stays when ECS has forgotten their tasks.

use crate::artifact::s3::{self, Address};
use crate::outcome::{self, Outcome};
use crate::pipeline::bucket;
use crate::pipeline::place::Place;
use crate::pipeline::uploaded::Uploaded;
use std::collections::BTreeSet;

/// The largest report that is read.
const LARGEST_REPORT: u64 = 256 << 20;

/// The reports of an upload's runs.
#[derive(Debug, Default)]
pub(super) struct Reports {
    seen: BTreeSet<String>,
    told: Vec<Outcome>,
    /// Set once it was said that they cannot be had.
    silent: bool,
}

impl Reports {
    /// Reads those that are new. What cannot be read is said once: ECS and the log tell most of it too.
    pub(super) async fn read(&mut self, uploaded: &Uploaded, place: &Place) -> &[Outcome] {
        for folder in uploaded.report_folders() {
            let Some(place) = place.below_reports(&folder) else {
                break;
            };
            let keys = match bucket::list(&place.bucket, &place.key).await {
                Ok(keys) => keys,
                Err(error) => {
                    if !std::mem::replace(&mut self.silent, true) {
                        let next = error.next_step().replace("the task role", "these credentials");
                        tracing::warn!("the reports of earlier tasks cannot be listed: {error}; {next}");
                    }
                    break;
                }
            };
            for (key, stored_at) in keys {
                let is_older = uploaded.stored_at.is_some_and(|uploaded| stored_at < uploaded);
                if is_older || !self.seen.insert(key.clone()) {
                    continue;
                }
                let address = Address { key, ..place.clone() };
                let document = s3::whole(&address, LARGEST_REPORT).await;
                let outcome = document
                    .map_err(|error| error.to_string())
                    .and_then(|document| outcome::read(&document).map_err(|error| error.to_string()));
                match outcome {
                    Ok(outcome) if outcome.verb == "deploy" => self.told.push(outcome),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(
                        "the report s3://{}/{} cannot be read: {error}",
                        address.bucket,
                        address.key
                    ),
                }
            }
        }
        &self.told
    }

    pub(super) fn take(&mut self, at: usize) -> Outcome {
        self.told.swap_remove(at)
    }

    pub(super) fn take_of(&mut self, arn: &str) -> Option<Outcome> {
        let of = |outcome: &Outcome| outcome.task.as_ref().is_some_and(|task| task.arn == arn);
        self.told.iter().position(of).map(|at| self.take(at))
    }

    pub(super) fn all(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.told)
    }
}
