//! Reads the migrations out of a zip: two passes over its central directory (find the folder, then what lies in it), and only the entries of the
//! migrations folder are inflated, in memory. Nothing is ever written to disk.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use thiserror::Error;
use zip::read::{Config, ZipFileEntry};
use zip::result::ZipError;
use zip::unstable::read::ZipIterable;

use super::Limits;
use super::layout::{self, Kind, LOCK_FILE, LayoutError, Survey};
use crate::migration::{Defect, Migration, SCRIPT_FILE, Script};

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
}

/// Why a zip cannot be used. Entries are named as they stand in it.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Not a zip at all, or only the beginning of one.
    #[error("it is not a zip: {0}")]
    NotAZip(&'static str),
    /// The central directory is damaged.
    #[error("its directory is damaged: {0}")]
    Directory(String),
    /// More entries than the limit.
    #[error("it holds {count} entries, more than the limit of {limit}")]
    Entries {
        /// As the zip says.
        count: u64,
        /// [`Limits::entries`].
        limit: u64,
    },
    /// An entry inflates to more than the limit.
    #[error("{entry} inflates to more than the limit of {limit} bytes for one entry")]
    EntrySize {
        /// Its name.
        entry: String,
        /// [`Limits::entry_bytes`].
        limit: u64,
    },
    /// The entries together inflate to more than the limit.
    #[error("up to {entry} its migrations inflate to more than the limit of {limit} bytes")]
    TotalSize {
        /// The entry at which the limit was passed.
        entry: String,
        /// [`Limits::total_bytes`].
        limit: u64,
    },
    /// A name inside the migrations folder that no honest archive holds.
    #[error("the name of {entry:?} {fault}")]
    Name {
        /// Its name.
        entry: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// Two entries of one name: which of them is meant cannot be known.
    #[error("{0} is in it twice")]
    Duplicate(String),
    /// An entry is encrypted.
    #[error("{0} is encrypted")]
    Encrypted(String),
    /// A compression method other than stored, deflate and zstd.
    #[error("{entry} is compressed by method {method}, which is none of stored, deflate and zstd")]
    Compression {
        /// Its name.
        entry: String,
        /// The method's name or number.
        method: String,
    },
    /// The entry's data do not fit its checksum or size, or end early.
    #[error("{entry} is damaged: {reason}")]
    Entry {
        /// Its name.
        entry: String,
        /// What did not fit.
        reason: String,
    },
    /// There is no telling where the migrations are.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl ArchiveError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            ArchiveError::Layout(error) => error.next_step(),
            ArchiveError::Entries { .. } | ArchiveError::EntrySize { .. } | ArchiveError::TotalSize { .. } => {
                "upload the prisma folder alone, and check that the archive is the one that was meant".into()
            }
            ArchiveError::Encrypted(_) => "pack the archive without a password".into(),
            _ => "pack the archive again with an ordinary zip program, and upload it again".into(),
        }
    }
}

/// What a zip is read from.
pub trait Reader: Read + Seek {
    /// Only these parts, in bytes from the beginning, will be read from now on, in their order; a little more where they turn out to be too short. A
    /// reader for which distance is dear can fetch them together.
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
pub fn read(mut source: impl Reader, wanted: Option<&str>, limits: &Limits) -> Result<Contents, ArchiveError> {
    let mut zip = match ZipIterable::try_new(&mut source, Config::default()) {
        Ok(zip) => zip,
        Err(error) => return Err(not_a_zip(&mut source, &error)),
    };
    let count = zip.len() as u64;
    if count > limits.entries {
        let limit = limits.entries;
        return Err(ArchiveError::Entries { count, limit });
    }

    let mut survey = Survey::new(None, wanted);
    for entry in zip.files().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let (raw, kind) = name_and_kind(&entry);
        survey.see(&layout::clean(&raw).path, kind);
    }
    let folder = survey.choose()?;

    let mut found = Found::default();
    let files = zip.files().map_err(damaged)?;
    for entry in files.by_ref() {
        found.take(entry.map_err(damaged)?, &folder)?;
    }
    found.check()?;

