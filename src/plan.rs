//! What a deploy would do: a pure function of the migrations, the history and the policy.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::failure::{resolve_by_hand, resolve_or_retry};
use crate::history::{History, Mark, Marked, Prefix, Progress, Row, SessionMark, State};
use crate::migration::{Migration, order};
use crate::sql::kind::Kind;
use crate::sql::local::{self, Obstacle};
use crate::sql::script::{self, Shape, Statement, Strings};
use crate::sql::steps::{self, Cut};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// What a run is to apply, and what it refuses that Prisma lets pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Late, missing and edited migrations are refused, not only warned of.
    pub strict: bool,
    /// Which of the pending migrations are to be applied.
    pub scope: Scope,
}

/// Which of the pending migrations are to be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// This one and those before it.
    UpTo(String),
    /// This one alone.
    Only(String),
}

impl Scope {
    /// The places of the migrations that are within it.
    fn of(&self, migrations: &[Migration]) -> Result<Range<usize>, Failure> {
        let (Scope::UpTo(name) | Scope::Only(name)) = self else {
            return Ok(0..migrations.len());
        };
        let at = migrations
            .iter()
            .position(|migration| migration.name == *name)
            .ok_or_else(|| no_such_migration(name))?;
        Ok(match self {
            Scope::Only(_) => at..at + 1,
            _ => 0..at + 1,
        })
    }
}

/// P3017: the name that was given is none of the artifact's.
pub fn no_such_migration(name: &str) -> Failure {
    Failure::new(
        Exit::History,
        "there is no such migration in the artifact",
        "give the whole name of its directory",
    )
    .prisma(Some("P3017"))
    .of(name)
}

/// A migration that is to be applied, checked and ready.
#[derive(Debug)]
pub struct Pending<'a> {
    /// Its directory.
    pub name: &'a str,
    /// SHA-256 of the file.
    pub checksum: String,
    /// The text to send.
    pub script: &'a str,
    /// The text's statements; none once they are let go.
    statements: Option<Vec<Statement>>,
    /// How the server reads its strings.
    strings: Strings,
    /// Whether a statement of it may leave another role behind, as far as its text tells.
    pub sets_role: bool,
    /// How it is to be sent.
    pub shape: Shape,
    /// Where an earlier run stopped that sent it step by step.
    pub resume: Option<Resume>,
}

/// The statements of a script of this size, in bytes, are let go before it is sent: 32 bytes for each may come to half of the script.
const HELD: usize = 1 << 20;

impl Pending<'_> {
    /// The text's statements, split again where they were let go.
    pub fn statements(&self) -> Cow<'_, [Statement]> {
        match &self.statements {
            Some(statements) => Cow::Borrowed(statements),
            None => Cow::Owned(script::statements_with(self.script, self.strings)),
        }
    }

    /// Frees the statements of a large script: what remains is to send it as one, and most are never asked for them again.
    pub fn let_go(&mut self) {
        if self.script.len() >= HELD && matches!(self.shape, Shape::Atomic { .. } | Shape::Undecidable) {
            self.statements = None;
        }
    }
}

/// Where an interrupted run is gone on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The row of the interrupted attempt.
    pub id: String,
    /// How many steps are committed.
    pub done: usize,
    /// Where they end, in bytes of the script.
    pub at: usize,
    /// How the script was being sent.
    pub cut: Cut,
    /// What its session was.
    pub session: SessionMark,
}

/// What a deploy would do.
#[derive(Debug)]
pub struct Plan<'a> {
    /// In the order in which they are applied.
    pub pending: Vec<Pending<'a>>,
    /// Pending too, and not for this run.
    pub left: Vec<&'a str>,
    /// What is unusual and not refused.
    pub warnings: Vec<String>,
}

/// From this size on, in bytes, a script is warned of: the server parses a message as a whole, at about 1 KB for each statement.
const LARGE: usize = 64 << 20;

