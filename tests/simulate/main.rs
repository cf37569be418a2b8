//! The whole way, from the upload to the exit code: the synthesized templates, made into stacks by moto's CloudFormation; S3's event, matched and
//! transformed by the stack's own rule; the real binary with exactly the environment of the stack's task definition, against a real PostgreSQL.
//!
//! `make simulate` runs it alone. It needs Node and npm for the CDK, and Python with venv for moto.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alarms;
mod cloud;
mod examples;
mod gate;
mod pipeline;
mod site;
mod starter;
mod uploads;

/// The program, as the tasks run it.
const PROGRAM: &str = env!("CARGO_BIN_EXE_prisma-migrate-task");
