//! Hostile and broken archives, through the real binary: each is refused in one sentence that says which entry and why, and nothing was written.

mod build;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use harness::postgres::{Database, Server};
use harness::s3::S3;
use harness::tool::Call;
use prisma_migrate_task::artifact::{Limits, archive};

use crate::migrate;
use build::{A, B, Zip};

/// The archives, by what is wrong with them, and what the sentence says.
fn refused() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let spaces = " ".repeat(2 << 20);
    let named = |name: &str| Zip::new().file(A, "SELECT 1").file(name, "SELECT 2").bytes();
    let both = || Zip::new().file(A, "SELECT 1").file(B, "SELECT 2");
    let page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body></body></html>";
    let denied = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    vec![
        (
            "slip",
            named("../prisma/migrations/2_b/migration.sql"),
            vec!["../prisma/migrations/2_b", "holds \"..\""],
        ),
        (
            "absolute",
            named("/prisma/migrations/2_b/migration.sql"),
            vec!["/prisma/migrations/2_b", "is absolute"],
        ),
        (
            "backslash",
            named("prisma\\migrations\\2_b\\migration.sql"),
            vec!["2_b", "holds a backslash"],
        ),
        (
            "linked folder",
            Zip::new()
                .file(A, "SELECT 1")
                .link("prisma/migrations/2_b", "1_a")
                .bytes(),
            vec!["prisma/migrations/2_b is a symbolic link"],
        ),
        (
            "linked script",
            Zip::new().file(A, "SELECT 1").link(B, "../1_a/migration.sql").bytes(),
            vec!["2_b", "migration.sql is a symbolic link"],
        ),
        (
            "linked lock file",
            Zip::new()
                .file(A, "SELECT 1")
                .link("prisma/migrations/migration_lock.toml", "x")
                .bytes(),
            vec!["migration_lock.toml is a symbolic link"],
        ),
        ("duplicate", both().rename(B, A).bytes(), vec![A, "is in it twice"]),
        (
            "file and folder",
            Zip::new()
                .file(A, "SELECT 1")
                .file("prisma/migrations/1_a/migration.sql/x", "")
                .bytes(),
            vec!["1_a/migration.sql is in it twice"],
        ),
        (
            "case of a folder",
            named("prisma/migrations/1_A/migration.sql"),
            vec!["1_A", "1_a", "differ in case only"],
        ),
        (
            "case of a script",
            named("prisma/migrations/1_a/Migration.SQL"),
            vec!["1_a", "migration.sql and Migration.SQL differ in case only"],
        ),
        ("encrypted", both().central(B, 8, &[1]).bytes(), vec![B, "is encrypted"]),
        (
            "compression",
            both().central(B, 10, &[14]).bytes(),
            vec![B, "none of stored, deflate and zstd"],
        ),
        (
            "checksum",
            both().central(B, 16, &[1, 2, 3, 4]).bytes(),
            vec![B, "is damaged", "checksum"],
        ),
        (
            "size too small",
            both().central(B, 24, &[3]).bytes(),
            vec![B, "is damaged"],
        ),
        (
            "size too large",
            both().central(B, 24, &[200]).bytes(),
            vec![B, "is damaged", "200"],
        ),
        (
            "data too short",
            both().central(B, 20, &[2]).bytes(),
            vec![B, "is damaged"],
        ),
        (
            "data too long",
            both().central(B, 20, &[250]).bytes(),
            vec![B, "overlap those of the directory"],
        ),
        (
            "overlap",
            both().central(A, 20, &[60]).bytes(),
            vec![A, "overlap those of", B],
        ),
        (
            "the same data twice",
            both().central(B, 42, &[0]).bytes(),
            vec!["the data of", A, B, "overlap"],
        ),
        (
            "other name",
            both().local(B, 30, b"q").bytes(),
            vec![B, "is called \"qrisma/"],
        ),
        (
            "not where it should be",
            both().central(B, 42, &[1]).bytes(),
            vec!["overlap"],
        ),
        (
            "bomb",
            Zip::new().file(A, &spaces).bytes(),
            vec![A, "more than 500 times its"],
        ),
        (
            "comment",
            both().comment(&Zip::new().file(A, "SELECT 3").bytes()).bytes(),
            vec!["its comment looks like a second end"],
        ),
        (
            "bytes behind",
            [both().bytes(), b"more".to_vec()].concat(),
            vec!["bytes stand behind its end"],
        ),
        (
            "hidden entry",
            both().entries(1).bytes(),
            vec!["more than the 1 entries that its end promises"],
        ),
        (
            "entry missing",
            both().entries(3).bytes(),
            vec!["its directory is damaged"],
        ),
        (
            "half",
            {
                let whole = both().bytes();
                whole[..whole.len() / 2].to_vec()
            },
            vec!["not a zip", "cut off"],
        ),
        (
            "empty zip",
            Zip::new().bytes(),
            vec!["no migrations folder was found", "it is empty"],
        ),
        ("empty file", Vec::new(), vec!["not a zip", "0 bytes"]),
        ("tar", tar, vec!["not a zip", "tar archive"]),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), vec!["not a zip", "gzip"]),
        ("page", page.into(), vec!["not a zip", "HTML page (\"Sign in\")"]),
        (
            "S3's error",
            denied.into(),
            vec!["not a zip", "error document of S3 (AccessDenied)"],
        ),
    ]
}

