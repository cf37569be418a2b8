//! `status`: looks, writes nothing, takes no lock.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::tool::Call;

use super::{Gate, deploy, failure, ledger, lock_holder, names, tables, tool, warnings};

fn status(history: &History, database: &Database) -> Call {
    tool().verb(["status"]).arg(history.folder()).database(database)
}

#[test]
fn not_managed_by_prisma_and_never_creates_the_table() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let run = status(&history, &database).run().expect(10);
    assert_eq!(names(&run, "pending"), ["1_init"]);
    assert!(warnings(&run).contains("no migrations table"), "{run}");
    assert!(!database.has_ledger());
}

#[test]
fn a_missing_database_is_not_created() {
    let database = Server::shared().database();
    let allow = format!("ALTER ROLE \"{}\" CREATEDB", database.user());
    database.superuser().batch_execute(&allow).unwrap();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let url = format!("{}_looked_at", database.url());
    for _ in 0..2 {
        let run = tool()
            .verb(["status"])
            .arg(history.folder())
            .database_url(&database, &url)
            .run()
            .expect(10);
        assert_eq!(names(&run, "pending"), ["1_init"]);
        assert!(warnings(&run).contains("does not exist: deploy creates it"), "{run}");
    }
}

#[test]
fn up_to_date_and_pending() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    let run = status(&history, &database).run().expect(0);
    assert!(names(&run, "pending").is_empty());
    let history = history.migration("2_next", "CREATE TABLE b (id int);");
    let run = status(&history, &database).run().expect(10);
    assert_eq!(names(&run, "pending"), ["2_next"]);
    assert_eq!(tables(&database), ["a"]);
}

#[test]
fn edited_and_missing_ones_alone_do_not_count() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_gone", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(0);
    let history = history
        .remove("2_gone")
        .migration("1_init", "CREATE TABLE a (id bigint);");
    let run = status(&history, &database).run().expect(0);
    assert!(
        warnings(&run).contains("1_init was edited") && warnings(&run).contains("2_gone"),
        "{run}"
    );
}

#[test]
fn a_rolled_back_one_is_pending() {
    let database = Server::shared().database();
    let history = History::new().migration("1_bad", "SELECT 1/0;");
    deploy(&history, &database).run().expect(20);
    let run = status(&history, &database).run().expect(10);
    assert_eq!(names(&run, "pending"), ["1_bad"]);
}

#[test]
fn a_failed_one_is_reported_together_with_what_is_pending() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    database.execute("UPDATE _prisma_migrations SET finished_at = NULL, logs = 'it broke'");
    let history = history.migration("2_next", "CREATE TABLE b (id int);");
    let run = status(&history, &database).run().expect(22);
    assert_eq!(failure(&run)["prisma_code"], "P3009");
    assert!(failure(&run)["details"].to_string().contains("it broke"), "{run}");
    assert_eq!(names(&run, "pending"), ["2_next"]);
    assert_eq!(ledger(&database), ["1_init unfinished"]);
}

#[test]
fn the_lock_is_not_needed_and_its_holder_is_named() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let _holder = lock_holder(&database);
    let run = status(&history, &database).run().expect(10);
    assert!(warnings(&run).contains("the other one"), "{run}");
}

#[test]
fn a_deploy_under_way_is_no_failure() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let script = format!(
        "CREATE TABLE a (id int);\nCOMMIT;\n{}\nCREATE TABLE b (id int);",
        Gate::WAIT
    );
    let history = History::new().migration("1_slow", script);
    let running = deploy(&history, &database).spawn();
    gate.reached();
    let run = status(&history, &database).run();
    gate.open();
    running.wait().expect(0);
    let run = run.expect(10);
    assert_eq!(names(&run, "pending"), ["1_slow"]);
    assert!(warnings(&run).contains("a run may be under way"), "{run}");
    status(&history, &database).run().expect(0);
}

/// The list's lines: name, state and remarks.
fn listed(run: &harness::process::Run) -> Vec<String> {
    let list = run.report.as_ref().unwrap()["migrations"].as_array().unwrap();
    list.iter()
        .map(|one| format!("{} {} {}", one["name"], one["state"], one["remarks"]).replace('"', ""))
        .collect()
}

#[test]
fn every_migration_is_listed_with_its_state() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_gone", "CREATE TABLE b (id int);")
        .migration("4_bad", "CREATE TABLE c (id int);\nSELECT 1/0;");
    deploy(&history, &database).run().expect(20);
    let history = history
        .remove("2_gone")
        .migration("1_init", "CREATE TABLE a (id bigint);")
        .migration("0_late", "SELECT 1;");
    let run = status(&history, &database).run().expect(10);
    assert_eq!(
        listed(&run),
        [
            "0_late pending [late]",
            "1_init applied [edited]",
            "2_gone applied [missing]",
            "4_bad rolled_back []"
        ]
    );
    let logs = &run.report.as_ref().unwrap()["migrations"][3]["logs"];
    assert!(logs.as_str().unwrap().contains("division by zero"), "{run}");

    let text = status(&history, &database)
        .arg("--log-format")
        .arg("text")
        .run()
        .expect(10);
    for line in [
        "pending      0_late  late: a later one is applied",
        "the file was edited since",
        "not in the artifact",
        "rolled back  4_bad",
        "ERROR: division by zero",
    ] {
        assert!(text.stdout.contains(line), "{line}\n{text}");
    }
}

#[test]
fn of_many_applied_ones_the_last_are_shown() {
    let database = Server::shared().database();
    let many = (10..25).fold(History::new(), |history, n| {
        history.migration(&format!("{n}_m"), "SELECT 1;")
    });
    deploy(&many, &database).run().expect(0);
    let text = status(&many, &database).arg("--log-format").arg("text").run().expect(0);
    assert!(text.stdout.contains("… 5 more applied before these"), "{text}");
    assert!(!text.stdout.contains("14_m") && text.stdout.contains("15_m"), "{text}");
}

#[test]
fn what_runs_now_is_named_with_who_is_in_its_way() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    let gate = Gate::closed(&database);
    let history = history.migration("2_slow", Gate::WAIT);
    let running = deploy(&history, &database).arg("--lock-timeout").arg("0").spawn();
    gate.reached();
    let run = status(&history, &database).run().expect(10);
    gate.open();
    running.wait().expect(0);
    let now = &run.report.as_ref().unwrap()["running"];
    assert_eq!(now["migration"], "2_slow", "{run}");
    assert_eq!(now["waits_for"], "Lock advisory", "{run}");
    assert_eq!(now["blocked_by"].as_array().unwrap().len(), 1, "{run}");
    assert!(
        now["application_name"]
            .as_str()
            .unwrap()
            .starts_with("prisma-migrate-task/"),
        "{run}"
    );
}

#[test]
fn an_unmanaged_database_with_tables_is_what_deploy_would_refuse() {
    let database = Server::shared().database();
    database.execute("CREATE TABLE a (id int)");
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let run = status(&history, &database).run().expect(23);
    assert_eq!(failure(&run)["prisma_code"], "P3005");
    assert_eq!(names(&run, "pending"), ["1_init"]);
    assert!(!database.has_ledger());
}
