//! What the user names as the source of the migrations.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::s3::Address;

/// Where the migrations are to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A zip in S3.
    S3(Address),
    /// A zip file.
    Zip(PathBuf),
    /// A folder: a project, its `prisma` folder, or the migrations folder itself.
    Folder(PathBuf),
}

/// Why a text names no source.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SourceError {
    /// Nothing at all.
    #[error("the source is empty: give s3://bucket/key, a zip file or a folder")]
    Empty,
    /// An S3 URL that lacks a part.
    #[error("{0} is not of the form s3://bucket/key")]
    S3(String),
    /// An ARN, which S3's own tools show of a bucket.
    #[error("{0} is an ARN: give s3://bucket/key")]
    Arn(String),
    /// Another kind of URL.
    #[error("{0}:// is not a source: give s3://bucket/key, a zip file or a folder")]
    Scheme(String),
}

impl Source {
    /// The object of a bucket that this key names.
    pub fn s3(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Source::S3(Address {
            bucket: bucket.into(),
            key: key.into(),
            version_id: None,
            etag: None,
        })
    }

    /// Reads `s3://bucket/key` or a path; the key is taken as it stands, not url-decoded. A path to a directory is a folder, any other a zip file, which
    /// need not exist yet.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if let Some(address) = text.strip_prefix("s3://") {
            return match address.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Source::s3(bucket, key)),
                _ => Err(SourceError::S3(text.to_owned())),
            };
        }
        if text.starts_with("arn:") && text.contains(":s3:") {
            return Err(SourceError::Arn(text.to_owned()));
        }
        if let Some((scheme, _)) = text.split_once("://")
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return Err(SourceError::Scheme(scheme.to_owned()));
        }
        match text {
            "" => Err(SourceError::Empty),
            path if Path::new(path).is_dir() => Ok(Source::Folder(path.into())),
            path => Ok(Source::Zip(path.into())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::S3(address) => {
                write!(f, "s3://{}/{}", address.bucket, address.key)?;
                match (&address.version_id, &address.etag) {
                    (Some(version), _) => write!(f, " (version {version})"),
                    (None, Some(etag)) => write!(f, " (etag {etag})"),
                    (None, None) => Ok(()),
                }
            }
            Source::Zip(path) | Source::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        let table = [
            (
                "s3://bucket/a/b c/prisma.zip",
                Ok(Source::s3("bucket", "a/b c/prisma.zip")),
            ),
            ("s3://bucket//key", Ok(Source::s3("bucket", "/key"))),
            ("s3://bucket", Err(SourceError::S3("s3://bucket".into()))),
            ("s3://bucket/", Err(SourceError::S3("s3://bucket/".into()))),
            ("s3:///key", Err(SourceError::S3("s3:///key".into()))),
            (
                "https://user:secret@host/x.zip",
                Err(SourceError::Scheme("https".into())),
            ),
            (
                "arn:aws:s3:::bucket/key",
                Err(SourceError::Arn("arn:aws:s3:::bucket/key".into())),
            ),
            ("", Err(SourceError::Empty)),
            ("not/there/prisma.zip", Ok(Source::Zip("not/there/prisma.zip".into()))),
            (folder, Ok(Source::Folder(folder.into()))),
        ];
        for (text, expected) in table {
            assert_eq!(Source::parse(text), expected, "{text}");
        }
    }
}
