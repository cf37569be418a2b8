//! What a single statement does to relations, as far as its text tells.
//!
//! The grammar is squawk's; the locks are those of PostgreSQL's documentation (13.3.1, and each command's page), held against a server by
//! `tests/e2e/locks.rs`.

use super::act::{Act, Reading, Work};
use super::alter_table;
use super::change::changes;
use super::maintain::maintained;
use super::mode::Mode;
use super::name::Name;
use super::tree::{has, has_token, last_name, name_in, table_behind_on};
use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SourceFile, SyntaxKind};

/// Longer statements, in bytes, are not parsed: a tree takes many times the memory of its text.
pub const LONGEST: usize = 256 << 10;

const CREATE_CONCURRENTLY: &str = "CREATE INDEX CONCURRENTLY, in a migration of its own";

/// Reads a statement. What takes no lock that matters (queries, functions, types, comments, rights) has no acts.
pub fn read(statement: &str) -> Reading {
    let first = first_word(statement);
    match first.as_str() {
        // Never parsed: a script may hold millions of them.
        "insert" => return inserted_into(statement).unwrap_or_default(),
        "set" if statement.to_ascii_lowercase().contains("search_path") => {
            return opaque("names behind it are looked for on this run's own search path");
        }
        "alter" | "cluster" | "create" | "delete" | "drop" | "lock" | "merge" | "refresh" | "reindex" | "select"
        | "truncate" | "update" | "vacuum" | "analyze" | "analyse" | "with" => {}
        "do" => return opaque("a DO block cannot be seen into"),
        "call" => return opaque("what the procedure does cannot be seen"),
        "execute" => return opaque("what it executes cannot be seen"),
        _ => return Reading::default(),
    }
    if statement.len() > LONGEST {
        return opaque("too long to be looked into");
    }
    let parsed = SourceFile::parse(statement);
    let mut reading = parsed.tree().stmts().next().map(of_statement).unwrap_or_default();
    if !parsed.errors().is_empty() {
        reading.note = Some("its grammar is not wholly known here: it may lock more than is said");
    }
    reading
}

fn opaque(note: &'static str) -> Reading {
    Reading {
        note: Some(note),
        ..Reading::default()
    }
}

/// A statement's first word, in lower case.
pub fn first_word(statement: &str) -> String {
    let end = statement
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(statement.len());
    statement[..end].to_ascii_lowercase()
}

fn inserted_into(statement: &str) -> Option<Reading> {
    let rest = statement.get("insert".len()..)?.trim_start();
    let into = rest
        .get(.."into".len())
        .filter(|word| word.eq_ignore_ascii_case("into"))?;
    let name = Name::read(&rest[into.len()..])?;
    Some(Reading {
        acts: vec![Act::brief(&name, Mode::RowExclusive)],
        ..Reading::default()
    })
}

fn of_statement(statement: Stmt) -> Reading {
    let node = statement.syntax().clone();
    let (acts, note) = match statement {
        Stmt::DropSchema(drop) => {
            let schemas = drop.schema_refs().filter_map(|schema| name_in(schema.syntax()));
            return Reading {
                dropped_schemas: schemas.map(|name| name.name).collect(),
                ..Reading::default()
            };
        }
        Stmt::DropType(_) | Stmt::DropDomain(_) | Stmt::DropExtension(_) if has(&node, SyntaxKind::CASCADE) => {
            (vec![], Some("CASCADE also drops the columns that depend on it"))
        }
        Stmt::DropDatabase(_) | Stmt::DropOwned(_) => (vec![], Some("drops everything in it")),
        Stmt::AlterTable(_)
        | Stmt::AlterIndex(_)
        | Stmt::AlterView(_)
        | Stmt::AlterMaterializedView(_)
        | Stmt::AlterSequence(_)
        | Stmt::AlterPolicy(_)
        | Stmt::AlterTrigger(_)
        | Stmt::AlterRule(_) => (altered(statement), None),
        Stmt::CreateTable(_)
        | Stmt::CreateTableAs(_)
        | Stmt::SelectInto(_)
        | Stmt::CreateMaterializedView(_)
        | Stmt::CreateView(_)
        | Stmt::CreateIndex(_)
        | Stmt::CreateTrigger(_)
        | Stmt::CreatePolicy(_)
        | Stmt::CreateRule(_)
        | Stmt::CreateStatistics(_) => (created(statement), None),
        Stmt::DropTable(_)
        | Stmt::DropView(_)
        | Stmt::DropMaterializedView(_)
        | Stmt::DropSequence(_)
        | Stmt::DropIndex(_)
        | Stmt::DropTrigger(_)
        | Stmt::DropPolicy(_)
        | Stmt::DropRule(_) => (dropped(statement), None),
        _ => (maintained(statement), None),
    };
    let cascades = matches!(
        node.kind(),
        SyntaxKind::DROP_TABLE | SyntaxKind::DROP_VIEW | SyntaxKind::ALTER_TABLE
    ) && node.descendants().any(|node| {
        node.kind() == SyntaxKind::CASCADE
            && node.parent().is_some_and(|parent| {
                !matches!(
                    parent.kind(),
                    SyntaxKind::ON_DELETE_ACTION | SyntaxKind::ON_UPDATE_ACTION
                )
            })
    });
    let note =
        note.or(cascades.then_some("CASCADE also drops the views and others that depend on it, under the same lock"));
    let mut acts = acts;
    acts.extend(changes(&node));
    Reading {
        acts,
        dropped_schemas: Vec::new(),
        note,
    }
}

