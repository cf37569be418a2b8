//! The peers, as their registries give them, in `target/peers`: sqlx-cli from crates.io, dbmate from npm. Prisma and psql are the harness's and the
//! machine's.

use harness::postgres::Database;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{Project, Stage, Way};

const SQLX: &str = "0.9.0";
const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("peers/package.json")),
    ("package-lock.json", include_str!("peers/package-lock.json")),
];

pub struct Peers {
    sqlx: PathBuf,
    dbmate: PathBuf,
}

impl Peers {
    /// Installs what is not there yet: minutes, once.
    pub fn install() -> Peers {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
        fs::create_dir_all(&home).expect("a folder for the peers");
        let sqlx = home.join("bin/sqlx");
        if !sqlx.is_file() {
            let mut cargo = Command::new("cargo");
            cargo.args([
                "install",
                "sqlx-cli",
                "--version",
                SQLX,
                "--locked",
                "--no-default-features",
            ]);
            cargo.args(["--features", "postgres,rustls", "--root"]).arg(&home);
            installed(&mut cargo);
        }
        let dbmate = home.join("node_modules/@dbmate/linux-x64/bin/dbmate");
        if !dbmate.is_file() {
            for (name, content) in FILES {
                fs::write(home.join(name), content).expect("a file of the peers");
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
            installed(npm.current_dir(&home));
        }
        Peers { sqlx, dbmate }
    }

    pub fn sqlx(&self, stage: &Stage, database: &Database, way: Way, project: &Project) -> Command {
        let mut command = Command::new(&self.sqlx);
        command
            .args(["migrate", "run", "--source"])
            .arg(project.of_tool("sqlx"));
        command.env_clear().env("DATABASE_URL", stage.url(database, way));
        command
    }

    pub fn dbmate(&self, stage: &Stage, database: &Database, way: Way, project: &Project) -> Command {
        let mut command = Command::new(&self.dbmate);
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
        let dbmate = FILES[0]
            .1
            .lines()
            .find_map(|line| line.trim().strip_prefix("\"dbmate\": "));
        format!(
            "sqlx-cli {SQLX}, dbmate {}",
            dbmate.unwrap_or_default().trim_matches('"')
        )
    }
}

fn installed(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "cannot install a peer with {command:?}: {status:?}"
    );
}
