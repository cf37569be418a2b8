//! What the database says of the relations that pending scripts name: one query for all of them, which reads the catalogue and locks nothing but,
//! for the moment in which a file's size is read, `ACCESS SHARE`.

use super::name::Name;
use super::types::TypeRef;
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
    /// Schemas that are dropped or renamed.
    pub schemas: BTreeSet<String>,
    /// Types, by the names that scripts give them.
    pub types: BTreeSet<Name>,
    /// Extensions that are dropped with all that uses them.
    pub extensions: BTreeSet<String>,
}

impl Question {
    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty() && self.schemas.is_empty() && self.types.is_empty() && self.extensions.is_empty()
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
    /// How many tables with rows each of the schemas holds that exist.
    pub schemas: HashMap<String, i64>,
    /// The schemas of the scripts' search path that exist, in its order; empty is the one above alone.
    pub path: Vec<String>,
    /// The session's `TimeZone`, which an `ALTER ROLE` or an `ALTER DATABASE` may have set.
    pub time_zone: String,
    /// The database's own tablespace.
    pub tablespace: String,
    /// The types that exist, by the names that were asked for.
    pub types: HashMap<Name, TypeFacts>,
    /// The columns whose types belong to an extension, by its name.
    pub extensions: HashMap<String, Vec<TypedColumn>>,
    /// Which types are another as they are, without a function (`pg_cast`): by the names of both.
    pub casts: Vec<(TypeName, TypeName)>,
    /// Set where the sizes are those that the last `VACUUM` or `ANALYZE` left, since a table is locked.
    pub estimated: bool,
}

/// A schema and a name in it.
pub type TypeName = (String, String);

/// A type as the catalogue has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct TypeFacts {
    /// Its schema.
    pub schema: String,
    /// Its name in `pg_type`.
    pub name: String,
    /// The type as PostgreSQL shows it on this session's search path.
    pub shown: String,
    /// `pg_type.typtype`.
    pub kind: String,
    /// Of a domain: the type at the bottom, with its limit.
    pub base: Option<String>,
    /// Of a domain: the domain below it.
    pub parent: Option<TypeName>,
    /// Of a domain: whether one below it has a `CHECK` or is `NOT NULL`.
    #[serde(default)]
    pub inherits: bool,
    /// Of a domain: its own `CHECK`s.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Of a domain: `NOT NULL`.
    #[serde(default)]
    pub not_null: bool,
    /// Of a domain: whether its default may be another for each row.
    #[serde(default)]
    pub volatile: bool,
    /// Of an enum: its values.
    #[serde(default)]
    pub values: Vec<String>,
    /// The columns that are of it, or of a type that is made of it.
    #[serde(default)]
    pub columns: Vec<TypedColumn>,
}

/// A column of a type that was asked for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct TypedColumn {
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// Whether it is of the type itself or of a domain over it, so that a new constraint of the domain reads it.
    pub direct: bool,
}

/// A relation as the catalogue has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Relation {
    /// Its name as PostgreSQL shows it on this session's search path.
    pub name: String,
    /// Its schema and its name in it.
    #[serde(default)]
    pub identity: TypeName,
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
    /// Its indexes.
    #[serde(default)]
    pub indexes: Vec<IndexFacts>,
    /// The tables that it is a partition or child of, at all depths.
    #[serde(default)]
    pub ancestors: Vec<TypeName>,
    /// Of an index: whether it can be used.
    #[serde(default)]
    pub valid: bool,
    /// Its tablespace; none is the database's.
    #[serde(default)]
    pub tablespace: Option<String>,
    /// Its access method.
    #[serde(default)]
    pub method: Option<String>,
    /// Whether it is written to the log: `LOGGED`.
    #[serde(default)]
    pub logged: bool,
    /// Of a partitioned table: how.
    #[serde(default)]
    pub partitioned: Option<PartitionFacts>,
    /// Views that read it, and views that read those.
    #[serde(default)]
    pub views: Vec<String>,
}

/// How a table is partitioned.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct PartitionFacts {
    /// `pg_partitioned_table.partstrat`.
    pub strategy: String,
    /// The columns of its key; empty if an expression is among them.
    #[serde(default)]
    pub key: Vec<String>,
    /// Its default partition.
    pub default: Option<TypeName>,
}

/// An index as the catalogue has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct IndexFacts {
    /// Its name.
    pub name: String,
    /// The columns that it depends on, those of expressions and of its `WHERE` too.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The columns of its key.
    #[serde(default)]
    pub key: Vec<String>,
    /// Whether it has neither an expression nor a `WHERE`.
    pub plain: bool,
    /// Whether all its operator classes are their types' own.
    pub default_operators: bool,
    /// What two plain indexes on tables with the same columns have in common if they are the same.
    pub definition: String,
}

/// A column as the catalogue has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type` writes it.
    #[serde(rename = "type")]
    pub ty: String,
    /// The type's name in `pg_type`, or its element's.
    #[serde(default)]
    pub type_name: Option<TypeName>,
    /// If that is a domain: the type at the bottom, as `format_type` writes it.
    #[serde(default)]
    pub base: Option<String>,
    /// `COLLATE`, if that is not the type's own.
    #[serde(default)]
    pub collation: Option<String>,
    /// `GENERATED … VIRTUAL`: nothing of it is stored (PostgreSQL 18).
    #[serde(default)]
    pub computed: bool,
    /// `NOT NULL`, and validated.
    pub not_null: bool,
    /// Unique by itself.
    pub unique: bool,
}

