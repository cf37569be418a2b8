//! The command line: verbs and flags, and the variables that stand for them.

use crate::artifact::Limits;
use crate::exit::Exit;
use crate::hazard::class::Class;
use clap::builder::BoolishValueParser;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// Applies Prisma migrations to PostgreSQL and says what came of it.
///
/// Reads the migrations out of a prisma.zip in S3 (or a local zip file or folder), compares them with _prisma_migrations, and applies the pending
/// ones, each together with its row in the ledger. Without a verb it deploys.
#[derive(Debug, Parser)]
#[command(
    name = "prisma-migrate-task",
    version,
    override_usage = "prisma-migrate-task [COMMAND] [SOURCE] [OPTIONS]"
)]
pub struct Cli {
    /// What to do; without it: deploy.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Apply the pending migrations
    Deploy(DeployArgs),
    /// Say what deploy would do: the pending migrations, their locks, their hazards; writes nothing
    Plan(PlanArgs),
    /// Say what is applied, pending and failed; writes nothing
    Status(StatusArgs),
    /// Correct the ledger by hand: say that a migration is applied, or rolled back, or to be run on from where it stopped
    Resolve(ResolveArgs),
    /// Take a database under management that has its tables already: record the migrations that it holds as applied
    Baseline(BaselineArgs),
    /// Make of a ledger that other programs wrote what Prisma would have written
    Adopt(AdoptArgs),
    /// Say what was changed in the schema outside migrations since an earlier run
    Drift(DriftArgs),
    /// Run SQL and print what it yields: as one transaction, and READ ONLY away from a terminal until --confirm is given
    #[command(after_help = EXECUTE_EXAMPLES)]
    Execute(ExecuteArgs),
}

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
    /// How often to say how far a running migration is, and who is in its way
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub progress_every: Duration,
    /// After how long the run stops by itself, as on SIGTERM
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_duration: Option<Duration>,
    /// How long the run may take to stop: less than the task's stopTimeout
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration)]
    pub stop_within: Duration,
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
#[group(id = "resolution", required = true, multiple = false, args = ["applied", "rolled_back", "retry"])]
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
    /// Read the SQL from this file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How rows are printed [default: table on a terminal and with --log-format text, json elsewhere]
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
    /// How often to say how far a running statement is, and who is in its way
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub progress_every: Duration,
    /// After how long the run stops by itself, as on SIGTERM
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_duration: Option<Duration>,
    /// How long the run may take to stop: less than the task's stopTimeout
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration)]
    pub stop_within: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

const EXECUTE_EXAMPLES: &str = "Examples:
  prisma-migrate-task execute 'SELECT count(*) FROM orders'
  prisma-migrate-task execute --confirm --file mend.sql
  prisma-migrate-task execute --format csv 'SELECT * FROM orders' > orders.csv
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
    /// s3://bucket/key of a prisma.zip, or a local zip file or folder [default: s3://$ARTIFACT_BUCKET/$PRISMA_ARTIFACT_KEY]
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

