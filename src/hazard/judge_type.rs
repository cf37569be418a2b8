//! Which of the things that are done to types, schemas and extensions are hazards.

use super::act::{SchemaAct, TypeAct, TypeWork};
use super::catalogue::TypedColumn;
use super::class::Class;
use super::entry::Entry;
use super::judge::{Back, Finding, RECIPE_DROP, RECIPE_RENAME, Terms, described};
use super::mode::Mode;
use super::world::{Key, World};

const RECIPE_DOMAIN_CHECK: &str =
    "add it NOT VALID and leave it so, which checks new values alone: VALIDATE CONSTRAINT reads under the same lock";
const RECIPE_DOMAIN_VALIDATE: &str =
    "there is no way to do it while rows are written: choose a quiet hour, or leave it NOT VALID";
const RECIPE_DOMAIN_NOT_NULL: &str = "set NOT NULL on the columns instead: behind a validated CHECK that reads nothing";

/// A lock that an act on a domain takes.
pub struct DomainLock<'a> {
    /// The table's schema and name in the catalogue.
    pub column: &'a TypedColumn,
    /// The table.
    pub entry: &'a Entry,
}

/// The tables that a new constraint of a domain locks and reads, each once.
pub fn locked_by<'a>(act: &TypeAct, world: &'a World<'_>) -> Vec<DomainLock<'a>> {
    let Some(key) = world.types.key_for(act) else {
        return Vec::new();
    };
    let reads = match &act.work {
        TypeWork::AddCheck { not_valid, .. } => !not_valid,
        // Also if it is validated already.
        TypeWork::Validate { .. } => true,
        TypeWork::NotNull(true) => !world.types.is_not_null(&key),
        _ => false,
    };
    let Some(domain) = world.types.by_key(&key).filter(|_| reads) else {
        return Vec::new();
    };
    let mut locks: Vec<DomainLock<'a>> = Vec::new();
    for column in domain.columns.iter().filter(|column| column.direct) {
        let Some(entry) = world.entry_with(column) else {
            continue;
        };
        let read = matches!(entry.facts.kind.as_str(), "r" | "m") && !entry.retyped(&column.column);
        if read && !locks.iter().any(|lock| std::ptr::eq(lock.entry, entry)) {
            locks.push(DomainLock { column, entry });
        }
    }
    locks
}

/// The hazards of an act on a type.
pub fn judge(act: &TypeAct, world: &World<'_>, terms: Terms<'_>) -> Vec<Finding> {
    let Some(key) = world.types.key_for(act) else {
        return Vec::new();
    };
    let Some(ty) = world.types.by_key(&key) else {
        return Vec::new();
    };
    let rename = |what: String, unless: Back| {
        let finding = Finding {
            class: Class::Rename,
            on: (ty.shown.clone(), None, None),
            what,
            recipe: RECIPE_RENAME.to_owned(),
            unless: Some(unless),
        };
        Vec::from_iter((!ty.new).then_some(finding))
    };
    // As it is called now.
    let shown = &act.on;
    match &act.work {
        TypeWork::Rename { to } => rename(
            format!("the type {shown} becomes {to}: an application that knows the old name fails from then on"),
            Back::Type(key),
        ),
        TypeWork::Move { to } => rename(
            format!(
                "the type {shown} moves into the schema {to}: an application that looks for it where it was fails from then on"
            ),
            Back::Type(key),
        ),
        TypeWork::RenameAttribute { from, to } => rename(
            format!(
                "{from} of the type {shown} becomes {to}: an application that knows the old name fails from then on"
            ),
            Back::Value(key, from.clone()),
        ),
        TypeWork::RenameValue { from, to } if world.types.had_value(&key, from) => rename(
            format!(
                "the value {from} of {shown} becomes {to}: an application that knows the old value fails from then on"
            ),
            Back::Value(key, from.clone()),
        ),
        TypeWork::Drop { cascade: true } => {
            let retyped = world.existing().into_iter().flat_map(|entry| {
                let columns = entry.facts.columns.iter().filter(|column| entry.retyped(&column.name));
                let of_it = columns.filter(|column| column.type_name.as_ref() == Some(&key));
                of_it.map(move |column| (entry, column.name.clone()))
            });
            drops(&ty.columns, retyped.collect(), &format!("the type {shown}"), world)
        }
        _ => scans(act, world, terms),
    }
}

/// What an extension's types take along.
pub fn drop_extension(name: &str, world: &World<'_>) -> Vec<Finding> {
    let columns = world.facts.extensions.get(name);
    columns
        .map(|columns| drops(columns, Vec::new(), &format!("the extension {name}"), world))
        .unwrap_or_default()
}

