//! A real PostgreSQL, thrown away afterwards.
//!
//! [`Server::shared`] is one cluster for the whole test process, [`Server::version`] the same of a version that a test names, [`Server::start`] one of
//! a test's own, for those that stop it or need other settings. Every [`Database`] is fresh, with a name and an owning role of its own. A server never outlives the test process: a supervising shell
//! stops it as soon as the pipe to us closes.

mod binaries;
mod database;
mod versions;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use ::postgres::{Client, Error, NoTls, SimpleQueryMessage, error::SqlState};
pub(crate) use binaries::unprivileged;
pub use database::{Database, LedgerRow};
pub use versions::Version;

use crate::random_port;

const SUPERVISOR: &str = include_str!("supervisor.sh");

/// How a server of one's own differs from [`Server::shared`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    binaries: Option<PathBuf>,
    settings: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    access: Vec<String>,
}

impl Options {
    /// The same server as [`Server::shared`].
    pub fn new() -> Options {
        Options::default()
    }

    /// The programs of another version: the folder that holds `initdb`, `pg_ctl` and `postgres`.
    pub fn binaries(mut self, folder: impl Into<PathBuf>) -> Options {
        self.binaries = Some(folder.into());
        self
    }

    /// The programs of this major version.
    pub fn version(self, major: u32) -> Options {
        self.binaries(versions::find(major))
    }

    /// A line of `postgresql.conf`; a later one wins over an earlier one and over the harness's.
    pub fn setting(mut self, name: &str, value: &str) -> Options {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the data directory, readable by the server alone: `server.key` for `.setting("ssl", "on")`.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Options {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// A line of `pg_hba.conf` before the harness's: the first one that fits decides.
    pub fn access(mut self, line: &str) -> Options {
        self.access.push(line.to_owned());
        self
    }
}

/// What `pg_ctl stop` does to the sessions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ends them, rolls back, shuts down cleanly (57P01 for the clients).
    Fast,
    /// Drops everything as a crash does; the next start recovers (57P02 for the clients).
    Immediate,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Fast => "fast",
            Mode::Immediate => "immediate",
        }
    }
}

/// What a [`Database`] must know of its server; it stays valid while the server is down.
#[derive(Debug)]
struct Cluster {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Cluster {
    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }
}

/// A PostgreSQL cluster on 127.0.0.1 and on a Unix socket, running.
///
/// TCP asks for a password (SCRAM), which the superuser has none of; the socket trusts whom the file system lets through. fsync is off.
#[derive(Debug)]
pub struct Server {
    cluster: Arc<Cluster>,
    supervisor: Supervisor,
}

