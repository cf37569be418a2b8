//! What another user may create must not be called: functions, operators, types and relations with the names of everything that the program's own
//! statements call are planted in the search path, by another user, and in pg_temp, by a script. Each says so in the server's log when it is used.

use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Options, Server};
use harness::process::Run;
use harness::tool::Call;
use prisma_migrate_task::migration::sha256;
use std::collections::BTreeSet;
use std::fs;

/// A script whose own names nobody can plant.
const TABLES: &str = "CREATE TABLE public.a (id pg_catalog.int4 PRIMARY KEY, note pg_catalog.varchar); \
     CREATE TABLE public.b (id pg_catalog.int4 CONSTRAINT b_a REFERENCES public.a (id));";
const DIVIDED: &str = "SELECT pg_catalog.int4div(1, 0);";

/// The names of what the program's statements use.
#[derive(Debug, Default)]
struct Names {
    functions: BTreeSet<String>,
    operators: BTreeSet<String>,
    types: BTreeSet<String>,
    relations: BTreeSet<String>,
}

impl Names {
    /// Out of the program's own traffic.
    fn of(statements: &[String]) -> Names {
        const OPERATORS: &str = "+-*/<>=~!@#%^&|?";
        let mut names = Names::default();
        for statement in statements {
            let text: Vec<char> = statement.chars().collect();
            let (mut at, mut quoted) = (0, false);
            while at < text.len() {
                let run =
                    |is: &dyn Fn(char) -> bool| text[at..].iter().take_while(|&&c| is(c)).copied().collect::<String>();
                let word = run(&|c| c.is_ascii_alphanumeric() || c == '_');
                let sign = run(&|c| OPERATORS.contains(c));
                match text[at] {
                    '\'' => quoted = !quoted,
                    _ if quoted => {}
                    _ if !sign.is_empty() => {
                        at += sign.len();
                        names.operators.insert(sign);
                        continue;
                    }
                    _ if !word.is_empty() => {
                        at += word.len();
                        if word.starts_with(|c: char| c.is_ascii_digit()) {
                            continue;
                        }
                        let call = text[at..].iter().find(|c| **c != ' ') == Some(&'(');
                        match call {
                            true => names.functions.insert(word.to_lowercase()),
                            false => names.relations.insert(word.to_lowercase()),
                        };
                        // A name of any kind may stand where a type does.
                        names.types.insert(word.to_lowercase());
                        continue;
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        // What the grammar writes with words.
        names
            .operators
            .extend(["=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "||", "-", "*"].map(str::to_owned));
        names
            .functions
            .extend(["timezone", "date_part", "extract", "like_escape"].map(str::to_owned));
        names.types.extend(
            [
                "text",
                "varchar",
                "timestamptz",
                "int4",
                "int8",
                "bool",
                "name",
                "regclass",
                "jsonb",
            ]
            .map(str::to_owned),
        );
        names
    }

    /// The SQL that plants them in a schema.
    fn planted_in(&self, schema: &str) -> String {
        let array = |names: &BTreeSet<String>| {
            let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
            format!("ARRAY[{}]::text[]", names.join(", "))
        };
        include_str!("planted/plant.sql")
            .replace("SPACE", schema)
            .replace("FUNCTIONS", &array(&self.functions))
            .replace("OPERATORS", &array(&self.operators))
            .replace("TYPES", &array(&self.types))
            .replace("RELATIONS", &array(&self.relations))
    }

    /// Without functions and operators, which PostgreSQL never looks for in pg_temp.
    fn planted_in_temp(&self) -> String {
        let few = Names {
            functions: BTreeSet::new(),
            operators: BTreeSet::new(),
            types: self.types.clone(),
            relations: self.relations.clone(),
        };
        format!(
            "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);\n{}\nRESET search_path;",
            few.planted_in("pg_temp")
        )
    }
}

struct Stage {
    server: Server,
}

impl Stage {
    fn new() -> Stage {
        let options = Options::new()
            .setting("log_statement", "all")
            .setting("log_line_prefix", "%a|%d|");
        Stage {
            server: Server::start(options),
        }
    }

    /// What the server has logged of the program in this database, one entry each.
    fn entries(&self, database: &Database) -> Vec<String> {
        let mut entries: Vec<String> = Vec::new();
        let mut ours = false;
        for line in self.server.log().lines() {
            match line.strip_prefix('\t') {
                Some(more) if ours => {
                    let entry = entries.last_mut().unwrap();
                    entry.push('\n');
                    entry.push_str(more);
                }
                Some(_) => {}
                None => {
                    let mut parts = line.splitn(3, '|');
                    ours = parts
                        .next()
                        .is_some_and(|name| name.starts_with("prisma-migrate-task/"))
                        && parts.next() == Some(database.name());
                    if ours {
                        entries.push(parts.next().unwrap_or_default().to_owned());
                    }
                }
            }
        }
        entries
    }

    /// Plants all of these, as another user who may create in `public` and no more.
    fn plant(&self, database: &Database, names: &Names) {
        let planter = format!("planter_{}", database.user());
        let sql = [
            format!("CREATE ROLE {planter}"),
            format!("GRANT CREATE, USAGE ON SCHEMA public TO {planter}"),
            format!("SET SESSION AUTHORIZATION {planter}"),
            "SET search_path = pg_catalog".to_owned(),
            names.planted_in("public"),
        ];
        let mut session = database.superuser();
        for sql in sql {
            session.batch_execute(&sql).unwrap();
        }
    }
}

/// Every verb, and every way that a migration can go. What each call is and its exit code.
struct Everything<'a> {
    database: &'a Database,
    url: String,
    /// What a script makes of its session first.
    begin: &'a str,
    codes: Vec<(String, i32)>,
}

impl Everything<'_> {
    fn run(&mut self, what: &str, call: Call) -> Run {
        let run = call
            .database_url(self.database, &self.url)
            .env("LOG_LEVEL", "debug")
            .run();
        self.codes.push((what.to_owned(), run.code));
        run
    }

    fn deploy(&mut self, what: &str, history: &History) -> Run {
        self.run(what, migrate().deploy(history.folder()))
    }

    fn verb(&mut self, words: &[&str], history: &History) -> Run {
        self.run(&words.join(" "), migrate().verb(words).arg(history.folder()))
    }

    /// A migration that fails, and what is said of it afterwards.
    fn fails(&mut self, what: &str, history: &History, script: &str) {
        history.write("migrations/9_it/migration.sql", script);
        self.deploy(what, history);
        self.verb(&["status"], history);
        self.verb(&["plan"], history);
        let mut rolled_back = migrate().verb(["resolve", "--rolled-back", "9_it"]);
        rolled_back = rolled_back.without_report();
        self.run(&format!("resolve {what}"), rolled_back);
        fs::remove_dir_all(history.migrations().join("9_it")).unwrap();
    }

    fn all(&mut self) {
        let begin = self.begin;
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report.json");
        let history = History::new()
            .migration("1_init", format!("{begin}{TABLES}"))
            .raw("seed.sql", "INSERT INTO public.a VALUES (1), (2);");
        self.verb(&["plan"], &history);
        self.verb(&["status"], &history);
        let run = self.deploy("deploy and seed", &history);
        fs::write(&report, run.report.unwrap().to_string()).unwrap();
        self.deploy("nothing pending", &history);
        let history = history
            .migration("2_own", format!("{begin}BEGIN; CREATE TABLE public.c (id pg_catalog.int4); COMMIT;"))
            .migration(
                "3_several",
                format!("{begin}CREATE TABLE public.d (id pg_catalog.int4); COMMIT; BEGIN; INSERT INTO public.d VALUES (1); COMMIT;"),
            )
            .migration(
                "4_steps",
                format!(
                    "{begin}ALTER TABLE a ADD COLUMN more pg_catalog.int4;\nCREATE INDEX CONCURRENTLY a_more ON public.a (more);\n\
                     INSERT INTO public.d VALUES (2);\nDROP INDEX CONCURRENTLY public.a_more;\nVACUUM public.a;"
                ),
            )
            .migration("5_alone", "CREATE INDEX CONCURRENTLY b_i ON public.b (id);")
            .migration(
                "6_undecidable",
                format!("{begin}CREATE TABLE public.e (id pg_catalog.int4); BEGIN; INSERT INTO public.d VALUES (3); ROLLBACK;"),
            )
            .migration("7_locks", "ALTER TABLE public.b ALTER COLUMN id TYPE pg_catalog.int8; CREATE INDEX ON public.b (id);");
        self.verb(&["plan"], &history);
        self.deploy("deploy of every kind", &history);
        self.run("drift", migrate().verb(["drift", "--since"]).arg(&report));
        self.fails(
            "fails",
            &history,
            &format!("{begin}CREATE TABLE public.f (id pg_catalog.int4); {DIVIDED}"),
        );
        self.fails(
            "fails after a commit",
            &history,
            &format!("{begin}CREATE TABLE public.g (id pg_catalog.int4); COMMIT; {DIVIDED}"),
        );
        self.fails(
            "fails at a step",
            &history,
            &format!("{begin}CREATE TABLE public.h (id pg_catalog.int4);\nCREATE INDEX CONCURRENTLY h_i ON public.h (id);\n{DIVIDED}"),
        );
        self.fails(
            "fails alone",
            &history,
            "CREATE UNIQUE INDEX CONCURRENTLY d_i ON public.d ((pg_catalog.int4mul(id, 0)));",
        );
        self.interrupted(&history);
        self.held(&history);
        let history = history
            .migration("8_first", format!("{begin}CREATE TABLE public.i (id pg_catalog.int4);"))
            .migration("8_second", "CREATE TABLE public.j (id pg_catalog.int4);");
        self.verb(&["deploy", "--all-or-nothing"], &history);
        let history = history.migration("9_by_hand", "CREATE TABLE public.k (id pg_catalog.int4);");
        self.verb(&["resolve", "--applied", "9_by_hand"], &history);
        self.database.execute(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at, logs) \
             VALUES ('other', 'remote-migration', '9_by_hand', '2026-01-01', '2026-01-01', '')",
        );
        self.verb(&["adopt"], &history);
        self.verb(&["adopt", "--confirm"], &history);
        self.run("execute", migrate().verb(["execute", "SELECT id FROM public.a"]));
        self.run(
            "execute",
            migrate().verb(["execute", "--confirm", "CREATE TABLE public.l (id pg_catalog.int4)"]),
        );
        self.database.execute("DROP TABLE _prisma_migrations");
        self.deploy("deploy to an unmanaged database", &history);
        self.verb(&["baseline", "--to", "8_second"], &history);
        self.deploy("deploy after it", &history);
    }

    /// What a killed run left: an index that was announced.
    fn interrupted(&mut self, history: &History) {
        let script = "CREATE INDEX CONCURRENTLY a_late ON public.a (id);";
        history.write("migrations/9_late/migration.sql", script);
        self.database.execute(&format!(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, logs) VALUES ('late', '{}', '9_late', '2026-01-01', \
             'prisma-migrate-task/1 run=dead state=alone step=1 prefix={} before=')",
            sha256(script.as_bytes()),
            sha256(b"")
        ));
        self.deploy("deploy after an interruption", history);
        fs::remove_dir_all(history.migrations().join("9_late")).unwrap();
    }

    /// Another session has the migration lock, then the lock of a table.
    fn held(&mut self, history: &History) {
        history.write(
            "migrations/9_held/migration.sql",
            "ALTER TABLE public.a ADD COLUMN held pg_catalog.int4;",
        );
        let mut other = self.database.client();
        other
            .batch_execute(
                "SET application_name = 'other'; SELECT pg_catalog.pg_advisory_lock(72707369::pg_catalog.int8)",
            )
            .unwrap();
        self.verb(&["status"], history);
        self.verb(&["plan"], history);
        self.verb(&["deploy", "--lock-wait=0s"], history);
        other
            .batch_execute("SELECT pg_catalog.pg_advisory_unlock_all(); BEGIN; LOCK TABLE public.a IN SHARE MODE")
            .unwrap();
        self.verb(
            &[
                "deploy",
                "--lock-timeout=3s",
                "--lock-retry-for=0s",
                "--progress-every=1s",
            ],
            history,
        );
        other.batch_execute("ROLLBACK; BEGIN; LOCK TABLE public.a").unwrap();
        self.verb(&["plan"], history);
        drop(other);
        fs::remove_dir_all(history.migrations().join("9_held")).unwrap();
    }
}

/// Runs everything where nothing is planted.
fn clean(stage: &Stage) -> (Names, Vec<(String, i32)>) {
    let database = stage.server.database();
    let mut everything = Everything {
        database: &database,
        url: database.url(),
        begin: "",
        codes: Vec::new(),
    };
    everything.all();
    let entries = stage.entries(&database);
    let statements: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.strip_prefix("LOG:  statement: "))
        .map(str::to_owned)
        .collect();
    assert!(statements.len() > 100, "{statements:?}");
    (Names::of(&statements), everything.codes)
}

fn planted(stage: &Stage, names: &Names, codes: &[(String, i32)], path: &str, begin: &str) {
    let database = stage.server.database();
    stage.plant(&database, names);
    let mut everything = Everything {
        database: &database,
        url: format!("{}{path}", database.url()),
        begin,
        codes: Vec::new(),
    };
    everything.all();
    let entries = stage.entries(&database);
    let called: BTreeSet<String> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.starts_with("LOG:  PLANTED"))
        .map(|(at, entry)| {
            let statement = entries[at..].iter().find(|entry| entry.starts_with("STATEMENT"));
            let statement = statement.map_or("", String::as_str);
            format!("{entry}: {}", statement.chars().take(1_000).collect::<String>())
        })
        .collect();
    assert!(called.is_empty(), "{path:?}: {called:#?}");
    // What is planted in pg_temp ends with its session, and so a script that stopped at a step is not gone on with.
    let mut at_a_step = false;
    let codes: Vec<(String, i32)> = codes
        .iter()
        .map(|(name, code)| {
            let gone = at_a_step && !begin.is_empty() && matches!(name.as_str(), "status" | "plan");
            at_a_step = name == "fails at a step" || (at_a_step && matches!(name.as_str(), "status" | "plan"));
            (name.clone(), if gone { 21 } else { *code })
        })
        .collect();
    assert_eq!(everything.codes, codes, "{path:?}");
}