/// The columns that go with a type, a hazard for each table that holds rows.
fn drops<'a>(
    columns: &[TypedColumn],
    mut also: Vec<(&'a Entry, String)>,
    with: &str,
    world: &'a World<'_>,
) -> Vec<Finding> {
    let there = columns
        .iter()
        .filter_map(|column| Some((world.entry_with(column)?, column.column.clone())));
    also.extend(there.filter(|(entry, column)| !entry.retyped(column)));
    let mut tables: Vec<(&Entry, Vec<String>)> = Vec::new();
    for (entry, column) in also.into_iter().filter(|(entry, _)| !entry.facts.empty) {
        match tables.iter_mut().find(|(known, _)| std::ptr::eq(*known, entry)) {
            Some((_, columns)) if columns.contains(&column) => {}
            Some((_, columns)) => columns.push(column),
            None => tables.push((entry, vec![column])),
        }
    }
    // A partition's columns are its parent's.
    let names: Vec<Key> = tables.iter().map(|(entry, _)| entry.facts.identity.clone()).collect();
    tables.retain(|(entry, _)| !entry.facts.ancestors.iter().any(|above| names.contains(above)));
    let finding = |(entry, columns): (&Entry, Vec<String>)| {
        let columns = match columns.as_slice() {
            [column] => format!("the column {column}"),
            columns => format!("the columns {}", columns.join(", ")),
        };
        Finding {
            class: Class::Drop,
            on: (entry.facts.name.clone(), Some(entry.facts.bytes), entry.facts.rows),
            what: format!(
                "drops {columns} of {}, and what is in it, with {with}",
                described(&entry.facts)
            ),
            recipe: RECIPE_DROP.to_owned(),
            unless: None,
        }
    };
    tables.into_iter().map(finding).collect()
}

/// The large tables that a new constraint of a domain reads.
fn scans(act: &TypeAct, world: &World<'_>, terms: Terms<'_>) -> Vec<Finding> {
    let recipe = match &act.work {
        TypeWork::AddCheck { .. } => RECIPE_DOMAIN_CHECK,
        TypeWork::NotNull(_) => RECIPE_DOMAIN_NOT_NULL,
        _ => RECIPE_DOMAIN_VALIDATE,
    };
    let locks = locked_by(act, world);
    let large = locks.into_iter().filter(|lock| lock.entry.facts.bytes >= terms.large);
    let finding = |lock: DomainLock<'_>| {
        let facts = &lock.entry.facts;
        let held = world.held_entry(lock.entry).filter(|(mode, _)| *mode > Mode::Share);
        let (mode, since) = match held {
            Some((mode, taker)) => (
                mode,
                format!(", which {} took and its transaction holds", terms.place(&taker)),
            ),
            None => (Mode::Share, String::new()),
        };
        let shuts_out = mode.shuts_out()?;
        Some(Finding {
            class: Class::TableScan,
            on: (facts.name.clone(), Some(facts.bytes), facts.rows),
            what: format!(
                "reads all of {} to check its {}, under {mode}{since}: {shuts_out}",
                described(facts),
                lock.column.column
            ),
            recipe: recipe.to_owned(),
            unless: None,
        })
    };
    large.filter_map(finding).collect()
}

/// The hazards of an act on a schema.
pub fn judge_schema(act: &SchemaAct, world: &World<'_>) -> Option<Finding> {
    let tables = |name: &str| {
        let held = world.facts.schemas.get(world.schema_before(name)).copied();
        held.unwrap_or(0) - world.left_schema(name)
    };
    let (class, name, what, recipe) = match act {
        SchemaAct::Drop { name, cascade: true } if tables(name) > 0 => {
            let what = match tables(name) {
                1 => format!("drops the schema {name} with 1 table, and what is in it"),
                n => format!("drops the schema {name} with {n} tables, and what is in them"),
            };
            let recipe = "move what is needed into another schema first, and have a backup at hand";
            (Class::Drop, name, what, recipe)
        }
        SchemaAct::Rename { from, to } if world.facts.schemas.contains_key(from) => {
            let what =
                format!("the schema {from} becomes {to}: an application that knows the old name fails from then on");
            (Class::Rename, from, what, RECIPE_RENAME)
        }
        _ => return None,
    };
    Some(Finding {
        class,
        on: (name.clone(), None, None),
        what,
        recipe: recipe.to_owned(),
        unless: None,
    })
}
