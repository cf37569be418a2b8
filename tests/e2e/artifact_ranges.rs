//! Of an object in S3 only what is needed is read, and all of it from the same object.

use std::io::{Cursor, Write};

use harness::history::{History, Layout};
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::s3::{Fault, S3};
use harness::tool::Call;
use zip::write::{FullFileOptions, SimpleFileOptions};
use zip::{CompressionMethod, ZipWriter};

use crate::migrate;

const BUCKET: &str = "artifacts";
const KEY: &str = "deploy/CODE/app/prisma.zip";
/// What the first request asks for.
const TAIL: u64 = 1 << 20;

fn task(s3: &S3, database: &Database) -> Call {
    let task = migrate().verb([] as [&str; 0]).s3(s3).database(database);
    task.env("ARTIFACT_BUCKET", BUCKET).env("PRISMA_ARTIFACT_KEY", KEY)
}

/// One migration that makes a table of this name.
fn making(table: &str) -> History {
    History::new().migration("20240101000000_init", format!("CREATE TABLE {table} (id int);"))
}

fn tables(database: &Database) -> String {
    database.scalar(
        "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '') FROM pg_tables \
         WHERE schemaname = 'public' AND tablename <> '_prisma_migrations'",
    )
}

fn what(run: &Run) -> &str {
    run.report.as_ref().unwrap()["failure"]["what"].as_str().unwrap()
}

/// A project as it is zipped with its `node_modules`: `packages` files that cannot be compressed, 2.5 kB each, before and behind the migrations.
struct Project {
    bytes: Vec<u8>,
    /// The central directory's size in bytes, as the end record tells.
    directory: u64,
}

fn project(packages: usize, table: &str) -> Project {
    project_in(CompressionMethod::Stored, packages, table)
}

fn project_in(method: CompressionMethod, packages: usize, table: &str) -> Project {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let (mut noise, mut state) = ([0u8; 2500], 1u64);
    let mut package = |zip: &mut ZipWriter<Cursor<Vec<u8>>>, n: usize| {
        for word in noise.chunks_mut(8) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&state.to_be_bytes()[..word.len()]);
        }
        zip.start_file(format!("node_modules/package-{n}/dist/index.js"), stored)
            .unwrap();
        zip.write_all(&noise).unwrap();
    };
    (0..packages / 2).for_each(|n| package(&mut zip, n));
    let options = SimpleFileOptions::default().compression_method(method);
    for n in 0..100 {
        let name = format!(
            "prisma/migrations/{}_{table}_{n}/migration.sql",
            20_240_101_000_000_u64 + n
        );
        zip.start_file(name, options).unwrap();
        write!(zip, "CREATE TABLE {table}_{n} (id int); -- {}", "x".repeat(1000)).unwrap();
    }
    zip.start_file("prisma/migrations/migration_lock.toml", options)
        .unwrap();
    zip.write_all(b"provider = \"postgresql\"").unwrap();
    (packages / 2..packages).for_each(|n| package(&mut zip, n));
    let bytes = zip.finish().unwrap().into_inner();
    let end = &bytes[bytes.len() - 22..];
    let directory = u32::from_le_bytes(end[12..16].try_into().unwrap());
    Project {
        directory: directory.into(),
        bytes,
    }
}

/// The requests, the bytes, and the run.
fn measured(project: Project) -> (usize, u64, Run) {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, project.bytes);
    let run = task(&s3, &database).run().expect(0);
    assert_eq!(
        database.scalar("SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NOT NULL"),
        "100"
    );
    (s3.requests(), s3.bytes_sent(), run)
}

#[test]
fn a_hundred_megabytes_of_node_modules_cost_their_directory_and_a_handful_of_requests() {
    let small = project(8_000, "a");
    let large = project(40_000, "a");
    let (size, directory) = (large.bytes.len() as u64, large.directory);
    assert!(size > 100 << 20, "{size}");
    let (_, _, small) = measured(small);
    let (requests, bytes, large) = measured(large);
    let figures = format!(
        "{requests} requests, {bytes} bytes of {size}, {directory} of them the directory; memory {} kB, a fifth of the archive: {} kB; {:?}",
        large.peak_memory / 1000,
        small.peak_memory / 1000,
        large.took
    );
    eprintln!("{figures}");
    assert!(requests <= 8, "{figures}");
    assert!(bytes < directory + size / 20, "{figures}");
    // The directory is held while it is read, and so is its tail.
    assert!(
        large.peak_memory < small.peak_memory + 2 * directory + 2 * TAIL,
        "{figures}"
    );
    assert_eq!(large.report.unwrap()["artifact"]["size"], size);
}

