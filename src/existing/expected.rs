//! What a script's text says must exist, or be gone, once it has run: read with the grammar, statement by statement.

use crate::hazard::name::Name;
use crate::hazard::statement::first_word;
use crate::hazard::tree::{last_name, name_in, text};
use crate::sql::script::{self, Statement, Strings};
use squawk_syntax::SourceFile;
use squawk_syntax::ast::{self, AlterTableAction, AstNode, Constraint, Stmt, TableArg};
use std::fmt;
use std::ops::Range;

/// Longer statements, in bytes, are not parsed.
const LONGEST: usize = crate::hazard::statement::LONGEST;

/// What a script leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// What can be looked for in the catalogue, in the order in which the script names it.
    pub objects: Vec<Object>,
    /// The lines of the statements that cannot be looked for, counted from 1.
    pub unseen: Vec<usize>,
    /// Which of several scripts is being read, counted from 0.
    at: usize,
    /// What earlier scripts left and a later one has changed, with the number of that.
    past: Vec<(Object, usize)>,
}

/// Something that a script makes or removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name; of a part of a table without the table.
    pub name: Name,
    /// Whether the script leaves it or removes it.
    pub wanted: Wanted,
    /// Of a constraint: whether the script adds it `NOT VALID`.
    pub not_valid: bool,
    /// Which of several scripts says so, counted from 0.
    since: usize,
}

/// Whether the script leaves an object or removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It exists afterwards.
    Exists,
    /// It does not.
    Gone,
}

/// A kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A table, with the names and types of the columns that its `CREATE TABLE` lists.
    Table(Vec<(String, String)>),
    /// A view or a materialized view.
    View,
    /// An index.
    Index,
    /// A sequence.
    Sequence,
    /// An enum, a composite type or a domain.
    Type,
    /// A schema.
    Schema,
    /// An extension.
    Extension,
    /// A value of an enum.
    EnumValue(Name),
    /// A column.
    Column {
        /// Its table.
        table: Name,
        /// Its type as written; none if the script does not say it.
        of_type: Option<String>,
    },
    /// A constraint of a table.
    Constraint(Name),
    /// A trigger of a table.
    Trigger(Name),
    /// A policy of a table.
    Policy(Name),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.kind {
            ObjectKind::Table(_) => write!(f, "table {name}"),
            ObjectKind::View => write!(f, "view {name}"),
            ObjectKind::Index => write!(f, "index {name}"),
            ObjectKind::Sequence => write!(f, "sequence {name}"),
            ObjectKind::Type => write!(f, "type {name}"),
            ObjectKind::Schema => write!(f, "schema {name}"),
            ObjectKind::Extension => write!(f, "extension {name}"),
            ObjectKind::EnumValue(of) => write!(f, "value '{}' of {of}", name.name),
            ObjectKind::Column { table, .. } => write!(f, "column {table}.{name}"),
            ObjectKind::Constraint(table) => write!(f, "constraint {name} of {table}"),
            ObjectKind::Trigger(table) => write!(f, "trigger {name} of {table}"),
            ObjectKind::Policy(table) => write!(f, "policy {name} of {table}"),
        }
    }
}

impl Expected {
    /// The sentence on what was not looked at; none if that is nothing.
    pub fn not_looked_at(&self) -> Option<String> {
        const LINES: usize = 6;
        let mut lines: Vec<String> = self.unseen.iter().take(LINES).map(usize::to_string).collect();
        if self.unseen.len() > LINES {
            lines.push("…".into());
        }
        match self.unseen.len() {
            0 => None,
            1 => Some(format!(
                "1 statement was not looked at, because the catalogue cannot show what it did (line {})",
                lines[0]
            )),
            count => Some(format!(
                "{count} statements were not looked at, because the catalogue cannot show what they did (lines {})",
                lines.join(", ")
            )),
        }
    }

