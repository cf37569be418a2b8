//! Where migrations come from: an object in S3, a zip file or a folder.
//!
//! [`load`] reads everything that a run needs before anything else happens: the migrations folder is found, every script in it is read into memory, the
//! lock file is checked. Nothing is written to disk.

pub mod archive;
pub mod decide;
mod error;
pub mod folder;
pub mod foreign;
pub mod layout;
pub mod lock_file;
pub mod project;
pub mod s3;
pub mod seed;
mod source;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

pub use error::{ArtifactError, Cause};
pub use source::{Source, SourceError};

use crate::migration::{Migration, case, hex, order};
use foreign::Tool;
use layout::LayoutError;
use lock_file::{LockFile, LockFileError};
use project::{Datasource, Project};
use s3::failure::S3Error;

/// How often an object is begun that is replaced while it is being read.
const S3_TRIES: u32 = 3;

/// Limits against hostile or mistaken artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What one entry of a zip may inflate to, in bytes.
    pub entry_bytes: u64,
    /// What the entries that are read from a zip may inflate to together, in bytes.
    pub total_bytes: u64,
    /// How many times its compressed size an entry may inflate to, once it is larger than [`Limits::RATIO_FROM`].
    pub ratio: u64,
    /// How many entries a zip may have, those outside the migrations folder included.
    pub entries: u64,
}

impl Limits {
    /// The defaults of the flags. All scripts are held in memory, and while one is sent, the largest up to four times more: measured 202 MiB for one
    /// script of 64 MiB, 449 MiB for sixteen of 16 MiB, 553 MiB for four of 64 MiB, of which statements of 100 bytes each cost
    /// 120 MiB. Deflated, schema changes shrink to a third at most, generated rows to a twelfth, rows that are all the same to a 411th; zeros, the
    /// simplest bomb, to a 1,029th. `node_modules` has tens of thousands of files.
    pub const DEFAULT: Limits = Limits {
        entry_bytes: 64 << 20,
        total_bytes: 256 << 20,
        ratio: 500,
        entries: 500_000,
    };

    /// An entry of up to this size is no bomb, however well it was compressed, in bytes.
    pub const RATIO_FROM: u64 = 1 << 20;

    /// What is read of an object in S3 at most, in bytes; the object itself may be of any size. The directory is read twice, with 512 bytes for an entry,
    /// and the migrations once, as if nothing were compressed; 64 MiB is for what lies between. An honest archive stays far below it; one that is built
    /// to be searched from end to end does not cost more than this.
    pub fn fetched_bytes(&self) -> u64 {
        let directory = self.entries.saturating_mul(2 * 512);
        directory.saturating_add(self.total_bytes).saturating_add(64 << 20)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The migrations of a source, and what is to be said of them.
#[derive(Debug)]
pub struct Artifact {
    /// In the order in which they are applied.
    pub migrations: Vec<Migration>,
    /// The migrations folder as it was found, for messages: within a zip relative to its root (`.` is the root), else with the folder that was given.
    pub migrations_path: String,
    /// What was read.
    pub origin: Origin,
    /// What `migration_lock.toml` says.
    pub lock_file: LockFile,
    /// What a new database is filled with.
    pub seed: Option<seed::Seed>,
    /// What the project's own files say of the database.
    pub datasource: Datasource,
    /// What the user should hear of.
    pub warnings: Vec<String>,
}

impl Artifact {
    /// Lower-case hex SHA-256 over the name and the checksum of every migration in order: the same for two artifacts with the same history, however they
    /// are packed.
    pub fn sha256(&self) -> String {
        let mut digest = Sha256::new();
        for migration in &self.migrations {
            let checksum = migration.script.checksum().unwrap_or_default();
            digest.update(format!("{}\0{checksum}\n", migration.name));
        }
        hex(&digest.finalize())
    }
}

/// What was read, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// An object in S3.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The object's key.
        key: String,
        /// The version that was read, in a bucket with versioning.
        version_id: Option<String>,
        /// The etag that was read, with its quotes.
        etag: Option<String>,
        /// In bytes.
        size: u64,
    },
    /// A zip file.
    Zip {
        /// As it was given.
        path: PathBuf,
        /// In bytes.
        size: u64,
    },
    /// A folder.
    Folder {
        /// As it was given.
        path: PathBuf,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Zip { path, .. } | Origin::Folder { path } => write!(f, "{}", path.display()),
            Origin::S3 {
                bucket,
                key,
                version_id,
                etag,
                ..
            } => Source::S3(s3::Address {
                bucket: bucket.clone(),
                key: key.clone(),
                version_id: version_id.clone(),
                etag: etag.clone(),
            })
            .fmt(f),
        }
    }
}

