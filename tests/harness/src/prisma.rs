//! The real Prisma CLI, 6.19: the oracle to compare with, and the rival that deploys at the same time.
//!
//! It comes from npm, pinned by `prisma-cli/package-lock.json`, on first use, into the build's target folder, and runs on its own WASM engine. It
//! differs from the native engine in what no test may look at: the texts for a failing script (no P3018), `started_at` in milliseconds, no
//! "Applying migration" lines, and a missing database is not created.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::npm::{self, Packages};
use crate::process::{Ends, Run, Running};

const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("../prisma-cli/package.json")),
    ("package-lock.json", include_str!("../prisma-cli/package-lock.json")),
    ("prisma.config.mjs", include_str!("../prisma-cli/prisma.config.mjs")),
];

/// `prisma migrate <words>`, to its end: `prisma::migrate(&database.url(), history.folder(), ["deploy"])`.
pub fn migrate<W: AsRef<OsStr>>(url: &str, folder: impl AsRef<Path>, words: impl IntoIterator<Item = W>) -> Run {
    start(url, folder, words).wait()
}

/// `prisma migrate <words>`, in the background.
pub fn start<W: AsRef<OsStr>>(url: &str, folder: impl AsRef<Path>, words: impl IntoIterator<Item = W>) -> Running {
    let command = command(url, folder, words);
    Running::start(command, None, Vec::new(), Ends::default())
}

/// `prisma migrate <words>`, not started yet.
pub fn command<W: AsRef<OsStr>>(url: &str, folder: impl AsRef<Path>, words: impl IntoIterator<Item = W>) -> Command {
    let home = installed();
    let folder = folder
        .as_ref()
        .canonicalize()
        .expect("the prisma folder does not exist");
    let mut command = Command::new("node");
    command
        .arg(home.join("node_modules/prisma/build/index.js"))
        .arg("migrate")
        .args(words);
    command
        .arg("--config")
        .arg(home.join("prisma.config.mjs"))
        .current_dir(&folder);
    command
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", home);
    command.env("DATABASE_URL", url).env("PRISMA_DIR", &folder);
    command
        .env("CHECKPOINT_DISABLE", "1")
        .env("PRISMA_HIDE_UPDATE_MESSAGE", "1");
    // A file that exists is enough to keep the CLI from downloading an engine it will not use.
    command
        .env("PRISMA_CLIENT_ENGINE_TYPE", "client")
        .env("PRISMA_QUERY_ENGINE_LIBRARY", home.join("package.json"));
    command.env("PRISMA_SCHEMA_ENGINE_BINARY", "/bin/true");
    command
}

/// The folder of the CLI, installed on first use.
fn installed() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        npm::installed(&Packages {
            name: "prisma-cli",
            files: &FILES,
            finish: |_| {},
        })
    })
}
