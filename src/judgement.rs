//! What each migration is, and what the next deploy does with it: one pure function of the ledger, the catalogue and the artifact.
//!
//! Every verb reads this judgement and none makes its own. So `status` and `plan` announce what `deploy` then does.

mod evidence;

pub use evidence::{Evidence, Found, Interrupted};

use crate::apply::alone;
use crate::apply::cleanup::Leaving;
use crate::exit::Exit;
use crate::failure::{Failure, resolve_by_hand, resolve_or_retry};
use crate::history::{Backend, History, Mark, Marked, Prefix, Progress, Row, SessionMark, State};
use crate::invocation::command;
use crate::migration::Migration;
use crate::printable::{count, first};
use crate::sql::kind::{Alone, Kind};
use crate::sql::script::{self, Statement, Strings};
use crate::sql::steps::{self, Cut};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Every migration of the artifact and of the ledger, judged.
#[derive(Clone, Debug)]
pub struct Judgement<'a, 'h> {
    /// The artifact's migrations, in the order in which they are applied.
    pub migrations: Vec<Judged<'a, 'h>>,
    /// Those that only the ledger has, in the order of their first rows.
    pub absent: Vec<Judged<'a, 'h>>,
    /// How the server reads strings.
    pub strings: Strings,
}

/// A migration, judged.
#[derive(Clone, Debug)]
pub struct Judged<'a, 'h> {
    /// Its directory.
    pub name: &'h str,
    /// The artifact's migration; none if only the ledger has it.
    pub file: Option<&'a Migration>,
    /// Its rows, oldest first.
    pub rows: Vec<&'h Row>,
    /// What it is.
    pub standing: Standing,
    /// What is unusual about it.
    pub remarks: Vec<Remark>,
}

/// What a migration is, and so what the next deploy does with it.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It has no row. The next deploy applies it.
    Pending,
    /// Its last attempt was rolled back. The next deploy applies it.
    RolledBack,
    /// A row says that it is applied. Nothing is done.
    Applied,
    /// A run works on it. The next deploy waits for that run's end.
    Running,
    /// An interrupted run left it. The next deploy corrects its row, and goes on as [`Settlement::then`] says.
    Settled(Box<Settlement>),
    /// An earlier run committed part of it. The next deploy applies the rest.
    Resumes(Box<Resume>),
    /// A row of Prisma's that did not finish: it blocks every deploy.
    FailedByPrisma,
    /// A row of ours that no run can go on with: it blocks every deploy.
    Blocked(Box<Failure>),
}

/// What a deploy writes about a migration that an interrupted run left.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The id of the row.
    pub row: String,
    /// What is written.
    pub write: Write,
    /// What an interrupted statement left in the database, which is removed or finished first.
    pub left: Vec<Leaving>,
    /// What the migration is afterwards.
    pub then: Standing,
    /// What was found, as a clause: "an interrupted run had finished CREATE INDEX CONCURRENTLY i".
    pub found: String,
}

/// What a settlement writes into a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The row is closed: all of the migration is committed.
    Close {
        /// The checksum that the row has already.
        checksum: String,
    },
    /// Nothing of it is left in the database.
    RollBack {
        /// What the row's `logs` say afterwards.
        logs: String,
    },
    /// So many steps are committed.
    Remark {
        /// The new mark.
        mark: Box<Mark>,
        /// The number of steps.
        done: usize,
    },
}

/// Where a deploy goes on with a migration that an earlier run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The row of the earlier attempt.
    pub id: String,
    /// How many steps are committed.
    pub done: usize,
    /// How many there are.
    pub of: usize,
    /// Where the committed ones end, in bytes of the script.
    pub at: usize,
    /// How the script was being sent.
    pub cut: Cut,
    /// What its session was.
    pub session: SessionMark,
    /// The error that stopped the earlier run; none if it was interrupted.
    pub error: Option<String>,
}

