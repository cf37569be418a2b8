//! What a single statement does to relations, as far as its text tells.
//!
//! The grammar is squawk's; the locks are those of PostgreSQL's documentation (13.3.1, and each command's page), held against a server by
//! `tests/e2e/locks.rs`.

use super::act::{Act, Opaque, Reading, SchemaAct, When, Work};
use super::alter_table;
use super::change::changes;
use super::create::created;
use super::maintain::maintained;
use super::mode::Mode;
use super::name::Name;
use super::needs::needs;
use super::setting;
use super::tree::{calls, child, every, has, has_token, if_exists, name_in, table_behind_on, text};
use super::user_type;
use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

/// Longer statements, in bytes, are not parsed: a tree takes many times the memory of its text.
pub const LONGEST: usize = 256 << 10;

/// Reads a statement. What takes no lock that matters (queries, functions, comments, rights) has no acts.
pub fn read(statement: &str) -> Reading {
    let first = first_word(statement);
    match first.as_str() {
        "insert" if !is_parsed(statement) => {
            return inserted_into(statement)
                .map(|insert| insert.reading)
                .unwrap_or_default();
        }
        "insert" | "alter" | "cluster" | "create" | "delete" | "drop" | "lock" | "merge" | "refresh" | "reindex"
        | "select" | "set" | "reset" | "truncate" | "update" | "vacuum" | "analyze" | "analyse" | "with" => {}
        "do" => return opaque(Some("a DO block cannot be seen into")),
        "call" => return opaque(Some("what the procedure does cannot be seen")),
        "execute" => return opaque(Some("what it executes cannot be seen")),
        "discard" => return setting::reset_all(),
        // What was done is undone, or nobody knows what is done.
        "rollback" | "abort" | "import" | "load" => return opaque(None),
        _ => return Reading::default(),
    }
    if statement.len() > LONGEST {
        return opaque(Some("too long to be looked into"));
    }
    let parsed = SourceFile::parse(statement);
    let mut reading = parsed.tree().stmts().next().map(of_statement).unwrap_or_default();
    if !parsed.errors().is_empty() && matches!(first.as_str(), "set" | "reset") {
        return setting::unread(statement);
    }
    if !parsed.errors().is_empty() {
        reading.needs.clear();
        reading.opaque = Some(Opaque::Anything);
        reading.note = Some("its grammar is not wholly known here: it may lock more than is said");
    }
    reading
}

fn opaque(note: Option<&'static str>) -> Reading {
    Reading {
        opaque: Some(Opaque::Anything),
        note,
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

/// Whether a statement's tree is looked at. `INSERT … VALUES` never is: a script may hold millions of them.
pub fn is_parsed(statement: &str) -> bool {
    let Some(insert) = inserted_into(statement) else {
        return true;
    };
    ["select", "with", "table"].contains(&first_word(insert.source).as_str()) || insert.source.starts_with('(')
}

/// An `INSERT`, as far as its beginning tells.
struct Insert<'a> {
    reading: Reading,
    /// What stands behind the table and its columns.
    source: &'a str,
}

fn inserted_into(statement: &str) -> Option<Insert<'_>> {
    let rest = statement.get("insert".len()..)?.trim_start();
    let into = rest
        .get(.."into".len())
        .filter(|word| word.eq_ignore_ascii_case("into"))?;
    let (name, mut rest) = Name::split(&rest[into.len()..])?;
    let mut columns = Vec::new();
    if let Some(list) = rest.trim_start().strip_prefix('(') {
        let mut at = list;
        // What is no list of plain names (an element of an array, a query) tells no columns.
        let plain = loop {
            let Some((column, after)) = Name::split(at) else {
                break false;
            };
            columns.push(column.name);
            let after = after.trim_start();
            match (after.strip_prefix(','), after.strip_prefix(')')) {
                (Some(next), _) => at = next,
                (_, Some(end)) => {
                    rest = end;
                    break true;
                }
                _ => break false,
            }
        };
        if !plain {
            columns.clear();
        }
    }
    Some(Insert {
        reading: Reading {
            acts: vec![Act::brief(&name, Mode::RowExclusive)],
            needs: vec![super::act::Need {
                relation: name,
                columns,
            }],
            ..Reading::default()
        },
        source: rest.trim_start(),
    })
}

