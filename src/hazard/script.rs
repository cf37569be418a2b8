//! The pending scripts, read statement by statement: what each does, where it stands, and which share a transaction.

use super::act::Reading;
use super::catalogue::Question;
use super::statement::{self, first_word};
use crate::apply::How;
use crate::plan::Pending;
use crate::sql::kind::Kind;
use crate::sql::password;
use crate::sql::script::Shape;
use crate::sql::steps::{self, Cut};

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
    /// Whether the locks of what came before are gone.
    pub begins_transaction: bool,
}

/// Reads a script.
pub fn read(pending: &Pending<'_>) -> Script {
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
        let reading = if first == "insert" || text.len() <= left {
            if first != "insert" {
                left -= text.len();
            }
            statement::read(text)
        } else {
            left = 0;
            Reading {
                note: Some("not looked into: the script is too long"),
                ..Reading::default()
            }
        };
        let begins_transaction = committed || starts.binary_search(&statement.range.start).is_ok();
        committed = matches!(statement.kind, Kind::Commit { .. } | Kind::Rollback { .. });
        let full = entries.len() >= ENTRIES;
        if let Some(last) = entries.last_mut().filter(|_| !begins_transaction)
            && joins(last, &first, &reading, full)
        {
            last.count += 1;
            for act in reading.acts {
                if !last.reading.acts.contains(&act) {
                    last.reading.acts.push(act);
                }
            }
            continue;
        }
        entries.push(Entry {
            line: lines.line_of(statement.range.start),
            sql: excerpt(text),
            count: 1,
            reading,
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
        "update" | "delete" | "select" => (same && last.reading == *reading) || (full && reading.acts.is_empty()),
        _ => full && reading.acts.is_empty() && reading.dropped_schemas.is_empty() && reading.note == last.reading.note,
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
    use super::act::Work;
    let mut question = Question::default();
    let readings = scripts
        .iter()
        .flat_map(|script| &script.entries)
        .map(|entry| &entry.reading);
    for reading in readings {
        question.schemas.extend(reading.dropped_schemas.iter().cloned());
        for act in &reading.acts {
            question.relations.insert(act.on.clone());
            if let Work::AddColumn(column) = &act.work {
                let functions = column.default.iter().flatten();
                question.functions.extend(functions.map(|name| name.name.clone()));
            }
        }
    }
    question
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
