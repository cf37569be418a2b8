//! One relation, with what the pending statements so far have changed of what the catalogue says.

use super::act::{Storage, Work};
use super::catalogue::{ColumnFacts, ConstraintFacts, IndexFacts, Relation};
use super::name::Name;
use super::proof::{self, Known};
use std::collections::HashSet;

/// A relation as the pending statements so far have left it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the catalogue says, with what pending statements have changed.
    pub facts: Relation,
    /// Set if a pending statement made it.
    pub(super) new: bool,
    /// Whether all its columns are known.
    pub(super) columns_known: bool,
    /// Columns that pending statements added.
    pub(super) added: HashSet<String>,
    /// Columns whose type pending statements changed.
    pub(super) retyped: HashSet<String>,
    /// `CHECK`s that pending statements added: what they say, and whether they are validated.
    pub(super) checks: Vec<(Option<String>, Vec<Known>, bool)>,
    /// Of an index: its table.
    pub(super) table: Option<usize>,
    /// Tables that it is a partition or child of.
    pub(super) ancestors: Vec<usize>,
    /// Whether pending statements changed its indexes.
    pub(super) reindexed: bool,
}

impl Entry {
    /// One that is there before the first statement.
    pub(super) fn existing(facts: &Relation) -> Entry {
        Entry {
            facts: facts.clone(),
            new: false,
            columns_known: true,
            added: HashSet::new(),
            retyped: HashSet::new(),
            checks: Vec::new(),
            table: None,
            ancestors: Vec::new(),
            reindexed: false,
        }
    }

    /// One that a pending statement makes.
    pub(super) fn made(name: &Name, kind: &str) -> Entry {
        Entry {
            new: true,
            ..Entry::existing(&Relation {
                name: name.to_string(),
                kind: kind.to_owned(),
                empty: true,
                ..Relation::default()
            })
        }
    }

    /// Whether a pending statement made it.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// Whether a pending statement added this column.
    pub fn added(&self, column: &str) -> bool {
        self.added.contains(column)
    }

    /// Whether a pending statement changed this column's type.
    pub fn retyped(&self, column: &str) -> bool {
        self.retyped.contains(column)
    }

    /// Whether pending statements changed its indexes.
    pub fn reindexed(&self) -> bool {
        self.reindexed
    }

    /// Whether it has this column; none if that is not known.
    pub fn has_column(&self, name: &str) -> Option<bool> {
        match self.facts.column(name) {
            Some(_) => Some(true),
            None => (self.columns_known && !self.facts.columns.is_empty()).then_some(false),
        }
    }

    /// What its validated `CHECK`s say.
    pub fn known(&self) -> Vec<Known> {
        let facts = self.facts.constraints.iter().filter(|constraint| constraint.valid);
        let facts = facts
            .filter(|constraint| constraint.kind == "c")
            .flat_map(|constraint| match &constraint.check {
                Some(check) => proof::of_definition(check),
                None => vec![Known::Other(constraint.columns.clone())],
            });
        let pending = self
            .checks
            .iter()
            .filter(|(_, _, valid)| *valid)
            .flat_map(|(_, says, _)| says.clone());
        facts.chain(pending).collect()
    }

    /// Whether a column cannot be null: it is `NOT NULL`, or a validated `CHECK` says so (PostgreSQL 12), or may say so for all that is known.
    pub fn is_not_null(&self, column: &str, version: u32) -> bool {
        let unread = |constraint: &ConstraintFacts| {
            let here = constraint.columns.iter().any(|name| name == column);
            constraint.kind == "c" && constraint.valid && constraint.check.is_none() && here
        };
        self.facts.column(column).is_some_and(|column| column.not_null)
            || version >= 120_000
                && (self.known().contains(&Known::NotNull(column.to_owned()))
                    || self.facts.constraints.iter().any(unread))
    }

    /// Whether a constraint is validated; none if it is not known.
    pub fn is_valid(&self, constraint: &str) -> Option<bool> {
        let facts = self.facts.constraint(constraint).map(|constraint| constraint.valid);
        let pending = self
            .checks
            .iter()
            .find(|(name, ..)| name.as_deref() == Some(constraint));
        facts.or(pending.map(|(_, _, valid)| *valid))
    }

    fn drop_column(&mut self, name: &str) {
        self.facts.columns.retain(|column| column.name != name);
        self.facts
            .constraints
            .retain(|constraint| !constraint.columns.iter().any(|column| column == name));
        self.facts
            .indexes
            .retain(|index| !index.columns.iter().any(|column| column == name));
        self.checks
            .retain(|(_, says, _)| !says.iter().any(|known| speaks_of(known, name)));
        self.added.remove(name);
    }

    fn rename_column(&mut self, from: &str, to: &str) {
        let rename = |name: &mut String| {
            if name == from {
                to.clone_into(name);
            }
        };
        self.facts
            .columns
            .iter_mut()
            .for_each(|column| rename(&mut column.name));
        for constraint in &mut self.facts.constraints {
            constraint.columns.iter_mut().for_each(rename);
        }
        // A definition is a text: what it says is kept in its place.
        let texts = self
            .facts
            .constraints
            .iter()
            .filter_map(|known| Some((known, known.check.as_deref()?)));
        let says = texts.map(|(known, check)| (Some(known.name.clone()), proof::of_definition(check), known.valid));
        self.checks.extend(says);
        self.facts.constraints.retain(|known| known.check.is_none());
        for (_, says, _) in &mut self.checks {
            says.iter_mut().for_each(|known| renamed(known, from, to));
        }
        for index in &mut self.facts.indexes {
            index.columns.iter_mut().for_each(rename);
            index.key.iter_mut().for_each(rename);
        }
        for set in [&mut self.added, &mut self.retyped] {
            if set.remove(from) {
                set.insert(to.to_owned());
            }
        }
    }
}

