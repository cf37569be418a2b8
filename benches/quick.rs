//! `make bench-quick`: what a run costs in round trips, messages, bytes, transactions, requests and instructions. These figures do not depend on the
//! machine's mood, and are held to within 5 % of those in `quick.expected`.
//!
//! Instructions are counted by valgrind in the debug build, and compared with those of `--version`, so that they do not depend on what the C library
//! and the compiler make of a start.

use harness::postgres::{Database, Options, Server};
use harness::proxy::{Direction, Proxy};
use harness::s3::S3;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::goals::packages;
use crate::stage::{Project, record, small};

const TOLERANCE: f64 = 0.05;
const BINARY: &str = env!("CARGO_BIN_EXE_prisma-migrate-task");

type Figures = Vec<(String, f64)>;

pub fn run() -> ExitCode {
    let server = Server::start(Options::new().setting("autovacuum", "off"));
    let mut figures = Figures::new();
    conversations(&server, &mut figures);
    requests(&server, &mut figures);
    instructions(&server, &mut figures);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/quick.expected");
    if env::var_os("WRITE").is_some_and(|value| !value.is_empty()) {
        let text = figures.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{value}\t{name}");
            text
        });
        fs::write(&path, text).expect("the expected figures can be written");
    }
    compare(&figures, &fs::read_to_string(&path).unwrap_or_default())
}

fn compare(figures: &Figures, expected: &str) -> ExitCode {
    let expected: Vec<(&str, f64)> = expected
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(value, name)| (name, value.parse().expect("a figure")))
        .collect();
    let mut worse = 0;
    println!("{:>12} {:>12}", "found", "expected");
    for (name, value) in figures {
        let Some((_, before)) = expected.iter().find(|(known, _)| known == name) else {
            println!("{value:>12} {:>12}  {name}: NOT IN quick.expected", "");
            worse += 1;
            continue;
        };
        let verdict = match value / before {
            times if times > 1.0 + TOLERANCE => {
                worse += 1;
                "  WORSE"
            }
            times if times < 1.0 - TOLERANCE => "  better: write it down with `make bench-quick WRITE=1`",
            _ => "",
        };
        println!("{value:>12} {before:>12}  {name}{verdict}");
    }
    for (name, _) in expected
        .iter()
        .filter(|(known, _)| figures.iter().all(|(name, _)| name != known))
    {
        println!("{:>12} {:>12}  {name}: NOT MEASURED", "", "");
        worse += 1;
    }
    match worse {
        0 => ExitCode::SUCCESS,
        _ => {
            println!("{worse} figures are more than 5 % worse than expected, or not compared");
            ExitCode::FAILURE
        }
    }
}

/// What is said between the program and the server.
fn conversations(server: &Server, figures: &mut Figures) {
    for (what, applied, pending, all_or_nothing) in [
        ("nothing pending, 100 applied", 100, 0, false),
        ("10 pending", 0, 10, false),
        ("100 pending", 0, 100, false),
        ("100 pending, --all-or-nothing", 0, 100, true),
    ] {
        let project = Project::new(applied + pending);
        let database = server.database();
        if applied > 0 {
            record(&database, &project, applied, 1);
        }
        let number = || -> u64 { database.scalar("SELECT txid_current()").parse().expect("a number") };
        let before = number();
        let proxy = Proxy::to(server);
        let mut command = deploy(&proxy.url_for(&database), &project.folder());
        if all_or_nothing {
            command.arg("--all-or-nothing");
        }
        succeed(&mut command);
        let mut add = |name: &str, value: f64| figures.push((format!("{what}: {name}"), value));
        add("round trips behind the login", proxy.round_trips() as f64);
        add("messages of the simple query protocol", proxy.messages('Q') as f64);
        add(
            "messages of the extended query protocol",
            (proxy.messages('P') + proxy.messages('S')) as f64,
        );
        add("bytes sent", proxy.bytes(Direction::ToServer) as f64);
        add("bytes received", proxy.bytes(Direction::ToClient) as f64);
        // One is what the question itself takes.
        add("transactions that write", (number() - before - 1) as f64);
    }
}