#[track_caller]
fn assert_refused(class: &str, call: Call, database: &Database, says: &[&str]) {
    let run = call.run().expect(40);
    let failure = &run.report.as_ref().unwrap()["failure"];
    let what = failure["what"].as_str().unwrap();
    let whole = format!("{} {what}", failure["migration"]);
    assert!(
        says.iter().all(|part| whole.contains(part)),
        "{class}: {says:?} is not in: {whole}"
    );
    assert!(
        failure["state"].as_str().unwrap().starts_with("nothing was changed"),
        "{class}"
    );
    assert!(!failure["next"].as_str().unwrap().is_empty(), "{class}");
    assert!(!database.has_ledger(), "{class}: the database was touched\n{run}");
}

#[test]
fn each_is_refused_in_a_sentence_and_nothing_is_written() {
    let database = Server::shared().database();
    for (class, bytes, says) in refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prisma.zip");
        fs::write(&path, bytes).unwrap();
        let call = migrate().deploy(&path).database(&database).env("TMPDIR", folder.path());
        assert_refused(class, call, &database, &says);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "{class}: a file was written"
        );
    }
}

#[test]
fn from_s3_the_same_is_said() {
    let (s3, database) = (S3::start(), Server::shared().database());
    let classes = [
        "slip",
        "overlap",
        "bomb",
        "comment",
        "half",
        "empty file",
        "page",
        "S3's error",
    ];
    for (class, bytes, says) in refused().into_iter().filter(|(class, ..)| classes.contains(class)) {
        s3.put("artifacts", "prisma.zip", bytes);
        let call = migrate()
            .deploy("s3://artifacts/prisma.zip")
            .s3(&s3)
            .database(&database);
        assert_refused(class, call, &database, &says);
    }
}

