//! Statements that make a relation, or something on one.

use super::act::{Act, Made, MadeColumn, When, Work};
use super::mode::Mode;
use super::partition::Bounds;
use super::tree::{child, columns_in, every, has_token, if_not_exists, name_in, text};
use super::types::TypeRef;
use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

const CREATE_CONCURRENTLY: &str = "CREATE INDEX CONCURRENTLY, in a migration of its own";

/// Its acts.
pub fn created(statement: Stmt) -> Vec<Act> {
    let node = statement.syntax().clone();
    match statement {
        Stmt::CreateTable(create) => table(&create),
        Stmt::CreateIndex(create) => index(&create).unwrap_or_default(),
        Stmt::CreateView(create) => {
            let Some(view) = create.view().and_then(|view| name_in(view.syntax())) else {
                return Vec::new();
            };
            match create.or_replace() {
                Some(_) => vec![
                    Act::brief(&view, Mode::AccessExclusive),
                    Act::create(&view, made(&node)),
                ],
                None => vec![Act::create(&view, made(&node))],
            }
        }
        Stmt::CreateTrigger(create) => {
            let mut acts = behind(create.on_relation(), Mode::ShareRowExclusive);
            acts.iter_mut().for_each(|act| act.recurses = true);
            acts
        }
        Stmt::CreatePolicy(create) => behind(create.on_table(), Mode::AccessExclusive),
        Stmt::CreateRule(create) => behind(
            create.rule_on().and_then(|on| on.relation_name_ref()),
            Mode::AccessExclusive,
        ),
        Stmt::CreateStatistics(create) => behind(create.from_table(), Mode::ShareUpdateExclusive),
        Stmt::SelectInto(select) => {
            let into = select.into_clause().and_then(|into| name_in(into.syntax()));
            into.iter().map(|name| Act::create(name, made(&node))).collect()
        }
        // The first name is the new one's.
        _ => {
            let act = name_in(&node).map(|name| {
                let act = Act::create(&name, made(&node));
                match if_not_exists(&node) {
                    true => act.only(When::Missing(name)),
                    false => act,
                }
            });
            act.into_iter().collect()
        }
    }
}

fn behind(node: Option<impl AstNode>, mode: Mode) -> Vec<Act> {
    let name = node.and_then(|node| name_in(node.syntax()));
    name.map(|name| Act::brief(&name, mode)).into_iter().collect()
}

/// What is known of a relation whose columns the text does not tell.
fn made(node: &SyntaxNode) -> Made {
    Made {
        temporary: node.children().any(|child| child.kind() == SyntaxKind::TEMP),
        until_commit: child(node, SyntaxKind::ON_COMMIT).is_some_and(|on| child(&on, SyntaxKind::DROP).is_some()),
        ..Made::default()
    }
}

fn table(create: &ast::CreateTable) -> Vec<Act> {
    let node = create.syntax();
    let Some(name) = create.table_name().and_then(|name| name_in(name.syntax())) else {
        return Vec::new();
    };
    let parent = create.partition_of().and_then(|parent| name_in(parent.syntax()));
    let mut made = made(node);
    (made.columns, made.constraints) = contents(create);
    if let Some(by) = create.partition_by() {
        let words = text(by.syntax());
        let strategy = words.split_whitespace().nth(2).and_then(|word| word.chars().next());
        let key = every(by.syntax(), SyntaxKind::PARTITION_ITEM).filter_map(|item| name_in(&item));
        made.partitioned =
            strategy.map(|strategy| (strategy.to_ascii_lowercase(), key.map(|name| name.name).collect()));
    }
    if Bounds::read(create.partition_type()) == Bounds::Default {
        made.default_of = parent.clone();
    }
    let mut acts = vec![Act::create(&name, made)];
    let keys = node.descendants().filter(|node| {
        matches!(
            node.kind(),
            SyntaxKind::REFERENCES_CONSTRAINT | SyntaxKind::FOREIGN_KEY_CONSTRAINT
        )
    });
    let referenced = keys.filter_map(|key| name_in(&child(&key, SyntaxKind::TABLE_NAME_REF)?));
    acts.extend(
        referenced
            .filter(|referenced| *referenced != name)
            .map(|referenced| Act::brief(&referenced, Mode::ShareRowExclusive)),
    );
    if let Some(parent) = &parent {
        acts.push(Act::brief(parent, Mode::AccessExclusive));
        acts.push(Act::new(parent, Mode::AccessExclusive, Work::NewPartition));
    }
    if let Some(inherits) = create.inherits() {
        let parents = every(inherits.syntax(), SyntaxKind::TABLE_NAME_REF).filter_map(|parent| name_in(&parent));
        acts.extend(parents.map(|parent| Act::brief(&parent, Mode::ShareUpdateExclusive)));
    }
    if if_not_exists(node) {
        for act in &mut acts {
            act.when.push(When::Missing(name.clone()));
        }
    }
    acts
}

