//! What the pending statements have made of the database by the time that the next one runs.

use super::act::{Act, Work};
use super::catalogue::{Facts, Relation};
use super::mode::Mode;
use super::name::Name;
use std::collections::{HashMap, HashSet};

/// A name with its schema.
type Key = (String, String);

/// A relation, as the next statement meets it.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A pending statement made it.
    New,
    /// It is not there, as far as can be seen.
    Absent,
    /// It is there now.
    There(&'a Relation),
}

/// The database, with the pending statements so far applied to what is known of it.
pub struct World<'a> {
    /// What the catalogue says.
    pub facts: &'a Facts,
    created: HashSet<Key>,
    gone: HashSet<Key>,
    /// New names, with those by which the catalogue was asked.
    renamed: HashMap<Key, Name>,
    columns: HashSet<(Key, String)>,
    /// Constraints that say `column IS NOT NULL`.
    checks: HashMap<(Key, String), String>,
    not_null: HashSet<(Key, String)>,
    held: HashMap<Key, (Mode, usize)>,
}

impl<'a> World<'a> {
    /// The database before the first statement.
    pub fn new(facts: &'a Facts) -> Self {
        World {
            facts,
            created: HashSet::new(),
            gone: HashSet::new(),
            renamed: HashMap::new(),
            columns: HashSet::new(),
            checks: HashMap::new(),
            not_null: HashSet::new(),
            held: HashMap::new(),
        }
    }

    fn key(&self, name: &Name) -> Key {
        let schema = name.schema.clone().unwrap_or_else(|| self.facts.schema.clone());
        (schema, name.name.clone())
    }

    /// What an act is done to.
    pub fn find(&self, act: &Act) -> Found<'a> {
        let key = self.key(&act.on);
        if self.created.contains(&key) {
            return Found::New;
        }
        let asked = match self.renamed.get(&key) {
            Some(old) => old,
            None if self.gone.contains(&key) => return Found::Absent,
            None => &act.on,
        };
        match self.facts.relations.get(asked) {
            Some(index) if act.table_of_index => index.table.as_deref().map_or(Found::Absent, Found::There),
            Some(relation) => Found::There(relation),
            None => Found::Absent,
        }
    }

    /// The strongest lock that this transaction holds on what an act is done to, and the line that took it.
    pub fn held(&self, act: &Act) -> Option<(Mode, usize)> {
        self.held.get(&self.key(&act.on)).copied()
    }

    /// Whether a pending statement added this column.
    pub fn added(&self, table: &Name, column: &str) -> bool {
        self.columns.contains(&(self.key(table), column.to_owned()))
    }

    /// Whether a pending statement validates a `CHECK` that says that this column is not null.
    pub fn proves_not_null(&self, table: &Name, column: &str) -> bool {
        self.not_null.contains(&(self.key(table), column.to_owned()))
    }

    /// A transaction has ended: its locks are gone.
    pub fn begin_transaction(&mut self) {
        self.held.clear();
    }

    /// What an act leaves behind.
    pub fn take(&mut self, act: &Act, line: usize) {
        let key = self.key(&act.on);
        if let Some(mode) = act.mode.filter(|_| !act.table_of_index) {
            let held = self.held.entry(key.clone()).or_insert((mode, line));
            if mode > held.0 {
                *held = (mode, line);
            }
        }
        match &act.work {
            // CREATE … IF NOT EXISTS makes nothing where it is there.
            Work::Create if !matches!(self.find(act), Found::There(_)) => {
                self.created.insert(key);
            }
            Work::DropTable => {
                self.created.remove(&key);
                self.renamed.remove(&key);
                self.gone.insert(key);
            }
            Work::Rename { to } => {
                let new = (key.0.clone(), to.clone());
                if self.created.remove(&key) {
                    self.created.insert(new);
                } else {
                    let old = self.renamed.remove(&key).unwrap_or_else(|| act.on.clone());
                    self.renamed.insert(new, old);
                    self.gone.insert(key);
                }
            }
            Work::AddColumn(column) => {
                self.columns.insert((key, column.name.clone()));
            }
            Work::AddCheck {
                constraint,
                not_null: Some(column),
                not_valid,
            } => {
                if let Some(constraint) = constraint {
                    self.checks.insert((key.clone(), constraint.clone()), column.clone());
                }
                if !not_valid {
                    self.not_null.insert((key, column.clone()));
                }
            }
            Work::Validate { constraint } => {
                let known = self.checks.get(&(key.clone(), constraint.clone())).cloned();
                let column = known.or_else(|| match self.find(act) {
                    Found::There(table) => table.constraint(constraint)?.not_null.clone(),
                    _ => None,
                });
                self.not_null.extend(column.map(|column| (key, column)));
            }
            _ => {}
        }
    }
}
