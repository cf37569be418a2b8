//! prisma.zip of 100 MB with 40,000 entries of node_modules, in S3.

use std::io::{Cursor, Write};
use std::process::Command;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Criterion, Measured, OURS, far_s3, ratio, rounds, scratch};
use crate::measure::{Contender, Job, race_with_memory};
use crate::stage::{Project, Stage, Way, record};

/// S3 wants the checksum of the empty body, which curl before 8 signs and does not send by itself.
const FETCH_AND_UNPACK: &str = "curl -sS --fail --aws-sigv4 aws:amz:eu-west-1:s3 --user \"$USER\" \
     -H 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' -o prisma.zip \"$URL\" \
     && unzip -q prisma.zip -d out";

pub fn measure(stage: &Stage) -> Measured {
    const WHOLE: &str = "curl and unzip";
    let project = Project::new(100);
    let (s3, link, environment) = far_s3();
    let object = zip(&project, 40_000);
    let size = object.len();
    s3.put("artifacts", "app/prisma.zip", object);
    let database = stage.database();
    record(&database, &project, 100, 1);
    let whole = || {
        let folder = scratch();
        let mut shell = Command::new("sh");
        shell.args(["-c", FETCH_AND_UNPACK]);
        shell.current_dir(folder.path());
        shell.env("USER", format!("{}:{}", s3.access_key(), s3.secret_key()));
        shell.env(
            "URL",
            format!("http://127.0.0.1:{}/artifacts/app/prisma.zip", link.port()),
        );
        Job::new(shell, folder)
    };
    let ours = || {
        let mut command = stage.ours(&database, Way::Tcp, "s3://artifacts/app/prisma.zip".as_ref());
        command.envs(environment.clone());
        Job::new(command, ())
    };
    let mut figures = race_with_memory(
        rounds(),
        &mut [Contender::new(WHOLE, whole), Contender::new(OURS, ours)],
    );
    // The shell's.
    figures[0].memory = None;
    let (requests, bytes) = (s3.requests(), s3.bytes_sent());
    let status = ours().command.output().expect("it can be run").status;
    assert!(status.success(), "{status}");
    let (requests, bytes) = (s3.requests() - requests, s3.bytes_sent() - bytes);
    Measured {
        criteria: vec![Criterion::at_least(
            "times faster than to fetch and unpack all of it",
            ratio(&figures, WHOLE, OURS),
            10.0,
            "",
        )],
        figures,
        notes: vec![format!(
            "The link takes 5 ms for each request and carries 50 MB/s. Of {size} bytes {bytes} are read, in {requests} requests: at that rate {:.3} s. \
             Ours is the whole run, 100 migrations applied and none pending; curl and unzip are all that a deploy would begin with.",
            bytes as f64 / 50e6
        )],
    }
}

/// A project as it is zipped with its `node_modules`, of so many files that cannot be compressed.
pub fn zip(project: &Project, packages: usize) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut noise = [0; 2_500];
    for n in 0..packages {
        fastrand::fill(&mut noise);
        let name = format!("node_modules/package-{:04}/dist/esm/internal/module-{n:05}.js", n / 40);
        zip.start_file(name, stored).expect("an entry");
        zip.write_all(&noise).expect("its bytes");
    }
    for (name, script) in project.names.iter().zip(&project.scripts) {
        let name = format!("prisma/migrations/{name}/migration.sql");
        zip.start_file(name, SimpleFileOptions::default()).expect("an entry");
        zip.write_all(script.as_bytes()).expect("its bytes");
    }
    zip.start_file("prisma/migrations/migration_lock.toml", stored)
        .expect("an entry");
    zip.write_all(b"provider = \"postgresql\"").expect("its bytes");
    zip.finish().expect("a zip").into_inner()
}
