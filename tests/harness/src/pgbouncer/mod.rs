//! A real PgBouncer before a database.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::postgres::{Database, give, unprivileged, write_for};
use crate::process::LONGEST_WAIT;
use crate::random_port;

const SUPERVISOR: &str = include_str!("supervisor.sh");

/// To whom a connection of the server's belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// To a client until it disconnects.
    Session,
    /// To a client for a transaction.
    Transaction,
    /// To a client for a statement.
    Statement,
}

/// A PgBouncer on 127.0.0.1 that knows one database's owner and hands everything on to that database's server. It asks for the password (SCRAM) and
/// gives it to the server. It ends when the value is dropped or the test process is gone.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    supervisor: Child,
    stdin: Option<ChildStdin>,
}

impl PgBouncer {
    /// Starts one, with these lines in the section `[pgbouncer]` of its configuration: `ignore_startup_parameters = options`.
    pub fn start(database: &Database, mode: PoolMode, settings: &[&str]) -> PgBouncer {
        let program = program();
        (0..20)
            .find_map(|_| PgBouncer::at(random_port(), &program, database, mode, settings))
            .expect("PgBouncer found no free port")
    }

    /// Nothing where the port is taken.
    fn at(port: u16, program: &Path, database: &Database, mode: PoolMode, settings: &[&str]) -> Option<PgBouncer> {
        let folder = tempfile::Builder::new()
            .prefix("pgbouncer-")
            .tempdir()
            .expect("no temporary folder for PgBouncer")
            .keep();
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        };
        let users = folder.join("users");
        let ini = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\nserver_login_retry = 1\n{}\n",
            database.host(),
            database.port(),
            users.display(),
            settings.join("\n")
        );
        write_for(&folder.join("ini"), ini.as_bytes());
        let password = database.password().replace('"', "\"\"");
        write_for(&users, format!("\"{}\" \"{password}\"\n", database.user()).as_bytes());
        give(&folder, 0o700);

        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(program)
            .arg(&folder)
            .current_dir(&folder);
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        let mut supervisor = command.spawn().expect("cannot run sh, which supervises PgBouncer");
        let stdin = supervisor.stdin.take();
        let log = BufReader::new(supervisor.stderr.take().expect("stderr is piped"));
        let bouncer = PgBouncer {
            port,
            supervisor,
            stdin,
        };
        let mut said = Vec::new();
        // Its log goes on to be read, so that it never waits for us.
        let mut lines = log.lines().map_while(Result::ok);
        for line in lines.by_ref() {
            said.push(line);
            let line = said.last().map(String::as_str).unwrap_or_default();
            if line.contains("process up") {
                thread::spawn(move || lines.for_each(drop));
                bouncer.answers();
                return Some(bouncer);
            }
            if line.contains("Address already in use") {
                return None;
            }
        }
        panic!("PgBouncer does not start:\n{}", said.join("\n"));
    }

    fn answers(&self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < LONGEST_WAIT, "PgBouncer does not listen");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database's URL, through PgBouncer.
    pub fn url_for(&self, database: &Database) -> String {
        database.url_at(self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.supervisor.wait();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("no pgbouncer found: install it with `apt-get install pgbouncer`"))
}
