//! What is not in a ledger as Prisma would have written it, and what would be: a pure function of the migrations and the rows.

use crate::history::{Ledger, State, TABLE_ONLY, WHOLE};
use crate::invocation::command;
use crate::judgement::{Judged, Judgement, Standing, is_checksum};
use crate::sql::password;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A row of the ledger, and all of it as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// The migration's directory.
    pub migration: String,
    /// Whatever stands there.
    pub checksum: String,
    /// What its dates say.
    pub state: State,
    /// When it was begun, as the server writes it.
    pub started_at: String,
    /// The whole row.
    pub row: Value,
}

impl Kept {
    /// Reads every row, in the order in which migrations were applied; `table` is a name as it stands in SQL.
    pub fn select(table: &str) -> String {
        format!(
            "{WHOLE}; SELECT id, migration_name, checksum, \
             {}, \
             started_at, pg_catalog.row_to_json(t) FROM {table} AS t {TABLE_ONLY} ORDER BY started_at, finished_at, id",
            State::SQL
        )
    }

    /// Reads a row of [`Kept::select`], given by its columns' texts.
    pub fn of<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Kept {
        let text = |at: usize| column(at).unwrap_or_default().to_owned();
        Kept {
            id: text(0),
            migration: text(1),
            checksum: text(2),
            state: State::of(column(3)),
            started_at: text(4),
            row: column(5).map_or(Value::Null, shown),
        }
    }
}

/// A row as JSON. An error in its logs may quote a statement with a password.
fn shown(json: &str) -> Value {
    let mut row: Value = serde_json::from_str(json).unwrap_or(Value::Null);
    if let Some(Value::String(logs)) = row.get_mut("logs") {
        *logs = password::starred(logs);
    }
    row
}

/// One thing that is not as Prisma would have written it, and can be made so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Change {
    /// The migration.
    pub migration: String,
    /// What is done to the row.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// The whole row as it was.
    pub row: Value,
    /// The row's id.
    #[serde(skip)]
    pub id: String,
}

/// What is done to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes: another row says the same.
    Remove,
    /// It becomes the row that Prisma writes for a migration that it applied, with the file's checksum.
    Rewrite {
        /// Lower-case hexadecimal SHA-256 of the file.
        checksum: String,
    },
}

impl Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Action::Remove => "remove",
            Action::Rewrite { .. } => "rewrite",
        })
    }
}

/// The document does not tell the checksum that the row got.
#[cfg(feature = "client")]
impl<'de> serde::Deserialize<'de> for Action {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
        match &*<std::borrow::Cow<'de, str>>::deserialize(deserializer)? {
            "remove" => Ok(Action::Remove),
            "rewrite" => Ok(Action::Rewrite {
                checksum: String::new(),
            }),
            word => Err(serde::de::Error::custom(format!("unknown action {word}"))),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What can be made as Prisma would have written it.
    pub changes: Vec<Change>,
    /// What is unusual and left as it is, a sentence each.
    pub left: Vec<String>,
}

/// Says what is to be changed. `rows` are in the order in which they were begun.
pub fn findings(judgement: &Judgement<'_, '_>, rows: &[Kept]) -> Findings {
    let mut by_migration: BTreeMap<&str, Vec<&Kept>> = BTreeMap::new();
    for row in rows {
        by_migration.entry(&row.migration).or_default().push(row);
    }
    let mut found = Findings::default();
    for (name, rows) in by_migration {
        if let Some(judged) = judgement.of(name) {
            judge(judged, &rows, &mut found);
        }
    }
    found
}

