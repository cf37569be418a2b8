//! The program: reads the command line, runs, says what came of it, exits with its code.

use prisma_migrate_task::cli::{Asked, LogFormat};
use prisma_migrate_task::{cli, exit::Exit, log, outcome::Outcome, report, run, settings};
use std::process::ExitCode;

fn main() -> ExitCode {
    run::leave_no_core();
    let cli = match cli::parse(std::env::args_os(), &settings::variable) {
        Ok(Asked::Run(cli)) => *cli,
        Ok(Asked::Text(text)) => {
            report::say(&text);
            return ExitCode::from(Exit::Success.code());
        }
        Err(usage) => {
            // Whether the terminal takes the text changes nothing.
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { Exit::Usage } else { Exit::Success }.code());
        }
    };
    let output = settings::Output::of(&cli);
    log::start(output.format, output.level);
    let mut outcome: Outcome = run::run(cli, &output);
    // First the file: that it could not be written is part of what is printed.
    if let Some(file) = &output.report {
        report::write(&mut outcome, file);
    }
    let format = output.json.then_some(LogFormat::Json).or(output.format);
    report::print(&outcome, format);
    ExitCode::from(outcome.exit_code.code())
}