/// What is unusual about a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// The file is not the one that was applied.
    Edited,
    /// The row's checksum is not a checksum: another program wrote the row.
    NoChecksum,
    /// It was applied and is not in the artifact.
    Missing,
    /// It was applied, and its directory has no `migration.sql` any more. Prisma calls that P3015.
    FileMissing,
    /// It is pending, and a migration that comes after it is applied.
    Late,
    /// It was recorded as applied by hand, and not run.
    NotRun,
}

impl Judged<'_, '_> {
    /// Whether all of it is in the database, or will be recorded so by the next deploy.
    pub fn is_applied(&self) -> bool {
        *self.standing.settled() == Standing::Applied
    }
}

impl Standing {
    /// What the migration is once a deploy has settled what interrupted runs left.
    pub fn settled(&self) -> &Standing {
        match self {
            Standing::Settled(settlement) => settlement.then.settled(),
            standing => standing,
        }
    }

    /// Whether a deploy has to run a script, or the rest of one.
    pub fn is_pending(&self) -> bool {
        matches!(
            self.settled(),
            Standing::Pending | Standing::RolledBack | Standing::Running | Standing::Resumes(_)
        )
    }

    /// Whether it keeps every deploy from running.
    pub fn blocks(&self) -> bool {
        matches!(self.settled(), Standing::Blocked(_) | Standing::FailedByPrisma)
    }

    /// Whether the next deploy recovers it from an interruption without help.
    pub fn recovers(&self) -> bool {
        match self {
            Standing::Settled(_) => !self.blocks(),
            Standing::Resumes(resume) => resume.error.is_none(),
            _ => false,
        }
    }

    /// What the next deploy does with it, as a sentence without a subject; none if its state says that already.
    pub fn next_deploy(&self) -> Option<String> {
        match self {
            Standing::Settled(settlement) if !self.blocks() => {
                let then = match settlement.then.next_deploy() {
                    Some(then) => then,
                    None if settlement.then == Standing::Applied => "records it as applied".into(),
                    None => "runs it from the start".into(),
                };
                let clean: String = settlement.left.iter().map(|left| format!("{left}, then ")).collect();
                Some(format!("{clean}{then}: {}", settlement.found))
            }
            Standing::Resumes(resume) => {
                let (one, many) = unit(resume.cut);
                let first = first(resume.done, one, many);
                Some(format!("goes on after its {first} (of {})", resume.of))
            }
            _ => None,
        }
    }
}

impl<'a: 'h, 'h> Judgement<'a, 'h> {
    /// Judges every migration. `migrations` are in the order in which they are applied.
    pub fn new(migrations: &'a [Migration], history: &'h History, evidence: &Evidence, strings: Strings) -> Self {
        let mut rows: HashMap<&str, Vec<&'h Row>> = HashMap::new();
        for row in &history.rows {
            rows.entry(row.migration.as_str()).or_default().push(row);
        }
        let mut judged: Vec<Judged<'a, 'h>> = migrations
            .iter()
            .map(|migration| {
                let rows = rows.remove(migration.name.as_str()).unwrap_or_default();
                judge(&migration.name, Some(migration), rows, evidence, strings)
            })
            .collect();
        let last = judged.iter().rposition(Judged::is_applied);
        for earlier in &mut judged[..last.unwrap_or(0)] {
            if matches!(earlier.standing, Standing::Pending | Standing::RolledBack) {
                earlier.remarks.push(Remark::Late);
            }
        }
        let mut absent = Vec::new();
        for row in &history.rows {
            if let Some(rows) = rows.remove(row.migration.as_str()) {
                absent.push(judge(&row.migration, None, rows, evidence, strings));
            }
        }
        Judgement {
            migrations: judged,
            absent,
            strings,
        }
    }

    /// All of them, those of the artifact first.
    pub fn all(&self) -> impl Iterator<Item = &Judged<'a, 'h>> {
        self.migrations.iter().chain(&self.absent)
    }

    /// The migration of this name.
    pub fn of(&self, name: &str) -> Option<&Judged<'a, 'h>> {
        self.all().find(|judged| judged.name == name)
    }

    /// What keeps every deploy from running: the rows that nobody but a person can interpret.
    pub fn refusal(&self) -> Option<Failure> {
        let blocked = |judged: &&Judged<'_, '_>| judged.standing.blocks();
        let ours = self.all().find_map(|judged| match judged.standing.settled() {
            Standing::Blocked(failure) => Some((judged.name, failure)),
            _ => None,
        });
        let Some((name, failure)) = ours else {
            let of_prisma: Vec<&Judged<'_, '_>> = self.all().filter(blocked).collect();
            return (!of_prisma.is_empty()).then(|| failed_migrations(&of_prisma));
        };
        let mut failure = Failure::clone(failure);
        let others = self.all().filter(blocked).filter(|judged| judged.name != name);
        failure
            .details
            .extend(others.map(|judged| format!("migration {} blocks every deploy too", judged.name)));
        Some(failure)
    }
}

