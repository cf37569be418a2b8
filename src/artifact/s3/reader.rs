//! An object in S3 as something that can be read anywhere, of which only what is read is fetched.
//!
//! Reading a zip blocks, so it is done on a thread of its own. What that thread lacks it asks for over a channel; the requests are made on the side of
//! the runtime, where a stop can end them.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use tokio::sync::{mpsc, oneshot};

use super::failure::S3Error;
use super::object::{Object, Part};
use super::ranges::{self, BATCH, STRAY};
use crate::artifact::archive::Reader;

/// Parts that are lacking, and where to send them.
struct Wanted {
    parts: Vec<Range<u64>>,
    answer: oneshot::Sender<Result<Vec<Part>, S3Error>>,
}

/// Reads of an object what `read` asks for. Holds the object's tail, one batch of parts, and no more.
///
/// # Errors
/// The first error of S3, whatever `read` made of it.
pub async fn read<T, F>(mut object: Object, read: F) -> Result<T, S3Error>
where
    T: Send + 'static,
    F: FnOnce(&mut ObjectReader) -> T + Send + 'static,
{
    let (ask, mut asked) = mpsc::channel::<Wanted>(1);
    let mut reader = ObjectReader {
        size: object.size,
        position: 0,
        tail: std::mem::take(&mut object.tail),
        batch: Vec::new(),
        stray: Part::default(),
        plan: None,
        ask,
        failed: None,
    };
    let reading = tokio::task::spawn_blocking(move || {
        let result = read(&mut reader);
        reader.failed.map_or(Ok(result), Err)
    });
    // Ends when the reader is gone.
    while let Some(Wanted { parts, answer }) = asked.recv().await {
        let _ = answer.send(object.fetch(&parts).await);
    }
    object.say_what_it_took();
    match reading.await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// The object, for a thread that may block.
pub struct ObjectReader {
    size: u64,
    position: u64,
    tail: Part,
    batch: Vec<Part>,
    /// What was read beside the plan.
    stray: Part,
    plan: Option<Vec<Range<u64>>>,
    ask: mpsc::Sender<Wanted>,
    /// Kept here, since whoever reads makes a text of it. Nothing is read after it.
    failed: Option<S3Error>,
}

impl ObjectReader {
    fn held(&self) -> Option<&[u8]> {
        let parts = self.batch.iter().chain([&self.tail, &self.stray]);
        parts.filter_map(|part| part.from(self.position)).next()
    }

    /// Fetches the place at which we are, and what will be read after it.
    fn fetch(&mut self) -> Result<(), S3Error> {
        let end = self.tail.start;
        let planned = self.plan.as_deref().map(|plan| ranges::batch(plan, self.position));
        match planned {
            // The zip's directory, which ends in the tail and is read from its beginning.
            None => {
                let rest = self.position..end.min(self.position.saturating_add(BATCH));
                self.batch = Vec::new();
                self.batch = self.ask_for(ranges::pieces(rest).collect())?;
            }
            Some([]) => {
                let rest = self.position..end.min(self.position.saturating_add(STRAY));
                self.stray = self.ask_for(vec![rest])?.pop().unwrap_or_default();
            }
            Some(pieces) => {
                let pieces = pieces.to_vec();
                self.batch = Vec::new();
                self.batch = self.ask_for(pieces)?;
            }
        }
        Ok(())
    }

    fn ask_for(&self, parts: Vec<Range<u64>>) -> Result<Vec<Part>, S3Error> {
        let (answer, answered) = oneshot::channel();
        let gone = || S3Error::Request("the run is over".into());
        self.ask.blocking_send(Wanted { parts, answer }).map_err(|_| gone())?;
        answered.blocking_recv().map_err(|_| gone())?
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let failed = |error: &S3Error| io::Error::other(error.to_string());
        if let Some(error) = &self.failed {
            return Err(failed(error));
        }
        if self.held().is_none()
            && let Err(error) = self.fetch()
        {
            let told = failed(&error);
            self.failed = Some(error);
            return Err(told);
        }
        let Some(held) = self.held() else {
            return Err(io::Error::other("a part of the object is missing"));
        };
        let length = held.len().min(buffer.len());
        buffer[..length].copy_from_slice(&held[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

impl Reader for ObjectReader {
    fn expect(&mut self, parts: Vec<Range<u64>>) {
        self.plan = (!parts.is_empty()).then(|| ranges::plan(parts, self.tail.start));
        self.batch = Vec::new();
    }
}
