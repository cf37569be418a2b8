//! What the least of Fargate's tasks (512 MB, a quarter of a CPU) has in plenty. A limit that the engine enforces is the measure: beyond it the kernel
//! kills, and there is no swap.

use std::io::{Cursor, Write};

use harness::history::History;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::engine::docker;
use crate::stage::Stage;

fn one_table() -> History {
    History::new().migration("20240101000000_init", "CREATE TABLE article (id int);")
}

#[test]
fn a_deploy_with_nothing_to_do_needs_less_than_20_mb() {
    let stage = Stage::new(&[("prisma.zip", &one_table())]);
    stage.task("prisma.zip").run().expect(0);
    stage.task("prisma.zip").memory("20m").run().expect(0);
}

#[test]
fn who_runs_out_of_memory_is_killed_and_the_next_run_carries_on() {
    // 48 MB of a comment: nothing as a zip (which is refused, unless it is asked for), too much for 32 MB.
    let large = format!("CREATE TABLE article (id int); -- {}", "x".repeat(48 << 20));
    let history = History::new().migration("20240101000000_large", large);
    let stage = Stage::new(&[("prisma.zip", &history)]);
    let task = stage.task("prisma.zip").env("MAX_RATIO", "2000").memory("32m");
    let name = task.name();
    task.run().expect(137);
    assert_eq!(
        docker(&["inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", &name]),
        "true 137"
    );
    assert!(stage.ledger().is_empty());

    let task = stage.task("prisma.zip").env("MAX_RATIO", "2000").memory("512m");
    task.run().expect(0);
    assert_eq!(stage.ledger(), ["20240101000000_large applied"]);
}

#[test]
fn an_archive_of_100_mb_with_40_000_entries_needs_less_than_40_mb() {
    let stage = Stage::with(vec![("prisma.zip", with_packages())]);
    stage.task("prisma.zip").memory("40m").run().expect(0);
    assert_eq!(stage.ledger(), ["20240101000000_init applied"]);
}

/// A project as it is zipped with its `node_modules`, which cannot be compressed.
fn with_packages() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut noise = [0; 2500];
    for n in 0..40_000 {
        fastrand::fill(&mut noise);
        let name = format!("node_modules/package-{:04}/dist/esm/internal/module-{n:05}.js", n / 40);
        zip.start_file(name, stored).unwrap();
        zip.write_all(&noise).unwrap();
    }
    zip.start_file("prisma/migrations/20240101000000_init/migration.sql", stored)
        .unwrap();
    zip.write_all(b"CREATE TABLE article (id int);").unwrap();
    zip.start_file("prisma/migrations/migration_lock.toml", stored).unwrap();
    zip.write_all(b"provider = \"postgresql\"").unwrap();
    zip.finish().unwrap().into_inner()
}
