//! Draws scripts: parts that stand by themselves or in a transaction of the script's own, from everything that a session can be told.

use crate::script::{Script, Statement};
use crate::start::{IT, Surroundings};
use fastrand::Rng;

/// Draws the script of a seed.
pub fn script(seed: u64) -> Script {
    let mut rng = Rng::with_seed(seed);
    let around = Surroundings {
        superuser: rng.u8(0..8) == 0,
        conforming_strings: rng.u8(0..16) != 0,
    };
    let breadth = match rng.u8(0..10) {
        0 => Breadth::Plain,
        1 | 2 => Breadth::Transactions,
        _ => Breadth::Everything,
    };
    let mut draft = Draft {
        rng,
        around,
        breadth,
        open: false,
        statements: Vec::new(),
    };
    for _ in 0..draft.rng.usize(1..5) {
        draft.part();
    }
    let end = ["", ";", ";\n", ";\n", "\n;;\n-- the end", "\n/* the end */", "; -- ;"][draft.rng.usize(0..7)];
    Script {
        around,
        is_plain: breadth == Breadth::Plain,
        statements: draft.statements,
        end: end.to_owned(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breadth {
    Plain,
    Transactions,
    Everything,
}

#[derive(Debug)]
struct Draft {
    rng: Rng,
    around: Surroundings,
    breadth: Breadth,
    /// Whether the script has begun a transaction.
    open: bool,
    statements: Vec<Statement>,
}

impl Draft {
    fn part(&mut self) {
        let share = if self.breadth == Breadth::Plain { 0 } else { 2 };
        if self.open || self.rng.u8(0..5) >= share {
            return self.several(1..3);
        }
        self.begin();
        self.several(1..4);
        self.finish();
    }

    fn several(&mut self, how_many: std::ops::Range<usize>) {
        for _ in 0..self.rng.usize(how_many) {
            match self.breadth {
                Breadth::Plain => self.ordinary(),
                Breadth::Transactions => match self.rng.u8(0..8) {
                    0 => self.fails(),
                    1 => self.savepoint(),
                    2 => self.deferred(),
                    3 => self.stray(),
                    _ => self.ordinary(),
                },
                Breadth::Everything => self.anything(),
            }
        }
    }

    fn anything(&mut self) {
        match self.rng.u8(0..58) {
            0..12 => self.ordinary(),
            12..16 => self.setting(),
            16..19 => self.local_setting(),
            19..22 => self.role(),
            22..25 => self.temporary(),
            25..27 => self.prepared(),
            27..29 => self.sequence(),
            29..32 => self.procedural(),
            32..37 => self.index(),
            37..40 => self.maintenance(),
            40..42 => self.label(),
            42..44 => self.discard(),
            44..46 => self.cursor(),
            46..48 => self.channels(),
            48..50 => self.ledger(),
            50 => self.unlock(),
            51 => self.deferred(),
            52..54 => self.fails(),
            54..56 => self.savepoint(),
            56 => self.stray(),
            _ => self.hides(),
        }
    }

    // How a statement is written down.

    fn add(&mut self, sql: impl AsRef<str>) -> &mut Statement {
        let before = match self.rng.u8(0..24) {
            0 => "\n-- one; two\n",
            1 => " /* COMMIT; /* nested; */ ; */ ",
            2 => "\r\n",
            3 => "\t",
            4 => "\n;\n",
            5 => "\n--BEGIN;\r\n  ",
            _ => "\n",
        };
        self.statements.push(Statement {
            sql: format!("{before}{}", sql.as_ref()),
            ..Statement::default()
        });
        self.statements.last_mut().expect("it was just added")
    }

    /// What the server runs only outside a transaction.
    fn lone(&mut self, sql: impl AsRef<str>) -> &mut Statement {
        let open = self.open;
        let statement = self.add(sql);
        statement.lone = true;
        // In a transaction of the script's own it can never succeed, and may be refused for that.
        statement.refusable = open;
        statement
    }

    /// What lasts until the transaction ends.
    fn local(&mut self, sql: impl AsRef<str>) {
        let outside = !self.open;
        self.add(sql).local = outside;
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.usize(0..from.len())]
    }

    /// A number that is not the script's seed's alone: statements tell themselves apart.
    fn number(&self) -> usize {
        100 + self.statements.len()
    }

    // Transactions.

    fn begin(&mut self) {
        let word = self.pick(&["BEGIN", "begin", "BEGIN WORK", "START TRANSACTION", "Begin Transaction"]);
        let mode = if self.rng.u8(0..4) == 0 { self.mode() } else { "" };
        self.add(format!("{word} {mode}"));
        self.open = true;
    }

    fn mode(&mut self) -> &'static str {
        self.pick(&[
            "ISOLATION LEVEL SERIALIZABLE",
            "ISOLATION LEVEL REPEATABLE READ",
            "READ WRITE",
            "READ ONLY",
            "ISOLATION LEVEL SERIALIZABLE, READ WRITE, DEFERRABLE",
        ])
    }

    fn finish(&mut self) {
        match self.rng.u8(0..20) {
            0..11 => self.commits("COMMIT", false),
            11 => self.commits("END", false),
            12 => self.commits("commit work", false),
            13..15 => {
                self.commits("COMMIT AND CHAIN", true);
                self.several(1..3);
                if self.rng.u8(0..4) > 0 {
                    self.finish();
                }
            }
            15 => self.rolls_back("ROLLBACK", false),
            16 => self.rolls_back("ABORT", false),
            17 => {
                self.rolls_back("ROLLBACK AND CHAIN", true);
                self.several(1..3);
                self.finish();
            }
            18 => self.commits("END AND NO CHAIN", false),
            _ => {}
        }
    }

    fn commits(&mut self, sql: &str, chain: bool) {
        self.add(sql).commits = true;
        // AND CHAIN outside a transaction is an error.
        self.open &= chain;
    }

    fn rolls_back(&mut self, sql: &str, chain: bool) {
        self.add(sql).rolls_back = true;
        self.open &= chain;
    }

    /// The end of a transaction that nobody began.
    fn stray(&mut self) {
        match self.rng.u8(0..4) {
            0 => self.rolls_back("ROLLBACK", false),
            1 => self.begin(),
            _ => self.commits("COMMIT", false),
        }
    }

    fn savepoint(&mut self) {
        self.local("SAVEPOINT s");
        if self.rng.bool() {
            self.ordinary();
        }
        match self.rng.u8(0..4) {
            0 => self.local("RELEASE s"),
            1 => self.local("ROLLBACK TO SAVEPOINT s"),
            2 => self.local("ROLLBACK WORK TO s"),
            _ => {}
        }
    }

    // What scripts mostly do.

    fn ordinary(&mut self) {
        let n = self.number();
        match self.rng.u8(0..16) {
            0..4 => drop(self.add(format!("INSERT INTO t VALUES ({n})"))),
            4 => drop(self.add(format!("INSERT INTO tenant.t VALUES ({n}, 'ä;''')"))),
            5 => drop(self.add("UPDATE orders SET s = 'paid' WHERE id = 1")),
            6 => drop(self.add("DELETE FROM users WHERE id = 2")),
            7 => {
                self.add(format!("CREATE TABLE a{n} (i int PRIMARY KEY, v text DEFAULT 'a;b')"));
                self.add(format!("INSERT INTO a{n} VALUES ({n})"));
            }
            8 => {
                self.add("CREATE TABLE IF NOT EXISTS a (i int)");
                self.add(format!("INSERT INTO a VALUES ({n})"));
            }
            9 => drop(self.add(format!("ALTER TABLE t ADD COLUMN c{n} int DEFAULT {n}"))),
            10 => drop(self.add("CREATE INDEX ON t (i, v)")),
            11 => drop(self.add(format!(
                "CREATE FUNCTION f{n}() RETURNS int LANGUAGE sql AS $f$ SELECT 1; SELECT {n}; $f$"
            ))),
            12 => drop(self.add(format!("INSERT INTO parts VALUES ({n})"))),
            _ => self.witness(),
        }
    }

    /// Writes down what the session is, where it shows.
    fn witness(&mut self) {
        let n = self.number();
        let what = self.pick(&[
            "current_user",
            "session_user",
            "current_setting('search_path')",
            "current_setting('app.x', true)",
            "current_setting('DateStyle')",
            "current_setting('transaction_isolation')",
            "current_setting('default_transaction_isolation')",
            "current_setting('synchronous_commit')",
            "(SELECT string_agg(name, ',' ORDER BY name) FROM pg_prepared_statements)",
            "(SELECT string_agg(name, ',' ORDER BY name) FROM pg_cursors WHERE is_holdable)",
            "(SELECT count(*)::text FROM pg_class WHERE relpersistence = 't' AND relkind = 'r')",
            "(SELECT string_agg(channel, ',') FROM pg_listening_channels() channel)",
        ]);
        self.add(format!("INSERT INTO public.log VALUES ({n}, {what})"));
    }

    fn fails(&mut self) {
        let n = self.number();
        match self.rng.u8(0..10) {
            0 => drop(self.add("SELECT 1/0")),
            1 => drop(self.add(format!("INSERT INTO a{n} VALUES (1/0)"))),
            2 => drop(self.add("SELEC 1")),
            3 => drop(self.add("INSERT INTO users VALUES (1, 'again')")),
            4..8 => {
                let code = self.pick(&[
                    "40001", "25001", "40P01", "55P03", "2D000", "P0001", "55P04", "57P01", "08006", "57014", "25P02",
                ]);
                self.add(format!(
                    "DO $$ BEGIN RAISE EXCEPTION 'it; fails' USING ERRCODE = '{code}'; END $$"
                ));
            }
            8 => drop(self.add(format!("INSERT INTO child VALUES ({n}, 999)"))),
            _ => drop(self.add("CREATE TABLE t (i int)")),
        }
    }

    fn deferred(&mut self) {
        let n = self.number();
        match self.rng.u8(0..7) {
            0 => {
                self.add(format!("INSERT INTO child VALUES ({n}, {n})"));
                self.add(format!("INSERT INTO parent VALUES ({n})"));
            }
            1 => self.local("SET CONSTRAINTS ALL IMMEDIATE"),
            2 => self.local("SET CONSTRAINTS child_p_fkey DEFERRED"),
            3 => drop(self.add("INSERT INTO child VALUES (-1)")),
            4 => {
                // Pending trigger events are in the way of the second.
                self.add(format!("INSERT INTO parent VALUES ({n})"));
                self.add(format!("INSERT INTO child VALUES ({n}, {n})"));
                self.add("ALTER TABLE child ADD COLUMN more int").lone = true;
            }
            5 => drop(self.add(format!("INSERT INTO child VALUES ({n}, {n})"))),
            _ => drop(self.add(format!("INSERT INTO parent VALUES ({n})"))),
        }
    }

    // What makes a session another than it was.

    fn setting(&mut self) {
        let n = self.number();
        match self.rng.u8(0..24) {
            0..3 => drop(self.add("SET search_path = tenant, public")),
            3 => drop(self.add("set search_path to 'tenant'")),
            4 => drop(self.add("SET SCHEMA 'tenant'")),
            5 => drop(self.add("SELECT set_config('search_path', 'tenant,public', false)")),
            // Whether it is for the session is known when it runs.
            6 => {
                self.add("SELECT pg_catalog.set_config ( 'search_path' , lower('TENANT') , 1 = 0 ) AS x")
                    .refusable = true;
            }
            7 => drop(self.add("SELECT public.sets('tenant, public')")),
            8 => drop(self.add("DO $$ BEGIN PERFORM set_config('search_path', 'tenant, public', false); END $$")),
            9 => drop(self.add("SET SESSION lock_timeout = '20s'")),
            10 => drop(self.add("SET statement_timeout TO '25s'")),
            11 => drop(self.add("SET default_transaction_read_only = on")),
            12 => drop(self.add("SET default_transaction_isolation = 'serializable'")),
            13 => drop(self.add("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")),
            14 => drop(self.add("SET synchronous_commit = off")),
            15 => drop(self.add(format!("SET app.x = 'v{n}'"))),
            16 => drop(self.add(format!("SELECT set_config('app.x', 'c{n}', false)"))),
            17 => drop(self.add("SET DateStyle = 'German'")),
            18 => {
                self.add("SET standard_conforming_strings = off").refusable = true;
                self.add(format!("INSERT INTO public.log VALUES ({n}, 'a\\\\b')"));
            }
            19 => {
                // From then on the file's bytes mean something else, unless they were sent before.
                let outside = !self.open;
                let statement = self.add("SET client_encoding = 'LATIN1'");
                (statement.refusable, statement.local) = (true, outside);
                self.add(format!("INSERT INTO public.log VALUES ({n}, 'ä')"));
            }
            20 => drop(self.add("RESET search_path")),
            21 => drop(self.add("RESET ALL")),
            22 => drop(self.add("SET search_path TO DEFAULT")),
            _ => drop(self.add("RESET app.x")),
        }
        if self.rng.bool() {
            self.ordinary();
        }
    }

    fn local_setting(&mut self) {
        let n = self.number();
        match self.rng.u8(0..11) {
            0..3 => self.local("SET LOCAL search_path = tenant, public"),
            3 => self.local("SELECT set_config('search_path', 'tenant, public', true)"),
            4 => self.local(format!("SET LOCAL app.x = 'l{n}'")),
            5 => self.local("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
            6 => {
                let outside = !self.open;
                let statement = self.add("SET TRANSACTION READ ONLY");
                (statement.local, statement.unrecordable) = (outside, outside);
            }
            7 => self.local("SET LOCAL synchronous_commit = off"),
            8 => self.local("LOCK TABLE t IN SHARE MODE"),
            // Beside a statement that cannot run in a transaction it was written as a lock of its statement.
            9 => self.add("SELECT pg_advisory_xact_lock(1)").refusable = true,
            _ => self.local("SET LOCAL ROLE lowly"),
        }
        if self.rng.bool() {
            self.ordinary();
        }
    }

    fn role(&mut self) {
        let n = self.number();
        match self.rng.u8(0..10) {
            0..4 => {
                self.add("SET ROLE lowly");
                self.add(format!("CREATE TABLE r{n} (i int)"));
                if self.rng.bool() {
                    self.lone(format!("CREATE INDEX CONCURRENTLY r{n}_i ON r{n} (i)"));
                }
                if self.rng.u8(0..3) > 0 {
                    self.add("RESET ROLE");
                }
            }
            4 => drop(self.add("SET SESSION ROLE 'lowly'")),
            5 => drop(self.add("SET ROLE NONE")),
            6 => {
                self.add("SET SESSION AUTHORIZATION lowly");
                self.add(format!("INSERT INTO public.log VALUES ({n}, session_user)"));
                if self.rng.bool() {
                    self.add("RESET SESSION AUTHORIZATION");
                }
            }
            7 => drop(self.add("SELECT set_config('role', 'lowly', false)")),
            8 => drop(self.add("SET SESSION AUTHORIZATION DEFAULT")),
            _ => drop(self.add("DO $$ BEGIN SET ROLE lowly; END $$")),
        }
    }

    fn temporary(&mut self) {
        let n = self.number();
        match self.rng.u8(0..9) {
            0..3 => {
                let which = self.pick(&["users", "t", "orders"]);
                self.add(format!("CREATE TEMP TABLE {which} AS SELECT * FROM public.{which}"));
            }
            3 => {
                self.local(format!("CREATE TEMPORARY TABLE x{n} (i int) ON COMMIT DROP"));
                self.add(format!("INSERT INTO x{n} VALUES (1)"));
            }
            4 => {
                self.local("CREATE TEMP TABLE t (i int, v text) ON COMMIT DELETE ROWS");
                self.add(format!("INSERT INTO t VALUES ({n})"));
                self.add("INSERT INTO tenant.t SELECT i FROM t");
            }
            5 => drop(self.add("SELECT * INTO TEMP users FROM public.users")),
            6 => drop(self.add("CREATE TEMP VIEW t AS SELECT i, v FROM tenant.t")),
            7 => drop(self.add("DROP TABLE IF EXISTS pg_temp.users")),
            _ => {
                self.add("CREATE TABLE pg_temp.users (LIKE public.users)");
                self.add("DELETE FROM users");
            }
        }
        match self.rng.u8(0..3) {
            0 => drop(self.add("DELETE FROM users")),
            1 => self.ordinary(),
            _ => {}
        }
    }

    fn prepared(&mut self) {
        let n = self.number();
        self.add("PREPARE p AS INSERT INTO t VALUES ($1)");
        if self.rng.bool() {
            self.anything();
        }
        self.add(format!("EXECUTE p({n})"));
        match self.rng.u8(0..4) {
            0 => drop(self.add("DEALLOCATE p")),
            1 => drop(self.add("DEALLOCATE ALL")),
            _ => {}
        }
    }

    fn sequence(&mut self) {
        let n = self.number();
        match self.rng.u8(0..3) {
            0 => drop(self.add(format!("SELECT setval('public.seq', {n}000)"))),
            1 => drop(self.add("SELECT nextval('public.seq')")),
            _ => drop(self.add("SELECT setval('public.seq', 5)")),
        }
        if self.rng.bool() {
            self.anything();
        }
        if self.rng.u8(0..3) > 0 {
            self.add(format!(
                "INSERT INTO public.log SELECT {n}, 'currval' WHERE currval('public.seq') > 0"
            ));
        }
    }

    fn cursor(&mut self) {
        let n = self.number();
        if self.rng.bool() {
            self.add("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM public.users ORDER BY id");
        } else {
            self.local("DECLARE c SCROLL CURSOR FOR SELECT id FROM public.users ORDER BY id");
        }
        if self.rng.bool() {
            self.anything();
        }
        match self.rng.u8(0..4) {
            0 => drop(self.add("FETCH 2 FROM c")),
            1 => drop(self.add("MOVE ALL FROM c")),
            2 => drop(self.add(format!("CREATE TABLE after{n} ()"))),
            _ => {}
        }
        if self.rng.bool() {
            self.add("CLOSE c");
        }
    }

    fn discard(&mut self) {
        match self.rng.u8(0..4) {
            0 => drop(self.lone("DISCARD ALL")),
            1 => drop(self.add("DISCARD TEMP")),
            2 => drop(self.add("DISCARD PLANS")),
            _ => drop(self.add("DISCARD SEQUENCES")),
        }
    }

    fn channels(&mut self) {
        match self.rng.u8(0..6) {
            0 => drop(self.add("COPY users TO STDOUT")),
            1 => drop(self.add("COPY (SELECT i FROM t) TO STDOUT WITH (FORMAT csv)")),
            2 => drop(self.add("LISTEN news")),
            3 => drop(self.add("NOTIFY news, 'it; is'")),
            4 => drop(self.add("UNLISTEN *")),
            _ => drop(self.add("TABLE users")),
        }
    }

    // What does not run in a transaction.

    fn procedural(&mut self) {
        let n = self.number();
        match self.rng.u8(0..11) {
            0 => drop(self.add(format!("DO $$ BEGIN INSERT INTO public.log VALUES ({n}, 'do'); END $$"))),
            1 => drop(self.add(format!("CALL plain({n})"))),
            2 => drop(self.add(format!("CALL public.plain({n})"))),
            3 | 4 => self.lone(format!("CALL public.commits({n})")).commits = true,
            5 => self.lone(format!("CALL public.commits_and_fails({n})")).commits = true,
            6 | 7 => {
                self.lone(format!(
                    "DO $$ BEGIN INSERT INTO public.log VALUES ({n}, 'a'); COMMIT; INSERT INTO public.log VALUES ({n}, 'b'); END $$"
                ))
                .commits = true;
            }
            8 => {
                self.lone(format!(
                    "DO $$ BEGIN INSERT INTO public.log VALUES ({n}, 'gone'); ROLLBACK; INSERT INTO public.log VALUES ({n}, 'b'); END $$"
                ))
                .rolls_back = true;
            }
            9 => drop(self.add(format!(
                "DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN INSERT INTO public.log VALUES ({n}, 'caught'); END $$"
            ))),
            _ => drop(self.add(format!(
                "DO $$ BEGIN SET search_path = tenant; CREATE TABLE d{n} (); END $$"
            ))),
        }
    }

    fn index(&mut self) {
        let n = self.number();
        let name = match self.rng.u8(0..12) {
            0 => String::new(),
            1 => format!("\"Quoted \"\"{n}\""),
            2 => format!("UPPER_{n}"),
            3 => format!("an_index_whose_name_is_longer_than_the_sixty_three_bytes_that_are_kept_{n}"),
            4 => format!("ÄÖÜ_Index_{n}"),
            5 => format!("U&\"d\\0061t\\+000061_{n}\""),
            6 => format!("\"an index whose quoted name is longer than the sixty-three bytes, ä {n}\""),
            7 => "IF NOT EXISTS t_i_idx".to_owned(),
            8 => format!("if not exists I_{n}"),
            9 => "t_i_idx".to_owned(),
            _ => format!("i_{n}"),
        };
        let table = self.pick(&[
            "t", "t", "public.t", "tenant.t", "ONLY t", "\"t\"", ".\"T\"", "\"T\"", "users",
        ]);
        let column = if table == "users" { "id" } else { "i" };
        match self.rng.u8(0..8) {
            0 => {
                // It fails, and leaves an INVALID index.
                let lone = self.lone(format!("CREATE UNIQUE INDEX CONCURRENTLY {name} ON public.twice (i)"));
                lone.commits = true;
            }
            1 => drop(self.lone(format!(
                "create /* ; */ index\n concurrently {name} on {table} using btree ({column}) where {column} > 0"
            ))),
            _ => drop(self.lone(format!("CREATE INDEX CONCURRENTLY {name} ON {table} ({column})"))),
        }
        if self.rng.u8(0..3) == 0 {
            self.ordinary();
        }
    }

    fn maintenance(&mut self) {
        let sql = match self.rng.u8(0..11) {
            0 => "DROP INDEX CONCURRENTLY t_i_idx",
            1 => "DROP INDEX CONCURRENTLY IF EXISTS t_i_idx",
            2 => "drop index concurrently if exists tenant.t_i_idx",
            3 => "REINDEX INDEX CONCURRENTLY t_i_idx",
            4 => "REINDEX TABLE CONCURRENTLY t",
            5 => "VACUUM t",
            6 => "VACUUM (FULL, ANALYZE) t",
            7 => "REINDEX SCHEMA CONCURRENTLY tenant",
            8 => "VACUUM missing",
            9 => "DROP INDEX CONCURRENTLY missing",
            _ => "ANALYZE t",
        };
        if sql.starts_with("ANALYZE") {
            self.add(sql);
        } else {
            self.lone(sql);
        }
    }

    fn label(&mut self) {
        let n = self.number();
        match self.rng.u8(0..4) {
            0 => {
                self.add(format!("CREATE TYPE mood{n} AS ENUM ('good')"));
                self.add(format!("ALTER TYPE mood{n} ADD VALUE 'bad'"));
                self.add(format!("CREATE TABLE m{n} (m mood{n} DEFAULT 'bad')"));
            }
            _ => {
                let condition = self.pick(&["", "IF NOT EXISTS "]);
                self.add(format!("ALTER TYPE public.status ADD VALUE {condition}'v{n}'"));
                if self.rng.u8(0..4) == 0 {
                    self.ordinary();
                }
                if self.rng.u8(0..4) > 0 {
                    let table = self.pick(&["orders", "public.orders", "tenant.orders"]);
                    self.lone(format!("UPDATE {table} SET s = 'v{n}' WHERE id = 2"));
                }
            }
        }
    }

    // What is meant for the program that runs the script.

    fn ledger(&mut self) {
        let n = self.number();
        let sql = match self.rng.u8(0..12) {
            0 | 1 => "UPDATE _prisma_migrations SET finished_at = now() WHERE finished_at IS NULL".to_owned(),
            2 | 3 => "DELETE FROM _prisma_migrations WHERE finished_at IS NULL".to_owned(),
            4 => "DELETE FROM public.\"_prisma_migrations\"".to_owned(),
            5 => format!(
                "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at) VALUES ('{n}', 'none', '{IT}', now())"
            ),
            6 => format!(
                "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at) VALUES ('{n}', 'none', 'other', now())"
            ),
            7 => "ALTER TABLE _prisma_migrations ADD COLUMN IF NOT EXISTS more int".to_owned(),
            8 => "ALTER TABLE _prisma_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY".to_owned(),
            9 => "DO $$ BEGIN EXECUTE 'DELETE FROM public._prisma' || '_migrations WHERE finished_at IS NULL'; END $$"
                .to_owned(),
            10 => "UPDATE _prisma_migrations SET logs = 'mine', rolled_back_at = now() WHERE finished_at IS NULL"
                .to_owned(),
            _ => {
                self.add("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.finished_at := NULL; RETURN NEW; END'")
                    .ledger = true;
                "CREATE TRIGGER keep BEFORE UPDATE ON public._prisma_migrations FOR EACH ROW EXECUTE FUNCTION keep()"
                    .to_owned()
            }
        };
        self.add(sql).ledger = true;
    }

    fn unlock(&mut self) {
        match self.rng.u8(0..3) {
            0 => drop(self.add("SELECT pg_advisory_unlock(72707369)")),
            1 => drop(self.add("DO $$ BEGIN PERFORM pg_advisory_unlock_all(); END $$")),
            _ => drop(self.add("SELECT pg_advisory_unlock_all()")),
        }
    }

    /// A string that ends elsewhere where backslashes escape: what is between two of them is seen or not.
    fn hides(&mut self) {
        if self.around.conforming_strings {
            return self.ordinary();
        }
        self.add("SELECT '\\'' AS x");
        match self.rng.u8(0..3) {
            0 => self.rolls_back("ROLLBACK", false),
            1 => self.commits("COMMIT", false),
            _ => {}
        }
        self.ordinary();
    }
}
