//! Reads the migrations out of a zip: two passes over its central directory (find the folder, then what lies in it). Only the entries of the migrations
//! folder are inflated, and the files that say something about it, in memory. Nothing is ever written to disk.

mod alien;
mod end;
mod error;
mod inflate;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::ops::Range;

use zip::read::{Config, ZipFileEntry};
use zip::result::ZipError;
use zip::unstable::read::ZipIterable;

use super::Limits;
use super::decide::Surroundings;
use super::layout::{self, Kind, LOCK_FILE, Survey};
use super::project::config::is_config;
use super::project::{MAX_BYTES, Project};
use super::seed::{self, Content, SEED_FILE, Seed};
use crate::migration::{Defect, Migration, SCRIPT_FILE, Script};
pub use error::ArchiveError;
use inflate::Inflate;

type Entry = ZipFileEntry<'static>;

/// What a zip holds of Prisma's.
#[derive(Debug)]
pub struct Contents {
    /// The migrations folder within the zip; empty for its root.
    pub folder: String,
    /// The migrations, in no order.
    pub migrations: Vec<Migration>,
    /// The content of `migration_lock.toml`.
    pub lock_file: Option<Vec<u8>>,
    /// The seed beside the migrations folder.
    pub seed: Option<Seed>,
    /// What the project's own files say.
    pub project: Project,
}

/// What a zip is read from.
pub trait Reader: Read + Seek {
    /// Only these parts, in bytes from the beginning, will be read from now on, in their order; a little more where they turn out to be too short. A
    /// reader for which distance is dear can fetch them together. No parts at all: anything may be read again.
    fn expect(&mut self, _parts: Vec<Range<u64>>) {}
}

impl<T: AsRef<[u8]>> Reader for Cursor<T> {}
impl Reader for BufReader<File> {}

impl<R: Reader + ?Sized> Reader for &mut R {
    fn expect(&mut self, parts: Vec<Range<u64>>) {
        (**self).expect(parts);
    }
}

/// Reads the migrations of a zip. `wanted` is `--migrations-path`.
///
/// The reader may be anything that can seek: a file, an object in memory, ranges of an object that are fetched as they are asked for.
///
/// # Errors
/// See [`ArchiveError`]; a script that cannot be used is no error but a [`Defect`] of its migration.
pub fn read(source: impl Reader, wanted: Option<&str>, limits: &Limits) -> Result<Contents, ArchiveError> {
    let mut source = end::Trimmed::new(source).map_err(unreadable)?;
    let mut zip = match ZipIterable::try_new(&mut source, Config::default()) {
        Ok(zip) => zip,
        Err(error) => return Err(alien::not_a_zip(&mut source, &error)),
    };
    let count = zip.len() as u64;
    if count > limits.entries {
        let limit = limits.entries;
        return Err(ArchiveError::Entries { count, limit });
    }
    let reader = zip.files().map_err(damaged)?.reader_mut();
    if let Some(fault) = end::fault(reader).map_err(unreadable)? {
        return Err(ArchiveError::Directory(fault.into()));
    }

    let mut survey = Survey::new(None, wanted);
    let mut directory = u64::MAX;
    let mut configs: Vec<(String, Entry)> = Vec::new();
    let files = zip.files().map_err(damaged)?;
    for entry in files.by_ref() {
        let entry = entry.map_err(damaged)?;
        directory = directory.min(entry.central_header_start());
        let (raw, kind) = name_and_kind(&entry);
        let clean = layout::clean(&raw);
        survey.see(&clean.path, kind);
        if kind == Kind::File && clean.fault.is_none() && is_config(&clean.path) {
            configs.push((clean.path, entry));
        }
    }
    if count > 0 && end::is_followed_by_entry(files.reader_mut()).map_err(unreadable)? {
        let fault = format!("it holds more than the {count} entries that its end promises");
        return Err(ArchiveError::Directory(fault));
    }
    let mut inflate = Inflate::new(directory, limits);
    read_configs(
        &mut survey,
        configs,
        &mut inflate,
        zip.files().map_err(damaged)?.reader_mut(),
    )?;
    let folder = survey.choose()?;
    let around = survey.surroundings(&folder);

    let mut found = Found::default();
    let files = zip.files().map_err(damaged)?;
    for entry in files.by_ref() {
        found.take(entry.map_err(damaged)?, &folder, &around)?;
    }
    found.check()?;
    inflate_all(found, folder, around, &mut inflate, files.reader_mut())
}