/// Makes the plan. `migrations` are in the order in which they are applied.
///
/// # Errors
/// What keeps every deploy from running: unfinished rows, scripts that cannot be sent, and what `--strict` refuses. Every pending script is checked,
/// so that nothing runs when a later one is bad.
pub fn plan<'a>(
    migrations: &'a [Migration],
    history: &History,
    policy: &Policy,
    strings: Strings,
) -> Result<Plan<'a>, Failure> {
    let scope = policy.scope.of(migrations)?;
    let unfinished: Vec<&Row> = history.unfinished().collect();
    let resumable = resumable(migrations, &unfinished, strings)?;
    let recorded: HashSet<&str> = history
        .rows
        .iter()
        .filter(|row| row.state != State::RolledBack && !resumable.contains_key(row.migration.as_str()))
        .map(|row| row.migration.as_str())
        .collect();
    let warnings = peculiarities(migrations, history, &recorded);
    if policy.strict && !warnings.is_empty() {
        let mut failure = Failure::new(
            Exit::History,
            "the history is not as --strict demands it",
            "restore the migrations as they were applied and give new ones newer names, or deploy without --strict",
        );
        failure.details = warnings;
        return Err(failure);
    }
    let mut warnings = warnings;
    warnings.extend(order_warning(migrations, &recorded));
    let is_pending = |migration: &&Migration| !recorded.contains(migration.name.as_str());
    let pending = migrations[scope.clone()]
        .iter()
        .filter(is_pending)
        .map(|migration| ready(migration, resumable.get(migration.name.as_str()), strings))
        .collect::<Result<Vec<_>, _>>()?;
    warnings.extend(pending.iter().filter(|pending| pending.script.len() >= LARGE).map(|pending| {
        format!(
            "migration {} has {} MiB: the server takes less than 1,024 MiB in one message, and many small statements in it cost it memory",
            pending.name,
            pending.script.len() >> 20
        )
    }));
    let left = migrations
        .iter()
        .enumerate()
        .filter(|(at, migration)| !scope.contains(at) && is_pending(migration))
        .map(|(_, migration)| migration.name.as_str())
        .collect();
    Ok(Plan {
        pending,
        left,
        warnings,
    })
}

/// Judges the unfinished rows: those of scripts that can be gone on with, by migration; everything else blocks.
fn resumable<'a>(
    migrations: &[Migration],
    unfinished: &[&'a Row],
    strings: Strings,
) -> Result<HashMap<&'a str, Resume>, Failure> {
    let mut resumable = HashMap::new();
    let mut of_prisma = Vec::new();
    for &row in unfinished {
        let Some(mark) = row.mark() else {
            of_prisma.push(row);
            continue;
        };
        let migration = migrations.iter().find(|migration| migration.name == row.migration);
        resumable.insert(row.migration.as_str(), resume(row, &mark, migration, strings)?);
    }
    if of_prisma.is_empty() {
        Ok(resumable)
    } else {
        Err(failed_migrations(&of_prisma))
    }
}

/// P3009: rows that a run of Prisma's left, and that nobody can interpret.
fn failed_migrations(rows: &[&Row]) -> Failure {
    let names: Vec<&str> = rows.iter().map(|row| row.migration.as_str()).collect();
    let first = names.first().copied().unwrap_or_default();
    let mut failure = Failure::new(
        Exit::FailedMigration,
        format!("failed migrations block every deploy: {}", names.join(", ")),
        format!("what the failed run left is not known: {}", resolve_by_hand(first)),
    )
    .prisma(Some("P3009"))
    .of(first);
    for row in rows {
        let logs = row.logs.as_deref().unwrap_or("");
        let logs = if logs.is_empty() {
            "without a log: the run was killed or lost its connection"
        } else {
            logs
        };
        failure.details.push(format!(
            "{} started at {} and did not finish; {logs}",
            row.migration, row.started_at
        ));
    }
    failure
}

