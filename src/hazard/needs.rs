//! What a statement names that has to exist, or it fails: tables and views, and columns of them.
//!
//! Only what is certain: nothing that `IF EXISTS` guards, no name of a `WITH`, no function.

use super::act::Need;
use super::name::Name;
use super::tree::{child, columns_in, every, if_exists, name_in, text};
use squawk_syntax::{SyntaxKind, SyntaxNode};
use std::collections::HashSet;

/// What a statement needs.
pub fn needs(node: &SyntaxNode) -> Vec<Need> {
    let mut needs = Vec::new();
    match node.kind() {
        SyntaxKind::ALTER_TABLE => altered(node, &mut needs),
        SyntaxKind::CREATE_TABLE => made(node, &mut needs),
        SyntaxKind::CREATE_INDEX => {
            let items = child(node, SyntaxKind::PARTITION_ITEM_LIST);
            let include = child(node, SyntaxKind::INDEX_INCLUDE_CLAUSE);
            let columns = items
                .iter()
                .chain(&include)
                .flat_map(|list| every(list, SyntaxKind::PARTITION_ITEM));
            let plain = columns
                .filter_map(|item| child(&item, SyntaxKind::NAME_REF))
                .filter_map(|name| name_in(&name));
            push(
                node,
                SyntaxKind::TABLE_RELATION_NAME,
                plain.map(|name| name.name).collect(),
                &mut needs,
            );
        }
        SyntaxKind::DROP_TABLE | SyntaxKind::DROP_VIEW | SyntaxKind::DROP_MATERIALIZED_VIEW if !if_exists(node) => {
            let names = node.children().filter_map(|child| name_in(&child));
            needs.extend(names.map(alone));
        }
        SyntaxKind::ALTER_VIEW | SyntaxKind::ALTER_MATERIALIZED_VIEW if !if_exists(node) => {
            push(node, SyntaxKind::VIEW_REF, Vec::new(), &mut needs);
        }
        SyntaxKind::REFRESH => push(node, SyntaxKind::VIEW_REF, Vec::new(), &mut needs),
        SyntaxKind::TRUNCATE | SyntaxKind::LOCK | SyntaxKind::ANALYZE | SyntaxKind::VACUUM => {
            let tables = node
                .descendants()
                .filter(|node| matches!(node.kind(), SyntaxKind::TABLE_RELATION_NAME | SyntaxKind::RELATION_NAME));
            needs.extend(tables.filter_map(|table| name_in(&table)).map(alone));
        }
        SyntaxKind::CREATE_TRIGGER | SyntaxKind::CREATE_POLICY => {
            let on = child(node, SyntaxKind::ON_RELATION).or_else(|| child(node, SyntaxKind::ON_TABLE));
            needs.extend(on.and_then(|on| name_in(&on)).map(alone));
        }
        _ => {}
    }
    changed(node, &mut needs);
    read_from(node, &mut needs);
    needs
}

fn alone(relation: Name) -> Need {
    Need {
        relation,
        columns: Vec::new(),
    }
}

fn push(node: &SyntaxNode, kind: SyntaxKind, columns: Vec<String>, needs: &mut Vec<Need>) {
    let relation = child(node, kind).and_then(|name| name_in(&name));
    needs.extend(relation.map(|relation| Need { relation, columns }));
}

fn altered(node: &SyntaxNode, needs: &mut Vec<Need>) {
    let Some(table) = child(node, SyntaxKind::TABLE_RELATION_NAME).and_then(|name| name_in(&name)) else {
        return;
    };
    if if_exists(node) {
        return;
    }
    // Columns that the statement adds itself are there for its later forms.
    let added = node.children().filter(|form| form.kind() == SyntaxKind::ADD_COLUMN);
    let added: HashSet<String> = added
        .filter_map(|form| name_in(&child(&form, SyntaxKind::COLUMN_NAME)?))
        .map(|name| name.name)
        .collect();
    let mut columns = Vec::new();
    for form in node.children() {
        match form.kind() {
            SyntaxKind::ALTER_COLUMN | SyntaxKind::RENAME_COLUMN => {
                let column = child(&form, SyntaxKind::COLUMN_NAME_REF).and_then(|name| name_in(&name));
                columns.extend(column.map(|name| name.name));
            }
            SyntaxKind::DROP_COLUMN if !if_exists(&form) => {
                let column = child(&form, SyntaxKind::COLUMN_NAME_REF).and_then(|name| name_in(&name));
                columns.extend(column.map(|name| name.name));
            }
            SyntaxKind::ADD_CONSTRAINT => columns.extend(constrained(&form, &table, needs)),
            SyntaxKind::ADD_COLUMN => {
                let keys = every(&form, SyntaxKind::REFERENCES_CONSTRAINT);
                needs.extend(keys.filter_map(|key| referenced(&key, &table)));
            }
            SyntaxKind::ATTACH_PARTITION => push(&form, SyntaxKind::TABLE_NAME_REF, Vec::new(), needs),
            _ => {}
        }
    }
    columns.retain(|column| !added.contains(column));
    needs.push(Need {
        relation: table,
        columns,
    });
}