/// Reads the config files, which decide where the migrations are: one that is there twice or cannot be read leaves that open.
fn read_configs(
    survey: &mut Survey,
    mut configs: Vec<(String, Entry)>,
    inflate: &mut Inflate<'_>,
    reader: &mut impl Reader,
) -> Result<(), ArchiveError> {
    let unread = survey.unread_configs();
    configs.retain(|(path, _)| unread.contains(path));
    if configs.is_empty() {
        return Ok(());
    }
    configs.sort_by_key(|(_, entry)| entry.header_start());
    reader.expect(
        configs
            .iter()
            .map(|(_, entry)| extent(entry, inflate.directory()))
            .collect(),
    );
    let mut read = HashSet::new();
    for (path, entry) in configs {
        match entry.size() > MAX_BYTES {
            true => survey.read_config(&path, None),
            false => survey.read_config(&path, Some(&inflate.entry(reader, entry)?)),
        }
        if let Some(path) = read.replace(path) {
            return Err(ArchiveError::Duplicate(layout::shortened(&path)));
        }
    }
    reader.expect(Vec::new());
    Ok(())
}

/// Inflates what was found.
fn inflate_all(
    found: Found,
    folder: String,
    around: Surroundings,
    inflate: &mut Inflate<'_>,
    reader: &mut impl Reader,
) -> Result<Contents, ArchiveError> {
    let twins = found.twins.clone();
    let Sorted {
        entries,
        mut migrations,
        mut seeds,
        mut schemas,
    } = found.sort();
    let mut lock_file = None;
    let directory = inflate.directory();
    reader.expect(entries.iter().map(|(_, entry)| extent(entry, directory)).collect());
    for (role, entry) in entries {
        let bytes = inflate.entry(reader, entry)?;
        let name = match role {
            Role::Migration(name) => name,
            Role::Seed(path) => {
                let content = Content::Sql(Script::read(bytes));
                seeds.push(Seed { path, content });
                continue;
            }
            Role::LockFile => {
                lock_file = Some(bytes);
                continue;
            }
            Role::Schema(path) => {
                schemas.insert(path, Some(bytes));
                continue;
            }
        };
        let mut script = Script::read(bytes);
        if let Some((_, twin)) = twins.iter().find(|(migration, _)| *migration == name) {
            let (one, other) = (SCRIPT_FILE.into(), twin.clone());
            script.refuse(Defect::Case { one, other });
        }
        migrations.push(Migration { name, script });
    }
    let files: Vec<(String, Option<Vec<u8>>)> = around
        .schema_files
        .iter()
        .filter_map(|path| Some((path.clone(), schemas.remove(path)?)))
        .collect();
    Ok(Contents {
        folder,
        migrations,
        lock_file,
        seed: seed::choose(seeds),
        project: Project::of(around, &files),
    })
}

/// What an entry that is read is for.
enum Role {
    LockFile,
    Seed(String),
    Schema(String),
    Migration(String),
}

/// Where an entry lies, as far as the directory tells. The header before its data is as long as its name and its extra field, and the latter may be
/// longer than the directory's: 1 KiB is more than the writers in use need.
fn extent(entry: &Entry, directory: u64) -> Range<u64> {
    const HEADER: u64 = 30 + 1024;
    let start = entry.header_start();
    let end = start.saturating_add(HEADER + entry.name_raw().len() as u64);
    start..end.saturating_add(entry.compressed_size()).min(directory)
}

enum ScriptAt {
    Entry(Box<Entry>),
    Nowhere(Defect),
}

/// What was found, by what is to be done with it.
struct Sorted {
    entries: Vec<(Role, Entry)>,
    migrations: Vec<Migration>,
    seeds: Vec<Seed>,
    schemas: BTreeMap<String, Option<Vec<u8>>>,
}

/// What the second pass found inside the migrations folder.
#[derive(Default)]
struct Found {
    migrations: BTreeMap<String, ScriptAt>,
    lock_file: Option<Entry>,
    seeds: Vec<(String, Entry)>,
    schemas: Vec<(String, Entry)>,
    files: HashSet<String>,
    folders: HashSet<String>,
    /// Migrations, and a file in each that is called like the script but for its case.
    twins: Vec<(String, String)>,
}

