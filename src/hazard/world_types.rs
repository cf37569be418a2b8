//! The types as the pending statements so far have left them.

use super::act::{TypeAct, TypeWork};
use super::catalogue::{Facts, TypedColumn};
use super::name::Name;
use super::types::TypeRef;
use super::world::{Key, Taker};
use std::collections::HashMap;

/// A type that was asked for, or that a pending statement made.
#[derive(Clone, Debug, Default)]
pub struct Type {
    /// As PostgreSQL shows it, or as the script writes it.
    pub shown: String,
    /// Set if a pending statement made it.
    pub new: bool,
    /// Set if a statement of this transaction made it.
    of_transaction: bool,
    /// Of a domain: the type below it.
    pub base: Option<TypeRef>,
    parent: Option<Key>,
    inherits: bool,
    checks: Vec<Option<String>>,
    not_null: bool,
    /// Of a domain: whether its default may be another for each row.
    pub volatile: bool,
    values: Vec<String>,
    /// Those that it had before the first statement.
    had: Vec<String>,
    /// Values that the transaction added, and what did.
    fresh: Vec<(String, Taker)>,
    /// The columns that are there now and are of it.
    pub columns: Vec<TypedColumn>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Types {
    known: HashMap<Key, Type>,
    version: u32,
    /// The schemas that unqualified names are looked for in.
    pub path: Vec<String>,
}

impl Types {
    /// The types before the first statement.
    pub fn new(facts: &Facts, path: Vec<String>) -> Types {
        let known = facts.types.values().map(|facts| {
            let ty = Type {
                shown: facts.shown.clone(),
                base: facts.base.as_deref().map(TypeRef::read),
                parent: facts.parent.clone(),
                inherits: facts.inherits,
                checks: facts.checks.iter().cloned().map(Some).collect(),
                not_null: facts.not_null,
                volatile: facts.volatile,
                values: facts.values.clone(),
                had: facts.values.clone(),
                columns: facts.columns.clone(),
                ..Type::default()
            };
            ((facts.schema.clone(), facts.name.clone()), ty)
        });
        Types {
            known: known.collect(),
            version: facts.version,
            path,
        }
    }

    /// The schema and name of a type; none if it is not known.
    pub fn key(&self, ty: &TypeRef) -> Option<Key> {
        self.key_of(ty.name.as_ref()?)
    }

    fn key_of(&self, name: &Name) -> Option<Key> {
        if let Some(schema) = &name.schema {
            return Some((schema.clone(), name.name.clone()));
        }
        let own = ["pg_catalog".to_owned()];
        let path = own.iter().chain(&self.path);
        path.map(|schema| (schema.clone(), name.name.clone()))
            .find(|key| self.known.contains_key(key))
    }

    /// A type by its name.
    pub fn find(&self, name: &Name) -> Option<&Type> {
        self.known.get(&self.key_of(name)?)
    }

    /// The same by a reference; an array's element.
    pub fn get(&self, ty: &TypeRef) -> Option<&Type> {
        self.known.get(&self.key(ty)?)
    }

    /// By its schema and name.
    pub fn by_key(&self, key: &Key) -> Option<&Type> {
        self.known.get(key)
    }

    /// Whether values of a domain are checked: by itself or by one below it.
    pub fn is_constrained(&self, ty: &TypeRef) -> bool {
        !ty.array && self.get(ty).is_some_and(|ty| self.constrains(ty))
    }

    fn constrains(&self, ty: &Type) -> bool {
        let parent = ty.parent.as_ref().and_then(|parent| self.known.get(parent));
        ty.not_null || !ty.checks.is_empty() || parent.map_or(ty.inherits, |parent| self.constrains(parent))
    }

    /// What a domain is at the bottom, without its limit; none of any other type.
    pub fn base(&self, ty: &TypeRef) -> Option<TypeRef> {
        let domain = self.get(ty).filter(|_| !ty.array)?;
        let base = domain.base.clone()?;
        Some(self.base(&base).unwrap_or(base))
    }

    /// Whether a domain's default may be another for each row.
    pub fn is_volatile(&self, ty: &TypeRef) -> bool {
        !ty.array && self.get(ty).is_some_and(|ty| ty.volatile)
    }

    /// Whether a type has this name now.
    pub fn is_back(&self, key: &Key) -> bool {
        self.known.contains_key(key)
    }

    /// The schema and name of a type that a statement is done to.
    pub fn key_for(&self, act: &TypeAct) -> Option<Key> {
        self.key_of(&act.on)
    }

