//! `prisma.zip` out of a project: what a deploy needs and nothing else, and the same bytes for the same files.
//!
//! Whatever the folder is called and wherever it lies, the zip holds `prisma/migrations`, and beside it the schema and the seed, as Prisma lays them
//! out. Of a config file it holds what a deploy needs, in a file of its own: the paths in the project's would be wrong there. Names are sorted, times and modes fixed, and no entry has an extra field, so that two builds of one commit upload one and the same object.

use crate::artifact::project::Project;
use crate::artifact::{self, ArtifactError, Limits, Source, folder, layout, seed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::migration::{Defect, Migration, SCRIPT_FILE};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Component, Path};
use tokio::task::spawn_blocking;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Where Prisma keeps migrations in a project.
const MIGRATIONS: &str = "prisma/migrations";
/// The config file that is made for the zip.
const CONFIG: &str = "prisma.config.mjs";
/// The same for everybody, whatever the library's default is.
const LEVEL: i64 = 6;
/// What state a failure of this leaves.
pub(super) const NOT_UPLOADED: &str = "nothing was uploaded, and nothing was changed";

/// A `prisma.zip`, and what it holds.
#[derive(Debug)]
pub struct Packed {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The migrations folder in it.
    pub migrations_path: String,
    /// How many migrations it holds.
    pub migrations: usize,
    /// As [`artifact::Artifact::sha256`].
    pub migrations_sha256: String,
    /// What the user should hear of.
    pub warnings: Vec<String>,
}

/// Packs the migrations of a folder. What a deploy would refuse whatever the database says is refused here, in the same words.
///
/// # Errors
/// The folder, a migration in it or the lock file cannot be used.
pub async fn pack(root: &Path, wanted: Option<&str>) -> Result<Packed, Failure> {
    let source = Source::Folder(root.to_owned());
    let found = artifact::load(&source, wanted, &Limits::DEFAULT)
        .await
        .map_err(unusable)?;
    let mut warnings = found.warnings.clone();
    for migration in &found.migrations {
        warnings.extend(usable(migration)?);
    }
    // A path that was asked for is one that the task's settings name too.
    let kept = wanted.and_then(plain);
    let (of, migrations_path) = (root.to_owned(), kept.clone().unwrap_or_else(|| MIGRATIONS.to_owned()));
    let (wanted, inside) = (wanted.map(str::to_owned), migrations_path.clone());
    let packed = spawn_blocking(move || files(&of, wanted.as_deref(), &inside).and_then(|files| zip(&files)));
    let packed = packed.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
    let bytes = packed.map_err(|error| refused(&source, &error.to_string(), "see that all of it can be read"))?;
    // Read as the task will read it: what it finds must be what was packed.
    let read = artifact::of_bytes("prisma.zip", &bytes, kept.as_deref(), &Limits::DEFAULT).map_err(|cause| {
        unusable(ArtifactError {
            artifact: Box::new(source.clone()),
            cause,
        })
    })?;
    let of_database = |artifact: &artifact::Artifact| {
        let said = &artifact.datasource;
        let (schemas, external) = (said.schemas.clone(), said.external_tables.clone());
        (schemas, external, said.direct_url.is_some(), said.prisma8.is_some())
    };
    if read.migrations != found.migrations
        || read.lock_file != found.lock_file
        || of_database(&read) != of_database(&found)
    {
        let why = "what was packed is not what was found, so it may have changed meanwhile";
        return Err(refused(&source, why, "start again"));
    }
    Ok(Packed {
        bytes,
        migrations_path,
        migrations: found.migrations.len(),
        migrations_sha256: found.sha256(),
        warnings,
    })
}

fn unusable(error: ArtifactError) -> Failure {
    Failure::new(error.exit(), error.to_string(), error.next_step())
        .prisma(error.prisma_code())
        .state(NOT_UPLOADED)
}

fn refused(source: &Source, why: &str, next: &str) -> Failure {
    Failure::new(Exit::Artifact, format!("{source} cannot be packed: {why}"), next).state(NOT_UPLOADED)
}

/// A path that stays below the zip's root, with slashes between its parts.
fn plain(path: &str) -> Option<String> {
    let parts: Option<Vec<&str>> = Path::new(path)
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join("/"))
}