impl Found {
    fn take(&mut self, entry: Entry, folder: &str, around: &Surroundings) -> Result<(), ArchiveError> {
        let (raw, kind) = name_and_kind(&entry);
        let clean = layout::clean(&raw);
        let is_schema = || around.schema_files.contains(&clean.path);
        if kind == Kind::File && clean.fault.is_none() && clean.path.ends_with(".prisma") && is_schema() {
            if self.schemas.iter().any(|(path, _)| *path == clean.path) {
                return Err(ArchiveError::Duplicate(layout::shortened(&raw)));
            }
            self.schemas.push((clean.path, entry));
            return Ok(());
        }
        let Some(rest) = layout::within(&clean.path, folder).filter(|rest| !rest.is_empty()) else {
            if kind == Kind::File && clean.fault.is_none() && seed::is_seed(&clean.path, folder) {
                if self.seeds.iter().any(|(path, _)| *path == clean.path) {
                    return Err(ArchiveError::Duplicate(layout::shortened(&raw)));
                }
                self.seeds.push((clean.path, entry));
            }
            return Ok(());
        };
        let (name, below) = rest
            .split_once('/')
            .map_or((rest, None), |(name, below)| (name, Some(below)));
        if (folder.is_empty() && name == "__MACOSX") || around.not_migrations.contains(name) {
            return Ok(());
        }
        if let Some(fault) = clean.fault {
            let entry = layout::shortened(&raw);
            return Err(ArchiveError::Name { entry, fault });
        }
        if std::str::from_utf8(entry.name_raw()).is_err() && name.contains(char::REPLACEMENT_CHARACTER) {
            let (entry, fault) = (layout::shortened(&raw), "is not UTF-8");
            return Err(ArchiveError::Name { entry, fault });
        }
        if kind != Kind::Directory && !self.files.insert(rest.to_owned()) {
            return Err(ArchiveError::Duplicate(layout::shortened(&raw)));
        }
        self.folders.extend(layout::ancestors(rest).map(str::to_owned));
        if below.is_none() && kind == Kind::Symlink {
            return Err(ArchiveError::Symlink(layout::shortened(&raw)));
        }
        if below.is_none() && kind != Kind::Directory {
            if name == LOCK_FILE {
                self.lock_file = Some(entry);
            }
            return Ok(());
        }
        let script = self
            .migrations
            .entry(name.to_owned())
            .or_insert(ScriptAt::Nowhere(Defect::Missing));
        match (below, kind) {
            (Some(twin), Kind::File) if twin != SCRIPT_FILE && twin.eq_ignore_ascii_case(SCRIPT_FILE) => {
                self.twins.push((name.to_owned(), twin.to_owned()));
            }
            (Some(SCRIPT_FILE), Kind::File) => *script = ScriptAt::Entry(Box::new(entry)),
            (Some(SCRIPT_FILE), Kind::Symlink) => *script = ScriptAt::Nowhere(Defect::Symlink),
            (Some(below), _) if layout::within(below, SCRIPT_FILE).is_some() => {
                *script = ScriptAt::Nowhere(Defect::NotAFile);
            }
            _ => {}
        }
        Ok(())
    }

    /// What is to be inflated, in the order of its places, and what needs no inflating.
    fn sort(self) -> Sorted {
        let mut sorted = Sorted {
            entries: self
                .lock_file
                .map(|entry| (Role::LockFile, entry))
                .into_iter()
                .collect(),
            migrations: Vec::with_capacity(self.migrations.len()),
            seeds: Vec::new(),
            schemas: BTreeMap::new(),
        };
        for (path, entry) in self.seeds {
            match path.ends_with(SEED_FILE) {
                true => sorted.entries.push((Role::Seed(path), entry)),
                false => sorted.seeds.push(Seed {
                    path,
                    content: Content::Program,
                }),
            }
        }
        for (name, at) in self.migrations {
            match at {
                ScriptAt::Entry(entry) => sorted.entries.push((Role::Migration(name), *entry)),
                ScriptAt::Nowhere(defect) => sorted.migrations.push(Migration {
                    name,
                    script: Script::absent(defect),
                }),
            }
        }
        for (path, entry) in self.schemas {
            match entry.size() > MAX_BYTES {
                true => drop(sorted.schemas.insert(path, None)),
                false => sorted.entries.push((Role::Schema(path), entry)),
            }
        }
        sorted.entries.sort_by_key(|(_, entry)| entry.header_start());
        sorted
    }

    /// A name that is a file and a directory at once would be one or the other, depending on who unpacks it.
    fn check(&self) -> Result<(), ArchiveError> {
        let folders = self.folders.iter().chain(self.migrations.keys());
        match folders.filter(|name| self.files.contains(*name)).min() {
            Some(name) => Err(ArchiveError::Duplicate(layout::shortened(name))),
            None => Ok(()),
        }
    }
}

/// An entry's name, with U+FFFD for what is not UTF-8, and what it is. Some writers mark a directory by the slash alone, so the slash decides.
fn name_and_kind(entry: &Entry) -> (String, Kind) {
    let kind = if entry.is_symlink() {
        Kind::Symlink
    } else if entry.is_dir() {
        Kind::Directory
    } else {
        Kind::File
    };
    (String::from_utf8_lossy(entry.name_raw()).into_owned(), kind)
}

fn unreadable(error: std::io::Error) -> ArchiveError {
    ArchiveError::Directory(error.to_string())
}

fn damaged(error: ZipError) -> ArchiveError {
    ArchiveError::Directory(error.to_string())
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
