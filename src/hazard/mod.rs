//! What pending migrations will do to a database that is in use: the locks of each statement, and which of them are hazards.
//!
//! Three parts: what a script's text tells ([`script`], [`statement`], [`alter_table`]), what only the database knows ([`catalogue`]: one query, which
//! reads), and what follows from both ([`judge`]), which is a pure function. It does not change how a migration is applied. The grammar is
//! squawk's; its rules judge a file by its text alone, so they serve as the measure in a test, not as the judge.

pub mod act;
pub mod alter_table;
#[cfg(test)]
mod cases;
pub mod catalogue;
pub mod change;
pub mod class;
pub mod judge;
pub mod maintain;
pub mod mode;
pub mod name;
pub mod retype;
pub mod script;
pub mod size;
pub mod statement;
pub mod tree;
pub mod world;

use crate::apply::How;
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::plan::Pending;
use crate::settings::Settings;
use catalogue::Facts;
use class::Class;
use mode::Mode;
use script::{Entry, Script};
use serde::Serialize;
use std::collections::BTreeMap;
use world::{Found, World};

/// What counts as a hazard, and which are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchfulness {
    /// From which size on, in bytes, time under a lock on a table counts.
    pub large_table: u64,
    /// The classes that are refused.
    pub fail_on: Vec<Class>,
}

impl Default for Watchfulness {
    fn default() -> Self {
        Watchfulness {
            large_table: LARGE_TABLE,
            fail_on: Vec::new(),
        }
    }
}

/// 64 MiB: what a volume of 125 MB/s, the least that Amazon gives a gp3 volume, reads in half a second and writes anew in about one.
pub const LARGE_TABLE: u64 = 64 << 20;

/// Something that may harm a database that is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Hazard {
    /// What kind of harm.
    pub class: Class,
    /// The migration.
    pub migration: String,
    /// The file, from the migrations folder.
    pub file: String,
    /// The statement's line, counted from 1.
    pub line: usize,
    /// The relation.
    pub relation: String,
    /// Its size on disk, TOAST and partitions included, indexes not.
    pub bytes: Option<u64>,
    /// Its rows, as the last `ANALYZE` estimated them.
    pub rows: Option<u64>,
    /// What happens, to what.
    pub what: String,
    /// What to do instead.
    pub recipe: String,
    /// Whether `--fail-on` names its class.
    pub refused: bool,
}

/// A migration that would be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Planned {
    /// Its directory.
    pub name: String,
    /// How it is to be sent.
    pub how: How,
    /// Why so, where it is not the ordinary case.
    pub why: Option<String>,
    /// Its statements, in order.
    pub statements: Vec<Statement>,
}

/// A statement, or several of a kind in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Statement {
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// Its beginning on one line, passwords starred.
    pub sql: String,
    /// How many of its kind stand here in a row.
    pub count: usize,
    /// The locks that it takes, one a relation.
    pub locks: Vec<Lock>,
    /// What else is to be known of it.
    pub note: Option<String>,
}

/// A lock that a statement takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Lock {
    /// Its mode.
    pub mode: Mode,
    /// The relation.
    pub relation: String,
    /// Its size on disk; none where it is not there, or not there yet.
    pub bytes: Option<u64>,
    /// Its estimated rows.
    pub rows: Option<u64>,
    /// Whether a pending statement makes it.
    pub new: bool,
}

/// What the pending migrations would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Every migration, in order.
    pub plan: Vec<Planned>,
    /// Every hazard, in order.
    pub hazards: Vec<Hazard>,
    /// What is to be known of the sizes.
    pub warning: Option<String>,
}

