//! Archives as no honest program writes them: an honest one, and then single fields of its headers changed.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub const A: &str = "prisma/migrations/1_a/migration.sql";
pub const B: &str = "prisma/migrations/2_b/migration.sql";

/// What stands before a name in the two headers of an entry (APPNOTE 4.3.7 and 4.3.12).
const LOCAL: (&[u8], usize) = (b"PK\x03\x04", 30);
const CENTRAL: (&[u8], usize) = (b"PK\x01\x02", 46);

enum State {
    Open(Box<ZipWriter<Cursor<Vec<u8>>>>),
    Bytes(Vec<u8>),
}

/// A zip in the making. Entries and the comment come first, changes after them.
pub struct Zip {
    state: State,
    options: SimpleFileOptions,
}

impl Zip {
    pub fn new() -> Zip {
        let state = State::Open(Box::new(ZipWriter::new(Cursor::new(Vec::new()))));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        Zip { state, options }
    }

    pub fn stored(self) -> Zip {
        let options = self.options.compression_method(CompressionMethod::Stored);
        Zip { options, ..self }
    }

    /// Deflated as far as deflate can.
    pub fn best(self) -> Zip {
        let options = self.options.compression_level(Some(9));
        Zip { options, ..self }
    }

    pub fn zstd(self) -> Zip {
        let options = self.options.compression_method(CompressionMethod::Zstd);
        Zip { options, ..self }
    }

    pub fn large(self) -> Zip {
        let options = self.options.large_file(true);
        Zip { options, ..self }
    }

    pub fn file(self, name: &str, content: &str) -> Zip {
        self.raw(name, content.as_bytes())
    }

    pub fn raw(self, name: &str, content: &[u8]) -> Zip {
        let options = self.options;
        self.writing(|zip| {
            zip.start_file(name, options).unwrap();
            zip.write_all(content).unwrap();
        })
    }

    pub fn link(self, name: &str, target: &str) -> Zip {
        let options = self.options;
        self.writing(|zip| zip.add_symlink(name, target, options).unwrap())
    }

    pub fn comment(self, comment: &[u8]) -> Zip {
        self.writing(|zip| zip.set_raw_comment(comment.into()).unwrap())
    }

    /// Another name of the same length, wherever the first one stands.
    pub fn rename(self, from: &str, to: &str) -> Zip {
        assert_eq!(from.len(), to.len());
        self.local(from, LOCAL.1, to.as_bytes())
            .central(from, CENTRAL.1, to.as_bytes())
    }

    /// Overwrites a field of an entry in the central directory.
    pub fn central(self, name: &str, at: usize, value: &[u8]) -> Zip {
        self.header(CENTRAL, name, at, value)
    }

    /// Overwrites a field of the header before an entry's data.
    pub fn local(self, name: &str, at: usize, value: &[u8]) -> Zip {
        self.header(LOCAL, name, at, value)
    }

    /// Says at the end that the directory holds so many entries.
    pub fn entries(self, count: u8) -> Zip {
        let mut bytes = self.bytes();
        let end = bytes.windows(4).rposition(|at| at == b"PK\x05\x06").unwrap();
        bytes[end + 8] = count;
        bytes[end + 10] = count;
        changed(bytes)
    }

    pub fn bytes(self) -> Vec<u8> {
        match self.state {
            State::Open(zip) => zip.finish().unwrap().into_inner(),
            State::Bytes(bytes) => bytes,
        }
    }

    fn writing(mut self, write: impl FnOnce(&mut ZipWriter<Cursor<Vec<u8>>>)) -> Zip {
        match &mut self.state {
            State::Open(zip) => write(zip),
            State::Bytes(_) => panic!("entries come before changes"),
        }
        self
    }

    fn header(self, (signature, fixed): (&[u8], usize), name: &str, at: usize, value: &[u8]) -> Zip {
        let mut bytes = self.bytes();
        let is_it = |place: &usize| {
            bytes[*place..].starts_with(signature) && bytes[place + fixed..].starts_with(name.as_bytes())
        };
        let place = (0..bytes.len() - fixed).find(is_it).expect("no such entry");
        bytes[place + at..][..value.len()].copy_from_slice(value);
        changed(bytes)
    }
}

fn changed(bytes: Vec<u8>) -> Zip {
    Zip {
        state: State::Bytes(bytes),
        ..Zip::new()
    }
}

/// A zip of one file that was written without going back: its sizes stand behind its data.
pub fn streamed(name: &str, content: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new_stream(Vec::new());
    zip.start_file(name, SimpleFileOptions::default()).unwrap();
    zip.write_all(content.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}
