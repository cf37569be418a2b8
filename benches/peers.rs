//! The peers, as their registries give them, in `target/peers`: sqlx-cli from crates.io, dbmate from npm. Prisma and psql are the harness's and the
//! machine's.

use harness::postgres::Database;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::stage::{Project, Stage, Way};

const SQLX: &str = "0.9.0";
const DBMATE: &str = "2.36.0";

/// Where they are, installed when they are first asked for: minutes, once.
#[derive(Default)]
pub struct Peers {
    sqlx: OnceLock<PathBuf>,
    dbmate: OnceLock<PathBuf>,
}

fn home() -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
    fs::create_dir_all(&home).expect("a folder for the peers");
    home
}

fn install_sqlx() -> PathBuf {
    let program = home().join("bin/sqlx");
    if !program.is_file() {
        let mut cargo = Command::new("cargo");
        cargo.args([
            "install",
            "sqlx-cli",
            "--version",
            SQLX,
            "--locked",
            "--no-default-features",
        ]);
        cargo.args(["--features", "postgres,rustls", "--root"]).arg(home());
        installed(&mut cargo);
    }
    program
}

/// The package of the program itself, which dbmate's own starts from Node.
fn install_dbmate() -> PathBuf {
    let processor = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let package = format!("@dbmate/linux-{processor}");
    let program = home().join("node_modules").join(&package).join("bin/dbmate");
    if !program.is_file() {
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--prefix",
        ]);
        installed(npm.arg(home()).arg(format!("{package}@{DBMATE}")));
    }
    program
}

impl Peers {
    pub fn sqlx(&self, stage: &Stage, database: &Database, way: Way, project: &Project) -> Command {
        let mut command = Command::new(self.sqlx.get_or_init(install_sqlx));
        command
            .args(["migrate", "run", "--source"])
            .arg(project.of_tool("sqlx"));
        command.env_clear().env("DATABASE_URL", stage.url(database, way));
        command
    }

    pub fn dbmate(&self, stage: &Stage, database: &Database, way: Way, project: &Project) -> Command {
        let mut command = Command::new(self.dbmate.get_or_init(install_dbmate));
        command.arg("--migrations-dir").arg(project.of_tool("dbmate"));
        command.args(["--no-dump-schema", "migrate"]);
        let url = stage.url(database, way);
        let separator = if url.contains('?') { '&' } else { '?' };
        command
            .env_clear()
            .env("DATABASE_URL", format!("{url}{separator}sslmode=disable"));
        command
    }

    pub fn versions() -> String {
        format!("sqlx-cli {SQLX}, dbmate {DBMATE}")
    }
}

fn installed(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "cannot install a peer with {command:?}: {status:?}"
    );
}
