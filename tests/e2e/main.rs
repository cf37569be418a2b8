//! End to end: the real binary against a real PostgreSQL, the real S3 protocol and the real Prisma CLI. One module a subject, over the harness.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod artifact;
mod artifact_ranges;
mod aws_profile;
mod cases;
mod cli;
mod concurrently;
mod connect;
mod consistency;
mod contract;
mod create;
mod credentials;
mod drift;
mod example;
mod execute;
mod execute_places;
mod hazards;
mod hostile;
mod interop;
mod lexer;
mod locks;
mod losses;
mod messages;
mod newsroom;
mod ours;
mod outcome;
mod pipelines;
mod plan;
mod planted;
mod pooler;
mod project;
mod protocol;
mod rds;
mod readme;
mod recover;
mod refusal;
mod report;
mod role;
mod row_security;
mod run;
mod scope;
mod secrets;
mod seed;
mod seeds;
mod session;
mod squawk;
mod steps;
mod stop;
mod stop_within;
mod tls;
mod traces;
mod upload;
mod wait;
mod watch;

/// The binary under test.
fn migrate() -> harness::tool::Tool {
    harness::tool::Tool::new(env!("CARGO_BIN_EXE_prisma-migrate-task"))
}