fn altered(statement: Stmt) -> Vec<Act> {
    let node = statement.syntax().clone();
    let exclusive = |name: Option<Name>| {
        name.map(|name| Act::brief(&name, Mode::AccessExclusive))
            .into_iter()
            .collect()
    };
    match statement {
        Stmt::AlterTable(alter) => {
            let Some(table) = alter.table_relation_name().and_then(|name| name_in(name.syntax())) else {
                return Vec::new();
            };
            let mut acts: Vec<Act> = alter
                .actions()
                .flat_map(|action| alter_table::acts(&table, &action))
                .collect();
            // One statement takes the strongest of its forms' locks, and before all else.
            let strongest = acts
                .iter()
                .filter(|act| act.on == table)
                .filter_map(|act| act.mode)
                .max();
            for act in acts.iter_mut().filter(|act| act.on == table) {
                act.mode = strongest;
            }
            acts
        }
        Stmt::AlterIndex(alter) => {
            use ast::AlterIndexAction as A;
            let mode = match alter.action() {
                Some(A::IndexRenameTo(_) | A::SetOptions(_) | A::ResetOptions(_) | A::AlterSetStatistics(_)) => {
                    Mode::ShareUpdateExclusive
                }
                _ => Mode::AccessExclusive,
            };
            let index = alter.index_ref().and_then(|name| name_in(name.syntax()));
            index.map(|index| Act::brief(&index, mode)).into_iter().collect()
        }
        Stmt::AlterView(alter) => {
            let Some(view) = alter.view_ref().and_then(|name| name_in(name.syntax())) else {
                return Vec::new();
            };
            let work = match alter.action() {
                Some(ast::AlterViewAction::ViewRenameTo(rename)) => Work::Rename {
                    to: last_name(rename.syntax()),
                },
                _ => Work::Brief,
            };
            vec![Act::new(&view, Mode::AccessExclusive, work)]
        }
        Stmt::AlterSequence(alter) => {
            let plain = alter
                .actions()
                .all(|action| matches!(action, ast::AlterSequenceAction::SequenceOption(_)));
            let mode = if plain {
                Mode::ShareRowExclusive
            } else {
                Mode::AccessExclusive
            };
            let name = alter.sequence_ref().and_then(|name| name_in(name.syntax()));
            name.map(|name| Act::brief(&name, mode)).into_iter().collect()
        }
        Stmt::AlterMaterializedView(alter) => exclusive(alter.view_ref().and_then(|name| name_in(name.syntax()))),
        // The table stands behind ON.
        _ => exclusive(table_behind_on(&node)),
    }
}

