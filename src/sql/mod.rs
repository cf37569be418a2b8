//! What must be known of SQL as text: quoting, and a script's statements.

pub mod quote;
pub mod script;
