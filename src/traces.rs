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

/// A sentence on what of a script's creations exists; none where it creates nothing that could be looked for.
///
/// # Errors
/// The server's.
pub async fn of(session: &Session, script: &str) -> Result<Option<String>, ServerError> {
    let created: Vec<Created> = script::statements(script)
        .iter()
        .filter_map(|statement| created::created(&script[statement.range.clone()]))
        .collect();
    if created.is_empty() {
        return Ok(None);
    }
    let tests: Vec<String> = created.iter().map(exists).collect();
    let rows = session.rows(&format!("SELECT {}", tests.join(", "))).await?;
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
    Ok(Some(match (present.len(), absent.len()) {
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
    }))
}

fn exists(created: &Created) -> String {
    let look_up = match created.sort {
        created::Sort::Relation => "to_regclass",
        created::Sort::Type => "to_regtype",
        created::Sort::Schema => "to_regnamespace",
    };
    format!("pg_catalog.{look_up}({}) IS NOT NULL", quote::literal(&created.name))
}
