//! The one assertion that plain SQL has.

/// An expression that fails with this sentence and `value` behind it whenever it is evaluated: a cast of a text to a number. `value` is an expression.
///
/// `concat` is not immutable, so the planner leaves it alone, and it costs the server less than the operator `||`. The quotes are even in number, so
/// that no unterminated quote before it can swallow it.
pub fn raise(sentence: &str, value: &str) -> String {
    format!("pg_catalog.concat('{sentence}', {value})::pg_catalog.int4")
}
