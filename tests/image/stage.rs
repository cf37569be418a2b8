//! A network of a test's own with a PostgreSQL and an S3 in it, and the image's containers beside them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use harness::history::{History, Layout};
use harness::process::{Run, Running};
use harness::tool::{Call, Tool};
use harness::until;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// What everything here is labelled with: `scripts/image.sh` takes away what a killed test has left.
fn label() -> String {
    std::env::var("TEST_LABEL").unwrap_or_else(|_| "prisma-migrate-task-test".to_owned())
}

pub const BUCKET: &str = "artifacts";
const USER: &str = "deployer";

/// The docker program: `DOCKER`, where the first in PATH is not the right one.
fn docker_program() -> String {
    std::env::var("DOCKER").unwrap_or_else(|_| "docker".to_owned())
}

fn output(arguments: &[&str]) -> Output {
    let output = Command::new(docker_program()).args(arguments).output();
    output.expect("docker cannot be run")
}

/// What `docker …` prints; panics where it fails.
#[track_caller]
pub fn docker(arguments: &[&str]) -> String {
    let output = output(arguments);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(
        output.status.success(),
        "docker {arguments:?}\n{}\n{}",
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}

/// The image under test: `IMAGE`.
pub fn image() -> String {
    std::env::var("IMAGE").unwrap_or_else(|_| "prisma-migrate-task".to_owned())
}

fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string().split_off(20)
}

/// A certificate authority, as PEM, and a server's certificate and key that it signed.
struct Certificates {
    authority: String,
    server: String,
    key: String,
}

impl Certificates {
    fn new(host: &str) -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "the test's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec![host.to_owned()])
            .unwrap()
            .signed_by(&key, &Issuer::from_params(&params, &authority_key))
            .unwrap();
        Certificates {
            authority: authority.pem(),
            server: server.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The network `test-…` with the hosts `database` and `s3`. All of it is gone when the value is dropped.
pub struct Stage {
    name: String,
    password: String,
    secret_key: String,
    files: TempDir,
}

impl Stage {
    /// `objects` are in the bucket from the start, by their keys.
    pub fn new(objects: &[(&str, &History)]) -> Stage {
        let objects: Vec<(&str, Vec<u8>)> = objects
            .iter()
            .map(|(key, history)| (*key, history.zip(Layout::Folder)))
            .collect();
        Stage::with(objects)
    }

    /// The same, with any bytes.
    pub fn with(objects: Vec<(&str, Vec<u8>)>) -> Stage {
        let stage = Stage {
            name: format!("test-{}", token()),
            password: format!("{}/{}", token(), token()),
            secret_key: token(),
            files: tempfile::tempdir().unwrap(),
        };
        let certificates = Certificates::new("database");
        stage.file("authority.pem", &certificates.authority);
        stage.file("wrong.pem", &Certificates::new("database").authority);
        fs::create_dir_all(stage.path("objects").join(BUCKET)).unwrap();
        for (key, bytes) in objects {
            stage.file(&format!("objects/{BUCKET}/{key}"), bytes);
        }
        docker(&["network", "create", "--label", &label(), &stage.name]);
        let (certificate, key) = (
            format!("CERTIFICATE={}", certificates.server),
            format!("KEY={}", certificates.key),
        );
        stage.serve(
            "database",
            &["-e", &certificate, "-e", &key, "prisma-migrate-task-test-postgres"],
        );
        let volume = format!("{}:/objects:ro", stage.path("objects").display());
        let secret = format!("AWS_SECRET_ACCESS_KEY={}", stage.secret_key);
        stage.serve(
            "s3",
            &[
                "-e",
                "AWS_ACCESS_KEY_ID=AKIATEST",
                "-e",
                &secret,
                "-v",
                &volume,
                "prisma-migrate-task-test-s3",
                "0.0.0.0:9000",
                "/objects",
            ],
        );
        let database = stage.container("database");
        until("PostgreSQL takes connections", || {
            output(&["exec", &database, "pg_isready", "--quiet"]).status.success()
        });
        until("S3 listens", || {
            let logs = output(&["logs", &stage.container("s3")]);
            String::from_utf8_lossy(&logs.stderr).contains("listening")
        });
        stage.sql(&format!(
            "CREATE ROLE {USER} SUPERUSER LOGIN PASSWORD '{}'",
            stage.password
        ));
        stage
    }

    fn serve(&self, host: &str, rest: &[&str]) {
        let name = self.container(host);
        let label = label();
        let mut arguments = vec!["run", "--detach", "--label", &label, "--name", &name];
        arguments.extend(["--network", &self.name, "--network-alias", host]);
        arguments.extend(rest);
        docker(&arguments);
    }

    fn container(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// A path in the test's folder, which is on the host.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// What psql prints for it as the superuser, in the database `postgres`.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        let database = self.container("database");
        docker(&["exec", &database, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql])
    }

    /// A session that does this until the value is dropped.
    pub fn session(&self, sql: &str) -> Running {
        let database = self.container("database");
        call(["exec", &database, "psql", "-XqAt", "-c", sql]).spawn()
    }

    /// The rows of the migrations table, oldest first: `name applied`, `name rolled back` or `name unfinished`.
    pub fn ledger(&self) -> Vec<String> {
        if self.sql("SELECT to_regclass('_prisma_migrations') IS NULL") == "t" {
            return Vec::new();
        }
        let rows = self.sql(
            "SELECT migration_name || ' ' || CASE WHEN rolled_back_at IS NOT NULL THEN 'rolled back' \
             WHEN finished_at IS NOT NULL THEN 'applied' ELSE 'unfinished' END FROM _prisma_migrations ORDER BY started_at",
        );
        rows.lines().map(str::to_owned).collect()
    }

    /// The task as today's deployer starts it: five variables, a read-only file system, no privilege, 64 MB. `AWS_…` is what ECS and S3's own address are
    /// outside of AWS.
    pub fn task(&self, key: &str) -> Job<'_> {
        self.job()
            .env("ARTIFACT_BUCKET", BUCKET)
            .env("PRISMA_ARTIFACT_KEY", key)
            .env("DB_HOST", "database")
            .env("DB_USERNAME", USER)
            .env("DB_PASSWORD", &self.password)
            .env("AWS_ENDPOINT_URL_S3", "http://s3:9000")
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", &self.secret_key)
            .env("AWS_REGION", "eu-west-1")
    }

    /// A container of the image in this network, with no variable set.
    pub fn job(&self) -> Job<'_> {
        Job {
            stage: self,
            name: format!("{}-task-{}", self.name, token()),
            memory: "64m".to_owned(),
            network: self.name.clone(),
            options: Vec::new(),
            variables: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// `postgresql://…` of the same database.
    pub fn url(&self) -> String {
        format!(
            "postgresql://{USER}:{}@database/postgres",
            self.password.replace('/', "%2F")
        )
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let filter = format!("network={}", self.name);
        let containers = output(&["ps", "--all", "--quiet", "--filter", &filter]);
        let containers = String::from_utf8_lossy(&containers.stdout).into_owned();
        let mut arguments = vec!["rm", "--force", "--volumes"];
        arguments.extend(containers.split_whitespace());
        output(&arguments);
        output(&["network", "rm", &self.name]);
    }
}

/// A call of docker that is bounded in time; it sees no variable but what says where the engine is.
fn call<'a>(words: impl IntoIterator<Item = &'a str>) -> Call {
    let call = Tool::new(docker_program()).verb(words).without_report();
    match std::env::var("DOCKER_HOST") {
        Ok(host) => call.env("DOCKER_HOST", host),
        Err(_) => call,
    }
}

/// One container of the image that is being put together.
pub struct Job<'a> {
    stage: &'a Stage,
    name: String,
    memory: String,
    network: String,
    options: Vec<String>,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Job<'_> {
    /// Sets a variable; a later one wins.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(there, _)| there != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an option of `docker run`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Mounts a file or folder of the host, read-only.
    pub fn mount(self, from: &std::path::Path, to: &str) -> Self {
        let volume = format!("--volume={}:{to}:ro", from.display());
        self.option(&volume)
    }