    /// Reads one more statement.
    fn read(&mut self, statement: &str, line: usize) {
        // A script may hold millions of other statements: they are not parsed.
        let makes = matches!(first_word(statement).as_str(), "create" | "alter" | "drop");
        let parsed = (makes && statement.len() <= LONGEST).then(|| SourceFile::parse(statement));
        let first = parsed
            .as_ref()
            .filter(|parsed| parsed.errors().is_empty())
            .and_then(|parsed| parsed.tree().stmts().next());
        let is_seen = match first {
            Some(statement) => self.of(statement),
            None => is_of_session(statement),
        };
        if !is_seen {
            self.unseen.push(line);
        }
    }

    /// Whether all that the statement does was understood.
    fn of(&mut self, statement: Stmt) -> bool {
        let node = statement.syntax().clone();
        let words = text(&node).to_ascii_lowercase();
        let temporary = words
            .split_whitespace()
            .skip(1)
            .take(2)
            .any(|word| word == "temp" || word == "temporary");
        if temporary {
            return true;
        }
        match statement {
            Stmt::CreateTable(create) => match create.table_name().and_then(|name| name_in(name.syntax())) {
                Some(name) => {
                    let columns = create.table_arg_list().map(|list| columns(&list)).unwrap_or_default();
                    self.exists(ObjectKind::Table(columns), name)
                }
                None => false,
            },
            Stmt::CreateTableAs(create) => {
                // Its rows are not looked at.
                let name = create.table_name().and_then(|name| name_in(name.syntax()));
                self.named(ObjectKind::Table(Vec::new()), name);
                false
            }
            Stmt::CreateIndex(create) => {
                let name = create.index().and_then(|name| name_in(name.syntax()));
                // An index is in its table's schema.
                let schema = create
                    .table_relation_name()
                    .and_then(|table| name_in(table.syntax()))
                    .and_then(|table| table.schema);
                let name = name.map(|name| Name { schema, ..name });
                self.named(ObjectKind::Index, name)
            }
            Stmt::CreateView(create) if create.or_replace().is_none() => {
                self.named(ObjectKind::View, create.view().and_then(|name| name_in(name.syntax())))
            }
            Stmt::CreateMaterializedView(create) => {
                self.named(ObjectKind::View, create.view().and_then(|name| name_in(name.syntax())))
            }
            Stmt::CreateSequence(create) => self.named(
                ObjectKind::Sequence,
                create.sequence().and_then(|name| name_in(name.syntax())),
            ),
            Stmt::CreateType(create) => self.named(
                ObjectKind::Type,
                create.type_name().and_then(|name| name_in(name.syntax())),
            ),
            Stmt::CreateDomain(create) => self.named(
                ObjectKind::Type,
                create.domain().and_then(|name| name_in(name.syntax())),
            ),
            Stmt::CreateSchema(create) if create.schema_elements().next().is_none() => {
                let target = create.create_schema_target();
                let named = target.filter(|target| !text(target.syntax()).to_lowercase().starts_with("authorization"));
                self.named(ObjectKind::Schema, named.and_then(|target| name_in(target.syntax())))
            }
            Stmt::CreateExtension(create) => self.named(
                ObjectKind::Extension,
                create.extension().and_then(|name| Name::read(&text(name.syntax()))),
            ),
            Stmt::CreateTrigger(create) if create.or_replace().is_none() => {
                let table = create.on_relation().and_then(|table| name_in(table.syntax()));
                let name = create.trigger().and_then(|name| Name::read(&text(name.syntax())));
                table.is_some_and(|table| self.named(ObjectKind::Trigger(table), name))
            }
            Stmt::CreatePolicy(create) => {
                let table = create.on_table().and_then(|table| name_in(table.syntax()));
                let name = create.policy().and_then(|name| Name::read(&text(name.syntax())));
                table.is_some_and(|table| self.named(ObjectKind::Policy(table), name))
            }
            Stmt::AlterTable(alter) => self.of_alter_table(&alter),
            Stmt::AlterType(alter) => self.of_alter_type(&alter),
            Stmt::AlterIndex(alter) => {
                let name = alter.index_ref().and_then(|name| name_in(name.syntax()));
                match (name, alter.action()) {
                    (Some(name), Some(ast::AlterIndexAction::IndexRenameTo(to))) => {
                        self.rename(&ObjectKind::Index, &name, &last_name(to.syntax()))
                    }
                    _ => false,
                }
            }
            Stmt::DropTable(_) => self.gone(&node, &ObjectKind::Table(Vec::new())),
            Stmt::DropIndex(_) => self.gone(&node, &ObjectKind::Index),
            Stmt::DropView(_) | Stmt::DropMaterializedView(_) => self.gone(&node, &ObjectKind::View),
            Stmt::DropSequence(_) => self.gone(&node, &ObjectKind::Sequence),
            Stmt::DropType(_) | Stmt::DropDomain(_) => self.gone(&node, &ObjectKind::Type),
            Stmt::DropSchema(_) => self.gone(&node, &ObjectKind::Schema),
            _ => is_of_session(&text(&node)),
        }
    }