/// Examines pending migrations: one round trip, none where no statement names a relation. Without a session (the database is missing) nothing is
/// there that could be harmed.
///
/// # Errors
/// The server's.
pub async fn examine(
    session: Option<&Session>,
    schema: Option<&str>,
    pending: &[Pending<'_>],
    settings: &Settings,
) -> Result<Examined, ServerError> {
    let mut scripts: Vec<Script> = pending.iter().map(script::read).collect();
    if settings.all_or_nothing {
        for script in &mut scripts {
            script.how = How::Together;
        }
    }
    let question = script::question(&scripts);
    let schema = schema.unwrap_or("public");
    let facts = match session {
        Some(session) if !question.is_empty() => catalogue::ask(session, &question, schema).await?,
        _ => Facts {
            schema: schema.to_owned(),
            ..Facts::default()
        },
    };
    Ok(foresee(&scripts, &facts, &settings.watchfulness))
}

/// What follows from the scripts and the facts.
pub fn foresee(scripts: &[Script], facts: &Facts, watchfulness: &Watchfulness) -> Examined {
    let mut world = World::new(facts);
    let mut hazards = Vec::new();
    let plan = scripts
        .iter()
        .map(|script| {
            if script.how != How::Together {
                world.begin_transaction();
            }
            let statements = script
                .entries
                .iter()
                .map(|entry| statement_of(script, entry, &mut world, watchfulness, &mut hazards))
                .collect();
            Planned {
                name: script.name.clone(),
                how: script.how,
                why: script.why.clone(),
                statements,
            }
        })
        .collect();
    Examined {
        plan,
        hazards,
        warning: facts.estimated.then(|| {
            "a table is locked against everybody: all sizes are those of the last VACUUM or ANALYZE".to_owned()
        }),
    }
}

fn statement_of(
    script: &Script,
    entry: &Entry,
    world: &mut World<'_>,
    watchfulness: &Watchfulness,
    hazards: &mut Vec<Hazard>,
) -> Statement {
    if entry.begins_transaction && script.how != How::Together {
        world.begin_transaction();
    }
    let mut locks = Locks::default();
    let mut notes: Vec<String> = entry.reading.note.map(str::to_owned).into_iter().collect();
    let mut found: Vec<Hazard> = Vec::new();
    let mut report = |finding: judge::Finding, relation: &str, bytes, rows| {
        let refused = watchfulness.fail_on.contains(&finding.class);
        let hazard = Hazard {
            class: finding.class,
            migration: script.name.clone(),
            file: format!("{}/migration.sql", script.name),
            line: entry.line,
            relation: relation.to_owned(),
            bytes,
            rows,
            what: finding.what,
            recipe: finding.recipe,
            refused,
        };
        if !found.contains(&hazard) {
            found.push(hazard);
        }
    };
    for act in &entry.reading.acts {
        let there = match world.find(act) {
            Found::There(relation) => Some(relation),
            Found::New | Found::Absent => None,
        };
        if let Some(finding) = judge::judge(act, world, watchfulness.large_table) {
            let relation = there.map_or("", |relation| relation.name.as_str());
            report(
                finding,
                relation,
                there.map(|relation| relation.bytes),
                there.and_then(|relation| relation.rows),
            );
        }
        notes.extend(judge::note(act, world));
        if let Some(mode) = act.mode {
            match (world.find(act), there) {
                (_, Some(relation)) => {
                    locks.add(mode, &relation.name, Some(relation.bytes), relation.rows, false);
                    for (mode, other) in judge::locks_elsewhere(act, relation) {
                        locks.add(mode, &other, None, None, false);
                    }
                }
                // The table of an index that is not there has no name.
                _ if act.table_of_index => {}
                (found, None) => locks.add(mode, &act.on.to_string(), None, None, matches!(found, Found::New)),
            }
        }
    }
    // Behind the judgement of all: a statement's own locks are no reason to split it.
    for act in &entry.reading.acts {
        world.take(act, entry.line);
    }
    for schema in &entry.reading.dropped_schemas {
        let tables = world.facts.schemas.get(schema).copied().unwrap_or(0);
        if tables > 0 {
            let finding = judge::Finding {
                class: Class::Drop,
                what: match tables {
                    1 => format!("drops the schema {schema} with 1 table, and what is in it"),
                    _ => format!("drops the schema {schema} with {tables} tables, and what is in them"),
                },
                recipe: "move what is needed into another schema first, and have a backup at hand".to_owned(),
            };
            report(finding, schema, None, None);
        }
    }
    hazards.append(&mut found);
    Statement {
        line: entry.line,
        sql: entry.sql.clone(),
        count: entry.count,
        locks: locks.list,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

/// A statement's locks, the strongest of each relation.
#[derive(Default)]
struct Locks {
    list: Vec<Lock>,
}

impl Locks {
    fn add(&mut self, mode: Mode, relation: &str, bytes: Option<u64>, rows: Option<u64>, new: bool) {
        match self.list.iter_mut().find(|lock| lock.relation == relation) {
            Some(lock) => lock.mode = lock.mode.max(mode),
            None => self.list.push(Lock {
                mode,
                relation: relation.to_owned(),
                bytes,
                rows,
                new,
            }),
        }
    }
}

/// `2 hazards: 1 table-rewrite, 1 index-build`.
pub fn summary(hazards: &[Hazard]) -> String {
    let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
    for hazard in hazards {
        *counts.entry(hazard.class).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(class, count)| format!("{count} {class}")).collect();
    match hazards.len() {
        0 => "no hazards".to_owned(),
        1 => format!("1 hazard: {}", parts.join(", ")),
        n => format!("{n} hazards: {}", parts.join(", ")),
    }
}

/// What `--fail-on` refuses.
///
/// # Errors
/// Exit 24, if there is a hazard of a refused class.
pub fn refuse(hazards: &[Hazard]) -> Result<(), Failure> {
    let refused: Vec<&Hazard> = hazards.iter().filter(|hazard| hazard.refused).collect();
    let Some(first) = refused.first() else {
        return Ok(());
    };
    let mut failure = Failure::new(
        Exit::Refused,
        format!("{}:{}: {}: {}", first.file, first.line, first.class, first.what),
        format!("{}; or allow it: leave {} out of --fail-on", first.recipe, first.class),
    )
    .of(&first.migration)
    .state("nothing was changed; no migration of this run was begun");
    failure.details = refused[1..]
        .iter()
        .map(|hazard| {
            format!(
                "also {}:{}: {}: {}",
                hazard.file, hazard.line, hazard.class, hazard.what
            )
        })
        .collect();
    Err(failure)
}
