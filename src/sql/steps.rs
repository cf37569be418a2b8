//! A script in steps: what is sent as one where the server refuses the whole.

use super::kind::{Alone, Kind};
use super::script::{self, Shape, Statement};
use crate::migration::sha256;
use std::ops::Range;

/// What is sent as one: a statement, or a transaction of the script's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its bytes in the script.
    pub range: Range<usize>,
    /// Where our note goes, in bytes from its beginning.
    pub head: usize,
    /// Set where it cannot run in a transaction.
    pub alone: Option<Alone>,
    /// Whether it only changes settings of the session.
    pub setting: bool,
}

/// A script's steps, in order. A script of a single statement is one step, comments and all, as its author wrote it.
pub fn steps(script: &str, statements: &[Statement]) -> Vec<Step> {
    if let [only] = statements {
        let alone = match &only.kind {
            Kind::Alone(alone) => Some(alone.as_ref().clone()),
            _ => None,
        };
        return vec![Step {
            range: 0..script.len(),
            head: 0,
            alone,
            setting: only.kind == Kind::Setting,
        }];
    }
    let mut found = Vec::new();
    let mut rest = statements;
    while let Some(first) = rest.first() {
        let length = match first.kind {
            Kind::Begin { .. } => rest
                .iter()
                .position(|s| matches!(s.kind, Kind::Commit { chain: false }))
                .map_or(rest.len(), |at| at + 1),
            _ => 1,
        };
        let (group, after) = rest.split_at(length);
        rest = after;
        let range = first.range.start..group.last().map_or(first.range.end, |last| last.range.end);
        let head = match script::shape(group) {
            Shape::Atomic { head, .. } => head.saturating_sub(range.start),
            _ => 0,
        };
        let alone = match &first.kind {
            Kind::Alone(alone) => Some(alone.as_ref().clone()),
            _ => None,
        };
        found.push(Step {
            range,
            head,
            alone,
            setting: first.kind == Kind::Setting,
        });
    }
    found
}

/// SHA-256 of the script up to the end of a number of steps: proves to a later run that the text it skips is the text that ran.
pub fn prefix(script: &str, steps: &[Step], done: usize) -> String {
    let end = done
        .checked_sub(1)
        .and_then(|last| steps.get(last))
        .map_or(0, |step| step.range.end);
    sha256(&script.as_bytes()[..end])
}
