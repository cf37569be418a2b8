//! What a migration is: a directory's name and the text of its `migration.sql`.
//!
//! Loading never fails because of one script. A script that is missing or cannot be sent is kept as such, since it matters only when the migration is
//! pending: an applied migration whose file has vanished stops nothing, as with Prisma.

pub mod case;
pub mod order;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use thiserror::Error;

/// The longest name, in characters, that the migrations table can hold: `migration_name VARCHAR(255)`.
pub const MAX_NAME_CHARS: usize = 255;

/// The largest script, in bytes, that is sent: the server takes messages of less than 1 GiB (`PQ_LARGE_MESSAGE_LIMIT` in PostgreSQL's libpq.h), and
/// 64 KiB of it are kept for the bookkeeping that travels in the same message.
pub const MAX_SCRIPT_BYTES: u64 = (1 << 30) - (64 << 10);

/// The name of the script within a migration's directory. Prisma's file names are case-sensitive.
pub const SCRIPT_FILE: &str = "migration.sql";

/// One directory of the migrations folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The directory's name, as it stands there: Prisma takes any.
    pub name: String,
    /// Its `migration.sql`.
    pub script: Script,
}

impl Migration {
    /// The text to send, without a byte order mark.
    ///
    /// # Errors
    /// What keeps this migration from being applied. Ask for every pending migration before the first one runs.
    pub fn text(&self) -> Result<&str, Defect> {
        let chars = self.name.chars().count();
        if chars > MAX_NAME_CHARS {
            return Err(Defect::NameTooLong { chars });
        }
        self.script.text().map_err(Clone::clone)
    }
}

/// The content of a `migration.sql`, or why there is none that could be sent.
#[derive(Clone)]
pub struct Script {
    content: Content,
    /// Made when it is first asked for: by the artifact's own checksum, by the plan and by the ledger's rows.
    checksum: OnceLock<String>,
}

impl PartialEq for Script {
    fn eq(&self, other: &Script) -> bool {
        self.content == other.content
    }
}

impl Eq for Script {}

impl From<Content> for Script {
    fn from(content: Content) -> Script {
        Script {
            content,
            checksum: OnceLock::new(),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Text(String),
    Refused(Vec<u8>, Defect),
    Absent(Defect),
}

impl Script {
    /// The script that these bytes are: sendable when they are UTF-8 without NUL and no more than [`MAX_SCRIPT_BYTES`].
    pub fn read(bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        if size > MAX_SCRIPT_BYTES {
            return Self::absent(Defect::TooLong { size });
        }
        if is_utf16(&bytes) {
            return Script::from(Content::Refused(bytes, Defect::Utf16));
        }
        Script::from(match String::from_utf8(bytes) {
            Ok(text) => match text.find('\0') {
                Some(offset) => Content::Refused(text.into_bytes(), Defect::Nul { offset }),
                None => Content::Text(text),
            },
            Err(error) => {
                let offset = error.utf8_error().valid_up_to();
                Content::Refused(error.into_bytes(), Defect::NotUtf8 { offset })
            }
        })
    }

    /// A script whose bytes were not or could not be read.
    pub fn absent(defect: Defect) -> Self {
        Script::from(Content::Absent(defect))
    }

    /// Keeps the script from being sent; what was read of it still counts in its checksum.
    pub fn refuse(&mut self, defect: Defect) {
        self.content = match std::mem::replace(&mut self.content, Content::Absent(Defect::Missing)) {
            Content::Text(text) => Content::Refused(text.into_bytes(), defect),
            refused => refused,
        };
    }

    /// The text to send: the file without its byte order mark, which PostgreSQL answers with a syntax error.
    ///
    /// # Errors
    /// Why the script cannot be sent.
    pub fn text(&self) -> Result<&str, &Defect> {
        match &self.content {
            Content::Text(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
            Content::Refused(_, defect) | Content::Absent(defect) => Err(defect),
        }
    }

    /// The file's size in bytes; none when it was not read.
    pub fn size(&self) -> Option<usize> {
        self.bytes().map(<[u8]>::len)
    }

    /// What the migrations table stores: lower-case hex SHA-256 over the raw bytes, byte order mark and carriage returns included. None when the file
    /// was not read.
    pub fn checksum(&self) -> Option<&str> {
        let bytes = self.bytes()?;
        Some(self.checksum.get_or_init(|| sha256(bytes)))
    }

    /// Whether a checksum from the migrations table belongs to this file. None when the file was not read.
    ///
    /// Prisma's rule (schema-connector's checksum.rs): the raw text, the text with every CRLF as LF, or the text with every LF as CRLF (an existing CRLF
    /// becomes CR CR LF). A stored value that is not 64 characters long comes from an early Prisma that wrote bytes below 16 as one digit. Since 6.6
    /// Prisma hashes what Node decoded, so a file that is not UTF-8 also matches with U+FFFD in place of its bad bytes.
    pub fn matches(&self, stored: &str) -> Option<bool> {
        if self.checksum()? == stored {
            return Some(true);
        }
        let bytes = self.bytes()?;
        let render = if stored.len() == 64 || stored.is_empty() {
            hex
        } else {
            unpadded_hex
        };
        let matches = |bytes: &[u8]| {
            let hashes_to = |form: &[u8]| render(&Sha256::digest(form)) == stored;
            hashes_to(bytes) || hashes_to(&replace(bytes, b"\r\n", b"\n")) || hashes_to(&replace(bytes, b"\n", b"\r\n"))
        };
        Some(
            matches(bytes)
                || match String::from_utf8_lossy(bytes) {
                    Cow::Owned(decoded) => matches(decoded.as_bytes()),
                    Cow::Borrowed(_) => false,
                },
        )
    }

    fn bytes(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Text(text) => Some(text.as_bytes()),
            Content::Refused(bytes, _) => Some(bytes),
            Content::Absent(_) => None,
        }
    }
}

/// A script's text can hold passwords: only its size is shown.
impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Text(text) => write!(f, "Script({} bytes)", text.len()),
            Content::Refused(bytes, defect) => write!(f, "Script({} bytes, {defect:?})", bytes.len()),
            Content::Absent(defect) => write!(f, "Script({defect:?})"),
        }
    }
}