fn judge<'a, 'h>(
    name: &'h str,
    file: Option<&'a Migration>,
    rows: Vec<&'h Row>,
    evidence: &Evidence,
    strings: Strings,
) -> Judged<'a, 'h> {
    let unfinished: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| row.state == State::Unfinished)
        .collect();
    let applied = rows.iter().rfind(|row| row.state == State::Applied);
    let standing = match (&unfinished[..], applied) {
        ([_, ..], _) if evidence.under_way => Standing::Running,
        ([], Some(_)) => Standing::Applied,
        ([], None) if rows.is_empty() => Standing::Pending,
        ([], None) => Standing::RolledBack,
        ([one], None) => match one.mark() {
            Some(mark) => of_row(one, &mark, file, evidence.found(&one.id), strings),
            None => Standing::FailedByPrisma,
        },
        (several, applied) if several.iter().any(|row| row.mark().is_some()) => {
            Standing::Blocked(Box::new(several_rows(several, applied.is_some(), file)))
        }
        _ => Standing::FailedByPrisma,
    };
    let mut remarks = Vec::new();
    if standing == Standing::Applied
        && let Some(row) = applied
    {
        remarks.extend(remark(file, row));
        remarks.extend((row.applied_steps_count == 0).then_some(Remark::NotRun));
    }
    Judged {
        name,
        file,
        rows,
        standing,
        remarks,
    }
}

/// How the file of an applied migration differs from its row.
fn remark(file: Option<&Migration>, row: &Row) -> Option<Remark> {
    let Some(file) = file else {
        return Some(Remark::Missing);
    };
    match file.script.matches(&row.checksum) {
        None => Some(Remark::FileMissing),
        Some(true) => None,
        Some(false) if is_checksum(&row.checksum) => Some(Remark::Edited),
        Some(false) => Some(Remark::NoChecksum),
    }
}