/// Refuses what no deploy can apply; names that differ in case are refused while they are pending only, and nobody knows here what is.
fn usable(migration: &Migration) -> Result<Option<String>, Failure> {
    match migration.text() {
        Ok(_) => Ok(None),
        Err(defect @ Defect::Case { .. }) => Ok(Some(format!(
            "migration {}: {defect}; a deploy refuses it while it is pending",
            migration.name
        ))),
        Err(defect) => Err(Failure::new(Exit::Artifact, defect.to_string(), defect.next_step())
            .prisma(defect.prisma_code())
            .of(&migration.name)
            .state(NOT_UPLOADED)),
    }
}

/// The files that go into the zip, by their names in it.
fn files(root: &Path, wanted: Option<&str>, migrations: &str) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let contents = folder::read(root, wanted).map_err(io::Error::other)?;
    let mut files = BTreeMap::new();
    for migration in &contents.migrations {
        let script = contents.folder.join(&migration.name).join(SCRIPT_FILE);
        files.insert(
            format!("{migrations}/{}/{SCRIPT_FILE}", migration.name),
            fs::read(script)?,
        );
    }
    if let Some(lock_file) = contents.lock_file {
        files.insert(format!("{migrations}/{}", layout::LOCK_FILE), lock_file);
    }
    let project = &contents.project;
    // What lies beside the folder that was given is none of its own.
    if let Some(beside) = contents.folder.parent().filter(|_| contents.folder != root) {
        let prefix = layout::parent(migrations);
        let is_beside = |file: &String| root.join(file).starts_with(beside);
        if project.schema_files.iter().all(is_beside) {
            schemas(beside, prefix, &contents.folder, &mut files)?;
        }
        for file in project.schema_files.iter().filter(|file| !is_beside(file)) {
            let inside = file.strip_prefix("prisma/").unwrap_or(file);
            files.insert(layout::join(prefix, inside), fs::read(root.join(file))?);
        }
        let seed = beside.join(seed::SEED_FILE);
        if seed.is_file() {
            files.insert(layout::join(prefix, seed::SEED_FILE), fs::read(seed)?);
        }
    }
    if let Some(bundle) = &project.bundle {
        let inside = match root.join(bundle).strip_prefix(&contents.folder) {
            Ok(below) => layout::join(migrations, &below.to_string_lossy()),
            Err(_) => bundle.clone(),
        };
        for file in ["migration.json", "ops.json"] {
            files.insert(layout::join(&inside, file), fs::read(root.join(bundle).join(file))?);
        }
    }
    if project.direct_url_config.is_some() || !project.datasource.external_tables.is_empty() {
        files.insert(CONFIG.to_owned(), config(project, migrations).into_bytes());
    }
    Ok(files)
}

/// What a deploy needs of the project's config file.
fn config(project: &Project, migrations: &str) -> String {
    let mut config = json!({ "migrations": { "path": migrations } }).to_string();
    config.pop();
    if !project.datasource.external_tables.is_empty() {
        let tables = json!({ "external": project.datasource.external_tables });
        config.push_str(&format!(",\"tables\":{tables}"));
    }
    if project.direct_url_config.is_some() {
        config.push_str(",\"datasource\":{\"url\":env(\"DIRECT_URL\")}");
    }
    format!(
        "// What a deploy needs of the project's prisma.config, made by `prisma-migrate-task upload`.\nexport default {config}}};\n"
    )
}

/// The schema: one file, or several in folders of their own (Prisma's documentation, "Multi-file Prisma schema").
fn schemas(folder: &Path, name: &str, migrations: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let Ok(own) = entry.file_name().into_string() else {
            continue;
        };
        let inside = layout::join(name, &own);
        if kind.is_dir() && path != migrations && !layout::is_skipped(&own) {
            schemas(&path, &inside, migrations, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|ending| ending == "prisma") {
            files.insert(inside, fs::read(&path)?);
        }
    }
    Ok(())
}

