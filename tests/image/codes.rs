//! Every exit code comes out of the container as it is; only 1, a bug, cannot be had on request. 0 and 60 are in the files beside this one.

use harness::history::History;
use harness::until;
use prisma_migrate_task::exit::Exit;

use crate::engine::docker;
use crate::stage::Stage;

const NAME: &str = "20240101000000_init";

fn script(text: &str) -> History {
    History::new().migration(NAME, text)
}

/// A stage with this as its only object, `prisma.zip`.
fn stage(history: &History) -> Stage {
    Stage::new(&[("prisma.zip", history)])
}

#[test]
fn each_code_of_the_program_is_tried() {
    let tests = [
        include_str!("codes.rs"),
        include_str!("job.rs"),
        include_str!("stopping.rs"),
    ]
    .concat();
    // From 80 on they are of the client's side, which the image does not have.
    let tried = |code: u8| code == Exit::Unexpected.code() || code >= 80 || tests.contains(&format!(".expect({code})"));
    let codes = Exit::TABLE.iter().map(|(exit, _)| exit.code());
    let missing: Vec<u8> = codes.filter(|code| !tried(*code)).collect();
    assert!(missing.is_empty(), "no container ends with {missing:?}");
}

#[test]
fn a_configuration_that_is_missing_is_2() {
    let stage = Stage::new(&[]);
    stage.job().run().expect(2);
}

#[test]
fn pending_migrations_are_10_and_what_is_not_in_the_bucket_is_40() {
    let stage = stage(&script("CREATE TABLE a (id int);"));
    stage.task("prisma.zip").args(["status"]).run().expect(10);
    stage.task("missing.zip").run().expect(40);
}

#[test]
fn an_artifact_that_is_not_the_one_asked_for_is_41() {
    let stage = stage(&script("CREATE TABLE a (id int);"));
    let other = "00000000000000000000000000000000";
    stage
        .task("prisma.zip")
        .env("PRISMA_ARTIFACT_ETAG", other)
        .run()
        .expect(41);
}

#[test]
fn a_schema_that_was_changed_by_hand_is_11() {
    let stage = stage(&script("CREATE TABLE a (id int);"));
    // The report's folder is the one place that this container can write to.
    let volume = format!("--volume={}:/out", stage.folder_for_anybody("out").display());
    let task = || stage.task("prisma.zip").option(&volume);
    task().env("REPORT", "/out/report.json").run().expect(0);
    stage.sql("CREATE TABLE by_hand (id int)");
    let run = task().args(["drift", "--since", "/out/report.json"]).run().expect(11);
    assert!(run.stdout.contains("by_hand"), "{run}");
}

#[test]
fn a_migration_that_is_rolled_back_is_20() {
    let stage = stage(&script("CREATE TABLE a (id int); SELECT missing FROM a;"));
    stage.task("prisma.zip").run().expect(20);
    assert_eq!(stage.ledger(), [format!("{NAME} rolled back")]);
}

#[test]
fn a_migration_that_is_partly_committed_is_21() {
    let stage = stage(&script("CREATE TABLE a (id int); COMMIT; SELECT missing FROM a;"));
    stage.task("prisma.zip").run().expect(21);
    assert_eq!(stage.ledger(), [format!("{NAME} unfinished")]);
}

#[test]
fn a_failed_migration_of_prismas_is_22() {
    let stage = stage(&script("CREATE TABLE a (id int);"));
    stage.task("prisma.zip").run().expect(0);
    // As Prisma leaves it when it is killed.
    stage.sql("UPDATE _prisma_migrations SET finished_at = NULL, applied_steps_count = 0");
    stage.task("prisma.zip").run().expect(22);
}

#[test]
fn a_database_that_was_not_empty_is_23() {
    let stage = stage(&script("CREATE TABLE a (id int);"));
    stage.sql("CREATE TABLE something_else (id int)");
    stage.task("prisma.zip").run().expect(23);
}

#[test]
fn a_write_that_nobody_confirmed_is_24() {
    let stage = Stage::new(&[]);
    let job = stage.job().env("DATABASE_URL", &stage.url());
    job.args(["execute", "CREATE TABLE a (id int)"]).run().expect(24);
    assert_eq!(stage.sql("SELECT to_regclass('a') IS NULL"), "t");
}

#[test]
fn a_migration_lock_that_is_held_is_30() {
    let stage = stage(&script("CREATE TABLE a (id int);"));
    let _holder = stage.session("SELECT pg_advisory_lock(72707369); SELECT pg_sleep(600)");
    until("the lock is held", || {
        stage.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted") == "1"
    });
    stage.task("prisma.zip").env("LOCK_WAIT", "0").run().expect(30);
}

#[test]
fn a_table_lock_that_is_held_is_31() {
    let stage = stage(&script("ALTER TABLE a ADD COLUMN b int;"));
    // The migrations table is made by hand, so that the table beside it is no surprise.
    stage
        .sql("CREATE SCHEMA other; CREATE TABLE other.a (id int); ALTER ROLE deployer SET search_path = public, other");
    let _holder = stage.session("BEGIN; LOCK TABLE other.a; SELECT pg_sleep(600)");
    until("the lock is held", || {
        stage.sql("SELECT count(*) FROM pg_locks WHERE relation = 'other.a'::regclass AND granted") == "1"
    });
    let task = stage.task("prisma.zip").env("LOCK_TIMEOUT", "1s");
    task.env("LOCK_RETRY_FOR", "0").run().expect(31);
}

#[test]
fn a_password_that_is_wrong_is_50() {
    let stage = stage(&script("CREATE TABLE a (id int);"));
    let task = stage.task("prisma.zip").env("CONNECT_TIMEOUT", "1s");
    task.env("DB_PASSWORD", "another").run().expect(50);
}

#[test]
fn a_stop_of_a_statement_that_commits_by_itself_is_61() {
    let stage = stage(&script(
        "DO $$ BEGIN CREATE TABLE a (id int); COMMIT; PERFORM pg_sleep(600); END $$;",
    ));
    let task = stage.task("prisma.zip");
    let name = task.name();
    let running = task.spawn();
    until("the migration sleeps on the server", || {
        stage.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    });
    docker(&["stop", "--time", "25", &name]);
    running.wait().expect(61);
}

#[test]
fn a_report_for_which_there_is_no_place_is_70() {
    let stage = stage(&script("CREATE TABLE a (id int);"));
    stage.task("prisma.zip").env("REPORT", "/report.json").run().expect(70);
    assert_eq!(stage.ledger(), [format!("{NAME} applied")]);
}
