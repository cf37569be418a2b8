//! What the pending statements have made of the database by the time that the next one runs.

use super::act::{Act, Made, Opaque, Setting, TypeAct, TypeWork, When, Work};
use super::catalogue::{ColumnFacts, Facts, PartitionFacts, Relation, TypedColumn};
use super::entry::Entry;
use super::mode::Mode;
use super::name::Name;
use super::partition::Bounds;
use super::types::TypeRef;
use super::world_types::Types;
use std::collections::{HashMap, HashSet};

/// A schema and a name in it.
pub type Key = (String, String);

/// The schema of what is temporary, whatever its number.
const TEMPORARY: &str = "pg_temp";

/// A relation, as the next statement meets it.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A pending statement made it.
    New,
    /// It is not there, as far as can be seen.
    Absent,
    /// It is there now.
    There(&'a Entry),
}

/// The statement that took a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    /// Its migration.
    pub migration: String,
    /// Its line.
    pub line: usize,
}

/// The locks that a transaction holds on one relation.
#[derive(Clone, Debug, Default)]
struct Held {
    /// On itself.
    own: Option<(Mode, Taker)>,
    /// On its partitions and children as well.
    tree: Option<(Mode, Taker)>,
}

/// The database, with the pending statements so far applied to what is known of it.
pub struct World<'a> {
    /// What the catalogue says.
    pub facts: &'a Facts,
    /// The types.
    pub types: Types,
    entries: Vec<Entry>,
    names: HashMap<Key, usize>,
    held: HashMap<usize, Held>,
    /// Relations that a `COMMIT` drops.
    until_commit: Vec<Key>,
    /// New names of schemas, and their old ones.
    schemas: HashMap<String, String>,
    path: Vec<String>,
    /// What the text set `search_path` to; the names behind it are not those that the catalogue was asked for.
    path_set: Option<(Option<Vec<String>>, bool)>,
    zone_set: Option<(Option<String>, bool)>,
    opaque: Option<Opaque>,
    opaque_path: bool,
}

impl<'a> World<'a> {
    /// The database before the first statement.
    pub fn new(facts: &'a Facts) -> Self {
        // A schema that is not there yet is made before the first migration.
        let mut path = facts.path.clone();
        if !path.contains(&facts.schema) {
            path.insert(0, facts.schema.clone());
        }
        let mut world = World {
            facts,
            types: Types::new(facts, path.clone()),
            entries: Vec::new(),
            names: HashMap::new(),
            held: HashMap::new(),
            until_commit: Vec::new(),
            schemas: HashMap::new(),
            path,
            path_set: None,
            zone_set: None,
            opaque: None,
            opaque_path: false,
        };
        let mut asked: Vec<&Name> = facts.relations.keys().collect();
        asked.sort();
        for name in asked {
            world.intern(&facts.relations[name], Some(name));
        }
        for at in 0..world.entries.len() {
            let above = world.entries[at].facts.ancestors.clone();
            world.entries[at].ancestors = above.iter().filter_map(|key| world.names.get(key).copied()).collect();
        }
        world
    }

    fn intern(&mut self, relation: &Relation, asked: Option<&Name>) -> usize {
        let key = match asked {
            _ if !relation.identity.1.is_empty() => relation.identity.clone(),
            Some(name) => self.key(name),
            None => self.key(&Name::read(&relation.name).unwrap_or(Name {
                schema: None,
                name: relation.name.clone(),
            })),
        };
        if let Some(&at) = self.names.get(&key) {
            return at;
        }
        let table = relation.table.as_deref().map(|table| self.intern(table, None));
        let at = self.entries.len();
        self.entries.push(Entry {
            table,
            ..Entry::existing(relation)
        });
        self.names.insert(key, at);
        at
    }

    /// The path that unqualified names are looked for on.
    fn path(&self) -> &[String] {
        match &self.path_set {
            Some((Some(path), _)) => path,
            _ => &self.path,
        }
    }

