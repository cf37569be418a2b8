//! Standard output: the rows, in the format that was asked for, as they come.

use super::format::{Column, csv_line, json_keys, json_row};
use super::table::Table;
use crate::cli::Format;
use crate::stop::Stop;
use std::io;
use tokio::io::{AsyncWriteExt, Stdout, stdout};

/// So much is collected before it is written.
const CHUNK: usize = 64 * 1024;

/// Standard output.
pub struct Output<'a> {
    format: Format,
    stdout: Stdout,
    stop: &'a Stop,
    /// What is not written yet.
    text: String,
    set: Option<Set>,
    last: Option<Last>,
    reader_gone: bool,
}

/// The result that is being written.
enum Set {
    Table(Table),
    Json { keys: Vec<String>, columns: Vec<Column> },
    Csv,
}

/// What was written last.
#[derive(PartialEq, Eq)]
enum Last {
    Set,
    Tag,
}

impl<'a> Output<'a> {
    /// Nothing is written yet. A run that is to stop writes no more: its reader may be what it waits for.
    pub fn new(format: Format, stop: &'a Stop) -> Output<'a> {
        Output {
            format,
            stdout: stdout(),
            stop,
            text: String::new(),
            set: None,
            last: None,
            reader_gone: false,
        }
    }

    /// Whether whoever read it has closed the pipe.
    pub fn reader_is_gone(&self) -> bool {
        self.reader_gone
    }

    /// A result begins. An empty line stands between two of them, except between those of JSON, whose every line is a row.
    pub fn begin(&mut self, columns: Vec<Column>) {
        if self.last.is_some() && self.format != Format::Json {
            self.text.push('\n');
        }
        self.set = Some(match self.format {
            Format::Table => Set::Table(Table::new(columns)),
            Format::Json => Set::Json {
                keys: json_keys(&columns),
                columns,
            },
            Format::Csv => {
                csv_line(columns.iter().map(|column| Some(column.name.as_str())), &mut self.text);
                Set::Csv
            }
        });
    }

    /// A row of the result that has begun.
    ///
    /// # Errors
    /// It could not be written, other than for want of a reader.
    pub async fn row(&mut self, values: &[Option<&str>]) -> io::Result<()> {
        match &mut self.set {
            Some(Set::Table(table)) => table.row(values, &mut self.text),
            Some(Set::Json { keys, columns }) => json_row(keys, columns, values, &mut self.text),
            Some(Set::Csv) => csv_line(values.iter().copied(), &mut self.text),
            None => {}
        }
        if self.text.len() >= CHUNK {
            self.write().await?;
        }
        Ok(())
    }

    /// A statement has ended: ends its result, or names what it did where it had none.
    ///
    /// # Errors
    /// As [`Output::row`].
    pub async fn end(&mut self, tag: &str) -> io::Result<()> {
        match self.set.take() {
            Some(set) => {
                if let Set::Table(table) = set {
                    table.end(&mut self.text);
                }
                self.last = Some(Last::Set);
            }
            None if self.format == Format::Table => {
                if self.last == Some(Last::Set) {
                    self.text.push('\n');
                }
                self.text.push_str(tag);
                self.text.push('\n');
                self.last = Some(Last::Tag);
            }
            // Only the rows are there for the program that reads them.
            None => tracing::info!("{tag}"),
        }
        self.write().await
    }

    async fn write(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        if self.reader_gone || text.is_empty() {
            return Ok(());
        }
        let written = self.stop.unless(async {
            self.stdout.write_all(text.as_bytes()).await?;
            self.stdout.flush().await
        });
        match written.await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone = true;
                Ok(())
            }
            Ok(written) => written,
            Err(_stopped) => Ok(()),
        }
    }
}