fn of_statement(statement: Stmt) -> Reading {
    let node = statement.syntax().clone();
    let mut reading = match &statement {
        Stmt::DropSchema(_) | Stmt::AlterSchema(_) | Stmt::CreateSchema(_) => of_schema(&node),
        Stmt::DropExtension(_) => of_extension(&node),
        Stmt::CreateExtension(_) => Reading {
            opaque: makes_relations(&node).then_some(Opaque::Anything),
            ..Reading::default()
        },
        Stmt::AlterExtension(_) => Reading {
            opaque: Some(Opaque::Anything),
            ..Reading::default()
        },
        Stmt::Set(_)
        | Stmt::Reset(_)
        | Stmt::SetRole(_)
        | Stmt::SetSessionAuth(_)
        | Stmt::ResetRole(_)
        | Stmt::ResetSessionAuth(_) => setting::read(&node),
        Stmt::CreateType(_)
        | Stmt::CreateDomain(_)
        | Stmt::AlterType(_)
        | Stmt::AlterDomain(_)
        | Stmt::DropType(_)
        | Stmt::DropDomain(_) => Reading {
            types: user_type::acts(&node),
            note: has(&node, SyntaxKind::CASCADE).then_some("CASCADE also drops what depends on it"),
            ..Reading::default()
        },
        Stmt::DropDatabase(_) | Stmt::DropOwned(_) => Reading {
            opaque: Some(Opaque::Anything),
            note: Some("drops everything in it"),
            ..Reading::default()
        },
        _ => Reading {
            acts: acts(statement.clone()),
            ..Reading::default()
        },
    };
    let cascades = matches!(
        node.kind(),
        SyntaxKind::DROP_TABLE | SyntaxKind::DROP_VIEW | SyntaxKind::DROP_MATERIALIZED_VIEW | SyntaxKind::ALTER_TABLE
    ) && cascades(&node);
    if cascades {
        reading.note = Some("CASCADE also drops the views and others that depend on it, under the same lock");
    }
    reading.acts.extend(changes(&node));
    reading.needs = needs(&node);
    if reading.setting.is_none() && queries(&statement) {
        setting::of_query(&node, &mut reading);
    }
    reading
}

/// A query may call a function that does anything.
fn queries(statement: &Stmt) -> bool {
    matches!(
        statement,
        Stmt::Select(_) | Stmt::SelectInto(_) | Stmt::CompoundSelect(_) | Stmt::ParenSelect(_) | Stmt::Values(_)
    )
}

/// Whether `CASCADE` stands in it that is not a foreign key's.
fn cascades(node: &SyntaxNode) -> bool {
    let key = [SyntaxKind::ON_DELETE_ACTION, SyntaxKind::ON_UPDATE_ACTION];
    every(node, SyntaxKind::CASCADE).any(|cascade| cascade.parent().is_some_and(|parent| !key.contains(&parent.kind())))
}

fn of_schema(node: &SyntaxNode) -> Reading {
    let names = node.children().filter(|child| child.kind() == SyntaxKind::SCHEMA_REF);
    let names = names.filter_map(|name| Name::read(&text(&name))).map(|name| name.name);
    let cascade = has(node, SyntaxKind::CASCADE);
    let schemas: Vec<SchemaAct> = match node.kind() {
        SyntaxKind::DROP_SCHEMA => names.map(|name| SchemaAct::Drop { name, cascade }).collect(),
        SyntaxKind::ALTER_SCHEMA => {
            let to = every(node, SyntaxKind::SCHEMA)
                .next()
                .and_then(|to| Name::read(&text(&to)));
            names
                .zip(to)
                .map(|(from, to)| SchemaAct::Rename { from, to: to.name })
                .collect()
        }
        _ => Vec::new(),
    };
    // CREATE SCHEMA may hold statements of its own.
    let holds = node.kind() == SyntaxKind::CREATE_SCHEMA
        && node
            .children()
            .any(|child| matches!(child.kind(), SyntaxKind::CREATE_TABLE | SyntaxKind::CREATE_VIEW));
    Reading {
        schemas,
        opaque: holds.then_some(Opaque::Anything),
        ..Reading::default()
    }
}

fn of_extension(node: &SyntaxNode) -> Reading {
    let names = every(node, SyntaxKind::EXTENSION_REF).filter_map(|name| Name::read(&text(&name)));
    let cascade = has(node, SyntaxKind::CASCADE);
    Reading {
        dropped_extensions: names.map(|name| name.name).filter(|_| cascade).collect(),
        note: cascade.then_some("CASCADE also drops what depends on it"),
        ..Reading::default()
    }
}

/// Extensions that make types, functions and operators, and no tables or views.
const WITHOUT_RELATIONS: &[&str] = &[
    "uuid-ossp",
    "pgcrypto",
    "citext",
    "hstore",
    "pg_trgm",
    "unaccent",
    "btree_gin",
    "btree_gist",
    "ltree",
    "vector",
    "fuzzystrmatch",
    "intarray",
    "cube",
    "earthdistance",
    "tablefunc",
    "isn",
    "seg",
    "lo",
    "dblink",
    "postgres_fdw",
    "plpgsql",
];

