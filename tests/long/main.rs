//! A migration of twenty minutes (or MINUTES), as a task in ECS and followed by `run`, whose connection to the database is silent for longer than AWS's
//! network remembers it.
//!
//! Apart from the other tests since it takes so long, and since it needs root for the network: `make soak` runs it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::ecs::{Definition, Ecs, named};
use harness::gateway::Gateway;
use harness::history::History;
use harness::postgres::{Options, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_prisma-migrate-task");

/// Source: the VPC user guide, "NAT gateway idle timeout"; the EC2 user guide, "Connection tracking".
const AWS_FORGETS_AFTER: Duration = Duration::from_secs(350);

#[test]
fn a_migration_gets_through_a_network_that_forgets_idle_connections() {
    let minutes: u64 = std::env::var("MINUTES").map_or(20, |minutes| minutes.parse().unwrap());
    let seconds = minutes * 60;
    let gateway = Gateway::that_forgets_after(AWS_FORGETS_AFTER);
    let server = Server::start(
        Options::new()
            .setting("listen_addresses", "*")
            .access("host all all 198.18.0.0/15 scram-sha-256"),
    );
    let database = server.database();
    let history = History::new().migration(
        "20240101000000_long",
        &format!("CREATE TABLE t (id int); SELECT pg_sleep({seconds});"),
    );
    let url = database.url().replace("127.0.0.1", &gateway.this_machine());

    // A connection without keepalives, whose server answers once the gateway has forgotten it: it never hears of it.
    let forgotten = AWS_FORGETS_AFTER.as_secs() + 30;
    let mut control = gateway
        .command("psql")
        .args(["-c", &format!("SELECT pg_sleep({forgotten}), 'it came through'")])
        .arg(format!("{url}?keepalives=0"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    let ecs = Ecs::start(gateway.program(Path::new(PROGRAM)));
    let task = Definition::new("long-migrate")
        .secret("DATABASE_URL", &url)
        // Nor does anything else of the task send a byte for longer than that.
        .env("PROGRESS_EVERY", format!("{}s", AWS_FORGETS_AFTER.as_secs() + 60));
    ecs.register(task);

    let started = Instant::now();
    let run = Command::new(PROGRAM)
        .args(["run", "--cluster", ecs.cluster(), "--task-definition", "long-migrate"])
        .args(["--subnets", "subnet-1", "--security-groups", "sg-1", "--", "deploy"])
        .arg(history.folder())
        .envs(ecs.environment())
        .output()
        .unwrap();
    println!(
        "{}\n{}",
        String::from_utf8_lossy(&run.stderr),
        String::from_utf8_lossy(&run.stdout)
    );
    assert_eq!(run.status.code(), Some(0));
    assert!(started.elapsed() >= Duration::from_secs(seconds));
    assert!(database.ledger()[0].finished);
    assert_eq!(
        named(&ecs.stopped(&ecs.tasks()[0])["containers"], "migrate")["exitCode"],
        0
    );

    let control_ended = control.try_wait().unwrap();
    control.kill().unwrap();
    let said = control.wait_with_output().unwrap();
    assert!(
        seconds <= forgotten || !String::from_utf8_lossy(&said.stdout).contains("it came through"),
        "the gateway does not forget ({control_ended:?}), so nothing was shown"
    );
}
