//! A history is on disk, and in the zip, what was put into it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Cursor, Read};

use harness::history::{History, Layout};
use zip::ZipArchive;

fn history() -> History {
    History::new()
        .migration("20240101000000_init", "SELECT 1;")
        .migration("2", "SELECT 2;")
        .raw("migrations/read me.md", "x")
}

/// The names and contents, by name; directories have none.
fn unzip(bytes: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        entries.push((file.name().unwrap().to_string(), content));
    }
    entries.sort();
    entries
}

#[test]
fn on_disk() {
    let history = history().remove("2");
    let script = std::fs::read(history.folder().join("migrations/20240101000000_init/migration.sql")).unwrap();
    assert_eq!(script, b"SELECT 1;");
    assert!(!history.migrations().join("2").exists() && history.migrations().join("read me.md").exists());
    assert!(
        history.folder().join("schema.prisma").exists() && history.migrations().join("migration_lock.toml").exists()
    );
}

#[test]
fn in_every_layout_of_the_zip() {
    for (layout, prefix) in [
        (Layout::Folder, "prisma/"),
        (Layout::Project, "prisma/"),
        (Layout::Root, ""),
    ] {
        let entries = unzip(history().zip(layout));
        for (path, content) in [
            ("migrations/2/migration.sql", "SELECT 2;"),
            ("migrations/read me.md", "x"),
        ] {
            let wanted = (format!("{prefix}{path}"), content.as_bytes().to_vec());
            assert!(entries.contains(&wanted), "{layout:?}: {entries:?}");
        }
        let others = entries.iter().filter(|(name, _)| !name.starts_with(prefix)).count();
        let directories = entries.iter().filter(|(name, _)| name.ends_with('/')).count();
        // Project: package.json, two files of __MACOSX and four of node_modules; migrations/ and its two directories.
        assert_eq!(
            (others, directories),
            if layout == Layout::Project { (7, 3) } else { (0, 0) },
            "{layout:?}"
        );
    }
}
