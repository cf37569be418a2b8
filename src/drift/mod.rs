//! `drift`: what was changed in the schema outside migrations since an earlier run, by the report of that run.

pub mod schema;

use crate::artifact::s3;
use crate::database::open::{self, Opened};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::printable::count;
use crate::settings::Settings;
use crate::stop::Stop;
use schema::Schema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where an earlier report is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// An object in S3.
    S3(s3::Address),
}

/// What differs of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub struct Difference {
    /// Its kind and name.
    pub object: String,
    /// What became of it.
    pub change: Change,
    /// Its definition then; none where it is new.
    pub before: Option<String>,
    /// Its definition now; none where it is gone.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.before.as_deref(), self.after.as_deref());
        match self.change {
            Change::Added => write!(f, "{} was added", self.object),
            Change::Removed => write!(f, "{} was removed", self.object),
            Change::Changed => write!(
                f,
                "{} was {}, is {}",
                self.object,
                before.unwrap_or_default(),
                after.unwrap_or_default()
            ),
        }
    }
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there then.
    Added,
    /// It is not there any more.
    Removed,
    /// It is defined otherwise.
    Changed,
}

/// Compares the schema with that of an earlier report.
///
/// # Errors
/// The report or the database cannot be read.
pub async fn drift(settings: &Settings, stop: &Stop, since: &Location, outcome: &mut Outcome) -> Result<Exit, Failure> {
    let run_id = outcome.run_id.clone();
    let terms = settings.terms(&run_id);
    let (then, opened) = stop
        .unless(async { tokio::try_join!(report(since), open::open(&terms)) })
        .await??;
    outcome.database = Some(opened.server.clone());
    let found = stop.unless(compare(&opened, &then, outcome)).await?;
    opened.session.close().await;
    found?;
    Ok(match outcome.drift.is_empty() {
        true => Exit::Success,
        false => Exit::Drift,
    })
}

/// Reads the schema as it is now and says in the outcome how it differs.
///
/// # Errors
/// The server's.
pub async fn compare(opened: &Opened, then: &Schema, outcome: &mut Outcome) -> Result<(), Failure> {
    let history = opened.history.clone().unwrap_or_default();
    let now = schema::read(&opened.session, &history).await;
    let now = now.map_err(|error| open::unusable("the schema could not be read", &error))?;
    if now.migrations_sha256 != then.migrations_sha256 {
        outcome.warnings.push(format!(
            "{} applied then and {} now: what those between them changed is no drift, and is listed all the same",
            count(then.migrations_applied, "migration was", "migrations were"),
            count(now.migrations_applied, "is", "are")
        ));
    }
    if now.server_major != then.server_major {
        outcome.warnings.push(format!(
            "the server was PostgreSQL {} then and is {} now: views are compared by their columns only, and expressions may differ in their words alone",
            then.server_major, now.server_major
        ));
    }
    outcome.drift = differences(then, &now);
    outcome.schema = Some(now);
    Ok(())
}

/// How two schemas differ, by the objects' names. What belongs to a table that is new or gone is left out: the table says it all.
pub fn differences(then: &Schema, now: &Schema) -> Vec<Difference> {
    let (before, after) = (comparable(then, now), comparable(now, then));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    let found: Vec<Difference> = names
        .into_iter()
        .filter_map(|name| {
            let (before, after) = (before.get(name), after.get(name));
            let change = match (before, after) {
                (None, _) => Change::Added,
                (_, None) => Change::Removed,
                (Some(before), Some(after)) if before != after => Change::Changed,
                _ => return None,
            };
            Some(Difference {
                object: name.clone(),
                change,
                before: before.map(|&text| text.to_owned()),
                after: after.map(|&text| text.to_owned()),
            })
        })
        .collect();
    let tables: Vec<(String, Change)> = found
        .iter()
        .filter(|difference| difference.change != Change::Changed)
        .filter_map(|difference| {
            Some((
                format!("{}.", difference.object.strip_prefix("table ")?),
                difference.change,
            ))
        })
        .collect();
    let is_of_a_table = |difference: &Difference| {
        let of_table = ["column ", "constraint ", "index ", "trigger ", "policy "]
            .iter()
            .find_map(|kind| difference.object.strip_prefix(kind));
        of_table.is_some_and(|name| {
            tables
                .iter()
                .any(|(table, change)| name.starts_with(table.as_str()) && difference.change == *change)
        })
    };
    found
        .into_iter()
        .filter(|difference| !is_of_a_table(difference))
        .collect()
}