#[test]
fn a_limit_is_named_and_can_be_raised() {
    // Lines that differ, so that they are no bomb.
    let lines = |count: u64| -> String {
        (0..count)
            .map(|n| format!("-- {:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect()
    };
    let spaces = format!("SELECT 1{}", " ".repeat(2 << 20));
    let table = [
        (
            Zip::new().file(A, &lines(2000)),
            "--max-entry-size",
            ("10kB", "1MiB"),
            "more than the limit of 10000 bytes for one entry",
        ),
        (
            Zip::new().file(A, &lines(700)).file(B, &lines(700)),
            "--max-total-size",
            ("20000", "64kB"),
            "2_b/migration.sql its migrations inflate to more than the limit of 20000 bytes",
        ),
        (
            Zip::new().file(A, &spaces),
            "--max-ratio",
            ("200", "2000"),
            "more than 200 times its",
        ),
        (
            Zip::new().file(A, "SELECT 1").file(B, "SELECT 1"),
            "--max-entries",
            ("1", "2"),
            "2 entries, more than the limit of 1",
        ),
    ];
    for (zip, flag, (low, enough), says) in table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prisma.zip");
        fs::write(&path, zip.bytes()).unwrap();
        let database = Server::shared().database();
        let call = || migrate().deploy(&path).database(&database);
        let variable = flag.trim_start_matches('-').to_uppercase().replace('-', "_");
        assert_refused(flag, call().env(variable, low), &database, &[says]);
        let run = call().arg(flag).arg(low).run().expect(40);
        let next = run.report.as_ref().unwrap()["failure"]["next"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(next.contains(flag), "{flag}: {next}");
        call().arg(flag).arg(enough).run().expect(0);
    }
}

#[test]
fn what_honest_programs_write_is_read() {
    let many = (0..66_000).fold(Zip::new(), |zip, n| zip.file(&format!("node_modules/{n}"), ""));
    let rows = "INSERT INTO row VALUES ('one like all others');\n".repeat(40_000);
    let table = [
        (
            "rows that are all the same",
            Zip::new()
                .best()
                .file(A, &format!("CREATE TEMP TABLE row (text text);\n{rows}"))
                .bytes(),
        ),
        ("stored", Zip::new().stored().file(A, "SELECT 1").bytes()),
        ("deflate", Zip::new().file(A, "SELECT 1").bytes()),
        ("zstd", Zip::new().zstd().file(A, "SELECT 1").bytes()),
        ("zip64 sizes", Zip::new().large().file(A, "SELECT 1").bytes()),
        ("zip64 entries", many.file(A, "SELECT 1").bytes()),
        ("data descriptors", build::streamed(A, "SELECT 1")),
        (
            "a comment",
            Zip::new().file(A, "SELECT 1").comment(b"made by hand").bytes(),
        ),
        (
            "an archive inside",
            Zip::new()
                .file(A, "SELECT 1")
                .stored()
                .raw("fixtures.zip", &Zip::new().file(B, "").bytes())
                .bytes(),
        ),
        (
            "a program in front",
            [b"#!/bin/sh\nexit\n".to_vec(), Zip::new().file(A, "SELECT 1").bytes()].concat(),
        ),
    ];
    for (class, bytes) in table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prisma.zip");
        fs::write(&path, bytes).unwrap();
        let database = Server::shared().database();
        let run = migrate().deploy(&path).database(&database).run();
        assert_eq!(run.code, 0, "{class}\n{run}");
        assert_eq!(database.ledger().len(), 1, "{class}");
    }
}

/// Names that differ in case only are two migrations on Linux, where Prisma applies both: once they are applied they stop nothing.
#[test]
fn twins_that_are_applied_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prisma.zip");
    let database = Server::shared().database();
    let twin = "prisma/migrations/1_A/migration.sql";
    for name in [A, twin] {
        fs::write(&path, Zip::new().file(name, "SELECT 1").bytes()).unwrap();
        migrate().deploy(&path).database(&database).run().expect(0);
    }
    fs::write(
        &path,
        Zip::new()
            .file(A, "SELECT 1")
            .file(twin, "SELECT 1")
            .file(B, "SELECT 2")
            .bytes(),
    )
    .unwrap();
    migrate().deploy(&path).database(&database).run().expect(0);
    assert_eq!(database.ledger().len(), 3);
}

/// Wherever it is cut off, whichever byte of it is another: no panic, and never a script that is not the one that was packed.
#[test]
fn no_cut_and_no_changed_byte_is_taken_for_another_script() {
    let whole = Zip::new().file(A, "SELECT 1").zstd().file(B, "SELECT 2").bytes();
    let read = |bytes: &[u8]| archive::read(Cursor::new(bytes), None, &Limits::DEFAULT);
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            let Ok(contents) = read(&changed) else { continue };
            for text in contents
                .migrations
                .iter()
                .filter_map(|migration| migration.script.text().ok())
            {
                assert!(
                    matches!(text, "SELECT 1" | "SELECT 2"),
                    "bit {bit} of byte {at}: {text:?}"
                );
            }
        }
    }
}

/// The seeds of the fuzz target are these archives: written anew where they differ, which fails once.
#[test]
fn the_seeds_of_the_fuzz_target_are_these_archives() {
    let honest = [
        (
            "honest",
            Zip::new()
                .file(A, "SELECT 1")
                .zstd()
                .file(B, "SELECT 2")
                .comment(b"x")
                .bytes(),
        ),
        ("streamed", build::streamed(A, "SELECT 1")),
        (
            "zip64",
            Zip::new()
                .stored()
                .large()
                .file("migrations/migration_lock.toml", "provider = \"postgresql\"")
                .bytes(),
        ),
    ];
    let hostile = refused()
        .into_iter()
        .filter(|(_, bytes, _)| (1..4000).contains(&bytes.len()));
    let seeds = hostile.map(|(class, bytes, _)| (class, bytes)).chain(honest);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/archive");
    let mut written = Vec::new();
    for (class, bytes) in seeds {
        let path = folder.join(class.replace([' ', '\''], "-"));
        if fs::read(&path).ok().as_ref() != Some(&bytes) {
            fs::write(&path, bytes).unwrap();
            written.push(class);
        }
    }
    assert!(
        written.is_empty(),
        "not as they are built here, and written anew: commit {written:?}"
    );
}
