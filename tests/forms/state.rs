//! What a database holds, in a form that can be compared, and what its table of migrations says.

use crate::start::IT;
use crate::wire::Wire;
use harness::postgres::Server;
use harness::until;
use serde_json::Value;

/// Schema and rows, a line each, without the table of migrations and without how far a sequence is, which no rollback takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Vec<String>);

const OTHERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                      AND backend_type = 'client backend'";

const CATALOGUE: &str = "
WITH spaces AS (SELECT oid, nspname, nspowner FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
relations AS (SELECT c.*, s.nspname FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace WHERE c.relname !~ '^_prisma_migrations')
SELECT format('schema %s of %s', nspname, nspowner::regrole) FROM spaces
UNION ALL
SELECT format('%s.%s %s of %s%s', nspname, relname, relkind, relowner::regrole, CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END) FROM relations
UNION ALL
SELECT format('%s.%s column %s %s %s%s%s', r.nspname, r.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' END, ' default ' || pg_get_expr(d.adbin, d.adrelid))
FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum WHERE r.relkind IN ('r', 'v', 'p')
UNION ALL
SELECT format('%s.%s index %s valid=%s ready=%s', r.nspname, r.relname, pg_get_indexdef(r.oid), i.indisvalid, i.indisready)
FROM relations r JOIN pg_index i ON i.indexrelid = r.oid
UNION ALL
SELECT format('%s.%s constraint %s %s', r.nspname, r.relname, c.conname, pg_get_constraintdef(c.oid))
FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid
UNION ALL
SELECT format('%s.%s trigger %s', r.nspname, r.relname, pg_get_triggerdef(g.oid))
FROM relations r JOIN pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal
UNION ALL
SELECT format('type %s.%s of %s', s.nspname, t.typname, t.typowner::regrole) FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
WHERE t.typtype <> 'c' AND t.typelem = 0
UNION ALL
SELECT format('label %s %s', e.enumtypid::regtype, string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)) FROM pg_enum e GROUP BY e.enumtypid
UNION ALL
SELECT format('routine %s %s', p.oid::regprocedure, md5(p.prosrc)) FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
UNION ALL
SELECT format('~%I.%I', nspname, relname) FROM relations WHERE relkind = 'r'";

impl State {
    /// Reads it, once no other session is left that could change it any more.
    pub fn of(server: &Server, database: &str) -> State {
        State::read(&mut Wire::connect(server, database, "postgres"))
    }

    fn read(wire: &mut Wire) -> State {
        until("every other session has ended", || wire.values(OTHERS) == ["0"]);
        let (tables, mut lines): (Vec<String>, Vec<String>) = wire
            .values(CATALOGUE)
            .into_iter()
            .partition(|line| line.starts_with('~'));
        let rows: Vec<String> = tables
            .iter()
            .map(|table| {
                let table = &table[1..];
                format!("SELECT '{} row ' || x::text FROM {table} x", table.replace('\'', "''"))
            })
            .collect();
        lines.extend(wire.values(&rows.join(" UNION ALL ")));
        lines.sort();
        State(lines)
    }

    /// What the program must make of it when a statement has failed: it drops the INVALID index that the statement left.
    pub fn drop_invalid_indexes(&mut self) {
        // A name may hold the word.
        let name = |line: &String| {
            line.split_once(" index CREATE ")
                .map(|(name, _)| format!("{name} i of "))
        };
        let invalid: Vec<String> = self
            .0
            .iter()
            .filter(|line| line.contains(" valid=f "))
            .filter_map(name)
            .collect();
        self.0
            .retain(|line| !line.contains(" valid=f ") && !invalid.iter().any(|name| line.starts_with(name)));
    }

    /// The lines that only one of the two has, or has more often.
    pub fn differences(&self, other: &State) -> Vec<String> {
        let times = |state: &State, line: &String| state.0.iter().filter(|other| *other == line).count();
        let more = |here: &State, there: &State, sign: char| -> Vec<String> {
            let lines = here.0.iter().filter(|line| times(here, line) > times(there, line));
            lines.map(|line| format!("    {sign} {line}")).collect()
        };
        [more(self, other, '+'), more(other, self, '-')].concat()
    }
}

/// A row of the table of migrations that belongs to [`IT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// `finished_at` alone is set.
    Finished,
    /// `rolled_back_at` is set.
    RolledBack,
    /// Neither is.
    Unfinished,
}

impl State {
    /// The same, and the rows of [`IT`]; none where there is no such table any more.
    pub fn with_rows(server: &Server, database: &str) -> (State, Vec<Row>) {
        let mut wire = Wire::connect(server, database, "postgres");
        let state = State::read(&mut wire);
        let sql = format!(
            "SELECT to_jsonb(m)::text FROM public._prisma_migrations m WHERE to_jsonb(m) ->> 'migration_name' = '{IT}' ORDER BY started_at"
        );
        let reply = wire.query(&sql).expect("the server answers");
        let row = |text: &String| {
            let row: Value = serde_json::from_str(text).unwrap_or_default();
            match (row["rolled_back_at"].is_null(), row["finished_at"].is_null()) {
                (false, _) => Row::RolledBack,
                (true, false) => Row::Finished,
                (true, true) => Row::Unfinished,
            }
        };
        (state, reply.values.iter().map(row).collect())
    }
}
