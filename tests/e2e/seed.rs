//! Seeds: SQL that runs once, after the first deploy.

use crate::cases::{Gate, failure, names, tables, warnings};
use crate::migrate;
use harness::history::{History, Layout};
use harness::postgres::{Database, Server};
use harness::process::{Run, Signal};
use harness::proxy::{Direction, Proxy};
use harness::tool::Call;

const SEED: &str = "INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (2);";

fn history() -> History {
    History::new()
        .migration("1_init", "CREATE TABLE a (id int PRIMARY KEY);")
        .raw("seed.sql", SEED)
}

fn without_seed() -> History {
    History::new().migration("1_init", "CREATE TABLE a (id int PRIMARY KEY);")
}

fn deploy(history: &History, database: &Database) -> Call {
    migrate().deploy(history.folder()).database(database)
}

fn rows(database: &Database) -> String {
    database.scalar("SELECT count(*) FROM a")
}

fn seeded(run: &Run) -> &serde_json::Value {
    &run.report.as_ref().unwrap()["seeded"]
}

#[test]
fn it_runs_once_after_the_first_deploy() {
    let (database, history) = (Server::shared().database(), history());
    let run = deploy(&history, &database).run().expect(0);
    assert!(seeded(&run)["path"].as_str().unwrap().ends_with("seed.sql"), "{run}");
    assert_eq!(rows(&database), "2");
    database.execute("DELETE FROM a");
    let history = history.migration("2_next", "CREATE TABLE b (id int);");
    for _ in 0..2 {
        let run = deploy(&history, &database).run().expect(0);
        assert!(seeded(&run).is_null(), "{run}");
    }
    assert_eq!(rows(&database), "0");
}

#[test]
fn it_is_found_in_a_zip_and_the_named_file_comes_before_it() {
    let history = history();
    let database = Server::shared().database();
    let run = migrate()
        .deploy(history.zip_file(Layout::Project))
        .database(&database)
        .run()
        .expect(0);
    assert_eq!(seeded(&run)["path"], "prisma/seed.sql");
    assert_eq!(rows(&database), "2");

    let database = Server::shared().database();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.sql");
    std::fs::write(&file, "INSERT INTO a VALUES (7);").unwrap();
    deploy(&history, &database).arg("--seed").arg(&file).run().expect(0);
    assert_eq!(database.scalar("SELECT string_agg(id::text, ',') FROM a"), "7");
}

#[test]
fn a_database_that_was_deployed_to_before_is_not_seeded() {
    let database = Server::shared().database();
    let history_before = without_seed();
    deploy(&history_before, &database).run().expect(0);
    let history = history().migration("2_next", "CREATE TABLE b (id int);");
    let run = deploy(&history, &database).run().expect(0);
    assert!(seeded(&run).is_null(), "{run}");
    assert_eq!(rows(&database), "0");
}

#[test]
fn a_seed_that_fails_leaves_nothing_and_runs_again_once_it_is_mended() {
    let database = Server::shared().database();
    let broken = history().raw("seed.sql", "INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (1);");
    let run = deploy(&broken, &database).run().expect(20);
    assert_eq!(names(&run, "applied"), ["1_init"]);
    assert_eq!(failure(&run)["place"]["line"], 2, "{run}");
    assert!(
        failure(&run)["what"].as_str().unwrap().contains("seed.sql failed"),
        "{run}"
    );
    assert_eq!(rows(&database), "0");
    let mended = broken.raw("seed.sql", SEED);
    let run = deploy(&mended, &database).run().expect(0);
    assert!(!seeded(&run).is_null(), "{run}");
    assert_eq!(rows(&database), "2");
}

#[test]
fn a_first_deploy_that_fails_is_seeded_by_the_one_that_mends_it() {
    let database = Server::shared().database();
    let broken = history().migration("2_bad", "SELECT 1/0;");
    deploy(&broken, &database).run().expect(20);
    assert_eq!(rows(&database), "0");
    let mended = broken.migration("2_bad", "SELECT 1;");
    deploy(&mended, &database).run().expect(0);
    assert_eq!(rows(&database), "2");
}

