//! The script by which a shell completes verbs and flags.

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