    let mut lock_file = None;
    let mut migrations = Vec::with_capacity(found.migrations.len());
    let mut entries: Vec<(Option<String>, Entry)> = found.lock_file.map(|entry| (None, entry)).into_iter().collect();
    for (name, at) in found.migrations {
        match at {
            ScriptAt::Entry(entry) => entries.push((Some(name), *entry)),
            ScriptAt::Nowhere(defect) => migrations.push(Migration {
                name,
                script: Script::absent(defect),
            }),
        }
    }
    entries.sort_by_key(|(_, entry)| entry.header_start());
    let reader = files.reader_mut();
    reader.expect(entries.iter().map(|(_, entry)| extent(entry)).collect());
    let mut inflate = Inflate {
        limits,
        total: 0,
        reader,
    };
    for (name, entry) in entries {
        let bytes = inflate.entry(entry)?;
        match name {
            None => lock_file = Some(bytes),
            Some(name) => migrations.push(Migration {
                name,
                script: Script::read(bytes),
            }),
        }
    }
    Ok(Contents {
        folder,
        migrations,
        lock_file,
    })
}

/// Where an entry lies, as far as the directory tells. The header before its data is as long as its name and its extra field, and the latter may be
/// longer than the directory's: 1 KiB is more than the writers in use need.
fn extent(entry: &Entry) -> Range<u64> {
    const HEADER: u64 = 30 + 1024;
    let start = entry.header_start();
    let end = start.saturating_add(HEADER + entry.name_raw().len() as u64);
    start..end.saturating_add(entry.compressed_size())
}

enum ScriptAt {
    Entry(Box<Entry>),
    Nowhere(Defect),
}

/// What the second pass found inside the migrations folder.
#[derive(Default)]
struct Found {
    migrations: BTreeMap<String, ScriptAt>,
    lock_file: Option<Entry>,
    files: HashSet<String>,
}

impl Found {
    fn take(&mut self, entry: Entry, folder: &str) -> Result<(), ArchiveError> {
        let (raw, kind) = name_and_kind(&entry);
        let clean = layout::clean(&raw);
        let Some(rest) = layout::within(&clean.path, folder).filter(|rest| !rest.is_empty()) else {
            return Ok(());
        };
        let (name, below) = rest
            .split_once('/')
            .map_or((rest, None), |(name, below)| (name, Some(below)));
        if folder.is_empty() && name == "__MACOSX" {
            return Ok(());
        }
        if let Some(fault) = clean.fault {
            let entry = raw.clone();
            return Err(ArchiveError::Name { entry, fault });
        }
        if std::str::from_utf8(entry.name_raw()).is_err() && name.contains(char::REPLACEMENT_CHARACTER) {
            let (entry, fault) = (raw.clone(), "is not UTF-8");
            return Err(ArchiveError::Name { entry, fault });
        }
        if kind != Kind::Directory && !self.files.insert(rest.to_owned()) {
            return Err(ArchiveError::Duplicate(raw));
        }
        if below.is_none() && kind != Kind::Directory {
            if name == LOCK_FILE && kind == Kind::File {
                self.lock_file = Some(entry);
            }
            return Ok(());
        }
        let script = self
            .migrations
            .entry(name.to_owned())
            .or_insert(ScriptAt::Nowhere(Defect::Missing));
        match (below, kind) {
            (Some(SCRIPT_FILE), Kind::File) => *script = ScriptAt::Entry(Box::new(entry)),
            (Some(SCRIPT_FILE), Kind::Symlink) => *script = ScriptAt::Nowhere(Defect::Symlink),
            (Some(below), _) if layout::within(below, SCRIPT_FILE).is_some() => {
                *script = ScriptAt::Nowhere(Defect::NotAFile);
            }
            _ => {}
        }
        Ok(())
    }

    /// A name that is a file and a directory at once would be one or the other, depending on who unpacks it.
    fn check(&self) -> Result<(), ArchiveError> {
        match self.migrations.keys().find(|name| self.files.contains(*name)) {
            Some(name) => Err(ArchiveError::Duplicate(name.clone())),
            None => Ok(()),
        }
    }
}

