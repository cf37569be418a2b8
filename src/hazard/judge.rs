//! Which of a statement's acts are hazards: what its text tells, held against what the database is like.
//!
//! A hazard of time (a rewrite, a scan, a build, a change of rows) is one only for a table that is large and there now. What a pending statement made
//! is nobody's yet.

use super::act::{Act, Column, Rows, Storage, Using, Work};
use super::alter_table::QUIET_HOUR;
use super::catalogue::{ColumnFacts, Relation};
use super::class::Class;
use super::entry::Entry;
use super::mode::Mode;
use super::partition::{Bounds, implied};
use super::retype::{Casting, Side, keeps_operators, keeps_rows};
use super::setting::is_utc;
use super::size;
use super::types::TypeRef;
use super::world::{Found, Key, Taker, World};

/// A hazard, before it is told where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its class.
    pub class: Class,
    /// What it is a hazard to: its name, size and rows.
    pub on: (String, Option<u64>, Option<u64>),
    /// What happens, to what.
    pub what: String,
    /// What to do instead.
    pub recipe: String,
    /// What undoes it: the old name of something is there again when the transaction ends.
    pub unless: Option<Back>,
}

/// An old name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// Of a relation.
    Relation(Key),
    /// Of a column.
    Column(Key, String),
    /// Of a type.
    Type(Key),
    /// Of an enum's value.
    Value(Key, String),
}

/// What follows from an act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Its hazards.
    pub findings: Vec<Finding>,
    /// What else is worth saying.
    pub notes: Vec<String>,
}

/// The terms of a judgement.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// From which size on a table is large.
    pub large: u64,
    /// The migration that is judged.
    pub migration: &'a str,
}

impl Terms<'_> {
    /// A statement of this migration or of an earlier one of the same transaction.
    pub fn place(&self, taker: &Taker) -> String {
        match taker.migration == self.migration {
            true => format!("line {}", taker.line),
            false => format!("line {} of {}", taker.line, taker.migration),
        }
    }
}

const RECIPE_RETYPE: &str =
    "add a column of the new type, keep it in step by a trigger, fill it in batches, then swap the two";
const RECIPE_DEFAULT: &str = "add the column without it, fill it in batches, then set the default";
const RECIPE_DOMAIN: &str = "add the column with the domain's own type, and a CHECK that is NOT VALID until it is validated in a later migration";
const RECIPE_NOT_NULL: &str = "add CHECK (column IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in a later migration, then SET NOT NULL: \
     it trusts the CHECK (PostgreSQL 12)";
const RECIPE_CHECK: &str = "add it NOT VALID, and VALIDATE CONSTRAINT in a later migration: that one only keeps others from altering the table";
const RECIPE_REBUILT: &str =
    "drop the index first and build it again with CREATE INDEX CONCURRENTLY, each in a migration of its own";
const RECIPE_RECHECKED: &str =
    "drop the CHECK first, and add it again NOT VALID; VALIDATE CONSTRAINT in a later migration";
const RECIPE_ATTACH: &str = "give it a validated CHECK with the partition's bounds first, then ATTACH need not read it";
const RECIPE_DEFAULT_PARTITION: &str = "give the default partition a validated CHECK that keeps the new partition's rows out first, then it need not be read";
const RECIPE_PARTITION_INDEX: &str =
    "build the same indexes on it with CREATE INDEX CONCURRENTLY first, then ATTACH takes them over";
const RECIPE_PARTITIONED: &str = "CREATE INDEX … ON ONLY the parent, CREATE INDEX CONCURRENTLY on each partition, then ALTER INDEX … ATTACH PARTITION";
/// What to do before data are dropped.
pub const RECIPE_DROP: &str =
    "first deploy an application that no longer uses it; drop it in a later migration, with a backup at hand";
/// What to do instead of a new name.
pub const RECIPE_RENAME: &str = "add the new name beside the old one (a view, a column kept in step), deploy the application, then drop the old one; \
     or keep the name and @map it in Prisma's schema";
