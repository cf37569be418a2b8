//! Why an artifact cannot be used.

use std::io;

use thiserror::Error;

use super::Source;
use super::archive::ArchiveError;
use super::folder::FolderError;
use super::layout::LayoutError;
use super::lock_file::LockFileError;
use super::s3::failure::S3Error;
use crate::exit::Exit;

/// An artifact that cannot be used.
#[derive(Debug, Error)]
#[error("{artifact}: {cause}")]
pub struct ArtifactError {
    /// What was asked for.
    pub artifact: Box<Source>,
    /// What failed.
    pub cause: Cause,
}

/// What failed on the way to the migrations.
#[derive(Debug, Error)]
pub enum Cause {
    /// The object could not be had.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// The zip file could not be opened.
    #[error("the file could not be opened: {0}")]
    File(io::Error),
    /// The zip cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The migrations are another tool's.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The lock file or the schema names another provider, or the lock file none.
    #[error(transparent)]
    LockFile(#[from] LockFileError),
}

impl ArtifactError {
    /// The exit code: a history that is another database's, an artifact that a newer one has superseded, and otherwise an artifact that is missing or
    /// invalid.
    pub fn exit(&self) -> Exit {
        match &self.cause {
            Cause::LockFile(_) => Exit::History,
            Cause::S3(S3Error::Superseded(_)) => Exit::Superseded,
            Cause::S3(_) | Cause::File(_) | Cause::Archive(_) | Cause::Folder(_) | Cause::Layout(_) => Exit::Artifact,
        }
    }

    /// Prisma's code for it, where it has one.
    pub fn prisma_code(&self) -> Option<&'static str> {
        match &self.cause {
            Cause::LockFile(_) => Some("P3019"),
            Cause::S3(_) | Cause::File(_) | Cause::Archive(_) | Cause::Folder(_) | Cause::Layout(_) => None,
        }
    }

    /// What to do next, in one sentence.
    pub fn next_step(&self) -> String {
        match &self.cause {
            Cause::S3(error) => error.next_step(),
            Cause::File(_) => "check the path: there is to be a zip file or a folder".into(),
            Cause::Archive(error) => error.next_step(),
            Cause::Folder(error) => error.next_step(),
            Cause::Layout(error) => error.next_step(),
            Cause::LockFile(LockFileError::Schema { .. }) => {
                "deploy the artifact that was made for PostgreSQL, or name its schema in prisma.config.ts".into()
            }
            Cause::LockFile(_) => {
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
        let table = [
            (S3Error::Superseded("0a".into()).into(), Exit::Superseded, None),
            (S3Error::NoSuchKey { beside: vec![] }.into(), Exit::Artifact, None),
            (S3Error::Replaced.into(), Exit::Artifact, None),
            (S3Error::Timeout { attempts: 3 }.into(), Exit::Artifact, None),
            (
                LockFileError::Provider("mysql".into()).into(),
                Exit::History,
                Some("P3019"),
            ),
        ];
        for (cause, exit, code) in table {
            let artifact = Box::new(Source::s3("artifacts", "prisma.zip"));
            let error = ArtifactError { artifact, cause };
            assert_eq!((error.exit(), error.prisma_code()), (exit, code), "{error}");
            assert!(error.to_string().starts_with("s3://artifacts/prisma.zip"), "{error}");
            assert!(!error.next_step().is_empty());
        }
    }
}
