use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A folder with these files; a path that ends in a slash is an empty directory.
fn folder_of(paths: &[(&str, &[u8])]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in paths {
        let full = root.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
        } else {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(full, content).unwrap();
        }
    }
    root
}

fn scripts(contents: &Contents) -> Vec<(&str, Result<&str, &Defect>)> {
    let mut scripts: Vec<_> = contents
        .migrations
        .iter()
        .map(|m| (m.name.as_str(), m.script.text()))
        .collect();
    scripts.sort_by_key(|(name, _)| *name);
    scripts
}

#[test]
fn a_project_its_prisma_folder_and_the_migrations_folder_give_the_same() {
    let root = folder_of(&[
        ("package.json", b"{}"),
        ("node_modules/x/migrations/1/migration.sql", b"no"),
        ("prisma/schema.prisma", b""),
        ("prisma/migrations/migration_lock.toml", b"provider = \"postgresql\""),
        ("prisma/migrations/1_a/migration.sql", b"SELECT 1"),
        ("prisma/migrations/1_a/tests/x/migration.sql", b"no"),
        ("prisma/migrations/.hidden/migration.sql", b"SELECT 2"),
        ("prisma/migrations/2_none/README.md", b""),
        ("prisma/migrations/3_folder/migration.sql/", b""),
        ("prisma/migrations/4_latin/migration.sql", b"caf\xe9"),
        ("prisma/migrations/a_file", b""),
    ]);
    symlink("1_a", root.path().join("prisma/migrations/9_link")).unwrap();
    for (folder, wanted) in [
        ("", None),
        ("prisma", None),
        ("prisma/migrations", None),
        ("", Some("prisma/migrations")),
        ("prisma", Some("./migrations/")),
        ("prisma/migrations", Some(".")),
    ] {
        let contents = read(&root.path().join(folder), wanted).unwrap();
        assert_eq!(
            scripts(&contents),
            [
                (".hidden", Ok("SELECT 2")),
                ("1_a", Ok("SELECT 1")),
                ("2_none", Err(&Defect::Missing)),
                ("3_folder", Err(&Defect::NotAFile)),
                ("4_latin", Err(&Defect::NotUtf8 { offset: 3 })),
            ],
            "{folder:?} {wanted:?}"
        );
        assert!(contents.lock_file.is_some());
        assert!(contents.folder.canonicalize().unwrap().ends_with("prisma/migrations"));
    }
}

#[test]
fn only_hidden_migrations_are_found_too() {
    let root = folder_of(&[("prisma/migrations/.hidden/migration.sql", b"SELECT 1")]);
    assert_eq!(
        scripts(&read(root.path(), None).unwrap()),
        [(".hidden", Ok("SELECT 1"))]
    );
}

#[test]
fn a_schema_alone_has_no_migrations() {
    for more in ["prisma/migrations/", "prisma/other/"] {
        let root = folder_of(&[("prisma/schema.prisma", b""), (more, b"")]);
        let contents = read(root.path(), None).unwrap();
        assert!(contents.migrations.is_empty() && contents.folder.ends_with("prisma/migrations"));
    }
    let root = folder_of(&[("migrations/", b"")]);
    assert!(
        read(&root.path().join("migrations"), None)
            .unwrap()
            .migrations
            .is_empty()
    );
}

#[test]
fn a_link_is_followed_only_where_it_is_named() {
    let root = folder_of(&[("real/1_a/migration.sql", b"SELECT 1"), ("prisma/schema.prisma", b"")]);
    symlink("../real", root.path().join("prisma/migrations")).unwrap();
    symlink("..", root.path().join("prisma/loop")).unwrap();
    let prisma = root.path().join("prisma");
    assert!(matches!(
        read(&prisma, None),
        Err(FolderError::Layout(LayoutError::Symlink(_)))
    ));
    assert_eq!(
        scripts(&read(&prisma, Some("migrations")).unwrap()),
        [("1_a", Ok("SELECT 1"))]
    );
}