    fn of_alter_table(&mut self, alter: &ast::AlterTable) -> bool {
        let Some(mut table) = alter.table_relation_name().and_then(|name| name_in(name.syntax())) else {
            return false;
        };
        let mut all_seen = true;
        for action in alter.actions() {
            use AlterTableAction as A;
            all_seen &= match &action {
                A::AddColumn(add) => {
                    let of_type = add.ty().map(|ty| type_of(&text(ty.syntax())));
                    let kind = ObjectKind::Column {
                        table: table.clone(),
                        of_type,
                    };
                    let name = add.column_name().and_then(|name| name_in(name.syntax()));
                    self.named(kind, name)
                }
                A::DropColumn(drop) => {
                    let kind = ObjectKind::Column {
                        table: table.clone(),
                        of_type: None,
                    };
                    let name = drop.column_name_ref().and_then(|name| name_in(name.syntax()));
                    name.iter().for_each(|name| self.forget_column(&table, name));
                    self.removed(kind, name)
                }
                A::AddConstraint(add) => match add.constraint() {
                    Some(constraint) => self.of_constraint(&table, &constraint),
                    None => false,
                },
                A::DropConstraint(drop) => self.removed(
                    ObjectKind::Constraint(table.clone()),
                    drop.constraint_name_ref().and_then(|name| name_in(name.syntax())),
                ),
                A::RenameColumn(rename) => {
                    let from = rename.column_name_ref().and_then(|name| name_in(name.syntax()));
                    let to = rename.column_name().and_then(|name| name_in(name.syntax()));
                    from.iter().for_each(|name| self.forget_column(&table, name));
                    let kind = || ObjectKind::Column {
                        table: table.clone(),
                        of_type: None,
                    };
                    self.removed(kind(), from) & self.named(kind(), to)
                }
                A::RenameConstraint(rename) => {
                    let from = rename.constraint_name_ref().and_then(|name| name_in(name.syntax()));
                    let to = rename.constraint_name().and_then(|name| name_in(name.syntax()));
                    let kind = || ObjectKind::Constraint(table.clone());
                    self.removed(kind(), from) & self.named(kind(), to)
                }
                A::AlterColumn(alter) => {
                    // Its type may be another one now, which is not looked at.
                    let name = alter.column_name_ref().and_then(|name| name_in(name.syntax()));
                    name.iter().for_each(|name| self.forget_column(&table, name));
                    false
                }
                A::TableRenameTo(rename) => {
                    let to = last_name(rename.syntax());
                    let renamed = self.rename(&ObjectKind::Table(Vec::new()), &table, &to);
                    table.name = to;
                    renamed
                }
                _ => false,
            };
        }
        all_seen
    }

    fn of_constraint(&mut self, table: &Name, constraint: &Constraint) -> bool {
        let name = constraint.constraint_name().and_then(|name| name_in(name.syntax()));
        let is_known = self.named(ObjectKind::Constraint(table.clone()), name);
        if is_known
            && constraint.is_not_valid()
            && let Some(last) = self.objects.last_mut()
        {
            last.not_valid = true;
        }
        is_known
    }

