use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

const SCRIPT: &str = "CREATE TABLE a (id int);\n";
const PATH: &str = "prisma/migrations/1_a/migration.sql";

fn deflated() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

/// A zip of these entries; a name that ends in a slash is a directory.
fn zip_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        if name.ends_with('/') {
            zip.add_directory(*name, deflated()).unwrap();
        } else {
            zip.start_file(*name, deflated()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

fn one(options: SimpleFileOptions, content: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(PATH, options).unwrap();
    zip.write_all(content).unwrap();
    zip.finish().unwrap().into_inner()
}

fn read_zip(bytes: &[u8]) -> Result<Contents, ArchiveError> {
    read(Cursor::new(bytes), None, &Limits::default())
}

fn scripts(contents: &Contents) -> Vec<(&str, Result<&str, &Defect>)> {
    let migrations = contents.migrations.iter();
    let mut scripts: Vec<_> = migrations.map(|m| (m.name.as_str(), m.script.text())).collect();
    scripts.sort_by_key(|(name, _)| *name);
    scripts
}

/// Overwrites every occurrence of a text, which must be there, by one of the same length.
fn patched(mut zip: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = (0..=zip.len() - from.len())
        .filter(|&at| zip[at..].starts_with(from))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        zip[at..at + to.len()].copy_from_slice(to);
    }
    zip
}

#[test]
fn the_migrations_of_a_zip_are_read() {
    let zip = zip_of(&[
        ("__MACOSX/prisma/migrations/._1_a", "x"),
        ("node_modules/x/migrations/1/migration.sql", "no"),
        ("prisma/", ""),
        ("prisma/schema.prisma", "x"),
        ("prisma/migrations/", ""),
        ("prisma/migrations/README.md", "x"),
        ("prisma/migrations/migration_lock.toml", "provider = \"postgresql\""),
        ("prisma/migrations/1_a/", ""),
        ("prisma/migrations/1_a/migration.sql", SCRIPT),
        ("prisma/migrations/1_a/schema.prisma", "x"),
        ("prisma/migrations/1_a/tests/migration.sql", "x"),
        ("prisma/migrations/2 b.c/migration.sql", ""),
        ("prisma/migrations/.hidden/migration.sql", "SELECT 1"),
        ("prisma/migrations/3_only_readme/README.md", "x"),
        ("prisma/migrations/4_empty/", ""),
        ("prisma/migrations/5_folder/migration.sql/x", "x"),
        ("prisma/migrations/6_é/Migration.sql", "x"),
    ]);
    let contents = read_zip(&zip).unwrap();
    assert_eq!(contents.folder, "prisma/migrations");
    assert_eq!(contents.lock_file.as_deref(), Some(&b"provider = \"postgresql\""[..]));
    assert_eq!(
        scripts(&contents),
        [
            (".hidden", Ok("SELECT 1")),
            ("1_a", Ok(SCRIPT)),
            ("2 b.c", Ok("")),
            ("3_only_readme", Err(&Defect::Missing)),
            ("4_empty", Err(&Defect::Missing)),
            ("5_folder", Err(&Defect::NotAFile)),
            ("6_é", Err(&Defect::Missing)),
        ]
    );
}

#[test]
fn a_zip_of_the_migrations_folder_itself_is_read() {
    let zip = zip_of(&[
        ("__MACOSX/._1_a", "x"),
        ("migration_lock.toml", ""),
        ("1_a/migration.sql", SCRIPT),
    ]);
    let contents = read_zip(&zip).unwrap();
    assert_eq!(
        (contents.folder.as_str(), scripts(&contents)),
        ("", vec![("1_a", Ok(SCRIPT))])
    );
}

#[test]
fn stored_deflate_and_zstd_are_understood() {
    let zstd = SimpleFileOptions::default().compression_method(CompressionMethod::Zstd);
    for options in [stored(), deflated(), zstd, deflated().large_file(true)] {
        let contents = read_zip(&one(options, SCRIPT.as_bytes())).unwrap();
        assert_eq!(scripts(&contents), [("1_a", Ok(SCRIPT))]);
    }
}

#[test]
fn links_are_never_followed() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink(PATH, "../../../secret.sql", deflated()).unwrap();
    zip.add_symlink("prisma/migrations/1_a/notes", "/etc/passwd", deflated())
        .unwrap();
    zip.add_symlink("prisma/dangling", "/nowhere", deflated()).unwrap();
    let contents = read_zip(&zip.finish().unwrap().into_inner()).unwrap();
    assert_eq!(scripts(&contents), [("1_a", Err(&Defect::Symlink))]);
}