/// SHA-256 as Prisma writes it. Very old versions left out leading zeros of each byte, so shorter ones count too.
pub fn is_checksum(text: &str) -> bool {
    (32..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// P3009: rows that a run of Prisma's left, and that nobody can interpret.
fn failed_migrations(judged: &[&Judged<'_, '_>]) -> Failure {
    let names: Vec<&str> = judged.iter().map(|judged| judged.name).collect();
    let first = names.first().copied().unwrap_or_default();
    let also_applied = judged
        .first()
        .is_some_and(|judged| judged.rows.iter().any(|row| row.state == State::Applied));
    let next = match also_applied {
        true => closes_the_other_row(first),
        false => by_hand(first, judged.first().and_then(|judged| judged.file)),
    };
    let mut failure = Failure::new(
        Exit::FailedMigration,
        format!("failed migrations block every deploy: {}", names.join(", ")),
        next,
    )
    .prisma(Some("P3009"))
    .of(first);
    let rows = judged.iter().flat_map(|judged| &judged.rows);
    for row in rows.filter(|row| row.state == State::Unfinished) {
        let why = match row.logs.as_deref().unwrap_or("") {
            "" => "without a log: the run was killed or lost its connection",
            logs => logs,
        };
        failure.details.push(format!(
            "{} started at {} and did not finish; {why}",
            row.migration, row.started_at
        ));
    }
    failure
}

/// The commands that get out of a migration that only a person can interpret. One that the artifact does not have cannot be recorded as applied.
fn by_hand(name: &str, file: Option<&Migration>) -> String {
    match file {
        Some(_) => resolve_by_hand(name),
        None => format!(
            "the artifact does not have this migration: put it back, then deploy again; or, if nothing of it is in the database, run `{}`",
            command(&["resolve", "--rolled-back", name])
        ),
    }
}

/// What to do about an unfinished row of a migration that another row says is applied.
fn closes_the_other_row(name: &str) -> String {
    format!(
        "another row says that it is applied; if that is true, run `{}`, which closes the unfinished row and leaves the migration applied",
        command(&["resolve", "--rolled-back", name])
    )
}

/// More than one row speaks of a migration that did not finish.
fn several_rows(rows: &[&Row], applied: bool, file: Option<&Migration>) -> Failure {
    let name = rows.first().map(|row| row.migration.as_str()).unwrap_or_default();
    let count = rows.len();
    let next = match applied {
        true => closes_the_other_row(name),
        false => by_hand(name, file),
    };
    let what = match (count, applied) {
        (1, _) => "one of its rows did not finish, and another one says that it is applied".to_owned(),
        (_, true) => format!("{count} of its rows did not finish, and another one says that it is applied"),
        (_, false) => {
            format!("{count} of its rows did not finish: it is not known which of them describes the database")
        }
    };
    blocked(rows.last().copied(), name, what, next)
}

/// The failure of a row that no run can go on with.
fn blocked(row: Option<&Row>, name: &str, what: String, next: String) -> Failure {
    let mut failure = Failure::new(Exit::PartiallyCommitted, what, next)
        .prisma(Some("P3009"))
        .of(name)
        .state("nothing was changed by this run; what the earlier one committed of this migration is still there");
    if let Some(row) = row {
        let by = row
            .mark()
            .map(|mark| format!(" by run {}", mark.run_id))
            .unwrap_or_default();
        failure.details.push(format!("started at {}{by}", row.started_at));
        let error = error_below_mark(row).unwrap_or_default();
        failure.details.extend(error.lines().map(str::to_owned));
    }
    failure
}

/// The error that stopped the run: it is below the mark.
fn error_below_mark(row: &Row) -> Option<&str> {
    let (_, error) = row.logs.as_deref()?.split_once('\n')?;
    Some(error)
}

/// What a row of ours says of its migration.
fn of_row(row: &Row, mark: &Mark, file: Option<&Migration>, found: &Found, strings: Strings) -> Standing {
    if found.alive.is_some() {
        return Standing::Running;
    }
    let text = file.and_then(|migration| migration.script.text().ok());
    let blocks = |what: String, next: Option<String>| {
        let next = next
            .filter(|_| file.is_some())
            .unwrap_or_else(|| by_hand(&row.migration, file));
        Standing::Blocked(Box::new(blocked(Some(row), &row.migration, what, next)))
    };
    let failed = error_below_mark(row).is_some();
    match &mark.state {
        Marked::Partial(None) => match (file, text) {
            (Some(file), Some(script)) if committed_as_a_whole(row, file, script, strings) => settled(
                row,
                Write::Close {
                    checksum: row.checksum.clone(),
                },
                Vec::new(),
                Standing::Applied,
                "an earlier run had committed all of it".into(),
            ),
            _ if failed => blocks(
                "an earlier run of this migration failed after part of it was committed".into(),
                None,
            ),
            _ => blocks(
                "an earlier run of this migration was interrupted, and how much of it is committed is not known".into(),
                None,
            ),
        },
        Marked::Undecidable => blocks(
            "an earlier run of this migration was interrupted or failed, and what it committed is not known".into(),
            None,
        ),
        Marked::Partial(Some(progress)) if failed => blocks(
            format!(
                "an earlier run committed the first {} of this migration, and the next one failed",
                count(progress.done, "transaction", "transactions")
            ),
            Some(resolve_or_retry(&row.migration, progress.done + 1)),
        ),
        Marked::Partial(Some(progress)) => resume(row, progress, Cut::Transactions, file, found, strings),
        Marked::Steps(progress) => resume(row, progress, Cut::Statements, file, found, strings),
        Marked::Alone { progress, .. } => {
            let settled = found
                .statement
                .as_ref()
                .filter(|_| !failed)
                .and_then(|interrupted| sent_alone(row, mark, progress, interrupted, file, found, strings));
            let step = progress.done + 1;
            settled.unwrap_or_else(|| {
                blocks(
                    format!(
                        "statement {step} cannot run in a transaction; an earlier run sent it and was interrupted or failed: it may or may not have run"
                    ),
                    Some(resolve_or_retry(&row.migration, step)),
                )
            })
        }
    }
}

fn settled(row: &Row, write: Write, left: Vec<Leaving>, then: Standing, found: String) -> Standing {
    Standing::Settled(Box::new(Settlement {
        row: row.id.clone(),
        write,
        left,
        then,
        found,
    }))
}

/// Whether a row that is visible proves that all of its script is committed: the row commits with the script, which is one transaction.
fn committed_as_a_whole(row: &Row, file: &Migration, script: &str, strings: Strings) -> bool {
    file.script.checksum() == Some(row.checksum.as_str())
        && script::is_enclosed(&script::statements_with(script, strings))
}

/// A statement that was sent by itself, by what the catalogue says of it; none if that decides nothing.
fn sent_alone(
    row: &Row,
    mark: &Mark,
    progress: &Progress,
    interrupted: &Interrupted,
    file: Option<&Migration>,
    found: &Found,
    strings: Strings,
) -> Option<Standing> {
    let script = file?.script.text().ok()?;
    let (statements, boundaries) = cut(script, strings);
    let boundary = boundary(&boundaries, progress)?;
    let at = statements.partition_point(|statement| statement.range.start < boundary.at);
    let left = &statements[at..];
    let first = left.first()?;
    let Kind::Alone(alone) = &first.kind else { return None };
    let statement = describe(alone);
    let cleaned = interrupted.left.clone();
    let after = |done: usize, end: usize| {
        let text = boundaries.iter().find(|boundary| boundary.at == end);
        let progress = Progress {
            done,
            before: Prefix::Text(text.map(|boundary| boundary.text.clone()).unwrap_or_default()),
            session: progress.session.clone(),
        };
        let then = resume(row, &progress, Cut::Statements, file, found, strings);
        let state = Marked::Steps(progress);
        let mark = Box::new(Mark { state, ..mark.clone() });
        (Write::Remark { mark, done }, then)
    };
    Some(match interrupted.evidence {
        alone::Evidence::Unknown => return None,
        alone::Evidence::Done => {
            let says = format!("an interrupted run had finished {statement}");
            let (write, then) = match left.len() {
                1 => {
                    let checksum = row.checksum.clone();
                    (Write::Close { checksum }, Standing::Applied)
                }
                _ => after(progress.done + 1, first.range.end),
            };
            settled(row, write, cleaned, then, says)
        }
        alone::Evidence::NotDone => {
            let says = format!("an interrupted run had not finished {statement}");
            let (write, then) = match progress.done {
                0 => {
                    let logs = format!("{mark}\ninterrupted; nothing of it is left");
                    (Write::RollBack { logs }, Standing::RolledBack)
                }
                done => after(done, boundary.at),
            };
            settled(row, write, cleaned, then, says)
        }
    })
}

/// Where an unfinished row of ours can be gone on from.
fn resume(
    row: &Row,
    progress: &Progress,
    cut_into: Cut,
    file: Option<&Migration>,
    found: &Found,
    strings: Strings,
) -> Standing {
    let done = progress.done;
    let blocks = |what: String, next: Option<String>| {
        let next = next.unwrap_or_else(|| by_hand(&row.migration, file));
        Standing::Blocked(Box::new(blocked(Some(row), &row.migration, what, next)))
    };
    let (one, many) = unit(cut_into);
    let committed = count(done, one, many);
    let Some(file) = file else {
        return blocks(
            format!(
                "an earlier run committed its first {committed}, and the artifact does not have the migration any more"
            ),
            None,
        );
    };
    let script = file.script.text().unwrap_or_default();
    let (statements, boundaries) = cut(script, strings);
    let Some(at) = boundary(&boundaries, progress).map(|boundary| boundary.at) else {
        return blocks(
            format!("an earlier run committed its first {committed}, and their text has changed since"),
            Some(format!(
                "restore the text of the first {committed} and deploy again, or {}",
                resolve_by_hand(&row.migration)
            )),
        );
    };
    if !steps::can_begin_at(script, &statements, at) {
        return blocks(
            format!(
                "an earlier run committed its first {committed}, and the next transaction belongs to them (AND CHAIN)"
            ),
            None,
        );
    }
    let lost = lost_with_its_session(script, &statements, at, &progress.session);
    if let Some(why) = lost.or_else(|| found.not_restorable.clone()) {
        return blocks(
            format!(
                "an earlier run committed its first {committed}, and what they made of its session cannot be made again: {why}"
            ),
            None,
        );
    }
    let of = done
        + steps::steps(script, &statements, at, cut_into)
            .iter()
            .map(|step| match cut_into {
                Cut::Transactions => step.notes.len(),
                Cut::Statements => 1,
            })
            .sum::<usize>();
    Standing::Resumes(Box::new(Resume {
        id: row.id.clone(),
        done,
        of,
        at,
        cut: cut_into,
        session: progress.session.clone(),
        error: error_below_mark(row).map(str::to_owned),
    }))
}

fn cut(script: &str, strings: Strings) -> (Vec<Statement>, Vec<steps::Boundary>) {
    let statements = script::statements_with(script, strings);
    let boundaries = steps::boundaries(script, &statements);
    (statements, boundaries)
}

/// The place of the script where what is committed ends; none if the text before it is another.
fn boundary<'b>(boundaries: &'b [steps::Boundary], progress: &Progress) -> Option<&'b steps::Boundary> {
    let found = boundaries.iter().find(|boundary| match &progress.before {
        Prefix::Text(hash) => boundary.text == *hash,
        Prefix::Raw(hash) => boundary.raw == *hash,
    })?;
    (found.at > 0 || progress.done == 0).then_some(found)
}

