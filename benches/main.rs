//! The benchmarks: `make bench` measures everything side by side and writes `docs/benchmarks.md`; `make bench-quick` counts what does not depend on
//! the machine's mood and compares it with `quick.expected`.
//!
//! `make bench` gives in BENCH_BINARY the binary as it is in the image. A word on the command line runs only the goals whose heading holds it.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it measures is its output"
)]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded to three digits")]

mod goals;
mod measure;
mod peers;
mod quick;
mod report;
mod stage;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    // cargo adds --bench.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.first().map(String::as_str) {
        Some("quick") => quick::run(),
        Some("all") => {
            all(words.get(1).map_or("", String::as_str));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("make bench measures, make bench-quick counts");
            ExitCode::SUCCESS
        }
    }
}

fn all(only: &str) {
    let is_wanted = |heading: &str| heading.contains(only);
    let headings = goals::ALL.map(|(heading, _)| heading);
    assert!(
        headings.into_iter().any(is_wanted),
        "no heading holds \"{only}\"; they are:\n  {}",
        headings.join("\n  ")
    );
    let ours = PathBuf::from(env::var_os("BENCH_BINARY").expect("BENCH_BINARY names the release binary: `make bench`"));
    let started = Instant::now();
    let stage = stage::Stage::new(ours);
    let mut results = Vec::new();
    for (heading, measure) in goals::ALL {
        if is_wanted(heading) {
            eprintln!("{:>5} s  {heading}", started.elapsed().as_secs());
            let result = measure(&stage);
            eprint!("{}", report::figures(&result));
            results.push((heading, result));
        }
    }
    if only.is_empty() {
        report::write(&results, started.elapsed());
    }
}