/// A new table's columns, if the text tells them all, and its constraints that have a name.
fn contents(create: &ast::CreateTable) -> (Option<Vec<MadeColumn>>, Vec<String>) {
    let node = create.syntax();
    let constraints = every(node, SyntaxKind::CONSTRAINT_NAME_CLAUSE).filter_map(|clause| name_in(&clause));
    let constraints = constraints.map(|name| name.name).collect();
    let elsewhere = create.partition_of().is_some() || create.inherits().is_some() || create.of_type().is_some();
    let list = create.table_arg_list();
    let Some(list) = list.filter(|list| !elsewhere && child(list.syntax(), SyntaxKind::LIKE_CLAUSE).is_none()) else {
        return (None, constraints);
    };
    let mut columns = Vec::new();
    for column in list
        .syntax()
        .children()
        .filter(|child| child.kind() == SyntaxKind::COLUMN)
    {
        let name = child(&column, SyntaxKind::COLUMN_NAME).and_then(|name| name_in(&name));
        let ty = column.children().find_map(ast::Type::cast);
        let not_null = [SyntaxKind::NOT_NULL_CONSTRAINT, SyntaxKind::PRIMARY_KEY_CONSTRAINT];
        columns.extend(name.map(|name| MadeColumn {
            name: name.name,
            ty: ty.map(|ty| TypeRef::read(&text(ty.syntax()))),
            not_null: column.children().any(|child| not_null.contains(&child.kind())),
        }));
    }
    let keys = list
        .syntax()
        .children()
        .filter(|child| child.kind() == SyntaxKind::PRIMARY_KEY_CONSTRAINT);
    for name in keys.flat_map(|key| columns_in(&key)) {
        columns
            .iter_mut()
            .filter(|column| column.name == name)
            .for_each(|column| column.not_null = true);
    }
    (Some(columns), constraints)
}

fn index(create: &ast::CreateIndex) -> Option<Vec<Act>> {
    let node = create.syntax();
    let relation = create.table_relation_name()?;
    let table = name_in(relation.syntax())?;
    let concurrently = create.concurrently_token().is_some();
    let mode = if concurrently {
        Mode::ShareUpdateExclusive
    } else {
        Mode::Share
    };
    // ON ONLY a partitioned table builds nothing.
    let only = has_token(relation.syntax(), SyntaxKind::ONLY_KW);
    let makes = create
        .index()
        .and_then(|index| name_in(index.syntax()))
        .map(|name| name.name);
    let when = makes.clone().filter(|_| if_not_exists(node));
    let act = Act {
        recurses: !only,
        ..Act::new(
            &table,
            mode,
            Work::Build {
                makes,
                harmless: concurrently || only,
                recipe: CREATE_CONCURRENTLY,
            },
        )
    };
    Some(vec![match when {
        Some(name) => act.only(When::NoIndex(table, name)),
        None => act,
    }])
}