    fn of_alter_type(&mut self, alter: &ast::AlterType) -> bool {
        let Some(name) = alter.type_name_ref().and_then(|name| name_in(name.syntax())) else {
            return false;
        };
        match alter.action() {
            Some(ast::AlterTypeAction::AddValue(add)) => {
                let value = add.literal().map(|literal| text(literal.syntax()));
                let value =
                    value.and_then(|value| Some(value.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'")));
                let value = value.map(|name| Name { schema: None, name });
                self.named(ObjectKind::EnumValue(name), value)
            }
            Some(ast::AlterTypeAction::TypeRenameTo(to)) => {
                self.rename(&ObjectKind::Type, &name, &last_name(to.syntax()))
            }
            _ => false,
        }
    }

    fn named(&mut self, kind: ObjectKind, name: Option<Name>) -> bool {
        name.is_some_and(|name| self.exists(kind, name))
    }

    fn removed(&mut self, kind: ObjectKind, name: Option<Name>) -> bool {
        name.is_some_and(|name| self.set(kind, name, Wanted::Gone))
    }

    fn exists(&mut self, kind: ObjectKind, name: Name) -> bool {
        self.set(kind, name, Wanted::Exists)
    }

    /// The last statement about an object counts. What is made and removed within one script leaves no trace.
    fn set(&mut self, kind: ObjectKind, name: Name, wanted: Wanted) -> bool {
        let known = self.objects.iter().position(|object| object.is(&kind, &name));
        let known = known.map(|at| self.remove(at));
        let made_here = known.is_some_and(|object| object.wanted == Wanted::Exists && object.since == self.at);
        if wanted == Wanted::Gone && matches!(kind, ObjectKind::Table(_)) {
            while let Some(part) = self.objects.iter().position(|object| object.table() == Some(&name)) {
                self.remove(part);
            }
        }
        if !(wanted == Wanted::Gone && made_here) {
            self.objects.push(Object {
                kind,
                name,
                wanted,
                not_valid: false,
                since: self.at,
            });
        }
        true
    }

    /// Takes an object out. What an earlier script said of it held until this one.
    fn remove(&mut self, at: usize) -> Object {
        let object = self.objects.remove(at);
        if object.since < self.at {
            self.past.push((object.clone(), self.at));
        }
        object
    }

    /// The same for an object that this script says something else of.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut Object)) {
        let mut object = self.remove(at);
        change(&mut object);
        object.since = self.at;
        self.objects.insert(at, object);
    }

    /// A column that its table's CREATE TABLE lists is gone, or has another name or type.
    fn forget_column(&mut self, table: &Name, column: &Name) {
        let lists = |object: &Object| {
            object.name == *table
                && matches!(&object.kind, ObjectKind::Table(columns) if columns.iter().any(|(name, _)| *name == column.name))
        };
        if let Some(at) = self.objects.iter().position(lists) {
            self.change(at, |object| {
                if let ObjectKind::Table(columns) = &mut object.kind {
                    columns.retain(|(name, _)| *name != column.name);
                }
            });
        }
    }

    fn rename(&mut self, kind: &ObjectKind, from: &Name, to: &str) -> bool {
        let new = Name {
            schema: from.schema.clone(),
            name: to.to_owned(),
        };
        let known = self
            .objects
            .iter()
            .position(|object| object.is(kind, from) && object.wanted == Wanted::Exists);
        let kind = known.map_or_else(|| kind.clone(), |at| self.objects[at].kind.clone());
        for at in 0..self.objects.len() {
            if self.objects[at].is_part_of(from) {
                self.change(at, |object| object.move_to(&new));
            }
        }
        self.set(kind.clone(), from.clone(), Wanted::Gone);
        self.set(kind, new, Wanted::Exists)
    }

    fn gone(&mut self, node: &squawk_syntax::SyntaxNode, kind: &ObjectKind) -> bool {
        let names: Vec<Name> = node.children().filter_map(|child| name_in(&child)).collect();
        for name in &names {
            self.set(kind.clone(), name.clone(), Wanted::Gone);
        }
        // What CASCADE removes beside them is not known.
        !names.is_empty() && !text(node).to_lowercase().contains("cascade")
    }
}

impl Object {
    /// Whether it is the object of this kind and name; kinds of relations share their names.
    fn is(&self, kind: &ObjectKind, name: &Name) -> bool {
        use ObjectKind as K;
        self.name == *name
            && match (&self.kind, kind) {
                (K::Table(_) | K::View | K::Index | K::Sequence, K::Table(_) | K::View | K::Index | K::Sequence) => {
                    true
                }
                (K::Column { table: a, .. }, K::Column { table: b, .. }) => a == b,
                (a, b) => a == b,
            }
    }

