//! What must be known of SQL as text: quoting, and a script's statements.

pub mod script;
pub mod quote;
