//! The place for the ledger: the schema and the migrations table, made where they are missing.

use crate::database::open::{self, Opened};
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::Ledger;
use crate::invocation::command;
use crate::printable::count;
use crate::sql::quote;

/// Makes the schema and the migrations table where they are missing. Under the lock, so that no two runs do it at once.
///
/// # Errors
/// The schema holds tables and Prisma does not manage it (P3005); no place for the table; the server's.
pub async fn prepare(opened: &Opened, wanted: Option<&str>) -> Result<Ledger, Failure> {
    let session = &opened.session;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: ServerError| open::unusable(&what, &error)
    };
    if opened.server.schema.is_none() {
        let Some(schema) = wanted else {
            return Err(no_schema());
        };
        let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quote::identifier(schema));
        session
            .rows(&sql)
            .await
            .map_err(failed("the schema could not be created"))?;
    }
    let ledger = match opened.server.ledger().or_else(|| wanted.map(Ledger::in_schema)) {
        Some(ledger) => ledger,
        None => {
            return Err(Failure::new(
                Exit::Unexpected,
                "the migrations table has no schema",
                "report this as a bug",
            ));
        }
    };
    if opened.history.is_some() {
        return Ok(ledger);
    }
    let schema = opened.server.schema.as_deref().or(wanted).unwrap_or_default();
    if managed(session, schema).await? {
        return Ok(ledger);
    }
    session
        .rows(&ledger.create())
        .await
        .map_err(failed("the migrations table could not be created"))?;
    Ok(ledger)
}

/// No schema of the search path exists, and none is named that could be made.
pub fn no_schema() -> Failure {
    Failure::new(
        Exit::Database,
        "no schema of the search path exists, so there is no place for the migrations table",
        "create the schema, or name one with ?schema= or DB_SCHEMA: that one is created",
    )
}

/// Whether the migrations table is in the schema by now; where it is not, the schema holds no other table.
///
/// # Errors
/// It holds other tables and no migrations table (P3005); the server's.
pub async fn managed(session: &Session, schema: &str) -> Result<bool, Failure> {
    let tables = session.rows(&tables_in(schema)).await;
    let tables = tables.map_err(|error| open::unusable("the schema could not be examined", &error))?;
    let names: Vec<&str> = tables.iter().filter_map(|row| row.get(0)).collect();
    if names.contains(&crate::history::TABLE) {
        return Ok(true);
    }
    if !names.is_empty() {
        let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        return Err(Failure::new(
            Exit::History,
            format!(
                "the schema {schema} is not empty ({}: {shown}), and Prisma does not manage it yet",
                count(names.len(), "table", "tables")
            ),
            format!(
                "record the migrations that it holds with `{}`, the last of them, then deploy again",
                command(&["baseline", "--to", "NAME"])
            ),
        )
        .prisma(Some("P3005")));
    }
    Ok(false)
}

/// The ordinary tables of a schema, those left out that extensions make and Prisma does not count (Prisma 6.19, `schema_differ.rs`).
fn tables_in(schema: &str) -> String {
    format!(
        "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND n.nspname = {} AND pg_catalog.lower(c.relname) NOT IN \
         ('spatial_ref_sys', 'geometry_columns', 'geography_columns', 'raster_columns', 'raster_overviews') ORDER BY 1",
        quote::literal(schema)
    )
}