impl Server {
    /// The one cluster of this test process, started on first use. It cannot be stopped.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(Options::new()))
    }

    /// A cluster of one's own; it is gone when the value is dropped.
    pub fn start(options: Options) -> Server {
        let binaries = options.binaries.clone().unwrap_or_else(binaries::find);
        let folder = tempfile::Builder::new()
            .prefix("postgres-")
            .tempdir()
            .expect("no temporary folder for PostgreSQL")
            .keep();
        fs::create_dir(folder.join("socket")).expect("no socket folder");
        give(&folder.join("socket"), 0o700);
        let binaries = binaries::within_reach(binaries, &folder);
        give(&folder, 0o700);

        let mut supervisor = Supervisor::start(&binaries, &folder);
        supervisor.obey("init", "");
        let data = folder.join("data");
        for (name, content) in &options.files {
            write_for(&data.join(name), content);
        }
        if !options.access.is_empty() {
            let path = data.join("pg_hba.conf");
            let own = fs::read_to_string(&path).expect("initdb wrote no pg_hba.conf");
            write_for(&path, format!("{}\n{own}", options.access.join("\n")).as_bytes());
        }
        let path = data.join("postgresql.conf");
        let default = fs::read_to_string(&path).expect("initdb wrote no postgresql.conf");
        for _ in 0..20 {
            let port = random_port();
            write_for(
                &path,
                format!("{default}\n{}", settings(&options, &folder, port)).as_bytes(),
            );
            match supervisor.ask("start", "") {
                Ok(()) => {
                    return Server {
                        cluster: Arc::new(Cluster { binaries, folder, port }),
                        supervisor,
                    };
                }
                Err(text) if text.contains("could not create any TCP/IP sockets") => {}
                Err(text) => panic!("PostgreSQL does not start: {text}"),
            }
        }
        panic!("PostgreSQL found no free port");
    }

    /// A fresh, empty database with a name and an owning role of its own.
    pub fn database(&self) -> Database {
        Database::create(Arc::clone(&self.cluster))
    }

    /// Always `127.0.0.1`.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port; also the number in the socket's name. It stays the same over a restart.
    pub fn port(&self) -> u16 {
        self.cluster.port
    }

    /// The folder of the Unix socket, for `?host=`.
    pub fn socket(&self) -> PathBuf {
        self.cluster.socket()
    }

    /// The one cluster of this test process of a major version, started on first use. It cannot be stopped.
    pub fn version(major: u32) -> &'static Server {
        static STARTED: Mutex<BTreeMap<u32, &'static OnceLock<Server>>> = Mutex::new(BTreeMap::new());
        let server: &'static OnceLock<Server> = STARTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(major)
            .or_insert_with(|| Box::leak(Box::default()));
        server.get_or_init(|| Server::start(Options::new().version(major)))
    }

    /// The major version, such as 15.
    pub fn major(&self) -> u32 {
        let number = database::superuser(&self.cluster, "postgres")
            .query_one("SELECT current_setting('server_version_num')::int4", &[]);
        u32::try_from(number.expect("the server does not tell its version").get::<_, i32>(0))
            .expect("a version below zero")
            / 10_000
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        log(&self.cluster.folder)
    }

    /// Stops the server and waits until it is gone.
    pub fn stop(&mut self, mode: Mode) {
        self.supervisor.obey("stop", mode.name());
    }

    /// Starts a stopped server again, on the same port, and waits until it accepts connections.
    pub fn resume(&mut self) {
        self.supervisor.obey("start", "");
    }

    /// [`Server::stop`], then [`Server::resume`].
    pub fn restart(&mut self, mode: Mode) {
        self.stop(mode);
        self.resume();
    }
}

/// The shell that runs the server as a user PostgreSQL accepts, and that ends it when its stdin closes.
#[derive(Debug)]
struct Supervisor {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Supervisor {
    fn start(binaries: &PathBuf, folder: &PathBuf) -> Supervisor {
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "supervisor"]).arg(binaries).arg(folder);
        // A process group of its own: Ctrl-C in a terminal ends the tests, and the shell must live on to clean up.
        command.current_dir(folder).process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some((user, group)) = binaries::unprivileged() {
            command.uid(user).gid(group);
        }
        let mut child = command.spawn().expect("cannot run sh, which supervises PostgreSQL");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Supervisor {
            child,
            stdin,
            stdout,
            folder: folder.clone(),
        }
    }

    /// Waits for the answer; an error holds what the programs and the server said.
    fn ask(&mut self, verb: &str, mode: &str) -> Result<(), String> {
        let stdin = self.stdin.as_mut().expect("the supervisor is asked after its end");
        writeln!(stdin, "{verb} {mode}").expect("PostgreSQL's supervisor is gone");
        let mut answer = String::new();
        self.stdout
            .read_line(&mut answer)
            .expect("PostgreSQL's supervisor does not answer");
        if answer.trim() == "0" {
            return Ok(());
        }
        let output = fs::read_to_string(self.folder.join("output")).unwrap_or_default();
        Err(format!(
            "{verb} {mode}: exit code {}\n{output}\n{}",
            answer.trim(),
            log(&self.folder)
        ))
    }

    fn obey(&mut self, verb: &str, mode: &str) {
        self.ask(verb, mode)
            .unwrap_or_else(|text| panic!("PostgreSQL does not {text}"));
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

fn settings(options: &Options, folder: &Path, port: u16) -> String {
    let socket = folder.join("socket");
    let own = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &port.to_string()),
        (
            "unix_socket_directories",
            socket.to_str().expect("a temporary folder in UTF-8"),
        ),
        ("max_connections", "300"),
        ("fsync", "off"),
        ("full_page_writes", "off"),
    ];
    let theirs = options
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    own.into_iter()
        .chain(theirs)
        .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
        .collect()
}

fn log(folder: &Path) -> String {
    let bytes = fs::read(folder.join("log")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes a file that the server's user alone may read.
pub(crate) fn write_for(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    give(path, 0o600);
}

pub(crate) fn give(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .expect("cannot set permissions in the temporary folder");
    if let Some((user, group)) = binaries::unprivileged() {
        chown(path, Some(user), Some(group)).expect("cannot give a file to PostgreSQL's user");
    }
}
