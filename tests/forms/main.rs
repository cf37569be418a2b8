//! Forms of scripts: what the program makes of a script is what the server makes of it, however it is written.
//!
//! Scripts are drawn from a grammar, a seed each. The server is asked on a twin database: first with the script as one message; where it refuses the
//! form of that, with each statement as a message of its own. The program must come to the same schema, rows and SQLSTATE, or refuse the script with
//! nothing changed where its statements one by one cannot mean what the whole means. With kills it is then killed at each boundary between two
//! statements and run again.
//!
//! `SCRIPTS=<n>` scripts (default 60) and `KILLS=<n>` scripts with kills (default 4) from `FIRST=<seed>` on, or `SEED=<seed>` alone with its kills; on
//! `VERSION=<13 to 18>`, else on the harness's own server. `SHOW=1` prints the script of each seed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the table is what a soak is run for")]

mod grammar;
mod judge;
mod kill;
mod ours;
mod script;
mod start;
mod state;
mod truth;
mod wire;

use judge::Verdict;
use script::Script;
use start::Start;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;
use truth::Truth;

/// The short part, of `make test`.
const SCRIPTS: u64 = 60;
const KILLS: u64 = 4;
/// Scripts at the same time; half of a script is waiting for the server.
const WORKERS: usize = 4;
/// The first differences are shown whole, all of them by their seeds.
const SHOWN: usize = 20;

/// The binary under test.
fn migrate() -> harness::tool::Tool {
    harness::tool::Tool::new(env!("CARGO_BIN_EXE_prisma-migrate-task"))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// What was played.
#[derive(Debug, Default)]
struct Tally {
    verdicts: BTreeMap<Verdict, u64>,
    different: BTreeMap<u64, String>,
    killed: u64,
}

#[test]
fn a_script_means_what_the_server_takes_it_to_mean() {
    let only = number("SEED");
    let first = only.or(number("FIRST")).unwrap_or(0);
    let scripts = only.map_or_else(|| number("SCRIPTS").unwrap_or(SCRIPTS), |_| 1);
    let kills = only.map_or_else(|| number("KILLS").unwrap_or(KILLS), |_| 1);
    let start = Start::on(number("VERSION").map(|version| u32::try_from(version).unwrap()));
    let failed = [
        ("scripts", scripts, play as Play),
        ("scripts with kills", kills, kill::play),
    ]
    .into_iter()
    .map(|(what, count, play)| part(&start, what, first..first + count, play))
    .sum::<usize>();
    assert!(failed == 0, "{failed} scripts differ");
}

type Play = fn(&Start, u64, &Mutex<Tally>) -> Result<(), String>;

fn part(start: &Start, what: &str, seeds: std::ops::Range<u64>, play: Play) -> usize {
    if seeds.is_empty() {
        return 0;
    }
    let (next, tally, begin) = (
        AtomicU64::new(seeds.start),
        Mutex::new(Tally::default()),
        Instant::now(),
    );
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let played = catch_unwind(AssertUnwindSafe(|| play(start, seed, &tally)));
            let different = match played {
                Ok(Ok(())) => continue,
                Ok(Err(difference)) => difference,
                Err(_) => format!("the test itself panicked\n{}", shown(&grammar::script(seed))),
            };
            let mut tally = tally.lock().unwrap();
            tally
                .different
                .insert(seed, different.lines().next().unwrap_or_default().to_owned());
            if tally.different.len() <= SHOWN {
                println!("=== SEED={seed}: {different}\n");
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let (tally, took) = (tally.into_inner().unwrap(), begin.elapsed());
    let count = seeds.end - seeds.start;
    println!(
        "PostgreSQL {}: {count} {what} (seeds {} to {}) in {took:.0?}, {:.1} a second, {} kills",
        start.major(),
        seeds.start,
        seeds.end - 1,
        f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64(),
        tally.killed,
    );
    for (verdict, times) in &tally.verdicts {
        println!("  {times:>6} {verdict:?}");
    }
    println!("  {:>6} different", tally.different.len());
    for (seed, difference) in &tally.different {
        println!("         SEED={seed} {difference}");
    }
    tally.different.len()
}

fn play(start: &Start, seed: u64, tally: &Mutex<Tally>) -> Result<(), String> {
    let script = grammar::script(seed);
    let truth = Truth::of(start, &script);
    let (database, history) = (start.copy(script.around), ours::history(&script));
    let ours = ours::end(start, &database, ours::start(start, &database, &history));
    start.give_back(database, &script, &ours.state);
    let verdict = judge::judge(&script, &truth, &ours).map_err(|wrong| difference(&wrong, &script, &truth, &ours))?;
    *tally.lock().unwrap().verdicts.entry(verdict).or_default() += 1;
    Ok(())
}

fn shown(script: &Script) -> String {
    format!(
        "--- script, {:?}\n{}\n--- end of script",
        script.around,
        script.text().trim_start_matches('\n')
    )
}

/// The script and both ends.
fn difference(wrong: &str, script: &Script, truth: &Truth, ours: &ours::Ours) -> String {
    let mut text = String::new();
    let sqlstate = ours.sqlstate.as_deref().unwrap_or("none");
    let plain = if script.is_plain { ", PLAIN SCRIPT" } else { "" };
    let _ = writeln!(
        text,
        "{wrong} (exit code {:?}, SQLSTATE {sqlstate}){plain}\n{}",
        ours.code,
        shown(script)
    );
    let against_start = ours.state.differences(&truth.start);
    let _ = writeln!(
        text,
        "--- ours: {:?}\n{}",
        ours.rows,
        if against_start.is_empty() {
            "    as it was before".to_owned()
        } else {
            against_start.join("\n")
        }
    );
    if truth.may_refuse.is_some() {
        text.push_str("--- right: refused by name, as it was before\n");
    }
    for end in &truth.ends {
        let _ = writeln!(text, "--- right, {}: {:?}", end.how, end.failed);
        let missing = end.state.differences(&ours.state);
        if missing.is_empty() {
            text.push_str("    as ours\n");
        } else {
            let _ = writeln!(text, "  ours lacks +, has too much -\n{}", missing.join("\n"));
        }
    }
    let _ = write!(text, "--- said\n    {}", ours.said.join("\n    "));
    text
}
