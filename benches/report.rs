//! `docs/benchmarks.md`, from what was measured.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::goals::{Measured, rounds};
use crate::peers::Peers;

/// Above this load, in runnable processes beside ours, the figures are only a hint.
const QUIET: f64 = 0.7;

/// The figures of one goal as a table.
pub fn figures(measured: &Measured) -> String {
    let with_memory = measured.figures.iter().any(|figures| figures.memory.is_some());
    let mut table = String::from("| | median | min | max | times the first |");
    table.push_str(if with_memory { " peak memory |\n" } else { "\n" });
    table.push_str("|---|---:|---:|---:|---:|");
    table.push_str(if with_memory { "---:|\n" } else { "\n" });
    let first = measured.figures.first().map_or(1.0, |figures| figures.median());
    for figures in &measured.figures {
        let (median, least, most) = (figures.median(), figures.least(), figures.most());
        let times = median / first;
        let _ = write!(
            table,
            "| {} | {median:.3} s | {least:.3} s | {most:.3} s | {times:.3} |",
            figures.name
        );
        if with_memory {
            let memory = figures
                .memory
                .map_or(String::new(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
            let _ = write!(table, " {memory} |");
        }
        table.push('\n');
    }
    table
}

/// Writes the document.
pub fn write(results: &[(&str, Measured)], took: Duration) {
    let document = document(results, took);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    fs::write(&path, document).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    println!("written: docs/benchmarks.md, after {} s", took.as_secs());
}

fn document(results: &[(&str, Measured)], took: Duration) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `make bench`, which runs everything side by side on one machine. Those that are compared take turns; \
         what counts are the ratios of the medians. Times are those of whole processes, from their start to their end, of the \
         binary as it is in the image. The server writes every commit to disk (`fsync = on`).\n\n",
    );
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let load = load();
    let _ = writeln!(
        text,
        "{}, in {} minutes, {} turns at least.",
        &date[..10],
        took.as_secs().div_ceil(60),
        rounds()
    );
    if load > QUIET + 1.0 {
        let _ = writeln!(
            text,
            "\n**Provisional**: the machine had other work (a load of {load:.1} at the end). Run `make bench` on a quiet one."
        );
    }
    text.push_str("\n## Goals\n\n| work | goal | found | |\n|---|---|---|---|\n");
    let mut reasons: Vec<&str> = Vec::new();
    for (heading, measured) in results {
        for criterion in &measured.criteria {
            let met = match criterion.met {
                true => "met".to_owned(),
                false if criterion.why.is_empty() => "**not met**".to_owned(),
                false => {
                    let known = reasons.iter().position(|&reason| reason == criterion.why);
                    let at = known.unwrap_or_else(|| {
                        reasons.push(criterion.why);
                        reasons.len() - 1
                    });
                    format!("**not met** ({})", at + 1)
                }
            };
            let _ = writeln!(text, "| {heading} | {} | {} | {met} |", criterion.goal, criterion.found);
        }
    }
    for (at, reason) in reasons.iter().enumerate() {
        let _ = write!(text, "\n({}) {reason}.\n", at + 1);
    }
    text.push_str("\n## Figures\n");
    for (heading, measured) in results {
        let _ = write!(text, "\n### {heading}\n\n{}", figures(measured));
        for note in &measured.notes {
            let _ = writeln!(text, "\n{note}");
        }
    }
    text.push_str("\n## The machine and the versions\n\n");
    for (name, value) in machine() {
        let _ = writeln!(text, "- {name}: {value}");
    }
    text.push_str(HOW);
    text
}

const HOW: &str = "
## How the limits are made

- psql is the program itself, without Debian's wrapper in Perl, which takes longer to start than psql.
- \"each file one message\" is one psql with a `-c` for each file: PostgreSQL gets each file as one message of the simple query protocol, runs it as one
  transaction, and answers before the next is sent. No ledger is kept: nothing could be told after an interruption.
- \"with the least of a ledger\" is the same with an INSERT before and an UPDATE behind each file in its transaction.
- The file of 500 MB is one message to psql too: its statements are joined by `\\;`.
- Every run that applies something has a fresh database, and a CHECKPOINT before it. All stay until the end: ext4 makes new files pay for those just deleted.
- Prisma runs on its WASM engine; sqlx and dbmate get the same scripts in their own layout, and keep their own ledgers.
- Memory is Linux's VmHWM, the most of those runs that are not timed.

## To repeat it

    make bench         # all of it: builds the binary, installs the peers, writes this file
    make bench-quick   # counts of what does not depend on the machine's mood, held in CI
";

/// Runnable processes over the last minute.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or_default()
}

fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        line.trim_start_matches([' ', '\t', ':']).trim().to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    vec![
        (
            "processors",
            format!("{processors} x {}", field(&read("/proc/cpuinfo"), "model name")),
        ),
        ("memory", format!("{} GiB", (memory >> 20) + 1)),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        (
            "prisma-migrate-task",
            format!(
                "{}, commit {}",
                env!("CARGO_PKG_VERSION"),
                said("git", &["rev-parse", "--short", "HEAD"])
            ),
        ),
        ("Rust", said("rustc", &["--version"])),
        ("PostgreSQL and psql", said("pg_config", &["--version"])),
        ("Prisma", format!("6.19.0 on Node {}", said("node", &["--version"]))),
        ("peers", Peers::versions()),
    ]
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown".to_owned())
}
