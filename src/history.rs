//! The ledger: `_prisma_migrations`, its rows and what they mean.
//!
//! The table is Prisma's, column for column (Prisma 6.19 and 7.10). Ours is one convention: while a row is unfinished, the first line of its `logs`
//! is a [`Mark`] that says how far an interrupted run may have come.

mod ledger;
mod mark;
mod session_state;

pub use ledger::{Columns, Ledger, TABLE_ONLY, WHOLE};
pub use mark::{Backend, Mark, Marked, Prefix, Progress, SessionMark};
pub use session_state::SessionState;

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
    /// RFC 3339, UTC, microseconds; `infinity` or `-infinity` if it is that.
    pub started_at: String,
    /// When it was applied or rolled back, in the same form. Read only with [`Columns::All`].
    pub ended_at: Option<String>,
    /// How long it took, in milliseconds. Read only with [`Columns::All`].
    pub duration_ms: Option<u64>,
    /// How many steps are recorded; 1 for a migration that was run, 0 for one that was marked as applied.
    pub applied_steps_count: i32,
    /// Read for unfinished rows; with [`Columns::All`] for those that were rolled back too.
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

/// Everything that the ledger says, oldest row first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The rows by `started_at`.
    pub rows: Vec<Row>,
}

impl History {
    /// The rows of one migration.
    pub fn of(&self, migration: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.migration == migration)
    }

    /// The rows that block a deploy.
    pub fn unfinished(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.state == State::Unfinished)
    }
}
