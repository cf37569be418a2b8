//! `run`: a real task of the real binary, started, followed and ended through ECS.

pub mod account;
mod ends;
mod leaving;
mod meanwhile;
mod place;
mod snapshots;
mod sql;
mod tagged;
mod world;