#[test]
fn hostile_names_matter_only_inside_the_migrations_folder() {
    let hostile = ["/etc/passwd", "../../etc/passwd", "node_modules\\x", "a\0b"];
    let outside: Vec<(&str, &str)> = hostile
        .iter()
        .map(|name| (*name, "x"))
        .chain([(PATH, SCRIPT)])
        .collect();
    assert_eq!(scripts(&read_zip(&zip_of(&outside)).unwrap()), [("1_a", Ok(SCRIPT))]);

    let table = [
        ("/prisma/migrations/2_b/migration.sql", "is absolute"),
        ("prisma/migrations/2_b/../3_c/migration.sql", "holds \"..\""),
        ("prisma/x/../migrations/2_b/migration.sql", "holds \"..\""),
        ("prisma\\migrations\\2_b\\migration.sql", "holds a backslash"),
        ("prisma/migrations/2_b\0/migration.sql", "holds a NUL byte"),
    ];
    for (name, fault) in table {
        let error = read_zip(&zip_of(&[(PATH, SCRIPT), (name, "x")]))
            .unwrap_err()
            .to_string();
        assert!(error.contains(fault) && error.contains("2_b"), "{name:?}: {error}");
    }
}

#[test]
fn a_name_that_is_not_utf8_is_an_error() {
    let zip = zip_of(&[
        (PATH, SCRIPT),
        ("prisma/migrations/2_X/migration.sql", "x"),
        ("docs/Y.md", "x"),
    ]);
    let outside = patched(zip.clone(), b"docs/Y", b"docs/\xe9");
    assert!(read_zip(&outside).is_ok());
    let error = read_zip(&patched(zip, b"2_X", b"2_\xe9")).unwrap_err().to_string();
    assert_eq!(
        error,
        "the name of \"prisma/migrations/2_\u{fffd}/migration.sql\" is not UTF-8"
    );
}

#[test]
fn a_name_that_is_there_twice_is_an_error() {
    let zip = zip_of(&[
        (PATH, SCRIPT),
        ("prisma/migrations/1_b/migration.sql", "x"),
        ("x/1", ""),
        ("x/2", ""),
    ]);
    let outside = patched(zip.clone(), b"x/2", b"x/1");
    assert!(read_zip(&outside).is_ok());
    let error = read_zip(&patched(zip, b"1_b", b"1_a")).unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Duplicate(entry) if entry == PATH),
        "{error}"
    );

    let both = zip_of(&[(PATH, SCRIPT), ("prisma/migrations/1_a", "a file of the same name")]);
    assert!(matches!(read_zip(&both).unwrap_err(), ArchiveError::Duplicate(_)));
}

#[test]
fn limits_hold_against_what_is_inflated() {
    let zeros = |n| one(deflated(), &vec![b' '; n]);
    let limits = Limits {
        entry_bytes: 1000,
        total_bytes: 1500,
        entries: 3,
        ..Limits::default()
    };
    let read = |zip: &[u8]| read(Cursor::new(zip), None, &limits);
    assert!(read(&zeros(1000)).is_ok());
    assert!(matches!(
        read(&zeros(1001)).unwrap_err(),
        ArchiveError::EntrySize { limit: 1000, .. }
    ));

    let half = " ".repeat(800);
    let two = zip_of(&[
        (PATH, half.as_str()),
        ("prisma/migrations/2_b/migration.sql", half.as_str()),
    ]);
    let error = read(&two).unwrap_err();
    assert!(
        matches!(&error, ArchiveError::TotalSize { entry, .. } if entry.contains("2_b")),
        "{error}"
    );

    let four = zip_of(&[(PATH, SCRIPT), ("a", ""), ("b", ""), ("c", "")]);
    assert!(matches!(
        read(&four).unwrap_err(),
        ArchiveError::Entries { count: 4, limit: 3 }
    ));
    // What is not needed is not inflated.
    let big = "x".repeat(100_000);
    assert!(read(&zip_of(&[(PATH, SCRIPT), ("prisma/migrations/1_a/seed.sql", &big)])).is_ok());
}

