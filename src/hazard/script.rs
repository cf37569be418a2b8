//! The pending scripts, read statement by statement: what each does, where it stands, and which share a transaction.

use super::act::{Act, Opaque, Reading, SchemaAct, Setting, TypeWork, Using, When, Work};
use super::catalogue::Question;
use super::enum_use::{self, Use};
use super::name::Name;
use super::statement::{self, first_word};
use super::types::TypeRef;
use crate::apply::How;
use crate::plan::Pending;
use crate::sql::kind::Kind;
use crate::sql::password;
use crate::sql::script::Shape;
use crate::sql::steps::{self, Cut};
use std::collections::BTreeSet;

/// So much of a script is looked into, in bytes of statements that are parsed. `INSERT` does not count: it never is.
const LOOKED_INTO: usize = 16 << 20;
/// So many entries a script has; what comes behind is counted.
const ENTRIES: usize = 2_000;
/// So many characters of a statement are shown.
const SHOWN: usize = 120;

/// A pending migration, read.
#[derive(Debug)]
pub struct Script {
    /// Its directory.
    pub name: String,
    /// How it is to be sent.
    pub how: How,
    /// Why so, where it is not the ordinary case.
    pub why: Option<String>,
    /// Its statements, in order; those that an earlier run committed are left out.
    pub entries: Vec<Entry>,
}

/// A statement, or several of the same kind in a row.
#[derive(Debug)]
pub struct Entry {
    /// The line on which the first begins, counted from 1.
    pub line: usize,
    /// The beginning of the first, on one line, passwords starred.
    pub sql: String,
    /// How many.
    pub count: usize,
    /// What they do.
    pub reading: Reading,
    /// Where they use values that pending statements add to enums.
    pub uses: Vec<Use>,
    /// Whether the locks of what came before are gone.
    pub begins_transaction: bool,
}

/// Reads a script.
pub fn read(pending: &Pending<'_>) -> Script {
    read_for(pending, &[])
}

/// The same, with where it uses these values of enums.
pub fn read_for(pending: &Pending<'_>, values: &[String]) -> Script {
    let how = match &pending.resume {
        Some(resume) if resume.cut == Cut::Statements => How::StepByStep,
        _ => pending.shape.into(),
    };
    let from = pending.resume.as_ref().map_or(0, |resume| resume.at);
    let starts = step_starts(pending, how, from);
    let mut lines = Lines::of(pending.script);
    let mut entries: Vec<Entry> = Vec::new();
    let mut left = LOOKED_INTO;
    let mut committed = true;
    for statement in pending
        .statements()
        .iter()
        .filter(|statement| statement.range.start >= from)
    {
        let text = &pending.script[statement.range.clone()];
        let first = first_word(text);
        let parsed = first != "insert" || statement::is_parsed(text);
        let reading = if !parsed || text.len() <= left {
            if parsed {
                left -= text.len();
            }
            statement::read(text)
        } else {
            left = 0;
            Reading {
                opaque: Some(Opaque::Anything),
                note: Some("not looked into: the script is too long"),
                ..Reading::default()
            }
        };
        let begins_transaction = committed || starts.binary_search(&statement.range.start).is_ok();
        committed = matches!(statement.kind, Kind::Commit { .. } | Kind::Rollback { .. });
        let full = entries.len() >= ENTRIES;
        let line = lines.line_of(statement.range.start);
        let uses = enum_use::uses(text, line, values);
        if let Some(last) = entries.last_mut().filter(|_| !begins_transaction)
            && joins(last, &first, &reading, full)
        {
            last.count += 1;
            last.uses.extend(uses);
            for act in reading.acts {
                if !last.reading.acts.contains(&act) {
                    last.reading.acts.push(act);
                }
            }
            for need in reading.needs {
                if !last.reading.needs.contains(&need) {
                    last.reading.needs.push(need);
                }
            }
            continue;
        }
        entries.push(Entry {
            line,
            sql: excerpt(text),
            count: 1,
            reading,
            uses,
            begins_transaction,
        });
    }
    Script {
        name: pending.name.to_owned(),
        how,
        why: why(pending),
        entries,
    }
}