const RECIPE_CHANGE: &str = "change the rows in batches that each commit, in a job beside the deploy";
const RECIPE_SPLIT: &str = "put it into a migration of its own, so that the stronger lock is gone by then";

/// What follows from one act.
pub fn judge(act: &Act, world: &World<'_>, terms: Terms<'_>) -> Judgement {
    let Found::There(entry) = world.find(act) else {
        return Judgement::default();
    };
    let case = Case {
        mode: act.mode,
        held: world.held(act),
        key: world.key_of(act),
        world,
        entry,
        terms,
    };
    let mut judgement = Judgement::default();
    match &act.work {
        Work::Attach { to, bounds } => case.attach(to, bounds, &mut judgement),
        Work::NewPartition => case.new_partition(&mut judgement),
        Work::Retype {
            column,
            to,
            using,
            collation,
        } => judgement.findings = case.retype(column, to, using, collation.as_deref()),
        work => judgement.findings.extend(case.judge(act, work)),
    }
    judgement.notes.extend(case.note(&act.work));
    judgement
}

struct Case<'a> {
    mode: Option<Mode>,
    held: Option<(Mode, Taker)>,
    key: Option<Key>,
    world: &'a World<'a>,
    entry: &'a Entry,
    terms: Terms<'a>,
}

/// A relation with its size.
pub fn described(relation: &Relation) -> String {
    let mut about = vec![size::bytes(relation.bytes)];
    about.extend(relation.rows.map(size::rows));
    if relation.partitions > 0 {
        about.push(format!("{} partitions", relation.partitions));
    }
    format!("{} ({})", relation.name, about.join(", "))
}

