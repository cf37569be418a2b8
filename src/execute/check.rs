//! What is refused before anything is sent.

use super::Order;
use crate::excerpt;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::sql::command::{command, copies_through_the_client};
use crate::sql::kind::Kind;
use crate::sql::script::Statement;

/// Refuses what would end the one transaction, or cannot be sent.
///
/// # Errors
/// There is no SQL, or a statement is refused, with its place.
pub fn check(sql: &str, statements: &[Statement], order: &Order) -> Result<(), Failure> {
    if statements.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("there is no SQL in {}", order.input.name()),
            "give SQL as an argument, with --file, or on standard input",
        ));
    }
    if let Some(nul) = sql.find('\0') {
        return Err(Failure::new(
            Exit::Usage,
            format!("there is a NUL character at byte {nul}, which PostgreSQL's texts cannot hold"),
            "take it out",
        ));
    }
    for statement in statements {
        let text = &sql[statement.range.clone()];
        if let Some((what, next)) = refusal(text, &statement.kind, order.transaction) {
            let mut failure = Failure::new(Exit::Usage, format!("{} {what}", command(text)), next);
            let at = sql[..statement.range.start].chars().count();
            failure.place = Some(excerpt::place_in(order.input.name(), sql, at));
            return Err(failure);
        }
    }
    Ok(())
}

fn refusal(text: &str, kind: &Kind, transaction: bool) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::Begin { .. } | Kind::Commit { .. } | Kind::Rollback { .. } | Kind::Prepare if transaction => Some((
            "is refused: all of it runs in one transaction, which this program begins and ends",
            "take it out, or give --no-transaction to have each statement committed by itself",
        )),
        Kind::Begin { .. } | Kind::Commit { .. } | Kind::Rollback { .. } | Kind::Prepare => Some((
            "is refused: with --no-transaction each statement is committed by itself",
            "take it out, or run what belongs together without --no-transaction",
        )),
        Kind::Alone(_) if transaction => Some((
            "cannot run in a transaction",
            "give --no-transaction: each statement is committed by itself then",
        )),
        _ if copies_through_the_client(text) => Some((
            "is refused: COPY's own data stream has no place here",
            "to read, give the query itself with --format csv; to write, use INSERT",
        )),
        _ => None,
    }
}
