//! What a deploy would do: a pure function of the migrations, the history and the policy.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::History;
use crate::judgement::{Evidence, Judged, Judgement, Remark, Resume, Standing};
use crate::migration::{Migration, order};
use crate::sql::kind::Kind;
use crate::sql::local::{self, Obstacle};
use crate::sql::script::{self, Shape, Statement, Strings};
use crate::sql::steps::Cut;
use std::borrow::Cow;
use std::collections::HashSet;
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
    fn of(&self, migrations: &[Judged<'_, '_>]) -> Result<Range<usize>, Failure> {
        let (Scope::UpTo(name) | Scope::Only(name)) = self else {
            return Ok(0..migrations.len());
        };
        let at = migrations
            .iter()
            .position(|judged| judged.name == *name)
            .ok_or_else(|| no_such_migration(name, migrations.iter().map(|judged| judged.name)))?;
        Ok(match self {
            Scope::Only(_) => at..at + 1,
            _ => 0..at + 1,
        })
    }
}

/// P3017: the name that was given is none of the artifact's. What was meant is offered, if it can be told.
pub fn no_such_migration<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Failure {
    let next = match meant(name, names) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "give the whole name of its directory".to_owned(),
    };
    Failure::new(Exit::History, "there is no such migration in the artifact", next)
        .prisma(Some("P3017"))
        .of(name)
}

/// The migration that somebody means who gives a path to it, its `migration.sql`, a part of its name, or its name with a typing error.
pub fn meant<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let names: Vec<&str> = names.collect();
    let mut parts = given
        .split(['/', '\\'])
        .filter(|part| !part.is_empty() && *part != "migration.sql");
    let last = parts.next_back().unwrap_or(given);
    let only = |is: &dyn Fn(&str) -> bool| {
        let mut found = names.iter().copied().filter(|name| is(name));
        found.next().filter(|_| found.next().is_none())
    };
    let lower = last.to_lowercase();
    only(&|name| name == last)
        .or_else(|| only(&|name| name.to_lowercase() == lower))
        .or_else(|| only(&|name| !lower.is_empty() && name.to_lowercase().contains(&lower)))
        .or_else(|| {
            let distance = |name: &str| strsim::damerau_levenshtein(name, last);
            names
                .iter()
                .copied()
                .filter(|name| distance(name) <= 3)
                .min_by_key(|name| distance(name))
        })
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

/// What a deploy would do.
#[derive(Debug)]
pub struct Plan<'a> {
    /// In the order in which they are applied.
    pub pending: Vec<Pending<'a>>,
    /// Pending too, and not for this run.
    pub left: Vec<&'a str>,
    /// What interrupted runs left, and what the next deploy does about it: migrations and sentences without a subject.
    pub recovers: Vec<(&'a str, String)>,
    /// What is unusual and not refused.
    pub warnings: Vec<String>,
}

/// From this size on, in bytes, a script is warned of: the server parses a message as a whole, at about 1 KB for each statement.
const LARGE: usize = 64 << 20;

/// Makes the plan.
///
/// # Errors
/// What keeps every deploy from running: unfinished rows, scripts that cannot be sent, and what `--strict` refuses. Every pending script is checked,
/// so that nothing runs when a later one is bad.
pub fn plan<'a>(judgement: &Judgement<'a, '_>, policy: &Policy) -> Result<Plan<'a>, Failure> {
    let migrations = &judgement.migrations;
    let scope = policy.scope.of(migrations)?;
    if let Some(failure) = judgement.refusal() {
        return Err(failure);
    }
    let mut warnings = judgement.warnings();
    if policy.strict && !warnings.is_empty() {
        let file_missing = judgement
            .all()
            .any(|judged| judged.remarks.contains(&Remark::FileMissing));
        let mut failure = Failure::new(
            Exit::History,
            "--strict refuses this history",
            "restore the migrations as they were applied and give new ones newer names, or deploy without --strict",
        )
        .prisma(file_missing.then_some("P3015"));
        failure.details = warnings;
        return Err(failure);
    }
    warnings.extend(order_warning(migrations));
    let pending = migrations[scope.clone()]
        .iter()
        .filter(|judged| judged.standing.is_pending())
        .filter_map(|judged| judged.file.map(|file| ready(file, &judged.standing, judgement.strings)))
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
        .filter(|(at, judged)| !scope.contains(at) && judged.standing.is_pending())
        .filter_map(|(_, judged)| Some(judged.file?.name.as_str()))
        .collect();
    let recovers = judgement
        .all()
        .filter(|judged| judged.standing.recovers())
        .filter_map(|judged| Some((judged.file?.name.as_str(), judged.standing.next_deploy()?)))
        .collect();
    Ok(Plan {
        pending,
        left,
        recovers,
        warnings,
    })
}

/// The plan for a database that has no migrations table.
///
/// # Errors
/// As [`plan`].
pub fn first<'a>(migrations: &'a [Migration], policy: &Policy, strings: Strings) -> Result<Plan<'a>, Failure> {
    let history = History::default();
    plan(
        &Judgement::new(migrations, &history, &Evidence::default(), strings),
        policy,
    )
}

impl Plan<'_> {
    /// Every migration that a deploy would apply, go on with or record, in the order of the artifact. Those that it leaves for a later run count too.
    pub fn names(&self, judgement: &Judgement<'_, '_>) -> Vec<String> {
        let listed: HashSet<&str> = self
            .pending
            .iter()
            .map(|pending| pending.name)
            .chain(self.left.iter().copied())
            .chain(self.recovers.iter().map(|(name, _)| *name))
            .collect();
        judgement
            .all()
            .map(|judged| judged.name)
            .filter(|name| listed.contains(name))
            .map(str::to_owned)
            .collect()
    }

    /// What `status` and `plan` say of interrupted runs.
    pub fn announcements(&self) -> impl Iterator<Item = String> {
        let announce = |(name, does): &(&str, String)| {
            format!("migration {name} was interrupted; the next deploy recovers it: it {does}")
        };
        self.recovers.iter().map(announce)
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
        obstacle.next_step(line),
    )
    .prisma(Some("P3018"))
    .of(migration);
    failure.place = Some(crate::excerpt::place(migration, script, before.chars().count()));
    failure
}

/// Names whose place depends on the version of Prisma: bytewise up to 6.5, ICU's order since. Of interest while one of them is pending.
fn order_warning(migrations: &[Judged<'_, '_>]) -> Option<String> {
    if migrations.iter().all(Judged::is_applied) {
        return None;
    }
    let applied: HashSet<&str> = migrations
        .iter()
        .filter(|judged| judged.is_applied())
        .map(|judged| judged.name)
        .collect();
    let contested = order::contested(migrations.iter().map(|judged| judged.name));
    contested.iter().any(|name| !applied.contains(name)).then(|| {
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

fn ready<'a>(migration: &'a Migration, standing: &Standing, strings: Strings) -> Result<Pending<'a>, Failure> {
    let resume = match standing.settled() {
        Standing::Resumes(resume) => Some(&**resume),
        _ => None,
    };
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