/// Reads the migrations of a source. `migrations_path` is `--migrations-path`, relative to the source's root; without it the folder is searched for.
///
/// # Errors
/// See [`ArtifactError`]. A script that is missing or cannot be sent is no error here: ask [`Migration::text`] of the pending ones.
pub async fn load(source: &Source, migrations_path: Option<&str>, limits: &Limits) -> Result<Artifact, ArtifactError> {
    let loaded = load_from(source.clone(), migrations_path.map(str::to_owned), *limits).await;
    loaded.map_err(|cause| ArtifactError {
        artifact: Box::new(source.clone()),
        cause,
    })
}

async fn load_from(source: Source, wanted: Option<String>, limits: Limits) -> Result<Artifact, Cause> {
    let read = match source {
        Source::S3(address) => return from_s3(address, wanted, limits).await,
        Source::Zip(path) => spawn_blocking(move || from_zip(path, wanted.as_deref(), &limits)),
        Source::Folder(path) => spawn_blocking(move || from_folder(path, wanted.as_deref())),
    };
    // Reading and inflating block, and meanwhile a signal to stop must be heard: hence the thread.
    match read.await {
        Ok(read) => read,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Where the user has named no version and no etag, a newer upload in the middle is as good as the object that was begun: it is read from its beginning.
async fn from_s3(address: s3::Address, wanted: Option<String>, limits: Limits) -> Result<Artifact, Cause> {
    let s3 = s3::S3::of_environment().await?;
    for _ in 1..S3_TRIES {
        match from_object(&s3, &address, wanted.clone(), limits).await {
            Err(Cause::S3(S3Error::Replaced)) => {
                tracing::warn!("the artifact was replaced by a newer upload while it was being read: reading that one");
            }
            read => return read,
        }
    }
    from_object(&s3, &address, wanted, limits).await
}

async fn from_object(
    s3: &s3::S3,
    address: &s3::Address,
    wanted: Option<String>,
    limits: Limits,
) -> Result<Artifact, Cause> {
    let object = s3.find(address, limits.fetched_bytes()).await?;
    let origin = Origin::S3 {
        bucket: address.bucket.clone(),
        key: address.key.clone(),
        version_id: object.version_id.clone(),
        etag: object.etag.clone(),
        size: object.size,
    };
    let contents = s3::read(object, move |reader| archive::read(reader, wanted.as_deref(), &limits)).await??;
    from_archive(origin, contents)
}

fn from_zip(path: PathBuf, wanted: Option<&str>, limits: &Limits) -> Result<Artifact, Cause> {
    let file = File::open(&path).map_err(Cause::File)?;
    let size = file.metadata().map_err(Cause::File)?.len();
    let contents = archive::read(BufReader::new(file), wanted, limits)?;
    from_archive(Origin::Zip { path, size }, contents)
}

/// Reads the migrations of a zip in memory. `path`: what it is called.
///
/// # Errors
/// See [`Cause`].
#[cfg(feature = "client")]
pub fn of_bytes(path: &str, zip: &[u8], wanted: Option<&str>, limits: &Limits) -> Result<Artifact, Cause> {
    let contents = archive::read(std::io::Cursor::new(zip), wanted, limits)?;
    let origin = Origin::Zip {
        path: path.into(),
        size: zip.len() as u64,
    };
    from_archive(origin, contents)
}

fn from_archive(origin: Origin, contents: archive::Contents) -> Result<Artifact, Cause> {
    finish(Found {
        origin,
        migrations_path: layout::shown(&contents.folder),
        migrations: contents.migrations,
        lock_file: contents.lock_file,
        seed: contents.seed,
        project: contents.project,
        warnings: Vec::new(),
    })
}

fn from_folder(path: PathBuf, wanted: Option<&str>) -> Result<Artifact, Cause> {
    let contents = folder::read(&path, wanted)?;
    finish(Found {
        origin: Origin::Folder { path },
        migrations_path: contents.folder.display().to_string(),
        migrations: contents.migrations,
        lock_file: contents.lock_file,
        seed: contents.seed,
        project: contents.project,
        warnings: contents.warnings,
    })
}

/// What was found, before it was looked at.
struct Found {
    origin: Origin,
    migrations_path: String,
    migrations: Vec<Migration>,
    lock_file: Option<Vec<u8>>,
    seed: Option<seed::Seed>,
    project: Project,
    warnings: Vec<String>,
}

fn finish(found: Found) -> Result<Artifact, Cause> {
    let Found {
        origin,
        migrations_path,
        mut migrations,
        lock_file,
        seed,
        project,
        mut warnings,
    } = found;
    let lock_file = match lock_file {
        None => LockFile::Missing,
        Some(content) => LockFile::parse(&content)?,
    };
    if let Some((file, provider)) = project
        .provider
        .filter(|(_, provider)| !lock_file::is_postgres(provider))
    {
        return Err(LockFileError::Schema { file, provider }.into());
    }
    let is_drizzle = |migration: &Migration| migration.script.text().is_ok_and(foreign::is_drizzle_script);
    if lock_file == LockFile::Missing && migrations.iter().any(is_drizzle) {
        let (folder, tool) = (migrations_path, Tool::Drizzle);
        return Err(LayoutError::Foreign { folder, tool }.into());
    }
    order::sort(&mut migrations);
    case::mark(&mut migrations);
    // Here, while the database is being connected to.
    for migration in &migrations {
        migration.script.checksum();
    }
    if migrations.is_empty() {
        warnings.push(format!(
            "the migrations folder {migrations_path} is empty or missing: there is nothing to apply"
        ));
    }
    warnings.extend(project.warnings);
    Ok(Artifact {
        migrations,
        migrations_path,
        origin,
        lock_file,
        seed,
        datasource: project.datasource,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    async fn loaded(source: &Source) -> Result<Artifact, ArtifactError> {
        load(source, None, &Limits::default()).await
    }

    #[tokio::test]
    async fn a_folder_and_a_zip_of_it_are_the_same_artifact() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("prisma.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for name in ["10_b", "1_a", "B_x", "a_x"] {
            let inside = format!("prisma/migrations/{name}/migration.sql");
            zip.start_file(&inside, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(name.as_bytes()).unwrap();
            fs::create_dir_all(root.path().join(&inside).parent().unwrap()).unwrap();
            fs::write(root.path().join(&inside), name).unwrap();
        }
        zip.finish().unwrap();

        let zipped = loaded(&Source::Zip(path.clone())).await.unwrap();
        let unpacked = loaded(&Source::Folder(root.path().into())).await.unwrap();
        let names: Vec<&str> = zipped
            .migrations
            .iter()
            .map(|migration| migration.name.as_str())
            .collect();
        assert_eq!(names, ["1_a", "10_b", "a_x", "B_x"]);
        assert_eq!(
            (&zipped.migrations, zipped.sha256()),
            (&unpacked.migrations, unpacked.sha256())
        );
        assert_eq!(zipped.migrations_path, "prisma/migrations");
        assert_eq!(zipped.lock_file, LockFile::Missing);
        let size = fs::metadata(&path).unwrap().len();
        assert_eq!(zipped.origin, Origin::Zip { path, size });
        assert!(zipped.warnings.is_empty());
    }

    #[tokio::test]
    async fn no_migrations_are_a_warning_and_another_provider_an_error() {
        let root = tempfile::tempdir().unwrap();
        let source = Source::Folder(root.path().into());
        fs::write(root.path().join("schema.prisma"), "").unwrap();
        let empty = loaded(&source).await.unwrap();
        assert!(empty.migrations.is_empty());
        assert!(
            empty.warnings[0].contains("is empty or missing"),
            "{:?}",
            empty.warnings
        );

        fs::create_dir(root.path().join("migrations")).unwrap();
        fs::write(
            root.path().join("migrations/migration_lock.toml"),
            "provider = \"mysql\"",
        )
        .unwrap();
        let error = loaded(&source).await.unwrap_err();
        assert_eq!(
            (error.exit(), error.prisma_code()),
            (crate::exit::Exit::History, Some("P3019"))
        );
    }

    #[tokio::test]
    async fn a_zip_that_is_not_there_is_named() {
        let error = loaded(&Source::Zip("not/there.zip".into())).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("not/there.zip: the file could not be opened"),
            "{error}"
        );
        assert_eq!(error.exit(), crate::exit::Exit::Artifact);
    }
}