#[test]
fn a_size_that_lies_is_found_out() {
    let zip = one(deflated(), &vec![b' '; 5000]);
    let lying = patched(zip, &5000u32.to_le_bytes(), &50u32.to_le_bytes());
    let limits = Limits {
        entry_bytes: 1000,
        ..Limits::default()
    };
    let error = read(Cursor::new(lying), None, &limits).unwrap_err();
    assert!(
        matches!(error, ArchiveError::EntrySize { .. } | ArchiveError::Entry { .. }),
        "{error}"
    );
}

#[test]
fn a_damaged_entry_is_named() {
    let zip = one(stored(), SCRIPT.as_bytes());
    let error = read_zip(&patched(zip, b"TABLE", b"table")).unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Entry { entry, .. } if entry == PATH),
        "{error}"
    );
}

#[test]
fn encrypted_and_unknown_compression_are_named() {
    let zip = one(stored(), SCRIPT.as_bytes());
    let central = zip.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    let flagged = |offset: usize, value: u8| {
        let mut zip = zip.clone();
        // The same field stands two bytes earlier in the local header.
        zip[offset - 2] = value;
        zip[central + offset] = value;
        read_zip(&zip).unwrap_err()
    };
    let error = flagged(8, 1);
    assert!(
        matches!(&error, ArchiveError::Encrypted(entry) if entry == PATH),
        "{error}"
    );
    let error = flagged(10, 14);
    assert!(
        matches!(&error, ArchiveError::Compression { entry, .. } if entry == PATH),
        "{error}"
    );
}

