//! Where the rows go: standard output, a file, or an object in S3. The last two appear as a whole or not at all.

use crate::artifact::s3::failure::S3Error;
use crate::artifact::s3::{Address, Multipart};
use crate::exit::Exit;
use crate::failure::Failure;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncWriteExt, BufWriter, Stdout, stdout};

/// Where the rows are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, as they come.
    StandardOutput,
    /// A file, in the place of one that is there.
    File(PathBuf),
    /// An object, in the place of one that is there.
    Object(Address),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::StandardOutput => f.write_str("standard output"),
            Destination::File(path) => write!(f, "{}", path.display()),
            Destination::Object(address) => write!(f, "s3://{}/{}", address.bucket, address.key),
        }
    }
}

/// What takes the rows.
pub enum Sink {
    /// Standard output.
    StandardOutput(Stdout),
    /// A file beside the one that they are for.
    File(Part),
    /// An object that is not to be seen yet.
    Object(Multipart),
}

/// A file that takes the place of another in the end.
pub struct Part {
    file: BufWriter<File>,
    path: PathBuf,
    becomes: PathBuf,
}

/// Why the rows cannot go there.
#[derive(Debug)]
pub enum SinkError {
    /// The system's reason.
    Io(io::Error),
    /// S3's reason.
    S3(S3Error),
    /// The run is to stop.
    Stopped,
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinkError::Io(error) => write!(f, "{error}"),
            SinkError::S3(error) => write!(f, "{error}"),
            SinkError::Stopped => f.write_str("the run was to stop"),
        }
    }
}

impl SinkError {
    /// What to do about it.
    pub fn next_step(&self) -> String {
        match self {
            SinkError::Io(_) => "give it a place that takes them".to_owned(),
            SinkError::S3(error) => error.next_step(),
            SinkError::Stopped => "run it again".to_owned(),
        }
    }
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> SinkError {
        SinkError::Io(error)
    }
}

impl From<S3Error> for SinkError {
    fn from(error: S3Error) -> SinkError {
        SinkError::S3(error)
    }
}

impl Sink {
    /// Opens it, before any SQL has run: what cannot be written is known by then.
    ///
    /// # Errors
    /// It is no place for rows, or may not be written.
    pub async fn open(destination: &Destination, run_id: &str) -> Result<Sink, Failure> {
        let opened = match destination {
            Destination::StandardOutput => Ok(Sink::StandardOutput(stdout())),
            Destination::File(path) => Part::open(path, run_id).await.map(Sink::File).map_err(SinkError::Io),
            Destination::Object(address) => Multipart::begin(address.clone())
                .await
                .map(Sink::Object)
                .map_err(SinkError::S3),
        };
        opened.map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("the rows cannot be written to {destination}: {error}"),
                error.next_step(),
            )
        })
    }

    /// Takes text. What is no stream keeps some of it back.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub async fn write(&mut self, text: &str) -> Result<(), SinkError> {
        match self {
            Sink::StandardOutput(stdout) => {
                stdout.write_all(text.as_bytes()).await?;
                stdout.flush().await?;
            }
            Sink::File(part) => part.file.write_all(text.as_bytes()).await?,
            Sink::Object(object) => object.write(text.as_bytes()).await?,
        }
        Ok(())
    }

    /// Brings everything to its place, where nobody sees it yet: what may still fail behind this is little.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub async fn flush(&mut self) -> Result<(), SinkError> {
        match self {
            Sink::StandardOutput(_) => {}
            Sink::File(part) => {
                part.file.flush().await?;
                part.file.get_ref().sync_all().await?;
            }
            Sink::Object(object) => object.flush().await?,
        }
        Ok(())
    }

    /// Shows it.
    ///
    /// # Errors
    /// See [`SinkError`]; nothing is left behind then.
    pub async fn publish(self) -> Result<(), SinkError> {
        match self {
            Sink::StandardOutput(_) => {}
            Sink::File(part) => {
                if let Err(error) = fs::rename(&part.path, &part.becomes).await {
                    part.remove().await;
                    return Err(error.into());
                }
            }
            Sink::Object(object) => object.complete().await?,
        }
        Ok(())
    }

    /// Takes everything back that is not shown.
    pub async fn discard(self) {
        match self {
            Sink::StandardOutput(_) => {}
            Sink::File(part) => part.remove().await,
            Sink::Object(object) => object.abort().await,
        }
    }
}

impl Part {
    async fn open(path: &Path, run_id: &str) -> io::Result<Part> {
        // The place of a device, a pipe or a folder is not taken; behind a link is the file that is meant.
        let becomes = match fs::canonicalize(path).await {
            Ok(full) if fs::metadata(&full).await?.is_file() => full,
            Ok(_) => return Err(io::Error::other("it is no ordinary file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let name = becomes
            .file_name()
            .ok_or_else(|| io::Error::other("it names no file"))?;
        let path = becomes.with_file_name(format!(".{}.{run_id}", name.to_string_lossy()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path).await?;
        Ok(Part {
            file: BufWriter::new(file),
            path,
            becomes,
        })
    }

    async fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path).await {
            tracing::warn!("{} could not be removed: {error}", self.path.display());
        }
    }
}
