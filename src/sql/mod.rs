//! SQL as text: what must be known of it, and nothing more.

pub mod quote;
