//! What a failed deploy says of the database: what is known to be committed, from one place.

use crate::exit::Exit;
use crate::failure::{Failure, UNCHANGED};
use crate::history::Backend;
use crate::losses::Losses;
use crate::outcome::Outcome;
use crate::stop::look_first;

/// The failure with the state that the database is in, and the exit code that follows from it.
///
/// What the failure itself says of its migration stands. If it says that nothing was changed, that holds of itself alone: migrations that this run has
/// applied are named here, and an attempt whose connection was lost, and of which it is not known what became.
pub(super) fn of_the_database(mut failure: Failure, outcome: &Outcome, losses: &Losses) -> Failure {
    let applied = match &outcome.applied[..] {
        [] => None,
        [only] => Some(format!("migration {} was applied by this run", only.name)),
        [.., last] => Some(format!(
            "{} migrations were applied by this run, the last of them {}",
            outcome.applied.len(),
            last.name
        )),
    };
    if let Some(lost) = losses.unjudged() {
        let names = lost.migrations.join(", ");
        let Backend { pid, .. } = lost.backend;
        let (subject, known) = match (lost.migrations.len(), lost.told_by_its_row) {
            (1, true) => (
                "the migration",
                "the next run waits for that backend and then reads the migration's row",
            ),
            (1, false) => ("the migration", "its row may not tell whether it was"),
            _ => (
                "the migrations of this run",
                "the next run waits for that backend and then reads their rows",
            ),
        };
        failure.state = format!(
            "the connection was lost while {names} ran, and backend {pid} may still be at work: {subject} may still be committed; {known}"
        );
        if let Some(applied) = applied {
            failure.state = format!("{}; {applied}", failure.state);
        }
        if failure.exit == Exit::Interrupted && !lost.told_by_its_row {
            failure.exit = Exit::InterruptedPartially;
            failure.next = look_first();
        }
        return failure;
    }
    if failure.state == UNCHANGED {
        let recovered = match outcome.recovered.len() {
            0 => None,
            _ => Some("what an interrupted run left was settled".to_owned()),
        };
        let parts: Vec<String> = applied.into_iter().chain(recovered).collect();
        if !parts.is_empty() {
            failure.state = format!("{}; nothing else was changed", parts.join("; "));
        }
    }
    failure
}