    /// Whether it has a value.
    pub fn has_value(&self, key: &Key, value: &str) -> bool {
        self.known
            .get(key)
            .is_some_and(|ty| ty.values.iter().any(|known| known == value))
    }

    /// Whether it has a value that it had before the first statement.
    pub fn had_value(&self, key: &Key, value: &str) -> bool {
        self.known
            .get(key)
            .is_some_and(|ty| ty.had.iter().any(|known| known == value))
    }

    /// What added this value in this transaction, if it may not be used in it.
    pub fn fresh(&self, key: &Key, value: &str) -> Option<&Taker> {
        let ty = self.known.get(key)?;
        ty.fresh
            .iter()
            .find(|(fresh, _)| fresh == value)
            .map(|(_, taker)| taker)
    }

    /// The transaction is over.
    pub fn commit(&mut self) {
        for ty in self.known.values_mut() {
            ty.fresh.clear();
            ty.of_transaction = false;
        }
    }

    /// Another name for a schema.
    pub fn rename_schema(&mut self, from: &str, to: &str) {
        let moved: Vec<Key> = self
            .known
            .keys()
            .filter(|(schema, _)| schema == from)
            .cloned()
            .collect();
        for key in moved {
            self.rename(&key, (to.to_owned(), key.1.clone()));
        }
    }

    fn rename(&mut self, from: &Key, to: Key) {
        if let Some(ty) = self.known.remove(from) {
            self.known.insert(to.clone(), ty);
        }
        let parents = self.known.values_mut().filter_map(|ty| ty.parent.as_mut());
        for parent in parents.filter(|parent| *parent == from) {
            parent.clone_from(&to);
        }
    }

    /// What a statement leaves behind; `volatile` is whether a new domain's default is.
    pub fn take(&mut self, act: &TypeAct, volatile: bool, taker: &Taker) {
        let path = self.path.first().cloned().unwrap_or_default();
        let made = (act.on.schema.clone().unwrap_or(path), act.on.name.clone());
        let new = Type {
            shown: act.on.to_string(),
            new: true,
            of_transaction: true,
            ..Type::default()
        };
        match &act.work {
            TypeWork::CreateEnum(values) => {
                let values = values.clone();
                self.known.insert(made, Type { values, ..new });
            }
            TypeWork::CreateDomain {
                base, checks, not_null, ..
            } => {
                let parent = self
                    .key(base)
                    .filter(|key| self.known.get(key).is_some_and(|ty| ty.base.is_some()));
                let domain = Type {
                    base: Some(base.clone()),
                    parent,
                    checks: checks.clone(),
                    not_null: *not_null,
                    volatile,
                    ..new
                };
                self.known.insert(made, domain);
            }
            TypeWork::CreateOther => {
                self.known.insert(made, new);
            }
            work => self.alter(act, work, taker),
        }
    }

    fn alter(&mut self, act: &TypeAct, work: &TypeWork, taker: &Taker) {
        let Some(key) = self.key_of(&act.on) else { return };
        match work {
            TypeWork::Rename { to } => return self.rename(&key, (key.0.clone(), to.clone())),
            TypeWork::Move { to } => return self.rename(&key, (to.clone(), key.1.clone())),
            TypeWork::Drop { .. } => {
                self.known.remove(&key);
                return;
            }
            _ => {}
        }
        // Until PostgreSQL 17 a value that ADD VALUE brings cannot be used even if the type itself is of this transaction.
        let usable = self.version >= 170_000;
        let Some(ty) = self.known.get_mut(&key) else { return };
        match work {
            TypeWork::AddValue { value, .. } if !ty.values.contains(value) => {
                ty.values.push(value.clone());
                if !(ty.of_transaction && usable) {
                    ty.fresh.push((value.clone(), taker.clone()));
                }
            }
            TypeWork::RenameValue { from, to } => {
                ty.had.retain(|value| value != from);
                let fresh = ty.fresh.iter_mut().map(|(value, _)| value);
                for value in ty.values.iter_mut().chain(fresh).filter(|value| *value == from) {
                    value.clone_from(to);
                }
            }
            TypeWork::AddCheck { constraint, .. } => ty.checks.push(constraint.clone()),
            TypeWork::DropCheck { constraint } => ty.checks.retain(|check| check.as_ref() != Some(constraint)),
            TypeWork::NotNull(not_null) => ty.not_null = *not_null,
            _ => {}
        }
    }

    /// Whether a domain is `NOT NULL` by itself.
    pub fn is_not_null(&self, key: &Key) -> bool {
        self.known.get(key).is_some_and(|ty| ty.not_null)
    }
}
