//! What a database's schema is, object by object, as its catalogue says: in an order and in words that do not depend on the session, and as little as
//! can be on the server's version.

use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::history::{History, State, TABLE};
use crate::migration::sha256;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// A schema as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// SHA-256 over all objects and their definitions: two databases with the same one are alike.
    pub fingerprint: String,
    /// The server's major version: another one may write the same view or expression in other words.
    pub server_major: u32,
    /// How many migrations were applied.
    pub migrations_applied: usize,
    /// SHA-256 over the names of the applied migrations.
    pub migrations_sha256: String,
    /// Each object by its kind and name (`column public.a.id`), with its definition. The text of views and functions is told by its SHA-256.
    pub objects: BTreeMap<String, String>,
}

/// Reads it. `history` is the ledger at this moment.
///
/// # Errors
/// The server's.
pub async fn read(session: &Session, history: &History) -> Result<Schema, ServerError> {
    // With this search path every name in a definition is qualified, whatever the session's is.
    let sql = format!(
        "BEGIN READ ONLY; SET LOCAL search_path = pg_catalog; {}; COMMIT",
        query()
    );
    let rows = match session.rows(&sql).await {
        Ok(rows) => rows,
        Err(error) => {
            // The failed transaction is still open.
            let _ = session.rows("ROLLBACK").await;
            return Err(error);
        }
    };
    let mut schema = Schema::default();
    for row in &rows {
        match (row.get(0), row.get(1)) {
            (Some("server"), Some(number)) => schema.server_major = number.parse::<u32>().unwrap_or(0) / 10_000,
            (Some(name), Some(definition)) => {
                schema.objects.insert(name.to_owned(), definition.to_owned());
            }
            _ => {}
        }
    }
    let lines: Vec<String> = schema
        .objects
        .iter()
        .map(|(name, is)| format!("{name}\t{is}\n"))
        .collect();
    schema.fingerprint = sha256(lines.concat().as_bytes());
    let (count, digest) = applied(history);
    schema.migrations_applied = count;
    schema.migrations_sha256 = digest;
    Ok(schema)
}

/// How many migrations a ledger has as applied, and SHA-256 over their names.
pub fn applied(history: &History) -> (usize, String) {
    let names: HashSet<&str> = history
        .rows
        .iter()
        .filter(|row| row.state == State::Applied)
        .map(|row| row.migration.as_str())
        .collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    (names.len(), sha256(names.join("\n").as_bytes()))
}

/// One query of all parts: each yields an object's name and its definition.
fn query() -> String {
    let parts: Vec<String> = PARTS.iter().map(|part| format!("({part})")).collect();
    format!(
        "WITH space AS (SELECT oid, quote_ident(nspname) AS name FROM pg_namespace \
         WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'), \
         extended AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'), \
         relation AS (SELECT c.*, s.name || '.' || quote_ident(c.relname) AS name FROM pg_class c JOIN space s ON s.oid = c.relnamespace \
         WHERE c.relname <> '{TABLE}' AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)) \
         SELECT 'server', current_setting('server_version_num') UNION ALL {}",
        parts.join(" UNION ALL ")
    )
}

