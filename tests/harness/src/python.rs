//! Programs from PyPI, pinned, each in a virtual environment of its own in the build's target folder, made on first use.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The `bin` folder of the environment of this name. What `requirements` (a requirements.txt) pins is installed there; another text installs it anew.
pub fn programs(name: &str, requirements: &str) -> PathBuf {
    let home = target().join(name);
    fs::create_dir_all(&home).unwrap_or_else(|error| panic!("cannot make {}: {error}", home.display()));
    // Several test processes may be first at once.
    let guard = File::create(home.join("lock")).expect("cannot make a lock file beside the environment");
    guard.lock().expect("cannot lock the environment's folder");
    let done = home.join("installed");
    if fs::read_to_string(&done).ok().as_deref() != Some(requirements) {
        let file = home.join("requirements.txt");
        fs::write(&file, requirements).expect("cannot write the requirements");
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(home.join("venv")));
        let words = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ];
        run(Command::new(home.join("venv/bin/python")).args(words).arg(&file));
        fs::write(&done, requirements).expect("cannot record what is installed");
    }
    home.join("venv/bin")
}

fn run(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("python3 with venv is needed: install it with `apt-get install python3-venv` ({error})")
    });
    assert!(
        output.status.success(),
        "{command:?} failed (python3 with venv is needed: `apt-get install python3-venv`)\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where cargo builds: what it leaves there is nobody's work. Absolute, since a virtual environment cannot be moved.
fn target() -> PathBuf {
    let workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(workspace, PathBuf::from);
    std::path::absolute(target).expect("no current folder")
}
