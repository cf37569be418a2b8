//! Packages from npm, pinned by a lock file, installed on first use into the build's target folder.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files to install from: one of them is `package-lock.json`.
pub(crate) struct Packages<'a> {
    /// What they are, for messages and as the folder's name.
    pub name: &'a str,
    /// Every file of the folder that `npm ci` runs in.
    pub files: &'a [(&'a str, &'a str)],
    /// What `npm ci --ignore-scripts` leaves undone.
    pub finish: fn(&Path),
}

/// The folder with `node_modules`.
pub(crate) fn installed(packages: &Packages) -> PathBuf {
    let Packages { name, files, finish } = packages;
    let home = target().join(name);
    fs::create_dir_all(&home).unwrap_or_else(|error| panic!("cannot make {}: {error}", home.display()));
    // Several test processes may be first at once.
    let guard = File::create(home.join("lock")).unwrap_or_else(|error| panic!("no lock file beside {name}: {error}"));
    guard
        .lock()
        .unwrap_or_else(|error| panic!("cannot lock the folder of {name}: {error}"));
    for (file, content) in *files {
        // Never truncated under the eyes of a program that is running.
        if fs::read_to_string(home.join(file)).ok().as_deref() != Some(*content) {
            fs::write(home.join(file), content)
                .unwrap_or_else(|error| panic!("cannot write {file} of {name}: {error}"));
        }
    }
    let lock = files.iter().find(|(file, _)| *file == "package-lock.json");
    let (_, lock) = lock.unwrap_or_else(|| panic!("{name} has no package-lock.json"));
    let done = home.join("installed");
    if fs::read_to_string(&done).ok().as_deref() != Some(*lock) {
        install(name, &home);
        finish(&home);
        fs::write(done, lock).unwrap_or_else(|error| panic!("cannot record that {name} is installed: {error}"));
    }
    home
}

fn install(name: &str, home: &Path) {
    let mut command = Command::new("npm");
    command
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(home);
    let node = Command::new("node").arg("--version").output();
    let output = node.and_then(|_| command.output());
    let output = output.unwrap_or_else(|error| {
        panic!("{name} needs node (20.19 or newer) and npm: install them with `apt-get install nodejs npm` or from nodejs.org ({error})")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "npm cannot install {name} into {}:\n{said}",
        home.display()
    );
}

/// Where cargo builds: what it leaves there is nobody's work.
fn target() -> PathBuf {
    let workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(workspace, PathBuf::from)
}
