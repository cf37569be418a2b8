//! What is read off a statement's syntax tree: names, words, texts.

use super::name::Name;
use squawk_syntax::{SyntaxKind, SyntaxNode};

/// The functions that an expression calls.
pub fn calls(node: &SyntaxNode) -> Vec<Name> {
    let calls = node.descendants().filter(|node| node.kind() == SyntaxKind::CALL_EXPR);
    calls.filter_map(|call| Name::read(&text(&call))).collect()
}

/// A node's text on one line, without comments.
pub fn text(node: &SyntaxNode) -> String {
    let mut text = String::new();
    for token in node
        .descendants_with_tokens()
        .filter_map(|element| element.into_token())
    {
        match token.kind() {
            SyntaxKind::WHITESPACE | SyntaxKind::COMMENT => {
                if !text.is_empty() && !text.ends_with(' ') {
                    text.push(' ');
                }
            }
            _ => text.push_str(token.text()),
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// The first name within a node.
pub fn name_in(node: &SyntaxNode) -> Option<Name> {
    let is_name = |node: &SyntaxNode| {
        matches!(
            node.kind(),
            SyntaxKind::PATH_REF
                | SyntaxKind::PATH
                | SyntaxKind::NAME_REF
                | SyntaxKind::COLUMN_NAME
                | SyntaxKind::COLUMN_NAME_REF
                | SyntaxKind::CONSTRAINT_NAME
                | SyntaxKind::SCHEMA_REF
        )
    };
    let found = node.descendants().find(is_name)?;
    Name::read(&text(&found))
}

/// The last name within a node; empty where there is none.
pub fn last_name(node: &SyntaxNode) -> String {
    let names = node.descendants().filter_map(|child| name_in(&child));
    names.last().map(|name| name.name).unwrap_or_default()
}

/// Whether a node of this kind is within it.
pub fn has(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.descendants().any(|node| node.kind() == kind)
}

/// Whether a token of this kind is within it.
pub fn has_token(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.descendants_with_tokens().any(|element| element.kind() == kind)
}

/// The table of `DROP TRIGGER name ON table` and its like.
pub fn table_behind_on(node: &SyntaxNode) -> Option<Name> {
    let on = |node: &SyntaxNode| {
        matches!(
            node.kind(),
            SyntaxKind::ON_RELATION | SyntaxKind::ON_TABLE | SyntaxKind::RULE_ON
        )
    };
    node.descendants().find(on).and_then(|on| name_in(&on))
}

/// The first child of this kind.
pub fn child(node: &SyntaxNode, kind: SyntaxKind) -> Option<SyntaxNode> {
    node.children().find(|child| child.kind() == kind)
}

/// All nodes of this kind within a node.
pub fn every(node: &SyntaxNode, kind: SyntaxKind) -> impl Iterator<Item = SyntaxNode> {
    node.descendants().filter(move |node| node.kind() == kind)
}

/// The names of the columns that a node refers to by `COLUMN_NAME_REF`, in order.
pub fn columns_in(node: &SyntaxNode) -> Vec<String> {
    let columns = every(node, SyntaxKind::COLUMN_NAME_REF);
    columns
        .filter_map(|column| name_in(&column))
        .map(|name| name.name)
        .collect()
}

/// Whether `IF EXISTS` stands directly in a node.
pub fn if_exists(node: &SyntaxNode) -> bool {
    child(node, SyntaxKind::IF_EXISTS).is_some()
}

/// Whether `IF NOT EXISTS` does.
pub fn if_not_exists(node: &SyntaxNode) -> bool {
    child(node, SyntaxKind::IF_NOT_EXISTS).is_some()
}

/// The text that a string constant stands for; none of any other literal, or where escapes would have to be read.
pub fn string_of(literal: &SyntaxNode) -> Option<String> {
    let text = text(literal);
    if let Some(inner) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Some(inner.replace("''", "'"));
    }
    let escaped = text
        .strip_prefix("E'")
        .or_else(|| text.strip_prefix("e'"))?
        .strip_suffix('\'')?;
    (!escaped.contains('\\')).then(|| escaped.replace("''", "'"))
}
