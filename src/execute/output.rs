//! The rows, in the format that was asked for, as they come.

use super::format::{Column, csv_line, json_keys, json_row};
use super::sink::{Destination, Sink, SinkError};
use super::table::Table;
use crate::cli::Format;
use crate::outcome::Written;
use crate::stop::Stop;
use std::io;

/// So much is collected before it is written.
const CHUNK: usize = 64 * 1024;

/// What the rows go through.
pub struct Output<'a> {
    format: Format,
    sink: Sink,
    stop: &'a Stop,
    /// What is not written yet.
    text: String,
    set: Option<Set>,
    last: Option<Last>,
    reader_gone: bool,
    /// Set once text was dropped since the run is to stop.
    stopped: bool,
    rows: u64,
    bytes: u64,
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
    /// Nothing is written yet. A run that is to stop writes no more.
    pub fn new(format: Format, sink: Sink, stop: &'a Stop) -> Output<'a> {
        Output {
            format,
            sink,
            stop,
            text: String::new(),
            set: None,
            last: None,
            reader_gone: false,
            stopped: false,
            rows: 0,
            bytes: 0,
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
    pub async fn row(&mut self, values: &[Option<&str>]) -> Result<(), SinkError> {
        self.rows += 1;
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
    pub async fn end(&mut self, tag: &str) -> Result<(), SinkError> {
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

    async fn write(&mut self) -> Result<(), SinkError> {
        let text = std::mem::take(&mut self.text);
        if self.reader_gone || self.stopped || text.is_empty() {
            return Ok(());
        }
        self.bytes += text.len() as u64;
        match self.stop.unless(self.sink.write(&text)).await {
            Ok(Err(SinkError::Io(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone = true;
                Ok(())
            }
            Ok(written) => written,
            // The statement goes on to its end, which the stop brings about: only so is it known what became of it.
            Err(_stopped) => {
                self.stopped = true;
                Ok(())
            }
        }
    }

    /// Brings everything to its place, where nobody sees it yet: before a commit, so that what cannot be written is not committed either.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub async fn flush(&mut self) -> Result<(), SinkError> {
        if self.stopped {
            return Err(SinkError::Stopped);
        }
        let flushed = self.stop.unless(self.sink.flush()).await;
        flushed.unwrap_or(Err(SinkError::Stopped))
    }

    /// Shows what was written, and says how much it was; nothing of what goes to standard output. A run that is to stop may still take its time for it.
    ///
    /// # Errors
    /// See [`SinkError`]; nothing is shown then, or it is not known.
    pub async fn publish(mut self, destination: &Destination) -> Result<Option<Written>, SinkError> {
        let (stop, stopped) = (self.stop, self.stopped);
        let publish = async {
            if stopped {
                self.sink.discard().await;
                return Err(SinkError::Stopped);
            }
            // Where there is a transaction this is done already.
            if let Err(error) = self.sink.flush().await {
                self.sink.discard().await;
                return Err(error);
            }
            self.sink.publish().await
        };
        tokio::select! {
            published = publish => published?,
            () = stop.over() => return Err(SinkError::Stopped),
        }
        Ok((*destination != Destination::StandardOutput).then(|| Written {
            place: destination.to_string(),
            rows: self.rows,
            bytes: self.bytes,
        }))
    }

    /// Takes back what was written and is not shown.
    pub async fn discard(self) {
        self.sink.discard().await;
    }
}
