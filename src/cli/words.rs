//! Which of the words of a command line is the verb: told before clap reads it, since the verb may stand anywhere and may be left out.

use super::Command;
use clap::error::ErrorKind;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

/// The flags that ask for a text where there is not a command.
const ASKS: [&str; 4] = ["-h", "--help", "-V", "--version"];
/// The verbs of the program on a laptop or in a pipeline, which the container's build has not.
pub(super) const CLIENT_VERBS: [&str; 4] = ["run", "wait", "upload", "completions"];

/// What the first word of a command line that is no flag comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// The argument at this place.
    At(usize),
    /// There is none, and none is needed: a text is asked for.
    Asked,
    /// There is none: it deploys.
    Left,
    /// A word that is neither a verb nor a SOURCE.
    Unknown(String),
}

/// Finds the verb of a command line, whose first argument is the program's name.
pub(super) fn verb(arguments: &[OsString], command: &Command) -> Verb {
    let with_value = flags_with_value(command);
    let mut verbs: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
    verbs.insert("help");
    let mut unknown = None;
    let mut rest = arguments.iter().enumerate().skip(1);
    while let Some((at, argument)) = rest.next() {
        let argument = argument.to_string_lossy();
        if argument == "--" {
            break;
        }
        if argument
            .strip_prefix("--")
            .is_some_and(|flag| with_value.contains(flag))
        {
            rest.next();
        }
        if argument.starts_with('-') && argument.len() > 1 {
            continue;
        }
        if verbs.contains(&*argument) && unknown.is_none() {
            return Verb::At(at);
        }
        if !is_source(&argument) && unknown.is_none() {
            unknown = Some(argument.into_owned());
        }
    }
    let asks = arguments.iter().any(|argument| ASKS.iter().any(|ask| argument == ask));
    match unknown {
        _ if asks => Verb::Asked,
        Some(word) => Verb::Unknown(word),
        None => Verb::Left,
    }
}

/// Whether a word can only be a SOURCE.
fn is_source(word: &str) -> bool {
    matches!(word, "." | "..") || word.contains('/') || word.to_ascii_lowercase().contains(".zip")
}

/// The long flags of all verbs that take a value.
fn flags_with_value(command: &Command) -> BTreeSet<String> {
    let verbs = command.get_subcommands().chain([command]);
    let flags = verbs.flat_map(Command::get_arguments);
    let with_value = flags.filter(|flag| flag.get_action().takes_values());
    with_value
        .filter_map(|flag| flag.get_long().map(str::to_owned))
        .collect()
}

/// The error for a word that is not a command.
pub(super) fn no_verb(word: &str, command: &mut Command) -> clap::Error {
    let verbs: Vec<String> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let text = explain(word, &verbs, Path::new(word).exists());
    command.error(ErrorKind::InvalidSubcommand, text)
}

fn explain(word: &str, verbs: &[String], exists: bool) -> String {
    if CLIENT_VERBS.contains(&word) {
        return format!(
            "{word} is not a command of this program: it is the container's build. `cargo build --release` in a checkout builds the program for a laptop \
             or a pipeline, which has run, wait, upload and completions"
        );
    }
    if exists {
        return format!(
            "{word:?} is not a command; to deploy what is there under that name: `prisma-migrate-task deploy {word}`"
        );
    }
    let nearest = verbs.iter().map(|verb| (distance(word, verb), verb)).min();
    match nearest.filter(|(distance, verb)| *distance * 2 <= verb.len()) {
        Some((_, verb)) => format!("{word:?} is not a command; did you mean `prisma-migrate-task {verb}`?"),
        None => format!(
            "{word:?} is not a command: give one of {}. Without a verb, SOURCE is s3://bucket/key, ., .., or a path with a / or .zip in it",
            verbs.join(", ")
        ),
    }
}

fn distance(word: &str, verb: &str) -> usize {
    let word = word.to_lowercase();
    match word.len() > 2 && (verb.starts_with(&word) || word.starts_with(verb)) {
        true => 0,
        false => strsim::damerau_levenshtein(&word, verb),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn command() -> Command {
        let command = Cli::command();
        #[cfg(feature = "client")]
        let command = {
            use clap::Subcommand;
            crate::cli::ClientVerb::augment_subcommands(command)
        };
        command
    }

    fn found(words: &[&str]) -> Verb {
        let arguments: Vec<OsString> = ["prisma-migrate-task"].iter().chain(words).map(Into::into).collect();
        verb(&arguments, &command())
    }

    #[test]
    fn the_verb_is_the_first_word_that_is_no_flags_value() {
        let unknown = |word: &str| Verb::Unknown(word.to_owned());
        let table: [(&[&str], Verb); 24] = [
            (&[], Verb::Left),
            (&["status"], Verb::At(1)),
            (&["--log-format", "text", "status", "x"], Verb::At(3)),
            (&["--log-format=text", "status"], Verb::At(2)),
            (&["--strict", "plan"], Verb::At(2)),
            (&["./prisma", "status"], Verb::At(2)),
            (&["./prisma"], Verb::Left),
            (&["."], Verb::Left),
            (&[".."], Verb::Left),
            (&["prisma.zip"], Verb::Left),
            (&["s3://b/k"], Verb::Left),
            (&["--role", "plan", "./p"], Verb::Left),
            (&["--role", "plan", "status", "./p"], Verb::At(3)),
            (&["--role=plan", "./p"], Verb::Left),
            (&["--to", "deploy", "plan"], Verb::At(3)),
            (&["deploy", "plan"], Verb::At(1)),
            (&["statsu"], unknown("statsu")),
            (&["--strict", "statsu"], unknown("statsu")),
            (&["migrate", "deploy"], unknown("migrate")),
            (&["./prisma", "statsu"], unknown("statsu")),
            (&["prisma"], unknown("prisma")),
            (&["--help"], Verb::Asked),
            (&["--", "status"], Verb::Left),
            (&["execute", "--", "status"], Verb::At(1)),
        ];
        for (words, expected) in table {
            assert_eq!(found(words), expected, "{words:?}");
        }
    }

    #[test]
    fn a_flag_has_a_value_in_all_verbs_or_in_none() {
        let command = command();
        let with_value = flags_with_value(&command);
        for verb in command.get_subcommands() {
            for flag in verb.get_arguments() {
                let Some(long) = flag.get_long() else { continue };
                assert_eq!(
                    flag.get_action().takes_values(),
                    with_value.contains(long),
                    "{}: {long}",
                    verb.get_name()
                );
            }
        }
    }

    #[test]
    fn a_word_that_is_no_verb_is_explained() {
        let verbs: Vec<String> = [
            "adopt", "baseline", "deploy", "drift", "execute", "plan", "resolve", "status",
        ]
        .map(str::to_owned)
        .to_vec();
        for (word, exists, expected) in [
            ("statsu", false, "`prisma-migrate-task status`"),
            ("Status", false, "`prisma-migrate-task status`"),
            ("stat", false, "`prisma-migrate-task status`"),
            ("delpoy", false, "`prisma-migrate-task deploy`"),
            ("plna", false, "`prisma-migrate-task plan`"),
            ("exec", false, "`prisma-migrate-task execute`"),
            ("prisma", true, "`prisma-migrate-task deploy prisma`"),
            ("migrations", false, "give one of adopt, baseline, "),
            ("upload", false, "the container's build"),
            ("run", true, "the container's build"),
        ] {
            let text = explain(word, &verbs, exists);
            assert!(text.contains(expected), "{word}: {text}");
        }
    }
}