#[test]
fn nothing_that_another_user_has_planted_in_the_search_path_or_in_pg_temp_is_called() {
    let stage = Stage::new();
    let (names, codes) = clean(&stage);
    for name in ["set_config", "pg_table_size", "to_regclass", "int4in", "json_agg"] {
        assert!(names.functions.contains(name), "{names:?}");
    }
    planted(&stage, &names, &codes, "", "");
    let first = "?options=-c%20search_path%3Dpublic%2Cpg_catalog";
    planted(&stage, &names, &codes, first, &names.planted_in_temp());
}

#[test]
fn a_cast_that_a_superuser_made_does_not_turn_the_assertions_off() {
    for event in ["INSERT", "UPDATE"] {
        let database = Server::shared().database();
        let history = History::new().migration("1_init", "SELECT 1;");
        migrate().deploy(history.folder()).database(&database).run().expect(0);
        database
            .superuser()
            .batch_execute(
                "CREATE FUNCTION public.as_number(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; \
                 CREATE CAST (text AS int) WITH FUNCTION public.as_number(text)",
            )
            .unwrap();
        assert_eq!(database.scalar("SELECT 'no number'::text::int"), "1");
        database.execute(&format!(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
             CREATE TRIGGER swallow BEFORE {event} ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION swallow()"
        ));
        let history = history.migration("2_it", "CREATE TABLE made (id int);");
        let run = migrate().deploy(history.folder()).database(&database).run();
        assert_ne!(run.code, 0, "{event}: {run}");
        assert_eq!(
            database.scalar("SELECT count(*) FROM pg_class WHERE relname = 'made'"),
            "0",
            "{event}"
        );
    }
}