impl ColumnFacts {
    /// Its type in the form in which types are compared.
    pub fn type_ref(&self) -> TypeRef {
        let read = TypeRef::read(&self.ty);
        let name = self.type_name.clone().map(|(schema, name)| Name {
            schema: Some(schema),
            name,
        });
        TypeRef {
            name: name.or(read.name.clone()),
            ..read
        }
    }
}

/// A constraint as the catalogue has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct ConstraintFacts {
    /// Its name.
    pub name: String,
    /// `pg_constraint.contype`.
    #[serde(default)]
    pub kind: String,
    /// Validated.
    pub valid: bool,
    /// Of a foreign key: the referenced table.
    pub refers_to: Option<String>,
    /// The columns that it speaks of.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Of a `CHECK`: its definition; none if its table is locked.
    #[serde(default)]
    pub check: Option<String>,
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
    also: Vec<Relation>,
    volatile: HashMap<String, bool>,
    schemas: HashMap<String, i64>,
    path: Vec<String>,
    time_zone: String,
    tablespace: String,
    types: HashMap<usize, TypeFacts>,
    extensions: HashMap<String, Vec<TypedColumn>>,
    casts: Vec<(TypeName, TypeName)>,
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
            "SET LOCAL lock_timeout = '{PATIENCE}'; {NOT_COMPILED}; {}",
            query(&names, question, session.search_path(), true)
        ))
        .await;
    let (rows, estimated) = match measured {
        Err(error) if error.is(&["55P03"]) => {
            let query = query(&names, question, session.search_path(), false);
            (session.rows(&format!("{NOT_COMPILED}; {query}")).await?, true)
        }
        measured => (measured?, false),
    };
    let text = rows.last().and_then(|row| row.get(0)).unwrap_or_default();
    let answer: Answer = serde_json::from_str(text)
        .map_err(|error| ServerError::ours(format!("the catalogue's answer cannot be read: {error}")))?;
    let (mut answered, mut types) = (answer.relations, answer.types);
    let mut relations: HashMap<Name, Relation> = names
        .into_iter()
        .enumerate()
        .filter_map(|(at, name)| Some((name.clone(), answered.remove(&at)?)))
        .collect();
    for relation in answer.also {
        let name = Name {
            schema: Some(relation.identity.0.clone()),
            name: relation.identity.1.clone(),
        };
        relations.entry(name).or_insert(relation);
    }
    let named = question.types.iter().enumerate();
    Ok(Facts {
        version: answer.version,
        schema: schema.to_owned(),
        relations,
        volatile: answer.volatile,
        schemas: answer.schemas,
        path: answer.path,
        time_zone: answer.time_zone,
        tablespace: answer.tablespace,
        types: named
            .filter_map(|(at, name)| Some((name.clone(), types.remove(&at)?)))
            .collect(),
        extensions: answer.extensions,
        casts: answer.casts,
        estimated,
    })
}

/// How long a table is waited for that is locked against everybody.
const PATIENCE: &str = "1s";
/// To compile the query would take a hundred times as long as to run it.
const NOT_COMPILED: &str = "SET LOCAL jit = off";

fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    if values.is_empty() {
        "NULL".to_owned()
    } else {
        values.join(", ")
    }
}

/// Names as rows of a `VALUES`, each with its place.
fn rows_of<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let rows = names.enumerate();
    let rows: Vec<String> = rows
        .map(|(at, name)| format!("({at}, {})", quote::literal(&name.quoted())))
        .collect();
    match rows.as_slice() {
        [] => "(0, NULL::text)".to_owned(),
        rows => rows.join(", "),
    }
}

/// One statement with one answer, a JSON document. Sizes of files are read with `measured`, else taken from `pg_class`.
///
/// Its own names are resolved when it is parsed, on the search path of our own statements. Those that it asks for, and those that it answers with, are
/// resolved while it runs: by then it has set the `path` of the scripts.
fn query(names: &[&Name], question: &Question, path: &str, measured: bool) -> String {
    let asked = rows_of(names.iter().copied());
    let types = rows_of(question.types.iter());
    let functions = list(question.functions.iter().map(|name| quote::literal(name)));
    let schemas = list(question.schemas.iter().map(|name| quote::literal(name)));
    let extensions = list(question.extensions.iter().map(|name| quote::literal(name)));
    let (bytes, empty, check) = if measured {
        (
            "pg_table_size(l.oid)",
            "pg_relation_size(l.oid) = 0",
            "pg_get_constraintdef(k.oid)",
        )
    } else {
        (
            "(l.relpages + coalesce((SELECT t.relpages FROM pg_class t WHERE t.oid = l.reltoastrelid), 0)) \
             * current_setting('block_size')::bigint",
            "l.relpages = 0 AND l.reltuples = 0",
            // To write it out is to lock its table.
            "NULL::text",
        )
    };
    let lines = include_str!("catalogue.sql").lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.starts_with("--")).collect();
    lines
        .join(" ")
        .replace("{path}", &quote::literal(path))
        .replace("{asked}", &asked)
        .replace("{types}", &types)
        .replace("{bytes}", bytes)
        .replace("{empty}", empty)
        .replace("{check}", check)
        .replace("{functions}", &functions)
        .replace("{schemas}", &schemas)
        .replace("{extensions}", &extensions)
}
