//! The image, as ECS runs it: a container without privileges and without a writable disk, in a network with a PostgreSQL that wants TLS and an S3.
//!
//! `make image-test` builds what it needs and runs it; `cargo test` leaves it alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod codes;
mod container;
mod content;
mod engine;
mod job;
mod memory;
mod stage;
mod stopping;
