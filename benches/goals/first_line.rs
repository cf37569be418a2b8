//! How soon the program says its first line, before its first connection.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Criterion, Measured, OURS, rounds};
use crate::measure::Figures;
use crate::stage::Stage;

pub fn measure(stage: &Stage) -> Measured {
    let turns = 2 * rounds() + 1;
    let mut seconds: Vec<f64> = (0..turns).map(|_| first_line(stage).as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let figures = Figures {
        name: OURS.to_owned(),
        seconds,
        memory: None,
    };
    let milliseconds = figures.median() * 1e3;
    Measured {
        figures: vec![figures],
        criteria: vec![Criterion::at_most("milliseconds", milliseconds, 20.0, "")],
        notes: vec!["From the start of the process to the end of its first line.".to_owned()],
    }
}

fn first_line(stage: &Stage) -> Duration {
    let mut command = Command::new(&stage.ours);
    // Nobody answers there.
    command.args(["status", "s3://bucket/prisma.zip"]).env_clear().envs([
        ("DATABASE_URL", "postgresql://user@127.0.0.1:1/db"),
        ("AWS_REGION", "eu-west-1"),
    ]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().expect("it can be run");
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
    errors.read_line(&mut line).expect("a line");
    let took = started.elapsed();
    child.kill().expect("a child that waits for the database");
    child.wait().expect("a child");
    assert!(line.contains("prisma-migrate-task"), "{line}");
    took
}
