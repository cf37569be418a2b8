//! The same with the program killed between two statements, and run again.

use crate::ours::Ours;
use crate::script::{GATES, Script};
use crate::start::Start;
use crate::truth::Truth;
use crate::wire::Wire;
use crate::{Tally, difference, grammar, judge, ours};
use fastrand::Rng;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// Kills the program at each boundary of the script of this seed.
pub fn play(start: &Start, seed: u64, tally: &Mutex<Tally>) -> Result<(), String> {
    let (script, gates) = grammar::script(seed).with_gates();
    let truth = Truth::of(start, &script);
    let mut rng = Rng::with_seed(seed);
    for gate in 1..=gates {
        let after = if rng.bool() { After::GoesOn } else { After::Ends };
        let (ours, killed) = killed_at(start, &script, gate, after);
        let verdict = if killed {
            judge::judge_again(&script, &truth, &ours)
        } else {
            judge::judge(&script, &truth, &ours)
        };
        let verdict = verdict.map_err(|wrong| {
            let wrong = format!("{wrong}, killed at gate {gate} ({killed}), then the backend {after:?}");
            difference(&wrong, &script, &truth, &ours)
        })?;
        let mut tally = tally.lock().unwrap();
        *tally.verdicts.entry(verdict).or_default() += 1;
        tally.killed += u64::from(killed);
    }
    Ok(())
}

/// What becomes of the backend whose client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    GoesOn,
    Ends,
}

/// How the last run ended, and whether the one before it was killed: a script may fail before it comes to the gate.
fn killed_at(start: &Start, script: &Script, gate: usize, after: After) -> (Ours, bool) {
    let (database, history) = (start.copy(script.around), ours::history(script));
    let key = GATES + gate;
    let mut holder = Wire::connect(&start.server, &database.name, "postgres");
    holder.values(&format!("SELECT pg_advisory_lock({key})"));
    let mut running = ours::start(start, &database, &history);
    let waiting = format!(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {key} \
         AND database = (SELECT oid FROM pg_database WHERE datname = '{}')",
        database.name
    );
    let backend = loop {
        // The end is looked at first: who is waiting after it has come there before it.
        let over = !running.is_running();
        let found = holder.values(&waiting).pop();
        if found.is_some() || over {
            break found;
        }
        thread::sleep(Duration::from_millis(3));
    };
    let Some(backend) = backend else {
        drop(holder);
        let ours = ours::end(start, &database, running);
        start.drop(&database);
        return (ours, false);
    };
    running.kill();
    if after == After::Ends {
        holder.values(&format!("SELECT pg_terminate_backend({backend})"));
    }
    drop(holder);
    let ours = ours::end(start, &database, ours::start(start, &database, &history));
    start.drop(&database);
    (ours, true)
}
