//! What can be seen of a migration that nobody knows the fate of: which of the things that its script makes exist.
//!
//! It decides nothing. It is what a person would look up first, when an unfinished row of Prisma's, or one of ours that is partially committed, asks
//! whether the migration is in.

use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::sql::created::{self, Created};
use crate::sql::quote;
use crate::sql::script;

/// So many names of each sort are listed.
const SHOWN: usize = 8;

/// Sentences on what of a script's creations exists, and whether its tables have the columns that the script gives them; none where it creates nothing
/// that could be looked for.
///
/// The names are the script's: they are looked up as the session stands, and so everything else in these queries is qualified.
///
/// # Errors
/// The server's.
pub async fn of(session: &Session, script: &str) -> Result<Vec<String>, ServerError> {
    let created: Vec<Created> = script::statements(script)
        .iter()
        .filter_map(|statement| created::created(&script[statement.range.clone()]))
        .collect();
    if created.is_empty() {
        return Ok(Vec::new());
    }
    let tests: Vec<String> = created.iter().map(exists).collect();
    let rows = session.raw(&format!("SELECT {}", tests.join(", "))).await?;
    let there = |at: usize| rows.first().and_then(|row| row.get(at)) == Some("t");
    let (present, absent): (Vec<_>, Vec<_>) = created.iter().enumerate().partition(|(at, _)| there(*at));
    let names = |things: &[(usize, &Created)]| {
        let mut shown: Vec<&str> = things
            .iter()
            .take(SHOWN)
            .map(|(_, created)| created.name.as_str())
            .collect();
        if things.len() > SHOWN {
            shown.push("…");
        }
        shown.join(", ")
    };
    let total = created.len();
    let summary = match (present.len(), absent.len()) {
        (0, 1) => format!(
            "the only thing that its script creates does not exist ({})",
            names(&absent)
        ),
        (1, 0) => format!("the only thing that its script creates exists ({})", names(&present)),
        (0, _) => format!(
            "none of the {total} things that its script creates exists ({})",
            names(&absent)
        ),
        (_, 0) => format!(
            "all of the {total} things that its script creates exist ({})",
            names(&present)
        ),
        (some, _) => format!(
            "{some} of the {total} things that its script creates exist ({}), the others do not ({})",
            names(&present),
            names(&absent)
        ),
    };
    let mut said = vec![summary];
    let tables: Vec<&Created> = present
        .iter()
        .map(|(_, created)| *created)
        .filter(|created| !created.columns.is_empty())
        .collect();
    if !tables.is_empty() {
        let differences: Vec<String> = tables.iter().map(|table| differing_columns(table)).collect();
        let rows = session.raw(&format!("SELECT {}", differences.join(", "))).await?;
        let differing = |at: usize| rows.first().and_then(|row| row.get(at));
        let alike: Vec<&str> = tables
            .iter()
            .enumerate()
            .filter(|(at, _)| differing(*at).is_none())
            .map(|(_, table)| table.name.as_str())
            .collect();
        if !alike.is_empty() {
            said.push(format!(
                "with the columns that the script gives them, and their types: {}",
                alike.join(", ")
            ));
        }
        said.extend(tables.iter().enumerate().filter_map(|(at, table)| {
            differing(at).map(|columns| format!("{} exists and differs: {columns}", table.name))
        }));
    }
    Ok(said)
}

/// The columns of a table that the script has and the database has not, or has with another type; NULL where there is none.
fn differing_columns(table: &Created) -> String {
    let values: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            format!(
                "({}, {})",
                quote::literal(&column.name),
                quote::literal(&column.of_type)
            )
        })
        .collect();
    format!(
        "(SELECT pg_catalog.string_agg(pg_catalog.concat(c.name, CASE WHEN a.attname IS NULL THEN ' is missing' \
         ELSE pg_catalog.concat(' is ', pg_catalog.format_type(a.atttypid, a.atttypmod), ', not ', c.of_type) END), ', ') \
         FROM (VALUES {}) AS c(name, of_type) LEFT JOIN pg_catalog.pg_attribute a \
         ON a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({}) \
         AND a.attname OPERATOR(pg_catalog.=) c.name AND NOT a.attisdropped \
         WHERE a.attname IS NULL OR a.atttypid OPERATOR(pg_catalog.<>) pg_catalog.to_regtype(c.of_type))",
        values.join(", "),
        quote::literal(&table.name)
    )
}

fn exists(created: &Created) -> String {
    let look_up = match created.sort {
        created::Sort::Relation => "to_regclass",
        created::Sort::Type => "to_regtype",
        created::Sort::Schema => "to_regnamespace",
    };
    format!("pg_catalog.{look_up}({}) IS NOT NULL", quote::literal(&created.name))
}