impl Case<'_> {
    fn facts(&self) -> &Relation {
        &self.entry.facts
    }

    fn finding(&self, class: Class, what: String, recipe: &str) -> Finding {
        let facts = self.facts();
        Finding {
            class,
            on: (facts.name.clone(), Some(facts.bytes), facts.rows),
            what,
            recipe: recipe.to_owned(),
            unless: None,
        }
    }

    fn judge(&self, act: &Act, work: &Work) -> Option<Finding> {
        let facts = self.facts();
        match work {
            Work::Rewrite { by, recipe } => self.slow(Class::TableRewrite, &format!("{by} writes"), "anew", recipe),
            Work::Store { by, to } if !self.is_stored(to) => {
                self.slow(Class::TableRewrite, &format!("{by} writes"), "anew", QUIET_HOUR)
            }
            Work::SetExpression { column } if facts.column(column).is_none_or(|column| !column.computed) => {
                self.slow(Class::TableRewrite, "SET EXPRESSION writes", "anew", QUIET_HOUR)
            }
            Work::Scan { to, recipe } => self.slow(Class::TableScan, "reads all of", &format!("to {to}"), recipe),
            Work::Build {
                harmless: false,
                recipe,
                ..
            } => {
                let recipe = if facts.partitions > 0 {
                    RECIPE_PARTITIONED
                } else {
                    recipe
                };
                self.slow(Class::IndexBuild, "builds an index on", "", recipe)
            }
            Work::OverIndex {
                index, primary: true, ..
            } => {
                let key = self.world.index_key_of(&act.on, index);
                let nullable = key.iter().find(|column| !self.is_not_null(column))?;
                self.scan_for_nulls(nullable)
            }
            Work::AddColumn(column) => self.add_column(column),
            Work::SetNotNull { column }
                if !self.is_not_null(column) && self.entry.has_column(column) != Some(false) =>
            {
                self.scan_for_nulls(column)
            }
            Work::AddCheck { not_valid: false, .. } => {
                self.slow(Class::TableScan, "reads all of", "to check each row", RECIPE_CHECK)
            }
            Work::Validate { constraint } if self.entry.is_valid(constraint) != Some(true) => self.slow(
                Class::TableScan,
                "reads all of",
                &format!("to validate {constraint}"),
                RECIPE_CHECK,
            ),
            Work::DropColumn { column } => self.drop_column(column),
            Work::Drop { cascade } => self.drop(*cascade),
            Work::Truncate { cascade } if !facts.empty => {
                let what = match (cascade, facts.referencing.as_slice()) {
                    (true, [_, ..]) => format!(
                        "empties {}, and {} with it",
                        described(facts),
                        facts.referencing.join(", ")
                    ),
                    _ => format!("empties {}", described(facts)),
                };
                Some(self.finding(
                    Class::Drop,
                    what,
                    "see that nobody needs the rows; keep a copy in another table",
                ))
            }
            Work::Rename { to } => self.rename(&format!(
                "becomes {to}: an application that knows the old name fails from then on"
            )),
            Work::Move { to } => self.rename(&format!(
                "moves into the schema {to}: an application that looks for it where it was fails from then on"
            )),
            Work::RenameColumn { from, to }
                if !self.entry.added(from) && self.entry.has_column(from) != Some(false) =>
            {
                let what = format!(
                    "{from} of {} becomes {to}: an application that knows the old name fails from then on",
                    described(facts)
                );
                let key = self.key.clone();
                Some(Finding {
                    unless: key.map(|key| Back::Column(key, from.clone())),
                    ..self.finding(Class::Rename, what, RECIPE_RENAME)
                })
            }
            Work::Change { verb, rows } => self.change(verb, rows),
            _ => None,
        }
    }

    fn is_not_null(&self, column: &str) -> bool {
        self.entry.is_not_null(column, self.world.facts.version)
    }

    fn scan_for_nulls(&self, column: &str) -> Option<Finding> {
        let why = format!("to see that no {column} is null");
        self.slow(Class::TableScan, "reads all of", &why, RECIPE_NOT_NULL)
    }

    /// Whether a table's storage is so already.
    fn is_stored(&self, to: &Storage) -> bool {
        let facts = self.facts();
        // A partitioned table stores nothing itself.
        facts.kind == "p"
            || match to {
                Storage::Tablespace(name) => facts.tablespace.as_ref().unwrap_or(&self.world.facts.tablespace) == name,
                Storage::Logged(logged) => facts.logged == *logged,
                Storage::AccessMethod(method) => facts.method.as_deref() == Some(method.as_deref().unwrap_or("heap")),
            }
    }

    fn rename(&self, becomes: &str) -> Option<Finding> {
        let facts = self.facts();
        // The application names neither an index nor a sequence, and no name that only pending statements gave.
        let renamed = !facts.identity.1.is_empty()
            && self
                .key
                .as_ref()
                .is_some_and(|key| !self.world.is_before(key, &facts.identity));
        if renamed || matches!(facts.kind.as_str(), "i" | "I" | "S") {
            return None;
        }
        let what = format!("{} {becomes}", described(facts));
        Some(Finding {
            unless: self.key.clone().map(Back::Relation),
            ..self.finding(Class::Rename, what, RECIPE_RENAME)
        })
    }

    fn drop_column(&self, column: &str) -> Option<Finding> {
        let facts = self.facts();
        let holds = facts.column(column).is_none_or(|column| !column.computed);
        if facts.empty || !holds || self.entry.added(column) || self.entry.has_column(column) == Some(false) {
            return None;
        }
        let what = format!("drops the column {column} of {}, and what is in it", described(facts));
        Some(self.finding(Class::Drop, what, RECIPE_DROP))
    }

    fn drop(&self, cascade: bool) -> Option<Finding> {
        let facts = self.facts();
        let with = match cascade && !facts.views.is_empty() {
            true => format!(", and with it {}", facts.views.join(", ")),
            false => String::new(),
        };
        let what = match facts.kind.as_str() {
            "v" => format!(
                "drops the view {}{with}: an application that reads it fails from then on",
                facts.name
            ),
            "m" => format!(
                "drops the materialized view {}, and what is in it{with}",
                described(facts)
            ),
            _ if !facts.empty => format!("drops {}, and what is in it{with}", described(facts)),
            _ if !with.is_empty() => format!(
                "drops {}{with}: an application that reads that fails from then on",
                facts.name
            ),
            _ => return None,
        };
        let view = matches!(facts.kind.as_str(), "v" | "m");
        Some(Finding {
            unless: self.key.clone().filter(|_| view).map(Back::Relation),
            ..self.finding(Class::Drop, what, RECIPE_DROP)
        })
    }

    /// What takes time under a lock that shuts others out, on a large table.
    fn slow(&self, class: Class, does: &str, why: &str, recipe: &str) -> Option<Finding> {
        let own = self.mode?;
        let (mode, since) = match &self.held {
            Some((held, taker)) if *held > own => (*held, Some(taker)),
            _ => (own, None),
        };
        let shuts_out = mode.shuts_out()?;
        if self.facts().bytes < self.terms.large {
            return None;
        }
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(" {why}")
        };
        let under = match since {
            Some(taker) => format!(
                "{mode}, which {} took and its transaction holds",
                self.terms.place(taker)
            ),
            None => mode.to_string(),
        };
        // Where the statement by itself would be harmless, the recipe is to leave it by itself.
        let recipe = if since.is_some() && own.shuts_out().is_none() {
            RECIPE_SPLIT
        } else {
            recipe
        };
        let what = format!("{does} {}{why}, under {under}: {shuts_out}", described(self.facts()));
        Some(self.finding(class, what, recipe))
    }

    fn add_column(&self, column: &Column) -> Option<Finding> {
        let types = &self.world.types;
        let ty = column.ty.as_ref();
        if ty.is_some_and(|ty| types.is_constrained(ty)) {
            let why = format!("anew, since {} is of a domain whose values are checked", column.name);
            return self.slow(Class::TableRewrite, "writes", &why, RECIPE_DOMAIN);
        }
        let by_type = column.default.is_none() && ty.is_some_and(|ty| types.is_volatile(ty));
        let own_value = column.computed
            || by_type
            || column.default.as_ref().is_some_and(|calls| {
                self.world.facts.version < 110_000 || calls.iter().any(|call| self.world.is_volatile(call))
            });
        if own_value {
            let why = format!("anew, since each row gets its own {}", column.name);
            return self.slow(Class::TableRewrite, "writes", &why, RECIPE_DEFAULT);
        }
        if column.checked {
            return self.slow(Class::TableScan, "reads all of", "to check each row", RECIPE_CHECK);
        }
        None
    }

    /// A type with the schema that its name is found in.
    fn resolved(&self, ty: &TypeRef) -> TypeRef {
        let name = self.world.types.key(ty).map(|(schema, name)| super::name::Name {
            schema: Some(schema),
            name,
        });
        TypeRef {
            name: name.or(ty.name.clone()),
            ..ty.clone()
        }
    }

    fn side(&self, ty: &TypeRef) -> Side {
        let types = &self.world.types;
        match types.base(ty) {
            Some(base) => Side {
                base: self.resolved(&base),
                domain: types.key(ty),
                constrained: types.is_constrained(ty),
            },
            None => Side {
                base: self.resolved(ty),
                domain: None,
                constrained: false,
            },
        }
    }

    fn side_of(&self, column: &ColumnFacts) -> Side {
        match &column.base {
            Some(base) => Side {
                base: self.resolved(&TypeRef::read(base)),
                domain: column.type_name.clone(),
                constrained: false,
            },
            None => Side {
                base: self.resolved(&column.type_ref()),
                domain: None,
                constrained: false,
            },
        }
    }

    fn retype(&self, name: &str, to: &TypeRef, using: &Using, collation: Option<&str>) -> Vec<Finding> {
        let Some(column) = self.facts().column(name) else {
            // Of a column that is not there nothing follows, but that all are known.
            let why = format!("anew, since {name} changes to {}", to.written);
            let unknown = self.entry.has_column(name).is_none();
            let rewrite = self.slow(Class::TableRewrite, "writes", &why, RECIPE_RETYPE);
            return rewrite.filter(|_| unknown).into_iter().collect();
        };
        let zone = self.world.time_zone();
        let casting = Casting {
            casts: &self.world.facts.casts,
            utc: self.world.facts.version >= 120_000 && zone.is_some_and(is_utc),
        };
        let first = self.side_of(column);
        let (mut from, mut keeps) = (first.clone(), true);
        let through: &[TypeRef] = match using {
            Using::Casts(casts) => casts,
            Using::Computes => {
                keeps = false;
                &[]
            }
        };
        for ty in through.iter().chain(std::iter::once(to)) {
            let next = self.side(ty);
            keeps &= keeps_rows(&from, &next, casting);
            from = next;
        }
        if !keeps {
            let why = format!("anew, since {name} changes from {} to {}", column.ty, to.written);
            return self
                .slow(Class::TableRewrite, "writes", &why, RECIPE_RETYPE)
                .into_iter()
                .collect();
        }
        self.after_retype(column, &first, &from, collation)
    }

    /// What a change of type that writes no row builds and reads all the same.
    fn after_retype(&self, column: &ColumnFacts, from: &Side, to: &Side, collation: Option<&str>) -> Vec<Finding> {
        let name = &column.name;
        let collated = column.collation.as_deref() != collation;
        let rebuilt = self
            .facts()
            .indexes
            .iter()
            .filter(|index| index.uses(name))
            .filter(|index| {
                // It is compared with what it was only as far as that has no expression (`CheckIndexCompatible`).
                !index.plain || collated || index.default_operators && !keeps_operators(&from.base, &to.base)
            });
        let rebuilt: Vec<&str> = rebuilt.map(|index| index.name.as_str()).collect();
        let mut findings = Vec::new();
        if !rebuilt.is_empty() {
            let does = match rebuilt.as_slice() {
                [index] => format!("builds the index {index} anew on"),
                indexes => format!("builds the indexes {} anew on", indexes.join(", ")),
            };
            findings.extend(self.slow(
                Class::IndexBuild,
                &does,
                &format!("since {name} changes its type"),
                RECIPE_REBUILT,
            ));
        }
        let mut checks = self
            .facts()
            .constraints
            .iter()
            .filter(|check| check.kind == "c" && check.valid && check.columns.contains(name));
        if let Some(check) = checks.next() {
            let why = format!("to check {} again, since {name} changes its type", check.name);
            findings.extend(self.slow(Class::TableScan, "reads all of", &why, RECIPE_RECHECKED));
        }
        findings
    }

    fn attach(&self, to: &super::name::Name, bounds: &Bounds, judgement: &mut Judgement) {
        let Some(parent) = self.world.entry(to) else { return };
        let partitioned = parent.facts.partitioned.as_ref();
        let key = partitioned
            .map(|partitioned| partitioned.key.as_slice())
            .unwrap_or_default();
        let not_null = key
            .iter()
            .all(|column| self.facts().column(column).is_some_and(|column| column.not_null));
        // The default partition of a table without others takes every row.
        let reads = match *bounds == Bounds::Default && parent.facts.partitions == 0 {
            true => Some(true),
            false => implied(bounds, key, &self.entry.known(), not_null),
        };
        let scan = self.slow(
            Class::TableScan,
            "reads all of",
            "to see that its rows belong into the partition",
            RECIPE_ATTACH,
        );
        match reads {
            Some(true) => {}
            Some(false) => judgement.findings.extend(scan),
            None if scan.is_some() => judgement.notes.push(format!(
                "reads all of {} unless its CHECK implies the partition's bounds",
                described(self.facts())
            )),
            None => {}
        }
        if parent.reindexed() || self.entry.reindexed() {
            return;
        }
        let own = &self.facts().indexes;
        // Expressions and conditions are not compared here.
        let plain = parent.facts.indexes.iter().filter(|index| index.plain);
        let missing = plain.filter(|index| !own.iter().any(|own| own.definition == index.definition));
        let missing: Vec<&str> = missing.map(|index| index.name.as_str()).collect();
        if !missing.is_empty() {
            let why = format!("like {}", missing.join(", "));
            judgement
                .findings
                .extend(self.slow(Class::IndexBuild, "builds an index on", &why, RECIPE_PARTITION_INDEX));
        }
    }

    fn new_partition(&self, judgement: &mut Judgement) {
        let Some((key, default)) = self.world.default_partition(self.entry) else {
            return;
        };
        if default.is_new() {
            return;
        }
        let case = Case {
            mode: Some(Mode::AccessExclusive),
            held: self.world.held_by_key(key),
            key: Some(key.clone()),
            world: self.world,
            entry: default,
            terms: self.terms,
        };
        let columns = self
            .facts()
            .partitioned
            .as_ref()
            .map(|partitioned| partitioned.key.as_slice());
        let scan = case.slow(
            Class::TableScan,
            "reads all of",
            "to see that none of its rows belong into the new partition",
            RECIPE_DEFAULT_PARTITION,
        );
        match implied(&Bounds::Other, columns.unwrap_or_default(), &default.known(), false) {
            Some(_) => judgement.findings.extend(scan),
            None if scan.is_some() => judgement.notes.push(format!(
                "reads all of the default partition {} unless its CHECK keeps the new partition's rows out",
                described(&default.facts)
            )),
            None => {}
        }
    }

    fn change(&self, verb: &str, rows: &Rows) -> Option<Finding> {
        if self.facts().bytes < self.terms.large {
            return None;
        }
        let which = match rows {
            Rows::All => "every row",
            // WHERE CURRENT OF, or a key: one row.
            Rows::With(columns) if columns.is_empty() => return None,
            Rows::With(columns)
                if columns
                    .iter()
                    .any(|name| self.facts().column(name).is_some_and(|column| column.unique)) =>
            {
                return None;
            }
            Rows::Some | Rows::With(_) => "nobody knows how many rows",
        };
        let held = self.held.as_ref().and_then(|(mode, taker)| {
            let shuts_out = mode.shuts_out()?;
            Some(format!(
                "; under {mode}, which {} took, {shuts_out}",
                self.terms.place(taker)
            ))
        });
        let what = format!(
            "{verb} of {which} of {} in one transaction: each stays locked until its end{}",
            described(self.facts()),
            held.unwrap_or_default()
        );
        Some(self.finding(Class::DataChange, what, RECIPE_CHANGE))
    }

    /// What is worth saying of an act that is no hazard: that it will fail.
    fn note(&self, work: &Work) -> Option<String> {
        let Work::AddColumn(column) = work else { return None };
        let facts = self.facts();
        let given = column.default.is_some() || column.computed;
        let known = self.entry.has_column(&column.name) == Some(true);
        (column.not_null && !given && !facts.empty && !known).then(|| {
            format!(
                "fails unless {} has no rows: {} is NOT NULL and has no default",
                facts.name, column.name
            )
        })
    }
}

