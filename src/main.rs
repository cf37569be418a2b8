//! The program: reads the command line, runs, says what came of it, exits with its code.

use prisma_migrate_task::cli::{Asked, LogFormat};
use prisma_migrate_task::invocation::command;
#[cfg(feature = "client")]
use prisma_migrate_task::pipeline;
use prisma_migrate_task::settings::{self, Output};
use prisma_migrate_task::stop::Signals;
use prisma_migrate_task::{cli, exit::Exit, log, outcome::Outcome, report, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // What this program does elsewhere has its own way with signals, and help none.
    let signals = cli::is_run(&arguments).then(Signals::catch);
    run::leave_no_core();
    let cli = match cli::parse(arguments, &settings::variable) {
        Ok(Asked::Run(cli)) => *cli,
        #[cfg(feature = "client")]
        Ok(Asked::Client(verb)) => return ExitCode::from(pipeline::run(*verb).code()),
        Ok(Asked::Text(text)) => {
            report::say(&text);
            return ExitCode::from(Exit::Success.code());
        }
        Err(usage) => {
            // Whether the terminal takes the text changes nothing.
            let _ = usage.print();
            if !usage.use_stderr() {
                return ExitCode::from(Exit::Success.code());
            }
            let signals = signals.unwrap_or_else(Signals::catch);
            let output = Output::without_command(&settings::variable);
            if let Some(outcome) = run::refuse(&usage, &output, &signals) {
                report::print(&outcome, output.format, true, "");
            }
            return ExitCode::from(Exit::Usage.code());
        }
    };
    let signals = signals.unwrap_or_else(Signals::catch);
    let output = Output::of(&cli, &settings::variable);
    log::start(output.format, output.level);
    let outcome: Outcome = run::run(cli, &output, &signals);
    if output.metrics {
        report::metrics::write(&outcome);
    }
    let code = outcome.exit_code.code();
    let format = output.json.then_some(LogFormat::Json).or(output.format);
    let in_log = output.task_metadata.is_some();
    let print = move || report::print(&outcome, format, in_log, &command(&["deploy"]));
    match signals {
        Ok(signals) => signals.outlast(output.stop_within, print),
        Err(_) => print(),
    }
    ExitCode::from(code)
}
