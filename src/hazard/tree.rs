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
