//! The parts of `prisma-migrate-task`. The program is the product: this library has no stable interface of its own.

pub mod apply;
pub mod artifact;
pub mod cli;
pub mod database;
pub mod deploy;
pub mod excerpt;
pub mod exit;
pub mod failure;
pub mod history;
pub mod log;
pub mod migration;
pub mod outcome;
pub mod plan;
pub mod prepare;
pub mod printable;
pub mod recover;
pub mod report;
pub mod resolve;
pub mod run;
pub mod secret;
pub mod settings;
pub mod sql;
pub mod status;
pub mod stop;
pub mod traces;
pub mod watch;
