//! Where the migrations are, and where a report is.

use super::usage;
use crate::artifact::Source;
use crate::drift::Location;
use crate::failure::Failure;
use std::path::{Path, PathBuf};

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
        (None, Some(bucket), Some(key)) => {
            whole_bucket(&bucket)?;
            whole_key(&bucket, &key)?;
            Source::s3(bucket, key)
        }
        (None, None, None) => return Ok(project()),
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
        if address.key.contains(['\n', '\r']) {
            return Err(usage("the key of the artifact holds a line break", "take it off"));
        }
        for name in ["PRISMA_ARTIFACT_VERSION_ID", "PRISMA_ARTIFACT_ETAG"] {
            if variable(name).is_some_and(|value| value.contains(['\n', '\r'])) {
                return Err(usage(&format!("{name} holds a line break"), "take it off"));
            }
        }
        address.version_id = variable("PRISMA_ARTIFACT_VERSION_ID");
        address.etag = variable("PRISMA_ARTIFACT_ETAG");
    }
    Ok(Some(source))
}

/// The project in the working directory, where there is one with a folder `prisma`, as `upload` finds it: the project itself if it has a config file
/// of Prisma's, which may say that the migrations are elsewhere.
fn project() -> Option<Source> {
    const ENDINGS: [&str; 6] = ["ts", "js", "mjs", "cjs", "mts", "cts"];
    let is_config = |name: &str| {
        ENDINGS
            .iter()
            .any(|ending| Path::new(&format!("{name}.{ending}")).is_file())
    };
    let has_config = ["prisma.config", "prisma7.config", ".config/prisma"]
        .into_iter()
        .any(is_config);
    let folder = if has_config { "." } else { "./prisma" };
    Path::new("prisma").is_dir().then(|| Source::Folder(folder.into()))
}

/// A bucket's name: no ARN, no URL, no path.
fn whole_bucket(bucket: &str) -> Result<(), Failure> {
    let next = "give the bucket's name alone, such as my-artifacts";
    // The ARN of an access point is a bucket to S3 itself.
    let what = if bucket.starts_with("arn:") && !bucket.contains(":accesspoint/") {
        "is an ARN"
    } else if bucket.contains("://") {
        "is a URL"
    } else if bucket.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "holds a space or a line break"
    } else if bucket.contains('/') && !bucket.starts_with("arn:") {
        "holds a slash"
    } else {
        return Ok(());
    };
    Err(usage(
        &format!("ARTIFACT_BUCKET {what}, and not the name of a bucket"),
        next,
    ))
}

/// A key: no URL, no ARN, no line break.
fn whole_key(bucket: &str, key: &str) -> Result<(), Failure> {
    let (what, next) = if key.contains(['\n', '\r']) {
        ("holds a line break", "take it off".to_owned())
    } else if key.starts_with("arn:") {
        (
            "is an ARN",
            "give the key alone, what is behind the bucket's name".to_owned(),
        )
    } else if key.contains("://") {
        (
            "is a URL",
            format!("give the key alone, what is behind s3://{bucket}/, or the whole URL as SOURCE"),
        )
    } else {
        return Ok(());
    };
    Err(usage(
        &format!("PRISMA_ARTIFACT_KEY {what}, and not the key of an object"),
        &next,
    ))
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
         PRISMA_ARTIFACT_KEY); or start it where there is a folder prisma",
    )
}
