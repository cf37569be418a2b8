//! What a run came to: one value, made once. Text, JSON and the exit code are views of it.

use crate::adopt::findings::Change;
use crate::apply::How;
use crate::artifact::Origin;
use crate::database::open::Server;
use crate::drift::{Difference, schema::Schema};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hazard::{Hazard, Planned};
use crate::overview::Overview;
use crate::printable::count;
use crate::status::Running;
use crate::task::Task;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The version of the JSON document: raised when a field changes its meaning or goes away, not when one is added.
pub const VERSION: u32 = 1;

/// What a run came to. Its JSON form is described in `docs/outcome.md`: every field is always there, `null` or empty where there is nothing to say.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Outcome {
    /// [`VERSION`].
    pub version: u32,
    /// The program's version.
    pub program_version: Cow<'static, str>,
    /// UUID of this run: also in the session's `application_name` and in the marks of unfinished rows.
    pub run_id: String,
    /// `deploy`, `plan`, `status`, `resolve`, `baseline`, `adopt`, `drift` or `execute`.
    pub verb: Cow<'static, str>,
    /// One word for what it came to.
    pub result: Cow<'static, str>,
    /// The process's exit code.
    #[serde(serialize_with = "exit_code")]
    #[cfg_attr(feature = "client", serde(deserialize_with = "known_exit_code"))]
    pub exit_code: Exit,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// How long the run took.
    pub duration_ms: u64,
    /// EventBridge's id of the event that started the run, where it was told.
    pub event_id: Option<String>,
    /// The ECS task that this is; none elsewhere.
    pub task: Option<Task>,
    /// Where the migrations were read from; none where they could not be, or were not needed.
    pub artifact: Option<ArtifactRead>,
    /// The database; none where there is no session on it.
    pub database: Option<Server>,
    /// What this run applied, in order.
    pub applied: Vec<Applied>,
    /// What is still pending, the failed one too where it can be tried again or is half done.
    pub pending: Vec<String>,
    /// Of `status`: every migration of the artifact and of the ledger.
    pub migrations: Vec<Overview>,
    /// Of `status`: the session that holds the migration lock.
    pub running: Option<Running>,
    /// What `plan` found that `deploy` would do; none for every other verb.
    pub plan: Option<Vec<Planned>>,
    /// What of it may harm a database that is in use.
    pub hazards: Vec<Hazard>,
    /// What was settled of earlier runs that were interrupted.
    pub recovered: Vec<String>,
    /// What `resolve`, `baseline` or `adopt` recorded.
    pub resolved: Vec<String>,
    /// The rows that `adopt` changed or removed, or would, whole.
    pub adopted: Vec<Change>,
    /// The seed that this run ran.
    pub seeded: Option<Seeded>,
    /// What was changed in the schema outside migrations since an earlier report.
    pub drift: Vec<Difference>,
    /// The schema after a deploy with a report, or as `drift` found it; its objects are in the report only.
    pub schema: Option<Schema>,
    /// What `execute` ran and was not rolled back.
    pub executed: Vec<Executed>,
    /// Where the rows of `execute` are; none where they went to standard output.
    pub written: Option<Written>,
    /// What is unusual and was not refused.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How many items the last line of a task's log leaves out, by the list's path; read there, and empty everywhere else.
    #[serde(skip_serializing)]
    #[cfg_attr(feature = "client", serde(default))]
    pub omitted: BTreeMap<String, u64>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct ArtifactRead {
    /// The object, file or folder.
    #[serde(flatten)]
    pub origin: Origin,
    /// The migrations folder in it.
    pub migrations_path: String,
    /// How many migrations it holds.
    pub migrations: usize,
    /// SHA-256 over the names and checksums of all migrations: the same for the same history, however it is packed.
    pub migrations_sha256: String,
}

/// A migration that this run applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Applied {
    /// Its directory.
    pub name: String,
    /// How it was sent.
    pub how: How,
    /// From sending it to knowing that it is in.
    pub duration_ms: u64,
}

/// A seed that this run ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Seeded {
    /// The file.
    pub path: String,
    /// Lower-case hexadecimal SHA-256 of its text.
    pub sha256: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// Statements of one kind that `execute` ran, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Executed {
    /// Their command, by their first words.
    pub command: String,
    /// How many they were.
    pub statements: u64,
    /// How many rows they returned or changed; none for commands that know of none.
    pub rows: Option<u64>,
}

