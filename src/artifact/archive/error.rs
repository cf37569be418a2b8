//! Why an archive cannot be used.

use thiserror::Error;

use crate::artifact::layout::LayoutError;

/// Why a zip cannot be used. Entries are named as they stand in it, long names shortened.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Not a zip at all, or only the beginning of one.
    #[error("it is not a zip: {0}")]
    NotAZip(String),
    /// The central directory is damaged, or other programs would read another one.
    #[error("its directory is damaged: {0}")]
    Directory(String),
    /// More entries than the limit.
    #[error("it holds {count} entries, more than the limit of {limit}")]
    Entries {
        /// As the zip says.
        count: u64,
        /// [`Limits::entries`](crate::artifact::Limits::entries).
        limit: u64,
    },
    /// An entry inflates to more than the limit.
    #[error("{entry} inflates to more than the limit of {limit} bytes for one entry")]
    EntrySize {
        /// Its name.
        entry: String,
        /// [`Limits::entry_bytes`](crate::artifact::Limits::entry_bytes).
        limit: u64,
    },
    /// The entries together inflate to more than the limit.
    #[error("up to {entry} its migrations inflate to more than the limit of {limit} bytes")]
    TotalSize {
        /// The entry at which the limit was passed.
        entry: String,
        /// [`Limits::total_bytes`](crate::artifact::Limits::total_bytes).
        limit: u64,
    },
    /// An entry inflates to much more than text does.
    #[error("{entry} inflates to more than {limit} times its {compressed} compressed bytes, as no ordinary SQL does")]
    Ratio {
        /// Its name.
        entry: String,
        /// Its size within the zip.
        compressed: u64,
        /// [`Limits::ratio`](crate::artifact::Limits::ratio).
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
    /// Two entries of one name, or a file and a folder: which of them is meant cannot be known.
    #[error("{0} is in it twice")]
    Duplicate(String),
    /// A link directly inside the migrations folder, where a migration or the lock file stands.
    #[error("{0} is a symbolic link, which is not followed inside an archive")]
    Symlink(String),
    /// The header before the entry's data gives another name than the directory: a program that reads the zip from its beginning sees another file.
    #[error("{entry} is called {other:?} where its data begin")]
    OtherName {
        /// Its name in the directory.
        entry: String,
        /// Its name before its data.
        other: String,
    },
    /// An entry's data reach into those of another entry or into the directory.
    #[error("the data of {entry} overlap those of {other}")]
    Overlap {
        /// The one that begins first.
        entry: String,
        /// What it reaches into.
        other: String,
    },
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
        let raise = |flag: &str| {
            format!(
                "check that the archive is the one that was meant; where its size is meant, raise the limit with {flag}"
            )
        };
        match self {
            ArchiveError::Layout(error) => error.next_step(),
            ArchiveError::Entries { .. } => raise("--max-entries"),
            ArchiveError::EntrySize { .. } => raise("--max-entry-size"),
            ArchiveError::TotalSize { .. } => raise("--max-total-size"),
            ArchiveError::Ratio { .. } => raise("--max-ratio"),
            ArchiveError::Encrypted(_) => "pack the archive without a password".into(),
            ArchiveError::Symlink(_) => {
                "put the folder or file itself in the place of the link, and pack the archive again".into()
            }
            ArchiveError::NotAZip(_) => "check what was uploaded, and upload the zip again".into(),
            _ => "pack the archive again with an ordinary zip program, and upload it again".into(),
        }
    }
}
