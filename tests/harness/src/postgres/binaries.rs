//! Where PostgreSQL's programs are, and whom they may run as.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const INSTALL: &str = "no PostgreSQL server found: install one with `apt-get install postgresql`, or name the folder that holds initdb, pg_ctl and \
     postgres in POSTGRES_BIN";

/// The folder of `initdb`, `pg_ctl` and `postgres`: `POSTGRES_BIN`, else the newest of Debian's, else what `pg_config` says, else `PATH`.
pub(super) fn find() -> PathBuf {
    if let Some(named) = env::var_os("POSTGRES_BIN").filter(|value| !value.is_empty()) {
        let named = PathBuf::from(named);
        assert!(
            is_server(&named),
            "POSTGRES_BIN={} holds no initdb, pg_ctl and postgres",
            named.display()
        );
        return named;
    }
    let found = debian()
        .into_iter()
        .chain(pg_config())
        .chain(path())
        .find(|folder| is_server(folder));
    found.unwrap_or_else(|| panic!("{INSTALL}"))
}

/// `pg_dump` of the server's own folder, else the newest there is: it dumps servers of its own version and older ones.
pub(super) fn pg_dump(server: &Path) -> PathBuf {
    let folders = [server.to_owned()]
        .into_iter()
        .chain(debian())
        .chain(pg_config())
        .chain(path());
    let found = folders
        .map(|folder| folder.join("pg_dump"))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("no pg_dump found: install it with `apt-get install postgresql-client`"))
}

/// The user and group to run the server as: PostgreSQL refuses to run as root. `None`: as ourselves.
pub(crate) fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let ids = |user: &str| Some((id("-u", user)?, id("-g", user)?));
    Some(
        ids("postgres")
            .or_else(|| ids("nobody"))
            .expect("root has neither a user postgres nor nobody to run PostgreSQL as"),
    )
}

/// The programs where the server's user may run them: the folder as it is, else a copy in the server's own folder. What npm brought lies in the build's
/// folder, which may be in root's home.
pub(super) fn within_reach(binaries: PathBuf, server: &Path) -> PathBuf {
    let Some((user, group)) = unprivileged() else {
        return binaries;
    };
    let program = binaries.join("postgres").canonicalize().expect("postgres is there");
    let open = |path: &Path| fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o001 != 0);
    if program.ancestors().all(open) {
        return binaries;
    }
    let (from, to) = (binaries.parent().expect("a folder above bin"), server.join("programs"));
    let copied = Command::new("cp").arg("-R").arg(from).arg(&to).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "cannot copy {} to {}",
        from.display(),
        to.display()
    );
    let given = Command::new("chown")
        .args(["-R", &format!("{user}:{group}")])
        .arg(&to)
        .status();
    assert!(
        given.is_ok_and(|status| status.success()),
        "cannot give {} to PostgreSQL's user",
        to.display()
    );
    to.join("bin")
}

pub(super) fn is_server(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

/// Debian's folders, the newest version first.
fn debian() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut versions: Vec<_> = entries
        .filter_map(|entry| Some((version(&entry.path())?, entry.path())))
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, path)| path.join("bin")).collect()
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn path() -> Vec<PathBuf> {
    env::var_os("PATH")
        .map(|value| env::split_paths(&value).collect())
        .unwrap_or_default()
}

fn id(flag: &str, user: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, user]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