/// What keeps a migration from being applied. Offsets are bytes from the file's start, counted from 0.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Defect {
    /// The directory holds no `migration.sql`.
    #[error("migration.sql is missing")]
    Missing,
    /// `migration.sql` is a directory or something else that is no file.
    #[error("migration.sql is not a file")]
    NotAFile,
    /// `migration.sql` is a symbolic link in an archive, where links are never followed.
    #[error("migration.sql is a symbolic link, which is not followed inside an archive")]
    Symlink,
    /// The file system refused to give the file.
    #[error("migration.sql cannot be read: {reason}")]
    Unreadable {
        /// The system's own words.
        reason: String,
    },
    /// Prisma would send U+FFFD in place of the bad bytes and store damaged text.
    #[error("migration.sql is not UTF-8 (first bad byte at offset {offset})")]
    NotUtf8 {
        /// Of the first byte that is not UTF-8.
        offset: usize,
    },
    /// UTF-16, as Windows PowerShell writes it: by `>` and by Out-File.
    #[error("migration.sql is UTF-16, which PowerShell's > and Out-File write, and not UTF-8")]
    Utf16,
    /// PostgreSQL ends a message's text at a NUL.
    #[error("migration.sql contains a NUL byte at offset {offset}")]
    Nul {
        /// Of the first NUL.
        offset: usize,
    },
    /// Two names that are one on some file systems, of directories or of scripts in one directory.
    #[error("{one} and {other} differ in case only, and on some systems one takes the place of the other")]
    Case {
        /// The first.
        one: String,
        /// The other.
        other: String,
    },
    /// Larger than one message to the server can be.
    #[error("migration.sql has {size} bytes, more than the {MAX_SCRIPT_BYTES} that fit into one message to PostgreSQL")]
    TooLong {
        /// The file's size in bytes.
        size: u64,
    },
    /// The migrations table cannot hold the name.
    #[error("its name has {chars} characters, more than the {MAX_NAME_CHARS} that the migrations table can hold")]
    NameTooLong {
        /// The name's length.
        chars: usize,
    },
}

impl Defect {
    /// Prisma's code for it: P3015 for a `migration.sql` that cannot be had or used.
    pub fn prisma_code(&self) -> Option<&'static str> {
        match self {
            Defect::NameTooLong { .. } | Defect::Case { .. } => None,
            _ => Some("P3015"),
        }
    }

    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> &'static str {
        match self {
            Defect::Missing | Defect::NotAFile | Defect::Symlink => {
                "put the migration.sql back as a plain file, or remove the directory, and upload again"
            }
            Defect::Unreadable { .. } => "make the file readable for the user that runs this program",
            Defect::NotUtf8 { .. } => "save the file as UTF-8 and upload again",
            Defect::Utf16 => UTF16_TO_UTF8,
            Defect::Nul { .. } => "remove the NUL byte and upload again",
            Defect::TooLong { .. } => "split the migration into several, or load the bulk of its data by other means",
            Defect::Case { .. } => {
                "remove the one that is not meant (mostly the old name of one that was renamed) and upload again"
            }
            Defect::NameTooLong { .. } => "give the migration's directory a shorter name and upload again",
        }
    }
}

/// How a file in UTF-16 becomes one in UTF-8.
pub const UTF16_TO_UTF8: &str = "convert it in PowerShell with `(Get-Content migration.sql) | Set-Content -Encoding utf8 migration.sql`, or elsewhere with \
     `iconv -f UTF-16 -t UTF-8 migration.sql > utf8.sql`, and upload again";

