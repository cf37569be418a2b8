//! The ledger: `_prisma_migrations`, its rows and what they mean.
//!
//! The table is Prisma's, column for column (Prisma 6.19 and 7.10). Ours is one convention: while a row is unfinished, the first line of its `logs`
//! is a [`Mark`] that says how far an interrupted run may have come.

use crate::sql::quote;
use std::collections::HashSet;
use std::fmt;

/// The migrations table's unqualified name, fixed by Prisma.
pub const TABLE: &str = "_prisma_migrations";

/// What a row's state says of its migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `finished_at` is set, `rolled_back_at` is not.
    Applied,
    /// Neither is set: running, failed or interrupted.
    Unfinished,
    /// `rolled_back_at` is set: the migration is pending again.
    RolledBack,
}

impl State {
    /// The SQL expression that says it of a row.
    pub const SQL: &str = "CASE WHEN rolled_back_at IS NOT NULL THEN 'rolled back' WHEN finished_at IS NOT NULL THEN 'applied' ELSE 'unfinished' END";

    /// Reads what [`State::SQL`] said.
    pub fn of(said: Option<&str>) -> State {
        match said {
            Some("applied") => State::Applied,
            Some("rolled back") => State::RolledBack,
            _ => State::Unfinished,
        }
    }
}

/// One row of the ledger. A migration may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// UUID of this attempt.
    pub id: String,
    /// The migration's directory.
    pub migration: String,
    /// Lower-case hexadecimal SHA-256 of the file as it was when it was applied.
    pub checksum: String,
    /// What the row's dates say.
    pub state: State,
    /// RFC 3339, UTC, microseconds.
    pub started_at: String,
    /// How many steps are recorded; 1 for a migration that was run, 0 for one that was marked as applied.
    pub applied_steps_count: i32,
    /// Read for unfinished rows only.
    pub logs: Option<String>,
}

impl Row {
    /// Our mark, where this row is one of ours that is unfinished.
    pub fn mark(&self) -> Option<Mark> {
        if self.state != State::Unfinished {
            return None;
        }
        Mark::parse(self.logs.as_deref()?)
    }
}

/// What an unfinished row of ours says about the run that left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The row was written in the script's own transaction: that it is visible proves that something was committed.
    Partial,
    /// A script sent step by step: this many steps are committed.
    Steps {
        /// Statements committed so far.
        done: usize,
        /// SHA-256 of the script up to the end of the last of them.
        prefix: String,
    },
    /// The row was committed before a statement that cannot run in a transaction was sent.
    Alone {
        /// Which statement, counted from 1.
        step: usize,
        /// SHA-256 of the script before it.
        prefix: String,
        /// The OIDs of what was there before of the kind that it makes: the table's indexes, the database of its name.
        before: Vec<u32>,
    },
    /// The row was committed before a script that may take its own row back.
    Undecidable,
}

/// The first line of an unfinished row's `logs`: `prisma-migrate-task/1 run=<run id> state=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The run that wrote the row.
    pub run_id: String,
    /// How the script was being sent.
    pub state: Marked,
}

const MARK: &str = "prisma-migrate-task/1";

impl Mark {
    /// Reads the mark off a row's logs; none where they are not ours or of another version.
    pub fn parse(logs: &str) -> Option<Mark> {
        let line = logs.lines().next()?;
        let mut words = line.split(' ');
        if words.next() != Some(MARK) {
            return None;
        }
        let fields: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let step = || field("step")?.parse::<usize>().ok();
        let prefix = || field("prefix").map(str::to_owned);
        let state = match field("state")? {
            "partial" => Marked::Partial,
            "steps" => Marked::Steps {
                done: step()?,
                prefix: prefix()?,
            },
            "alone" => Marked::Alone {
                step: step()?,
                prefix: prefix()?,
                before: field("before")?.split(',').filter_map(|oid| oid.parse().ok()).collect(),
            },
            "undecidable" => Marked::Undecidable,
            _ => return None,
        };
        Some(Mark {
            run_id: field("run")?.to_owned(),
            state,
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK} run={} state=", self.run_id)?;
        match &self.state {
            Marked::Partial => write!(f, "partial"),
            Marked::Steps { done, prefix } => write!(f, "steps step={done} prefix={prefix}"),
            Marked::Alone { step, prefix, before } => {
                let before: Vec<String> = before.iter().map(u32::to_string).collect();
                write!(f, "alone step={step} prefix={prefix} before={}", before.join(","))
            }
            Marked::Undecidable => write!(f, "undecidable"),
        }
    }
}

/// Everything that the ledger says, oldest row first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The rows by `started_at`.
    pub rows: Vec<Row>,
}

impl History {
    /// The migrations that have a row which is not rolled back: done, or under way, or failed.
    pub fn recorded(&self) -> HashSet<&str> {
        self.rows
            .iter()
            .filter(|row| row.state != State::RolledBack)
            .map(|row| row.migration.as_str())
            .collect()
    }

