//! What `execute` is to do.

use super::usage;
use crate::cli::{ExecuteArgs, Format, LogFormat};
use crate::execute::{Access, Input, Order};
use crate::failure::Failure;

/// What `execute` is to do, by what is a terminal.
pub(super) fn order(args: &ExecuteArgs, stdin_is_terminal: bool, stdout_is_terminal: bool) -> Result<Order, Failure> {
    let input = match (&args.sql, &args.file) {
        (None, Some(file)) => Input::File(file.clone()),
        (Some(sql), _) if sql != "-" => Input::Argument(sql.clone()),
        (None, None) if stdin_is_terminal => {
            return Err(usage(
                "nothing says what to execute",
                "give SQL as an argument, with --file, or on standard input",
            ));
        }
        _ => Input::StandardInput,
    };
    if args.read_only && args.confirm {
        return Err(usage(
            "--read-only and --confirm contradict each other",
            "give one of them",
        ));
    }
    if args.read_only && args.no_transaction {
        return Err(usage(
            "--read-only holds in one transaction only, and --no-transaction asks for none",
            "give one of them",
        ));
    }
    let access = match args {
        _ if args.read_only => Access::ReadOnly,
        _ if args.confirm || stdin_is_terminal => Access::Write,
        _ => Access::Unconfirmed,
    };
    let for_people = match args.output.log_format {
        Some(format) => format == LogFormat::Text,
        None => stdout_is_terminal,
    };
    Ok(Order {
        input,
        access,
        transaction: !args.no_transaction,
        format: args
            .format
            .unwrap_or(if for_people { Format::Table } else { Format::Json }),
    })
}
