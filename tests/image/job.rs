//! What the container does when all is well, and what it says when its surroundings are not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::history::History;

use crate::stage::Stage;

fn two_migrations() -> History {
    History::new()
        .migration("20240101000000_init", "CREATE TABLE article (id int PRIMARY KEY);")
        .migration("20240102000000_title", "ALTER TABLE article ADD COLUMN title text;")
}

#[test]
fn the_five_variables_of_a_deployer_are_enough() {
    let stage = Stage::new(&[("newsroom/CODE/api/prisma.zip", &two_migrations())]);
    let run = stage.task("newsroom/CODE/api/prisma.zip").run().expect(0);

    assert_eq!(
        stage.ledger(),
        ["20240101000000_init applied", "20240102000000_title applied"]
    );
    let outcome: serde_json::Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(outcome["exit_code"], 0, "{run}");
    for line in run.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}\n{run}"));
    }

    stage.task("newsroom/CODE/api/prisma.zip").run().expect(0);
    assert_eq!(stage.ledger().len(), 2);
}

#[test]
fn the_servers_certificate_is_verified_against_the_file_that_is_mounted() {
    let stage = Stage::new(&[("prisma.zip", &two_migrations())]);
    let deploy = |authority: &str| {
        let task = stage.task("prisma.zip").mount(&stage.path(authority), "/ca.pem");
        task.env("DB_CA_FILE", "/ca.pem").run()
    };
    let refused = deploy("wrong.pem").expect(50);
    assert!(refused.stdout.contains("certificate"), "{refused}");
    assert!(stage.ledger().is_empty());

    deploy("authority.pem").expect(0);
    assert_eq!(stage.ledger().len(), 2);
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let stage = Stage::new(&[("prisma.zip", &two_migrations())]);
    let task = stage.task("prisma.zip").env("CONNECT_TIMEOUT", "1s");
    let run = task.env("DB_HOST", "nowhere.invalid").run().expect(50);
    assert!(run.stdout.contains("nowhere.invalid"), "{run}");
}

#[test]
fn without_any_network_it_says_that_s3_does_not_answer() {
    let stage = Stage::new(&[]);
    let run = stage
        .task("prisma.zip")
        .network("none")
        .env("CONNECT_TIMEOUT", "1s")
        .run()
        .expect(40);
    assert!(run.stdout.contains("S3 could not be reached"), "{run}");
}

#[test]
fn a_folder_of_the_laptop_is_deployed_by_a_url() {
    let stage = Stage::new(&[]);
    let history = two_migrations();
    let deploy = || {
        let job = stage.job().env("DATABASE_URL", &stage.url());
        job.mount(&history.folder(), "/prisma").args(["deploy", "/prisma"])
    };
    let parent = history.folder().parent().unwrap().to_owned();
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o755)).unwrap();

    fs::set_permissions(history.folder(), fs::Permissions::from_mode(0o700)).unwrap();
    let refused = deploy().run().expect(40);
    assert!(refused.stdout.to_lowercase().contains("permission denied"), "{refused}");

    let owner = format!("--user={}", rustix::process::getuid().as_raw());
    deploy().option(&owner).run().expect(0);

    fs::set_permissions(history.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let again = deploy().run().expect(0);
    assert!(again.stdout.contains(r#""result":"up_to_date""#), "{again}");
}
