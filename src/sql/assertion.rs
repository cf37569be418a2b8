//! The one assertion that plain SQL has.

/// An expression that fails with this sentence and `value` behind it whenever it is evaluated: a text is read as a number. `value` is an expression.
///
/// It calls what a cast would call, since a cast can be replaced: a superuser's `CREATE CAST (text AS int4)` would turn the assertion off. `concat`
/// is not immutable, so the planner leaves it alone, and it costs the server less than the operator `||`. The quotes are even in number, so that no
/// unterminated quote before it can swallow it.
pub fn raise(sentence: &str, value: &str) -> String {
    format!("pg_catalog.int4in(pg_catalog.textout(pg_catalog.concat('{sentence}',{value})))")
}
