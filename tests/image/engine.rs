//! The docker program, and what `scripts/image.sh` says of it and of the image in the environment.

use std::process::{Command, Output};

use harness::tool::{Call, Tool};

/// The docker program: `DOCKER`, where the first in PATH is not the right one.
fn program() -> String {
    std::env::var("DOCKER").unwrap_or_else(|_| "docker".to_owned())
}

pub fn output(arguments: &[&str]) -> Output {
    let output = Command::new(program()).args(arguments).output();
    output.expect("docker cannot be run")
}

/// What `docker …` prints; panics where it fails.
#[track_caller]
pub fn docker(arguments: &[&str]) -> String {
    let output = output(arguments);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(
        output.status.success(),
        "docker {arguments:?}\n{}\n{}",
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}

/// The image under test: `IMAGE`.
pub fn image() -> String {
    std::env::var("IMAGE").unwrap_or_else(|_| "prisma-migrate-task".to_owned())
}

/// A call of docker that is bounded in time; it sees no variable but what says where the engine is.
pub fn call<'a>(words: impl IntoIterator<Item = &'a str>) -> Call {
    let call = Tool::new(program()).verb(words).without_report();
    match std::env::var("DOCKER_HOST") {
        Ok(host) => call.env("DOCKER_HOST", host),
        Err(_) => call,
    }
}

/// What everything here is labelled with: `scripts/image.sh` takes away what a killed test has left.
pub fn label() -> String {
    std::env::var("TEST_LABEL").unwrap_or_else(|_| "prisma-migrate-task-test".to_owned())
}