#[test]
fn a_small_object_is_one_request() {
    let (s3, database) = (S3::start(), Server::shared().database());
    let zip = making("a").zip(Layout::Project);
    let size = zip.len() as u64;
    s3.put(BUCKET, KEY, zip);
    task(&s3, &database).run().expect(0);
    assert_eq!((s3.requests(), s3.bytes_sent()), (1, size));
    assert_eq!(tables(&database), "a");
}

#[test]
fn migrations_that_lie_far_apart_are_all_read() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for n in 0..20 {
        let name = format!("prisma/migrations/{}_far/migration.sql", 20_240_101_000_000_u64 + n);
        zip.start_file(name, SimpleFileOptions::default().large_file(n % 2 == 0))
            .unwrap();
        write!(zip, "CREATE TABLE far_{n} (id int);").unwrap();
        zip.start_file(format!("node_modules/{n}.bin"), stored).unwrap();
        zip.write_all(&vec![b'x'; 400 << 10]).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let size = bytes.len() as u64;
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, bytes);
    task(&s3, &database).run().expect(0);
    assert_eq!(tables(&database).split(' ').count(), 20);
    assert!(
        s3.requests() <= 20 && s3.bytes_sent() < size / 4,
        "{} of {size}",
        s3.bytes_sent()
    );
}

#[test]
fn a_header_that_is_longer_than_the_directory_tells_is_read_to_its_end() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut padded = FullFileOptions::default();
    padded.add_extra_field(0xfafa, vec![0; 30_000], false).unwrap();
    let name = "prisma/migrations/20240101000000_padded/migration.sql";
    zip.start_file(name, padded).unwrap();
    zip.write_all(b"CREATE TABLE padded (id int);").unwrap();
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("node_modules/large.bin", stored).unwrap();
    zip.write_all(&vec![b'x'; 3 << 20]).unwrap();
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, zip.finish().unwrap().into_inner());
    task(&s3, &database).run().expect(0);
    assert_eq!(tables(&database), "padded");
    assert_eq!(s3.requests(), 3, "its end, its beginning and what lacked");
}

#[test]
fn every_compression_is_read_by_ranges() {
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let project = project_in(method, 1_000, "a");
        let (requests, _, _) = measured(project);
        assert!(requests > 1, "{method:?}");
    }
}

#[test]
fn a_newer_upload_in_the_middle_is_read_from_its_beginning() {
    let (s3, database) = (S3::start(), Server::shared().database());
    for versioned in [true, false] {
        let (s3, database) = (S3::start(), Server::shared().database());
        if !versioned {
            s3.unversioned(BUCKET);
        }
        s3.put(BUCKET, KEY, project(1_000, "older").bytes);
        s3.fault(Fault::None);
        s3.fault(Fault::Overwrite {
            bucket: BUCKET.into(),
            key: KEY.into(),
            bytes: project(1_000, "newer").bytes,
        });
        let run = task(&s3, &database).run().expect(0);
        assert!(run.stderr.contains("was replaced by a newer upload"), "{run}");
        assert!(tables(&database).starts_with("newer_0 "), "{run}");
    }

    s3.put(BUCKET, KEY, project(1_000, "a0").bytes);
    for n in 1..10 {
        s3.fault(Fault::None);
        s3.fault(Fault::Overwrite {
            bucket: BUCKET.into(),
            key: KEY.into(),
            bytes: project(1_000, &format!("a{n}")).bytes,
        });
    }
    let run = task(&s3, &database).run().expect(40);
    assert!(
        what(&run).contains("replaced by newer uploads again and again"),
        "{run}"
    );
    assert_eq!(s3.requests(), 6);
    assert_eq!(tables(&database), "");
}

