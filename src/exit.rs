//! The exit codes: the one place that knows them.
//!
//! They are the contract with the pipeline that waits for the task: small, documented, stable and below 126 (from there on a shell and a container
//! runtime use the numbers for themselves).

/// What the process ends with. The number of each variant is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Up to date, applied, or executed.
    Success = 0,
    /// An unexpected error: a bug in this program.
    Unexpected = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// `status`, `plan --check`: migrations are pending.
    Pending = 10,
    /// `drift`: the schema was changed outside migrations.
    Drift = 11,
    /// A migration (`execute`: a statement) failed and was rolled back: the database is as before it.
    RolledBack = 20,
    /// A migration (`execute`: the SQL) failed and part of it is committed, or may be; also every later run until it is resolved.
    PartiallyCommitted = 21,
    /// A failed migration of Prisma's blocks (P3009).
    FailedMigration = 22,
    /// The history does not fit (P3005, P3008, P3011, P3012, P3017, P3019, `--strict`).
    History = 23,
    /// Refused by a policy: a hazard, drift, an unconfirmed write, `--all-or-nothing`.
    Refused = 24,
    /// The migration lock was not free in time.
    MigrationLock = 30,
    /// Table locks were not free in time; nothing changed.
    TableLock = 31,
    /// The artifact is missing or invalid (P3015 too).
    Artifact = 40,
    /// The artifact was superseded by a newer upload, which has its own run.
    Superseded = 41,
    /// The database is unreachable, refuses us, or is not writable.
    Database = 50,
    /// Interrupted: the next run begins again or goes on by itself.
    Interrupted = 60,
    /// Interrupted, and what became of something is not known, or it cannot go on by itself: a person must look.
    InterruptedPartially = 61,
    /// The migrations are done, the report could not be delivered.
    Report = 70,
    /// `run`, `wait`: the task never started.
    NeverStarted = 80,
    /// `run`, `wait`: nothing tells what came of the task.
    Unknown = 81,
    /// `run`, `wait`: detached; the task goes on.
    Detached = 82,
}

impl Exit {
    /// Every code with its meaning, in ascending order: what `--help` prints and the README holds.
    pub const TABLE: &[(Exit, &str)] = &[
        (Exit::Success, "up to date, applied, or executed"),
        (Exit::Unexpected, "unexpected error (a bug)"),
        (Exit::Usage, "usage or configuration"),
        (Exit::Pending, "status, plan --check: migrations are pending"),
        (Exit::Drift, "drift: the schema was changed outside migrations"),
        (
            Exit::RolledBack,
            "a migration (or SQL) failed and was rolled back: the database is as before it",
        ),
        (
            Exit::PartiallyCommitted,
            "a migration (or SQL) failed and part of it is committed, or may be: a person must look",
        ),
        (Exit::FailedMigration, "a failed migration of Prisma's blocks (P3009)"),
        (
            Exit::History,
            "the history does not fit (P3005, P3008, P3011, P3012, P3017, P3019, --strict)",
        ),
        (
            Exit::Refused,
            "refused by a policy: a hazard, drift, an unconfirmed write, --all-or-nothing",
        ),
        (
            Exit::MigrationLock,
            "the migration lock was not free in time: retry later",
        ),
        (
            Exit::TableLock,
            "table locks were not free in time, nothing changed: retry later",
        ),
        (Exit::Artifact, "the artifact is missing or invalid (P3015 too)"),
        (Exit::Superseded, "the artifact was superseded by a newer upload"),
        (
            Exit::Database,
            "the database is unreachable, refuses us, or is not writable",
        ),
        (
            Exit::Interrupted,
            "interrupted: the next run begins again or goes on by itself",
        ),
        (
            Exit::InterruptedPartially,
            "interrupted, and the next run cannot go on by itself: a person must look",
        ),
        (
            Exit::Report,
            "the migrations are done, the report could not be delivered",
        ),
        (Exit::NeverStarted, "run, wait: the task never started"),
        (
            Exit::Unknown,
            "run, wait: nothing tells what came of the task: look at its log",
        ),
        (Exit::Detached, "run, wait: detached, the task goes on"),
    ];

    /// Whether starting the task again is all that it takes.
    pub const fn is_start_again(self) -> bool {
        matches!(self, Exit::MigrationLock | Exit::TableLock | Exit::Interrupted)
    }

    /// The one with this number.
    #[cfg(feature = "client")]
    pub fn of(code: i32) -> Option<Exit> {
        Exit::TABLE
            .iter()
            .map(|(exit, _)| *exit)
            .find(|exit| i32::from(exit.code()) == code)
    }

    /// What it means, as the table has it.
    #[cfg(feature = "client")]
    pub fn meaning(self) -> &'static str {
        let row = Exit::TABLE.iter().find(|(exit, _)| *exit == self);
        row.map_or("", |(_, meaning)| meaning)
    }

    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        self as u8
    }
}
