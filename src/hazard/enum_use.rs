//! Where scripts use values that they add to enums: no transaction may, unless the type is its own too (PostgreSQL 17).
//!
//! A value is used where PostgreSQL reads it as one of its type, which it does when it parses a statement (`check_safe_enum_use`): also where no row is
//! touched. Only what is certain counts: the text itself may stand in a column of text.

use super::act::TypeWork;
use super::name::Name;
use super::statement::{self, LONGEST, first_word};
use super::tree::{child, every, name_in, string_of, text};
use super::types::TypeRef;
use super::world::{Key, Taker, World};
use crate::plan::Pending;
use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

/// A place where a text stands that is also a value's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The value.
    pub value: String,
    /// The statement's line.
    pub line: usize,
    /// The words that it begins with.
    pub words: String,
    /// The relations that it names, with their aliases.
    pub relations: Vec<(Name, Option<String>)>,
    /// The types that it is cast to.
    pub types: Vec<TypeRef>,
    place: Place,
}

/// What gives a text its type.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// This type.
    Type(TypeRef),
    /// That of a column, of the relation with this name or alias.
    Column(Option<String>, String),
    /// That of the column of a table that a value of an `INSERT` is for, by its place.
    Inserted(Name, Vec<String>, usize),
    /// That of a table's partition key.
    Key(Name),
}