#[test]
fn what_is_no_zip_says_what_it_looks_like() {
    let zip = zip_of(&[(PATH, SCRIPT)]);
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let table: [(&[u8], &str); 9] = [
        (b"", "it is empty"),
        (&zip[..zip.len() - 30], "cut off"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (&tar, "tar archive"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"<?xml version=\"1.0\"?><Error>", "XML"),
        (b"{\"message\": 1}", "JSON"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"hello", "no zip directory"),
    ];
    for (bytes, expected) in table {
        let error = read_zip(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn padding_after_the_end_is_no_damage() {
    let zip = zip_of(&[("prisma/schema.prisma", "datasource db {}"), (PATH, SCRIPT)]);
    let mut commented = ZipWriter::new(Cursor::new(Vec::new()));
    commented.start_file(PATH, deflated()).unwrap();
    commented.write_all(SCRIPT.as_bytes()).unwrap();
    commented.set_comment("made by hand\n\n").unwrap();
    let commented = commented.finish().unwrap().into_inner();
    for whole in [zip, commented] {
        let to_block = 10_240 - whole.len() % 10_240;
        for padding in [
            vec![0],
            b"\n".to_vec(),
            b"\r\n".to_vec(),
            vec![0; 512],
            vec![0; to_block],
            vec![0; 10_240],
            vec![0; 200_000],
            [vec![0; 512], b"\n".to_vec()].concat(),
        ] {
            let length = padding.len();
            let padded = [whole.clone(), padding].concat();
            assert_eq!(scripts(&read_zip(&padded).unwrap()), [("1_a", Ok(SCRIPT))], "{length}");
        }
        for garbage in [&b"x"[..], b"\0x", b"\0\0PK", b" "] {
            let error = read_zip(&[&whole[..], garbage].concat()).unwrap_err().to_string();
            assert!(error.contains("bytes stand behind its end"), "{garbage:?}: {error}");
        }
    }
}

#[test]
fn a_second_end_cannot_hide_in_padding() {
    let (zip, other) = (zip_of(&[(PATH, SCRIPT)]), zip_of(&[(PATH, "DROP TABLE a;")]));
    for between in [0, 1, 512] {
        let padded = [&zip[..], &vec![0; between], &other[..], &[0; 512]].concat();
        match read_zip(&padded) {
            // Read as every program reads it: from the last end.
            Ok(contents) => assert_eq!(scripts(&contents), [("1_a", Ok("DROP TABLE a;"))], "{between}"),
            Err(error) => assert!(matches!(error, ArchiveError::Directory(_)), "{error}"),
        }
        let mut commented = zip.clone();
        let tail = [&other[..], &[0; 512]].concat();
        let length = u16::try_from(tail.len()).unwrap().to_le_bytes();
        let end = commented.len();
        commented[end - 2..].copy_from_slice(&length);
        let error = read_zip(&[commented, tail].concat()).unwrap_err().to_string();
        assert!(error.contains("second end"), "{error}");
    }
}

#[test]
fn the_files_of_a_project_are_read_and_within_the_limits() {
    const CONFIG: &str = "export default { migrations: { path: 'prisma/pg' }, tables: { external: ['auth.users'] } }";
    let project = [
        ("prisma.config.ts", CONFIG),
        ("prisma/pg/1_a/migration.sql", SCRIPT),
        (
            "prisma/schema.prisma",
            "datasource db { schemas = [\"shop\"] directUrl = env(\"DIRECT_URL\") }",
        ),
        ("tools/migrations/1_b/migration.sql", "DROP TABLE a"),
        (
            "node_modules/x/prisma.config.ts",
            "export default { migrations: { path: 'nowhere' } }",
        ),
    ];
    for files in [project.to_vec(), project.iter().rev().copied().collect()] {
        let contents = read_zip(&zip_of(&files)).unwrap();
        assert_eq!(contents.folder, "prisma/pg");
        assert_eq!(scripts(&contents), [("1_a", Ok(SCRIPT))]);
        let said = contents.project.datasource;
        assert_eq!(
            (said.schemas, said.external_tables),
            (vec!["shop".to_owned()], vec!["auth.users".to_owned()])
        );
        assert_eq!(said.direct_url.as_deref(), Some("prisma/schema.prisma"));
    }
    let twice = zip_of(&[&project[..], &[("prisma.config.js", CONFIG)]].concat());
    let error = read_zip(&patched(twice, b"prisma.config.js", b"prisma.config.ts")).unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Duplicate(entry) if entry == "prisma.config.ts"),
        "{error}"
    );
    let spaces = " ".repeat(2_000_000);
    let bomb = zip_of(&[&project[1..], &[("prisma.config.ts", spaces.as_str())]].concat());
    assert!(matches!(read_zip(&bomb).unwrap_err(), ArchiveError::Ratio { .. }));
    // What is too large to be one is not read, and said.
    let large = format!("// {}", "x".repeat(3 << 20));
    let contents = read_zip(&zip_of(&[("prisma.config.ts", large.as_str()), project[1]])).unwrap();
    assert!(
        contents.project.warnings[0].contains("nothing in it was used"),
        "{:?}",
        contents.project.warnings
    );
}

#[test]
fn a_zip_cut_off_anywhere_is_an_error() {
    let zip = zip_of(&[("prisma/schema.prisma", "x"), (PATH, SCRIPT)]);
    for end in 0..zip.len() {
        assert!(read_zip(&zip[..end]).is_err(), "cut at {end} of {}", zip.len());
    }
}

#[test]
fn an_empty_zip_says_so() {
    let error = read_zip(&zip_of(&[])).unwrap_err().to_string();
    assert!(error.ends_with("it is empty"), "{error}");
}
