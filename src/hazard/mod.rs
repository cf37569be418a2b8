//! What pending migrations will do to a database that is in use: the locks of each statement, and which of them are hazards.
//!
//! Three parts: what a script's text tells ([`script`], [`statement`] and what they call), what only the database knows ([`catalogue`]: one query, which
//! reads), and what follows from both, a pure function: [`judge`] and [`judge_type`], statement by statement, against the [`world`] that the statements
//! before have left. It does not change how a migration is applied. The grammar is squawk's; its rules judge a file by its text alone, so they serve as
//! the measure in a test, not as the judge.

pub mod act;
pub mod alter_table;
#[cfg(test)]
mod cases;
pub mod catalogue;
pub mod change;
pub mod class;
pub mod create;
pub mod entry;
pub mod enum_use;
pub mod judge;
pub mod judge_type;
pub mod maintain;
pub mod mode;
pub mod name;
pub mod needs;
pub mod partition;
pub mod proof;
pub mod retype;
pub mod script;
pub mod setting;
pub mod size;
pub mod statement;
pub mod tree;
pub mod types;
pub mod user_type;
pub mod world;
pub mod world_types;

use crate::apply::How;
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::plan::Pending;
use crate::settings::Settings;
use act::{Act, Reading, SchemaAct, When};
use catalogue::Facts;
use class::Class;
use judge::{Back, Finding, Terms};
use mode::Mode;
use name::Name;
use script::{Entry, Script};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use world::{Found, Taker, World};

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
    /// Which of the migration's statements in the plan, counted from 0: several may begin on one line.
    #[serde(default)]
    pub statement: usize,
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
    /// What is to be known besides: of the sizes, and what does not exist.
    pub warnings: Vec<String>,
    /// Why migrations cannot share a transaction, with their names; asked for by `--all-or-nothing` alone.
    pub obstacles: Vec<(String, String)>,
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
    let values = match settings.all_or_nothing {
        true => enum_use::added_values(pending),
        false => Vec::new(),
    };
    let mut scripts: Vec<Script> = pending
        .iter()
        .map(|pending| script::read_for(pending, &values))
        .collect();
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
    let mut foresight = Foresight {
        world: World::new(facts),
        watchfulness,
        claims: Vec::new(),
        missing: BTreeSet::new(),
        examined: Examined::default(),
    };
    for script in scripts {
        if script.how != How::Together {
            foresight.begin_transaction();
        }
        let entries = script.entries.iter().enumerate();
        let statements = entries
            .map(|(at, entry)| foresight.statement(script, at, entry))
            .collect();
        foresight.world.end_migration();
        foresight.examined.plan.push(Planned {
            name: script.name.clone(),
            how: script.how,
            why: script.why.clone(),
            statements,
        });
    }
    foresight.begin_transaction();
    let mut examined = foresight.examined;
    if facts.estimated {
        let estimated = "a table is locked against everybody: all sizes are those of the last VACUUM or ANALYZE";
        examined.warnings.insert(0, estimated.to_owned());
    }
    examined
}

/// A walk over all statements.
struct Foresight<'a> {
    world: World<'a>,
    watchfulness: &'a Watchfulness,
    /// Hazards of this transaction that are none if a name is there again at its end.
    claims: Vec<(Hazard, Back)>,
    /// What was said not to exist.
    missing: BTreeSet<String>,
    examined: Examined,
}

