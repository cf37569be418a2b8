//! What the task is to do: the words behind `--`, checked by the program's own parser before a task is started for them.

use crate::cli::{self, Asked, Cli, ExecuteArgs, LogFormat, RunArgs, Verb};
use crate::execute::Input;
use crate::exit::Exit;
use crate::failure::Failure;
use clap::CommandFactory;
use std::ffi::OsString;
use std::io::IsTerminal;

/// What the container is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The verb.
    pub verb: String,
    /// Its flags, without the SQL of `execute`.
    pub flags: Vec<String>,
    /// The SQL of `execute`.
    pub sql: Option<String>,
    /// Whether the flags say where the report goes.
    pub has_report: bool,
}

impl Command {
    /// A verb with these flags.
    pub fn new(verb: &str, flags: &[&str]) -> Command {
        Command {
            verb: verb.to_owned(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            sql: None,
            has_report: false,
        }
    }

    /// Reads the command line, and for `execute` the file or standard input that it names.
    ///
    /// # Errors
    /// The words are none that the container would take.
    pub async fn of(args: &RunArgs) -> Result<Command, Failure> {
        if args.words.is_empty() {
            return Ok(Command::new(if args.confirm { "deploy" } else { "plan" }, &[]));
        }
        if args.snapshot.snapshot_before {
            return Err(usage(
                "--snapshot-before is for the deploy that --confirm alone starts",
                "leave out what stands behind --, or --snapshot-before",
            ));
        }
        let cli = parse(&args.words)?;
        let mut command = Command {
            flags: args.words[1..].to_vec(),
            has_report: output(&cli.verb).report.is_some(),
            ..Command::new(&args.words[0], &[])
        };
        if output(&cli.verb).log_format == Some(LogFormat::Text) {
            return Err(usage(
                "--log-format text behind -- would hide the outcome: the task's log is read here, and shown as text",
                "give --log-format before --",
            ));
        }
        if output(&cli.verb).log_format.is_some() {
            command.without("--log-format");
        }
        if let Verb::Execute(execute) = &cli.verb {
            command.take_sql(execute).await?;
        }
        let confirmed = match &cli.verb {
            Verb::Execute(execute) => Some(execute.confirm),
            Verb::Adopt(adopt) => Some(adopt.confirm),
            _ => None,
        };
        match confirmed {
            Some(false) if args.confirm => command.flags.insert(0, "--confirm".to_owned()),
            None if args.confirm => {
                return Err(usage(
                    &format!(
                        "--confirm stands for deploy where no verb is given, and {} knows none",
                        command.verb
                    ),
                    "leave out --confirm",
                ));
            }
            _ => {}
        }
        Ok(command)
    }

    /// The words as the container gets them, with this SQL: its log is JSON whatever its variables say, since it is read here.
    pub fn words(&self, report: Option<&str>, sql: Option<&Sql>, format: Option<&str>) -> Vec<String> {
        let mut words = vec![self.verb.clone(), "--log-format".to_owned(), "json".to_owned()];
        for (flag, value) in [("--report", report), ("--format", format)] {
            words.extend(value.iter().flat_map(|value| [flag.to_owned(), (*value).to_owned()]));
        }
        words.extend_from_slice(&self.flags);
        match sql {
            None => {}
            Some(Sql::Object(url)) => words.extend(["--file".to_owned(), url.clone()]),
            // SQL may begin with a dash, as a comment does.
            Some(Sql::Argument(sql)) => words.extend(["--".to_owned(), sql.clone()]),
        }
        words
    }

    /// Takes the SQL out of the flags, from wherever it is to be read.
    async fn take_sql(&mut self, args: &ExecuteArgs) -> Result<(), Failure> {
        if args.output.as_ref().is_some_and(|place| !place.starts_with("s3://")) {
            return Err(usage(
                "--output is no object in S3, and a file of the task is gone with it",
                "give --output s3://bucket/key, or leave it out: the rows come by the task's log then",
            ));
        }
        let input = match (&args.file, args.sql.as_deref()) {
            // An object is read by the task.
            (Some(file), _) if file.starts_with("s3://") => return Ok(()),
            (Some(file), _) => Input::File(file.into()),
            (None, Some(sql)) if sql != "-" => Input::Argument(sql.to_owned()),
            (None, None) if std::io::stdin().is_terminal() => {
                return Err(usage(
                    "nothing says what to execute",
                    "give SQL behind execute, with --file, or on standard input",
                ));
            }
            _ => Input::StandardInput,
        };
        if args.file.is_some() {
            self.without("--file");
        }
        if let Some(sql) = &args.sql {
            self.without_sql(sql, args);
        }
        self.sql = Some(input.read().await?);
        Ok(())
    }

    fn without(&mut self, flag: &str) {
        let Some(at) = self.flags.iter().position(|word| word.split('=').next() == Some(flag)) else {
            return;
        };
        let with_value = self.flags[at] == flag;
        self.flags
            .drain(at..(at + 1 + usize::from(with_value)).min(self.flags.len()));
    }

    /// The same word may be the value of a flag: the one is taken out without which all else means the same.
    fn without_sql(&mut self, sql: &str, args: &ExecuteArgs) {
        let meant = ExecuteArgs {
            sql: None,
            ..args.clone()
        };
        for at in (0..self.flags.len()).filter(|at| self.flags[*at] == sql) {
            let mut flags = self.flags.clone();
            flags.remove(at);
            flags.pop_if(|last| last == "--");
            let words: Vec<String> = std::iter::once(self.verb.clone()).chain(flags.clone()).collect();
            let same = parse(&words).is_ok_and(|cli| match cli.verb {
                Verb::Execute(rest) => without_logs(&rest) == without_logs(&meant),
                _ => false,
            });
            if same {
                self.flags = flags;
                return;
            }
        }
    }
}

/// How the SQL reaches the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sql {
    /// In its command.
    Argument(String),
    /// As this object, `s3://bucket/key`.
    Object(String),
}

