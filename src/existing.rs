//! Which of the things that a script makes or removes are in the database: what a person would look up first if nobody knows what became of it.
//!
//! It decides nothing. It also says which statements it did not look at, because the catalogue cannot show what they did.

mod expected;

pub use expected::{Expected, Object, ObjectKind, Wanted, expected, lives};

use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::hazard::name::Name;
use crate::sql::quote;

/// So many names of each sort are listed.
const SHOWN: usize = 8;

/// What the catalogue says of one expected object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<'e> {
    /// The object and what the script wants of it.
    pub object: &'e Object,
    /// Whether it exists.
    pub exists: bool,
    /// How it differs from what the script says of it: an INVALID index, a column of another type.
    pub differs: Option<String>,
}

impl Seen<'_> {
    /// Whether the database is as the script leaves it, as far as this object tells.
    pub fn is_as_wanted(&self) -> bool {
        match self.object.wanted {
            Wanted::Exists => self.exists && self.differs.is_none(),
            Wanted::Gone => !self.exists,
        }
    }

    /// How it differs, as a sentence; none if it does not exist or is as the script says.
    fn difference(&self) -> Option<String> {
        let differs = self.differs.as_deref().filter(|_| self.exists)?;
        let object = self.object;
        Some(match differs == INVALID {
            true => format!(
                "{object} is INVALID: PostgreSQL does not use it; drop it with `DROP INDEX CONCURRENTLY {}`, then build it again",
                object.name.quoted()
            ),
            false => format!("{object} differs: {differs}"),
        })
    }
}

const INVALID: &str = "INVALID";

/// So many objects are asked for in one statement.
const AT_ONCE: usize = 200;

/// Asks the catalogue for each expected object. The names are the script's, so they are resolved as the session stands.
///
/// # Errors
/// The server's.
pub async fn look<'e>(session: &Session, expected: &'e Expected) -> Result<Vec<Seen<'e>>, ServerError> {
    let mut seen = Vec::new();
    for objects in expected.objects.chunks(AT_ONCE) {
        let columns: Vec<String> = objects
            .iter()
            .flat_map(|object| [exists(object), differs(object)])
            .collect();
        let rows = session.raw(&format!("SELECT {}", columns.join(", "))).await?;
        let column = |at: usize| rows.first().and_then(|row| row.get(at));
        seen.extend(objects.iter().enumerate().map(|(at, object)| Seen {
            object,
            exists: column(2 * at) == Some("t"),
            differs: column(2 * at + 1).filter(|text| !text.is_empty()).map(str::to_owned),
        }));
    }
    Ok(seen)
}