#[test]
fn one_that_is_interrupted_runs_at_the_next_deploy() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let slow = history().raw("seed.sql", format!("INSERT INTO a VALUES (1);\n{}", Gate::WAIT));
    let running = deploy(&slow, &database).arg("--lock-timeout").arg("0").spawn();
    gate.reached();
    running.signal(Signal::TERM);
    running.wait().expect(60);
    assert_eq!(rows(&database), "0");
    gate.open();
    deploy(&slow, &database).run().expect(0);
    assert_eq!(rows(&database), "1");
}

#[test]
fn one_that_was_killed_behind_its_commit_does_not_run_again() {
    let (database, history) = (Server::shared().database(), history());
    deploy(&history, &database).run().expect(0);
    let told = database.scalar("SELECT obj_description('_prisma_migrations'::regclass)");
    assert!(told.starts_with("prisma-migrate-task/1 seed=done sha256="), "{told}");
    deploy(&history, &database).run().expect(0);
    assert_eq!(rows(&database), "2");
}

#[test]
fn what_cannot_share_a_transaction_is_refused_before_anything_runs() {
    let database = Server::shared().database();
    let history = history().raw("seed.sql", "BEGIN;\nINSERT INTO a VALUES (1);\nCOMMIT;");
    let run = deploy(&history, &database).run().expect(40);
    assert!(
        failure(&run)["what"].as_str().unwrap().contains("line 1: BEGIN"),
        "{run}"
    );
    assert!(!database.has_ledger() && tables(&database).is_empty());
}

#[test]
fn a_program_is_named_and_left_alone() {
    let database = Server::shared().database();
    let history = without_seed().raw("seed.ts", "console.log('never')");
    let run = deploy(&history, &database).run().expect(0);
    assert!(
        warnings(&run).contains("seed.ts is a program, which is not run here"),
        "{run}"
    );
    let run = deploy(&history, &database).run().expect(0);
    assert!(!warnings(&run).contains("seed.ts"), "{run}");
}

#[test]
fn one_that_ran_before_there_was_a_migration_does_not_run_again() {
    let database = Server::shared().database();
    let history = History::new().raw("seed.sql", "CREATE TABLE said (id int);");
    let run = deploy(&history, &database).run().expect(0);
    assert!(!seeded(&run).is_null(), "{run}");
    let history = history.migration("1_init", "CREATE TABLE a (id int);");
    let run = deploy(&history, &database).run().expect(0);
    assert!(seeded(&run).is_null(), "{run}");
}

#[test]
fn one_that_committed_as_the_connection_was_lost_is_known_to_have_run() {
    let history = history();
    let deploy = |proxy: &Proxy, database: &Database| {
        // A report describes the schema at the end, and the end is what is cut here.
        let call = migrate().deploy(history.folder()).without_report();
        let run = call.database_url(database, &proxy.url_for(database)).run().expect(0);
        assert_eq!(rows(database), "2", "{run}");
        let said: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert!(said["seeded"]["path"].as_str().unwrap().ends_with("seed.sql"), "{run}");
        run
    };
    let proxy = Proxy::to(Server::shared());
    deploy(&proxy, &Server::shared().database());
    let undisturbed = proxy.bytes(Direction::ToClient);
    let mut known_without_running_again = 0;
    for before_the_end in (0..450).step_by(30) {
        let (proxy, database) = (Proxy::to(Server::shared()), Server::shared().database());
        proxy.cut_after(Direction::ToClient, undisturbed - 1 - before_the_end);
        let run = deploy(&proxy, &database);
        if run.stderr.contains("the connection was lost") && run.stderr.matches("seeding").count() == 1 {
            known_without_running_again += 1;
        }
    }
    assert!(known_without_running_again > 0);
}
