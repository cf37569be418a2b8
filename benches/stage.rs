//! The machine that everything runs on: one server with fsync on, the histories, and the commands of all who are compared.

use harness::history::History;
use harness::postgres::{Database, Options, Server};
use harness::prisma;
use prisma_migrate_task::migration::sha256;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use tempfile::TempDir;

use crate::measure::Job;
use crate::peers::Peers;

/// How a client comes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Socket,
    /// 127.0.0.1, with a password.
    Tcp,
    /// 127.0.0.1 at this port: a link's.
    Port(u16),
}

pub struct Stage {
    pub server: Server,
    pub ours: PathBuf,
    pub psql: PathBuf,
    pub peers: Peers,
    kept: RefCell<Vec<Rc<Database>>>,
}

impl Stage {
    pub fn new(ours: PathBuf) -> Stage {
        let options = Options::new()
            .setting("fsync", "on")
            .setting("full_page_writes", "on")
            // No checkpoint of its own accord falls into a run: there is one before each.
            .setting("max_wal_size", "8GB")
            .setting("checkpoint_timeout", "1h")
            .setting("autovacuum", "off")
            // As a server comes: what the locks' view costs grows with it.
            .setting("max_connections", "100");
        Stage {
            server: Server::start(options),
            ours,
            psql: psql(),
            peers: Peers::default(),
            kept: RefCell::default(),
        }
    }

    /// A fresh database, with what came before it written to disk. It stays until the end: for minutes after files were deleted, ext4 looks at each of
    /// their inodes again whenever a file is made (`recently_deleted` in its ialloc.c), which took more than half of the server's time.
    pub fn database(&self) -> Rc<Database> {
        let database = Rc::new(self.passing_database());
        self.kept.borrow_mut().push(Rc::clone(&database));
        database
    }

    /// The same, dropped behind its last use: for what fills the disk.
    pub fn passing_database(&self) -> Database {
        let database = self.server.database();
        database.superuser().batch_execute("CHECKPOINT").expect("a checkpoint");
        database
    }

    pub fn url(&self, database: &Database, way: Way) -> String {
        match way {
            Way::Tcp => database.url(),
            Way::Port(port) => database.url_at(port),
            Way::Socket => {
                let socket = self.server.socket();
                let socket = socket.display().to_string().replace('/', "%2F");
                format!(
                    "postgresql://{}@{socket}:{}/{}",
                    database.user(),
                    self.server.port(),
                    database.name()
                )
            }
        }
    }

    /// `prisma-migrate-task deploy <source>`.
    pub fn ours(&self, database: &Database, way: Way, source: &Path) -> Command {
        let mut command = Command::new(&self.ours);
        command.arg("deploy").arg(source).env_clear();
        command.env("DATABASE_URL", self.url(database, way));
        command
    }

    /// psql itself, without Debian's wrapper, which takes longer to start than psql.
    pub fn psql(&self, database: &Database, way: Way) -> Command {
        let mut command = Command::new(&self.psql);
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).env_clear();
        let (host, port) = match way {
            Way::Socket => (self.server.socket().display().to_string(), self.server.port()),
            Way::Tcp => (database.host().to_owned(), database.port()),
            Way::Port(port) => (database.host().to_owned(), port),
        };
        command.env("PGHOST", host).env("PGPORT", port.to_string());
        command
            .env("PGUSER", database.user())
            .env("PGDATABASE", database.name());
        command.env("PGPASSWORD", database.password());
        command
    }

    /// psql with each file as one message: one round trip and one commit for each.
    pub fn psql_messages(&self, database: &Database, way: Way, scripts: &[String]) -> Command {
        let mut command = self.psql(database, way);
        for script in scripts {
            command.arg("-c").arg(script);
        }
        command
    }

    pub fn prisma(&self, database: &Database, way: Way, folder: &Path) -> Job {
        Job::new(prisma::command(&self.url(database, way), folder, ["deploy"]), ())
    }
}