/// Where an unfinished row of ours can be gone on from.
fn resume(row: &Row, mark: &Mark, migration: Option<&Migration>, strings: Strings) -> Result<Resume, Failure> {
    // Below the mark stands the error that stopped it.
    let error = row
        .logs
        .as_deref()
        .and_then(|logs| logs.split_once('\n'))
        .map(|(_, error)| error);
    let blocked = |what: String, next: Option<String>| {
        let mut failure = Failure::new(
            Exit::PartiallyCommitted,
            what,
            next.unwrap_or_else(|| resolve_by_hand(&row.migration)),
        )
        .prisma(Some("P3009"))
        .of(&row.migration)
        .detail(format!("started at {} by run {}", row.started_at, mark.run_id));
        failure
            .details
            .extend(error.into_iter().flat_map(str::lines).map(str::to_owned));
        failure.state =
            "nothing was changed by this run; what the earlier one committed of this migration is still there".into();
        failure
    };
    let (progress, cut) = match &mark.state {
        Marked::Partial(None) => {
            return Err(blocked(
                "an earlier run committed part of this migration, and the rest is not in".into(),
                None,
            ));
        }
        Marked::Undecidable => {
            return Err(blocked(
                "an earlier run of this migration was interrupted or failed, and what it committed is not known".into(),
                None,
            ));
        }
        Marked::Alone { progress, .. } => {
            let step = progress.done + 1;
            return Err(blocked(
                format!(
                    "statement {step} cannot run in a transaction; an earlier run sent it and was interrupted or failed: it may or may not have run"
                ),
                Some(resolve_or_retry(&row.migration, step)),
            ));
        }
        Marked::Partial(Some(progress)) if error.is_some() => {
            let done = progress.done;
            return Err(blocked(
                format!(
                    "an earlier run committed the first {done} transactions of this migration, and the next one failed"
                ),
                Some(resolve_or_retry(&row.migration, done + 1)),
            ));
        }
        Marked::Partial(Some(progress)) => (progress, Cut::Transactions),
        Marked::Steps(progress) => (progress, Cut::Statements),
    };
    let done = progress.done;
    let script = migration
        .and_then(|migration| migration.script.text().ok())
        .unwrap_or_default();
    let statements = script::statements_with(script, strings);
    let Some(at) = behind(script, &statements, progress) else {
        return Err(blocked(
            format!(
                "an earlier run committed its first {done} steps, and the text of those has changed since (or the migration is gone)"
            ),
            Some(format!(
                "restore the text of the first {done} steps and deploy again, or {}",
                resolve_by_hand(&row.migration)
            )),
        ));
    };
    if !steps::can_begin_at(script, &statements, at) {
        return Err(blocked(
            format!(
                "an earlier run committed the first {done} transactions of this migration, and the next one belongs to them (AND CHAIN)"
            ),
            None,
        ));
    }
    if let Some(why) = lost_with_its_session(script, &statements, at, &progress.session) {
        return Err(blocked(
            format!(
                "an earlier run committed its first {done} steps, and what they made of its session cannot be made again: {why}"
            ),
            None,
        ));
    }
    Ok(Resume {
        id: row.id.clone(),
        done,
        at,
        cut,
        session: progress.session.clone(),
    })
}