/// The columns of a new constraint; what it refers to is needed as well.
fn constrained(form: &SyntaxNode, table: &Name, needs: &mut Vec<Need>) -> Vec<String> {
    let Some(constraint) = form.children().next() else {
        return Vec::new();
    };
    match constraint.kind() {
        SyntaxKind::FOREIGN_KEY_CONSTRAINT => {
            needs.extend(referenced(&constraint, table));
            child(&constraint, SyntaxKind::FOREIGN_KEY_COLUMN_LIST)
                .map(|list| columns_in(&list))
                .unwrap_or_default()
        }
        SyntaxKind::UNIQUE_CONSTRAINT | SyntaxKind::PRIMARY_KEY_CONSTRAINT => columns_in(&constraint),
        _ => Vec::new(),
    }
}

/// What a foreign key refers to, unless that is its own table.
fn referenced(key: &SyntaxNode, table: &Name) -> Option<Need> {
    let at = key
        .children()
        .position(|child| child.kind() == SyntaxKind::TABLE_NAME_REF)?;
    let relation = key.children().nth(at).and_then(|name| name_in(&name))?;
    let columns = key.children().skip(at + 1).take_while(|child| {
        matches!(
            child.kind(),
            SyntaxKind::FOREIGN_KEY_COLUMN_LIST | SyntaxKind::COLUMN_NAME_REF
        )
    });
    let columns = columns.flat_map(|list| columns_in(&list)).collect();
    (relation.name != table.name).then_some(Need { relation, columns })
}

fn made(node: &SyntaxNode, needs: &mut Vec<Need>) {
    let Some(table) = child(node, SyntaxKind::TABLE_NAME).and_then(|name| name_in(&name)) else {
        return;
    };
    // With IF NOT EXISTS nothing may be looked at.
    if child(node, SyntaxKind::IF_NOT_EXISTS).is_some() {
        return;
    }
    let keys = node.descendants().filter(|node| {
        matches!(
            node.kind(),
            SyntaxKind::FOREIGN_KEY_CONSTRAINT | SyntaxKind::REFERENCES_CONSTRAINT
        )
    });
    needs.extend(keys.filter_map(|key| referenced(&key, &table)));
    for parent in [SyntaxKind::PARTITION_OF, SyntaxKind::INHERITS, SyntaxKind::LIKE_CLAUSE] {
        needs.extend(every(node, parent).filter_map(|parent| name_in(&parent)).map(alone));
    }
}

/// The tables and columns that are written.
fn changed(node: &SyntaxNode, needs: &mut Vec<Need>) {
    for change in node.descendants() {
        let kind = match change.kind() {
            SyntaxKind::UPDATE | SyntaxKind::DELETE => SyntaxKind::RELATION_NAME,
            SyntaxKind::INSERT => SyntaxKind::RELATION_NAME_REF,
            SyntaxKind::MERGE => SyntaxKind::TABLE_RELATION_NAME,
            _ => continue,
        };
        let set = child(&change, SyntaxKind::SET_CLAUSE);
        let targets = child(&change, SyntaxKind::COLUMN_TARGET_LIST);
        let targets = set
            .iter()
            .chain(&targets)
            .flat_map(|list| every(list, SyntaxKind::COLUMN_TARGET));
        let mut columns: Vec<String> = targets
            .filter_map(|target| columns_in(&target).into_iter().next())
            .collect();
        if let Some(filter) = child(&change, SyntaxKind::WHERE_CLAUSE).filter(|_| stands_alone(&change)) {
            columns.extend(plain_columns(&filter));
        }
        // A table's own name is its row.
        let table = child(&change, kind).and_then(|name| name_in(&name));
        columns.retain(|column| table.as_ref().is_none_or(|table| table.name != *column));
        push(&change, kind, columns, needs);
    }
}

/// Whether a change reads no other table, so that its columns are those of the one that it changes.
fn stands_alone(change: &SyntaxNode) -> bool {
    let others = [
        SyntaxKind::FROM_CLAUSE,
        SyntaxKind::USING_CLAUSE,
        SyntaxKind::SELECT,
        SyntaxKind::WITH_CLAUSE,
    ];
    let alias = change
        .children()
        .any(|child| child.kind() == SyntaxKind::OPTIONAL_AS_ALIAS);
    !alias && !change.descendants().any(|node| others.contains(&node.kind()))
}

/// Names that stand where only a column can: on a side of a comparison, or before `IS NULL` and `IN`.
fn plain_columns(filter: &SyntaxNode) -> Vec<String> {
    let names = every(filter, SyntaxKind::NAME_REF).filter(|name| {
        let parent = name.parent();
        let first = parent.as_ref().and_then(|parent| parent.children().next());
        parent.is_some_and(|parent| parent.kind() == SyntaxKind::BIN_EXPR) && first.as_ref() == Some(name)
    });
    let name = |node: SyntaxNode| Name::read(&text(&node)).map(|name| name.name);
    names.filter_map(name).filter(|name| !is_word(name)).collect()
}

/// What reads like a column and is none.
fn is_word(name: &str) -> bool {
    let system = ["ctid", "oid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
    system.contains(&name)
        || name.starts_with("current_")
        || matches!(name, "localtime" | "localtimestamp" | "session_user" | "user")
}

/// The relations that are read.
fn read_from(node: &SyntaxNode, needs: &mut Vec<Need>) {
    let tables = every(node, SyntaxKind::CTE_NAME).filter_map(|name| Name::read(&text(&name)));
    let with: HashSet<String> = tables.map(|name| name.name).collect();
    for item in every(node, SyntaxKind::RELATION_FROM_ITEM) {
        let Some(name) = name_in(&item) else { continue };
        if name.schema.is_some() || !with.contains(&name.name) {
            needs.push(alone(name));
        }
    }
}