#[test]
fn hidden_folders_are_used_if_they_are_named_and_told_of_if_not() {
    let root = folder_of(&[
        ("prisma/schema.prisma", b"datasource db { schemas = [\"shop\"] }"),
        (".migrations/1_a/migration.sql", b"SELECT 1"),
        (".git/migrations/1_b/migration.sql", b"SELECT 2"),
    ]);
    let error = read(root.path(), None).unwrap_err().to_string();
    assert!(error.starts_with("the only migrations are in .migrations,"), "{error}");
    let config = root.path().join("prisma.config.ts");
    fs::write(&config, "export default { migrations: { path: '.migrations' } }").unwrap();
    for wanted in [None, Some(".migrations")] {
        let contents = read(root.path(), wanted).unwrap();
        assert_eq!(scripts(&contents), [("1_a", Ok("SELECT 1"))], "{wanted:?}");
        assert_eq!(contents.project.datasource.schemas, ["shop"], "{wanted:?}");
    }
    fs::remove_file(config).unwrap();
    fs::create_dir(root.path().join(".config")).unwrap();
    let config = "module.exports = { migrations: { path: '../.migrations' } }";
    fs::write(root.path().join(".config/prisma.js"), config).unwrap();
    assert_eq!(scripts(&read(root.path(), None).unwrap()), [("1_a", Ok("SELECT 1"))]);
}

#[test]
fn what_prisma_8_keeps_in_the_folder_is_no_migration() {
    let root = folder_of(&[
        ("prisma/migrations/migration_lock.toml", b"provider = \"postgresql\""),
        ("prisma/migrations/1_a/migration.sql", b"SELECT 1"),
        ("prisma/migrations/app/2_b/migration.json", b"{}"),
        ("prisma/migrations/app/2_b/ops.json", b"[]"),
        ("prisma/migrations/snapshots/0a/contract.json", b"{}"),
    ]);
    for wanted in [None, Some("prisma/migrations")] {
        let contents = read(root.path(), wanted).unwrap();
        assert_eq!(scripts(&contents), [("1_a", Ok("SELECT 1"))], "{wanted:?}");
        let found = contents.project.datasource.prisma8;
        assert_eq!(found.as_deref(), Some("prisma/migrations/app"), "{wanted:?}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let root = folder_of(&[
        ("readme", b""),
        ("m/app/1/migration.json", b""),
        ("m/app/1/ops.json", b""),
    ]);
    let error = read(&root.path().join("nowhere"), None).unwrap_err();
    assert!(error.to_string().contains("nowhere cannot be read"), "{error}");
    let error = read(root.path(), Some("nowhere")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("nowhere is not there; at its top level: m, readme"),
        "{error}"
    );
    assert!(matches!(
        read(root.path(), Some("m")),
        Err(FolderError::Layout(LayoutError::Prisma8(_)))
    ));
}

#[test]
fn a_directory_name_that_is_not_utf8_is_an_error() {
    let root = folder_of(&[("migrations/1_a/migration.sql", b"")]);
    fs::create_dir(root.path().join("migrations").join(OsStr::from_bytes(b"2_\xe9"))).unwrap();
    let error = read(root.path(), None).unwrap_err().to_string();
    assert!(error.ends_with("2_\u{fffd} is not UTF-8"), "{error}");
}

#[test]
fn a_script_too_long_for_one_message_is_not_even_read() {
    let root = folder_of(&[("migrations/1_a/migration.sql", b"")]);
    let size = MAX_SCRIPT_BYTES + 1;
    let script = fs::File::create(root.path().join("migrations/1_a/migration.sql")).unwrap();
    // A sparse file: the size without the bytes.
    script.set_len(size).unwrap();
    let contents = read(root.path(), None).unwrap();
    assert_eq!(scripts(&contents), [("1_a", Err(&Defect::TooLong { size }))]);
}

#[test]
fn a_pipe_is_not_waited_for() {
    let root = folder_of(&[("migrations/1_a/", b"")]);
    let pipe = root.path().join("migrations/1_a/migration.sql");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    let contents = read(&root.path().join("migrations"), None).unwrap();
    assert_eq!(scripts(&contents), [("1_a", Err(&Defect::NotAFile))]);
}

#[test]
fn thousands_are_read_whole_and_each_script_stays_with_its_name() {
    let root = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..2_345).map(|n| format!("{n:05}_article")).collect();
    for name in &names {
        let folder = root.path().join("migrations").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(SCRIPT_FILE), format!("SELECT '{name}'")).unwrap();
    }
    let contents = read(root.path(), None).unwrap();
    let found = scripts(&contents);
    assert_eq!(found.len(), names.len());
    for ((found, script), name) in found.into_iter().zip(&names) {
        assert_eq!(
            (found, script),
            (name.as_str(), Ok(format!("SELECT '{name}'").as_str()))
        );
    }
}