/// The objects of a schema, of views only the columns where the other one is of another major version: each version writes their text in its own words.
fn comparable<'a>(schema: &'a Schema, other: &Schema) -> BTreeMap<&'a String, &'a str> {
    let same = schema.server_major == other.server_major;
    schema
        .objects
        .iter()
        .map(|(name, definition)| {
            let is_view = name.starts_with("view ") || name.starts_with("materialized view ");
            let columns = definition.rsplit_once(") as ").map(|(columns, _)| columns);
            (name, columns.filter(|_| is_view && !same).unwrap_or(definition))
        })
        .collect()
}

/// Reads the schema out of an earlier report.
///
/// # Errors
/// It cannot be read, or has no schema in it.
pub async fn report(location: &Location) -> Result<Schema, Failure> {
    let unusable = |what: String| {
        Failure::new(
            Exit::Usage,
            what,
            "give the report of an earlier deploy that succeeded, as --report wrote it",
        )
    };
    let (name, text) = match location {
        Location::File(path) => (path.display().to_string(), read_file(path)),
        Location::S3(address) => (
            format!("s3://{}/{}", address.bucket, address.key),
            s3::whole(address, LARGEST_REPORT)
                .await
                .map_err(|error| error.to_string()),
        ),
    };
    let text = text.map_err(|error| unusable(format!("the report {name} cannot be read: {error}")))?;
    let document: Value = serde_json::from_slice(&text)
        .map_err(|error| unusable(format!("the report {name} is no JSON document: {error}")))?;
    match serde_json::from_value(document["schema"].clone()) {
        Ok(Some(schema)) => Ok(schema),
        _ => Err(unusable(format!("the report {name} does not hold a schema"))),
    }
}

/// In bytes: a hundred thousand objects with long definitions.
const LARGEST_REPORT: u64 = 256 << 20;

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(major: u32, objects: &[(&str, &str)]) -> Schema {
        Schema {
            server_major: major,
            objects: objects
                .iter()
                .map(|(n, d)| ((*n).to_owned(), (*d).to_owned()))
                .collect(),
            ..Schema::default()
        }
    }

    #[test]
    fn what_differs_is_named_once() {
        let then = schema(
            15,
            &[
                ("table s.a", "ordinary"),
                ("column s.a.id", "integer"),
                ("table s.gone", "ordinary"),
                ("column s.gone.id", "integer"),
                ("index s.gone.i", "…"),
                ("view s.v", "(a integer) as 11"),
            ],
        );
        let now = schema(
            15,
            &[
                ("table s.a", "ordinary"),
                ("column s.a.id", "bigint"),
                ("column s.a.new", "text"),
                ("table s.b", "ordinary"),
                ("column s.b.id", "integer"),
                ("view s.v", "(a integer) as 22"),
            ],
        );
        let shown = |then: &Schema, now: &Schema| -> Vec<String> {
            differences(then, now)
                .iter()
                .map(|d| format!("{:?} {}", d.change, d.object))
                .collect()
        };
        let expected = [
            "Changed column s.a.id",
            "Added column s.a.new",
            "Added table s.b",
            "Removed table s.gone",
            "Changed view s.v",
        ];
        assert_eq!(shown(&then, &now), expected);
        let upgraded = Schema {
            server_major: 16,
            ..now
        };
        assert_eq!(shown(&then, &upgraded), expected[..4]);
        assert!(shown(&then, &then).is_empty());
    }
}