/// Writes the first of these migrations into the ledger as applied, each as often as `times` says.
pub fn record(database: &Database, project: &Project, first: usize, times: usize) {
    let mut client = database.client();
    client.batch_execute(LEDGER).expect("the ledger");
    for chunk in project.scripts[..first].chunks(1000).enumerate() {
        let (at, scripts) = chunk;
        let mut values = String::new();
        for (offset, script) in scripts.iter().enumerate() {
            let n = at * 1000 + offset;
            let comma = if offset == 0 { "" } else { ", " };
            write!(
                values,
                "{comma}({n}, '{}', '{}')",
                project.names[n],
                sha256(script.as_bytes())
            )
            .expect("a string");
        }
        let sql = format!(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at, applied_steps_count) \
             SELECT gen_random_uuid()::text, checksum, name, t, t, 1 FROM (VALUES {values}) AS v (n, name, checksum), \
             generate_series(1, {times}) AS again, LATERAL (SELECT timestamptz '2024-01-01' + (n * {times} + again) * interval '1 ms' AS t) AS _"
        );
        client.batch_execute(&sql).expect("rows of the ledger");
    }
    let mut superuser = database.superuser();
    superuser
        .batch_execute("VACUUM ANALYZE _prisma_migrations")
        .expect("a vacuum");
    superuser.batch_execute("CHECKPOINT").expect("a checkpoint");
}

/// Prisma's table.
pub const LEDGER: &str = "CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, \
     finished_at TIMESTAMPTZ, migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ, \
     started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0)";

/// A script with the least that keeps a ledger: one row written before it and closed behind it, nothing looked at.
pub fn with_bare_ledger(name: &str, script: &str) -> String {
    let (id, checksum) = (sha256(name.as_bytes()), sha256(script.as_bytes()));
    let id = &id[..36];
    format!(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('{id}', '{checksum}', '{name}');\n{script}\n;\
         UPDATE _prisma_migrations SET finished_at = clock_timestamp(), applied_steps_count = 1 WHERE id = '{id}'"
    )
}

/// A history of small migrations, as each of those who are compared wants it.
pub struct Project {
    pub history: History,
    pub names: Vec<String>,
    pub scripts: Vec<String>,
    /// Of sqlx and of dbmate.
    others: TempDir,
}

impl Project {
    /// So many migrations, of a table and an index each, as Prisma writes them.
    pub fn new(count: usize) -> Project {
        let history = History::new();
        let others = tempfile::tempdir().expect("a temporary folder");
        for tool in ["sqlx", "dbmate"] {
            fs::create_dir(others.path().join(tool)).expect("a folder");
        }
        let (mut names, mut scripts) = (Vec::new(), Vec::new());
        for n in 0..count {
            let name = format!("{}_article_{n}", 20_240_101_000_000_u64 + n as u64);
            let script = small(n);
            history.write(format!("migrations/{name}/migration.sql"), &script);
            write(&others.path().join("sqlx").join(format!("{name}.sql")), &script);
            let up = format!("-- migrate:up\n{script}\n-- migrate:down\n");
            write(&others.path().join("dbmate").join(format!("{name}.sql")), &up);
            names.push(name);
            scripts.push(script);
        }
        Project {
            history,
            names,
            scripts,
            others,
        }
    }

    pub fn folder(&self) -> PathBuf {
        self.history.folder()
    }

    pub fn of_tool(&self, tool: &str) -> PathBuf {
        self.others.path().join(tool)
    }

    pub fn file(&self, at: usize) -> PathBuf {
        self.of_tool("sqlx").join(format!("{}.sql", self.names[at]))
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

pub fn small(n: usize) -> String {
    format!(
        "-- CreateTable\nCREATE TABLE \"Article{n}\" (\n    \"id\" SERIAL NOT NULL,\n    \"title\" TEXT NOT NULL,\n    \
         \"createdAt\" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,\n\n    CONSTRAINT \"Article{n}_pkey\" PRIMARY KEY (\"id\")\n);\n\n\
         -- CreateIndex\nCREATE INDEX \"Article{n}_createdAt_idx\" ON \"Article{n}\"(\"createdAt\");\n"
    )
}

/// psql beside the server's programs, else the one on PATH.
fn psql() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = debian
        .map(|entry| entry.path().join("bin/psql"))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("psql"))
}