    /// Where an unqualified name is made.
    fn key(&self, name: &Name) -> Key {
        let schema = name.schema.as_deref().or(self.path().first().map(String::as_str));
        (schema.unwrap_or(&self.facts.schema).to_owned(), name.name.clone())
    }

    /// The name of what exists by it.
    fn resolve(&self, name: &Name) -> Option<Key> {
        if let Some(schema) = &name.schema {
            let key = (schema.clone(), name.name.clone());
            return self.names.contains_key(&key).then_some(key);
        }
        let path = std::iter::once(TEMPORARY).chain(self.path().iter().map(String::as_str));
        let on_path = path
            .map(|schema| (schema.to_owned(), name.name.clone()))
            .find(|key| self.names.contains_key(key));
        on_path.or_else(|| {
            // One of PostgreSQL's own.
            let key = ("pg_catalog".to_owned(), name.name.clone());
            self.names.contains_key(&key).then_some(key)
        })
    }

    fn at(&self, name: &Name) -> Option<usize> {
        self.resolve(name).and_then(|key| self.names.get(&key).copied())
    }

    /// A relation by its name.
    pub fn entry(&self, name: &Name) -> Option<&Entry> {
        self.at(name).map(|at| &self.entries[at])
    }

    /// A relation by its schema and name.
    pub fn entry_of(&self, key: &Key) -> Option<&Entry> {
        self.names.get(key).map(|at| &self.entries[*at])
    }

    /// A table that a column of a type was found in, if that is still there and has the column.
    pub fn entry_with(&self, column: &TypedColumn) -> Option<&Entry> {
        let identity = (column.schema.clone(), column.table.clone());
        let alive: HashSet<usize> = self.names.values().copied().collect();
        let mut entries = self
            .entries
            .iter()
            .enumerate()
            .filter(|(at, _)| alive.contains(at))
            .map(|(_, entry)| entry);
        entries.find(|entry| entry.facts.identity == identity && entry.facts.column(&column.column).is_some())
    }

    /// All relations that are there now and still are, in the order of their names.
    pub fn existing(&self) -> Vec<&Entry> {
        let mut names: Vec<(&Key, &usize)> = self.names.iter().collect();
        names.sort();
        names
            .into_iter()
            .map(|(_, at)| &self.entries[*at])
            .filter(|entry| !entry.new)
            .collect()
    }

    fn target(&self, act: &Act) -> Option<usize> {
        let at = self.at(&act.on)?;
        match act.table_of_index {
            true => self.entries[at].table,
            false => Some(at),
        }
    }