/// The place in bytes of the script where what is committed ends; none if the text before it is another.
fn behind(script: &str, statements: &[Statement], progress: &Progress) -> Option<usize> {
    let boundaries = steps::boundaries(script, statements);
    let found = boundaries.iter().find(|boundary| match &progress.before {
        Prefix::Text(hash) => boundary.text == *hash,
        Prefix::Raw(hash) => boundary.raw == *hash,
    })?;
    (found.at > 0 || progress.done == 0).then_some(found.at)
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

/// The failure of a script that goes statement by statement, with a statement in it that means something else then.
pub fn cannot_go_in_steps(migration: &str, script: &str, obstacle: &Obstacle) -> Failure {
    let before = &script[..obstacle.range.start];
    let line = before.matches('\n').count() + 1;
    let words: Vec<&str> = script[obstacle.range.clone()].split_whitespace().take(3).collect();
    let mut failure = Failure::new(
        Exit::RolledBack,
        format!("line {line}: {} … {}", words.join(" "), obstacle.why),
        "put what belongs together into a BEGIN … COMMIT of its own, or into a migration of its own, then deploy again",
    )
    .prisma(Some("P3018"))
    .of(migration);
    failure.place = Some(crate::excerpt::place(migration, script, before.chars().count()));
    failure
}

/// So many missing migrations are named: where more are missing, the artifact is another one, or holds only what is new.
const NAMED: usize = 100;

/// Late, missing and edited migrations: Prisma says nothing of them.
fn peculiarities(migrations: &[Migration], history: &History, recorded: &HashSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let last_recorded = migrations
        .iter()
        .rposition(|migration| recorded.contains(migration.name.as_str()));
    if let Some(last) = last_recorded {
        let newest = &migrations[last].name;
        for late in migrations[..last]
            .iter()
            .filter(|migration| !recorded.contains(migration.name.as_str()))
        {
            found.push(format!(
                "migration {} is late: {newest} was applied before it",
                late.name
            ));
        }
    }
    let present: HashMap<&str, &Migration> = migrations.iter().map(|m| (m.name.as_str(), m)).collect();
    let mut missing = HashSet::new();
    let mut compared = HashSet::new();
    for row in history.rows.iter().filter(|row| row.state == State::Applied) {
        match present.get(row.migration.as_str()) {
            None if missing.insert(row.migration.as_str()) && missing.len() <= NAMED => {
                found.push(format!(
                    "migration {} was applied and is missing from the artifact",
                    row.migration
                ));
            }
            Some(migration)
                if compared.insert((row.migration.as_str(), row.checksum.as_str()))
                    && migration.script.matches(&row.checksum) == Some(false) =>
            {
                found.push(format!("migration {} was edited after it was applied", row.migration));
            }
            _ => {}
        }
    }
    if let Some(more @ 1..) = missing.len().checked_sub(NAMED) {
        found.push(format!(
            "{more} more migrations were applied and are missing from the artifact"
        ));
    }
    found
}

/// Names whose place depends on the version of Prisma: bytewise up to 6.5, ICU's order since. Of interest while one of them is pending.
fn order_warning(migrations: &[Migration], recorded: &HashSet<&str>) -> Option<String> {
    if migrations
        .iter()
        .all(|migration| recorded.contains(migration.name.as_str()))
    {
        return None;
    }
    let contested = order::contested(migrations.iter().map(|m| m.name.as_str()));
    contested.iter().any(|name| !recorded.contains(name)).then(|| {
        format!(
            "the order of these migrations is that of Prisma since 6.6; up to 6.5 it was another: {}",
            contested.join(", ")
        )
    })
}

/// `SET ROLE`, `SET SESSION AUTHORIZATION` and the like, also within a `DO`.
fn sets_role(script: &str, statement: &Statement) -> bool {
    let text = &script[statement.range.clone()];
    let runs_text = || text.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("do"));
    let sets = matches!(statement.kind, Kind::Setting | Kind::WithoutSnapshot);
    (sets || (statement.kind == Kind::Ordinary && runs_text())) && {
        let text = text.to_ascii_lowercase();
        text.contains("role") || text.contains("authorization")
    }
}

fn ready<'a>(migration: &'a Migration, resume: Option<&Resume>, strings: Strings) -> Result<Pending<'a>, Failure> {
    let refused = |exit, what: String, next: &str, code| {
        Failure::new(exit, what, next)
            .prisma(code)
            .of(&migration.name)
            .state("nothing was changed; no migration of this run was begun")
    };
    let script = migration.text().map_err(|defect| {
        refused(
            Exit::Artifact,
            defect.to_string(),
            defect.next_step(),
            defect.prisma_code(),
        )
    })?;
    let checksum = migration.script.checksum().unwrap_or_default().to_owned();
    let statements = script::statements_with(script, strings);
    if let Some(copy) = statements
        .iter()
        .find(|statement| statement.kind == Kind::CopyFromStdin)
    {
        let at = script[..copy.range.start].chars().count();
        let mut failure = refused(
            Exit::RolledBack,
            "COPY … FROM STDIN cannot be part of a migration: its data does not travel in a script".into(),
            "write the rows as INSERT statements (`pg_dump --inserts` makes them)",
            Some("P3018"),
        );
        failure.sqlstate = Some("42601".into());
        failure.place = Some(crate::excerpt::place(&migration.name, script, at));
        return Err(failure);
    }
    let shape = script::shape(&statements);
    let from = resume.map_or(0, |resume| resume.at);
    let in_steps = resume.is_some_and(|resume| resume.cut == Cut::Statements);
    if (shape == Shape::StepByStep || in_steps)
        && let Some(obstacle) = local::obstacle(script, &statements, from, shape == Shape::StepByStep)
    {
        let failure = cannot_go_in_steps(&migration.name, script, &obstacle);
        return Err(failure.state("nothing was changed; no migration of this run was begun"));
    }
    Ok(Pending {
        name: &migration.name,
        checksum,
        script,
        strings,
        sets_role: statements.iter().any(|statement| sets_role(script, statement)),
        statements: Some(statements),
        shape,
        resume: resume.cloned(),
    })
}
