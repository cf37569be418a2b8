//! The migrations table, and the SQL to work on it.

use super::mark::Mark;
use super::{Row, State, TABLE};
use crate::sql::assertion::Assertion;
use crate::sql::quote;

/// The table in the schema where it was found or will be made, and the SQL to work on it.
///
/// Every name, operator and function is schema-qualified: the statements run beside scripts that may have changed the `search_path`. Times are
/// `clock_timestamp()`, since `now()` is the moment at which the whole message began.
#[derive(Clone, Debug)]
pub struct Ledger {
    schema: String,
    table: String,
    watched: bool,
    defers: bool,
}

impl Ledger {
    /// The ledger in this schema.
    pub fn in_schema(schema: &str) -> Ledger {
        Ledger {
            schema: schema.to_owned(),
            table: format!("{}.{TABLE}", quote::identifier(schema)),
            watched: false,
            defers: false,
        }
    }

    /// The same, where something stands between a statement and its rows: triggers, rules, row security. What was written is then read once more.
    /// `defers`: some of it may happen only at the commit.
    pub fn watched(mut self, watched: bool, defers: bool) -> Ledger {
        self.watched = watched;
        self.defers = defers;
        self
    }

    /// Whether a row may be changed or removed when the transaction that wrote it is committed.
    pub fn defers(&self) -> bool {
        self.defers
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

    /// Reads every row, oldest first; `table` is a name as it stands in SQL.
    ///
    /// If there is no ledger yet, anybody who may create in the schema can have made something of its name. A sample of all of it is taken of tables
    /// alone, so a view's functions are not called. A policy's are not called either: if it would hide rows, that is an error.
    pub fn select(table: &str, columns: Columns) -> String {
        // to_char yields nothing for an infinite time, and its difference from another one is an error up to PostgreSQL 16.
        let time = |column: &str| {
            format!(
                "CASE WHEN pg_catalog.isfinite({column}) THEN pg_catalog.to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
                 ELSE {column}::pg_catalog.text END"
            )
        };
        let ended = "COALESCE(rolled_back_at, finished_at)";
        let (logs, times) = match columns {
            Columns::Judged => (
                "rolled_back_at IS NULL AND finished_at IS NULL",
                ", NULL, NULL".to_owned(),
            ),
            Columns::All => (
                "rolled_back_at IS NOT NULL OR finished_at IS NULL",
                format!(
                    ", {}, CASE WHEN pg_catalog.isfinite({ended}) AND pg_catalog.isfinite(started_at) THEN \
                     pg_catalog.floor(EXTRACT(epoch FROM {ended} OPERATOR(pg_catalog.-) started_at) OPERATOR(pg_catalog.*) 1000) END",
                    time(ended)
                ),
            ),
        };
        format!(
            "{WHOLE}; SELECT id, migration_name, checksum, {}, {}, applied_steps_count, CASE WHEN {logs} THEN logs END{times} \
             FROM {table} {TABLE_ONLY} ORDER BY started_at",
            State::SQL,
            time("started_at"),
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
            ended_at: column(7).map(str::to_owned),
            duration_ms: column(8).and_then(|millis| millis.parse().ok()),
        }
    }

    /// Begins a row, asserting that it was written: a rule, a trigger or row security may prevent it in silence.
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
            Assertion::Written,
        )
    }

    /// Changes the mark of an unfinished row and its count of steps, asserting that it was there.
    pub fn remark(&self, id: &str, mark: &Mark, steps: usize) -> String {
        self.update(
            id,
            &format!(
                "logs = {}, applied_steps_count = {steps}",
                quote::literal(&mark.to_string())
            ),
        )
    }

    /// [`Ledger::remark`] with what a setting of this session says of it.
    pub fn remark_with(&self, id: &str, (before, setting, after): (&str, &str, &str), steps: usize) -> String {
        self.update(
            id,
            &format!(
                "logs = pg_catalog.concat({}, pg_catalog.current_setting({}), {}), applied_steps_count = {steps}",
                quote::literal(before),
                quote::literal(setting),
                quote::literal(after)
            ),
        )
    }

    /// Closes an unfinished row as applied, asserting that it was there and is closed: a trigger may have kept it open.
    /// The checksum is written again, since a script that is resumed may have been changed meanwhile.
    pub fn close(&self, id: &str, checksum: &str) -> String {
        let checksum = quote::literal(checksum);
        let set = format!(
            "finished_at = pg_catalog.clock_timestamp(), logs = NULL, applied_steps_count = 1, checksum = {checksum}"
        );
        format!(
            "WITH written AS ({} RETURNING finished_at) SELECT {} WHERE NOT EXISTS (SELECT FROM written WHERE finished_at IS NOT NULL)",
            self.update_statement(id, &set),
            Assertion::Changed.raise("0")
        )
    }

    /// Asserts once more that a row is closed, behind triggers that run when the statement that closed it has ended; nothing where there are none.
    pub fn confirm_closed(&self, id: &str) -> Option<String> {
        self.confirm(id, "finished_at IS NOT NULL")
    }

    /// The same of a row that was marked.
    pub fn confirm_marked(&self, id: &str, mark: &Mark) -> Option<String> {
        let text = mark.to_string();
        // What follows may be the server's own words.
        let begins = quote::literal(&mark.around_session().map_or(text, |(before, _)| before));
        self.confirm(
            id,
            &format!("finished_at IS NULL AND pg_catalog.starts_with(logs, {begins})"),
        )
    }

    fn confirm(&self, id: &str, is: &str) -> Option<String> {
        self.watched.then(|| {
            format!(
                "SELECT {} WHERE NOT EXISTS (SELECT FROM {} WHERE id OPERATOR(pg_catalog.=) {} AND {is} AND rolled_back_at IS NULL)",
                Assertion::Changed.raise("0"),
                self.table,
                quote::literal(id)
            )
        })
    }

    /// Asserts that the rows with these ids are there and closed as applied.
    pub fn assert_closed(&self, ids: &[String]) -> String {
        let literals: Vec<String> = ids.iter().map(|id| quote::literal(id)).collect();
        format!(
            "SELECT {} FROM {} \
             WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.text[]) AND finished_at IS NOT NULL AND rolled_back_at IS NULL \
             HAVING pg_catalog.count(id) OPERATOR(pg_catalog.<>) {}",
            Assertion::Changed.raise("pg_catalog.count(id)"),
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

    /// Opens a row again that something else than this program has closed.
    pub fn reopen(&self, id: &str, mark: &Mark) -> String {
        self.asserted(
            &format!(
                "UPDATE {} SET finished_at = NULL, logs = {} WHERE id OPERATOR(pg_catalog.=) {}",
                self.table,
                quote::literal(&mark.to_string()),
                quote::literal(id)
            ),
            Assertion::Written,
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
            Assertion::Written,
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
            Assertion::Written,
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
            Assertion::Written,
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
            Assertion::Written,
        )
    }

    /// Gives an applied row the checksum of the file, asserting that it was there: `resolve --accept`.
    pub fn accept(&self, id: &str, checksum: &str) -> String {
        let (id, checksum) = (quote::literal(id), quote::literal(checksum));
        self.asserted(
            &format!(
                "UPDATE {} SET checksum = {checksum} \
                 WHERE id OPERATOR(pg_catalog.=) {id} AND finished_at IS NOT NULL AND rolled_back_at IS NULL",
                self.table
            ),
            Assertion::Written,
        )
    }

    fn update(&self, id: &str, set: &str) -> String {
        self.asserted(&self.update_statement(id, set), Assertion::Changed)
    }

    fn update_statement(&self, id: &str, set: &str) -> String {
        format!(
            "UPDATE {} SET {set} WHERE id OPERATOR(pg_catalog.=) {} AND finished_at IS NULL AND rolled_back_at IS NULL",
            self.table,
            quote::literal(id)
        )
    }

    /// A statement that fails, and its transaction with it, unless a row was written. More than one cannot be: they are written by their ids.
    fn asserted(&self, statement: &str, assertion: Assertion) -> String {
        format!(
            "WITH w AS ({statement} RETURNING 1) SELECT {} WHERE NOT EXISTS (TABLE w)",
            assertion.raise("0")
        )
    }
}

/// What of the rows is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// What decides what a deploy does.
    Judged,
    /// All that is shown of a row.
    All,
}

/// Before a statement that reads the ledger: rows that row security hides are an error, never missing.
pub const WHOLE: &str = "SET LOCAL row_security TO off";
/// Behind the ledger's name in a statement that reads it: it fails unless the name is a table's.
pub const TABLE_ONLY: &str = "TABLESAMPLE pg_catalog.system(100)";