/// PostgreSQL's documentation, "System Catalogs", for 13 to 18.
const PARTS: [&str; 15] = [
    "SELECT 'schema ' || s.name, '' FROM space s",
    "SELECT 'extension ' || quote_ident(extname), '' FROM pg_extension",
    "SELECT 'table ' || r.name, concat_ws(', ', CASE r.relkind WHEN 'p' THEN 'partitioned by ' || pg_get_partkeydef(r.oid) \
     WHEN 'f' THEN 'foreign' ELSE 'ordinary' END, CASE r.relpersistence WHEN 'u' THEN 'unlogged' END, \
     CASE WHEN r.relispartition THEN 'partition ' || pg_get_expr(r.relpartbound, r.oid) END, \
     (SELECT 'inherits ' || string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = r.oid), \
     CASE WHEN r.relrowsecurity THEN 'row security' END, CASE WHEN r.relforcerowsecurity THEN 'row security forced' END, \
     'with ' || array_to_string(r.reloptions, ', ')) FROM relation r WHERE r.relkind IN ('r', 'p', 'f')",
    "SELECT 'column ' || r.name || '.' || quote_ident(a.attname), concat_ws(' ', format_type(a.atttypid, a.atttypmod), \
     CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation::text END, \
     CASE WHEN a.attnotnull THEN 'not null' END, \
     CASE a.attidentity WHEN 'a' THEN 'generated always as identity' WHEN 'd' THEN 'generated by default as identity' END, \
     CASE WHEN a.attgenerated <> '' THEN 'generated as ' ELSE 'default ' END || pg_get_expr(d.adbin, d.adrelid)) \
     FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid JOIN pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
     WHERE r.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped",
    // Since 18 NOT NULL is a constraint too: it is the column's here.
    "SELECT 'constraint ' || r.name || '.' || quote_ident(c.conname), pg_get_constraintdef(c.oid) \
     FROM relation r JOIN pg_constraint c ON c.conrelid = r.oid WHERE c.contype IN ('c', 'f', 'p', 'u', 'x')",
    "SELECT 'index ' || t.name || '.' || quote_ident(r.relname), pg_get_indexdef(r.oid) || CASE WHEN i.indisvalid THEN '' ELSE ', INVALID' END \
     FROM relation r JOIN pg_index i ON i.indexrelid = r.oid JOIN relation t ON t.oid = i.indrelid \
     WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))",
    "SELECT CASE r.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || r.name, \
     '(' || (SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) \
     FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0) || ') as ' || encode(sha256(convert_to(pg_get_viewdef(r.oid), 'UTF8')), 'hex') \
     FROM relation r WHERE r.relkind IN ('v', 'm')",
    "SELECT 'sequence ' || r.name, concat_ws(' ', format_type(q.seqtypid, NULL), 'start', q.seqstart, 'increment', q.seqincrement, \
     'from', q.seqmin, 'to', q.seqmax, CASE WHEN q.seqcycle THEN 'cycle' END) FROM relation r JOIN pg_sequence q ON q.seqrelid = r.oid",
    "SELECT CASE p.prokind WHEN 'p' THEN 'procedure ' ELSE 'function ' END || s.name || '.' || quote_ident(p.proname) || \
     '(' || pg_get_function_identity_arguments(p.oid) || ')', concat_ws(' ', 'returns ' || pg_get_function_result(p.oid), \
     'language', quote_ident(l.lanname), 'as', encode(sha256(convert_to(pg_get_functiondef(p.oid), 'UTF8')), 'hex')) \
     FROM pg_proc p JOIN space s ON s.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang WHERE p.prokind <> 'a' \
     AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)",
    "SELECT 'aggregate ' || s.name || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')', \
     concat_ws(' ', 'returns ' || pg_get_function_result(p.oid), 'by', a.aggtransfn::regprocedure::text) \
     FROM pg_proc p JOIN space s ON s.oid = p.pronamespace JOIN pg_aggregate a ON a.aggfnoid = p.oid \
     WHERE NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)",
    "SELECT 'trigger ' || r.name || '.' || quote_ident(t.tgname), pg_get_triggerdef(t.oid) || \
     CASE t.tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ', disabled' ELSE ', enabled ' || t.tgenabled::text END \
     FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal",
    "SELECT 'policy ' || r.name || '.' || quote_ident(p.polname), concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, \
     'for', p.polcmd::text, 'to', (SELECT string_agg(CASE o WHEN 0 THEN 'public' ELSE o::regrole::text END, ', ' ORDER BY o) FROM unnest(p.polroles) o), \
     'using ' || pg_get_expr(p.polqual, p.polrelid), 'with check ' || pg_get_expr(p.polwithcheck, p.polrelid)) \
     FROM relation r JOIN pg_policy p ON p.polrelid = r.oid",
    "SELECT 'enum ' || s.name || '.' || quote_ident(t.typname), \
     (SELECT string_agg(quote_literal(v.enumlabel), ', ' ORDER BY v.enumsortorder) FROM pg_enum v WHERE v.enumtypid = t.oid) \
     FROM pg_type t JOIN space s ON s.oid = t.typnamespace WHERE t.typtype = 'e' \
     AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)",
    "SELECT 'domain ' || s.name || '.' || quote_ident(t.typname), concat_ws(' ', format_type(t.typbasetype, t.typtypmod), \
     CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || t.typdefault, \
     (SELECT string_agg(pg_get_constraintdef(c.oid), ' ' ORDER BY c.conname) FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c')) \
     FROM pg_type t JOIN space s ON s.oid = t.typnamespace WHERE t.typtype = 'd' \
     AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)",
    "SELECT 'type ' || r.name, '(' || (SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) \
     FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped) || ')' FROM relation r WHERE r.relkind = 'c'",
];