/// Sentences for a person who has to decide whether a script is in the database. None if the script says nothing that could be looked for.
pub fn sentences(expected: &Expected, seen: &[Seen<'_>]) -> Vec<String> {
    let mut said = Vec::new();
    let (made, removed): (Vec<&Seen<'_>>, Vec<&Seen<'_>>) =
        seen.iter().partition(|seen| seen.object.wanted == Wanted::Exists);
    if !made.is_empty() {
        let (present, absent): (Vec<&Seen<'_>>, Vec<&Seen<'_>>) = made.iter().partition(|seen| seen.exists);
        said.push(match (present.len(), absent.len(), made.len()) {
            (_, 0, 1) => format!("the one object that its script creates exists: {}", list(&present)),
            (0, _, 1) => format!(
                "the one object that its script creates does not exist: {}",
                list(&absent)
            ),
            (_, 0, total) => format!("all {total} objects that its script creates exist: {}", list(&present)),
            (0, _, total) => format!(
                "none of the {total} objects that its script creates exists: {}",
                list(&absent)
            ),
            (some, _, total) => format!(
                "{some} of the {total} objects that its script creates exist: {}; missing: {}",
                list(&present),
                list(&absent)
            ),
        });
        said.extend(present.iter().filter_map(|seen| seen.difference()));
    }
    let (gone, left): (Vec<&Seen<'_>>, Vec<&Seen<'_>>) = removed.iter().partition(|seen| !seen.exists);
    if !gone.is_empty() {
        said.push(format!("removed, as its script does: {}", list(&gone)));
    }
    if !left.is_empty() {
        said.push(format!("still there, though its script removes it: {}", list(&left)));
    }
    said.extend(expected.not_looked_at());
    said
}

/// Sentences on what in the database contradicts that a script has run, and on what of it cannot be seen there.
pub fn contradictions(expected: &Expected, seen: &[Seen<'_>]) -> Vec<String> {
    let made = |seen: &&Seen<'_>| seen.object.wanted == Wanted::Exists;
    let missing: Vec<&Seen<'_>> = seen.iter().filter(made).filter(|seen| !seen.exists).collect();
    let left: Vec<&Seen<'_>> = seen.iter().filter(|seen| !made(seen) && seen.exists).collect();
    let mut said = Vec::new();
    if !missing.is_empty() {
        said.push(format!("its script creates what does not exist: {}", list(&missing)));
    }
    said.extend(seen.iter().filter(made).filter_map(Seen::difference));
    if !left.is_empty() {
        said.push(format!("still there, though its script removes it: {}", list(&left)));
    }
    said.extend(expected.not_looked_at());
    said
}

fn list(seen: &[&Seen<'_>]) -> String {
    let mut shown: Vec<String> = seen.iter().take(SHOWN).map(|seen| seen.object.to_string()).collect();
    if seen.len() > SHOWN {
        shown.push(format!("{} more", seen.len() - SHOWN));
    }
    shown.join(", ")
}

/// The OID of the relation of this name; NULL if there is none.
fn relation(name: &Name) -> String {
    format!("pg_catalog.to_regclass({})", quote::literal(&name.quoted()))
}

/// SQL: whether an object exists.
fn exists(object: &Object) -> String {
    let name = quote::literal(&object.name.name);
    let on = |table: &Name, catalogue: &str, relation_column: &str, column: &str, also: &str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.{catalogue} WHERE {relation_column} OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
             AND {column} OPERATOR(pg_catalog.=) {name}::pg_catalog.name{also})",
            relation(table)
        )
    };
    match &object.kind {
        ObjectKind::Table(_) | ObjectKind::View | ObjectKind::Index | ObjectKind::Sequence => {
            format!("{} IS NOT NULL", relation(&object.name))
        }
        ObjectKind::Type => format!(
            "pg_catalog.to_regtype({}) IS NOT NULL",
            quote::literal(&object.name.quoted())
        ),
        ObjectKind::Schema => format!(
            "pg_catalog.to_regnamespace({}) IS NOT NULL",
            quote::literal(&object.name.quoted())
        ),
        ObjectKind::Extension => format!(
            "EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) {name}::pg_catalog.name)"
        ),
        ObjectKind::EnumValue(of) => format!(
            "EXISTS (SELECT FROM pg_catalog.pg_enum WHERE enumtypid OPERATOR(pg_catalog.=) pg_catalog.to_regtype({})::pg_catalog.oid \
             AND enumlabel OPERATOR(pg_catalog.=) {name}::pg_catalog.name)",
            quote::literal(&of.quoted())
        ),
        ObjectKind::Column { table, .. } => on(table, "pg_attribute", "attrelid", "attname", " AND NOT attisdropped"),
        ObjectKind::Constraint(table) => on(table, "pg_constraint", "conrelid", "conname", ""),
        ObjectKind::Trigger(table) => on(table, "pg_trigger", "tgrelid", "tgname", ""),
        ObjectKind::Policy(table) => on(table, "pg_policy", "polrelid", "polname", ""),
    }
}

/// SQL: how an object that exists differs from what the script says of it; NULL if it does not.
fn differs(object: &Object) -> String {
    match &object.kind {
        ObjectKind::Index => format!(
            "(SELECT '{INVALID}' FROM pg_catalog.pg_index WHERE indexrelid OPERATOR(pg_catalog.=) {}::pg_catalog.oid AND NOT indisvalid)",
            relation(&object.name)
        ),
        ObjectKind::Constraint(table) => format!(
            "(SELECT 'it is NOT VALID' FROM pg_catalog.pg_constraint WHERE conrelid OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
             AND conname OPERATOR(pg_catalog.=) {}::pg_catalog.name AND NOT convalidated AND {})",
            relation(table),
            quote::literal(&object.name.name),
            !object.not_valid
        ),
        ObjectKind::Table(columns) if !columns.is_empty() => differing_columns(&object.name, columns),
        ObjectKind::Column {
            table,
            of_type: Some(of_type),
        } => differing_columns(table, &[(object.name.name.clone(), of_type.clone())]),
        _ => "NULL::pg_catalog.text".to_owned(),
    }
}

/// The columns of a table that the script has and the database has not, or has with another type; NULL if there is none.
fn differing_columns(table: &Name, columns: &[(String, String)]) -> String {
    let values: Vec<String> = columns
        .iter()
        .map(|(name, of_type)| format!("({}, {})", quote::literal(name), quote::literal(of_type)))
        .collect();
    format!(
        "(SELECT pg_catalog.string_agg(pg_catalog.concat(c.name, CASE WHEN a.attname IS NULL THEN ' is missing' \
         ELSE pg_catalog.concat(' is ', pg_catalog.format_type(a.atttypid, a.atttypmod), ', not ', c.of_type) END), ', ') \
         FROM (VALUES {}) AS c(name, of_type) LEFT JOIN pg_catalog.pg_attribute a \
         ON a.attrelid OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
         AND a.attname OPERATOR(pg_catalog.=) c.name::pg_catalog.name AND NOT a.attisdropped \
         WHERE a.attname IS NULL OR a.atttypid OPERATOR(pg_catalog.<>) pg_catalog.to_regtype(c.of_type)::pg_catalog.oid)",
        values.join(", "),
        relation(table)
    )
}
