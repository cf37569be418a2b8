//! What a file is that is no zip.

use std::io::{Read, SeekFrom};

use zip::result::ZipError;

use super::{ArchiveError, Reader};
use crate::artifact::layout::shortened;

/// How much of the file is looked at, in bytes: enough for the title of a page.
const HEAD: u64 = 2048;

/// The error for a file that has no usable zip directory, after a look at its beginning.
pub(super) fn not_a_zip(source: &mut impl Reader, error: &ZipError) -> ArchiveError {
    source.expect(std::iter::once(0..HEAD).collect());
    let mut head = Vec::new();
    match source
        .seek(SeekFrom::Start(0))
        .and_then(|_| source.take(HEAD).read_to_end(&mut head))
    {
        Ok(_) => looks_like(&head).map_or_else(|| ArchiveError::Directory(error.to_string()), ArchiveError::NotAZip),
        Err(error) => ArchiveError::Directory(error.to_string()),
    }
}

/// What a file that is no zip begins like; none when it begins like a zip whose end is there but damaged.
fn looks_like(head: &[u8]) -> Option<String> {
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
        return Some("it is empty (0 bytes)".into());
    }
    if let Some((_, description)) = magic.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some((*description).into());
    }
    if head.starts_with(b"PK") {
        return None;
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some("it looks like a tar archive".into());
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    // Lower case has the same length in ASCII alone: places in it are places in the text.
    let lower = text.to_ascii_lowercase();
    let element = |name: &str| {
        let start = lower.find(&format!("<{name}>"))? + name.len() + 2;
        let length = lower[start..].find(&format!("</{name}>"))?;
        Some(shortened(text[start..start + length].trim())).filter(|content| !content.is_empty())
    };
    Some(if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        match element("title") {
            Some(title) => format!("it is an HTML page ({title:?}), such as a login or an error page"),
            None => "it is an HTML page, such as a login or an error page".into(),
        }
    } else if lower.starts_with('<') {
        match element("code").filter(|_| lower.contains("<error>")) {
            Some(code) => format!("it is an error document of S3 ({code}), saved in place of the file"),
            None => "it looks like XML (an error document?)".into(),
        }
    } else if lower.starts_with(['{', '[']) {
        "it looks like JSON".into()
    } else {
        "it has no zip directory".into()
    })
}