/// The rows of `execute`, in a file or in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Written {
    /// The path, or `s3://bucket/key`.
    pub place: String,
    /// How many rows.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Outcome {
    /// The outcome of a run that has just begun.
    pub fn new(verb: &'static str, run_id: String) -> Outcome {
        Outcome {
            version: VERSION,
            program_version: env!("CARGO_PKG_VERSION").into(),
            run_id,
            verb: verb.into(),
            result: "".into(),
            exit_code: Exit::Unexpected,
            started_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            duration_ms: 0,
            event_id: None,
            task: None,
            artifact: None,
            database: None,
            applied: Vec::new(),
            pending: Vec::new(),
            migrations: Vec::new(),
            running: None,
            plan: None,
            hazards: Vec::new(),
            recovered: Vec::new(),
            resolved: Vec::new(),
            adopted: Vec::new(),
            seeded: None,
            drift: Vec::new(),
            schema: None,
            executed: Vec::new(),
            written: None,
            warnings: Vec::new(),
            failure: None,
            omitted: BTreeMap::new(),
        }
    }

    /// Closes it.
    pub fn end(&mut self, result: Result<Exit, Failure>, took: Duration) {
        self.duration_ms = millis(took);
        self.exit_code = match result {
            Ok(exit) => exit,
            Err(failure) => {
                let exit = failure.exit;
                self.failure = Some(failure);
                exit
            }
        };
        let result = match (self.exit_code, &*self.verb) {
            (Exit::Success, "upload") => match self.artifact.as_ref().map(|artifact| &artifact.origin) {
                Some(Origin::S3 { .. }) => "uploaded",
                _ => "packed",
            },
            (Exit::Success, "drift") => "no_drift",
            (Exit::Success, "resolve" | "baseline" | "adopt") => "resolved",
            // What was executed stays so, wherever its rows are.
            (Exit::Success | Exit::Report, "execute") => "executed",
            (Exit::Success, "plan") if !self.pending.is_empty() => "planned",
            (Exit::Success, _) if self.applied.is_empty() && self.seeded.is_none() => "up_to_date",
            (Exit::Success, _) => "applied",
            (Exit::Detached, _) => "detached",
            (Exit::Pending, _) => "pending",
            (Exit::Drift, _) => "drift",
            _ => "failed",
        };
        self.result = result.into();
    }
}

impl Outcome {
    /// What it came to, in one sentence on one line.
    pub fn sentence(&self) -> String {
        let verb = &self.verb;
        if let Some(failure) = &self.failure {
            let what = failure.summary();
            let what: Vec<&str> = what.split_whitespace().collect();
            return format!("{verb} failed: {}", what.join(" "));
        }
        let migrations = |number: usize| count(number, "migration", "migrations");
        let said = match &*self.result {
            "applied" if self.applied.is_empty() => "the seed was run".to_owned(),
            "applied" => format!("{} applied", migrations(self.applied.len())),
            "pending" | "planned" => format!("{} pending", migrations(self.pending.len())),
            "drift" => count(self.drift.len(), "difference", "differences"),
            word => word.replace('_', " "),
        };
        format!("{verb}: {said}")
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the JSON document; fields that only a newer program knows are passed over.
///
/// # Errors
/// It is no such document, or holds a word that this program does not know: serde's own words.
#[cfg(feature = "client")]
pub fn read(json: &[u8]) -> Result<Outcome, serde_json::Error> {
    let mut outcome: Outcome = serde_json::from_slice(json)?;
    if outcome.version != VERSION {
        return Err(serde::de::Error::custom(format!(
            "version {} of the format",
            outcome.version
        )));
    }
    if let Some(failure) = &mut outcome.failure {
        failure.exit = outcome.exit_code;
    }
    if !outcome.omitted.is_empty() {
        let lists = outcome.omitted.iter().map(|(path, more)| format!("{more} of {path}"));
        outcome.warnings.push(format!(
            "the task's log leaves out {}: its report has them",
            lists.collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(outcome)
}

#[cfg(feature = "client")]
fn known_exit_code<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Exit, D::Error> {
    let code = <u8 as serde::Deserialize>::deserialize(deserializer)?;
    Exit::of(code.into()).ok_or_else(|| serde::de::Error::custom(format!("unknown exit code {code}")))
}

fn exit_code<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(exit.code())
}
