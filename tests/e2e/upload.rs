//! `upload`: from a project to its migrations in the database.

use crate::newsroom::{ARTIFACT, BUCKET, KEY, Newsroom, Tells, bad, failure, good, outcome};
use harness::history::History;
use harness::until;
use serde_json::json;
use std::path::Path;

/// The arguments that every upload here has.
fn upload<'a>(folder: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["upload", folder.to_str().unwrap(), "--artifact", ARTIFACT][..], more].concat()
}

#[test]
fn a_project_is_uploaded_and_its_task_followed_to_the_end() {
    let newsroom = Newsroom::new();
    newsroom.s3.put(BUCKET, "other", "x");
    for (history, code, result) in [(bad(), 20, "failed"), (good(), 0, "applied"), (good(), 0, "up_to_date")] {
        let before = newsroom.s3.stored(BUCKET, KEY);
        let folder = history.folder();
        let run = newsroom.call(&upload(&folder, &[])).spawn();
        until("the upload is there", || newsroom.s3.stored(BUCKET, KEY) != before);
        let stored = newsroom.s3.stored(BUCKET, KEY).unwrap();
        let task = newsroom.event(&stored, Tells::Version);
        let run = run.wait().expect(code);
        let told = outcome(&run);
        assert_eq!(
            (&told["verb"], &told["result"]),
            (&json!("deploy"), &json!(result)),
            "{run}"
        );
        assert_eq!(told["task"]["arn"], json!(task));
        assert_eq!(told["artifact"]["version_id"], json!(stored.version));
        assert!(run.stderr.contains("uploaded 1 migration"), "{run}");
    }
}

#[test]
fn the_same_project_is_the_same_object() {
    let newsroom = Newsroom::new();
    newsroom.s3.unversioned(BUCKET);
    let (one, other) = (good(), good());
    other.write("prisma/notes.md", "none of a deploy's business");
    let first = newsroom.bare(&upload(&one.folder(), &["--no-wait"])).run().expect(0);
    let told = outcome(&first);
    let stored = newsroom.s3.stored(BUCKET, KEY).unwrap();
    assert_eq!((&told["verb"], &told["result"]), (&json!("upload"), &json!("uploaded")));
    assert_eq!(told["artifact"]["etag"], json!(stored.etag));
    assert_eq!(told["artifact"]["migrations"], 1);
    newsroom.bare(&upload(&other.folder(), &["--no-wait"])).run().expect(0);
    assert_eq!(newsroom.s3.stored(BUCKET, KEY).unwrap().etag, stored.etag);

    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("prisma.zip");
    let folder = one.folder();
    let words = ["upload", folder.to_str().unwrap(), "--output", file.to_str().unwrap()];
    let packed = newsroom.bare(&words).arg("--log-format=text").run().expect(0);
    assert_eq!(std::fs::read(&file).unwrap(), newsroom.s3.get(BUCKET, KEY).unwrap());
    assert!(
        packed.stdout.starts_with("packed  1 migration in the artifact"),
        "{packed}"
    );
}

#[test]
fn the_version_that_was_stored_is_told() {
    let newsroom = Newsroom::new();
    newsroom.s3.put(BUCKET, "other", "x");
    let run = newsroom
        .bare(&upload(&good().folder(), &["--no-wait", "--log-format=text"]))
        .run()
        .expect(0);
    let stored = newsroom.s3.stored(BUCKET, KEY).unwrap();
    assert!(
        run.stdout.contains(&format!("{ARTIFACT} (version {})", stored.version)),
        "{run}"
    );
}

#[test]
fn a_broken_history_is_refused_before_anything_is_uploaded() {
    let newsroom = Newsroom::new();
    newsroom.s3.unversioned(BUCKET);
    let cases: [(History, i32, &str, &str); 3] = [
        (
            good().raw("migrations/20240102000000_b/notes", ""),
            40,
            "P3015",
            "migration.sql is missing",
        ),
        (
            good().migration("20240102000000_b", b"SELECT '\xff';"),
            40,
            "P3015",
            "not UTF-8",
        ),
        (
            good().raw("migrations/migration_lock.toml", "provider = \"mysql\""),
            23,
            "P3019",
            "PostgreSQL's",
        ),
    ];
    for (history, code, prisma, what) in cases {
        let run = newsroom.call(&upload(&history.folder(), &[])).run().expect(code);
        assert!(failure(&run, "what").contains(what), "{run}");
        assert_eq!(failure(&run, "prisma_code"), prisma);
        assert!(failure(&run, "state").contains("nothing was uploaded"), "{run}");
    }
    assert_eq!(newsroom.s3.stored(BUCKET, KEY), None);
}

#[test]
fn an_upload_that_is_denied_names_the_permission() {
    let newsroom = Newsroom::new();
    newsroom.s3.unversioned(BUCKET);
    newsroom.s3.fail(1, 403, "AccessDenied");
    let run = newsroom.bare(&upload(&good().folder(), &["--no-wait"])).run().expect(2);
    let next = failure(&run, "next");
    assert!(
        next.contains(&format!(
            "give these credentials s3:PutObject on arn:aws:s3:::{BUCKET}/{KEY}"
        )),
        "{run}"
    );
}

#[test]
fn an_upload_that_starts_nothing_says_so() {
    let newsroom = Newsroom::new();
    newsroom.s3.unversioned(BUCKET);
    let run = newsroom
        .call(&upload(&good().folder(), &["--start-within=0"]))
        .run()
        .expect(80);
    assert!(failure(&run, "what").contains("no task was started for"), "{run}");
    assert!(newsroom.s3.stored(BUCKET, KEY).is_some());
}
