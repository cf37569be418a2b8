//! The command line: verbs and flags, and the variables that stand for them.

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod completions;
mod flags;
mod value;

use crate::exit::Exit;
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
#[cfg(feature = "client")]
pub use client::*;
use flags::EXECUTE_EXAMPLES;
pub use flags::*;
use std::ffi::OsString;
use std::fmt::Write as _;

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

/// The verbs of a run.
const RUNS: [&str; 8] = [
    "deploy", "plan", "status", "resolve", "baseline", "adopt", "drift", "execute",
];
/// The words that are no run.
const NO_RUNS: [&str; 5] = ["run", "wait", "upload", "completions", "help"];
/// The flags that ask for a text where there is no verb.
const ASKS: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// Whether the command line asks for a run, as far as can be told before it is read.
pub fn is_run(arguments: &[OsString]) -> bool {
    let is = |argument: &OsString, words: &[&str]| words.iter().any(|word| argument == word);
    let mut verbs = arguments.iter().skip(1);
    match verbs.find(|argument| is(argument, &RUNS) || is(argument, &NO_RUNS)) {
        Some(verb) => is(verb, &RUNS),
        None => !arguments.iter().any(|argument| is(argument, &ASKS)),
    }
}

/// Reads the command line and the variables of its flags.
///
/// # Errors
/// What clap has to say: wrong usage, or a request for help or the version, which is no error.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Asked, clap::Error> {
    let command = Cli::command();
    #[cfg(feature = "client")]
    let command = ClientVerb::augment_subcommands(command).subcommand(completions::verb());
    let mut command = with_variables(command, variable).after_help(after_help());
    let arguments = verb_first(arguments.into_iter().collect(), &command);
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
fn verb_first(mut arguments: Vec<OsString>, command: &Command) -> Vec<OsString> {
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
    match verb {
        Some(at) => arguments[1..=at].rotate_right(1),
        None if arguments.iter().any(|argument| ASKS.iter().any(|ask| argument == ask)) => {}
        None => arguments.insert(arguments.len().min(1), "deploy".into()),
    }
    arguments
}

/// Gives each flag its variable: the flag in upper case with `_`. An empty variable counts as unset, so it is not offered to clap. What is of one call
/// alone has none, and neither has what a pipeline's own variables are called too (STACK, STAGE, APP): they must not choose the database.
fn with_variables(command: Command, variable: &dyn Fn(&str) -> Option<String>) -> Command {
    let command = command.mut_args(|argument| {
        let Some(long) = argument.get_long().filter(|long| {
            !matches!(
                *long,
                "help"
                    | "version"
                    | "applied"
                    | "rolled-back"
                    | "retry"
                    | "to"
                    | "file"
                    | "file-version-id"
                    | "output"
                    | "confirm"
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
         DB_HOST, DB_USERNAME, DB_PASSWORD   and DB_PORT (5432), DB_NAME (postgres), DB_SCHEMA, DB_CA_FILE, DB_CA; or\n  \
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
        let command = Cli::command();
        #[cfg(feature = "client")]
        let command = ClientVerb::augment_subcommands(command).subcommand(completions::verb());
        for verb in command.get_subcommands().map(Command::get_name) {
            assert!(RUNS.contains(&verb) != NO_RUNS.contains(&verb), "{verb}");
            assert_eq!(
                RUNS.contains(&verb),
                Cli::command().find_subcommand(verb).is_some(),
                "{verb}"
            );
        }
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
    fn the_limits_of_an_archive_have_their_defaults() {
        let Verb::Status(args) = parsed(&["status"], &[]).unwrap().verb else {
            panic!("no status")
        };
        assert_eq!(args.artifact.limits(), Limits::DEFAULT);
    }
}