    /// Adds arguments of the program.
    pub fn args<'b>(mut self, arguments: impl IntoIterator<Item = &'b str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Another limit than 64 MB; there is no swap beyond it.
    pub fn memory(mut self, limit: &str) -> Self {
        limit.clone_into(&mut self.memory);
        self
    }

    /// Another network than the stage's.
    pub fn network(mut self, network: &str) -> Self {
        network.clone_into(&mut self.network);
        self
    }

    /// The container's name.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Runs it to its end.
    pub fn run(self) -> Run {
        self.spawn().wait()
    }

    /// Starts it. The container stays until the stage goes, so that the engine can be asked how it ended.
    pub fn spawn(self) -> Running {
        let (memory, swap) = (
            format!("--memory={}", self.memory),
            format!("--memory-swap={}", self.memory),
        );
        let label = label();
        let mut words = vec!["run", "--label", &label, "--name", &self.name, &memory, &swap];
        words.extend(["--network", &self.network, "--read-only", "--cap-drop", "ALL"]);
        words.extend(["--security-opt", "no-new-privileges"]);
        words.extend(self.options.iter().map(String::as_str));
        words.extend(self.variables.iter().flat_map(|(name, _)| ["--env", name.as_str()]));
        let image = image();
        words.push(&image);
        words.extend(self.arguments.iter().map(String::as_str));
        let call = self
            .variables
            .iter()
            .fold(call(words), |call, (name, value)| call.env(name, value));
        call.secret(&self.stage.password).secret(&self.stage.secret_key).spawn()
    }
}
