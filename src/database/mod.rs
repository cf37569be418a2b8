//! The way to the database: where it is, how its server is verified, and a connected client.
//!
//! [`url`] reads Prisma's connection string into a [`target::Target`]; [`connect`] goes there, as whom [`credentials`] says, with [`tls`] and the
//! retries that a database which is still waking up needs; [`create`] makes a missing database. Every failure of these is a [`error::ConnectError`].
//! [`session`] is what runs on the connection, [`lock`] is Prisma's advisory lock on it, and [`pooler`] finds out whether the session is ours alone.

mod advice;
pub mod cancel;
pub mod connect;
pub mod create;
pub mod credentials;
pub mod error;
pub mod lock;
mod locked_ledger;
pub mod open;
pub mod pooler;
pub mod server_error;
pub mod session;
pub mod target;
pub mod tls;
pub mod url;
