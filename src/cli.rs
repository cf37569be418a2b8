//! The command line: verbs and flags, and the variables that stand for them.

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod completions;
mod flags;
mod help;
mod value;
mod words;

use crate::exit::Exit;
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
#[cfg(feature = "client")]
pub use client::*;
use flags::EXECUTE_EXAMPLES;
pub use flags::*;
use std::ffi::OsString;
use std::fmt::Write as _;

/// Applies Prisma migrations to PostgreSQL and reports the result.
///
/// It reads the migrations from a prisma.zip in S3, a local zip file or a folder, compares them with _prisma_migrations, and applies the pending ones. Each
/// migration commits together with its row. Without a command it deploys.
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
    /// Show what deploy would do: pending migrations, their locks and hazards; writes nothing
    Plan(PlanArgs),
    /// Show what is applied, pending and failed; writes nothing
    Status(StatusArgs),
    /// Correct _prisma_migrations after a failure, when only you know what the database contains
    Resolve(ResolveArgs),
    /// Adopt an existing database: record the migrations that it already has as applied
    Baseline(BaselineArgs),
    /// Rewrite a _prisma_migrations that another program wrote as Prisma would have written it
    Adopt(AdoptArgs),
    /// Show what was changed in the schema outside migrations since an earlier run
    Drift(DriftArgs),
    /// Run SQL in one transaction and print its rows; away from a terminal it is READ ONLY without --confirm
    #[command(after_help = EXECUTE_EXAMPLES)]
    Execute(ExecuteArgs),
}

/// Whether the command line asks for a run, as far as can be told before it is read.
pub fn is_run(arguments: &[OsString]) -> bool {
    match words::verb(arguments, &command()) {
        words::Verb::At(at) => Cli::command()
            .get_subcommands()
            .any(|verb| arguments[at] == verb.get_name()),
        // Whoever waits for the answer of a run is told what is wrong with its command.
        words::Verb::Left | words::Verb::Unknown(_) => true,
        words::Verb::Asked => false,
    }
}

/// All verbs that this build has.
fn command() -> Command {
    let command = Cli::command();
    #[cfg(feature = "client")]
    let command = with_client_verbs(command);
    command
}

/// Reads the command line and the variables of its flags.
///
/// # Errors
/// What clap has to say: wrong usage, or a request for help or the version, which is no error.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Asked, clap::Error> {
    let mut command = laid_out(with_variables(command(), variable).after_help(after_help()));
    let arguments = verb_first(arguments.into_iter().collect(), &mut command)?;
    let matches = command.try_get_matches_from_mut(arguments)?;
    #[cfg(feature = "client")]
    if let Some(shell) = completions::asked_for(&matches) {
        return Ok(Asked::Text(completions::script(shell, &mut command)));
    }
    #[cfg(feature = "client")]
    if let Some(verb) = client::asked_for(&matches) {
        let verb = verb.map_err(|error| error.format(&mut command))?;
        return Ok(Asked::Client(Box::new(verb)));
    }
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok(Asked::Run(Box::new(cli)))
}

/// With the client's verbs. The program's own description stays: they bring one along.
#[cfg(feature = "client")]
fn with_client_verbs(command: Command) -> Command {
    let (about, long) = (command.get_about().cloned(), command.get_long_about().cloned());
    let command = ClientVerb::augment_subcommands(command).subcommand(completions::verb());
    command
        .about(about.unwrap_or_default())
        .long_about(long.unwrap_or_default())
}

/// With what stands below each help broken into lines here: clap would lose the indent of a line that it breaks.
fn laid_out(command: Command) -> Command {
    let columns = help::columns();
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(text) => command.after_help(help::broken(&text, columns)),
        None => command,
    };
    let names: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, laid_out))
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// A run.
    Run(Box<Cli>),
    /// To do something with the task from outside.
    #[cfg(feature = "client")]
    Client(Box<ClientVerb>),
    /// To print this.
    Text(String),
}

/// Brings the verb to the front, wherever it stands, and puts `deploy` there where there is none: the container's command is mostly empty.
fn verb_first(mut arguments: Vec<OsString>, command: &mut Command) -> Result<Vec<OsString>, clap::Error> {
    match words::verb(&arguments, command) {
        words::Verb::At(at) => arguments[1..=at].rotate_right(1),
        words::Verb::Asked => {}
        words::Verb::Left => arguments.insert(arguments.len().min(1), "deploy".into()),
        words::Verb::Unknown(word) => return Err(words::no_verb(&word, command)),
    }
    Ok(arguments)
}

/// The flags without a variable: what is of one call alone, and what a pipeline's own variables are called too.
const WITHOUT_VARIABLE: [&str; 19] = [
    "help",
    "version",
    "applied",
    "rolled-back",
    "retry",
    "accept",
    "accept-all",
    "dry-run",
    "to",
    "file",
    "file-version-id",
    "output",
    "confirm",
    "stack",
    "stage",
    "app",
    "task",
    "version-id",
    "etag",
];