fn makes_relations(node: &SyntaxNode) -> bool {
    let name = every(node, SyntaxKind::EXTENSION)
        .next()
        .and_then(|name| Name::read(&text(&name)));
    // A name with a hyphen is quoted.
    name.is_none_or(|name| !WITHOUT_RELATIONS.contains(&name.name.as_str()))
}

fn acts(statement: Stmt) -> Vec<Act> {
    match statement {
        Stmt::AlterTable(_)
        | Stmt::AlterForeignTable(_)
        | Stmt::AlterIndex(_)
        | Stmt::AlterView(_)
        | Stmt::AlterMaterializedView(_)
        | Stmt::AlterSequence(_)
        | Stmt::AlterPolicy(_)
        | Stmt::AlterTrigger(_)
        | Stmt::AlterRule(_) => altered(statement),
        Stmt::CreateTable(_)
        | Stmt::CreateForeignTable(_)
        | Stmt::CreateTableAs(_)
        | Stmt::SelectInto(_)
        | Stmt::CreateMaterializedView(_)
        | Stmt::CreateSequence(_)
        | Stmt::CreateView(_)
        | Stmt::CreateIndex(_)
        | Stmt::CreateTrigger(_)
        | Stmt::CreatePolicy(_)
        | Stmt::CreateRule(_)
        | Stmt::CreateStatistics(_) => created(statement),
        Stmt::DropTable(_)
        | Stmt::DropForeignTable(_)
        | Stmt::DropView(_)
        | Stmt::DropMaterializedView(_)
        | Stmt::DropSequence(_)
        | Stmt::DropIndex(_)
        | Stmt::DropTrigger(_)
        | Stmt::DropPolicy(_)
        | Stmt::DropRule(_) => dropped(statement),
        _ => maintained(statement),
    }
}

fn altered(statement: Stmt) -> Vec<Act> {
    let node = statement.syntax().clone();
    let of = |name: Option<Name>, mode, work: fn(&SyntaxNode) -> Work| {
        let act = name.map(|name| Act::new(&name, mode, work(&node)));
        act.into_iter().collect::<Vec<_>>()
    };
    let acts = match statement {
        Stmt::AlterTable(alter) => {
            let table = alter.table_relation_name().and_then(|name| name_in(name.syntax()));
            table.map(|table| alter_table::all(&table, &node, alter.actions().collect()))
        }
        .unwrap_or_default(),
        Stmt::AlterForeignTable(_) => of(
            child(&node, SyntaxKind::TABLE_RELATION_NAME).and_then(|name| name_in(&name)),
            Mode::AccessExclusive,
            renamed,
        ),
        Stmt::AlterIndex(alter) => {
            use ast::AlterIndexAction as A;
            let mode = match alter.action() {
                Some(A::IndexRenameTo(_) | A::SetOptions(_) | A::ResetOptions(_) | A::AlterSetStatistics(_)) => {
                    Mode::ShareUpdateExclusive
                }
                _ => Mode::AccessExclusive,
            };
            let index = alter.index_ref().and_then(|name| name_in(name.syntax()));
            of(index, mode, |node| match renamed(node) {
                Work::Rename { to } => Work::RenameIndex { to },
                other => other,
            })
        }
        Stmt::AlterView(alter) => of(
            alter.view_ref().and_then(|name| name_in(name.syntax())),
            Mode::AccessExclusive,
            renamed,
        ),
        Stmt::AlterMaterializedView(alter) => {
            let Some(view) = alter.view_ref().and_then(|name| name_in(name.syntax())) else {
                return Vec::new();
            };
            let actions: Vec<_> = alter.action().collect();
            let forms = actions.iter().filter_map(|action| match action {
                ast::AlterMaterializedViewAction::AlterTableAction(action) => Some(action.clone()),
                _ => None,
            });
            let forms: Vec<_> = forms.collect();
            match forms.len() == actions.len() {
                true => alter_table::all(&view, &node, forms),
                false => of(Some(view), Mode::AccessExclusive, renamed),
            }
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
            of(name, mode, |node| match renamed(node) {
                Work::Rename { to } => Work::RenameIndex { to },
                Work::Move { .. } => Work::Brief,
                other => other,
            })
        }
        // The table stands behind ON.
        _ => of(table_behind_on(&node), Mode::AccessExclusive, |_| Work::Brief),
    };
    match if_exists(&node) {
        true => with_relation(acts),
        false => acts,
    }
}

/// `IF EXISTS` of the statement: without its relation nothing is done to any.
fn with_relation(mut acts: Vec<Act>) -> Vec<Act> {
    let Some(name) = acts.first().map(|act| act.on.clone()) else {
        return acts;
    };
    for act in &mut acts {
        act.when.insert(0, When::Exists(name.clone()));
    }
    acts
}

