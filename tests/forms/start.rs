//! The schema that every script finds: two schemas with tables of the same names, and one thing of each kind that a script can trip over.

use crate::migrate;
use crate::script::Script;
use crate::state::State;
use crate::wire::Wire;
use harness::history::History;
use harness::postgres::{Database, Options, Server};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// The migration that makes it.
pub const START: &str = "20230101000000_start";
/// The migration under test.
pub const IT: &str = "20240101000000_it";

/// What [`START`] does.
pub const SCHEMA: &str = "
CREATE SCHEMA tenant;
CREATE TYPE public.status AS ENUM ('open', 'paid');
CREATE TABLE public.t (i int, v text DEFAULT 'x');
CREATE TABLE tenant.t (i int, v text DEFAULT 'x');
CREATE INDEX t_i_idx ON public.t (i);
CREATE INDEX t_i_idx ON tenant.t (i);
CREATE TABLE public.users (id int PRIMARY KEY, name text);
CREATE TABLE tenant.users (id int PRIMARY KEY, name text);
INSERT INTO public.users SELECT i, 'public' FROM generate_series(1, 5) i;
INSERT INTO tenant.users SELECT i, 'tenant' FROM generate_series(1, 5) i;
CREATE TABLE public.orders (id int, s public.status DEFAULT 'open');
CREATE TABLE tenant.orders (id int, s public.status DEFAULT 'open');
INSERT INTO public.orders VALUES (1), (2);
INSERT INTO tenant.orders VALUES (1), (2);
CREATE TABLE public.log (n int, v text);
CREATE TABLE public.twice (i int);
INSERT INTO public.twice VALUES (1), (1);
CREATE TABLE public.parent (id int PRIMARY KEY);
CREATE TABLE public.child (id int, p int REFERENCES public.parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE public.parts (i int) PARTITION BY RANGE (i);
CREATE TABLE public.part PARTITION OF public.parts FOR VALUES FROM (0) TO (1000000);
CREATE SEQUENCE public.seq;
CREATE FUNCTION public.not_negative() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN IF NEW.id < 0 THEN RAISE EXCEPTION ''negative''; END IF; RETURN NULL; END';
CREATE CONSTRAINT TRIGGER not_negative AFTER INSERT ON public.child DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION public.not_negative();
CREATE PROCEDURE public.commits(n int) LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.log VALUES (n, ''before''); COMMIT; INSERT INTO public.log VALUES (n, ''after''); END';
CREATE PROCEDURE public.commits_and_fails(n int) LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.log VALUES (n, ''before''); COMMIT; INSERT INTO public.log VALUES (1 / (n - n), ''after''); END';
CREATE PROCEDURE public.plain(n int) LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.log VALUES (n, ''plain''); END';
CREATE FUNCTION public.sets(path text) RETURNS void LANGUAGE plpgsql AS
  'BEGIN PERFORM set_config(''search_path'', path, false); PERFORM set_config(''app.x'', ''function'', false); END';
GRANT USAGE, CREATE ON SCHEMA public, tenant TO lowly;
GRANT SELECT, INSERT ON public.t, tenant.t, public.log TO lowly;
";

/// The server, and the databases that every script starts from.
#[derive(Debug)]
pub struct Start {
    /// The server.
    pub server: Server,
    /// For scripts that run as an ordinary owner.
    owner: Template,
    /// For scripts that run as a superuser.
    superuser: Template,
    /// Sessions that make and drop copies, as many as work at the same time.
    admins: Mutex<Vec<Wire>>,
    /// Databases that a script has left as they were.
    unchanged: Mutex<Vec<(Surroundings, Copy)>>,
}

#[derive(Debug)]
struct Template {
    database: Database,
    state: State,
}

impl Start {
    /// Starts a server, of this version or the harness's own, and makes the schema by the program under test, so that its table of migrations is as
    /// it makes it.
    pub fn on(version: Option<u32>) -> Start {
        let options = version.map_or_else(Options::new, |major| Options::new().version(major));
        // Databases are made and dropped all the time, which goes over all buffers and waits for checkpoints.
        let server = Server::start(
            options
                .setting("shared_buffers", "32MB")
                .setting("wal_level", "minimal")
                .setting("max_wal_senders", "0")
                .setting("autovacuum", "off"),
        );
        let databases = [server.database(), server.database()];
        let [owner, superuser] = &databases;
        owner
            .superuser()
            .batch_execute("CREATE ROLE lowly")
            .expect("the server is new");
        superuser
            .superuser()
            .batch_execute(&format!("ALTER ROLE {} SUPERUSER", superuser.user()))
            .expect("the role can be changed");
        let [owner, superuser] = databases.map(|database| {
            database
                .superuser()
                .batch_execute(&format!("GRANT lowly TO {}", database.user()))
                .expect("the role can be granted");
            let history = History::new().migration(START, SCHEMA);
            migrate().deploy(history.folder()).database(&database).run().expect(0);
            let state = State::of(&server, database.name());
            Template { database, state }
        });
        Start {
            server,
            owner,
            superuser,
            admins: Mutex::default(),
            unchanged: Mutex::default(),
        }
    }

    /// A database that a script with these surroundings starts from.
    pub fn copy(&self, around: Surroundings) -> Copy {
        let mut unchanged = self.unchanged.lock().unwrap();
        let known = unchanged.iter().position(|(of, _)| *of == around);
        let known = known.map(|at| unchanged.swap_remove(at).1);
        drop(unchanged);
        known.unwrap_or_else(|| self.make(around))
    }

    fn make(&self, around: Surroundings) -> Copy {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let from = &self.template(around).database;
        let copy = Copy {
            name: format!("copy_{}", MADE.fetch_add(1, Ordering::Relaxed)),
            user: from.user().to_owned(),
        };
        // Copying the files is cheaper than logging them, and brings the files that spare a session from reading the catalogue.
        let strategy = if self.major() < 15 { "" } else { "STRATEGY file_copy" };
        self.admin(&format!(
            "CREATE DATABASE {} TEMPLATE {} OWNER {} {strategy}",
            copy.name,
            from.name(),
            copy.user
        ));
        if !around.conforming_strings {
            self.admin(&format!(
                "ALTER DATABASE {} SET standard_conforming_strings = off",
                copy.name
            ));
        }
        copy
    }

    /// Takes a database back. One that a script has left as it was serves the next: `state` is what it holds.
    pub fn give_back(&self, copy: Copy, script: &Script, state: &State) {
        // What a script writes into the table of migrations is no part of the state.
        let as_it_was = state == self.state(script.around) && !script.any(|statement| statement.ledger);
        let cleared = as_it_was && {
            let mut wire = Wire::connect(&self.server, &copy.name, "postgres");
            let clear = format!("DELETE FROM public._prisma_migrations WHERE migration_name = '{IT}'");
            wire.query(&clear).is_ok_and(|reply| reply.error.is_none())
        };
        if cleared {
            self.unchanged.lock().unwrap().push((script.around, copy));
        } else {
            self.admin(&format!("DROP DATABASE {} WITH (FORCE)", copy.name));
        }
    }

    /// What a copy holds.
    pub fn state(&self, around: Surroundings) -> &State {
        &self.template(around).state
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        static MAJOR: OnceLock<u32> = OnceLock::new();
        *MAJOR.get_or_init(|| self.server.major())
    }

    /// The URL of a copy over the Unix socket, which asks for no password and costs no key derivation.
    pub fn url(&self, copy: &Copy) -> String {
        let folder = self.server.socket();
        let folder = utf8_percent_encode(folder.to_str().unwrap(), NON_ALPHANUMERIC).to_string();
        format!(
            "postgresql://{}@localhost:{}/{}?host={folder}",
            copy.user,
            self.server.port(),
            copy.name
        )
    }

    fn template(&self, around: Surroundings) -> &Template {
        if around.superuser { &self.superuser } else { &self.owner }
    }

    fn admin(&self, sql: &str) {
        let idle = self.admins.lock().unwrap().pop();
        let mut wire = idle.unwrap_or_else(|| Wire::connect(&self.server, "postgres", "postgres"));
        wire.values(sql);
        self.admins.lock().unwrap().push(wire);
    }
}

/// A database for one script.
#[derive(Debug)]
pub struct Copy {
    /// Its name.
    pub name: String,
    /// Who owns it, and runs the script.
    pub user: String,
}

/// What a script cannot see in its own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether it runs as a superuser.
    pub superuser: bool,
    /// The database's `standard_conforming_strings`.
    pub conforming_strings: bool,
}