struct Inflate<'a, R> {
    limits: &'a Limits,
    total: u64,
    reader: &'a mut R,
}

impl<R: Read + Seek> Inflate<'_, R> {
    fn entry(&mut self, entry: Entry) -> Result<Vec<u8>, ArchiveError> {
        let (name, _) = name_and_kind(&entry);
        if entry.encrypted() {
            return Err(ArchiveError::Encrypted(name));
        }
        let (method, declared) = (entry.compression(), entry.size());
        if !zip::SUPPORTED_COMPRESSION_METHODS.contains(&method) {
            let (entry, method) = (name, method.to_string());
            return Err(ArchiveError::Compression { entry, method });
        }
        let left = self.limits.total_bytes.saturating_sub(self.total);
        let room = self.limits.entry_bytes.min(left);
        let mut bytes = Vec::new();
        // Nothing is inflated when the zip itself says that it is too much; what it says is not believed further than that.
        if declared <= room {
            let file = entry.with_reader(self.reader, Default::default());
            let file = file.map_err(|error| corrupt(&name, error))?;
            file.take(room.saturating_add(1))
                .read_to_end(&mut bytes)
                .map_err(|error| corrupt(&name, error))?;
        }
        let size = bytes.len() as u64;
        if declared.max(size) > self.limits.entry_bytes {
            let (entry, limit) = (name, self.limits.entry_bytes);
            return Err(ArchiveError::EntrySize { entry, limit });
        }
        if declared.max(size) > left {
            let (entry, limit) = (name, self.limits.total_bytes);
            return Err(ArchiveError::TotalSize { entry, limit });
        }
        if size != declared {
            return Err(corrupt(
                &name,
                format!("it inflates to {size} bytes and not to the {declared} it promises"),
            ));
        }
        self.total += size;
        Ok(bytes)
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

fn damaged(error: ZipError) -> ArchiveError {
    ArchiveError::Directory(error.to_string())
}

fn corrupt(entry: &str, reason: impl ToString) -> ArchiveError {
    ArchiveError::Entry {
        entry: entry.to_owned(),
        reason: reason.to_string(),
    }
}

fn not_a_zip(source: &mut impl Reader, error: &ZipError) -> ArchiveError {
    source.expect(vec![0..512]);
    let mut head = Vec::new();
    match source
        .seek(SeekFrom::Start(0))
        .and_then(|_| source.take(512).read_to_end(&mut head))
    {
        Ok(_) => looks_like(&head).map_or_else(|| ArchiveError::Directory(error.to_string()), ArchiveError::NotAZip),
        Err(error) => ArchiveError::Directory(error.to_string()),
    }
}

/// What a file that is no zip begins like; none when it begins like a zip whose end is there but damaged.
fn looks_like(head: &[u8]) -> Option<&'static str> {
    let magic: [(&[u8], &str); 8] = [
        (
            b"PK\x03\x04",
            "it begins like one, but its end is missing or damaged: the upload was probably cut off",
        ),
        (b"\x1f\x8b", "it looks like gzip (a .tar.gz?)"),
        (b"7z\xbc\xaf\x27\x1c", "it looks like a 7z archive"),
        (b"\xfd7zXZ\0", "it looks like xz (a .tar.xz?)"),
        (b"\x28\xb5\x2f\xfd", "it looks like zstd (a .tar.zst?)"),
        (b"BZh", "it looks like bzip2 (a .tar.bz2?)"),
        (b"Rar!", "it looks like a RAR archive"),
        (
            b"version https://git-lfs",
            "it is a Git LFS pointer, not the file that it stands for",
        ),
    ];
    if head.is_empty() {
        return Some("it is empty (0 bytes)");
    }
    if let Some((_, description)) = magic.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(description);
    }
    if head.starts_with(b"PK") {
        return None;
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some("it looks like a tar archive");
    }
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    Some(match text.as_bytes().first() {
        _ if text.starts_with("<!doctype html") || text.starts_with("<html") => "it looks like an HTML page",
        Some(b'<') => "it looks like XML (an error document?)",
        Some(b'{' | b'[') => "it looks like JSON",
        _ => "it has no zip directory",
    })
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