/// Reads the command line and the variables of its flags.
///
/// # Errors
/// What clap has to say: wrong usage, or a request for help or the version, which is no error.
pub fn parse(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Asked, clap::Error> {
    let command = Cli::command();
    #[cfg(feature = "client")]
    let command = command.subcommand(completions::verb());
    let mut command = with_variables(command, variable).after_help(after_help());
    let arguments = verb_first(arguments.into_iter().collect(), &command);
    let matches = command.try_get_matches_from_mut(arguments)?;
    #[cfg(feature = "client")]
    if let Some(shell) = completions::asked_for(&matches) {
        return Ok(Asked::Text(completions::script(shell, &mut command)));
    }
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok(Asked::Run(Box::new(cli)))
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// A run.
    Run(Box<Cli>),
    /// To print this.
    Text(String),
}

/// The script by which a shell completes verbs and flags.
#[cfg(feature = "client")]
mod completions {
    use clap::{Arg, ArgMatches, Command, value_parser};
    use clap_complete::{Shell, generate};

    const VERB: &str = "completions";

    /// The verb.
    pub(super) fn verb() -> Command {
        let shell = Arg::new("shell").value_name("SHELL").required(true);
        Command::new(VERB)
            .about("Print the script by which a shell completes verbs and flags")
            .arg(shell.value_parser(value_parser!(Shell)).help("The shell"))
    }

    pub(super) fn asked_for(matches: &ArgMatches) -> Option<Shell> {
        matches.subcommand_matches(VERB)?.get_one::<Shell>("shell").copied()
    }

    pub(super) fn script(shell: Shell, command: &mut Command) -> String {
        let mut script = Vec::new();
        let name = command.get_name().to_owned();
        generate(shell, command, name, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

/// Brings the verb to the front, wherever it stands, and puts `deploy` there where there is none: the container's command is mostly empty.
fn verb_first(mut arguments: Vec<std::ffi::OsString>, command: &Command) -> Vec<std::ffi::OsString> {
    let names: Vec<&str> = command
        .get_subcommands()
        .map(Command::get_name)
        .chain(["help"])
        .collect();
    let verb = arguments
        .iter()
        .skip(1)
        .position(|argument| names.iter().any(|name| argument == name))
        .map(|at| at + 1);
    let asks = ["-h", "--help", "-V", "--version"];
    match verb {
        Some(at) => arguments[1..=at].rotate_right(1),
        None if arguments.iter().any(|argument| asks.iter().any(|ask| argument == ask)) => {}
        None => arguments.insert(arguments.len().min(1), "deploy".into()),
    }
    arguments
}

/// Gives each flag its variable: the flag in upper case with `_`. An empty variable counts as unset, so it is not offered to clap.
fn with_variables(command: Command, variable: &dyn Fn(&str) -> Option<String>) -> Command {
    let command = command.mut_args(|argument| {
        let Some(long) = argument.get_long().filter(|long| {
            !matches!(
                *long,
                "help" | "version" | "applied" | "rolled-back" | "retry" | "to" | "file" | "confirm"
            )
        }) else {
            return argument;
        };
        let name = long.to_uppercase().replace('-', "_");
        let help = argument.get_help().map(|help| format!("{help} [env: {name}]"));
        let argument = match help {
            Some(help) => argument.help(help),
            None => argument,
        };
        match variable(&name) {
            Some(_) => argument.env(name).hide_env(true),
            None => argument,
        }
    });
    let names: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |verb| with_variables(verb, variable))
    })
}

fn after_help() -> String {
    let mut text = String::from(
        "The database:\n  DATABASE_URL                     Prisma's connection string, or\n  \
         DB_HOST, DB_USERNAME, DB_PASSWORD   and DB_PORT (5432), DB_NAME (postgres), DB_SCHEMA, DB_CA_FILE; or\n  \
         DB_SECRET_ARN                    a secret in Secrets Manager, as RDS has it; DB_HOST, DB_PORT, DB_NAME win over it; or\n  \
         DB_IAM_AUTH=true                 with DB_HOST and DB_USERNAME: an RDS IAM token for each connection\n\n\
         The artifact:\n  ARTIFACT_BUCKET, PRISMA_ARTIFACT_KEY   where SOURCE is not given\n  \
         PRISMA_ARTIFACT_VERSION_ID, PRISMA_ARTIFACT_ETAG   exactly that version of the object\n\n\
         Examples:\n  prisma-migrate-task deploy s3://bucket/stack/CODE/app/prisma.zip\n  \
         prisma-migrate-task plan ./prisma\n  \
         prisma-migrate-task plan --check --fail-on table-rewrite,index-build s3://bucket/stack/CODE/app/prisma.zip\n  \
         prisma-migrate-task status ./prisma\n  \
         prisma-migrate-task resolve --rolled-back 20260101000000_add_orders ./prisma\n  \
         prisma-migrate-task baseline --to 20260101000000_init ./prisma\n  \
         prisma-migrate-task execute 'SELECT count(*) FROM orders'\n\n\
         Exit codes:\n",
    );
    for (exit, meaning) in Exit::TABLE {
        let _ = writeln!(text, "  {:>3}  {meaning}", exit.code());
    }
    text
}

/// `15m`, `90s`, `1h 30m`, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    humantime::parse_duration(text)
        .map_err(|_| "give a duration such as 90s, 15m or 2h, or a number of seconds".to_owned())
}

/// `64MiB`, `1 GiB`, `500kB`, or a number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = factor.and_then(|factor: u64| number.parse::<u64>().ok()?.checked_mul(factor));
    bytes.ok_or_else(|| "give a size such as 64MiB, 1GiB or 500kB, or a number of bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Cli, clap::Error> {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let variable = move |name: &str| {
            variables
                .iter()
                .find(|(n, value)| n == name && !value.is_empty())
                .map(|(_, value)| value.clone())
        };
        let arguments = std::iter::once("prisma-migrate-task")
            .chain(arguments.iter().copied())
            .map(Into::into);
        parse(arguments, &variable).map(|asked| match asked {
            Asked::Run(cli) => *cli,
            Asked::Text(text) => panic!("{text}"),
        })
    }

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_verb_it_deploys() {
        let Verb::Deploy(args) = parsed(&[], &[]).unwrap().verb else {
            panic!("no deploy")
        };
        assert_eq!(args.lock.lock_wait, Duration::from_secs(900));
        let Verb::Deploy(args) = parsed(&["--strict", "./prisma"], &[]).unwrap().verb else {
            panic!("no deploy")
        };
        assert!(args.policy.strict && args.artifact.source.as_deref() == Some("./prisma"));
    }

    #[test]
    fn the_verb_may_stand_behind_flags() {
        let Verb::Status(args) = parsed(&["--log-format", "text", "status", "x"], &[]).unwrap().verb else {
            panic!("no status")
        };
        assert_eq!(
            (args.output.log_format, args.artifact.source.as_deref()),
            (Some(LogFormat::Text), Some("x"))
        );
    }

    #[test]
    fn help_is_no_deploy() {
        for ask in ["--help", "-h", "--version", "help"] {
            assert!(!parsed(&[ask], &[]).unwrap_err().use_stderr(), "{ask}");
        }
    }

    #[test]
    fn resolve_takes_exactly_one_of_its_two_flags() {
        assert!(parsed(&["resolve", "--applied", "a", "--rolled-back", "a"], &[]).is_err());
        assert!(parsed(&["resolve"], &[]).is_err());
        assert!(parsed(&["resolve", "--applied", "a", "./prisma"], &[]).is_ok());
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("0", 0), ("90", 90), ("15m", 900), ("1h 30m", 5400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-1"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let sizes = [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("1 gib", 1 << 30),
            ("500kB", 500_000),
        ];
        for (text, bytes) in sizes {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "much", "-1", "1.5GiB", "1TiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_limits_of_an_archive_have_their_defaults() {
        let Verb::Status(args) = parsed(&["status"], &[]).unwrap().verb else {
            panic!("no status")
        };
        assert_eq!(args.artifact.limits(), Limits::DEFAULT);
    }
}
