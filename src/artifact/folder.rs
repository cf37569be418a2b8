//! Reads the migrations out of a folder.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::OFlags;
use thiserror::Error;

use super::decide::Surroundings;
use super::layout::{self, Kind, LOCK_FILE, LayoutError, Survey};
use super::project::{MAX_BYTES, Project};
use super::seed::{self, Content, SEED_FILE, Seed};
use crate::migration::{Defect, MAX_SCRIPT_BYTES, Migration, SCRIPT_FILE, Script};

/// What a folder holds of Prisma's.
#[derive(Debug)]
pub struct Contents {
    /// The migrations folder.
    pub folder: PathBuf,
    /// The migrations, in no order.
    pub migrations: Vec<Migration>,
    /// The content of `migration_lock.toml`.
    pub lock_file: Option<Vec<u8>>,
    /// The seed beside the migrations folder, where that is not the folder that was given.
    pub seed: Option<Seed>,
    /// What the project's own files say.
    pub project: Project,
    /// Folders that could not be looked into.
    pub warnings: Vec<String>,
}

/// Why a folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A folder or file could not be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A migration's directory whose name the migrations table cannot hold.
    #[error("the name of the directory {} is not UTF-8", .0.display())]
    Name(PathBuf),
    /// There is no telling where the migrations are.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl FolderError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            FolderError::Read { .. } => "check the path and its permissions".into(),
            FolderError::Name(_) => "give the directory a name in UTF-8".into(),
            FolderError::Layout(error) => error.next_step(),
        }
    }
}

/// Reads the migrations of a folder: a project, its `prisma` folder or the migrations folder itself. `wanted` is `--migrations-path`.
///
/// # Errors
/// See [`FolderError`]; a script that cannot be used is no error but a [`Defect`] of its migration.
pub fn read(root: &Path, wanted: Option<&str>) -> Result<Contents, FolderError> {
    let full = root.canonicalize().map_err(|source| cannot_read(root, source))?;
    let mut warnings = Vec::new();
    let (folder, around) = match wanted.map(|wanted| (wanted, root.join(wanted))) {
        // The folder that was asked for may be anywhere, behind a link too.
        Some((wanted, folder)) if folder.is_dir() => {
            let mut own = Survey::new(None, Some("."));
            survey(&folder, &mut own, false, &mut warnings)?;
            own.choose()?;
            let mut project = Survey::new(None, Some(wanted));
            survey(root, &mut project, false, &mut Vec::new())?;
            read_configs(root, &mut project);
            let around = Surroundings {
                not_migrations: own.surroundings("").not_migrations,
                ..project.surroundings(&layout::clean(wanted).path)
            };
            (folder, around)
        }
        _ => {
            let name = full.file_name().and_then(OsStr::to_str);
            let mut project = Survey::new(name, wanted);
            survey(root, &mut project, false, &mut warnings)?;
            read_configs(root, &mut project);
            // To look into hidden folders takes longer, and is for naming them in an error.
            if wanted.is_none() && (!project.has_scripts() || project.names_hidden()) {
                survey(root, &mut project, true, &mut warnings)?;
            }
            let folder = project.choose()?;
            let around = project.surroundings(&folder);
            (root.join(folder), around)
        }
    };

    let mut names = Vec::new();
    let mut lock_file = None;
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => Some(entries),
        // A schema without migrations.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(cannot_read(&folder, source)),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(|source| cannot_read(&folder, source))?;
        let path = entry.path();
        if entry.file_type().map_err(|source| cannot_read(&path, source))?.is_dir() {
            let Ok(name) = entry.file_name().into_string() else {
                return Err(FolderError::Name(path));
            };
            if !around.not_migrations.contains(&name) {
                names.push(name);
            }
        } else if entry.file_name() == LOCK_FILE && path.is_file() {
            lock_file = Some(fs::read(&path).map_err(|source| cannot_read(&path, source))?);
        }
    }
    let seed = match folder.parent().filter(|_| folder != root) {
        Some(beside) => seed::choose(seeds(beside)?),
        None => None,
    };
    let files: Vec<(String, Option<Vec<u8>>)> = around
        .schema_files
        .iter()
        .map(|path| (path.clone(), read_small(&root.join(path))))
        .collect();
    Ok(Contents {
        migrations: read_migrations(&folder, names),
        folder,
        lock_file,
        seed,
        project: Project::of(around, &files),
        warnings,
    })
}

