//! The parts of `prisma-migrate-task`. The program is the product: this library has no stable interface of its own.

pub mod apply;
pub mod database;
pub mod exit;
pub mod failure;
pub mod history;
pub mod migration;
pub mod plan;
pub mod recover;
pub mod secret;
pub mod sql;