fn speaks_of(known: &Known, column: &str) -> bool {
    match known {
        Known::NotNull(name) | Known::Compared(name, ..) | Known::OneOf(name, _) => name == column,
        Known::Other(names) => names.iter().any(|name| name == column),
    }
}

fn renamed(known: &mut Known, from: &str, to: &str) {
    let names = match known {
        Known::NotNull(name) | Known::Compared(name, ..) | Known::OneOf(name, _) => std::slice::from_mut(name),
        Known::Other(names) => names.as_mut_slice(),
    };
    for name in names.iter_mut().filter(|name| *name == from) {
        to.clone_into(name);
    }
}

impl Entry {
    /// What a form of `ALTER TABLE` and the like leaves behind; `column` is what it makes of a column, `index` the columns of an index that it uses.
    pub(super) fn take(&mut self, work: &Work, column: Option<ColumnFacts>, index: &[String]) {
        let set_not_null = |entry: &mut Entry, name: &str, not_null: bool| {
            let columns = entry.facts.columns.iter_mut().filter(|column| column.name == name);
            columns.for_each(|column| column.not_null = not_null);
        };
        match work {
            Work::AddColumn(added) if self.facts.column(&added.name).is_some() => {}
            Work::AddColumn(added) => {
                self.added.insert(added.name.clone());
                self.facts.columns.push(column.unwrap_or(ColumnFacts {
                    name: added.name.clone(),
                    not_null: added.not_null,
                    ..ColumnFacts::default()
                }));
            }
            Work::Retype { collation, .. } => {
                let Some(new) = column else { return };
                self.retyped.insert(new.name.clone());
                for old in self.facts.columns.iter_mut().filter(|old| old.name == new.name) {
                    (old.ty, old.type_name, old.base) = (new.ty.clone(), new.type_name.clone(), new.base.clone());
                    old.collation.clone_from(collation);
                }
            }
            Work::SetNotNull { column } | Work::PrimaryKey { column } => set_not_null(self, column, true),
            Work::DropNotNull { column } => set_not_null(self, column, false),
            Work::OverIndex { primary: true, .. } => index.iter().for_each(|column| set_not_null(self, column, true)),
            Work::AddCheck {
                constraint,
                says,
                not_valid,
            } => self.checks.push((constraint.clone(), says.clone(), !not_valid)),
            Work::AddForeignKey {
                constraint,
                to,
                not_valid,
            } => self.facts.constraints.push(ConstraintFacts {
                name: constraint.clone(),
                kind: "f".to_owned(),
                valid: !not_valid,
                refers_to: Some(to.to_string()),
                ..ConstraintFacts::default()
            }),
            Work::Validate { constraint } => {
                let facts = self
                    .facts
                    .constraints
                    .iter_mut()
                    .filter(|known| known.name == *constraint);
                facts.for_each(|known| {
                    known.valid = true;
                    known.check = known
                        .check
                        .take()
                        .map(|check| check.trim_end_matches(" NOT VALID").to_owned());
                });
                let pending = self
                    .checks
                    .iter_mut()
                    .filter(|(name, ..)| name.as_ref() == Some(constraint));
                pending.for_each(|(_, _, valid)| *valid = true);
            }
            Work::DropConstraint { constraint } => {
                // PostgreSQL 18 keeps NOT NULL as a constraint.
                let not_null = self
                    .facts
                    .constraints
                    .iter()
                    .filter(|known| known.name == *constraint && known.kind == "n");
                let columns: Vec<String> = not_null.flat_map(|known| known.columns.clone()).collect();
                columns.iter().for_each(|column| set_not_null(self, column, false));
                self.facts.constraints.retain(|known| known.name != *constraint);
                self.checks.retain(|(name, ..)| name.as_ref() != Some(constraint));
                self.facts.indexes.retain(|index| index.name != *constraint);
            }
            Work::RenameConstraint { from, to } => {
                let facts = self.facts.constraints.iter_mut().filter(|known| known.name == *from);
                facts.for_each(|known| known.name.clone_from(to));
                let pending = self.checks.iter_mut().filter(|(name, ..)| name.as_ref() == Some(from));
                pending.for_each(|(name, ..)| *name = Some(to.clone()));
            }
            Work::Store { to, .. } => match to {
                Storage::Tablespace(name) => self.facts.tablespace = Some(name.clone()),
                Storage::Logged(logged) => self.facts.logged = *logged,
                Storage::AccessMethod(method) => {
                    self.facts.method = Some(method.clone().unwrap_or_else(|| "heap".to_owned()))
                }
            },
            Work::DropColumn { column } => self.drop_column(column),
            Work::RenameColumn { from, to } => self.rename_column(from, to),
            Work::Truncate { .. } => (self.facts.bytes, self.facts.empty, self.facts.rows) = (0, true, Some(0)),
            _ => {}
        }
    }
}

impl IndexFacts {
    /// Whether it depends on a column.
    pub fn uses(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }
}
