//! Every migration of the artifact and of the ledger in one list, as `status` shows it: a pure function of the two.

use crate::history::{Mark, State as Recorded};
use crate::migration::{Migration, order};
use crate::sql::password;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Where a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In the database.
    Applied,
    /// To be applied.
    Pending,
    /// An unfinished row, while a run holds the migration lock.
    Running,
    /// An unfinished row that nobody works on: it failed, or its run was interrupted.
    Failed,
    /// Its last attempt was rolled back: it is pending again.
    RolledBack,
}

/// What is unusual about a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// The file is not the one that was applied.
    Edited,
    /// It was applied and is not in the artifact.
    Missing,
    /// It is pending, and a migration that comes after it is applied.
    Late,
    /// It was recorded as applied by hand, and not run.
    NotRun,
}

/// A migration as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Overview {
    /// Its directory.
    pub name: String,
    /// Where it is.
    pub state: State,
    /// When its last attempt began, RFC 3339, UTC.
    pub started_at: Option<String>,
    /// When it was applied or rolled back.
    pub ended_at: Option<String>,
    /// How long its last attempt took.
    pub duration_ms: Option<u64>,
    /// How many rows the ledger has of it.
    pub attempts: usize,
    /// What its last attempt left in `logs`, where it is not applied.
    pub logs: Option<String>,
    /// What is unusual about it.
    pub remarks: Vec<Remark>,
}

/// A row of the ledger with its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The migration's directory.
    pub migration: String,
    /// As [`crate::history::Row::checksum`].
    pub checksum: String,
    /// What the row's dates say.
    pub state: Recorded,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// When it was applied or rolled back.
    pub ended_at: Option<String>,
    /// From its beginning to its end.
    pub duration_ms: Option<u64>,
    /// 0 where it was not run.
    pub steps: i32,
    /// As it stands in the row.
    pub logs: Option<String>,
}