#[test]
fn a_migrations_table_that_another_user_has_planted_calls_nothing() {
    let server = Server::shared();
    for (name, sql, code) in [
        (
            "a view",
            "CREATE VIEW public._prisma_migrations AS SELECT public.planted()::text AS id, '' AS checksum, now() AS finished_at, \
             '' AS migration_name, '' AS logs, now() AS rolled_back_at, now() AS started_at, 1 AS applied_steps_count",
            50,
        ),
        (
            "a view with a system column's name",
            "CREATE VIEW public._prisma_migrations AS SELECT public.planted()::text AS id, '' AS checksum, now() AS finished_at, \
             '' AS migration_name, '' AS logs, now() AS rolled_back_at, now() AS started_at, 1 AS applied_steps_count, 1 AS ctid",
            50,
        ),
        (
            "a policy",
            "CREATE TABLE public._prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz, \
             migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(), \
             applied_steps_count integer NOT NULL DEFAULT 0); \
             ALTER TABLE public._prisma_migrations ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY p ON public._prisma_migrations USING (public.planted() = 1); \
             GRANT ALL ON public._prisma_migrations TO PUBLIC; \
             INSERT INTO public._prisma_migrations VALUES ('a', '', now(), 'x', NULL, NULL, now(), 1)",
            50,
        ),
    ] {
        let database = server.database();
        // As any user who may create in the schema.
        let planter = format!("planter_{}", database.name());
        database
            .superuser()
            .batch_execute(&format!(
                "CREATE ROLE {planter}; GRANT ALL ON SCHEMA public TO {planter}; SET ROLE {planter}; CREATE SEQUENCE public.calls; \
                 GRANT ALL ON SEQUENCE public.calls TO PUBLIC; \
                 CREATE FUNCTION public.planted() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('public.calls') $$; {sql}"
            ))
            .unwrap();
        let history = History::new().migration("1_a", "CREATE TABLE a (id int)");
        for verb in ["status", "plan", "deploy"] {
            let run = crate::migrate()
                .verb([verb])
                .arg(history.folder())
                .database(&database)
                .run()
                .expect(code);
            let next = run.report.as_ref().unwrap()["failure"]["next"].to_string();
            assert!(
                next.contains("DROP VIEW") || next.contains("row security"),
                "{name}: {run}"
            );
        }
        let calls = database
            .superuser()
            .query_one("SELECT is_called FROM public.calls", &[])
            .unwrap();
        assert!(!calls.get::<_, bool>(0), "{name}: what is planted was called");
    }
}