/// The locks on other relations that an act takes by the catalogue's word: the other sides of foreign keys, and the default partition.
pub fn locks_elsewhere(act: &Act, entry: &Entry, world: &World<'_>) -> Vec<(Mode, String)> {
    let table = &entry.facts;
    let referenced = table
        .constraints
        .iter()
        .filter_map(|constraint| constraint.refers_to.clone());
    match &act.work {
        Work::DropConstraint { constraint } | Work::Validate { constraint } => {
            let mode = match act.work {
                Work::Validate { .. } => Mode::RowShare,
                _ => Mode::AccessExclusive,
            };
            let other = table
                .constraint(constraint)
                .and_then(|constraint| constraint.refers_to.clone());
            other.map(|other| (mode, other)).into_iter().collect()
        }
        Work::Drop { .. } => referenced
            .chain(table.referencing.iter().cloned())
            .map(|other| (Mode::AccessExclusive, other))
            .collect(),
        Work::Truncate { cascade: true } => {
            let others = table.referencing.iter().cloned();
            others.map(|other| (Mode::AccessExclusive, other)).collect()
        }
        Work::NewPartition => {
            let default = world.default_partition(entry).filter(|(_, default)| !default.is_new());
            let name = default.map(|(_, default)| default.facts.name.clone());
            name.map(|name| (Mode::AccessExclusive, name)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}