/// Whether a statement is told together with the one before it.
fn joins(last: &Entry, first: &str, reading: &Reading, full: bool) -> bool {
    let same = first_word(&last.sql) == first;
    match first {
        "insert" => same || full,
        "update" | "delete" | "select" => (same && last.reading == *reading) || (full && reading.is_empty()),
        _ => full && reading.is_empty() && reading.note == last.reading.note,
    }
}

/// Where the steps begin of a script that is sent step by step, in bytes.
fn step_starts(pending: &Pending<'_>, how: How, from: usize) -> Vec<usize> {
    if how != How::StepByStep {
        return Vec::new();
    }
    let steps = steps::steps(pending.script, &pending.statements(), from, Cut::Statements);
    steps.iter().map(|step| step.range.start).collect()
}

/// What the scripts ask of the catalogue.
pub fn question(scripts: &[Script]) -> Question {
    let mut asked = Asked::default();
    for entry in scripts.iter().flat_map(|script| &script.entries) {
        let reading = &entry.reading;
        reading.acts.iter().for_each(|act| asked.act(act));
        reading.needs.iter().for_each(|need| asked.relation(&need.relation));
        for act in &reading.types {
            asked.question.types.insert(act.on.clone());
            if let TypeWork::CreateDomain { base, default, .. } = &act.work {
                asked.ty(base);
                asked
                    .question
                    .functions
                    .extend(default.iter().map(|name| name.name.clone()));
            }
        }
        for act in &reading.schemas {
            let name = match act {
                SchemaAct::Drop { name, .. } => name,
                SchemaAct::Rename { from, to } => {
                    asked.renamed.push((from.clone(), to.clone()));
                    from
                }
            };
            asked.question.schemas.insert(name.clone());
        }
        asked
            .question
            .extensions
            .extend(reading.dropped_extensions.iter().cloned());
        if let Some((Setting::Path(Some(path)), _)) = &reading.setting {
            asked.paths.extend(path.iter().cloned());
        }
        for used in &entry.uses {
            used.relations.iter().for_each(|(name, _)| asked.relation(name));
            used.types.iter().for_each(|ty| asked.ty(ty));
        }
    }
    asked.elsewhere();
    asked.question
}

/// A question that is being put together.
#[derive(Default)]
struct Asked {
    question: Question,
    /// Schemas that scripts put on their search path.
    paths: BTreeSet<String>,
    /// Schemas that scripts rename: from and to.
    renamed: Vec<(String, String)>,
}

impl Asked {
    fn relation(&mut self, name: &Name) {
        self.question.relations.insert(name.clone());
    }

    fn ty(&mut self, ty: &TypeRef) {
        self.question.types.extend(ty.name.clone());
    }

    fn act(&mut self, act: &Act) {
        self.relation(&act.on);
        for when in &act.when {
            match when {
                When::Exists(name) | When::Missing(name) => self.relation(name),
                When::NoIndex(table, index) => self.relation(&Name {
                    schema: table.schema.clone(),
                    name: index.clone(),
                }),
                When::NoColumn(table, _) | When::Column(table, _) | When::Constraint(table, _) => self.relation(table),
            }
        }
        match &act.work {
            Work::AddColumn(column) => {
                let functions = column.default.iter().flatten();
                self.question.functions.extend(functions.map(|name| name.name.clone()));
                column.ty.iter().for_each(|ty| self.ty(ty));
            }
            Work::Retype { to, using, .. } => {
                self.ty(to);
                if let Using::Casts(casts) = using {
                    casts.iter().for_each(|ty| self.ty(ty));
                }
            }
            Work::Attach { to, .. } => self.relation(to),
            Work::Create(made) => {
                let types = made.columns.iter().flatten().filter_map(|column| column.ty.as_ref());
                let named = types.filter(|ty| {
                    ty.name
                        .as_ref()
                        .is_some_and(|name| name.schema.as_deref() != Some("pg_catalog"))
                });
                self.question.types.extend(named.filter_map(|ty| ty.name.clone()));
            }
            _ => {}
        }
    }

