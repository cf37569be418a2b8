//! Sending one statement after the other, and reading what each yields.

use super::format::{Column, ColumnKind};
use super::output::Output;
use super::sink::SinkError;
use super::{Access, Order, Progress};
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::sql::command::command;
use crate::sql::script::Statement;
use crate::stop::Stop;
use crate::watch::Watch;
use futures_util::StreamExt;
use std::pin::pin;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryStream};

/// What is run, and on what.
pub struct Run<'a> {
    /// The session.
    pub session: &'a Session,
    /// What the server does meanwhile.
    pub watch: &'a Watch,
    /// Whether the run is to stop.
    pub stop: &'a Stop,
    /// How.
    pub order: &'a Order,
    /// All of the SQL.
    pub sql: &'a str,
    /// Its statements.
    pub statements: &'a [Statement],
}

/// Why it did not come to its end.
#[derive(Debug)]
pub enum Broken {
    /// The server's error, and which statement it is of; none: of the transaction's begin or end.
    Server(ServerError, Option<usize>),
    /// The rows could not be written, and the statement that they are of, where it had not ended.
    Output(SinkError, Option<usize>),
    /// A value that is no text: the name of its column, and the statement.
    NoText(String, usize),
    /// The run was to stop while no statement was running.
    Stopped,
}

/// Whether to go on with the next statement.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    /// Nobody reads any more, and nothing would be left of what is to come.
    Enough,
}

impl Run<'_> {
    /// Runs all of it. What is not committed is rolled back.
    pub async fn all(&self, progress: &mut Progress, output: &mut Output<'_>) -> Result<(), Broken> {
        if !self.order.transaction {
            return self.each(progress, output).await;
        }
        // Once a query has run, the server refuses to make the transaction READ WRITE.
        let begin = match self.order.access {
            Access::Write => "BEGIN",
            Access::ReadOnly | Access::Unconfirmed => "BEGIN READ ONLY; SELECT 1",
        };
        self.send(begin).await?;
        let mut ran = self.each(progress, output).await;
        if ran.is_ok() {
            ran = output.flush().await.map_err(|error| match error {
                SinkError::Stopped => Broken::Stopped,
                error => Broken::Output(error, None),
            });
        }
        if ran.is_ok() && self.order.access == Access::Write && self.stop.reason().is_none() {
            progress.committing = true;
            return self.send("COMMIT").await;
        }
        let rolled_back = self.session.raw("ROLLBACK").await;
        if let Err(error) = rolled_back {
            tracing::debug!("the transaction ends with its session: {}", error.message);
        }
        match ran {
            Ok(()) if self.order.access == Access::Write => Err(Broken::Stopped),
            ran => ran,
        }
    }

    async fn each(&self, progress: &mut Progress, output: &mut Output<'_>) -> Result<(), Broken> {
        for (at, statement) in self.statements.iter().enumerate() {
            if self.stop.reason().is_some() {
                return Err(Broken::Stopped);
            }
            let text = &self.sql[statement.range.clone()];
            self.watch.begin(None);
            let next = self.statement(at, text, progress, output).await;
            self.watch.end();
            if next? == Next::Enough {
                break;
            }
        }
        Ok(())
    }

    async fn statement(
        &self,
        at: usize,
        text: &str,
        progress: &mut Progress,
        output: &mut Output<'_>,
    ) -> Result<Next, Broken> {
        let of_server = |error: ServerError| Broken::Server(error, Some(at));
        let columns = self.session.describe(text).await.map_err(of_server)?;
        let columns: Vec<Column> = columns.into_iter().map(Column::from).collect();
        let mut stream = pin!(self.session.stream(text).await.map_err(of_server)?);
        let (mut printed, mut affected) = (None, 0);
        while let Some(message) = stream.next().await {
            match message {
                Ok(SimpleQueryMessage::RowDescription(names)) => {
                    printed = Some(0);
                    output.begin(if columns.len() == names.len() {
                        columns.clone()
                    } else {
                        let text = |name: &tokio_postgres::SimpleColumn| Column {
                            name: name.name().to_owned(),
                            kind: ColumnKind::Text,
                        };
                        names.iter().map(text).collect()
                    });
                }
                Ok(SimpleQueryMessage::Row(row)) => {
                    if printed == Some(0) {
                        // The line at the terminal's end must not stand among the rows.
                        self.watch.end();
                    }
                    printed = printed.map(|rows| rows + 1);
                    let mut values = Vec::with_capacity(row.len());
                    for (column, name) in row.columns().iter().enumerate() {
                        match row.try_get(column) {
                            Ok(value) => values.push(value),
                            Err(_) => {
                                self.abandon(stream).await;
                                return Err(Broken::NoText(name.name().to_owned(), at));
                            }
                        }
                    }
                    if let Err(error) = output.row(&values).await {
                        if !self.abandon(stream).await {
                            return Err(Broken::Output(error, Some(at)));
                        }
                        progress.completed(command(text), printed);
                        return Err(Broken::Output(error, None));
                    }
                    if output.reader_is_gone() && self.order.access != Access::Write {
                        self.abandon(stream).await;
                        progress.completed(command(text), printed);
                        return Ok(Next::Enough);
                    }
                }
                Ok(SimpleQueryMessage::CommandComplete(rows)) => affected = rows,
                Ok(_) => {}
                Err(error) => return Err(of_server(error.into())),
            }
        }
        let command = command(text);
        let rows = printed.or_else(|| counts_rows(&command, affected).then_some(affected));
        let tag = rows.map_or_else(|| command.clone(), |rows| format!("{command} {rows}"));
        progress.completed(command, rows);
        output.end(&tag).await.map_err(|error| Broken::Output(error, None))?;
        if output.reader_is_gone() && self.order.access != Access::Write {
            return Ok(Next::Enough);
        }
        Ok(Next::GoOn)
    }

    /// Has the server end what it is sending, and reads what is on its way. Whether the statement had come to its end before that.
    async fn abandon(&self, mut stream: std::pin::Pin<&mut SimpleQueryStream>) -> bool {
        if let Err(error) = self.session.cancel().await {
            tracing::debug!("the running statement could not be cancelled: {error}");
        }
        while let Some(message) = stream.next().await {
            if message.is_err() {
                return false;
            }
        }
        true
    }

    /// Sends a statement of ours, once: what was cancelled stays so.
    async fn send(&self, sql: &str) -> Result<(), Broken> {
        match self.session.script(sql.to_owned()).await.error {
            Some(error) => Err(Broken::Server(error, None)),
            None => Ok(()),
        }
    }
}

/// Whether the number that the server gives with its end is one of rows: it gives 0 for commands that have none.
fn counts_rows(command: &str, affected: u64) -> bool {
    affected > 0 || matches!(command, "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" | "MOVE")
}
