//! The flags of the container's verbs, in groups that verbs share.

use super::value::{duration, size};
use crate::artifact::Limits;
use crate::hazard::class::Class;
use crate::resolve::Resolution;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `deploy`.
#[derive(Args, Clone, Debug)]
pub struct DeployArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub lock: LockArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub policy: PolicyArgs,
    /// SQL to run once, after the first deploy to this database has succeeded [default: seed.sql beside the migrations folder]
    #[arg(long, value_name = "FILE")]
    pub seed: Option<PathBuf>,
    /// Before anything is applied, compare the schema with the report of --since, and warn of what was changed outside migrations, or refuse
    #[arg(long, value_name = "ACTION", requires = "since")]
    pub check_drift: Option<CheckDrift>,
    /// The report of an earlier run for --check-drift: a file, or s3://bucket/key
    #[arg(long, value_name = "REPORT", requires = "check_drift")]
    pub since: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub work: WorkArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// How migrations are run.
#[derive(Args, Clone, Debug)]
pub struct WorkArgs {
    /// How long a statement waits for a lock on a table before its migration is rolled back and tried again; 0: for ever
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub lock_timeout: Duration,
    /// How long a migration is tried again while other sessions hold its locks
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub lock_retry_for: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub time: TimeArgs,
}

/// What is said of long work, and how long it may take.
#[derive(Args, Clone, Debug)]
pub struct TimeArgs {
    /// How often to say how far a running migration or statement is, and who is in its way
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub progress_every: Duration,
    /// After how long the run stops by itself, as on SIGTERM
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_duration: Option<Duration>,
    /// How long the run may take to stop: less than the task's stopTimeout
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration)]
    pub stop_within: Duration,
}

impl TimeArgs {
    /// After how long the run stops by itself, and how long that may take.
    pub fn stop(&self) -> (Option<Duration>, Duration) {
        (self.max_duration, self.stop_within)
    }
}

/// Flags of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    /// Exit with 10 when something is pending
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub check: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Flags of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Flags of `resolve`.
#[derive(Args, Clone, Debug)]
#[group(id = "resolution", required = true, multiple = false, args = ["applied", "rolled_back", "retry", "accept", "accept_all"])]
pub struct ResolveArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    /// The migration is in the database: record it as applied; may be given several times
    #[arg(long, value_name = "NAME")]
    pub applied: Vec<String>,
    /// The failed migration is not in the database: record it as rolled back, so that the next deploy runs it again
    #[arg(long, value_name = "NAME")]
    pub rolled_back: Option<String>,
    /// The failed migration was sent statement by statement, and the one that it stopped at left nothing: run it on from there
    #[arg(long, value_name = "NAME")]
    pub retry: Option<String>,
    /// The applied migration was edited on purpose: take the new file's checksum into the ledger; may be given several times
    #[arg(long, value_name = "NAME")]
    pub accept: Vec<String>,
    /// The same for every edited migration
    #[arg(long)]
    pub accept_all: bool,
    /// Report what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub lock: LockArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub work: WorkArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

impl ResolveArgs {
    /// How the ledger is corrected: exactly one of the flags is given.
    pub fn resolution(&self) -> Resolution {
        match (&self.rolled_back, &self.retry) {
            (Some(name), _) => Resolution::RolledBack(name.clone()),
            (None, Some(name)) => Resolution::Retry(name.clone()),
            (None, None) if self.accept_all => Resolution::AcceptAll,
            (None, None) if !self.accept.is_empty() => Resolution::Accept(self.accept.clone()),
            (None, None) => Resolution::Applied(self.applied.clone()),
        }
    }
}

/// Flags of `baseline`.
#[derive(Args, Clone, Debug)]
pub struct BaselineArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    /// The last migration that the database holds: this one and all before it are recorded as applied, none is run
    #[arg(long, value_name = "NAME", required = true)]
    pub to: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub lock: LockArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Flags of `adopt`.
#[derive(Args, Clone, Debug)]
pub struct AdoptArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    /// Write; without it only what would be written is said
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub confirm: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub lock: LockArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Flags of `execute`.
#[derive(Args, Clone, Debug)]
pub struct ExecuteArgs {
    /// The SQL; `-`, or nothing away from a terminal: standard input
    #[arg(value_name = "SQL", conflicts_with = "file")]
    pub sql: Option<String>,
    /// Read the SQL from this file, or from an object s3://bucket/key
    #[arg(long, value_name = "FILE")]
    pub file: Option<String>,
    /// Exactly this version of the object that --file names
    #[arg(long, value_name = "VERSION-ID", requires = "file")]
    pub file_version_id: Option<String>,
    /// Write the rows to this file, or to an object s3://bucket/key; it is there once everything has succeeded, and not before
    #[arg(long, value_name = "PLACE")]
    pub output: Option<String>,
    /// How rows are written [default: table on a terminal and with --log-format text, csv in an --output of that ending, json elsewhere]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Let it write, which only a person at a terminal may do otherwise
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub confirm: bool,
    /// Let it write nothing, also on a terminal
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub read_only: bool,
    /// Commit each statement by itself, for what cannot run in a transaction, such as VACUUM; stop at the first that fails
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub no_transaction: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    /// How long a statement waits for a lock on a table before it fails; 0: for ever
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub lock_timeout: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub time: TimeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub said: OutputArgs,
}