    /// The rows of one migration.
    pub fn of(&self, migration: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.migration == migration)
    }

    /// The rows that block a deploy.
    pub fn unfinished(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.state == State::Unfinished)
    }
}

/// The table in the schema where it was found or will be made, and the SQL to work on it.
///
/// Every name, operator and function is schema-qualified: the statements run beside scripts that may have changed the `search_path`. Times are
/// `clock_timestamp()`, since `now()` is the moment at which the whole message began.
#[derive(Clone, Debug)]
pub struct Ledger {
    schema: String,
    table: String,
}

impl Ledger {
    /// The ledger in this schema.
    pub fn in_schema(schema: &str) -> Ledger {
        Ledger {
            schema: schema.to_owned(),
            table: format!("{}.{TABLE}", quote::identifier(schema)),
        }
    }

    /// The schema that it is in.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The table's qualified, quoted name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Makes the table as Prisma makes it.
    pub fn create(&self) -> String {
        format!(
            "CREATE TABLE {} (id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ, \
             migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ, \
             started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0)",
            self.table
        )
    }

    /// Reads every row; `table` is a name as it stands in SQL. Logs can be long and are read for unfinished rows only.
    pub fn select(table: &str) -> String {
        format!(
            "SELECT id, migration_name, checksum, \
             {}, \
             pg_catalog.to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), applied_steps_count, \
             CASE WHEN rolled_back_at IS NULL AND finished_at IS NULL THEN logs END \
             FROM {table} ORDER BY started_at",
            State::SQL
        )
    }

    /// Reads a row of [`Ledger::select`], given by its columns' texts.
    pub fn row<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Row {
        let text = |at: usize| column(at).unwrap_or_default().to_owned();
        Row {
            id: text(0),
            migration: text(1),
            checksum: text(2),
            state: State::of(column(3)),
            started_at: text(4),
            applied_steps_count: column(5).and_then(|n| n.parse().ok()).unwrap_or(0),
            logs: column(6).map(str::to_owned),
        }
    }

    /// Begins a row, asserting that exactly one was written: a rule, a trigger or row security may prevent it in silence.
    pub fn begin(&self, id: &str, migration: &str, checksum: &str, mark: &Mark) -> String {
        self.asserted(
            &format!(
                "INSERT INTO {} (id, checksum, migration_name, logs, started_at) VALUES ({}, {}, {}, {}, pg_catalog.clock_timestamp())",
                self.table,
                quote::literal(id),
                quote::literal(checksum),
                quote::literal(migration),
                quote::literal(&mark.to_string()),
            ),
            NOT_WRITTEN,
        )
    }

    /// Changes the mark of an unfinished row and its count of steps, asserting that exactly one row was changed.
    pub fn remark(&self, id: &str, mark: &Mark, steps: usize) -> String {
        self.update(
            id,
            &format!(
                "logs = {}, applied_steps_count = {steps}",
                quote::literal(&mark.to_string())
            ),
        )
    }

    /// Closes an unfinished row as applied, asserting that exactly one was closed.
    /// The checksum is written again, since a script that is resumed may have been mended meanwhile.
    pub fn close(&self, id: &str, checksum: &str) -> String {
        let checksum = quote::literal(checksum);
        self.update(
            id,
            &format!("finished_at = pg_catalog.clock_timestamp(), logs = NULL, applied_steps_count = 1, checksum = {checksum}"),
        )
    }

    /// Asserts that the rows with these ids are there and closed as applied.
    pub fn assert_closed(&self, ids: &[String]) -> String {
        let literals: Vec<String> = ids.iter().map(|id| quote::literal(id)).collect();
        format!(
            "SELECT ('{NOT_CLOSED}' OPERATOR(pg_catalog.||) pg_catalog.count(id))::pg_catalog.int4 FROM {} \
             WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.text[]) AND finished_at IS NOT NULL AND rolled_back_at IS NULL \
             HAVING pg_catalog.count(id) OPERATOR(pg_catalog.<>) {}",
            self.table,
            literals.join(", "),
            ids.len()
        )
    }

    /// Marks an unfinished row as rolled back, with the error that explains it.
    pub fn roll_back(&self, id: &str, logs: &str) -> String {
        self.update(
            id,
            &format!(
                "rolled_back_at = pg_catalog.clock_timestamp(), logs = {}",
                quote::literal(logs)
            ),
        )
    }

    /// Adds the error's text below the mark of an unfinished row.
    pub fn explain(&self, id: &str, error: &str) -> String {
        self.update(
            id,
            &format!(
                "logs = logs OPERATOR(pg_catalog.||) {}",
                quote::literal(&format!("\n{error}"))
            ),
        )
    }

