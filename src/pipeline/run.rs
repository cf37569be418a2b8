//! `run`: one task, from the words behind `--` to its outcome; before a deploy perhaps a snapshot.

use super::attend::{Attended, Ended, attend};
use super::clients::Clients;
use super::command::{Command, Sql};
use super::interrupt::Interrupt;
use super::place::{Need, Place};
use super::snapshot::{self, Target};
use super::start::{self, LONGEST_OVERRIDES};
use super::state::TaskState;
use crate::artifact::s3;
use crate::cli::{LogFormat, RunArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::live;
use crate::log;
use crate::outcome::Outcome;
use crate::report;
use std::io::IsTerminal;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// How long a request that starts a task may still take where this side is to go: whether it was heard should be known.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// The pause before a task that never ran is started again; twice as long each time, up to the longest.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Starts the task and follows it to its end.
///
/// # Errors
/// There is no outcome of the task's: it was not started, or this side has lost it or let it go.
pub async fn run(args: &RunArgs, interrupt: &mut Interrupt, own: &Outcome) -> Result<Outcome, Failure> {
    let command = interrupt.unless(Command::of(args)).await??;
    let clients = interrupt.unless(Clients::of_environment()).await??;
    let place = interrupt
        .unless(Place::find(&clients, &args.place, Need::Start))
        .await??;
    let run = Run {
        args,
        clients: &clients,
        place: &place,
        own,
    };
    if !args.snapshot.snapshot_before {
        return run.task(command, interrupt).await;
    }
    let target = Target::of(args, &place)?;
    let plan = run.task(Command::new("plan", &["--check"]), interrupt).await?;
    if plan.exit_code != Exit::Pending {
        if plan.exit_code == Exit::Success {
            tracing::info!("nothing is pending: no snapshot is taken, and nothing is deployed");
        }
        return Ok(plan);
    }
    let taken = snapshot::take(&clients, &target, &plan, &args.place);
    let snapshot = interrupt.unless(taken).await.map_err(|interrupted| {
        live::clear();
        interrupted.detail("a snapshot that was begun goes on by itself, and is yours to keep or delete")
    })??;
    tracing::info!("the snapshot {snapshot} of {target} is available");
    run.task(command, interrupt).await
}

struct Run<'a> {
    args: &'a RunArgs,
    clients: &'a Clients,
    place: &'a Place,
    own: &'a Outcome,
}

impl Run<'_> {
    /// Starts a task and follows it to its end. One that never ran is started again, as long as `--start-within` allows.
    async fn task(&self, command: Command, interrupt: &mut Interrupt) -> Result<Outcome, Failure> {
        let (began, mut pause) = (Instant::now(), PAUSE);
        loop {
            let ended = self.once(&command, interrupt).await;
            let why = match &ended {
                Ok(ended) if ended.never_ran => ended.outcome.failure.as_ref().map(|failure| failure.what.clone()),
                Err(failure) if start::passes(failure) => Some(failure.what.clone()),
                _ => None,
            };
            let Some(why) = why.filter(|_| began.elapsed() + pause < self.args.start_within) else {
                return ended.map(|ended| ended.outcome);
            };
            let shown = humantime::format_duration(pause);
            tracing::warn!("{why}; nothing was changed, and it is started again in {shown}");
            interrupt.unless(sleep(pause)).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&self, command: &Command, interrupt: &mut Interrupt) -> Result<Ended, Failure> {
        let token = Uuid::new_v4();
        let report = match command.has_report {
            true => None,
            false => self.place.below_reports(&format!("runs/{token}.json")),
        };
        let url = report.as_ref().map(|at| format!("s3://{}/{}", at.bucket, at.key));
        let words = interrupt.unless(self.words(command, url.as_deref(), token)).await??;
        let task = self.started(&words, token, interrupt).await?;
        tracing::info!("started {} as the task {}", command.verb, task.arn);
        let rows: &dyn Fn(&str) = match command.verb.as_str() {
            "execute" => &|row| {
                live::clear();
                report::say(&format!("{row}\n"));
            },
            _ => &log::relay,
        };
        let attended = Attended {
            place: self.place,
            args: &self.args.place,
            arn: &task.arn,
            report: report.as_ref(),
        };
        let own = Outcome::new("run", self.own.run_id.clone());
        Ok(attend(self.clients, attended, interrupt, rows, own).await)
    }

    /// The container's command; SQL that is too long for it, or is to be seen by nobody else, is stored in S3 first.
    async fn words(&self, command: &Command, report: Option<&str>, token: Uuid) -> Result<Vec<String>, Failure> {
        let format = self.row_format(command);
        let Some(text) = &command.sql else {
            return Ok(command.words(report, None, format));
        };
        let sql = Sql::Argument(text.clone());
        let words = command.words(report, Some(&sql), format);
        if !self.args.sql_by_s3 && start::fits(&self.place.container, &words, &sql) {
            return Ok(words);
        }
        let Some(object) = self.place.below_reports(&format!("sql/{token}.sql")) else {
            let why = match self.args.sql_by_s3 {
                true => "--sql-by-s3 needs a place in S3".to_owned(),
                false => format!(
                    "the SQL is too long for the task's command, which has room for {LONGEST_OVERRIDES} characters in all"
                ),
            };
            let next =
                "give --reports s3://bucket/prefix, which the task may read: the stack has no output of that name";
            return Err(Failure::new(Exit::Usage, why, next));
        };
        let url = format!("s3://{}/{}", object.bucket, object.key);
        let stored = s3::put(&object, "application/sql", text.clone().into_bytes()).await;
        stored.map_err(|error| {
            let next = format!("give these credentials s3:PutObject on {url}, or shorten the SQL");
            Failure::new(
                Exit::Usage,
                format!("the SQL could not be stored as {url}: {error}"),
                next,
            )
        })?;
        tracing::info!("the SQL is handed to the task as {url}");
        Ok(command.words(report, Some(&Sql::Object(url)), format))
    }

    /// Rows are for people where this side's standard output is a terminal, of which the task knows nothing.
    fn row_format(&self, command: &Command) -> Option<&'static str> {
        let told = command
            .flags
            .iter()
            .any(|flag| matches!(flag.split('=').next(), Some("--format" | "--output")));
        let for_people = match self.args.output.log_format {
            Some(format) => format == LogFormat::Text,
            None => std::io::stdout().is_terminal(),
        };
        (command.verb == "execute" && !told && for_people).then_some("table")
    }

    async fn started(&self, words: &[String], token: Uuid, interrupt: &mut Interrupt) -> Result<TaskState, Failure> {
        let mut start = pin!(start::start(self.clients, self.place, words, token));
        let signal = tokio::select! {
            biased;
            started = &mut start => return started,
            signal = interrupt.signal() => signal,
        };
        match timeout(LAST_ANSWER, start).await {
            Ok(started) => {
                interrupt.keep(signal);
                started
            }
            Err(_) => Err(start::unknown_start(&format!("stopped by {signal}"), self.place, token)),
        }
    }
}
