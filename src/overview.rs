//! Every migration of the artifact and of the ledger in one list, as `status` shows it.

use crate::history::{Mark, Row, State as Recorded};
use crate::judgement::{Judged, Judgement, Remark, Standing};
use crate::migration::order;
use crate::sql::password;
use serde::Serialize;

/// Where a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In the database.
    Applied,
    /// To be applied.
    Pending,
    /// An unfinished row that a run works on.
    Running,
    /// An unfinished row that the next deploy goes on with, or corrects, without help.
    Interrupted,
    /// An unfinished row of a script that failed. Either the next deploy goes on with it once the script is fixed (`next_deploy` is set), or it blocks
    /// every deploy.
    Failed,
    /// Its last attempt was rolled back: it is pending again.
    RolledBack,
}

/// A migration as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Overview {
    /// Its directory.
    pub name: String,
    /// Where it is.
    pub state: State,
    /// What the next deploy does with it, if its state does not say that: "goes on after its first 2 statements (of 5)".
    #[serde(default)]
    pub next_deploy: Option<String>,
    /// When its last attempt began, RFC 3339, UTC.
    pub started_at: Option<String>,
    /// When it was applied or rolled back.
    pub ended_at: Option<String>,
    /// How long its last attempt took.
    pub duration_ms: Option<u64>,
    /// How many rows the ledger has of it.
    pub attempts: usize,
    /// What its last attempt left in `logs`, if it is not applied.
    pub logs: Option<String>,
    /// What is unusual about it.
    pub remarks: Vec<Remark>,
}

/// The list, in the order in which migrations are applied. The rows are read with [`crate::history::Columns::All`].
pub fn overview(judgement: &Judgement<'_, '_>) -> Vec<Overview> {
    let mut list: Vec<Overview> = judgement.all().map(of).collect();
    if !judgement.absent.is_empty() {
        list.sort_by(|a, b| order::compare(&a.name, &b.name));
    }
    list
}

fn of(judged: &Judged<'_, '_>) -> Overview {
    let state = match &judged.standing {
        Standing::Pending => State::Pending,
        Standing::RolledBack => State::RolledBack,
        Standing::Applied => State::Applied,
        Standing::Running => State::Running,
        standing if standing.recovers() => State::Interrupted,
        _ => State::Failed,
    };
    // The row that decides: an unfinished one before one that is applied.
    let decisive = [Recorded::Unfinished, Recorded::Applied, Recorded::RolledBack]
        .iter()
        .find_map(|state| judged.rows.iter().rfind(|row| row.state == *state));
    let of_row = |value: fn(&Row) -> Option<String>| decisive.and_then(|row| value(row));
    Overview {
        name: judged.name.to_owned(),
        state,
        next_deploy: judged.standing.next_deploy(),
        started_at: of_row(|row| Some(row.started_at.clone())),
        ended_at: of_row(|row| row.ended_at.clone()),
        duration_ms: decisive.and_then(|row| row.duration_ms),
        attempts: judged.rows.len(),
        logs: of_row(|row| error_of(row.logs.as_deref()?)),
        remarks: judged.remarks.clone(),
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
    use crate::history::History;
    use crate::judgement::Evidence;
    use crate::migration::{Migration, Script};
    use crate::sql::script::Strings;

    fn file(name: &str) -> Migration {
        Migration {
            name: name.to_owned(),
            script: Script::read(name.as_bytes().to_vec()),
        }
    }

    fn row(migration: &str, state: Recorded) -> Row {
        Row {
            id: format!("{migration} {state:?}"),
            migration: migration.to_owned(),
            checksum: Script::read(migration.as_bytes().to_vec())
                .checksum()
                .unwrap()
                .to_owned(),
            state,
            started_at: "2026-01-01T00:00:00.000Z".into(),
            ended_at: None,
            duration_ms: Some(7),
            applied_steps_count: 1,
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
        let files: Vec<Migration> = ["1_a", "2_b", "3_c", "4_d", "5_e", "6_f", "7_g"].map(file).into();
        let mut edited = row("3_c", Recorded::Applied);
        edited.checksum = "0".repeat(64);
        let mut by_hand = row("4_d", Recorded::Applied);
        by_hand.applied_steps_count = 0;
        let mut without = row("7_g", Recorded::Applied);
        without.checksum = "remote-migration".into();
        let rows = vec![
            row("1_a", Recorded::RolledBack),
            row("1_a", Recorded::Applied),
            edited,
            by_hand,
            row("0_gone", Recorded::Applied),
            row("5_e", Recorded::RolledBack),
            row("6_f", Recorded::Unfinished),
        ];
        let history = History { rows };
        let list = |history: &History, under_way| {
            let mut evidence = Evidence::default();
            evidence.under_way = under_way;
            overview(&Judgement::new(&files, history, &evidence, Strings::Standard))
        };
        let expected = [
            "0_gone Applied [Missing]",
            "1_a Applied []",
            "2_b Pending [Late]",
            "3_c Applied [Edited]",
            "4_d Applied [NotRun]",
            "5_e RolledBack []",
            "6_f Failed []",
            "7_g Pending []",
        ];
        assert_eq!(shown(&list(&history, false)), expected);
        let running = list(&history, true);
        assert_eq!(running[6].state, State::Running);
        assert_eq!(running[1].attempts, 2);
        let mut later = history.clone();
        later.rows.push(without);
        let later = shown(&list(&later, false));
        assert_eq!(later[5], "5_e RolledBack [Late]");
        assert_eq!(later[7], "7_g Applied [NoChecksum]");
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
