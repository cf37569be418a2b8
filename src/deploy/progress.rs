//! Whether a deploy that takes its turn again and again comes any further.

use crate::database::open::{self, Opened, Server};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{self, History};
use crate::outcome::Outcome;
use std::collections::HashSet;

/// How often a turn is repeated that came no further.
const REPEATED_AT_MOST: usize = 3;

/// How far a deploy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    applied: usize,
    /// The same sentence again is no progress.
    recovered: usize,
    steps: i64,
}

impl Reached {
    fn of(outcome: &Outcome, history: &History) -> Reached {
        Reached {
            applied: outcome.applied.len(),
            recovered: outcome.recovered.iter().collect::<HashSet<_>>().len(),
            steps: steps(history),
        }
    }

    fn is_beyond(self, before: Reached) -> bool {
        self.applied > before.applied || self.recovered > before.recovered || self.steps > before.steps
    }
}

fn steps(history: &History) -> i64 {
    history.rows.iter().map(|row| i64::from(row.applied_steps_count)).sum()
}

/// Counts the turns that came no further.
#[derive(Default)]
pub(super) struct Progress {
    reached: Reached,
    idle: usize,
}

impl Progress {
    /// From where the deploy begins.
    pub(super) fn from(opened: &Opened) -> Progress {
        let steps = opened.history.as_ref().map_or(0, |history| steps(history));
        Progress {
            reached: Reached {
                steps,
                ..Reached::default()
            },
            idle: 0,
        }
    }

    /// A turn gave the lock away or lost it, and is to be repeated.
    ///
    /// # Errors
    /// It was repeated often enough; or the ledger cannot be read.
    pub(super) async fn repeat(&mut self, opened: &Opened, outcome: &Outcome) -> Result<(), Failure> {
        let history = match outcome.database.as_ref().and_then(Server::ledger) {
            Some(ledger) => open::read_history(&opened.session, &ledger).await?,
            None => History::default(),
        };
        if self.may_repeat(Reached::of(outcome, &history)) {
            return Ok(());
        }
        Err(no_progress(outcome, &history))
    }

    fn may_repeat(&mut self, reached: Reached) -> bool {
        self.idle = if reached.is_beyond(self.reached) {
            0
        } else {
            self.idle + 1
        };
        self.reached = reached;
        self.idle <= REPEATED_AT_MOST
    }
}

/// The failure of a deploy that comes no further.
fn no_progress(outcome: &Outcome, history: &History) -> Failure {
    let unfinished = history
        .unfinished()
        .find(|row| outcome.pending.contains(&row.migration));
    let migration = unfinished
        .map(|row| &row.migration)
        .or_else(|| outcome.pending.first())
        .cloned()
        .unwrap_or_default();
    let times = REPEATED_AT_MOST + 1;
    let what = format!(
        "the migration lock was lost or given away {times} times in a row, before anything more of it was done"
    );
    let next = "take out what releases the lock in the script (pg_advisory_unlock_all, DISCARD ALL), or end the sessions that wait for it, then \
                deploy again";
    let others = match outcome.applied.len() {
        0 => String::new(),
        1 => "; 1 migration of this run is applied".to_owned(),
        applied => format!("; {applied} migrations of this run are applied"),
    };
    let (exit, state) = match unfinished {
        None => (
            Exit::MigrationLock,
            format!("nothing of this migration is in the database{others}"),
        ),
        Some(row) => (
            Exit::PartiallyCommitted,
            format!(
                "{}; the migration's row in {} says at which statement it stopped, and that one may have run{others}",
                match row.applied_steps_count {
                    1 => "1 statement of this migration is recorded as done".to_owned(),
                    steps => format!("{steps} statements of this migration are recorded as done"),
                },
                history::TABLE
            ),
        ),
    };
    Failure::new(exit, what, next).of(&migration).state(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_comes_no_further_is_repeated_three_times() {
        let mut progress = Progress::default();
        let at = Reached::default();
        let allowed: Vec<bool> = (0..5).map(|_| progress.may_repeat(at)).collect();
        assert_eq!(allowed, [true, true, true, false, false]);
    }

    #[test]
    fn whatever_is_done_begins_the_count_again() {
        let done = [
            Reached {
                applied: 1,
                ..Reached::default()
            },
            Reached {
                applied: 1,
                recovered: 1,
                steps: 0,
            },
            Reached {
                applied: 1,
                recovered: 1,
                steps: 1,
            },
        ];
        let mut progress = Progress::default();
        for reached in done {
            for _ in 0..4 {
                assert!(progress.may_repeat(reached), "{reached:?}");
            }
        }
        assert!(!progress.may_repeat(done[2]));
        // What was recovered or recorded is gone: that is no progress.
        assert!(!progress.may_repeat(done[0]));
    }
}
