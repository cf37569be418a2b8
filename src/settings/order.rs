//! What `execute` is to do.

use super::usage;
use crate::artifact::{Source, s3::Address};
use crate::cli::{ExecuteArgs, Format, LogFormat};
use crate::execute::{Access, Destination, Input, Order};
use crate::failure::Failure;

/// What `execute` is to do, by what is a terminal.
pub(super) fn order(args: &ExecuteArgs, stdin_is_terminal: bool, stdout_is_terminal: bool) -> Result<Order, Failure> {
    let input = match (&args.sql, &args.file) {
        (None, Some(file)) => file_or_object(file, args.file_version_id.as_deref())?,
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
    let destination = match args.output.as_deref() {
        None => Destination::StandardOutput,
        Some(place) => match object(place, "--output")? {
            Some(address) => Destination::Object(address),
            None => Destination::File(place.into()),
        },
    };
    let default_format = match (args.said.log_format, &args.output) {
        (_, Some(place)) if place.to_ascii_lowercase().ends_with(".csv") => Format::Csv,
        (Some(LogFormat::Text), None) => Format::Table,
        (None, None) if stdout_is_terminal => Format::Table,
        _ => Format::Json,
    };
    Ok(Order {
        input,
        access,
        transaction: !args.no_transaction,
        format: args.format.unwrap_or(default_format),
        destination,
    })
}

fn file_or_object(file: &str, version_id: Option<&str>) -> Result<Input, Failure> {
    match (object(file, "--file")?, version_id) {
        (Some(mut address), version_id) => {
            address.version_id = version_id.map(str::to_owned);
            Ok(Input::Object(address))
        }
        (None, None) => Ok(Input::File(file.into())),
        (None, Some(_)) => Err(usage(
            "--file-version-id is given, and --file is no object in S3",
            "leave it out, or give --file as s3://bucket/key",
        )),
    }
}

/// The object that this names; none where it names a file.
fn object(text: &str, flag: &str) -> Result<Option<Address>, Failure> {
    if !text.starts_with("s3://") {
        return Ok(None);
    }
    match Source::parse(text) {
        Ok(Source::S3(address)) => Ok(Some(address)),
        _ => Err(usage(
            &format!("{flag} is no file and not of the form s3://bucket/key"),
            "give one of them",
        )),
    }
}