/// Why the rest of a script cannot run in another session than what is committed ran in; none if it can, as far as is known before it is tried.
fn lost_with_its_session(script: &str, statements: &[Statement], at: usize, session: &SessionMark) -> Option<String> {
    let rest = script[at..].to_ascii_lowercase();
    let (skipped, left) = statements.split_at(statements.partition_point(|statement| statement.range.start < at));
    if left.is_empty() {
        return None;
    }
    let in_session = ["currval", "lastval"].into_iter().find(|name| rest.contains(name));
    if let Some(name) = in_session.filter(|_| !skipped.is_empty()) {
        return Some(format!("the rest calls {name}, whose value ended with the session"));
    }
    match session {
        SessionMark::Known(state) => state
            .cannot_be_made_again()
            .map(|what| format!("it had {what}, which ended with the session")),
        SessionMark::Unread | SessionMark::Absent => skipped
            .iter()
            .filter(|statement| {
                let text = &script[statement.range.clone()];
                let set_again = *session == SessionMark::Absent && statement.kind == Kind::Setting;
                !set_again && !steps::leaves_session(text)
            })
            .map(|statement| {
                let line = script[..statement.range.start].matches('\n').count() + 1;
                format!("line {line} may have changed it, and the run ended before that could be read")
            })
            .next(),
    }
}

