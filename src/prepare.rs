//! The place for the ledger: whether it may be made there, and the schema and the migrations table, made where they are missing.

use crate::artifact::project::Datasource;
use crate::database::open::{self, Opened};
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::{Ledger, TABLE, TABLE_ONLY, WHOLE};
use crate::invocation::command;
use crate::printable::count;
use crate::sql::quote;

/// Makes the schema and the migrations table where they are missing. Under the lock, so that no two runs do it at once.
///
/// # Errors
/// As [`check`]; no place for the table; the server's.
pub async fn prepare(opened: &Opened, wanted: Option<&str>, datasource: &Datasource) -> Result<Ledger, Failure> {
    let session = &opened.session;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: ServerError| open::unusable(&what, &error)
    };
    if opened.server.schema.is_none() && wanted.is_none() {
        return Err(no_schema());
    }
    let managed = check(opened, wanted, datasource).await?;
    if opened.server.schema.is_none()
        && let Some(schema) = wanted
    {
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
    if managed {
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

/// Whether the migrations table is there by now; where it is not, it may be made. `wanted` is the schema that the connection asks for, which need not
/// exist.
///
/// # Errors
/// Prisma 8 owns the database, and the artifact holds its migrations; there are tables and no migrations table (P3005); the migrations table is in
/// another schema of the datasource; the server's.
pub async fn check(opened: &Opened, wanted: Option<&str>, datasource: &Datasource) -> Result<bool, Failure> {
    not_prisma8s(&opened.session, datasource).await?;
    if opened.history.is_some() {
        return Ok(true);
    }
    let own = opened.server.schema.as_deref().or(wanted);
    let tables = tables(&opened.session, own, &datasource.schemas).await?;
    if own.is_some_and(|own| tables.iter().any(|table| table.is_ledger() && table.schema == own)) {
        return Ok(true);
    }
    ledger_elsewhere(own, &tables)?;
    let is_external = |table: &Table| {
        datasource
            .external_tables
            .contains(&format!("{}.{}", table.schema, table.name))
    };
    let mut schemas: Vec<(&str, Vec<&str>)> = Vec::new();
    for table in tables.iter().filter(|table| !is_external(table)) {
        match schemas.last_mut() {
            Some((schema, names)) if *schema == table.schema => names.push(&table.name),
            _ => schemas.push((&table.schema, vec![&table.name])),
        }
    }
    if schemas.is_empty() {
        return Ok(false);
    }
    let (schema, are) = if schemas.len() == 1 {
        ("schema", "is")
    } else {
        ("schemas", "are")
    };
    let shown: Vec<String> = schemas.iter().map(|(schema, names)| shown(schema, names)).collect();
    Err(Failure::new(
        Exit::History,
        format!(
            "the {schema} {} {are} not empty, and Prisma does not manage the database yet",
            shown.join(" and ")
        ),
        format!(
            "record the migrations that it holds with `{}`, the last of them, then deploy again",
            command(&["baseline", "--to", "NAME"])
        ),
    )
    .prisma(Some("P3005")))
}

/// Refuses to make a second migrations table, by which the history would begin anew.
///
/// # Errors
/// There is one in another schema of the datasource, and none in the connection's own; the server's.
pub async fn only_ledger(opened: &Opened, wanted: Option<&str>, datasource: &Datasource) -> Result<(), Failure> {
    if opened.history.is_some() || datasource.schemas.is_empty() {
        return Ok(());
    }
    let own = opened.server.schema.as_deref().or(wanted);
    let tables = tables(&opened.session, own, &datasource.schemas).await?;
    if own.is_some_and(|own| tables.iter().any(|table| table.is_ledger() && table.schema == own)) {
        return Ok(());
    }
    ledger_elsewhere(own, &tables)
}

fn ledger_elsewhere(own: Option<&str>, tables: &[Table]) -> Result<(), Failure> {
    let others: Vec<&str> = tables
        .iter()
        .filter(|table| table.is_ledger())
        .map(|table| table.schema.as_str())
        .collect();
    let Some(other) = others.first() else {
        return Ok(());
    };
    let own = own.map_or_else(
        || "and the connection has no schema".to_owned(),
        |own| format!("and the connection's schema is {own}"),
    );
    Err(Failure::new(
        Exit::History,
        format!(
            "the migrations table is in the schema {}, {own}: a second one would begin the history anew",
            others.join(" and in the schema ")
        ),
        format!("add ?schema={other} to DATABASE_URL, or set DB_SCHEMA={other}"),
    ))
}

struct Table {
    schema: String,
    name: String,
}

impl Table {
    fn is_ledger(&self) -> bool {
        self.name == TABLE
    }
}

fn shown(schema: &str, tables: &[&str]) -> String {
    const MOST: usize = 5;
    let count = count(tables.len(), "table", "tables");
    let more = if tables.len() > MOST { ", …" } else { "" };
    format!(
        "{schema} ({count}: {}{more})",
        tables[..tables.len().min(MOST)].join(", ")
    )
}

/// The ordinary tables of the connection's schema and of the datasource's, by schema and name. Those that extensions make and Prisma does not count are
/// left out (Prisma 6.19, `schema_differ.rs`).
async fn tables(session: &Session, own: Option<&str>, listed: &[String]) -> Result<Vec<Table>, Failure> {
    let schemas = own.into_iter().chain(listed.iter().map(String::as_str));
    let schemas: Vec<String> = schemas.map(quote::literal).collect();
    if schemas.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND n.nspname IN ({}) AND pg_catalog.lower(c.relname) NOT IN \
         ('spatial_ref_sys', 'geometry_columns', 'geography_columns', 'raster_columns', 'raster_overviews') ORDER BY 1, 2",
        schemas.join(", ")
    );
    let rows = session.rows(&sql).await;
    let rows = rows.map_err(|error| open::unusable("the schema could not be examined", &error))?;
    let column = |row: &tokio_postgres::SimpleQueryRow, at: usize| row.get(at).unwrap_or_default().to_owned();
    let tables = rows.iter().map(|row| Table {
        schema: column(row, 0),
        name: column(row, 1),
    });
    Ok(tables.collect())
}

/// Prisma 8 keeps a row in `prisma_contract.marker` for a database that it has signed (its `control-adapter.ts`, 8.0.0-rc.5). While Prisma 7 still owns
/// the migrations, a database can be signed too, but then there are no migrations of Prisma 8 on disk: its first `migration plan` writes them once it
/// has taken over (Prisma's guide "Prisma ORM 7 to 8, route by route"). So it is both together that says who owns the database.
async fn not_prisma8s(session: &Session, datasource: &Datasource) -> Result<(), Failure> {
    let Some(folder) = &datasource.prisma8 else {
        return Ok(());
    };
    // Anybody who may create a schema can have made something of this name: only a table is read, so nothing of theirs is called.
    let sql = format!("{WHOLE}; SELECT EXISTS (SELECT FROM prisma_contract.marker {TABLE_ONLY})");
    let signed = match session.rows(&sql).await {
        Ok(rows) => rows.first().and_then(|row| row.get(0)) == Some("t"),
        // No such table, no such schema, or not a table.
        Err(error) if error.is(&["42P01", "3F000", "0A000"]) => false,
        // It is there, and not for this user's eyes.
        Err(error) if error.is(&["42501"]) => true,
        Err(error) => return Err(open::unusable("Prisma 8's marker could not be read", &error)),
    };
    if !signed {
        return Ok(());
    }
    Err(Failure::new(
        Exit::History,
        format!(
            "Prisma 8 owns this database (prisma_contract.marker says so), and the artifact holds Prisma 8 migrations in {folder}, which this program \
             does not apply"
        ),
        "apply them with Prisma 8 (`prisma db migrate`), and do not run this program on this database any more",
    ))
}