impl Attempt {
    /// Reads every row, oldest first; `table` is a name as it stands in SQL. Logs are read of what is not applied.
    pub fn select(table: &str) -> String {
        let time = |column: &str| {
            format!("pg_catalog.to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
        };
        format!(
            "SELECT migration_name, checksum, \
             {}, \
             {}, {}, \
             pg_catalog.floor(EXTRACT(epoch FROM COALESCE(rolled_back_at, finished_at) - started_at) * 1000), applied_steps_count, \
             CASE WHEN rolled_back_at IS NOT NULL OR finished_at IS NULL THEN logs END FROM {table} ORDER BY started_at",
            Recorded::SQL,
            time("started_at"),
            time("COALESCE(rolled_back_at, finished_at)"),
        )
    }

    /// Reads a row of [`Attempt::select`], given by its columns' texts.
    pub fn of<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Attempt {
        let text = |at: usize| column(at).unwrap_or_default().to_owned();
        Attempt {
            migration: text(0),
            checksum: text(1),
            state: Recorded::of(column(2)),
            started_at: text(3),
            ended_at: column(4).map(str::to_owned),
            duration_ms: column(5).and_then(|millis| millis.parse().ok()),
            steps: column(6).and_then(|steps| steps.parse().ok()).unwrap_or(0),
            logs: column(7).map(str::to_owned),
        }
    }
}

/// The list, in the order in which migrations are applied. `migrations` are in that order; `under_way`: a run holds the migration lock.
pub fn overview(migrations: &[Migration], attempts: &[Attempt], under_way: bool) -> Vec<Overview> {
    let mut rows: HashMap<&str, Vec<&Attempt>> = HashMap::new();
    for attempt in attempts {
        rows.entry(&attempt.migration).or_default().push(attempt);
    }
    let files: BTreeMap<&str, &Migration> = migrations.iter().map(|m| (m.name.as_str(), m)).collect();
    let mut names: Vec<&str> = files.keys().chain(rows.keys()).copied().collect();
    names.sort_by(|a, b| order::compare(a, b));
    names.dedup();
    let mut list: Vec<Overview> = names
        .into_iter()
        .map(|name| {
            let attempts = rows.get(name).map_or(&[][..], Vec::as_slice);
            one(name, files.get(name).copied(), attempts, under_way)
        })
        .collect();
    let last_applied = list.iter().rposition(|overview| overview.state == State::Applied);
    for earlier in &mut list[..last_applied.unwrap_or(0)] {
        if matches!(earlier.state, State::Pending | State::RolledBack) {
            earlier.remarks.push(Remark::Late);
        }
    }
    list
}

fn one(name: &str, file: Option<&Migration>, attempts: &[&Attempt], under_way: bool) -> Overview {
    // Any row that is applied makes it so, and any that is unfinished blocks: the later ones only tell what else happened.
    let decisive = [Recorded::Unfinished, Recorded::Applied, Recorded::RolledBack]
        .iter()
        .find_map(|state| attempts.iter().rfind(|attempt| attempt.state == *state));
    let state = match decisive.map(|attempt| attempt.state) {
        None => State::Pending,
        Some(Recorded::Applied) => State::Applied,
        Some(Recorded::RolledBack) => State::RolledBack,
        Some(Recorded::Unfinished) if under_way => State::Running,
        Some(Recorded::Unfinished) => State::Failed,
    };
    let mut remarks = Vec::new();
    if state == State::Applied {
        match file {
            None => remarks.push(Remark::Missing),
            Some(file) => {
                let edited = |attempt: &&Attempt| file.script.matches(&attempt.checksum) == Some(false);
                remarks.extend(decisive.is_some_and(edited).then_some(Remark::Edited));
            }
        }
        remarks.extend(
            decisive
                .is_some_and(|attempt| attempt.steps == 0)
                .then_some(Remark::NotRun),
        );
    }
    Overview {
        name: name.to_owned(),
        state,
        started_at: decisive.map(|attempt| attempt.started_at.clone()),
        ended_at: decisive.and_then(|attempt| attempt.ended_at.clone()),
        duration_ms: decisive.and_then(|attempt| attempt.duration_ms),
        attempts: attempts.len(),
        logs: decisive.and_then(|attempt| attempt.logs.as_deref()).and_then(error_of),
        remarks,
    }
}

/// What a row's logs say to a person: without our mark, which is for the next run.
fn error_of(logs: &str) -> Option<String> {
    let text = match Mark::parse(logs) {
        Some(_) => logs.split_once('\n').map_or("", |(_, error)| error),
        None => logs,
    };
    let text = text.trim();
    (!text.is_empty()).then(|| password::starred(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Script;

    fn file(name: &str) -> Migration {
        Migration {
            name: name.to_owned(),
            script: Script::read(name.as_bytes().to_vec()),
        }
    }

    fn row(migration: &str, state: Recorded) -> Attempt {
        Attempt {
            migration: migration.to_owned(),
            checksum: Script::read(migration.as_bytes().to_vec())
                .checksum()
                .unwrap()
                .to_owned(),
            state,
            started_at: "2026-01-01T00:00:00.000Z".into(),
            ended_at: None,
            duration_ms: Some(7),
            steps: 1,
            logs: None,
        }
    }

    fn shown(list: &[Overview]) -> Vec<String> {
        list.iter()
            .map(|o| format!("{} {:?} {:?}", o.name, o.state, o.remarks))
            .collect()
    }

    #[test]
    fn each_migration_is_listed_once_with_what_decides() {
        let files: Vec<Migration> = ["1_a", "2_b", "3_c", "4_d", "5_e", "6_f"].map(file).into();
        let mut edited = row("3_c", Recorded::Applied);
        edited.checksum = "0".repeat(64);
        let mut by_hand = row("4_d", Recorded::Applied);
        by_hand.steps = 0;
        let attempts = [
            row("1_a", Recorded::RolledBack),
            row("1_a", Recorded::Applied),
            edited,
            by_hand,
            row("0_gone", Recorded::Applied),
            row("5_e", Recorded::RolledBack),
            row("6_f", Recorded::Unfinished),
        ];
        let expected = [
            "0_gone Applied [Missing]",
            "1_a Applied []",
            "2_b Pending [Late]",
            "3_c Applied [Edited]",
            "4_d Applied [NotRun]",
            "5_e RolledBack []",
            "6_f Failed []",
        ];
        assert_eq!(shown(&overview(&files, &attempts, false)), expected);
        let running = overview(&files, &attempts, true);
        assert_eq!(running.last().map(|o| o.state), Some(State::Running));
        assert_eq!(running[1].attempts, 2);
    }

    #[test]
    fn of_the_logs_the_error_is_shown_and_not_the_mark() {
        let cases = [
            ("prisma-migrate-task/1 run=a state=partial", None),
            ("prisma-migrate-task/1 run=a state=partial\nERROR: x", Some("ERROR: x")),
            ("A migration failed\nx", Some("A migration failed\nx")),
            (" \n", None),
        ];
        for (logs, expected) in cases {
            assert_eq!(error_of(logs).as_deref(), expected, "{logs}");
        }
    }
}
