//! Faults: histories applied while something goes wrong at a random point, until a run says 0; then nothing is lost and nothing is there twice.
//!
//! `ROUNDS=<n>` says how many rounds (25 by default), `SEED=<n>` plays exactly that round, `FIRST=<n>` begins at another than the first. A round is
//! drawn from its seed alone: its history, what goes wrong, and behind which byte of the connection.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the table is what a soak is run for")]

mod fault;
mod history;
mod round;
mod state;

use round::{Story, Tally};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// The short part: every kind of fault at least once.
const ROUNDS: u64 = 25;
/// Rounds at the same time; most of a round is waiting.
const WORKERS: usize = 2;
/// A broken program breaks every round: the first few are enough to see why.
const FAILURES_SHOWN: usize = 5;

/// The binary under test.
fn migrate() -> harness::tool::Tool {
    harness::tool::Tool::new(env!("CARGO_BIN_EXE_prisma-migrate-task"))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn nothing_is_lost_and_nothing_is_there_twice_whatever_goes_wrong() {
    let (first, rounds) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (number("FIRST").unwrap_or(0), number("ROUNDS").unwrap_or(ROUNDS)),
    };
    let (next, tally, failed) = (
        AtomicU64::new(first),
        Mutex::new(Tally::default()),
        Mutex::new(Vec::new()),
    );
    let begin = Instant::now();
    let played = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + rounds || failed.lock().unwrap().len() >= FAILURES_SHOWN {
                break;
            }
            let story = Story::default();
            if catch_unwind(AssertUnwindSafe(|| round::play(seed, &story, &tally))).is_err() {
                let story = story.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
                println!("=== round {seed} failed; again with SEED={seed}\n{story}=== end of round {seed}\n");
                failed.lock().unwrap().push(seed);
            }
            played.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let (tally, failed) = (tally.into_inner().unwrap(), failed.into_inner().unwrap());
    println!("{} rounds in {:.0?}", played.into_inner(), begin.elapsed());
    println!("{:<20}{:>10}{:>10}", "fault", "happened", "too late");
    for (kind, (happened, late)) in &tally.faults {
        println!("{:<20}{happened:>10}{late:>10}", format!("{kind:?}"));
    }
    println!("{:<20}{:>10}", "exit code", "seen");
    for (code, seen) in &tally.codes {
        println!("{code:<20}{seen:>10}");
    }
    println!("resolved by hand: {}", tally.by_hand);
    assert!(failed.is_empty(), "failed rounds: SEED={failed:?}");
}
