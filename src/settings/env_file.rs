//! A `.env` that is there and not read: Prisma 6 reads it, so whoever comes from there wonders why nothing says where the database is.

use crate::artifact::Source;
use crate::failure::Failure;
use std::path::{Component, Path, PathBuf};

/// Names the file in a failure that says that no variable names the database.
pub(super) fn name(
    mut failure: Failure,
    source: Option<&Source>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Failure {
    let is_given = ["DATABASE_URL", "DB_HOST", "DB_SECRET_ARN"]
        .iter()
        .any(|name| variable(name).is_some());
    if is_given {
        return failure;
    }
    let mut files = vec![PathBuf::from(".env")];
    if let Some(Source::Folder(folder)) = source {
        let is_plain = !folder.components().any(|part| part == Component::ParentDir);
        let above = folder.parent().filter(|above| is_plain && *above != Path::new(""));
        files.extend(
            std::iter::once(folder.as_path())
                .chain(above)
                .map(|folder| folder.join(".env")),
        );
    }
    if let Some(file) = files.iter().find(|file| file.is_file()) {
        let file = file.display().to_string();
        // A name without a slash would be looked for in PATH.
        let path = if file.contains('/') {
            file.clone()
        } else {
            format!("./{file}")
        };
        let path = path.replace('\'', "'\\''");
        failure.next = format!(
            "{}; {file} is there and is not read: `set -a; . '{path}'; set +a` puts its variables into your shell's environment",
            failure.next
        );
    }
    failure
}