#[test]
fn a_pinned_object_that_is_replaced_in_the_middle_is_superseded_or_read_to_its_end() {
    let newer = || Fault::Overwrite {
        bucket: BUCKET.into(),
        key: KEY.into(),
        bytes: project(1_000, "newer").bytes,
    };
    let (s3, database) = (S3::start(), Server::shared().database());
    let stored = s3.put(BUCKET, KEY, project(1_000, "older").bytes);
    s3.fault(Fault::None);
    s3.fault(newer());
    let run = task(&s3, &database)
        .env("PRISMA_ARTIFACT_ETAG", &stored.etag)
        .run()
        .expect(41);
    assert!(what(&run).contains("superseded"), "{run}");
    assert_eq!(tables(&database), "");

    s3.fault(Fault::None);
    s3.fault(newer());
    let call = task(&s3, &database).env("PRISMA_ARTIFACT_VERSION_ID", &stored.version);
    let run = call.run().expect(0);
    assert!(tables(&database).starts_with("older_0 "), "{run}");
    assert_eq!(run.report.unwrap()["artifact"]["version_id"], stored.version);
}

#[test]
fn a_part_that_breaks_off_is_asked_for_again() {
    for at in [0, 1] {
        let (s3, database) = (S3::start(), Server::shared().database());
        s3.put(BUCKET, KEY, project(1_000, "a").bytes);
        (0..at).for_each(|_| s3.fault(Fault::None));
        s3.fault(Fault::CutBody(1_000));
        s3.fault(Fault::CutBody(1_000));
        let run = task(&s3, &database).run().expect(0);
        assert!(run.stderr.contains("asking for them again"), "{run}");
        assert!(tables(&database).starts_with("a_0 "), "{run}");
    }
}

#[test]
fn other_bytes_than_those_asked_for_are_never_used() {
    for fault in [Fault::IgnoreRange, Fault::ShiftRange] {
        let (s3, database) = (S3::start(), Server::shared().database());
        s3.put(BUCKET, KEY, project(1_000, "a").bytes);
        s3.fault(Fault::None);
        s3.fault(fault.clone());
        let run = task(&s3, &database).run().expect(40);
        assert!(what(&run).contains("was asked for bytes="), "{fault:?}: {run}");
        assert_eq!(tables(&database), "");
    }
}

#[test]
fn an_endpoint_that_knows_no_ranges_is_read_as_a_whole() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, project(1_000, "a").bytes);
    s3.fault(Fault::IgnoreRange);
    task(&s3, &database).run().expect(0);
    assert_eq!(s3.requests(), 1);
    assert!(tables(&database).starts_with("a_0 "));

    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, project(1_000, "a").bytes);
    s3.fail(1, 416, "InvalidRange");
    task(&s3, &database).run().expect(0);
    assert_eq!(s3.requests(), 2);
}

#[test]
fn an_empty_object_and_a_large_one_that_is_no_zip_are_told_in_words() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, "");
    let run = task(&s3, &database).run().expect(40);
    assert!(what(&run).contains("it is empty (0 bytes)"), "{run}");

    s3.put(BUCKET, KEY, [b"\x1f\x8b".to_vec(), vec![7; 20 << 20]].concat());
    let before = s3.bytes_sent();
    let run = task(&s3, &database).run().expect(40);
    assert!(what(&run).contains("it looks like gzip"), "{run}");
    assert_eq!(s3.bytes_sent() - before, TAIL + 2048, "its end and its beginning");
}

#[test]
fn how_often_s3_was_asked_is_said() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, KEY, making("a").zip(Layout::Folder));
    s3.fail(2, 503, "SlowDown");
    let run = task(&s3, &database).run().expect(0);
    assert!(run.stderr.contains("S3 answered after 3 attempts"), "{run}");
}

#[test]
fn the_keys_beside_a_missing_one_are_named_where_they_may_be_listed() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.put(BUCKET, "deploy/CODE/app/prisma-1.zip", "");
    s3.put(BUCKET, "deploy/PROD/app/prisma.zip", "");
    let run = task(&s3, &database).run().expect(40);
    assert!(
        what(&run).contains("; beside it: deploy/CODE/app/prisma-1.zip"),
        "{run}"
    );
    assert!(!what(&run).contains("PROD"), "{run}");

    let run = task(&s3, &database)
        .env("PRISMA_ARTIFACT_KEY", "deploy/TEST/app/prisma.zip")
        .run()
        .expect(40);
    assert!(
        what(&run).contains("; beside it: deploy/CODE/app/prisma-1.zip, deploy/PROD/app/prisma.zip"),
        "{run}"
    );

    s3.fault(Fault::None);
    s3.fail(1, 403, "AccessDenied");
    let run = task(&s3, &database).run().expect(40);
    assert!(
        what(&run).ends_with("no such key in the bucket (404 NoSuchKey)"),
        "{run}"
    );
}
