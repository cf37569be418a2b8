//! The flags of the container's verbs, in groups that verbs share.

use super::value::{duration, size};
use crate::artifact::Limits;
use crate::hazard::class::Class;
use crate::resolve::Resolution;
use clap::builder::{BoolishValueParser, Resettable};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `deploy`.
#[derive(Args, Clone, Debug)]
pub struct DeployArgs {
    #[command(flatten, next_help_heading = "Migrations")]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    #[command(flatten, next_help_heading = "Database")]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Locks")]
    #[allow(missing_docs)]
    pub lock: LockArgs,
    #[command(flatten, next_help_heading = "What is applied and refused")]
    #[allow(missing_docs)]
    pub policy: PolicyArgs,
    /// SQL to run once, after the first successful deploy to a database [default: seed.sql beside the migrations folder]
    #[arg(long, value_name = "FILE", help_heading = "Seed and drift")]
    pub seed: Option<PathBuf>,
    /// Compare the schema with the report of --since first; if it was changed outside migrations, warn or refuse
    #[arg(long, value_name = "ACTION", requires = "since", help_heading = "Seed and drift")]
    pub check_drift: Option<CheckDrift>,
    /// The report of an earlier run for --check-drift: a file or s3://bucket/key
    #[arg(
        long,
        value_name = "REPORT",
        requires = "check_drift",
        help_heading = "Seed and drift"
    )]
    pub since: Option<String>,
    #[command(flatten, next_help_heading = "Locks")]
    #[allow(missing_docs)]
    pub work: WorkArgs,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// How migrations are run.
#[derive(Args, Clone, Debug)]
pub struct WorkArgs {
    /// How long a statement waits for a table lock before its migration is rolled back and tried again; 0: no limit
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub lock_timeout: Duration,
    /// How long to keep trying a migration while other sessions hold its locks
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub lock_retry_for: Duration,
    #[command(flatten, next_help_heading = "Time")]
    #[allow(missing_docs)]
    pub time: TimeArgs,
}