/// What `--log-format` says is settled elsewhere.
fn without_logs(args: &ExecuteArgs) -> String {
    let mut args = args.clone();
    args.said.log_format = None;
    args.file = None;
    format!("{args:?}")
}

fn parse(words: &[String]) -> Result<Cli, Failure> {
    let verbs: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    if !verbs.contains(&words[0]) {
        return Err(usage(
            &format!("{:?} is not a command of the task", words[0]),
            &format!("begin what stands behind -- with one of {}", verbs.join(", ")),
        ));
    }
    let arguments = std::iter::once("prisma-migrate-task".to_owned()).chain(words.iter().cloned());
    match cli::parse(arguments.map(OsString::from), &|_| None) {
        Ok(Asked::Run(cli)) => Ok(*cli),
        Ok(_) => Err(usage(
            "what stands behind -- is for this side",
            "give a verb of the task",
        )),
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Err(usage(
                &format!("behind --: {first}"),
                &format!("see `prisma-migrate-task {} --help`; no task was started", words[0]),
            ))
        }
        Err(_) => Err(usage(
            "help is not worth a task",
            &format!("ask here: `prisma-migrate-task {} --help`", words[0]),
        )),
    }
}

fn output(verb: &Verb) -> &cli::OutputArgs {
    match verb {
        Verb::Deploy(args) => &args.output,
        Verb::Plan(args) => &args.output,
        Verb::Status(args) => &args.output,
        Verb::Resolve(args) => &args.output,
        Verb::Baseline(args) => &args.output,
        Verb::Adopt(args) => &args.output,
        Verb::Drift(args) => &args.output,
        Verb::Execute(args) => &args.said,
    }
}

fn usage(what: &str, next: &str) -> Failure {
    Failure::new(Exit::Usage, what, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Parser, Subcommand};

    #[derive(Debug, Parser)]
    struct Client {
        #[command(subcommand)]
        verb: Client2,
    }

    #[derive(Debug, Subcommand)]
    enum Client2 {
        Run(RunArgs),
    }

    fn command(words: &[&str]) -> Result<Command, Failure> {
        let words = ["client", "run"].iter().chain(words);
        let Client2::Run(args) = Client::try_parse_from(words).unwrap().verb;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Command::of(&args))
    }

    fn sent(words: &[&str]) -> String {
        let command = command(words).unwrap();
        let sql = command.sql.clone().map(Sql::Argument);
        command.words(None, sql.as_ref(), None).join(" ")
    }

    #[test]
    fn the_container_gets_what_was_meant() {
        let table: [(&[&str], &str); 10] = [
            (&[], "plan --log-format json"),
            (&["--confirm"], "deploy --log-format json"),
            (&["--", "status"], "status --log-format json"),
            (
                &["--confirm", "--", "adopt", "--", "s3://b/k"],
                "adopt --log-format json --confirm -- s3://b/k",
            ),
            (
                &["--", "plan", "--log-format", "json", "--check"],
                "plan --log-format json --check",
            ),
            (&["--", "execute", "SELECT 1"], "execute --log-format json -- SELECT 1"),
            (
                &["--", "execute", "a", "--role", "a"],
                "execute --log-format json --role a -- a",
            ),
            (
                &["--", "execute", "--role=a", "--", "-- x"],
                "execute --log-format json --role=a -- -- x",
            ),
            (
                &["--confirm", "--", "execute", "DELETE FROM a"],
                "execute --log-format json --confirm -- DELETE FROM a",
            ),
            (
                &["--", "execute", "--file", "s3://b/k.sql"],
                "execute --log-format json --file s3://b/k.sql",
            ),
        ];
        for (words, expected) in table {
            assert_eq!(sent(words), expected, "{words:?}");
        }
    }

    #[test]
    fn what_the_container_would_refuse_starts_nothing() {
        let table: [(&[&str], &str); 8] = [
            (&["--", "stauts"], "\"stauts\" is not a command of the task"),
            (&["--", "--strict"], "\"--strict\" is not a command of the task"),
            (&["--", "run"], "\"run\" is not a command of the task"),
            (
                &["--", "status", "--chek"],
                "behind --: unexpected argument '--chek' found",
            ),
            (
                &["--", "resolve"],
                "behind --: the following required arguments were not provided:",
            ),
            (&["--", "status", "--help"], "help is not worth a task"),
            (
                &["--confirm", "--", "plan"],
                "--confirm stands for deploy where no verb is given, and plan knows none",
            ),
            (
                &["--", "status", "--log-format", "text"],
                "--log-format text behind -- would hide the outcome",
            ),
        ];
        for (words, expected) in table {
            let failure = command(words).unwrap_err();
            assert!(failure.what.starts_with(expected), "{words:?}: {failure}");
            assert_eq!(failure.exit, Exit::Usage);
        }
    }
}
