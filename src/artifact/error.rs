//! Why an artifact cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Source;
use super::archive::ArchiveError;
use super::folder::FolderError;
use super::lock_file::LockFileError;
use super::s3::failure::S3Error;
use crate::exit::Exit;

/// What failed, on which source.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The object could not be had.
    #[error("{artifact} could not be read: {error}")]
    S3 {
        /// What was asked for.
        artifact: Source,
        /// Why.
        error: S3Error,
    },
    /// The zip file could not be opened.
    #[error("{} could not be read: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's own words.
        error: io::Error,
    },
    /// The zip cannot be used.
    #[error("{artifact}: {error}")]
    Archive {
        /// Where it came from.
        artifact: Source,
        /// Why.
        error: ArchiveError,
    },
    /// The folder cannot be used.
    #[error("{artifact}: {error}")]
    Folder {
        /// Which one.
        artifact: Source,
        /// Why.
        error: FolderError,
    },
    /// The lock file names another provider or none.
    #[error("{artifact}: {error}")]
    LockFile {
        /// Where it came from.
        artifact: Source,
        /// Why.
        error: LockFileError,
    },
}

impl ArtifactError {
    /// The exit code: a history that is another database's, an artifact that a newer one has superseded, and otherwise an artifact that is missing or
    /// invalid.
    pub fn exit(&self) -> Exit {
        match self {
            ArtifactError::LockFile { .. } => Exit::History,
            ArtifactError::S3 {
                error: S3Error::Superseded(_),
                ..
            } => Exit::Superseded,
            _ => Exit::Artifact,
        }
    }

    /// Prisma's code for it, where it has one.
    pub fn prisma_code(&self) -> Option<&'static str> {
        match self {
            ArtifactError::LockFile { .. } => Some("P3019"),
            _ => None,
        }
    }

    /// What to do next, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            ArtifactError::S3 { error, .. } => error.next_step(),
            ArtifactError::File { .. } => "check the path of the zip file".into(),
            ArtifactError::Archive { error, .. } => error.next_step(),
            ArtifactError::Folder { error, .. } => error.next_step(),
            ArtifactError::LockFile { .. } => {
                "correct the provider in migration_lock.toml, or deploy the artifact that was made for PostgreSQL"
                    .into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_cause() {
        let artifact = || Source::s3("artifacts", "prisma.zip");
        let s3 = |error| ArtifactError::S3 {
            artifact: artifact(),
            error,
        };
        let lock_file = ArtifactError::LockFile {
            artifact: artifact(),
            error: LockFileError::Provider("mysql".into()),
        };
        let table = [
            (s3(S3Error::Superseded("0a".into())), Exit::Superseded, None),
            (s3(S3Error::NoSuchKey), Exit::Artifact, None),
            (s3(S3Error::Timeout { attempts: 3 }), Exit::Artifact, None),
            (lock_file, Exit::History, Some("P3019")),
        ];
        for (error, exit, code) in table {
            assert_eq!((error.exit(), error.prisma_code()), (exit, code), "{error}");
            assert!(error.to_string().starts_with("s3://artifacts/prisma.zip"), "{error}");
            assert!(!error.next_step().is_empty());
        }
    }
}
