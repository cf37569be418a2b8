//! The rows that a statement writes: `UPDATE`, `DELETE`, `MERGE`, `INSERT`, wherever they stand in it.

use super::act::{Act, Rows, Work};
use super::mode::Mode;
use super::tree::name_in;
use squawk_syntax::SyntaxKind;
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};

/// The rows that a statement writes, also in its `WITH`.
pub fn changes(node: &SyntaxNode) -> Vec<Act> {
    let mut acts = Vec::new();
    for node in node.descendants() {
        let (relation, verb, filter) = match node.kind() {
            SyntaxKind::UPDATE => {
                let update = ast::Update::cast(node.clone());
                let parts = update.map(|update| (update.relation_name(), update.where_clause_or_current_of()));
                let (relation, filter) = parts.unwrap_or((None, None));
                (relation.map(|name| name.syntax().clone()), "UPDATE", filter)
            }
            SyntaxKind::DELETE => {
                let delete = ast::Delete::cast(node.clone());
                let parts = delete.map(|delete| (delete.relation_name(), delete.where_clause_or_current_of()));
                let (relation, filter) = parts.unwrap_or((None, None));
                (relation.map(|name| name.syntax().clone()), "DELETE", filter)
            }
            SyntaxKind::MERGE => {
                let name = ast::Merge::cast(node.clone()).and_then(|merge| merge.table_relation_name());
                let name = name.and_then(|name| name_in(name.syntax()));
                let work = Work::Change {
                    verb: "MERGE",
                    rows: Rows::Some,
                };
                acts.extend(name.map(|name| Act::new(&name, Mode::RowExclusive, work)));
                continue;
            }
            SyntaxKind::INSERT => {
                let name = ast::Insert::cast(node.clone()).and_then(|insert| insert.relation_name_ref());
                let name = name.and_then(|name| name_in(name.syntax()));
                acts.extend(name.map(|name| Act::brief(&name, Mode::RowExclusive)));
                continue;
            }
            _ => continue,
        };
        let Some(name) = relation.and_then(|relation| name_in(&relation)) else {
            continue;
        };
        let work = Work::Change {
            verb,
            rows: rows(filter.as_ref()),
        };
        acts.push(Act::new(&name, Mode::RowExclusive, work));
    }
    acts
}

fn rows(filter: Option<&ast::WhereClauseOrCurrentOf>) -> Rows {
    match filter {
        None => Rows::All,
        Some(ast::WhereClauseOrCurrentOf::WhereCurrentOf(_)) => Rows::With(Vec::new()),
        Some(ast::WhereClauseOrCurrentOf::WhereClause(clause)) => {
            let columns = clause.expr().map(|expr| given(expr.syntax())).unwrap_or_default();
            if columns.is_empty() {
                Rows::Some
            } else {
                Rows::With(columns)
            }
        }
    }
}

/// The columns that a condition compares to a constant, all of which must hold: `a = 1 AND b = 'x'`.
fn given(expression: &SyntaxNode) -> Vec<String> {
    if expression.kind() == SyntaxKind::PAREN_EXPR {
        return expression
            .children()
            .next()
            .map(|inner| given(&inner))
            .unwrap_or_default();
    }
    if expression.kind() != SyntaxKind::BIN_EXPR {
        return Vec::new();
    }
    let sides: Vec<SyntaxNode> = expression.children().collect();
    let operator = expression
        .children_with_tokens()
        .filter_map(|element| element.into_token())
        .find(|token| matches!(token.kind(), SyntaxKind::EQ | SyntaxKind::AND_KW));
    match (operator.map(|token| token.kind()), sides.as_slice()) {
        (Some(SyntaxKind::AND_KW), [left, right]) => {
            let mut both = given(left);
            both.extend(given(right));
            both
        }
        (Some(SyntaxKind::EQ), [left, right])
            if left.kind() == SyntaxKind::NAME_REF && right.kind() == SyntaxKind::LITERAL =>
        {
            name_in(left).map(|name| name.name).into_iter().collect()
        }
        _ => Vec::new(),
    }
}
