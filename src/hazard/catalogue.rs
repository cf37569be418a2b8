//! What the database says of the relations that pending scripts name: one query for all of them, which reads the catalogue and locks nothing but,
//! for the moment in which a file's size is read, `ACCESS SHARE`.

use super::name::Name;
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::sql::quote;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Relations, by the names that scripts give them.
    pub relations: BTreeSet<Name>,
    /// Functions that defaults call.
    pub functions: BTreeSet<String>,
    /// Schemas that are dropped.
    pub schemas: BTreeSet<String>,
}

impl Question {
    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty() && self.schemas.is_empty()
    }
}

/// What the database says.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `server_version_num`; 0 where there is no database.
    pub version: u32,
    /// The schema that unqualified names are made in.
    pub schema: String,
    /// The relations that exist, by the names that were asked for.
    pub relations: HashMap<Name, Relation>,
    /// Whether a function of this name may give another result for each row.
    pub volatile: HashMap<String, bool>,
    /// How many relations each of the schemas holds that exist.
    pub schemas: HashMap<String, i64>,
    /// Set where the sizes are those that the last `VACUUM` or `ANALYZE` left, since a table is locked.
    pub estimated: bool,
}

/// A relation as the catalogue has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Relation {
    /// Its name as PostgreSQL shows it on this session's search path.
    pub name: String,
    /// `pg_class.relkind`.
    pub kind: String,
    /// Bytes on disk, TOAST and partitions included, indexes not.
    pub bytes: u64,
    /// Estimated rows; none where it was never analyzed.
    pub rows: Option<u64>,
    /// Whether it and its partitions have not a single page.
    pub empty: bool,
    /// How many partitions or children, at all depths.
    pub partitions: u32,
    /// Of an index: its table.
    pub table: Option<Box<Relation>>,
    /// Its columns.
    #[serde(default)]
    pub columns: Vec<ColumnFacts>,
    /// Its constraints.
    #[serde(default)]
    pub constraints: Vec<ConstraintFacts>,
    /// The tables whose foreign keys refer to it, itself left out.
    #[serde(default)]
    pub referencing: Vec<String>,
}

/// A column as the catalogue has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type` writes it.
    #[serde(rename = "type")]
    pub ty: String,
    /// `NOT NULL`.
    pub not_null: bool,
    /// A validated `CHECK (column IS NOT NULL)`.
    pub proven: bool,
    /// Unique by itself.
    pub unique: bool,
}

/// A constraint as the catalogue has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct ConstraintFacts {
    /// Its name.
    pub name: String,
    /// Validated.
    pub valid: bool,
    /// Of a foreign key: the referenced table.
    pub refers_to: Option<String>,
    /// Of `CHECK (column IS NOT NULL)`: the column.
    pub not_null: Option<String>,
}

impl Relation {
    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&ColumnFacts> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// A constraint by its name.
    pub fn constraint(&self, name: &str) -> Option<&ConstraintFacts> {
        self.constraints.iter().find(|constraint| constraint.name == name)
    }
}

#[derive(Deserialize)]
struct Answer {
    version: u32,
    relations: HashMap<usize, Relation>,
    volatile: HashMap<String, bool>,
    schemas: HashMap<String, i64>,
}

/// Asks; `schema` is the one that unqualified names are made in. A table that another session holds an ACCESS EXCLUSIVE lock on is not waited for
/// longer than the session's `lock_timeout`: then the sizes are estimates too.
///
/// # Errors
/// The server's.
pub async fn ask(session: &Session, question: &Question, schema: &str) -> Result<Facts, ServerError> {
    let names: Vec<&Name> = question.relations.iter().collect();
    let measured = session
        .rows(&format!(
            "SET LOCAL lock_timeout = '{PATIENCE}'; {}",
            query(&names, question, session.search_path(), true)
        ))
        .await;
    let (rows, estimated) = match measured {
        Err(error) if error.is(&["55P03"]) => (
            session
                .rows(&query(&names, question, session.search_path(), false))
                .await?,
            true,
        ),
        measured => (measured?, false),
    };
    let text = rows.last().and_then(|row| row.get(0)).unwrap_or_default();
    let answer: Answer = serde_json::from_str(text)
        .map_err(|error| ServerError::ours(format!("the catalogue's answer cannot be read: {error}")))?;
    let mut answered = answer.relations;
    Ok(Facts {
        version: answer.version,
        schema: schema.to_owned(),
        relations: names
            .into_iter()
            .enumerate()
            .filter_map(|(at, name)| Some((name.clone(), answered.remove(&at)?)))
            .collect(),
        volatile: answer.volatile,
        schemas: answer.schemas,
        estimated,
    })
}

/// How long a table is waited for that is locked against everybody.
const PATIENCE: &str = "1s";

fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    if values.is_empty() {
        "NULL".to_owned()
    } else {
        values.join(", ")
    }
}