/// The values that pending scripts add to enums.
pub fn added_values(pending: &[Pending<'_>]) -> Vec<String> {
    let mut values = Vec::new();
    for pending in pending {
        for statement in pending.statements().iter() {
            let text = &pending.script[statement.range.clone()];
            if first_word(text) != "alter" || !text.to_ascii_lowercase().contains("value") {
                continue;
            }
            for act in statement::read(text).types {
                if let TypeWork::AddValue { value, .. } | TypeWork::RenameValue { to: value, .. } = act.work {
                    values.push(value);
                }
            }
        }
    }
    values
}

/// Where a statement uses these values.
pub fn uses(statement: &str, line: usize, values: &[String]) -> Vec<Use> {
    // A quote in a value is doubled in the text.
    let named = |value: &String| statement.contains(value.split('\'').next().unwrap_or_default());
    if !values.iter().any(named) || statement.len() > LONGEST {
        return Vec::new();
    }
    let parsed = SourceFile::parse(statement);
    let Some(root) = parsed.tree().stmts().next().map(|statement| statement.syntax().clone()) else {
        return Vec::new();
    };
    if root.kind() == SyntaxKind::ALTER_TYPE {
        return Vec::new();
    }
    let words: Vec<&str> = statement.split_whitespace().take(4).collect();
    let mut uses = uses_in(&root, line, &words.join(" "), values);
    // The body of a function in SQL is read when it is made.
    if let Some(body) = sql_body(&root) {
        let statements = SourceFile::parse(&body);
        let inner = statements.tree().stmts();
        uses.extend(inner.flat_map(|inner| uses_in(inner.syntax(), line, &words.join(" "), values)));
    }
    uses
}

/// The body of `CREATE FUNCTION … LANGUAGE sql AS '…'`.
fn sql_body(root: &SyntaxNode) -> Option<String> {
    if !matches!(root.kind(), SyntaxKind::CREATE_FUNCTION | SyntaxKind::CREATE_PROCEDURE) {
        return None;
    }
    let language = every(root, SyntaxKind::LANGUAGE_REF).next()?;
    if !text(&language).trim_matches(['\'', '"']).eq_ignore_ascii_case("sql") {
        return None;
    }
    let literal = every(root, SyntaxKind::AS_DEFINITION).next()?.children().next()?;
    string_of(&literal).or_else(|| {
        let text = literal.text().to_string();
        let tag = text
            .get(..=text.get(1..)?.find('$')? + 1)
            .filter(|tag| tag.starts_with('$'))?;
        text.strip_prefix(tag)?.strip_suffix(tag).map(str::to_owned)
    })
}

fn uses_in(root: &SyntaxNode, line: usize, words: &str, values: &[String]) -> Vec<Use> {
    let relations = relations(root);
    let mut uses = Vec::new();
    for literal in every(root, SyntaxKind::LITERAL) {
        let Some(written) = string_of(&literal) else { continue };
        for value in values.iter().filter(|value| names(&written, value)) {
            for place in places(&literal) {
                uses.push(Use {
                    value: value.clone(),
                    line,
                    words: words.to_owned(),
                    relations: relations.clone(),
                    types: match &place {
                        Place::Type(ty) => vec![ty.clone()],
                        _ => Vec::new(),
                    },
                    place,
                });
            }
        }
    }
    uses.dedup();
    uses
}

/// Whether a text is a value, or an array with it.
fn names(written: &str, value: &str) -> bool {
    let elements = written.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    written == value
        || elements.is_some_and(|list| list.split(',').any(|element| element.trim().trim_matches('"') == value))
}

fn relations(root: &SyntaxNode) -> Vec<(Name, Option<String>)> {
    let named = root.descendants().filter(|node| {
        matches!(
            node.kind(),
            SyntaxKind::RELATION_FROM_ITEM
                | SyntaxKind::RELATION_NAME
                | SyntaxKind::TABLE_RELATION_NAME
                | SyntaxKind::TABLE_NAME
                | SyntaxKind::ON_TABLE
                | SyntaxKind::ON_RELATION
        ) || node.kind() == SyntaxKind::RELATION_NAME_REF
            && node.parent().is_some_and(|parent| parent.kind() == SyntaxKind::INSERT)
    });
    let alias = |node: &SyntaxNode| {
        let own = every(node, SyntaxKind::TABLE_ALIAS).next();
        let beside = || {
            node.parent()
                .and_then(|parent| child(&parent, SyntaxKind::OPTIONAL_AS_ALIAS))
        };
        let alias = own.or_else(|| every(&beside()?, SyntaxKind::TABLE_ALIAS).next());
        alias
            .and_then(|alias| Name::read(&text(&alias)))
            .map(|alias| alias.name)
    };
    named.filter_map(|node| Some((name_in(&node)?, alias(&node)))).collect()
}

/// What may give a literal its type.
fn places(literal: &SyntaxNode) -> Vec<Place> {
    let mut node = literal.clone();
    while let Some(parent) = node.parent() {
        let at = parent.children().position(|child| child == node).unwrap_or_default();
        match parent.kind() {
            SyntaxKind::CAST_EXPR => {
                let ty = parent.children().find_map(ast::Type::cast);
                return ty
                    .map(|ty| Place::Type(TypeRef::read(&text(ty.syntax()))))
                    .into_iter()
                    .collect();
            }
            SyntaxKind::BIN_EXPR | SyntaxKind::BETWEEN_EXPR => {
                let others = parent.children().filter(|other| *other != node);
                return others.filter_map(|other| side(&other)).collect();
            }
            // Its condition is no value of it.
            SyntaxKind::WHEN_CLAUSE if at == 0 => {
                let case = parent.ancestors().find(|node| node.kind() == SyntaxKind::CASE_EXPR);
                return case
                    .and_then(|case| side(&case.children().next()?))
                    .into_iter()
                    .collect();
            }
            SyntaxKind::ARG => {
                let list = parent.parent();
                let others = list
                    .iter()
                    .flat_map(|list| list.children())
                    .filter(|other| *other != parent);
                return others.filter_map(|other| side(&other.children().next()?)).collect();
            }
            SyntaxKind::SET_SINGLE_COLUMN | SyntaxKind::SET_MULTIPLE_COLUMNS => {
                let value = literal.ancestors().find(|node| node.kind() == SyntaxKind::SET_EXPR);
                let at = value.and_then(|value| value.parent()?.children().position(|child| child == value));
                let at = if parent.kind() == SyntaxKind::SET_SINGLE_COLUMN {
                    Some(0)
                } else {
                    at
                };
                let target = at.and_then(|at| every(&parent, SyntaxKind::COLUMN_TARGET).nth(at));
                return target
                    .and_then(|target| name_in(&target))
                    .map(|name| Place::Column(None, name.name))
                    .into_iter()
                    .collect();
            }
            SyntaxKind::ROW | SyntaxKind::TARGET_LIST => return inserted(&parent, at).into_iter().collect(),
            SyntaxKind::DEFAULT_CONSTRAINT | SyntaxKind::PARAM | SyntaxKind::SET_TYPE => {
                let of = if parent.kind() == SyntaxKind::DEFAULT_CONSTRAINT {
                    parent.parent()
                } else {
                    Some(parent)
                };
                let ty = of.and_then(|of| of.children().find_map(ast::Type::cast));
                return ty
                    .map(|ty| Place::Type(TypeRef::read(&text(ty.syntax()))))
                    .into_iter()
                    .collect();
            }
            SyntaxKind::ALTER_COLUMN => {
                let column = child(&parent, SyntaxKind::COLUMN_NAME_REF).and_then(|name| name_in(&name));
                return column
                    .map(|column| Place::Column(None, column.name))
                    .into_iter()
                    .collect();
            }
            SyntaxKind::ALTER_DOMAIN => {
                let domain = child(&parent, SyntaxKind::DOMAIN_REF).map(|name| TypeRef::read(&text(&name)));
                return domain.map(Place::Type).into_iter().collect();
            }
            SyntaxKind::PARTITION_FOR_VALUES_IN
            | SyntaxKind::PARTITION_FROM_VALUES
            | SyntaxKind::PARTITION_TO_VALUES => {
                let of = parent.ancestors().find_map(|node| {
                    child(&node, SyntaxKind::PARTITION_OF).or_else(|| child(&node, SyntaxKind::TABLE_RELATION_NAME))
                });
                return of.and_then(|of| name_in(&of)).map(Place::Key).into_iter().collect();
            }
            _ => {}
        }
        node = parent;
    }
    Vec::new()
}

/// What the other side of a comparison is.
fn side(node: &SyntaxNode) -> Option<Place> {
    match node.kind() {
        SyntaxKind::PAREN_EXPR => side(&node.children().next()?),
        SyntaxKind::CAST_EXPR => {
            let ty = node.children().find_map(ast::Type::cast)?;
            Some(Place::Type(TypeRef::read(&text(ty.syntax()))))
        }
        SyntaxKind::NAME_REF => {
            let name = Name::read(&text(node))?.name;
            let domain =
                |node: &SyntaxNode| matches!(node.kind(), SyntaxKind::CREATE_DOMAIN | SyntaxKind::ALTER_DOMAIN);
            match node.ancestors().find(domain).filter(|_| name == "value") {
                Some(domain) => {
                    let ty = domain.children().find_map(ast::Type::cast).map(|ty| text(ty.syntax()));
                    let ty = ty.or_else(|| child(&domain, SyntaxKind::DOMAIN_REF).map(|name| text(&name)));
                    ty.map(|ty| Place::Type(TypeRef::read(&ty)))
                }
                None => Some(Place::Column(None, name)),
            }
        }
        SyntaxKind::FIELD_EXPR => {
            let name = Name::read(&text(node))?;
            Some(Place::Column(name.schema, name.name))
        }
        _ => None,
    }
}

/// The column that a value of an `INSERT` is for.
fn inserted(list: &SyntaxNode, at: usize) -> Option<Place> {
    let mut above = list.ancestors().skip(1);
    let insert = above.find(|node| {
        !matches!(
            node.kind(),
            SyntaxKind::ROW_LIST | SyntaxKind::VALUES | SyntaxKind::SELECT_CLAUSE | SyntaxKind::SELECT
        )
    })?;
    if insert.kind() != SyntaxKind::INSERT {
        return None;
    }
    let table = child(&insert, SyntaxKind::RELATION_NAME_REF).and_then(|name| name_in(&name))?;
    let columns = child(&insert, SyntaxKind::COLUMN_TARGET_LIST)
        .map(|list| super::tree::columns_in(&list))
        .unwrap_or_default();
    Some(Place::Inserted(table, columns, at))
}

/// What added a value that a statement uses, if it may not be used yet.
pub fn unsafe_use<'w>(used: &Use, world: &'w World<'_>) -> Option<&'w Taker> {
    let types = &world.types;
    let of_type = |ty: &TypeRef| types.base(ty).map_or_else(|| types.key(ty), |base| types.key(&base));
    let of_column = |relation: &Name, column: &str| {
        let column = world.entry(relation)?.facts.column(column)?;
        column
            .base
            .as_deref()
            .map_or_else(|| types.key(&column.type_ref()), |base| types.key(&TypeRef::read(base)))
    };
    let key: Key = match &used.place {
        Place::Type(ty) => of_type(ty)?,
        Place::Column(qualifier, column) => {
            let relations = used
                .relations
                .iter()
                .filter(|(name, alias)| match qualifier.as_deref() {
                    None | Some("new" | "old" | "excluded") => true,
                    Some(qualifier) => alias.as_deref().unwrap_or(&name.name) == qualifier,
                });
            let mut keys: Vec<Key> = relations.filter_map(|(name, _)| of_column(name, column)).collect();
            keys.dedup();
            match keys.as_slice() {
                [key] => key.clone(),
                _ => return None,
            }
        }
        Place::Inserted(table, columns, at) => {
            let entry = world.entry(table)?;
            let in_place = || Some(entry.facts.columns.get(*at)?.name.clone());
            let column = if columns.is_empty() {
                in_place()
            } else {
                columns.get(*at).cloned()
            };
            of_column(table, &column?)?
        }
        Place::Key(parent) => {
            let key = &world.entry(parent)?.facts.partitioned.as_ref()?.key;
            of_column(parent, key.first()?)?
        }
    };
    types.fresh(&key, &used.value)
}