    /// The same names where scripts look for them: on a search path of their own, and in schemas that they rename.
    fn elsewhere(&mut self) {
        let (paths, renamed) = (&self.paths, &self.renamed);
        let more = |names: &BTreeSet<Name>| {
            let more = names.iter().flat_map(|name| {
                let schemas: Vec<&String> = match &name.schema {
                    None => paths.iter().collect(),
                    Some(schema) => renamed
                        .iter()
                        .filter(|(_, to)| to == schema)
                        .map(|(from, _)| from)
                        .collect(),
                };
                schemas.into_iter().map(|schema| Name {
                    schema: Some(schema.clone()),
                    name: name.name.clone(),
                })
            });
            more.collect::<Vec<_>>()
        };
        let (relations, types) = (more(&self.question.relations), more(&self.question.types));
        self.question.relations.extend(relations);
        self.question.types.extend(types);
    }
}

fn why(pending: &Pending<'_>) -> Option<String> {
    let statements = pending.statements();
    let first = |is: &dyn Fn(&Kind) -> bool| {
        let statement = statements.iter().find(|statement| is(&statement.kind))?;
        let line = Lines::of(pending.script).line_of(statement.range.start);
        Some((line, words(&pending.script[statement.range.clone()])))
    };
    if let Some(resume) = &pending.resume {
        return Some(format!(
            "an earlier run committed its {}",
            crate::printable::first(resume.done, "step", "steps")
        ));
    }
    match pending.shape {
        Shape::Alone => first(&|kind| matches!(kind, Kind::Alone(_)))
            .map(|(_, words)| format!("{words} cannot run in a transaction")),
        Shape::StepByStep => first(&|kind| matches!(kind, Kind::Alone(_)))
            .map(|(line, words)| format!("line {line}: {words} cannot run in a transaction")),
        Shape::Undecidable => first(&|kind| *kind == Kind::Prepare)
            .map(|(line, words)| format!("line {line}: {words} leaves its transaction to be ended by others")),
        Shape::Transactions => first(&|kind| matches!(kind, Kind::Commit { .. } | Kind::Rollback { .. }))
            .map(|(line, _)| format!("it ends a transaction of its own in line {line}: a failure after that leaves what is committed")),
        Shape::Atomic { tail: Some(_), .. } => Some("its own BEGIN and COMMIT".to_owned()),
        Shape::Atomic { tail: None, .. } => None
            .or_else(|| {
                let adds_value = |text: &str| {
                    let text = text.get(..200).unwrap_or(text).to_ascii_lowercase();
                    text.starts_with("alter") && text.contains("add value")
                };
                let texts = statements.iter().map(|s| &pending.script[s.range.clone()]);
                (statements.len() > 1 && texts.into_iter().any(adds_value)).then(|| {
                    "it adds a value to an enum: if it uses it too, the server refuses one transaction, and it runs statement by statement"
                        .to_owned()
                })
            }),
    }
}

/// The words that a statement begins with: `CREATE UNIQUE INDEX CONCURRENTLY`.
fn words(statement: &str) -> String {
    let capitals = |word: &&str| word.chars().all(|c| c.is_ascii_alphabetic());
    let mut words: Vec<String> = statement
        .split_whitespace()
        .take_while(capitals)
        .take(4)
        .map(str::to_ascii_uppercase)
        .collect();
    if let Some(at) = words.iter().position(|word| word == "CONCURRENTLY") {
        words.truncate(at + 1);
    } else {
        words.truncate(1);
    }
    words.join(" ")
}

/// A statement's beginning on one line.
fn excerpt(statement: &str) -> String {
    // Passwords are starred before anything is cut off, so that none is cut open.
    let mut end = statement.len().min(8 * SHOWN);
    while !statement.is_char_boundary(end) {
        end -= 1;
    }
    let starred = password::starred(&statement[..end]);
    let line = starred.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN && end == statement.len() {
        return line;
    }
    line.chars().take(SHOWN - 1).chain(['…']).collect()
}

/// Lines of places that come in order.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Lines { text, at: 0, line: 1 }
    }

    fn line_of(&mut self, place: usize) -> usize {
        self.line += self.text[self.at..place].bytes().filter(|byte| *byte == b'\n').count();
        self.at = place;
        self.line
    }
}
