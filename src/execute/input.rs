//! Where the SQL comes from.

use crate::artifact::Source;
use crate::artifact::s3::failure::S3Error;
use crate::artifact::s3::{self, Address};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::migration::is_utf16;
use std::io::{self, Read};
use std::path::PathBuf;

/// The largest object of SQL that is read, in bytes: it is held in memory.
const LARGEST_OBJECT: u64 = 256 << 20;

/// Where the SQL comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The command line.
    Argument(String),
    /// A file.
    File(PathBuf),
    /// An object in S3.
    Object(Address),
    /// Standard input, to its end.
    StandardInput,
}

impl Input {
    /// What it is called where an error shows its place.
    pub fn name(&self) -> String {
        match self {
            Input::Argument(_) => "SQL".to_owned(),
            Input::File(file) => file.display().to_string(),
            Input::Object(address) => Source::S3(address.clone()).to_string(),
            Input::StandardInput => "standard input".to_owned(),
        }
    }

    /// Reads it whole. Can be given up at any moment.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub async fn read(&self) -> Result<String, Failure> {
        let bytes = match self {
            Input::Object(address) => from_s3(address).await?,
            local => local.read_here().await?,
        };
        if is_utf16(&bytes) {
            return Err(usage(
                format!(
                    "{} is UTF-16, which PowerShell's > and Out-File write, and not UTF-8",
                    self.name()
                ),
                "convert it to UTF-8: in PowerShell with Set-Content -Encoding utf8, elsewhere with iconv -f UTF-16 -t UTF-8",
            ));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            usage(
                format!("{} is not UTF-8 (byte {at})", self.name()),
                "convert it to UTF-8",
            )
        })?;
        match text.strip_prefix('\u{feff}') {
            Some(behind) => Ok(behind.to_owned()),
            None => Ok(text),
        }
    }

    async fn read_here(&self) -> Result<Vec<u8>, Failure> {
        let input = self.clone();
        // A pipe may stay silent for ever, and a read cannot be interrupted.
        let read = tokio::task::spawn_blocking(move || match input {
            Input::Argument(sql) => Ok(sql.into_bytes()),
            Input::File(file) => std::fs::read(file),
            Input::Object(_) => Ok(Vec::new()),
            Input::StandardInput => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
            }
        });
        let read = read.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        read.map_err(|error| {
            usage(
                format!("{} cannot be read: {error}", self.name()),
                "give a file that exists and can be read",
            )
        })
    }
}

async fn from_s3(address: &Address) -> Result<Vec<u8>, Failure> {
    s3::whole(address, LARGEST_OBJECT).await.map_err(|error| {
        let next = match &error {
            S3Error::TooMuch { .. } => "split it".to_owned(),
            error => error.next_step(),
        };
        usage(format!("{}: {error}", Source::S3(address.clone())), &next)
    })
}

fn usage(what: String, next: &str) -> Failure {
    Failure::new(Exit::Usage, what, next)
}