/// One statement with one answer, a JSON document. Sizes of files are read with `measured`, else taken from `pg_class`.
///
/// Its own names are resolved when it is parsed, on the search path of our own statements. Those that it asks for, and those that it answers with, are
/// resolved while it runs: by then it has set the `path` of the scripts.
fn query(names: &[&Name], question: &Question, path: &str, measured: bool) -> String {
    let path = quote::literal(path);
    let asked: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(at, name)| format!("({at}, {})", quote::literal(&name.quoted())))
        .collect();
    let asked = if asked.is_empty() {
        "(0, NULL::text)".to_owned()
    } else {
        asked.join(", ")
    };
    let functions = list(question.functions.iter().map(|name| quote::literal(name)));
    let schemas = list(question.schemas.iter().map(|name| quote::literal(name)));
    let (bytes, empty) = if measured {
        ("pg_table_size(l.oid)", "pg_relation_size(l.oid) = 0")
    } else {
        (
            "(l.relpages + coalesce((SELECT t.relpages FROM pg_class t WHERE t.oid = l.reltoastrelid), 0)) \
             * current_setting('block_size')::bigint",
            "l.relpages = 0 AND l.reltuples = 0",
        )
    };
    format!(
        "WITH RECURSIVE script AS MATERIALIZED (SELECT set_config('search_path', {path}, true) AS path), \
         asked(at, name) AS (VALUES {asked}), \
         found AS (SELECT a.at, c.oid, c.relkind, i.indrelid FROM script s CROSS JOIN asked a \
           JOIN pg_class c ON c.oid = to_regclass(CASE WHEN s.path IS NOT NULL THEN a.name END) \
           LEFT JOIN pg_index i ON i.indexrelid = c.oid), \
         wanted AS (SELECT oid FROM found UNION SELECT indrelid FROM found WHERE indrelid IS NOT NULL), \
         tree(root, oid, depth) AS (SELECT oid, oid, 0 FROM wanted \
           UNION ALL SELECT t.root, i.inhrelid, t.depth + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid), \
         sized AS (SELECT t.root, count(*) - 1 AS partitions, coalesce(sum({bytes}), 0)::bigint AS bytes, \
           coalesce(bool_and({empty}), true) AS empty, \
           CASE WHEN bool_or(l.relkind IN ('r', 'm') AND (l.reltuples < 0 OR l.reltuples = 0 AND NOT ({empty}))) THEN NULL \
             ELSE sum(l.reltuples) FILTER (WHERE l.relkind IN ('r', 'm'))::bigint END AS rows \
           FROM tree t JOIN pg_class l ON l.oid = t.oid GROUP BY t.root), \
         described AS (SELECT w.oid, json_build_object('name', w.oid::regclass::text, 'kind', c.relkind, 'bytes', s.bytes, \
           'rows', s.rows, 'empty', s.empty, 'partitions', s.partitions, \
           'columns', (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), \
             'not_null', a.attnotnull, \
             'proven', EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = w.oid AND k.contype = 'c' AND k.convalidated \
               AND k.conkey = ARRAY[a.attnum] \
               AND pg_get_constraintdef(k.oid) = 'CHECK ((' || quote_ident(a.attname) || ' IS NOT NULL))'), \
             'unique', EXISTS (SELECT FROM pg_index u WHERE u.indrelid = w.oid AND u.indisunique AND u.indisvalid \
               AND u.indpred IS NULL AND u.indnkeyatts = 1 AND u.indkey[0] = a.attnum))), '[]') \
             FROM pg_attribute a WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped), \
           'constraints', (SELECT coalesce(json_agg(json_build_object('name', k.conname, 'valid', k.convalidated, \
             'refers_to', nullif(k.confrelid, 0)::regclass::text, \
             'not_null', (SELECT a.attname FROM pg_attribute a WHERE k.contype = 'c' AND a.attrelid = w.oid AND k.conkey = ARRAY[a.attnum] \
               AND pg_get_constraintdef(k.oid) IN ('CHECK ((' || quote_ident(a.attname) || ' IS NOT NULL))', \
                 'CHECK ((' || quote_ident(a.attname) || ' IS NOT NULL)) NOT VALID')))), '[]') \
             FROM pg_constraint k WHERE k.conrelid = w.oid), \
           'referencing', (SELECT coalesce(json_agg(DISTINCT k.conrelid::regclass::text), '[]') \
             FROM pg_constraint k WHERE k.confrelid = w.oid AND k.conrelid <> w.oid AND k.contype = 'f')) AS facts, c.relkind \
           FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN sized s ON s.root = w.oid) \
         SELECT json_build_object('version', current_setting('server_version_num')::int, \
           'relations', (SELECT coalesce(json_object_agg(f.at, CASE WHEN f.indrelid IS NULL THEN d.facts::jsonb \
             ELSE d.facts::jsonb || jsonb_build_object('table', t.facts) END), '{{}}') \
             FROM found f JOIN described d ON d.oid = f.oid LEFT JOIN described t ON t.oid = f.indrelid), \
           'volatile', (SELECT coalesce(json_object_agg(p.proname, p.volatile), '{{}}') FROM \
             (SELECT proname, bool_or(provolatile = 'v') AS volatile FROM pg_proc WHERE proname IN ({functions}) GROUP BY proname) p), \
           'schemas', (SELECT coalesce(json_object_agg(n.nspname, (SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid \
             AND c.relkind IN ('r', 'p', 'm'))), '{{}}') FROM pg_namespace n WHERE n.nspname IN ({schemas})))"
    )
}