    /// Writes the whole row of an attempt that left nothing in the database, as Prisma keeps a migration that was rolled back.
    pub fn record_rolled_back(&self, id: &str, migration: &str, checksum: &str, seconds: f64, error: &str) -> String {
        self.asserted(
            &format!(
                "INSERT INTO {} (id, checksum, migration_name, logs, started_at, rolled_back_at) VALUES ({}, {}, {}, {}, \
                 pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => {seconds:.6}), \
                 pg_catalog.clock_timestamp())",
                self.table,
                quote::literal(id),
                quote::literal(checksum),
                quote::literal(migration),
                quote::literal(error),
            ),
            NOT_WRITTEN,
        )
    }

    /// Writes the row of `resolve --applied`: both dates the same, no steps, logs empty (Prisma 6.19).
    pub fn record_applied(&self, id: &str, migration: &str, checksum: &str) -> String {
        self.asserted(
            &format!(
                "INSERT INTO {} (id, checksum, migration_name, logs, started_at, finished_at) \
                 SELECT {}, {}, {}, '', t, t FROM pg_catalog.clock_timestamp() AS t",
                self.table,
                quote::literal(id),
                quote::literal(checksum),
                quote::literal(migration),
            ),
            NOT_WRITTEN,
        )
    }

    /// Marks every unfinished row of a migration as rolled back: `resolve --rolled-back`, and before `resolve --applied`.
    pub fn roll_back_unfinished(&self, migration: &str) -> String {
        format!(
            "UPDATE {} SET rolled_back_at = pg_catalog.clock_timestamp() \
             WHERE migration_name OPERATOR(pg_catalog.=) {} AND finished_at IS NULL AND rolled_back_at IS NULL",
            self.table,
            quote::literal(migration)
        )
    }

    /// Removes a row, asserting that it was there.
    pub fn remove(&self, id: &str) -> String {
        let id = quote::literal(id);
        self.asserted(
            &format!("DELETE FROM {} WHERE id OPERATOR(pg_catalog.=) {id}", self.table),
            NOT_WRITTEN,
        )
    }

    /// Makes of an applied row what Prisma writes for a migration that it ran, asserting that it was there.
    pub fn rewrite(&self, id: &str, checksum: &str) -> String {
        let (id, checksum) = (quote::literal(id), quote::literal(checksum));
        self.asserted(
            &format!(
                "UPDATE {} SET checksum = {checksum}, logs = NULL, applied_steps_count = 1 \
                 WHERE id OPERATOR(pg_catalog.=) {id} AND finished_at IS NOT NULL AND rolled_back_at IS NULL",
                self.table
            ),
            NOT_WRITTEN,
        )
    }

    fn update(&self, id: &str, set: &str) -> String {
        self.asserted(
            &format!(
                "UPDATE {} SET {set} WHERE id OPERATOR(pg_catalog.=) {} AND finished_at IS NULL AND rolled_back_at IS NULL",
                self.table,
                quote::literal(id)
            ),
            NOT_CLOSED,
        )
    }

    /// A statement that fails, and its transaction with it, unless exactly one row was written. The failure is a cast of a sentence to a number,
    /// the one assertion that plain SQL has. Its quotes are even in number, so that no unterminated quote before it can swallow it.
    fn asserted(&self, statement: &str, sentence: &str) -> String {
        format!(
            "WITH written AS ({statement} RETURNING id) \
             SELECT ('{sentence}' OPERATOR(pg_catalog.||) pg_catalog.count(id))::pg_catalog.int4 FROM written \
             HAVING pg_catalog.count(id) OPERATOR(pg_catalog.<>) 1"
        )
    }
}

/// What the failed assertions say, with the number of rows behind it.
pub const NOT_WRITTEN: &str = "ledger row not written, rows: ";
/// See [`NOT_WRITTEN`].
pub const NOT_CLOSED: &str = "ledger row not closed, rows: ";

/// Whether this message of the server is one of our assertions.
pub fn is_assertion(message: &str) -> bool {
    message.contains(NOT_WRITTEN) || message.contains(NOT_CLOSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_it_was_written() {
        for state in [
            Marked::Partial,
            Marked::Steps {
                done: 3,
                prefix: "abc".into(),
            },
            Marked::Alone {
                step: 2,
                prefix: "abc".into(),
                before: vec![],
            },
            Marked::Alone {
                step: 2,
                prefix: "abc".into(),
                before: vec![16_384, 4_294_967_295],
            },
            Marked::Undecidable,
        ] {
            let mark = Mark {
                run_id: "7b0c".into(),
                state,
            };
            assert_eq!(Mark::parse(&format!("{mark}\nERROR: and what explains it")), Some(mark));
        }
    }

    #[test]
    fn logs_of_others_are_no_mark() {
        for logs in [
            "",
            "ERROR: x",
            "prisma-migrate-task/2 run=a state=partial",
            "prisma-migrate-task/1 run=a state=new",
        ] {
            assert_eq!(Mark::parse(logs), None, "{logs}");
        }
    }
}