pub(super) const EXECUTE_EXAMPLES: &str = "Examples:
  prisma-migrate-task execute 'SELECT count(*) FROM orders'
  prisma-migrate-task execute --confirm --file mend.sql
  prisma-migrate-task execute --format csv 'SELECT * FROM orders' > orders.csv
  prisma-migrate-task execute --file s3://bucket/report.sql --output s3://bucket/report.csv
  prisma-migrate-task execute --confirm --no-transaction 'VACUUM (ANALYZE) orders'";

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, as psql draws it.
    Table,
    /// One object a line and row.
    Json,
    /// As COPY writes it, with a heading.
    Csv,
}

/// Flags of `drift`.
#[derive(Args, Clone, Debug)]
pub struct DriftArgs {
    /// The report of an earlier run: a file, or s3://bucket/key
    #[arg(long, value_name = "REPORT", required = true)]
    pub since: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// What a deploy makes of drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckDrift {
    /// Says it and goes on.
    Warn,
    /// Applies nothing.
    Refuse,
}

/// Where the migrations are.
#[derive(Args, Clone, Debug, Default)]
pub struct ArtifactArgs {
    /// s3://bucket/key of a prisma.zip, or a local zip file or folder [default: s3://$ARTIFACT_BUCKET/$PRISMA_ARTIFACT_KEY, or the project in the working directory]
    #[arg(value_name = "SOURCE")]
    pub source: Option<String>,
    /// The migrations folder inside the source, where it is not found by itself
    #[arg(long, value_name = "PATH")]
    pub migrations_path: Option<String>,
    /// The largest file that is read out of a zip, inflated
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub max_entry_size: u64,
    /// The most that is read out of a zip in all, inflated: it is held in memory
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub max_total_size: u64,
    /// How many times its compressed size a file of more than 1 MiB may inflate to
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT.ratio)]
    pub max_ratio: u64,
    /// How many entries a zip may have, node_modules and all
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT.entries)]
    pub max_entries: u64,
}

impl ArtifactArgs {
    /// What an archive may cost.
    pub fn limits(&self) -> Limits {
        Limits {
            entry_bytes: self.max_entry_size,
            total_bytes: self.max_total_size,
            ratio: self.max_ratio,
            entries: self.max_entries,
        }
    }
}

/// How the database is reached.
#[derive(Args, Clone, Debug)]
pub struct ConnectionArgs {
    /// How long to wait for a database that is starting or cannot be reached yet
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// Work as this role, which then owns what the migrations make; the user must be a member of it
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
    /// Accept a pooler between, provided that it keeps sessions (PgBouncer in session mode)
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub allow_pooler: bool,
}

/// Which of the pending migrations are applied, and what is refused.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// Apply the pending migrations up to and including this one, and leave the later ones
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    /// Apply all pending migrations and their rows in one transaction, so that either all are applied or none; refused where one cannot share a transaction
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub all_or_nothing: bool,
    /// Refuse late, missing and edited migrations, which are only warned of otherwise
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub strict: bool,
    /// Refuse, with exit 24, pending migrations with hazards of these classes; may be given more than once
    #[arg(long, value_name = "HAZARD", value_delimiter = ',')]
    pub fail_on: Vec<Class>,
    /// From which size on a table's rewrite, scan, index build or change of rows is a hazard
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub large_table: u64,
}

/// The migration lock.
#[derive(Args, Clone, Debug)]
pub struct LockArgs {
    /// How long to wait for the migration lock, which another run may hold; 0: not at all
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub lock_wait: Duration,
    /// End the backend that holds the migration lock, where it is one of an earlier run of this program
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub terminate_orphan: bool,
}

/// What is said, and how.
#[derive(Args, Clone, Debug)]
pub struct OutputArgs {
    /// Print the outcome as JSON, whatever the log looks like
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub json: bool,
    /// Write the outcome as a JSON document to this file, or as an object s3://bucket/key
    #[arg(long, value_name = "REPORT")]
    pub report: Option<String>,
    /// Without --report: write the document below this s3://bucket/prefix, as KEY/VERSION-OR-ETAG/RUN-ID.json of the artifact
    #[arg(long, value_name = "S3-PREFIX")]
    pub report_prefix: Option<String>,
    /// Write duration, number of applied migrations and exit code to the log as CloudWatch metrics (EMF)
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub metrics: bool,
    /// Lines for people or one JSON object a line [default: text on a terminal, json elsewhere]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// The least severe lines of the log that are shown
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Severity of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}