fn read_configs(root: &Path, survey: &mut Survey) {
    for path in survey.unread_configs() {
        survey.read_config(&path, read_small(&root.join(&path)).as_deref());
    }
}

/// A schema or config file; none where it cannot be read or is too large to be one.
fn read_small(path: &Path) -> Option<Vec<u8>> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .ok()?;
    let meta = file.metadata().ok()?;
    let mut bytes = Vec::new();
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return None;
    }
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn seeds(folder: &Path) -> Result<Vec<Seed>, FolderError> {
    let mut seeds = Vec::new();
    // The folder beside a schema without migrations need not exist.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.map_err(|source| cannot_read(folder, source))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if !path.is_file() || !seed::is_seed(name, "migrations") {
            continue;
        }
        let content = match name == SEED_FILE {
            true => Content::Sql(read_script(&path)),
            false => Content::Program,
        };
        let path = path.display().to_string();
        seeds.push(Seed { path, content });
    }
    Ok(seeds)
}

/// Reads the scripts of these directories, side by side where there are many: the system's calls take most of the time.
fn read_migrations(folder: &Path, names: Vec<String>) -> Vec<Migration> {
    const FOR_A_THREAD: usize = 500;
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let each = names.len().div_ceil(threads).max(FOR_A_THREAD);
    let read = |names: &[String]| -> Vec<Migration> {
        let names = names.iter().cloned();
        names
            .map(|name| {
                let script = read_script(&folder.join(&name).join(SCRIPT_FILE));
                // Made here, where it is made side by side.
                script.checksum();
                Migration { name, script }
            })
            .collect()
    };
    thread::scope(|scope| {
        let (first, others) = names.split_at(each.min(names.len()));
        let others: Vec<_> = others
            .chunks(each)
            .map(|names| scope.spawn(move || read(names)))
            .collect();
        let mut migrations = read(first);
        for other in others {
            migrations.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        migrations
    })
}

fn read_script(path: &Path) -> Script {
    let read = || {
        // Four system calls a migration. A pipe that nobody writes to must not be waited for.
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
        let meta = file.metadata()?;
        Ok(match (meta.is_file(), meta.len()) {
            (false, _) => Script::absent(Defect::NotAFile),
            (true, size) if size > MAX_SCRIPT_BYTES => Script::absent(Defect::TooLong { size }),
            (true, size) => {
                let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
                file.take(size).read_to_end(&mut bytes)?;
                Script::read(bytes)
            }
        })
    };
    read().unwrap_or_else(|error: io::Error| {
        Script::absent(match error.kind() {
            io::ErrorKind::NotFound => Defect::Missing,
            _ => Defect::Unreadable {
                reason: error.to_string(),
            },
        })
    })
}

/// Walks a folder without following links and without entering what the search leaves out. `hidden`: into hidden folders too.
fn survey(root: &Path, survey: &mut Survey, hidden: bool, warnings: &mut Vec<String>) -> Result<(), FolderError> {
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        // A thousand migrations say no more than one.
        if survey.is_settled(layout::parent(&folder)) && path.join(SCRIPT_FILE).is_file() {
            continue;
        }
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(source) if folder.is_empty() => return Err(cannot_read(&path, source)),
            Err(_) if hidden => continue,
            Err(error) => {
                warnings.push(format!(
                    "{} could not be searched for migrations: {error}",
                    path.display()
                ));
                continue;
            }
        };
        for entry in entries.flatten() {
            let Ok(file_type) = entry.file_type() else { continue };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind = if file_type.is_dir() {
                Kind::Directory
            } else if file_type.is_symlink() && !(name == SCRIPT_FILE && entry.path().is_file()) {
                Kind::Symlink
            } else {
                Kind::File
            };
            let inside = layout::join(&folder, &name);
            survey.see(&inside, kind);
            // A migration's directory may be hidden: its script is seen, what lies deeper is not entered.
            if kind == Kind::Directory && layout::is_entered(&name, hidden) {
                folders.push(inside);
            } else if kind == Kind::Directory && entry.path().join(SCRIPT_FILE).is_file() {
                survey.see(&layout::join(&inside, SCRIPT_FILE), Kind::File);
            }
        }
    }
    Ok(())
}

fn cannot_read(path: &Path, source: io::Error) -> FolderError {
    FolderError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
