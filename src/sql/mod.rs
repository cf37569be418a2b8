//! What must be known of SQL as text: quoting, a script's statements, what they mean, and the passwords in it.

pub mod assertion;
pub mod command;
pub mod kind;
pub mod local;
pub mod password;
pub mod quote;
pub mod script;
pub mod steps;
mod tokens;