fn zip(files: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(name, options)?;
        zip.write_all(content)?;
    }
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(root: &Path) {
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("prisma/schema.prisma", "datasource db {}");
        write("prisma/models/user.prisma", "model User {}");
        write("prisma/seed.sql", "SELECT 1;");
        write("prisma/seed.ts", "console.log(1)");
        write("prisma/notes.md", "private");
        write("prisma/node_modules/x/schema.prisma", "model Other {}");
        write("prisma/migrations/migration_lock.toml", "provider = \"postgresql\"");
        write("prisma/migrations/20240102_b/migration.sql", "SELECT 2;");
        write("prisma/migrations/20240101_a/migration.sql", "SELECT 1;");
        write("prisma/migrations/20240101_a/down.sql", "SELECT -1;");
        write("src/index.ts", "export {}");
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        (0..zip.len())
            .map(|at| zip.by_index(at).unwrap().name().unwrap().to_string())
            .collect()
    }

    #[tokio::test]
    async fn a_zip_holds_what_a_deploy_needs_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        project(root.path());
        let packed = pack(root.path(), None).await.unwrap();
        assert_eq!(
            names(&packed.bytes),
            [
                "prisma/migrations/20240101_a/migration.sql",
                "prisma/migrations/20240102_b/migration.sql",
                "prisma/migrations/migration_lock.toml",
                "prisma/models/user.prisma",
                "prisma/schema.prisma",
                "prisma/seed.sql",
            ]
        );
        assert_eq!(
            (packed.migrations, packed.migrations_path.as_str()),
            (2, "prisma/migrations")
        );
    }

    #[tokio::test]
    async fn the_same_files_are_the_same_bytes_wherever_they_lie() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        project(one.path());
        project(&other.path().join("deep/er"));
        let of = async |path: &Path| pack(path, None).await.unwrap().bytes;
        let first = of(one.path()).await;
        assert_eq!(first, of(&one.path().join("prisma")).await);
        assert_eq!(first, of(&other.path().join("deep/er")).await);
        assert_eq!(first, of(other.path()).await);
        let path = other.path().join("deep/er/prisma/schema.prisma");
        fs::write(path, "datasource other {}").unwrap();
        assert_ne!(first, of(other.path()).await);
        // Without what lies beside it.
        let alone = of(&one.path().join("prisma/migrations")).await;
        assert_eq!(names(&alone).len(), 3);
    }

    #[tokio::test]
    async fn what_a_config_file_says_holds_in_the_zip_too() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "prisma.config.ts",
            "export default { migrations: { path: 'db/pg' }, tables: { external: ['auth.users'] }, datasource: { url: env('DIRECT_URL') }, \
             secret: 'hunter2' }",
        );
        write(
            "prisma/schema.prisma",
            "datasource db { provider = \"postgresql\" schemas = [\"shop\"] }",
        );
        write("db/pg/20240101_a/migration.sql", "SELECT 1;");
        write("tools/migrations/20240101_b/migration.sql", "SELECT 2;");
        write("migrations/app/2026_c/migration.json", "{}");
        write("migrations/app/2026_c/ops.json", "[]");
        let packed = pack(root.path(), None).await.unwrap();
        assert_eq!(
            names(&packed.bytes),
            [
                "migrations/app/2026_c/migration.json",
                "migrations/app/2026_c/ops.json",
                "prisma.config.mjs",
                "prisma/migrations/20240101_a/migration.sql",
                "prisma/schema.prisma",
            ]
        );
        let read = artifact::of_bytes("prisma.zip", &packed.bytes, None, &Limits::DEFAULT).unwrap();
        let said = read.datasource;
        assert_eq!(
            (said.schemas, said.external_tables),
            (vec!["shop".to_owned()], vec!["auth.users".to_owned()])
        );
        assert_eq!(
            (said.direct_url.as_deref(), said.prisma8.as_deref()),
            (Some("prisma.config.mjs"), Some("migrations"))
        );
        assert!(!packed.bytes.windows(7).any(|at| at == b"hunter2"));
        assert!(
            packed.warnings.iter().any(|warning| warning.contains("Prisma 8")),
            "{:?}",
            packed.warnings
        );
    }

    #[tokio::test]
    async fn what_a_deploy_would_refuse_is_refused() {
        let cases: [(&str, &[u8], &str, Exit); 3] = [
            (
                "20240103_c/migration.sql",
                b"SELECT '\xff';",
                "not UTF-8",
                Exit::Artifact,
            ),
            (
                "20240103_c/readme",
                b"",
                "migration.sql is missing (P3015)",
                Exit::Artifact,
            ),
            ("migration_lock.toml", b"provider = \"mysql\"", "P3019", Exit::History),
        ];
        for (path, content, expected, exit) in cases {
            let root = tempfile::tempdir().unwrap();
            project(root.path());
            let path = root.path().join("prisma/migrations").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            let failure = pack(root.path(), None).await.unwrap_err();
            let words = expected.trim_end_matches(" (P3015)");
            assert!(failure.what.contains(words), "{failure}");
            assert_eq!(failure.exit, exit);
        }
    }
}
