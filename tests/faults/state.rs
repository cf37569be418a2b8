//! What a database holds, in a form that can be compared.

use harness::postgres::Database;

/// Schema and data of a database, without the migrations table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What `pg_dump` writes, where there is one for this version.
    dump: Option<String>,
    /// What the catalogue holds, a line each.
    catalogue: Vec<String>,
    /// Every table with how many rows it has and a hash over all of them in order.
    tables: Vec<String>,
}

/// The newest server that the `pg_dump` which can be had dumps.
const NEWEST_DUMPED: u32 = 15;

const CATALOGUE: &str = "
WITH spaces AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
relations AS (SELECT c.*, s.nspname FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace WHERE c.relname !~ '^_prisma_migrations')
SELECT line FROM (
  SELECT format('schema %s', nspname) AS line, 0::float8 AS place FROM spaces
  UNION ALL
  SELECT format('%s.%s %s column %s %s%s%s', r.nspname, r.relname, r.relkind, a.attname, format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attnotnull THEN ' not null' END, ' default ' || pg_get_expr(d.adbin, d.adrelid)), a.attnum
  FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
  UNION ALL
  SELECT format('%s %s valid=%s ready=%s', r.nspname, pg_get_indexdef(r.oid), i.indisvalid, i.indisready), 0
  FROM relations r JOIN pg_index i ON i.indexrelid = r.oid
  UNION ALL
  SELECT format('%s.%s %s', r.nspname, r.relname, pg_get_constraintdef(c.oid)), 0 FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid
  UNION ALL
  SELECT format('partition %s of %s', i.inhrelid::regclass, i.inhparent::regclass), 0 FROM pg_inherits i
  UNION ALL
  SELECT format('enum %s %s', e.enumtypid::regtype, e.enumlabel), e.enumsortorder FROM pg_enum e
  UNION ALL
  SELECT format('routine %s', p.oid::regprocedure), 0 FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
) _ ORDER BY split_part(line, ' column ', 1), place, line";

impl State {
    /// Reads it.
    pub fn of(database: &Database, version: u32) -> State {
        let tables = database.rows(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
             WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema' AND tablename <> '_prisma_migrations' ORDER BY 1",
        );
        let hashes: Vec<String> = tables
            .iter()
            .map(|row| {
                let table = &row[0];
                format!(
                    "SELECT '{table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') FROM {table} t"
                )
            })
            .collect();
        let first = |rows: Vec<Vec<String>>| rows.into_iter().map(|mut row| row.remove(0)).collect();
        State {
            dump: (version <= NEWEST_DUMPED).then(|| database.dump()),
            catalogue: first(database.rows(CATALOGUE)),
            tables: if hashes.is_empty() {
                Vec::new()
            } else {
                first(database.rows(&format!("{} ORDER BY 1", hashes.join(" UNION ALL "))))
            },
        }
    }

    /// The lines that one of the two has more often; empty where they are equal.
    pub fn differences(&self, other: &State) -> Vec<String> {
        let lines = |state: &State| -> Vec<String> {
            let dump = state.dump.iter().flat_map(|dump| dump.lines()).map(str::to_owned);
            dump.chain(state.catalogue.iter().cloned())
                .chain(state.tables.iter().cloned())
                .collect()
        };
        let (ours, theirs) = (lines(self), lines(other));
        let more_often = |line: &String, here: &[String], there: &[String]| {
            let times = |lines: &[String]| lines.iter().filter(|other| *other == line).count();
            times(here) > times(there)
        };
        let missing = theirs
            .iter()
            .filter(|line| more_often(line, &theirs, &ours))
            .map(|line| format!("- {line}"));
        let more = ours
            .iter()
            .filter(|line| more_often(line, &ours, &theirs))
            .map(|line| format!("+ {line}"));
        let mut found: Vec<String> = missing.chain(more).collect();
        if found.is_empty() && self != other {
            found.push("the same lines in another order".to_owned());
        }
        found
    }
}
