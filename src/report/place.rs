//! Where the document goes: a file, an object, or below a prefix by a rule.

use crate::artifact::Origin;
use crate::artifact::s3::Address;
use crate::outcome::Outcome;
use std::path::PathBuf;

/// Where the document goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File(PathBuf),
    /// An object of this name.
    Object(Address),
    /// An object whose key tells of which artifact and run it is.
    Below(Prefix),
}

/// `--report-prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    bucket: String,
    /// Without slashes at its ends; perhaps empty.
    prefix: String,
    /// The object that the run was to read.
    asked: Option<Address>,
}

impl Place {
    /// Reads `s3://bucket/key` or a path; none where it is neither.
    pub fn parse(text: &str) -> Option<Place> {
        match text.strip_prefix("s3://") {
            None => Some(Place::File(text.into())),
            Some(rest) => {
                let (bucket, key) = rest.split_once('/')?;
                let is_whole = !bucket.is_empty() && !key.is_empty();
                is_whole.then(|| Place::Object(object(bucket, key.to_owned())))
            }
        }
    }
}

impl Prefix {
    /// Reads `s3://bucket` or `s3://bucket/prefix`; none where it is neither.
    pub fn parse(text: &str, asked: Option<Address>) -> Option<Prefix> {
        let rest = text.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        (!bucket.is_empty()).then(|| Prefix {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            asked,
        })
    }

    /// `<prefix>/<key>/<version or etag>/<run id>.json`. What was read counts; where nothing was, what was asked for, and `unread` where that was neither
    /// a version nor an etag. Without an artifact of S3 it is `<prefix>/<verb>/<run id>.json`.
    pub fn object(&self, outcome: &Outcome) -> Address {
        let read = outcome.artifact.as_ref().map(|artifact| &artifact.origin);
        let of = match (read, &self.asked) {
            (
                Some(Origin::S3 {
                    key, version_id, etag, ..
                }),
                _,
            ) => Some((key, version_id, etag)),
            (None, Some(asked)) => Some((&asked.key, &asked.version_id, &asked.etag)),
            _ => None,
        };
        let folder = match of {
            Some((key, version, etag)) => {
                let exactly = version.as_deref().or(etag.as_deref()).unwrap_or("unread");
                format!("{key}/{}", exactly.trim_matches('"'))
            }
            None => outcome.verb.to_string(),
        };
        let key = format!("{}/{folder}/{}.json", self.prefix, outcome.run_id);
        object(&self.bucket, key.trim_start_matches('/').to_owned())
    }
}

fn object(bucket: &str, key: String) -> Address {
    Address {
        bucket: bucket.to_owned(),
        key,
        version_id: None,
        etag: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::ArtifactRead;

    fn asked(version: Option<&str>, etag: Option<&str>) -> Option<Address> {
        Some(Address {
            version_id: version.map(str::to_owned),
            etag: etag.map(str::to_owned),
            ..object("artifacts", "shop/PROD/prisma.zip".into())
        })
    }

    fn read(version: Option<&str>) -> Option<ArtifactRead> {
        Some(ArtifactRead {
            origin: Origin::S3 {
                bucket: "artifacts".into(),
                key: "shop/PROD/prisma.zip".into(),
                version_id: version.map(str::to_owned),
                etag: Some("\"e\"".into()),
                size: 1,
            },
            migrations_path: "prisma/migrations".into(),
            migrations: 1,
            migrations_sha256: String::new(),
        })
    }

    #[test]
    fn a_place_is_a_file_or_an_object() {
        assert_eq!(
            Place::parse("out/report.json"),
            Some(Place::File("out/report.json".into()))
        );
        assert_eq!(
            Place::parse("s3://b/a/r.json"),
            Some(Place::Object(object("b", "a/r.json".into())))
        );
        for wrong in ["s3://b", "s3://b/", "s3:///r.json"] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Prefix::parse("reports/x", None), None);
        assert_eq!(Prefix::parse("s3:///x", None), None);
    }

    #[test]
    fn the_key_tells_the_artifact_and_the_run() {
        let table = [
            (
                "s3://r/migrations/",
                asked(None, None),
                read(Some("v1")),
                "migrations/shop/PROD/prisma.zip/v1/run.json",
            ),
            (
                "s3://r/migrations",
                asked(None, None),
                read(None),
                "migrations/shop/PROD/prisma.zip/e/run.json",
            ),
            (
                "s3://r",
                asked(Some("v0"), None),
                None,
                "shop/PROD/prisma.zip/v0/run.json",
            ),
            (
                "s3://r",
                asked(None, Some("\"old\"")),
                None,
                "shop/PROD/prisma.zip/old/run.json",
            ),
            (
                "s3://r",
                asked(None, None),
                None,
                "shop/PROD/prisma.zip/unread/run.json",
            ),
            ("s3://r/a/b", None, None, "a/b/deploy/run.json"),
        ];
        for (prefix, asked, artifact, expected) in table {
            let mut outcome = Outcome::new("deploy", "run".into());
            outcome.artifact = artifact;
            let object = Prefix::parse(prefix, asked).unwrap().object(&outcome);
            assert_eq!((object.bucket.as_str(), object.key.as_str()), ("r", expected));
        }
    }
}