/// What is asked of S3.
fn requests(server: &Server, figures: &mut Figures) {
    let s3 = S3::start();
    for (what, entries) in [
        ("prisma.zip of 1 MB", 0),
        ("prisma.zip of 100 MB with 40,000 entries", 40_000),
    ] {
        let project = Project::new(100);
        s3.put("artifacts", "prisma.zip", packages::zip(&project, entries));
        let database = server.database();
        record(&database, &project, 100, 1);
        let (requests, bytes) = (s3.requests(), s3.bytes_sent());
        let mut command = deploy(&database.url(), "s3://artifacts/prisma.zip".as_ref());
        succeed(command.envs(s3.environment()));
        figures.push((format!("{what}: requests to S3"), (s3.requests() - requests) as f64));
        figures.push((format!("{what}: bytes from S3"), (s3.bytes_sent() - bytes) as f64));
    }
}

/// What the processor does, in starts of the program (`--version`).
fn instructions(server: &Server, figures: &mut Figures) {
    let start = counted(Command::new(BINARY).arg("--version"));
    let mut of_run = |what: &str, project: &Project, applied: usize| {
        let database = server.database();
        if applied > 0 {
            record(&database, project, applied, 1);
        }
        let count = counted(&mut deploy(&by_socket(server, &database), &project.folder()));
        figures.push((format!("{what}: instructions, in starts"), rounded(count / start)));
        count
    };
    let few = of_run("nothing pending, 10 applied", &Project::new(10), 10);
    let many = of_run("nothing pending, 510 applied", &Project::new(510), 510);
    let pending = of_run("50 pending, 10 applied", &Project::new(60), 10);
    let script: String = (0..2_000)
        .map(|n| format!("INSERT INTO \"Article0\" (\"title\") VALUES ('it''s {n}');\n"))
        .collect();
    let bulk = Project::new(1);
    bulk.history.write(
        format!("migrations/{}/migration.sql", bulk.names[0]),
        small(0) + &script,
    );
    let statements = of_run("one pending with 2,000 INSERTs", &bulk, 0);
    for (what, value) in [
        ("one more applied migration", (many - few) / 500.0),
        ("one more pending migration", (pending - few) / 50.0),
        ("one more INSERT", (statements - few) / 2_000.0),
    ] {
        figures.push((
            format!("{what}: instructions, in thousandths of a start"),
            rounded(value / start * 1e3),
        ));
    }
}

/// Without a password, whose hashing would be most of what is counted. Under valgrind everything takes fifty times as long: no attempt is cut short.
fn by_socket(server: &Server, database: &Database) -> String {
    let (user, name) = (database.user(), database.name());
    let socket = server.socket().display().to_string().replace('/', "%2F");
    format!(
        "postgresql://{user}@{socket}:{}/{name}?connect_timeout=300",
        server.port()
    )
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn counted(command: &mut Command) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out: PathBuf = folder.path().join("callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--read-inline-info=no", "--read-var-info=no"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(command.get_program()).args(command.get_args());
    valgrind
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    valgrind
        .env("CONNECT_TIMEOUT", "10m")
        .env("PATH", env::var_os("PATH").unwrap_or_default());
    succeed(&mut valgrind);
    let text = fs::read_to_string(&out).expect("callgrind writes its counts");
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    total
        .and_then(|count| count.trim().parse().ok())
        .expect("callgrind's summary")
}

fn deploy(url: &str, source: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("deploy").arg(source).env_clear().env("DATABASE_URL", url);
    command
}

fn succeed(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {:?}: {error}", command.get_program()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{:?}: {}\n{said}",
        command.get_program(),
        output.status
    );
}
