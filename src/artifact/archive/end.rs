//! The end of a zip: which of several possible directories a program reads is decided there, so nothing may be left to choose.

use std::io::{self, Read, Seek, SeekFrom};

/// An end record without its comment (APPNOTE 4.3.16); the comment's length stands at its end.
const RECORD: usize = 22;
const SIGNATURE: &[u8] = b"PK\x05\x06";
/// How far from the end of the file the record can begin.
const REACH: u64 = RECORD as u64 + u16::MAX as u64;

/// What is wrong with the end of a file that was read as a zip, if anything is.
pub(super) fn fault(source: &mut (impl Read + Seek)) -> io::Result<Option<&'static str>> {
    let size = source.seek(SeekFrom::End(0))?;
    source.seek(SeekFrom::Start(size.saturating_sub(REACH)))?;
    let mut tail = Vec::new();
    source.take(REACH).read_to_end(&mut tail)?;
    Ok(fault_of(&tail))
}

fn fault_of(tail: &[u8]) -> Option<&'static str> {
    // Where each record ends that has room for its comment; entries that are zips themselves, uncompressed, bring theirs.
    let ends = tail.windows(RECORD).enumerate().filter_map(|(at, record)| {
        let comment = u16::from_le_bytes([record[RECORD - 2], record[RECORD - 1]]);
        let end = at + RECORD + usize::from(comment);
        (record.starts_with(SIGNATURE) && end <= tail.len()).then_some(end)
    });
    let mut behind = ends.skip_while(|end| *end < tail.len());
    match (behind.next(), behind.next()) {
        (None, _) => Some("bytes stand behind its end"),
        (Some(_), Some(_)) => Some("its comment looks like a second end"),
        (Some(_), None) => None,
    }
}

/// Whether another entry follows where the directory should end.
pub(super) fn is_followed_by_entry(reader: &mut impl Read) -> io::Result<bool> {
    let mut signature = Vec::new();
    reader.take(4).read_to_end(&mut signature)?;
    Ok(signature == b"PK\x01\x02")
}
