//! What the end-to-end tests and the demo stand on. Nothing here is a stand-in for PostgreSQL or Prisma: the servers, the protocols and the programs
//! are real, and they are gone when the test process is.
//!
//! | module | what it gives |
//! |---|---|
//! | [`postgres`] | a throw-away cluster of any major version, one fresh [`Database`](postgres::Database) a test |
//! | [`pgbouncer`] | a PgBouncer before a database, in the pool mode that is asked for |
//! | [`s3`] | an S3 server in this process: signatures, versions, conditions, faults on request |
//! | [`history`] | Prisma projects on disk and as `prisma.zip` |
//! | [`tool`] | the binary under test |
//! | [`prisma`] | the real Prisma CLI, as the oracle and as the rival |
//! | [`proxy`] | what lies between the binary and the server: counted, delayed, cut |
//! | [`moto`] | AWS services by moto's server: CloudFormation, SSM, the patterns of EventBridge |
//! | [`python`] | programs from PyPI |
//! | [`secrets_manager`] | Secrets Manager, by moto's server |
//! | [`task_role`] | temporary credentials, as ECS hands them out |
//! | [`ecs`] | ECS and CloudWatch Logs in this process, whose tasks are the real binary: faults on request |
//! | [`endpoint`] | an HTTP server that records: CloudFormation's bucket, ECS's metadata |
//! | [`gateway`] | a network whose gateway forgets idle connections, as those of AWS do |
//! | [`ldap`] | a checker of passwords for PostgreSQL that no test can know beforehand |
//! | [`process`] | a program that runs: its output, signals, time limit |
//!
//! A test reads as a sentence:
//!
//! ```no_run
//! use harness::{history::History, postgres::Server, tool::Tool};
//!
//! let database = Server::shared().database();
//! let history = History::new().migration("20240101000000_init", "CREATE TABLE a (id int);");
//! let tool = Tool::new("target/debug/prisma-migrate-task");
//!
//! tool.deploy(history.folder()).database(&database).run().expect(0);
//!
//! assert_eq!(database.ledger()[0].name, "20240101000000_init");
//! ```

#![allow(
    clippy::unwrap_used,
    reason = "a harness fails by panicking with a sentence: there is nobody to hand an error to"
)]

pub mod ecs;
pub mod endpoint;
pub mod gateway;
pub mod history;
pub mod ldap;
pub mod moto;
mod npm;
pub mod pgbouncer;
pub mod postgres;
pub mod prisma;
pub mod process;
pub mod proxy;
pub mod python;
pub mod s3;
pub mod secrets_manager;
pub mod task_role;
pub mod tool;

pub use process::until;

/// Twelve letters and digits that nothing else is called: no encoding or quoting changes them.
fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string().split_off(20)
}

/// A port that is probably free. It lies below those that Linux gives to outgoing connections (32768 and up), so that it stays ours while a server
/// that is to come back is down.
fn random_port() -> u16 {
    const FIRST: u16 = 10_240;
    const COUNT: u128 = 20_000;
    FIRST + u16::try_from(uuid::Uuid::new_v4().as_u128() % COUNT).expect("a remainder below 20,000")
}
