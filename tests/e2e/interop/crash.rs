//! A run of ours that is killed in the middle of an ordinary migration.

use harness::history::History;
use harness::postgres::{Database, Server};

use super::{end_backends, expect_clean, migrate};
use crate::cases::{Gate, deploy, ledger, tables};

/// A database on which a run of ours was killed while it applied the second migration.
fn killed() -> (Database, History) {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let script = format!("CREATE TABLE b (id int);\n{}\nCREATE TABLE c (id int);", Gate::WAIT);
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_slow", script);
    let run = deploy(&history, &database).arg("--lock-timeout=0").spawn();
    gate.reached();
    run.kill().expect(128 + 9);
    end_backends(&database);
    gate.open();
    (database, history)
}

#[test]
fn it_leaves_nothing_that_prisma_could_see_and_prisma_applies_it() {
    let (database, history) = killed();
    assert_eq!(
        (ledger(&database), tables(&database)),
        (vec!["1_init applied".to_owned()], vec!["a".to_owned()])
    );
    let status = migrate(&history, &database, ["status"]).expect(1);
    let said = status.to_string();
    assert!(
        said.contains("not yet been applied") && said.contains("2_slow") && !said.contains("failed"),
        "{said}"
    );

    migrate(&history, &database, ["deploy"]).expect(0);
    assert_eq!(ledger(&database), ["1_init applied", "2_slow applied"]);
    assert_eq!(tables(&database), ["a", "b", "c"]);
    expect_clean(&history, &database);
}

#[test]
fn our_next_deploy_applies_it() {
    let (database, history) = killed();
    deploy(&history, &database).run().expect(0);
    assert_eq!(ledger(&database), ["1_init applied", "2_slow applied"]);
    assert_eq!(tables(&database), ["a", "b", "c"]);
    expect_clean(&history, &database);
}
