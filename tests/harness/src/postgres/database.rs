//! One database: how to reach it, and how to look into it.

use std::process::Command;
use std::sync::Arc;

use ::postgres::{Client, Config, NoTls, SimpleQueryMessage};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Cluster, binaries};
use crate::token;

/// A database of one test, owned by a role whose password holds every character that a URL, a shell or a log could stumble over.
///
/// [`Database::client`] and what stands on it come in by the Unix socket and need no password; [`Database::url`] is TCP, with the password. Dropping
/// the value drops the database, with whoever is still connected.
#[derive(Debug)]
pub struct Database {
    cluster: Arc<Cluster>,
    name: String,
    user: String,
    secrets: [String; 2],
}

/// A row of `_prisma_migrations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The UUID that the client made.
    pub id: String,
    /// `migration_name`: the directory's name.
    pub name: String,
    /// SHA-256 of the file, lower-case hex.
    pub checksum: String,
    /// `finished_at` is set.
    pub finished: bool,
    /// `rolled_back_at` is set.
    pub rolled_back: bool,
    /// `logs`.
    pub logs: Option<String>,
    /// `applied_steps_count`.
    pub steps: i32,
}

impl Database {
    pub(super) fn create(cluster: Arc<Cluster>) -> Database {
        let database = Database {
            cluster,
            name: format!("db_{}", token()),
            user: format!("role_{}", token()),
            secrets: [token(), token()],
        };
        let mut admin = superuser(&database.cluster, "postgres");
        let Database { name, user, .. } = &database;
        let password = database.password().replace('\'', "''");
        admin
            .batch_execute(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'"))
            .expect("the role is not created");
        admin
            .batch_execute(&format!("CREATE DATABASE {name} OWNER {user}"))
            .expect("the database is not created");
        database
    }

    /// Always `127.0.0.1`.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The server's TCP port.
    pub fn port(&self) -> u16 {
        self.cluster.port
    }

    /// The database's name, unique in this process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The login role that owns the database, unique in this process.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The role's password, as it is.
    pub fn password(&self) -> String {
        let [first, second] = &self.secrets;
        format!("{first}@/:%?# '\"\\$é€ß&=+{second}")
    }

    /// The parts of the password that stay the same however it is encoded, quoted or cut: neither may be seen anywhere.
    pub fn secrets(&self) -> &[String; 2] {
        &self.secrets
    }

    /// `postgresql://…`, percent-encoded, over TCP.
    pub fn url(&self) -> String {
        self.url_at(self.port())
    }

    /// [`Database::url`] with another port on 127.0.0.1: a proxy's.
    pub fn url_at(&self, port: u16) -> String {
        let password = self.password();
        let password = utf8_percent_encode(&password, NON_ALPHANUMERIC);
        format!(
            "postgresql://{}:{password}@{}:{port}/{}",
            self.user,
            self.host(),
            self.name
        )
    }

    /// A session as the owning role.
    pub fn client(&self) -> Client {
        connect(&self.cluster, &self.user, &self.name)
    }

    /// A session as superuser.
    pub fn superuser(&self) -> Client {
        superuser(&self.cluster, &self.name)
    }

    /// Runs a script as the owning role, in one message of a new session.
    pub fn execute(&self, sql: &str) {
        self.client()
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{}\n{sql}", describe(&error)));
    }

    /// The rows of a query, as the owning role in a new session; every value is text, NULL is `NULL`.
    pub fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let messages = self
            .client()
            .simple_query(sql)
            .unwrap_or_else(|error| panic!("{}\n{sql}", describe(&error)));
        let text = |row: &::postgres::SimpleQueryRow| {
            (0..row.len())
                .map(|i| row.get(i).unwrap_or("NULL").to_owned())
                .collect()
        };
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(text(row)),
            _ => None,
        });
        rows.collect()
    }

    /// The one value of a query, as in [`Database::rows`].
    pub fn scalar(&self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        match (rows.pop(), rows.is_empty()) {
            (Some(mut row), true) if row.len() == 1 => row.remove(0),
            _ => panic!("the query gives more or less than one value\n{sql}"),
        }
    }

    /// Whether `_prisma_migrations` exists in `public`.
    pub fn has_ledger(&self) -> bool {
        self.scalar("SELECT to_regclass('public._prisma_migrations') IS NOT NULL") == "t"
    }

    /// The rows of `public._prisma_migrations` by `started_at`.
    pub fn ledger(&self) -> Vec<LedgerRow> {
        self.ledger_in("public")
    }

    /// [`Database::ledger`] of another schema.
    pub fn ledger_in(&self, schema: &str) -> Vec<LedgerRow> {
        let sql = format!(
            "SELECT id, migration_name, checksum, finished_at IS NOT NULL, rolled_back_at IS NOT NULL, logs, applied_steps_count \
             FROM \"{}\"._prisma_migrations ORDER BY started_at, migration_name",
            schema.replace('"', "\"\"")
        );
        let rows = self
            .superuser()
            .query(&sql, &[])
            .unwrap_or_else(|error| panic!("no ledger: {}", describe(&error)));
        let row = |row: &::postgres::Row| LedgerRow {
            id: row.get(0),
            name: row.get(1),
            checksum: row.get(2),
            finished: row.get(3),
            rolled_back: row.get(4),
            logs: row.get(5),
            steps: row.get(6),
        };
        rows.iter().map(row).collect()
    }

    /// The schema as `pg_dump` writes it, without `_prisma_migrations` and whatever tells one database or server from another: equal text means
    /// equal schema. The owning role is called `owner`.
    pub fn dump(&self) -> String {
        let mut command = Command::new(binaries::pg_dump(&self.cluster.binaries));
        command.args([
            "--schema-only",
            "--exclude-table=*._prisma_migrations",
            "--username=postgres",
            "--no-password",
        ]);
        command
            .arg("--host")
            .arg(self.cluster.socket())
            .arg(format!("--port={}", self.port()))
            .arg(&self.name);
        let output = command.output().expect("cannot run pg_dump");
        let text = String::from_utf8(output.stdout).expect("a dump in UTF-8");
        assert!(
            output.status.success(),
            "pg_dump: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let varies = |line: &&str| {
            // \restrict carries a random token; the comments carry versions and names.
            line.starts_with("\\restrict")
                || line.starts_with("\\unrestrict")
                || line.starts_with("-- Dumped ")
                || line.is_empty()
        };
        let lines: Vec<_> = text.lines().filter(|line| !varies(line)).collect();
        lines
            .join("\n")
            .replace(&self.user, "owner")
            .replace(&self.name, "database")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Database { name, user, .. } = self;
        // The server may be stopped by now, and then there is nothing to tidy.
        if let Ok(mut admin) = config(&self.cluster, "postgres", "postgres").connect(NoTls) {
            let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
            let _ = admin.batch_execute(&format!("DROP ROLE IF EXISTS {user}"));
        }
    }
}

pub(super) fn superuser(cluster: &Cluster, database: &str) -> Client {
    connect(cluster, "postgres", database)
}

fn connect(cluster: &Cluster, user: &str, database: &str) -> Client {
    let client = config(cluster, user, database).connect(NoTls);
    client.unwrap_or_else(|error| panic!("no session as {user} in {database}: {}", describe(&error)))
}

fn config(cluster: &Cluster, user: &str, database: &str) -> Config {
    let mut config = Config::new();
    config
        .host_path(cluster.socket())
        .port(cluster.port)
        .user(user)
        .dbname(database)
        .application_name("harness");
    config
}

/// The driver says only "db error" by itself.
fn describe(error: &::postgres::Error) -> String {
    match error.as_db_error() {
        Some(cause) => format!("{} {}", cause.code().code(), cause.message()),
        None => error.to_string(),
    }
}
