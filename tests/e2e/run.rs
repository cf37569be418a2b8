//! `run`: a real task of the real binary, started, followed and ended through ECS.

mod account;
mod place;