    /// What an act is done to.
    pub fn find(&self, act: &Act) -> Found<'_> {
        match self.target(act).map(|at| &self.entries[at]) {
            Some(entry) if entry.new => Found::New,
            Some(entry) => Found::There(entry),
            None => Found::Absent,
        }
    }

    /// The strongest lock that this transaction holds on what an act is done to, and what took it.
    pub fn held(&self, act: &Act) -> Option<(Mode, Taker)> {
        self.held_on(self.target(act)?)
    }

    /// The same for a relation by its schema and name.
    pub fn held_by_key(&self, key: &Key) -> Option<(Mode, Taker)> {
        self.held_on(*self.names.get(key)?)
    }

    /// The same for a relation that was found otherwise.
    pub fn held_entry(&self, entry: &Entry) -> Option<(Mode, Taker)> {
        self.held_on(self.entries.iter().position(|known| std::ptr::eq(known, entry))?)
    }

    fn held_on(&self, at: usize) -> Option<(Mode, Taker)> {
        let own = self.held.get(&at).and_then(|held| held.own.as_ref());
        let above = self.entries[at]
            .ancestors
            .iter()
            .filter_map(|above| self.held.get(above)?.tree.as_ref());
        own.into_iter().chain(above).max_by_key(|(mode, _)| *mode).cloned()
    }

    /// Whether `IF [NOT] EXISTS` lets something happen; what is not known may.
    pub fn lets(&self, when: &When) -> bool {
        let unknown = self.opaque.is_some();
        match when {
            When::Exists(name) => self.at(name).is_some() || self.uncertain(name),
            When::Missing(name) => self.entry_of(&self.key(name)).is_none() || unknown,
            When::NoColumn(table, column) => self
                .entry(table)
                .is_none_or(|table| table.has_column(column) != Some(true)),
            When::Column(table, column) => {
                unknown
                    || self
                        .entry(table)
                        .is_none_or(|table| table.has_column(column) != Some(false))
            }
            When::Constraint(table, constraint) => {
                unknown
                    || self
                        .entry(table)
                        .is_none_or(|table| table.new || table.is_valid(constraint).is_some())
            }
            When::NoIndex(table, index) => self
                .resolve(table)
                .is_none_or(|(schema, _)| self.entry_of(&(schema, index.clone())).is_none()),
        }
    }

    /// The index that `CREATE INDEX IF NOT EXISTS` finds in its place.
    pub fn index_in_place(&self, table: &Name, index: &str) -> Option<&Entry> {
        let (schema, _) = self.resolve(table)?;
        self.entry_of(&(schema, index.to_owned()))
    }

    fn uncertain(&self, name: &Name) -> bool {
        self.opaque == Some(Opaque::Anything) || name.schema.is_none() && (self.opaque_path || self.path_set.is_some())
    }

    /// Whether a name is of nothing that exists or that a pending statement has made, and that is certain.
    pub fn is_missing(&self, name: &Name) -> bool {
        let temporary = name
            .schema
            .as_deref()
            .is_some_and(|schema| schema.starts_with("pg_temp"));
        // Without a database there is nothing to go by.
        self.facts.version > 0 && !temporary && self.at(name).is_none() && !self.uncertain(name)
    }

    /// The columns of a relation that it has not, and that is certain.
    pub fn missing_columns<'n>(&self, relation: &Name, columns: &'n [String]) -> Vec<&'n String> {
        let Some(entry) = self.entry(relation).filter(|_| self.opaque != Some(Opaque::Anything)) else {
            return Vec::new();
        };
        columns
            .iter()
            .filter(|column| entry.has_column(column) == Some(false))
            .collect()
    }

    /// Whether a name that was renamed or dropped exists again.
    pub fn is_back(&self, key: &Key, column: Option<&str>) -> bool {
        match (self.entry_of(key), column) {
            (Some(_), None) => true,
            (Some(entry), Some(column)) => entry.has_column(column) == Some(true),
            (None, _) => false,
        }
    }

    /// The schema and name that an act's relation has.
    pub fn key_of(&self, act: &Act) -> Option<Key> {
        self.resolve(&act.on)
    }

    /// The time zone of the session; none if it cannot be told.
    pub fn time_zone(&self) -> Option<&str> {
        match &self.zone_set {
            Some((zone, _)) => zone.as_deref(),
            None => Some(&self.facts.time_zone),
        }
    }

    /// The parent's default partition.
    pub fn default_partition<'s>(&'s self, parent: &'s Entry) -> Option<(&'s Key, &'s Entry)> {
        let key = parent.facts.partitioned.as_ref()?.default.as_ref()?;
        Some((key, self.entry_of(key)?))
    }

    /// What a schema was called before the first statement.
    pub fn schema_before<'n>(&'n self, name: &'n str) -> &'n str {
        self.schemas.get(name).map_or(name, String::as_str)
    }

    /// Whether a relation is called as it was before the first statement; a new name of its schema does not count.
    pub fn is_before(&self, key: &Key, identity: &Key) -> bool {
        self.schema_before(&key.0) == identity.0 && key.1 == identity.1
    }

    /// How many of the tables of a schema that hold rows pending statements have dropped or moved.
    pub fn left_schema(&self, schema: &str) -> i64 {
        let stays: HashSet<usize> = self
            .names
            .iter()
            .filter(|((of, _), _)| of == schema)
            .map(|(_, at)| *at)
            .collect();
        let left = self.entries.iter().enumerate().filter(|(at, entry)| {
            let holds = !entry.facts.empty;
            let was_in =
                entry.facts.identity.0 == self.schema_before(schema) && matches!(entry.facts.kind.as_str(), "r" | "m");
            was_in && holds && !entry.new && !stays.contains(at)
        });
        i64::try_from(left.count()).unwrap_or(0)
    }

    /// A transaction has ended: its locks are gone, and what it set for itself.
    pub fn begin_transaction(&mut self) {
        self.held.clear();
        self.types.commit();
        for key in std::mem::take(&mut self.until_commit) {
            self.names.remove(&key);
        }
        self.path_set.take_if(|(_, local)| *local);
        self.zone_set.take_if(|(_, local)| *local);
        self.types.path = self.path().to_vec();
    }

    /// A migration has ended: its session is as it began.
    pub fn end_migration(&mut self) {
        self.names.retain(|(schema, _), _| schema != TEMPORARY);
        self.set(&Setting::All, false);
    }

    /// What cannot be known any more.
    pub fn obscure(&mut self, what: Opaque) {
        match what {
            Opaque::Path => self.opaque_path = true,
            Opaque::Anything => self.opaque = Some(what),
        }
    }

    /// Whether anything may have happened that the texts do not tell.
    pub fn is_obscured(&self) -> bool {
        self.opaque.is_some()
    }

    /// A setting.
    pub fn set(&mut self, setting: &Setting, local: bool) {
        match setting {
            Setting::Path(path) => self.path_set = Some((path.clone(), local)),
            Setting::TimeZone(zone) => self.zone_set = Some((zone.clone(), local)),
            Setting::All => {
                self.path_set = None;
                self.zone_set = None;
                self.opaque_path = false;
            }
        }
        self.types.path = self.path().to_vec();
    }

    /// Another name for a schema.
    pub fn rename_schema(&mut self, from: &str, to: &str) {
        let before = self.schema_before(from).to_owned();
        self.schemas.remove(from);
        self.schemas.insert(to.to_owned(), before);
        let moved: Vec<(Key, usize)> = self
            .names
            .iter()
            .filter(|((schema, _), _)| schema == from)
            .map(|(key, at)| (key.clone(), *at))
            .collect();
        for (key, at) in moved {
            self.names.remove(&key);
            self.names.insert((to.to_owned(), key.1.clone()), at);
        }
        self.types.rename_schema(from, to);
    }

    /// Everything of a schema is gone.
    pub fn drop_schema(&mut self, name: &str) {
        self.names.retain(|(schema, _), _| schema != name);
    }

    /// What a statement does to a type.
    pub fn take_type(&mut self, act: &TypeAct, taker: &Taker) {
        let before = self.types.key_for(act);
        let volatile = match &act.work {
            TypeWork::CreateDomain { default, .. } => default.iter().any(|call| self.is_volatile(call)),
            _ => false,
        };
        self.types.take(act, volatile, taker);
        let after = match (&act.work, &before) {
            (TypeWork::Rename { to }, Some((schema, _))) => (schema.clone(), to.clone()),
            (TypeWork::Move { to }, Some((_, name))) => (to.clone(), name.clone()),
            _ => return,
        };
        let columns = self.entries.iter_mut().flat_map(|entry| entry.facts.columns.iter_mut());
        for column in columns.filter(|column| column.type_name == before) {
            column.type_name = Some(after.clone());
        }
    }

    /// Whether a function may give another result for each row: one that is not there yet does, unless it says otherwise.
    pub fn is_volatile(&self, function: &Name) -> bool {
        self.facts.volatile.get(&function.name) != Some(&false)
    }

    /// A lock that was taken.
    pub fn lock(&mut self, act: &Act, taker: &Taker) {
        if let (Some(mode), Some(at)) = (act.mode, self.target(act)) {
            self.hold(at, mode, act.recurses, taker);
        }
    }

    /// The same for a table that a column of a type was found in.
    pub fn lock_identity(&mut self, identity: &Key, mode: Mode, taker: &Taker) {
        if let Some(at) = self
            .entries
            .iter()
            .position(|entry| entry.facts.identity == *identity && !entry.new)
        {
            self.hold(at, mode, false, taker);
        }
    }

    /// The same for a relation by the name that PostgreSQL shows.
    pub fn lock_shown(&mut self, shown: &str, mode: Mode, taker: &Taker) {
        if let Some(at) = Name::read(shown).and_then(|name| self.at(&name)) {
            self.hold(at, mode, false, taker);
        }
    }

    fn hold(&mut self, at: usize, mode: Mode, recurses: bool, taker: &Taker) {
        let stronger = |held: &mut Option<(Mode, Taker)>| {
            if held.as_ref().is_none_or(|(held, _)| mode > *held) {
                *held = Some((mode, taker.clone()));
            }
        };
        let held = self.held.entry(at).or_default();
        stronger(&mut held.own);
        if recurses {
            stronger(&mut held.tree);
        }
    }

    /// What is done of an act, by what `IF [NOT] EXISTS` finds: all of it, its lock alone, or nothing.
    pub fn effective(&self, act: &Act) -> Option<Act> {
        let Some(guard) = act.when.iter().find(|when| !self.lets(when)) else {
            return Some(act.clone());
        };
        let locks = match guard {
            When::Exists(_) | When::Missing(_) => false,
            When::NoIndex(table, _)
            | When::NoColumn(table, _)
            | When::Column(table, _)
            | When::Constraint(table, _) => act.on == *table,
        };
        locks.then(|| Act {
            work: Work::Brief,
            ..act.clone()
        })
    }

    /// What an act leaves behind.
    pub fn take(&mut self, act: &Act) {
        match &act.work {
            Work::Create(made) => self.create(&act.on, made),
            Work::Drop { .. } | Work::DropOther => self.drop(&act.on),
            Work::Rename { to } | Work::RenameIndex { to } => self.rename(&act.on, None, Some(to)),
            Work::Move { to } => self.rename(&act.on, Some(to), None),
            Work::Build { makes: Some(index), .. } => self.create_index(&act.on, index),
            Work::Attach { to, bounds } => self.attach(&act.on, to, bounds),
            Work::NewPartition => {
                if let Some(at) = self.target(act) {
                    self.entries[at].facts.partitions += 1;
                }
            }
            work => {
                let Some(at) = self.target(act) else { return };
                let base = match work {
                    Work::AddColumn(column) => column
                        .ty
                        .as_ref()
                        .map(|ty| self.column(&column.name, ty, column.not_null)),
                    Work::Retype { to, column, .. } => Some(self.column(column, to, false)),
                    _ => None,
                };
                let index = match work {
                    Work::OverIndex { index, .. } => self.index_key(at, index),
                    _ => Vec::new(),
                };
                let below = (0..self.entries.len())
                    .filter(|below| act.recurses && self.entries[*below].ancestors.contains(&at));
                for at in std::iter::once(at).chain(below).collect::<Vec<_>>() {
                    self.entries[at].take(work, base.clone(), &index);
                }
            }
        }
    }

    /// A column of this type.
    fn column(&self, name: &str, ty: &TypeRef, not_null: bool) -> ColumnFacts {
        ColumnFacts {
            name: name.to_owned(),
            ty: ty.written.clone(),
            type_name: self.types.key(ty),
            base: self.types.base(ty).map(|base| base.written),
            not_null,
            ..ColumnFacts::default()
        }
    }

    /// The columns of an index of a table; none if they are not known.
    pub fn index_key(&self, table: usize, index: &Name) -> Vec<String> {
        let entry = &self.entries[table];
        let known = entry.facts.indexes.iter().find(|known| known.name == index.name);
        known.map(|known| known.key.clone()).unwrap_or_default()
    }

    /// The same by the table's name.
    pub fn index_key_of(&self, table: &Name, index: &Name) -> Vec<String> {
        self.at(table).map(|at| self.index_key(at, index)).unwrap_or_default()
    }

    fn create(&mut self, name: &Name, made: &Made) {
        let key = match made.temporary {
            true => (TEMPORARY.to_owned(), name.name.clone()),
            false => self.key(name),
        };
        // OR REPLACE may add columns.
        if let Some(&at) = self.names.get(&key) {
            self.entries[at].columns_known = false;
            return;
        }
        let mut entry = Entry::made(name, if made.partitioned.is_some() { "p" } else { "r" });
        entry.facts.identity.clone_from(&key);
        entry.columns_known = made.columns.is_some();
        for column in made.columns.iter().flatten() {
            let facts = match &column.ty {
                Some(ty) => self.column(&column.name, ty, column.not_null),
                None => ColumnFacts {
                    name: column.name.clone(),
                    ..ColumnFacts::default()
                },
            };
            entry.added.insert(column.name.clone());
            entry.facts.columns.push(facts);
        }
        entry.facts.partitioned = made.partitioned.as_ref().map(|(strategy, columns)| PartitionFacts {
            strategy: strategy.to_string(),
            key: columns.clone(),
            default: None,
        });
        let at = self.entries.len();
        self.entries.push(entry);
        self.names.insert(key.clone(), at);
        if made.until_commit {
            self.until_commit.push(key.clone());
        }
        for constraint in &made.constraints {
            let index = (key.0.clone(), constraint.clone());
            if !self.names.contains_key(&index) {
                self.insert_index(index, at);
            }
        }
        if let Some(parent) = made.default_of.as_ref().and_then(|parent| self.at(parent)) {
            self.set_default(parent, &key);
        }
    }

    fn set_default(&mut self, parent: usize, key: &Key) {
        let partitioned = self.entries[parent].facts.partitioned.get_or_insert_default();
        partitioned.default = Some(key.clone());
    }

    fn create_index(&mut self, table: &Name, index: &str) {
        let Some((key, at)) = self
            .resolve(table)
            .and_then(|key| Some((key.clone(), *self.names.get(&key)?)))
        else {
            return;
        };
        let key = (key.0, index.to_owned());
        self.entries[at].reindexed = true;
        if !self.names.contains_key(&key) {
            self.insert_index(key, at);
        }
    }

    fn insert_index(&mut self, key: Key, table: usize) {
        let name = Name {
            schema: Some(key.0.clone()),
            name: key.1.clone(),
        };
        let at = self.entries.len();
        self.entries.push(Entry {
            table: Some(table),
            ..Entry::made(&name, "i")
        });
        self.names.insert(key, at);
    }

    fn drop(&mut self, name: &Name) {
        let Some(key) = self.resolve(name) else { return };
        let Some(at) = self.names.remove(&key) else { return };
        if let Some(table) = self.entries[at].table {
            let index = key.1.clone();
            self.entries[table].reindexed = true;
            self.entries[table].facts.indexes.retain(|known| known.name != index);
        }
        let entries = &self.entries;
        self.names.retain(|_, index| entries[*index].table != Some(at));
    }

    fn rename(&mut self, name: &Name, schema: Option<&String>, to: Option<&String>) {
        let Some(key) = self.resolve(name) else { return };
        let Some(at) = self.names.remove(&key) else { return };
        let new = (schema.unwrap_or(&key.0).clone(), to.unwrap_or(&key.1).clone());
        if let Some(schema) = schema {
            // Its indexes go with it.
            let entries = &self.entries;
            let indexes = self
                .names
                .iter()
                .filter(|(_, index)| entries[**index].table == Some(at));
            let indexes: Vec<(Key, usize)> = indexes.map(|(key, at)| (key.clone(), *at)).collect();
            for (key, at) in indexes {
                self.names.remove(&key);
                self.names.insert((schema.clone(), key.1), at);
            }
        }
        self.names.insert(new, at);
    }

    fn attach(&mut self, partition: &Name, parent: &Name, bounds: &Bounds) {
        let (Some(key), Some(parent)) = (self.resolve(partition), self.at(parent)) else {
            return;
        };
        let Some(&at) = self.names.get(&key) else { return };
        let mut above = self.entries[parent].ancestors.clone();
        above.push(parent);
        self.entries[at].ancestors.extend(above);
        if *bounds == Bounds::Default {
            self.set_default(parent, &key);
        }
    }
}
