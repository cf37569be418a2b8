//! Where the SQL comes from.

use crate::exit::Exit;
use crate::failure::Failure;
use std::io::{self, Read};
use std::path::PathBuf;

/// Where the SQL comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The command line.
    Argument(String),
    /// A file.
    File(PathBuf),
    /// Standard input, to its end.
    StandardInput,
}

impl Input {
    /// What it is called where an error shows its place.
    pub fn name(&self) -> String {
        match self {
            Input::Argument(_) => "SQL".to_owned(),
            Input::File(file) => file.display().to_string(),
            Input::StandardInput => "standard input".to_owned(),
        }
    }

    /// Reads it whole. Can be given up at any moment.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub async fn read(&self) -> Result<String, Failure> {
        let input = self.clone();
        // A pipe may stay silent for ever, and a read cannot be interrupted.
        let read = tokio::task::spawn_blocking(move || match input {
            Input::Argument(sql) => Ok(sql.into_bytes()),
            Input::File(file) => std::fs::read(file),
            Input::StandardInput => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
            }
        });
        let read = read.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        let bytes = read.map_err(|error| {
            usage(
                format!("{} cannot be read: {error}", self.name()),
                "give a file that exists and can be read",
            )
        })?;
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
}

fn usage(what: String, next: &str) -> Failure {
    Failure::new(Exit::Usage, what, next)
}
