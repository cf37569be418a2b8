//! Servers of the major versions that Debian does not have at hand: from npm, pinned by `postgres-versions/package-lock.json`.
//!
//! The packages hold `initdb`, `pg_ctl` and `postgres`, and neither `psql` nor `pg_dump`. For arm64 there are none of 13 and 14.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::binaries;
use crate::npm::{self, Packages};

const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("../../postgres-versions/package.json")),
    (
        "package-lock.json",
        include_str!("../../postgres-versions/package-lock.json"),
    ),
];

/// The major versions that a test compares, for [`Server::version`](super::Server::version), which knows those between as well.
#[derive(Debug)]
pub struct Version;

impl Version {
    /// The oldest that is supported.
    pub const V13: u32 = 13;
    /// Debian's.
    pub const V15: u32 = 15;
    /// The newest.
    pub const V18: u32 = 18;
    /// All of them.
    pub const ALL: [u32; 3] = [Version::V13, Version::V15, Version::V18];
}

/// The folder of this version's programs: Debian's, else npm's.
pub(super) fn find(major: u32) -> PathBuf {
    let debian = Path::new("/usr/lib/postgresql").join(major.to_string()).join("bin");
    if binaries::is_server(&debian) {
        return debian;
    }
    let folder = package(installed(), major).join("native/bin");
    assert!(
        binaries::is_server(&folder),
        "no PostgreSQL {major} for this machine in {}: npm has 13 to 18 for x86-64 and 15 to 18 for arm64",
        folder.display()
    );
    folder
}

fn package(home: &Path, major: u32) -> PathBuf {
    let machine = if ARCH == "aarch64" { "arm64" } else { "x64" };
    home.join(format!("node_modules/pg{major}-{machine}"))
}

fn installed() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        npm::installed(&Packages {
            name: "postgres-versions",
            files: &FILES,
            finish: make_links,
        })
    })
}

/// A package cannot hold the links by which the server finds its libraries: a script of each makes them.
fn make_links(home: &Path) {
    let packages = fs::read_dir(home.join("node_modules"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("scripts/hydrate-symlinks.js").is_file());
    for package in packages {
        let made = Command::new("node")
            .arg("scripts/hydrate-symlinks.js")
            .current_dir(&package)
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "cannot make the links of {}",
            package.display()
        );
    }
}