/// Gives each flag its variable: the flag in upper case with `_`. An empty variable counts as unset, so it is not offered to clap. What is of one call
/// alone has none, and neither has what a pipeline's own variables are called too (STACK, STAGE, APP): they must not choose the database.
fn with_variables(command: Command, variable: &dyn Fn(&str) -> Option<String>) -> Command {
    let command = command.mut_args(|argument| {
        let Some(long) = argument.get_long().filter(|long| !WITHOUT_VARIABLE.contains(long)) else {
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

/// Below the commands: what the environment says, what to type, and what the exit codes mean. A gap of two spaces is the edge of a column.
const HELP: &str = r#"The database, by one of these ways:
  DATABASE_URL   Prisma's connection string
  DIRECT_URL     beside it: used if the artifact says directUrl = env("DIRECT_URL")
  DB_HOST        with DB_USERNAME and DB_PASSWORD, and if need be DB_PORT (5432), DB_NAME (postgres), DB_SCHEMA, DB_CA_FILE and DB_CA
  DB_SECRET_ARN  a secret in Secrets Manager, as RDS makes it; DB_HOST, DB_PORT and DB_NAME override it
  DB_IAM_AUTH    true, with DB_HOST and DB_USERNAME: an RDS IAM token for each connection

The migrations, if SOURCE is not given:
  ARTIFACT_BUCKET             the bucket of prisma.zip
  PRISMA_ARTIFACT_KEY         its key
  PRISMA_ARTIFACT_VERSION_ID  exactly this version of it
  PRISMA_ARTIFACT_ETAG        exactly the object with this etag

Examples:
  prisma-migrate-task deploy s3://bucket/stack/CODE/app/prisma.zip
  prisma-migrate-task plan ./prisma
  prisma-migrate-task plan --check --fail-on table-rewrite,index-build ./prisma
  prisma-migrate-task status ./prisma
  prisma-migrate-task resolve --rolled-back 20260101000000_add_orders ./prisma
  prisma-migrate-task baseline --to 20260101000000_init ./prisma
  prisma-migrate-task execute 'SELECT count(*) FROM orders'

Exit codes:
"#;

fn after_help() -> String {
    let mut text = String::from(HELP);
    for (exit, meaning) in Exit::TABLE {
        let _ = writeln!(text, "  {:>3}  {meaning}", exit.code());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Limits;
    use std::time::Duration;

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
            asked => panic!("{asked:?}"),
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
    fn a_run_is_known_before_the_command_line_is_read() {
        let runs = |arguments: &[&str]| {
            let arguments: Vec<OsString> = ["prisma-migrate-task"]
                .iter()
                .chain(arguments)
                .map(Into::into)
                .collect();
            is_run(&arguments)
        };
        for arguments in [
            &[][..],
            &["./prisma"],
            &["--role", "wait", "./prisma"],
            &["statsu"],
            &["status"],
            &["--log-format", "text", "plan"],
            &["deploy", "--help"],
        ] {
            assert!(runs(arguments), "{arguments:?}");
        }
        for arguments in [
            &["--version"][..],
            &["-h"],
            &["help"],
            &["help", "deploy"],
            &["wait"],
            &["upload", "deploy"],
        ] {
            assert!(!runs(arguments), "{arguments:?}");
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn the_verbs_that_the_container_lacks_are_known_there() {
        let own = Cli::command();
        let command = command();
        let verbs = command.get_subcommands().map(Command::get_name);
        let more: Vec<&str> = verbs.filter(|verb| own.find_subcommand(verb).is_none()).collect();
        let mut known = words::CLIENT_VERBS;
        known.sort_unstable();
        let mut sorted = more.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, known);
    }

    #[cfg(feature = "client")]
    #[test]
    fn the_variables_of_a_pipeline_are_no_flags() {
        const THEIRS: [&str; 6] = ["STACK", "STAGE", "APP", "TASK", "VERSION_ID", "ETAG"];
        let variable = |name: &str| THEIRS.contains(&name).then(|| "theirs".to_owned());
        for verb in ["run", "wait", "upload"] {
            let command = with_variables(command(), &variable);
            let flags = command.find_subcommand(verb).unwrap().get_arguments();
            for flag in flags {
                assert!(flag.get_env().is_none(), "{verb}: {flag}");
            }
        }
    }

    #[test]
    fn help_is_no_deploy() {
        for ask in ["--help", "-h", "--version", "help"] {
            assert!(!parsed(&[ask], &[]).unwrap_err().use_stderr(), "{ask}");
        }
    }

    #[test]
    fn a_flags_value_is_no_verb() {
        let Verb::Deploy(args) = parsed(&["--role", "plan", "./p"], &[]).unwrap().verb else {
            panic!("no deploy")
        };
        assert_eq!(
            (args.connection.role.as_deref(), args.artifact.source.as_deref()),
            (Some("plan"), Some("./p"))
        );
        let error = parsed(&["statsu"], &[]).unwrap_err();
        assert!(error.use_stderr() && error.to_string().contains("status"), "{error}");
    }

    #[test]
    fn resolve_takes_exactly_one_of_its_two_flags() {
        assert!(parsed(&["resolve", "--applied", "a", "--rolled-back", "a"], &[]).is_err());
        assert!(parsed(&["resolve"], &[]).is_err());
        assert!(parsed(&["resolve", "--applied", "a", "./prisma"], &[]).is_ok());
    }

    #[test]
    fn the_limits_of_an_archive_have_their_defaults() {
        let Verb::Status(args) = parsed(&["status"], &[]).unwrap().verb else {
            panic!("no status")
        };
        assert_eq!(args.artifact.limits(), Limits::DEFAULT);
    }
}