/// Whether a text is UTF-16: it begins with its byte order mark, or every other of its first bytes is NUL, as in ASCII.
pub fn is_utf16(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(64)];
    let all_nul = |from: usize| start.len() >= 4 && start.iter().skip(from).step_by(2).all(|byte| *byte == 0);
    let is_text = |from: usize| start.iter().skip(from).step_by(2).all(|byte| *byte != 0);
    bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || (all_nul(1) && is_text(0))
        || (all_nul(0) && is_text(1))
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(digest: &[u8]) -> String {
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn unpadded_hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:x}")).collect()
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        if let Some(after) = rest.strip_prefix(from) {
            replaced.extend_from_slice(to);
            rest = after;
        } else {
            replaced.push(byte);
            rest = &rest[1..];
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(bytes: &[u8]) -> Script {
        Script::read(bytes.to_vec())
    }

    #[test]
    fn checksums_are_prismas() {
        let vectors: [(&[u8], &str); 6] = [
            (
                b"hello",
                "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            ),
            (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (
                b"CREATE ENUM MyBoolean ( \"TRUE\", \"FALSE\" )",
                "e0c9674d3b332d71b8bc304aae5b7b8a8bb8ec720e07072429fb20d8cc69a864",
            ),
            (
                b"DROP ENUM MyBoolean",
                "822db1ee793d76eaa1319eb2c453a7ec92ab6ec235268b4d27ac395c6c5a6e0f",
            ),
            (
                b"CREATE TABLE a (id int);\n",
                "c2de7559380e5ebf65caa7d59e166558e80243cf7e70006cc98d1593d94203c1",
            ),
            (
                b"\xef\xbb\xbfCREATE TABLE a (id int);\n",
                "73c80b10d1b8a8ba1070d08cca4e8068e91a0422bb379609758260724e7b6f7f",
            ),
        ];
        for (bytes, checksum) in vectors {
            assert_eq!(script(bytes).checksum(), Some(checksum));
        }
    }

    #[test]
    fn line_endings_do_not_count_when_checksums_are_compared() {
        let table: [(&[u8], &[u8], bool); 9] = [
            (b"a;\nb;\n", b"a;\nb;\n", true),
            (b"a;\r\nb;\r\n", b"a;\nb;\n", true),
            (b"a;\nb;\n", b"a;\r\nb;\r\n", true),
            (b"a;\nb;\n", b"a;\nc;\n", false),
            (b"a;\nb;\n", b"a;\nb;", false),
            // Mixed endings match their all-LF form, and the naive all-CRLF form with its doubled CR, not the clean all-CRLF one.
            (b"a;\r\nb;\n", b"a;\nb;\n", true),
            (b"a;\r\nb;\n", b"a;\r\r\nb;\r\n", true),
            (b"a;\r\nb;\n", b"a;\r\nb;\r\n", false),
            (b"caf\xe9", "caf\u{fffd}".as_bytes(), true),
        ];
        for (file, stored, expected) in table {
            let stored = script(stored);
            let stored = stored.checksum().unwrap();
            assert_eq!(
                script(file).matches(stored),
                Some(expected),
                "{:?}",
                String::from_utf8_lossy(file)
            );
        }
    }

    #[test]
    fn the_early_unpadded_checksums_still_match() {
        let digest = Sha256::digest(b"hello\n");
        let early = unpadded_hex(&digest);
        assert!(early.len() < 64, "the vector must hold a byte below 16");
        assert_eq!(script(b"hello\r\n").matches(&early), Some(true));
        assert_eq!(script(b"goodbye").matches(&early), Some(false));
        assert_eq!(script(b"hello\n").matches(""), Some(false));
    }

    #[test]
    fn a_byte_order_mark_is_not_sent_but_counts_in_the_checksum() {
        let marked = script(b"\xef\xbb\xbfSELECT 1;");
        assert_eq!(marked.text(), Ok("SELECT 1;"));
        assert_ne!(marked.checksum(), script(b"SELECT 1;").checksum());
        assert_eq!(script("a\u{feff}b".as_bytes()).text(), Ok("a\u{feff}b"));
    }

    #[test]
    fn what_cannot_be_sent_says_where() {
        assert_eq!(script(b"-- caf\xe9").text(), Err(&Defect::NotUtf8 { offset: 6 }));
        assert_eq!(script(b"SELECT\0 1").text(), Err(&Defect::Nul { offset: 6 }));
        assert!(script(b"SELECT\0 1").checksum().is_some());
        let missing = Script::absent(Defect::Missing);
        assert_eq!(missing.text(), Err(&Defect::Missing));
        assert_eq!((missing.checksum(), missing.matches("x")), (None, None));
    }

    #[test]
    fn a_name_is_measured_in_characters() {
        let named = |name: String| Migration {
            name,
            script: script(b""),
        };
        assert_eq!(named("é".repeat(255)).text(), Ok(""));
        assert_eq!(named("é".repeat(256)).text(), Err(Defect::NameTooLong { chars: 256 }));
    }

    #[test]
    fn a_script_is_not_shown_by_debug() {
        let shown = format!("{:?}", script(b"ALTER ROLE app PASSWORD 'hunter2'"));
        assert_eq!(shown, "Script(33 bytes)");
    }
}
