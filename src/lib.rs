//! The parts of `prisma-migrate-task`. The program is the product: this library has no stable interface of its own.

pub mod artifact;
pub mod exit;
pub mod migration;
