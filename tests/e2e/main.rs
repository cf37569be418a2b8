//! End to end: the real binary against a real PostgreSQL, the real S3 protocol and the real Prisma CLI. One module a subject, over the harness.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod connect;
mod create;
mod interop;
mod session;
mod tls;
