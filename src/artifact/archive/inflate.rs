//! Takes the data of single entries out of a zip, and believes nothing that the zip says of them.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use super::{ArchiveError, Entry, name_and_kind};
use crate::artifact::{Limits, layout};

/// The fixed part of a local header, which stands before an entry's data (APPNOTE 4.3.7).
const LOCAL_HEADER: usize = 30;

/// Inflates entries one after the other.
pub(super) struct Inflate<'a> {
    limits: &'a Limits,
    /// Where the central directory begins.
    directory: u64,
    /// The bytes inflated so far.
    total: u64,
    /// The entries so far: where each begins, where its data end, its name.
    taken: BTreeMap<u64, (u64, String)>,
}

impl<'a> Inflate<'a> {
    pub(super) fn new(directory: u64, limits: &'a Limits) -> Self {
        Inflate {
            limits,
            directory,
            total: 0,
            taken: BTreeMap::new(),
        }
    }

    /// Where the central directory begins.
    pub(super) fn directory(&self) -> u64 {
        self.directory
    }

    /// The content of the entry.
    ///
    /// Its memory is bounded by the limits, whatever the zip says: since no two entries share data, also by the zip's size times the ratio.
    pub(super) fn entry<R: Read + Seek>(&mut self, reader: &mut R, entry: Entry) -> Result<Vec<u8>, ArchiveError> {
        let name = layout::shortened(&name_and_kind(&entry).0);
        if entry.encrypted() {
            return Err(ArchiveError::Encrypted(name));
        }
        let (method, declared) = (entry.compression(), entry.size());
        if !zip::SUPPORTED_COMPRESSION_METHODS.contains(&method) {
            let (entry, method) = (name, method.to_string());
            return Err(ArchiveError::Compression { entry, method });
        }
        self.place(reader, &entry, &name)?;
        let (compressed, left) = (entry.compressed_size(), self.limits.total_bytes - self.total);
        let inflated = compressed.saturating_mul(self.limits.ratio).max(Limits::RATIO_FROM);
        let room = self.limits.entry_bytes.min(left).min(inflated);
        let mut bytes = Vec::new();
        // Nothing is inflated when the zip itself says that it is too much; what it says is not believed further than that.
        if declared <= room {
            let file = entry.with_reader(reader, Default::default());
            let file = file.map_err(|error| corrupt(&name, error))?;
            file.take(room.saturating_add(1))
                .read_to_end(&mut bytes)
                .map_err(|error| corrupt(&name, error))?;
        }
        let size = bytes.len() as u64;
        let (entry, most) = (name, declared.max(size));
        if most > self.limits.entry_bytes {
            let limit = self.limits.entry_bytes;
            return Err(ArchiveError::EntrySize { entry, limit });
        }
        if most > left {
            let limit = self.limits.total_bytes;
            return Err(ArchiveError::TotalSize { entry, limit });
        }
        if most > inflated {
            let limit = self.limits.ratio;
            return Err(ArchiveError::Ratio {
                entry,
                compressed,
                limit,
            });
        }
        if size != declared {
            let reason = format!("it inflates to {size} bytes and not to the {declared} it promises");
            return Err(ArchiveError::Entry { entry, reason });
        }
        self.total += size;
        Ok(bytes)
    }

    /// Checks that the entry is what the directory says, and that nothing else has a part in its data.
    fn place<R: Read + Seek>(&mut self, reader: &mut R, entry: &Entry, name: &str) -> Result<(), ArchiveError> {
        let start = entry.header_start();
        let overlap = |entry: &str, other: &str| ArchiveError::Overlap {
            entry: entry.to_owned(),
            other: other.to_owned(),
        };
        let before = self.taken.range(..=start).next_back();
        if let Some((_, (_, before))) = before.filter(|(at, (end, _))| start < *end || **at == start) {
            return Err(overlap(before, name));
        }
        let mut header = [0; LOCAL_HEADER];
        let mut local = Vec::new();
        reader
            .seek(SeekFrom::Start(start))
            .and_then(|_| reader.read_exact(&mut header))
            .map_err(|error| corrupt(name, error))?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(corrupt(name, "its data are not where the directory says"));
        }
        let length = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        reader
            .by_ref()
            .take(length(26))
            .read_to_end(&mut local)
            .map_err(|error| corrupt(name, error))?;
        // A name beyond ASCII may stand here in the writer's own encoding, and in the directory in UTF-8.
        let raw = entry.name_raw();
        if raw.is_ascii() && local != raw {
            return Err(ArchiveError::OtherName {
                entry: name.to_owned(),
                other: layout::shortened(&String::from_utf8_lossy(&local)),
            });
        }
        let data = start + LOCAL_HEADER as u64 + length(26) + length(28);
        let end = data.saturating_add(entry.compressed_size());
        if end > self.directory {
            return Err(overlap(name, "the directory"));
        }
        if let Some((at, (_, after))) = self.taken.range(start..).next()
            && end > *at
        {
            return Err(overlap(name, after));
        }
        self.taken.insert(start, (end, name.to_owned()));
        Ok(())
    }
}

fn corrupt(entry: &str, reason: impl ToString) -> ArchiveError {
    ArchiveError::Entry {
        entry: entry.to_owned(),
        reason: reason.to_string(),
    }
}
