//! Where the migrations are, and where a report is.

use super::usage;
use crate::artifact::Source;
use crate::drift::Location;
use crate::failure::Failure;
use std::path::PathBuf;

/// What SOURCE says, or the variables where it is not given; none where nothing does.
pub(super) fn source(
    given: Option<&str>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Source>, Failure> {
    let mut source = match (given, variable("ARTIFACT_BUCKET"), variable("PRISMA_ARTIFACT_KEY")) {
        (Some(given), ..) => Source::parse(given).map_err(|error| {
            usage(
                &error.to_string(),
                "give s3://bucket/key, or a local zip file or folder",
            )
        })?,
        (None, Some(bucket), Some(key)) => Source::s3(bucket, key),
        (None, None, None) => return Ok(None),
        (None, Some(_), None) => {
            return Err(usage(
                "ARTIFACT_BUCKET is set and PRISMA_ARTIFACT_KEY is not",
                "set both, or give SOURCE",
            ));
        }
        (None, None, Some(_)) => {
            return Err(usage(
                "PRISMA_ARTIFACT_KEY is set and ARTIFACT_BUCKET is not",
                "set both, or give SOURCE",
            ));
        }
    };
    if let Source::S3(address) = &mut source {
        address.version_id = variable("PRISMA_ARTIFACT_VERSION_ID");
        address.etag = variable("PRISMA_ARTIFACT_ETAG");
    }
    Ok(Some(source))
}

/// Where a report is.
pub(super) fn location(given: &str) -> Result<Location, Failure> {
    match Source::parse(given) {
        Ok(Source::S3(address)) => Ok(Location::S3(address)),
        Ok(Source::Zip(path) | Source::Folder(path)) => Ok(Location::File(path)),
        // Not there yet, or no artifact: the error of reading it says more.
        Err(_) => Ok(Location::File(PathBuf::from(given))),
    }
}

/// For verbs that need them.
pub(super) fn no_source() -> Failure {
    usage(
        "nothing says where the migrations are",
        "give SOURCE as s3://bucket/key of a prisma.zip, or as a local zip file, or as a local folder (s3:// also by ARTIFACT_BUCKET and \
         PRISMA_ARTIFACT_KEY)",
    )
}
