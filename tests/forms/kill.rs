//! The same with the program killed between two statements, and run again.

use crate::ours::Ours;
use crate::script::{GATES, Script};
use crate::start::{Copy, Start};
use crate::truth::Truth;
use crate::wire::Wire;
use crate::{Tally, difference, grammar, judge, ours};
use fastrand::Rng;
use harness::process::Running;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// Kills the program at each boundary of the script of this seed.
pub fn play(start: &Start, seed: u64, tally: &Mutex<Tally>) -> Result<(), String> {
    let (script, gates) = grammar::script(seed).with_gates();
    let truth = Truth::of(start, &script);
    let mut rng = Rng::with_seed(seed);
    for gate in 1..=gates {
        let after = [After::GoesOn, After::GoesOnLater, After::Ends][rng.usize(0..3)];
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
    /// It goes on at once.
    GoesOn,
    /// It goes on when the next run is there.
    GoesOnLater,
    /// It is terminated.
    Ends,
}

/// How the last run ended, and whether the one before it was killed: a script may fail before it comes to the gate.
fn killed_at(start: &Start, script: &Script, gate: usize, after: After) -> (Ours, bool) {
    let (database, history) = (start.copy(script.around), ours::history(script));
    let mut gate = Gate::close(start, &database, gate);
    let mut running = ours::start(start, &database, &history);
    let mut backend = None;
    wait(&mut running, || {
        backend = gate.waiting().pop();
        backend.is_some()
    });
    let killed = backend.is_some();
    if let Some(backend) = backend {
        running.kill();
        if after == After::Ends {
            gate.holder.values(&format!("SELECT pg_terminate_backend({backend})"));
        }
        if after == After::GoesOnLater {
            running = ours::start(start, &database, &history);
            // It is at the gate itself, or asks again and again whether the other one has gone, or a server that looks for its clients has ended that.
            let mut asked = BTreeSet::new();
            wait(&mut running, || {
                asked.extend(gate.asks(&backend));
                asked.len() > 3 || gate.waiting().len() != 1
            });
        } else {
            drop(gate);
            running = ours::start(start, &database, &history);
            return (over(start, database, script, running), true);
        }
    }
    drop(gate);
    (over(start, database, script, running), killed)
}

fn over(start: &Start, database: Copy, script: &Script, running: Running) -> Ours {
    let ours = ours::end(start, &database, running);
    start.give_back(database, script, &ours.state);
    ours
}

/// Until the condition holds or the run has ended.
fn wait(running: &mut Running, mut condition: impl FnMut() -> bool) {
    loop {
        // The end is looked at first: what came to be before it must count.
        let over = !running.is_running();
        if condition() || over {
            return;
        }
        thread::sleep(Duration::from_millis(3));
    }
}

/// The advisory lock that a script waits for, until this is dropped.
struct Gate {
    holder: Wire,
    database: String,
    key: usize,
}

impl Gate {
    fn close(start: &Start, database: &Copy, gate: usize) -> Gate {
        let key = GATES + gate;
        let mut holder = Wire::connect(&start.server, &database.name, "postgres");
        holder.values(&format!("SELECT pg_advisory_lock({key})"));
        let database = database.name.clone();
        Gate { holder, database, key }
    }

    /// The backends before it.
    fn waiting(&mut self) -> Vec<String> {
        let Gate { holder, database, key } = self;
        holder.values(&format!(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {key} \
             AND database = (SELECT oid FROM pg_database WHERE datname = '{database}')"
        ))
    }

    /// When other sessions than that of this backend began their statements.
    fn asks(&mut self, backend: &str) -> Vec<String> {
        let Gate { holder, database, .. } = self;
        holder.values(&format!(
            "SELECT query_start FROM pg_stat_activity WHERE datname = '{database}' AND pid NOT IN ({backend}, pg_backend_pid()) \
             AND query_start IS NOT NULL"
        ))
    }
}