impl Foresight<'_> {
    /// A transaction has ended: what has its name again by then was not taken from anybody.
    fn begin_transaction(&mut self) {
        for (hazard, back) in std::mem::take(&mut self.claims) {
            let world = &self.world;
            let is_back = match &back {
                Back::Relation(key) => world.is_back(key, None),
                Back::Column(key, column) => world.is_back(key, Some(column)),
                Back::Type(key) => world.types.is_back(key),
                Back::Value(key, value) => world.types.has_value(key, value),
            };
            if is_back {
                self.examined.hazards.retain(|known| *known != hazard);
            }
        }
        self.world.begin_transaction();
    }

    fn statement(&mut self, script: &Script, at: usize, entry: &Entry) -> Statement {
        if entry.begins_transaction && script.how != How::Together {
            self.begin_transaction();
        }
        let reading = &entry.reading;
        let world = &self.world;
        let mut locks = Locks::default();
        let mut notes: Vec<String> = reading.note.map(str::to_owned).into_iter().collect();
        let terms = Terms {
            large: self.watchfulness.large_table,
            migration: &script.name,
        };
        let acts: Vec<Act> = reading.acts.iter().filter_map(|act| world.effective(act)).collect();
        let mut findings = Vec::new();
        for act in &acts {
            let judgement = judge::judge(act, world, terms);
            findings.extend(judgement.findings);
            notes.extend(judgement.notes);
            locks.of(act, world);
        }
        for act in &reading.types {
            findings.extend(judge_type::judge(act, world, terms));
            for lock in judge_type::locked_by(act, world) {
                let facts = &lock.entry.facts;
                locks.add(Mode::Share, &facts.name, Some(facts.bytes), facts.rows, false);
            }
        }
        findings.extend(
            reading
                .schemas
                .iter()
                .filter_map(|act| judge_type::judge_schema(act, world)),
        );
        findings.extend(
            reading
                .dropped_extensions
                .iter()
                .flat_map(|name| judge_type::drop_extension(name, world)),
        );
        notes.extend(kept_invalid(&reading.acts, world));
        for missing in missing(reading, world) {
            let what = format!("{missing}, and no pending migration makes it");
            if self.missing.insert(missing) {
                let file = format!("{}/migration.sql", script.name);
                self.examined.warnings.push(format!("{file}:{}: {what}", entry.line));
            }
            notes.push(format!("fails: {what}"));
        }
        self.report(script, at, entry, findings);
        self.take(script, entry, &acts);
        Statement {
            line: entry.line,
            sql: entry.sql.clone(),
            count: entry.count,
            locks: locks.list,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        }
    }

    fn report(&mut self, script: &Script, at: usize, entry: &Entry, findings: Vec<Finding>) {
        for finding in findings {
            let (relation, bytes, rows) = finding.on;
            let hazard = Hazard {
                class: finding.class,
                migration: script.name.clone(),
                file: format!("{}/migration.sql", script.name),
                line: entry.line,
                statement: at,
                relation,
                bytes,
                rows,
                what: finding.what,
                recipe: finding.recipe,
                refused: self.watchfulness.fail_on.contains(&finding.class),
            };
            if self.examined.hazards.contains(&hazard) {
                continue;
            }
            self.claims.extend(finding.unless.map(|back| (hazard.clone(), back)));
            self.examined.hazards.push(hazard);
        }
    }

    /// What a statement leaves behind, after all of it is judged: its own locks are no reason to split it.
    fn take(&mut self, script: &Script, entry: &Entry, acts: &[Act]) {
        let taker = Taker {
            migration: script.name.clone(),
            line: entry.line,
        };
        let (world, reading) = (&mut self.world, &entry.reading);
        for act in acts {
            let elsewhere = match world.find(act) {
                Found::There(entry) => judge::locks_elsewhere(act, entry, world),
                _ => Vec::new(),
            };
            world.lock(act, &taker);
            for (mode, other) in elsewhere {
                world.lock_shown(&other, mode, &taker);
            }
        }
        for act in acts {
            world.take(act);
        }
        for act in &reading.types {
            let identities = judge_type::locked_by(act, world)
                .into_iter()
                .map(|lock| lock.entry.facts.identity.clone());
            for identity in identities.collect::<Vec<_>>() {
                world.lock_identity(&identity, Mode::Share, &taker);
            }
            world.take_type(act, &taker);
        }
        for act in &reading.schemas {
            match act {
                SchemaAct::Drop { name, .. } => world.drop_schema(name),
                SchemaAct::Rename { from, to } => world.rename_schema(from, to),
            }
        }
        if let Some((setting, local)) = &reading.setting {
            world.set(setting, *local);
        }
        if let Some(opaque) = reading.opaque {
            world.obscure(opaque);
        }
        for used in &entry.uses {
            let Some(added) = enum_use::unsafe_use(used, world) else {
                continue;
            };
            let why = format!(
                "line {}: {} … uses the value {} that line {} of {} adds to an enum: PostgreSQL lets no transaction use a value that it adds itself",
                used.line, used.words, used.value, added.line, added.migration
            );
            if !self.examined.obstacles.iter().any(|(name, _)| *name == script.name) {
                self.examined.obstacles.push((script.name.clone(), why));
            }
        }
    }
}

/// What a statement names that does not exist.
fn missing(reading: &Reading, world: &World<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    for need in &reading.needs {
        if world.is_missing(&need.relation) {
            missing.push(format!("{} does not exist", need.relation));
        }
        for column in world.missing_columns(&need.relation, &need.columns) {
            let column = Name {
                schema: None,
                name: column.clone(),
            };
            missing.push(format!("the column {column} of {} does not exist", need.relation));
        }
    }
    missing.sort();
    missing.dedup();
    missing
}

/// What `CREATE INDEX IF NOT EXISTS` takes for the index that it should build.
fn kept_invalid(acts: &[Act], world: &World<'_>) -> Option<String> {
    let places = acts.iter().flat_map(|act| &act.when).filter_map(|when| match when {
        When::NoIndex(table, index) => world.index_in_place(table, index),
        _ => None,
    });
    let mut invalid = places.filter(|index| index.facts.kind == "i" && !index.is_new() && !index.facts.valid);
    let name = &invalid.next()?.facts.name;
    Some(format!("{name} exists and is INVALID: IF NOT EXISTS leaves it so"))
}

/// A statement's locks, the strongest of each relation.
#[derive(Default)]
struct Locks {
    list: Vec<Lock>,
}

impl Locks {
    /// The locks that an act takes.
    fn of(&mut self, act: &Act, world: &World<'_>) {
        let Some(mode) = act.mode else { return };
        match world.find(act) {
            Found::There(entry) => {
                let facts = &entry.facts;
                self.add(mode, &facts.name, Some(facts.bytes), facts.rows, false);
                for (mode, other) in judge::locks_elsewhere(act, entry, world) {
                    self.add(mode, &other, None, None, false);
                }
            }
            // The table of an index that is not there has no name.
            _ if act.table_of_index => {}
            Found::Absent if world.is_missing(&act.on) => {}
            Found::New => self.add(mode, &act.on.to_string(), None, None, true),
            Found::Absent => self.add(mode, &act.on.to_string(), None, None, false),
        }
    }

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
