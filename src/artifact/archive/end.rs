//! The end of a zip: which of several possible directories a program reads is decided there, so nothing may be left to choose.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::Reader;

/// An end record without its comment (APPNOTE 4.3.16); the comment's length stands at its end.
const RECORD: usize = 22;
const SIGNATURE: &[u8] = b"PK\x05\x06";
/// How far from the end of the zip the record can begin.
const REACH: u64 = RECORD as u64 + u16::MAX as u64;
/// How many bytes after the end are looked at. Tar fills its blocks with NULs, 10,240 bytes of them at most where nobody asks for more, and whoever
/// prints a file may add a newline.
const PADDING: u64 = 256 << 10;

/// A file that ends where its zip does: without the NULs and newlines that follow it.
pub(super) struct Trimmed<R> {
    inner: R,
    position: u64,
    size: u64,
}

impl<R: Reader> Trimmed<R> {
    pub(super) fn new(mut inner: R) -> io::Result<Self> {
        let size = inner.seek(SeekFrom::End(0))?;
        let start = size.saturating_sub(PADDING + REACH);
        inner.seek(SeekFrom::Start(size.saturating_sub(RECORD as u64)))?;
        let mut last = Vec::new();
        inner.by_ref().take(RECORD as u64).read_to_end(&mut last)?;
        // A zip without a comment, as nearly all are: its last bytes are the record.
        let is_record = last.starts_with(SIGNATURE) && last.ends_with(&[0, 0]);
        let mut end = size;
        if !is_record && last.last().is_some_and(|&byte| is_padding(byte)) {
            inner.seek(SeekFrom::Start(start))?;
            let mut tail = Vec::new();
            inner.by_ref().take(size - start).read_to_end(&mut tail)?;
            if let Some(padded) = padded_end(&tail) {
                end = start + padded as u64;
            }
        }
        inner.seek(SeekFrom::Start(0))?;
        Ok(Trimmed {
            inner,
            position: 0,
            size: end,
        })
    }
}

impl<R: Reader> Read for Trimmed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let read = self.inner.read(&mut buffer[..room])?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Reader> Seek for Trimmed<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.position = self.inner.seek(SeekFrom::Start(position))?;
        Ok(self.position)
    }
}

impl<R: Reader> Reader for Trimmed<R> {
    fn expect(&mut self, parts: Vec<Range<u64>>) {
        self.inner.expect(parts);
    }
}

fn is_padding(byte: u8) -> bool {
    matches!(byte, 0 | b'\n' | b'\r')
}

/// Where each record of a tail ends that has room for its comment; entries that are zips themselves, uncompressed, bring theirs.
fn ends(tail: &[u8]) -> impl Iterator<Item = usize> + '_ {
    tail.windows(RECORD).enumerate().filter_map(|(at, record)| {
        let comment = u16::from_le_bytes([record[RECORD - 2], record[RECORD - 1]]);
        let end = at + RECORD + usize::from(comment);
        (record.starts_with(SIGNATURE) && end <= tail.len()).then_some(end)
    })
}

/// Where the zip ends in a tail that goes on in padding: at the first record with nothing else after it.
fn padded_end(tail: &[u8]) -> Option<usize> {
    let padding = tail
        .iter()
        .rposition(|&byte| !is_padding(byte))
        .map_or(0, |last| last + 1);
    ends(tail).find(|&end| end >= padding)
}

/// What is wrong with the end of a file that was read as a zip, if anything is.
pub(super) fn fault(source: &mut (impl Read + Seek)) -> io::Result<Option<&'static str>> {
    let size = source.seek(SeekFrom::End(0))?;
    source.seek(SeekFrom::Start(size.saturating_sub(REACH)))?;
    let mut tail = Vec::new();
    source.take(REACH).read_to_end(&mut tail)?;
    Ok(fault_of(&tail))
}

fn fault_of(tail: &[u8]) -> Option<&'static str> {
    let mut behind = ends(tail).skip_while(|end| *end < tail.len());
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