fn judge(judged: &Judged<'_, '_>, rows: &[&Kept], found: &mut Findings) {
    let name = judged.name;
    let change = |row: &Kept, action, reason: &str| Change {
        migration: name.to_owned(),
        action,
        reason: reason.to_owned(),
        row: row.row.clone(),
        id: row.id.clone(),
    };
    let is_applied = |row: &&&Kept| row.state == State::Applied;
    // A row with a checksum that can be one is Prisma's own or as good; else the first one is when it really ran.
    let kept = rows
        .iter()
        .filter(is_applied)
        .find(|row| is_checksum(&row.checksum))
        .or_else(|| rows.iter().find(is_applied));
    if judged.file.is_none() {
        found.left.push(format!(
            "{name}: it has rows and no directory in the artifact; Prisma does not mind, and nothing is made of it"
        ));
    }
    let Some(kept) = kept else {
        let standing = &judged.standing;
        found.left.extend(match (standing, standing.next_deploy()) {
            (Standing::Running, _) => Some(format!("{name}: a run may be at work on it")),
            (_, Some(does)) => Some(format!("{name}: it did not finish; the next deploy {does}")),
            (standing, None) if standing.blocks() => Some(format!(
                "{name}: it did not finish and blocks every deploy; `{}` shows what to do",
                command(&["status"])
            )),
            _ => None,
        });
        return;
    };
    for row in rows.iter().filter(|row| row.id != kept.id) {
        match row.state {
            State::Applied => found.changes.push(change(
                row,
                Action::Remove,
                "another row says that the migration is applied",
            )),
            State::Unfinished if judged.standing == Standing::Running => found
                .left
                .push(format!("{name}: a run may be at work on its unfinished row")),
            State::Unfinished => found.changes.push(change(
                row,
                Action::Remove,
                "an attempt that did not finish, of a migration that is applied",
            )),
            State::RolledBack => {}
        }
    }
    if is_checksum(&kept.checksum) {
        return;
    }
    match judged.file.and_then(|file| file.script.checksum()) {
        Some(checksum) => {
            let checksum = checksum.to_owned();
            let reason = format!(
                "its checksum is {:?}, which is none: it becomes the file's",
                kept.checksum
            );
            found.changes.push(change(kept, Action::Rewrite { checksum }, &reason));
        }
        _ => found.left.push(format!(
            "{name}: its checksum is {:?}, which is none, and there is no file to take one from",
            kept.checksum
        )),
    }
}

/// The statements that make the changes, all or none. Each asserts that it found its row as it was read.
pub fn statements(ledger: &Ledger, changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| match &change.action {
            Action::Remove => ledger.remove(&change.id),
            Action::Rewrite { checksum } => ledger.rewrite(&change.id, checksum),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{History, Row};
    use crate::judgement::Evidence;
    use crate::migration::{Migration, Script};
    use crate::sql::script::Strings;

    fn row(id: &str, migration: &str, checksum: &str, state: State) -> Kept {
        Kept {
            id: id.into(),
            migration: migration.into(),
            checksum: checksum.into(),
            state,
            started_at: String::new(),
            row: Value::Null,
        }
    }

    /// The same row as the judgement reads it.
    fn of_history(kept: &Kept) -> Row {
        Row {
            id: kept.id.clone(),
            migration: kept.migration.clone(),
            checksum: kept.checksum.clone(),
            state: kept.state,
            started_at: String::new(),
            ended_at: None,
            duration_ms: None,
            applied_steps_count: 1,
            logs: None,
        }
    }

    fn shown(found: &Findings) -> Vec<String> {
        found
            .changes
            .iter()
            .map(|change| match &change.action {
                Action::Remove => format!("remove {}", change.id),
                Action::Rewrite { checksum } => format!("rewrite {} {}", change.id, &checksum[..4]),
            })
            .collect()
    }

    #[test]
    fn what_others_wrote_is_told_from_what_prisma_writes() {
        use State::{Applied, RolledBack, Unfinished};
        let sum = "ab".repeat(32);
        let remote = "remote-migration";
        let files = [Migration {
            name: "1".into(),
            script: Script::read(b"hello".to_vec()),
        }];
        let cases: &[(&[Kept], &[&str], usize)] = &[
            (&[row("a", "1", &sum, Applied)], &[], 0),
            (&[row("a", "1", &sum, RolledBack), row("b", "1", &sum, Applied)], &[], 0),
            (&[row("a", "1", remote, Applied)], &["rewrite a 2cf2"], 0),
            (
                &[
                    row("a", "1", remote, Applied),
                    row("b", "1", remote, Applied),
                    row("c", "1", remote, Unfinished),
                ],
                &["remove b", "remove c", "rewrite a 2cf2"],
                0,
            ),
            (
                &[row("a", "1", remote, Applied), row("b", "1", &sum, Applied)],
                &["remove a"],
                0,
            ),
            (&[row("a", "1", &sum, Unfinished)], &[], 1),
            (&[row("a", "9", &sum, Applied)], &[], 1),
            (
                &[row("a", "9", remote, Applied), row("b", "9", remote, Applied)],
                &["remove b"],
                2,
            ),
        ];
        for (rows, changes, left) in cases {
            let history = History {
                rows: rows.iter().map(of_history).collect(),
            };
            let judgement = Judgement::new(&files, &history, &Evidence::default(), Strings::Standard);
            let found = findings(&judgement, rows);
            assert_eq!(
                (shown(&found), found.left.len()),
                (changes.iter().map(|c| (*c).to_owned()).collect(), *left),
                "{rows:?}"
            );
        }
    }
}