/// `RENAME TO`, `RENAME COLUMN` or `SET SCHEMA`, of whatever it is.
fn renamed(node: &SyntaxNode) -> Work {
    let last = |kind: SyntaxKind| {
        every(node, kind)
            .last()
            .and_then(|name| Name::read(&text(&name)))
            .map(|name| name.name)
    };
    let find = |kinds: &[SyntaxKind]| node.descendants().find(|node| kinds.contains(&node.kind()));
    if let Some(set) = find(&[SyntaxKind::SET_SCHEMA]) {
        return name_in(&set).map_or(Work::Brief, |schema| Work::Move { to: schema.name });
    }
    if let Some(rename) = find(&[SyntaxKind::RENAME_COLUMN]) {
        let names: Vec<Name> = rename.children().filter_map(|name| name_in(&name)).collect();
        if let [from, to] = names.as_slice() {
            return Work::RenameColumn {
                from: from.name.clone(),
                to: to.name.clone(),
            };
        }
    }
    let renames = [
        SyntaxKind::TABLE_RENAME_TO,
        SyntaxKind::VIEW_RENAME_TO,
        SyntaxKind::INDEX_RENAME_TO,
        SyntaxKind::SEQUENCE_RENAME_TO,
    ];
    match find(&renames).and_then(|_| last(SyntaxKind::PATH)) {
        Some(to) => Work::Rename { to },
        None => Work::Brief,
    }
}

fn dropped(statement: Stmt) -> Vec<Act> {
    let node = statement.syntax().clone();
    let optional = if_exists(&node);
    let only = |name: &Name, act: Act| match optional {
        true => act.only(When::Exists(name.clone())),
        false => act,
    };
    let every = |work: Work| -> Vec<Act> {
        let names = node.children().filter_map(|child| name_in(&child));
        names
            .map(|name| {
                let act = Act {
                    recurses: true,
                    ..Act::new(&name, Mode::AccessExclusive, work.clone())
                };
                only(&name, act)
            })
            .collect()
    };
    match statement {
        Stmt::DropTable(_) | Stmt::DropForeignTable(_) | Stmt::DropView(_) | Stmt::DropMaterializedView(_) => {
            every(Work::Drop {
                cascade: has(&node, SyntaxKind::CASCADE),
            })
        }
        Stmt::DropIndex(drop) => {
            let concurrently = has_token(&node, SyntaxKind::CONCURRENTLY_KW);
            let mode = if concurrently {
                Mode::ShareUpdateExclusive
            } else {
                Mode::AccessExclusive
            };
            let names = drop.index_refs().filter_map(|name| name_in(name.syntax()));
            names
                .flat_map(|name| {
                    let table = Act {
                        recurses: true,
                        ..Act::on_table_of(&name, mode, Work::Brief)
                    };
                    [only(&name, Act::new(&name, mode, Work::DropOther)), only(&name, table)]
                })
                .collect()
        }
        Stmt::DropTrigger(_) | Stmt::DropPolicy(_) | Stmt::DropRule(_) => table_behind_on(&node)
            .map(|table| only(&table, Act::brief(&table, Mode::AccessExclusive)))
            .into_iter()
            .collect(),
        _ => every(Work::DropOther),
    }
}

/// The functions that a query calls, those of PostgreSQL left out that only compute or read.
pub fn unknown_calls(node: &SyntaxNode) -> bool {
    const KNOWN: &[&str] = &[
        "abs",
        "array_agg",
        "avg",
        "btrim",
        "ceil",
        "clock_timestamp",
        "coalesce",
        "concat",
        "count",
        "currval",
        "date_trunc",
        "floor",
        "format",
        "gen_random_uuid",
        "greatest",
        "json_agg",
        "jsonb_agg",
        "jsonb_build_object",
        "lastval",
        "least",
        "length",
        "lower",
        "ltrim",
        "max",
        "min",
        "md5",
        "nextval",
        "now",
        "nullif",
        "pg_advisory_lock",
        "pg_advisory_unlock",
        "pg_advisory_xact_lock",
        "pg_get_serial_sequence",
        "pg_sleep",
        "random",
        "replace",
        "round",
        "row_number",
        "rtrim",
        "set_config",
        "setval",
        "string_agg",
        "substr",
        "substring",
        "sum",
        "to_char",
        "to_regclass",
        "trim",
        "upper",
        "version",
    ];
    calls(node).iter().any(|call| {
        let built_in = call.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
        !built_in || !KNOWN.contains(&call.name.as_str())
    })
}
