//! How this program was called, and so how its commands have to be given to reach the same migrations and the same database: the one place where commands
//! are made that a reader pastes.

use crate::cli::{ArtifactArgs, Cli, ConnectionArgs, Verb};
use std::sync::OnceLock;

const PROGRAM: &str = "prisma-migrate-task";

/// What of the call a command has to repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Invocation {
    /// It is an ECS task: whoever reads its log has no way to the database but another task.
    on_ecs: bool,
    /// Flags that say where the migrations are, or as whom the run works.
    flags: Vec<String>,
    /// SOURCE, as it was given; none if variables say where it is.
    source: Option<String>,
}

/// Set once, before the run begins.
static THIS: OnceLock<Invocation> = OnceLock::new();

/// Keeps how this process was called. What variables say need not be repeated: they are still set.
pub fn start(cli: &Cli, variable: &dyn Fn(&str) -> Option<String>, on_ecs: bool) {
    // Set once; a second time (in a test) changes nothing.
    let _ = THIS.set(Invocation::of(cli, variable, on_ecs));
}

/// A command of this program, ready to be pasted: a verb with its flags, each word by itself.
pub fn command(words: &[&str]) -> String {
    THIS.get().unwrap_or(&Invocation::default()).command(words)
}

impl Invocation {
    fn of(cli: &Cli, variable: &dyn Fn(&str) -> Option<String>, on_ecs: bool) -> Invocation {
        let (artifact, connection): (Option<&ArtifactArgs>, &ConnectionArgs) = match &cli.verb {
            Verb::Deploy(args) => (Some(&args.artifact), &args.connection),
            Verb::Plan(args) => (Some(&args.artifact), &args.connection),
            Verb::Status(args) => (Some(&args.artifact), &args.connection),
            Verb::Resolve(args) => (Some(&args.artifact), &args.connection),
            Verb::Baseline(args) => (Some(&args.artifact), &args.connection),
            Verb::Adopt(args) => (Some(&args.artifact), &args.connection),
            Verb::Drift(args) => (None, &args.connection),
            Verb::Execute(args) => (None, &args.connection),
        };
        let mut flags = Vec::new();
        let path = artifact.and_then(|artifact| artifact.migrations_path.as_deref());
        let given = [
            ("--migrations-path", "MIGRATIONS_PATH", path),
            ("--role", "ROLE", connection.role.as_deref()),
        ];
        for (flag, name, value) in given {
            // A flag beats its variable.
            if let Some(value) = value.filter(|value| variable(name).as_deref() != Some(*value)) {
                flags.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        if connection.allow_pooler && variable("ALLOW_POOLER").is_none() {
            flags.push("--allow-pooler".to_owned());
        }
        Invocation {
            on_ecs,
            flags,
            source: artifact.and_then(|artifact| artifact.source.clone()),
        }
    }

    fn command(&self, words: &[&str]) -> String {
        let bare = self.flags.is_empty() && self.source.is_none();
        let mut said = PROGRAM.to_owned();
        match (self.on_ecs, words) {
            // The client's word for it.
            (true, ["deploy"]) if bare => return format!("{PROGRAM} run --confirm"),
            (true, _) => said.push_str(" run --"),
            (false, _) => {}
        }
        let flags = self.flags.iter().map(String::as_str);
        let mut after_flag = false;
        for word in words.iter().copied().chain(flags).chain(self.source.as_deref()) {
            let is_flag = word.starts_with("--");
            // A value that looks like a flag.
            let separator = if after_flag && word.starts_with('-') && !is_flag {
                "="
            } else {
                " "
            };
            said.push_str(separator);
            said.push_str(&quoted(word));
            after_flag = is_flag;
        }
        said
    }
}

/// A word as a shell has to be given it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Asked};

    fn of(words: &[&str], variables: &[(&str, &str)], on_ecs: bool) -> Invocation {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let words = std::iter::once("prisma-migrate-task").chain(words.iter().copied());
        let Asked::Run(cli) = cli::parse(words.map(Into::into), &variable).unwrap() else {
            panic!("no run")
        };
        Invocation::of(&cli, &variable, on_ecs)
    }

    #[test]
    fn a_command_reaches_what_this_run_reached() {
        let resolve = ["resolve", "--applied", "1_a"];
        for (call, variables, on_ecs, words, expected) in [
            (
                &["deploy", "./prisma"][..],
                &[][..],
                false,
                &resolve[..],
                "prisma-migrate-task resolve --applied 1_a ./prisma",
            ),
            (&["deploy"], &[], false, &["deploy"], "prisma-migrate-task deploy"),
            (
                &["plan", "./my app"],
                &[],
                false,
                &["deploy"],
                "prisma-migrate-task deploy './my app'",
            ),
            (
                &[
                    "deploy",
                    "--role",
                    "app",
                    "--migrations-path",
                    "db/it's",
                    "--allow-pooler",
                    "s3://b/k.zip",
                ],
                &[],
                false,
                &["status"],
                "prisma-migrate-task status --migrations-path 'db/it'\\''s' --role app --allow-pooler s3://b/k.zip",
            ),
            (
                &["deploy"],
                &[("ROLE", "app")],
                false,
                &["status"],
                "prisma-migrate-task status",
            ),
            (&["deploy"], &[], true, &["deploy"], "prisma-migrate-task run --confirm"),
            (
                &["deploy"],
                &[],
                true,
                &resolve,
                "prisma-migrate-task run -- resolve --applied 1_a",
            ),
            (
                &["deploy", "s3://b/k.zip"],
                &[],
                true,
                &["deploy"],
                "prisma-migrate-task run -- deploy s3://b/k.zip",
            ),
            (
                &["execute", "SELECT 1"],
                &[],
                false,
                &["status"],
                "prisma-migrate-task status",
            ),
            (
                &["deploy"],
                &[],
                false,
                &["resolve", "--applied", "-x"],
                "prisma-migrate-task resolve --applied=-x",
            ),
            (
                &["deploy"],
                &[],
                false,
                &["resolve", "--applied", "a b"],
                "prisma-migrate-task resolve --applied 'a b'",
            ),
        ] {
            assert_eq!(of(call, variables, on_ecs).command(words), expected, "{call:?}");
        }
    }
}
