//! A network of a test's own with a PostgreSQL and an S3 in it, and the image's containers beside them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use harness::history::{History, Layout};
use harness::process::Running;
use harness::until;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::container::Job;
use crate::engine::{call, docker, label, output};

pub const BUCKET: &str = "artifacts";
const USER: &str = "deployer";

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

    /// A new folder in the test's, which every user may write to.
    pub fn folder_for_anybody(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        path
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
    pub fn task(&self, key: &str) -> Job {
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
    pub fn job(&self) -> Job {
        let name = format!("{}-task-{}", self.name, token());
        Job::new(&name, &self.name, [&self.password, &self.secret_key])
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