/// What is said of long work, and how long it may take.
#[derive(Args, Clone, Debug)]
pub struct TimeArgs {
    /// How often to report the progress of a running migration, and which sessions block it
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub progress_every: Duration,
    /// Stop after this time, as on SIGTERM
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_duration: Option<Duration>,
    /// How long a stop may take; keep it below the task's stopTimeout
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
    #[command(flatten, next_help_heading = "Migrations")]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    /// Exit with 10 if migrations are pending
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub check: bool,
    #[command(flatten, next_help_heading = "What is applied and refused")]
    #[allow(missing_docs)]
    pub policy: PolicyArgs,
    #[command(flatten, next_help_heading = "Database")]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Flags of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten, next_help_heading = "Migrations")]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    #[command(flatten, next_help_heading = "Database")]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Flags of `resolve`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "prisma-migrate-task resolve --applied NAME [OPTIONS] [SOURCE]
       prisma-migrate-task resolve --rolled-back NAME [OPTIONS] [SOURCE]
       prisma-migrate-task resolve --retry NAME [OPTIONS] [SOURCE]
       prisma-migrate-task resolve --accept NAME [OPTIONS] [SOURCE]
       prisma-migrate-task resolve --accept-all [OPTIONS] [SOURCE]")]
#[group(id = "resolution", required = true, multiple = false, args = ["applied", "rolled_back", "retry", "accept", "accept_all"])]
pub struct ResolveArgs {
    #[command(flatten, next_help_heading = "Migrations")]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    /// Record this migration as applied, because the database has it; can be repeated
    #[arg(long, value_name = "NAME")]
    pub applied: Vec<String>,
    /// Record this failed migration as rolled back, because the database has none of it; the next deploy runs it again
    #[arg(long, value_name = "NAME")]
    pub rolled_back: Option<String>,
    /// Go on with this failed migration at the statement that failed, because that statement changed nothing
    #[arg(long, value_name = "NAME")]
    pub retry: Option<String>,
    /// Take the checksum of this edited file into _prisma_migrations, because the change was made on purpose; can be repeated
    #[arg(long, value_name = "NAME")]
    pub accept: Vec<String>,
    /// The same for every edited migration
    #[arg(long)]
    pub accept_all: bool,
    /// Report what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten, next_help_heading = "Database")]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Locks")]
    #[allow(missing_docs)]
    pub lock: LockArgs,
    #[command(flatten, next_help_heading = "Locks")]
    #[allow(missing_docs)]
    pub work: WorkArgs,
    #[command(flatten, next_help_heading = "Output")]
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
    #[command(flatten, next_help_heading = "Migrations")]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    /// The last migration that the database already has: it and all before it are recorded as applied, and none is run
    #[arg(long, value_name = "NAME", required = true)]
    pub to: String,
    #[command(flatten, next_help_heading = "Database")]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Locks")]
    #[allow(missing_docs)]
    pub lock: LockArgs,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Flags of `adopt`.
#[derive(Args, Clone, Debug)]
pub struct AdoptArgs {
    #[command(flatten, next_help_heading = "Migrations")]
    #[allow(missing_docs)]
    pub artifact: ArtifactArgs,
    /// Make the changes; without it they are only shown
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub confirm: bool,
    #[command(flatten, next_help_heading = "Database")]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Locks")]
    #[allow(missing_docs)]
    pub lock: LockArgs,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Flags of `execute`.
#[derive(Args, Clone, Debug)]
pub struct ExecuteArgs {
    /// The SQL; `-`, or no argument away from a terminal, reads standard input
    #[arg(value_name = "SQL", conflicts_with = "file")]
    pub sql: Option<String>,
    /// Read the SQL from this file or from s3://bucket/key
    #[arg(long, value_name = "FILE")]
    pub file: Option<String>,
    /// Read exactly this version of the S3 object of --file
    #[arg(long, value_name = "VERSION-ID", requires = "file")]
    pub file_version_id: Option<String>,
    /// Write the rows to this file or to s3://bucket/key; it appears only if everything succeeded
    #[arg(long, value_name = "PLACE")]
    pub output: Option<String>,
    /// The format of the rows [default: table on a terminal or with --log-format text, csv for an --output that ends in .csv, else json]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Allow writes; at a terminal they are allowed without it
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub confirm: bool,
    /// Allow no writes, at a terminal too
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub read_only: bool,
    /// Commit each statement separately, and stop at the first that fails; for VACUUM and whatever else cannot run in a transaction
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub no_transaction: bool,
    #[command(flatten, next_help_heading = "Database")]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    /// How long a statement waits for a table lock before it fails; 0: no limit
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub lock_timeout: Duration,
    #[command(flatten, next_help_heading = "Time")]
    #[allow(missing_docs)]
    pub time: TimeArgs,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub said: OutputArgs,
}

pub(super) const EXECUTE_EXAMPLES: &str = "Examples:
  prisma-migrate-task execute 'SELECT count(*) FROM orders'
  prisma-migrate-task execute --confirm --file fix.sql
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
    /// The report of an earlier run: a file or s3://bucket/key
    #[arg(long, value_name = "REPORT", required = true)]
    pub since: String,
    #[command(flatten, next_help_heading = "Database")]
    #[allow(missing_docs)]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Output")]
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
    #[arg(value_name = "SOURCE", help_heading = Resettable::Reset)]
    pub source: Option<String>,
    /// The migrations folder inside SOURCE, if it is not found automatically
    #[arg(long, value_name = "PATH")]
    pub migrations_path: Option<String>,
    /// The largest file to read from a zip, decompressed
    #[arg(help_heading = "Limits of a zip", long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub max_entry_size: u64,
    /// The most to read from a zip in all, decompressed; it is held in memory
    #[arg(help_heading = "Limits of a zip", long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub max_total_size: u64,
    /// How many times its compressed size a file of more than 1 MiB may have, decompressed
    #[arg(help_heading = "Limits of a zip", long, value_name = "N", default_value_t = Limits::DEFAULT.ratio)]
    pub max_ratio: u64,
    /// How many entries a zip may have, including node_modules
    #[arg(help_heading = "Limits of a zip", long, value_name = "N", default_value_t = Limits::DEFAULT.entries)]
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
    /// How long to wait for a database that is starting or not reachable yet
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// SET ROLE to this role; it then owns everything that the migrations create. The user must be a member of it
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
    /// Accept a pooler that keeps sessions, such as PgBouncer in session mode
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub allow_pooler: bool,
}

/// Which of the pending migrations are applied, and what is refused.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// Apply the pending migrations up to and including this one
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    /// Apply all pending migrations in one transaction: all or none. Refused if one of them cannot share a transaction
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub all_or_nothing: bool,
    /// Refuse late, missing and edited migrations; without it they are warnings
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub strict: bool,
    /// Refuse (exit 24) pending migrations that have hazards of these classes; can be repeated
    #[arg(long, value_name = "HAZARD", value_delimiter = ',')]
    pub fail_on: Vec<Class>,
    /// The size from which a table's rewrite, scan, index build or data change is a hazard
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub large_table: u64,
}

/// The migration lock.
#[derive(Args, Clone, Debug)]
pub struct LockArgs {
    /// How long to wait for the migration lock if another run holds it; 0: do not wait
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub lock_wait: Duration,
    /// If the backend of an earlier run of this program holds the migration lock, terminate it
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub terminate_orphan: bool,
}

/// What is said, and how.
#[derive(Args, Clone, Debug)]
pub struct OutputArgs {
    /// Print the outcome as JSON, whatever the format of the log
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub json: bool,
    /// Write the outcome as JSON to this file or to s3://bucket/key
    #[arg(long, value_name = "REPORT")]
    pub report: Option<String>,
    /// Without --report: write it to KEY/VERSION-OR-ETAG/RUN-ID.json below this s3://bucket/prefix
    #[arg(long, value_name = "S3-PREFIX")]
    pub report_prefix: Option<String>,
    /// Write CloudWatch metrics (EMF) to the log: duration, number of applied migrations, exit code
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub metrics: bool,
    /// The format of the log: text, or one JSON object per line [default: text on a terminal, else json]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// The least severe level to show
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