fn created(statement: Stmt) -> Vec<Act> {
    let node = statement.syntax().clone();
    match statement {
        Stmt::CreateTable(create) => {
            let mut acts: Vec<Act> = create
                .table_name()
                .and_then(|name| name_in(name.syntax()))
                .iter()
                .map(Act::create)
                .collect();
            let keys = node
                .descendants()
                .filter(|node| {
                    matches!(
                        node.kind(),
                        SyntaxKind::REFERENCES_CONSTRAINT | SyntaxKind::FOREIGN_KEY_CONSTRAINT
                    )
                })
                .filter_map(|key| key.children().find(|child| child.kind() == SyntaxKind::TABLE_NAME_REF));
            acts.extend(
                keys.filter_map(|key| name_in(&key))
                    .map(|referenced| Act::brief(&referenced, Mode::ShareRowExclusive)),
            );
            let parent = create.partition_of().and_then(|parent| name_in(parent.syntax()));
            acts.extend(parent.map(|parent| Act::brief(&parent, Mode::AccessExclusive)));
            if let Some(inherits) = create.inherits() {
                let parents = inherits
                    .syntax()
                    .descendants()
                    .filter(|node| node.kind() == SyntaxKind::TABLE_NAME_REF);
                let parents = parents.filter_map(|parent| name_in(&parent));
                acts.extend(parents.map(|parent| Act::brief(&parent, Mode::ShareUpdateExclusive)));
            }
            acts
        }
        Stmt::CreateIndex(create) => {
            let Some(table) = create.table_relation_name().and_then(|name| name_in(name.syntax())) else {
                return Vec::new();
            };
            let concurrently = create.concurrently_token().is_some();
            let mode = if concurrently {
                Mode::ShareUpdateExclusive
            } else {
                Mode::Share
            };
            // ON ONLY a partitioned table builds nothing.
            let only = has_token(&node, SyntaxKind::ONLY_KW);
            vec![Act::new(
                &table,
                mode,
                Work::Build {
                    harmless: concurrently || only,
                    recipe: CREATE_CONCURRENTLY,
                },
            )]
        }
        Stmt::CreateView(create) => {
            let Some(view) = create.view().and_then(|view| name_in(view.syntax())) else {
                return Vec::new();
            };
            match create.or_replace() {
                Some(_) => vec![Act::brief(&view, Mode::AccessExclusive)],
                None => vec![Act::create(&view)],
            }
        }
        Stmt::CreateTrigger(create) => behind(create.on_relation(), Mode::ShareRowExclusive),
        Stmt::CreatePolicy(create) => behind(create.on_table(), Mode::AccessExclusive),
        Stmt::CreateRule(create) => behind(
            create.rule_on().and_then(|on| on.relation_name_ref()),
            Mode::AccessExclusive,
        ),
        Stmt::CreateStatistics(create) => behind(create.from_table(), Mode::ShareUpdateExclusive),
        Stmt::SelectInto(select) => {
            let into = select.into_clause().and_then(|into| name_in(into.syntax()));
            into.iter().map(Act::create).collect()
        }
        // CREATE TABLE AS, CREATE MATERIALIZED VIEW: the first name is the new one's.
        _ => name_in(&node).iter().map(Act::create).collect(),
    }
}

fn behind(node: Option<impl AstNode>, mode: Mode) -> Vec<Act> {
    let name = node.and_then(|node| name_in(node.syntax()));
    name.map(|name| Act::brief(&name, mode)).into_iter().collect()
}

fn dropped(statement: Stmt) -> Vec<Act> {
    let node = statement.syntax().clone();
    let every = |work: Work| {
        let names = node.children().filter_map(|child| name_in(&child));
        names
            .map(|name| Act::new(&name, Mode::AccessExclusive, work.clone()))
            .collect()
    };
    match statement {
        Stmt::DropTable(_) => every(Work::DropTable),
        Stmt::DropIndex(drop) => {
            let concurrently = has_token(&node, SyntaxKind::CONCURRENTLY_KW);
            let mode = if concurrently {
                Mode::ShareUpdateExclusive
            } else {
                Mode::AccessExclusive
            };
            let names = drop.index_refs().filter_map(|name| name_in(name.syntax()));
            names
                .flat_map(|name| [Act::brief(&name, mode), Act::on_table_of(&name, mode, Work::Brief)])
                .collect()
        }
        Stmt::DropTrigger(_) | Stmt::DropPolicy(_) | Stmt::DropRule(_) => table_behind_on(&node)
            .map(|table| Act::brief(&table, Mode::AccessExclusive))
            .into_iter()
            .collect(),
        _ => every(Work::Brief),
    }
}