/// What a script is committed in.
fn unit(cut: Cut) -> (&'static str, &'static str) {
    match cut {
        Cut::Transactions => ("transaction", "transactions"),
        Cut::Statements => ("statement", "statements"),
    }
}

fn describe(alone: &Alone) -> String {
    match alone {
        Alone::CreateIndex { index, .. } => {
            format!("CREATE INDEX CONCURRENTLY {}", index.as_deref().unwrap_or_default())
        }
        Alone::DropIndex(index) => format!("DROP INDEX CONCURRENTLY {index}"),
        Alone::DetachPartition { partition, .. } => format!("DETACH PARTITION {partition} CONCURRENTLY"),
        Alone::Global { create, database, name } => format!(
            "{} {} {name}",
            if *create { "CREATE" } else { "DROP" },
            if *database { "DATABASE" } else { "TABLESPACE" }
        ),
        Alone::Repeatable { .. } | Alone::WantsBlock | Alone::Opaque { .. } => "its statement".to_owned(),
    }
}

/// So many missing migrations are named. If more are missing, the artifact is another one, or holds only what is new.
const NAMED: usize = 100;

impl Judgement<'_, '_> {
    /// Late, missing and edited migrations: Prisma does not mention them.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let newest = self.migrations.iter().rfind(|judged| judged.is_applied());
        let has = |judged: &&Judged<'_, '_>, remark| judged.remarks.contains(&remark);
        for late in self.migrations.iter().filter(|judged| has(judged, Remark::Late)) {
            let newest = newest.map(|judged| judged.name).unwrap_or_default();
            found.push(format!(
                "migration {} is late: {newest} was applied before it",
                late.name
            ));
        }
        let missing: Vec<&str> = self
            .absent
            .iter()
            .filter(|judged| judged.standing == Standing::Applied)
            .map(|judged| judged.name)
            .collect();
        found.extend(
            missing
                .iter()
                .take(NAMED)
                .map(|name| format!("migration {name} was applied and is missing from the artifact")),
        );
        if let Some(more @ 1..) = missing.len().checked_sub(NAMED) {
            found.push(format!(
                "{} applied and {} missing from the artifact",
                match more {
                    1 => "1 more migration was".to_owned(),
                    _ => format!("{more} more migrations were"),
                },
                if more == 1 { "is" } else { "are" }
            ));
        }
        for judged in self.migrations.iter().filter(|judged| has(judged, Remark::FileMissing)) {
            found.push(format!(
                "migration {} was applied, and its migration.sql is missing: Prisma refuses that (P3015)",
                judged.name
            ));
        }
        for judged in self.migrations.iter().filter(|judged| has(judged, Remark::Edited)) {
            found.push(format!(
                "migration {} was edited after it was applied; to accept the new text, run `{}`",
                judged.name,
                command(&["resolve", "--accept", judged.name])
            ));
        }
        found.extend(self.without_checksum());
        found
    }

    /// One warning for all rows whose checksum another program has made up.
    fn without_checksum(&self) -> Option<String> {
        let names: HashSet<&str> = self
            .migrations
            .iter()
            .filter(|judged| judged.remarks.contains(&Remark::NoChecksum))
            .map(|judged| judged.name)
            .collect();
        let first = self.migrations.iter().find(|judged| names.contains(judged.name))?;
        Some(format!(
            "{} in the ledger without a checksum ({}{}): another program wrote {}; `{}` shows what Prisma would have written",
            match names.len() {
                1 => "1 migration is".to_owned(),
                count => format!("{count} migrations are"),
            },
            first.name,
            if names.len() > 1 { ", …" } else { "" },
            if names.len() > 1 { "those rows" } else { "that row" },
            command(&["adopt"]),
        ))
    }
}

/// The backend that still works on a migration, if it can be seen.
pub fn backend_at_work<'e>(judged: &Judged<'_, '_>, evidence: &'e Evidence) -> Option<&'e Backend> {
    let unfinished = judged.rows.iter().filter(|row| row.state == State::Unfinished);
    unfinished
        .filter_map(|row| evidence.found(&row.id).alive.as_ref())
        .next()
}
