//! What must be known of SQL as text: quoting, a script's statements, and the passwords in it.

pub mod password;
pub mod quote;
pub mod script;
