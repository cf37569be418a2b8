//! What statements do to types and domains.

use super::act::{TypeAct, TypeWork};
use super::tree::{calls, child, every, has, if_not_exists, name_in, string_of, text};
use super::types::TypeRef;
use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SyntaxKind, SyntaxNode};

/// What `CREATE`, `ALTER` or `DROP TYPE` or `DOMAIN` does.
pub fn acts(node: &SyntaxNode) -> Vec<TypeAct> {
    let names = node.children().filter(|child| {
        matches!(
            child.kind(),
            SyntaxKind::TYPE_NAME | SyntaxKind::TYPE_NAME_REF | SyntaxKind::DOMAIN | SyntaxKind::DOMAIN_REF
        )
    });
    let names = names.filter_map(|name| name_in(&name));
    let work = match node.kind() {
        SyntaxKind::CREATE_TYPE => Some(created(node)),
        SyntaxKind::CREATE_DOMAIN => domain(node),
        SyntaxKind::ALTER_TYPE | SyntaxKind::ALTER_DOMAIN => altered(node),
        _ => Some(TypeWork::Drop {
            cascade: has(node, SyntaxKind::CASCADE),
        }),
    };
    let Some(work) = work else { return Vec::new() };
    names.map(|on| TypeAct { on, work: work.clone() }).collect()
}

fn strings(node: &SyntaxNode) -> Vec<String> {
    every(node, SyntaxKind::LITERAL)
        .filter_map(|literal| string_of(&literal))
        .collect()
}

fn created(node: &SyntaxNode) -> TypeWork {
    match child(node, SyntaxKind::ENUM_TYPE) {
        Some(values) => TypeWork::CreateEnum(strings(&values)),
        None => TypeWork::CreateOther,
    }
}

fn domain(node: &SyntaxNode) -> Option<TypeWork> {
    let base = node.children().find_map(ast::Type::cast)?;
    let checks = node
        .children()
        .filter(|child| child.kind() == SyntaxKind::CHECK_CONSTRAINT);
    let default = child(node, SyntaxKind::DEFAULT_CONSTRAINT);
    Some(TypeWork::CreateDomain {
        base: TypeRef::read(&text(base.syntax())),
        checks: checks.map(|check| constraint(&check)).collect(),
        not_null: child(node, SyntaxKind::NOT_NULL_CONSTRAINT).is_some(),
        default: default.map(|default| calls(&default)).unwrap_or_default(),
    })
}

fn constraint(node: &SyntaxNode) -> Option<String> {
    every(node, SyntaxKind::CONSTRAINT_NAME)
        .next()
        .and_then(|name| name_in(&name))
        .map(|name| name.name)
}

fn altered(node: &SyntaxNode) -> Option<TypeWork> {
    let action = node.children().last()?;
    let named = |node: &SyntaxNode| {
        let last = node
            .children()
            .last()
            .and_then(|name| name_in(&name).or_else(|| super::name::Name::read(&text(&name))));
        last.map(|name| name.name)
    };
    let pair = |from: Option<String>, to: Option<String>| Some((from?, to?));
    Some(match action.kind() {
        SyntaxKind::ADD_VALUE => TypeWork::AddValue {
            value: string_of(&child(&action, SyntaxKind::LITERAL)?)?,
            if_missing: if_not_exists(&action),
        },
        SyntaxKind::RENAME_VALUE => {
            let values = strings(&action);
            let (from, to) = pair(values.first().cloned(), values.get(1).cloned())?;
            TypeWork::RenameValue { from, to }
        }
        SyntaxKind::RENAME_ATTRIBUTE => {
            let first = action
                .children()
                .next()
                .and_then(|name| super::name::Name::read(&text(&name)));
            let (from, to) = pair(first.map(|name| name.name), named(&action))?;
            TypeWork::RenameAttribute { from, to }
        }
        SyntaxKind::TYPE_RENAME_TO | SyntaxKind::DOMAIN_RENAME_TO => TypeWork::Rename { to: named(&action)? },
        SyntaxKind::SET_SCHEMA => TypeWork::Move { to: named(&action)? },
        SyntaxKind::SET_NOT_NULL => TypeWork::NotNull(true),
        SyntaxKind::DROP_NOT_NULL => TypeWork::NotNull(false),
        SyntaxKind::VALIDATE_CONSTRAINT => TypeWork::Validate {
            constraint: named(&action)?,
        },
        SyntaxKind::DROP_CONSTRAINT => {
            let name = child(&action, SyntaxKind::CONSTRAINT_NAME_REF).and_then(|name| name_in(&name))?;
            TypeWork::DropCheck { constraint: name.name }
        }
        SyntaxKind::ADD_CONSTRAINT => match child(&action, SyntaxKind::CHECK_CONSTRAINT) {
            Some(check) => TypeWork::AddCheck {
                constraint: constraint(&check),
                not_valid: has(&check, SyntaxKind::NOT_VALID),
            },
            // PostgreSQL 17.
            None => TypeWork::NotNull(true),
        },
        _ => return None,
    })
}