    /// The table that it is a part of.
    fn table(&self) -> Option<&Name> {
        match &self.kind {
            ObjectKind::Column { table, .. }
            | ObjectKind::Constraint(table)
            | ObjectKind::Trigger(table)
            | ObjectKind::Policy(table) => Some(table),
            _ => None,
        }
    }

    /// Whether it belongs to the table or the type of this name.
    fn is_part_of(&self, whole: &Name) -> bool {
        self.table() == Some(whole) || matches!(&self.kind, ObjectKind::EnumValue(of) if of == whole)
    }

    fn move_to(&mut self, to: &Name) {
        match &mut self.kind {
            ObjectKind::Column { table: whole, .. }
            | ObjectKind::Constraint(whole)
            | ObjectKind::Trigger(whole)
            | ObjectKind::Policy(whole)
            | ObjectKind::EnumValue(whole) => whole.clone_from(to),
            _ => {}
        }
    }
}

/// What a script leaves.
pub fn expected(script: &str, strings: Strings) -> Expected {
    let mut expected = Expected::default();
    read_into(&mut expected, script, strings);
    expected
}

/// What several scripts say of an object, run one after the other: from one of them on, up to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Everything that any of them says, as one expectation.
    pub all: Expected,
    /// For each object the scripts after which it is as said, counted from 0.
    pub after: Vec<Range<usize>>,
}

/// What these scripts leave, run one after the other.
pub fn lives<'s>(scripts: impl Iterator<Item = &'s str>, strings: Strings) -> Lives {
    let mut expected = Expected::default();
    for (at, script) in scripts.enumerate() {
        expected.at = at;
        read_into(&mut expected, script, strings);
    }
    let end = expected.at + 1;
    let now = std::mem::take(&mut expected.objects)
        .into_iter()
        .map(|object| (object, end));
    let (objects, after) = std::mem::take(&mut expected.past)
        .into_iter()
        .chain(now)
        .map(|(object, until)| {
            let after = object.since..until;
            (object, after)
        })
        .unzip();
    let all = Expected { objects, ..expected };
    Lives { all, after }
}

fn read_into(expected: &mut Expected, script: &str, strings: Strings) {
    let statements: Vec<Statement> = script::statements_with(script, strings);
    let mut line = 1;
    let mut at = 0;
    for statement in &statements {
        line += script[at..statement.range.start].matches('\n').count();
        at = statement.range.start;
        expected.read(&script[statement.range.clone()], line);
    }
}

/// What changes nothing that lasts: transaction control, settings, comments.
fn is_of_session(statement: &str) -> bool {
    let first = first_word(statement);
    const NOTHING: [&str; 16] = [
        "abort",
        "analyze",
        "begin",
        "commit",
        "comment",
        "discard",
        "end",
        "listen",
        "notify",
        "release",
        "reset",
        "rollback",
        "savepoint",
        "set",
        "show",
        "start",
    ];
    NOTHING.contains(&first.as_str())
        || statement
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("select pg_catalog.set_config(")
}

fn columns(list: &ast::TableArgList) -> Vec<(String, String)> {
    list.args()
        .filter_map(|arg| match arg {
            TableArg::Column(column) => Some((
                name_in(column.name()?.syntax())?.name,
                type_of(&text(column.ty()?.syntax())),
            )),
            _ => None,
        })
        .collect()
}

/// A type as written; what stands for `serial` and its kin.
fn type_of(written: &str) -> String {
    match written.to_ascii_lowercase().as_str() {
        "serial" | "serial4" => "integer".to_owned(),
        "bigserial" | "serial8" => "bigint".to_owned(),
        "smallserial" | "serial2" => "smallint".to_owned(),
        _ => written.to_owned(),
    }
}
