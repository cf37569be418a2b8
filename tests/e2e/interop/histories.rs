//! Half-done histories of either side, gone on with by the other.

use harness::history::History;
use harness::postgres::{Database, Server};
use harness::tool::Call;

use super::{end_backends, expect_clean, migrate};
use crate::cases::{Gate, deploy, failure, ledger, tables, tool};

fn resolve(history: &History, database: &Database, flag: &str, name: &str) -> Call {
    tool()
        .verb(["resolve", flag, name])
        .arg(history.folder())
        .database(database)
}

/// Three migrations, the second of which fails.
fn bad() -> History {
    History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_bad", "CREATE TABLE b (id int); SELECT 1/0;")
        .migration("3_last", "CREATE TABLE c (id int);")
}

fn mended(history: History) -> History {
    history.migration("2_bad", "CREATE TABLE b (id int);")
}

#[test]
fn prismas_failed_row_blocks_us_and_resolve_on_either_side_unblocks() {
    for ours in [true, false] {
        let database = Server::shared().database();
        let history = bad();
        migrate(&history, &database, ["deploy"]).expect(1);
        assert_eq!(ledger(&database), ["1_init applied", "2_bad unfinished"]);

        let run = deploy(&history, &database).run().expect(22);
        assert_eq!(
            (
                failure(&run)["prisma_code"].as_str(),
                failure(&run)["migration"].as_str()
            ),
            (Some("P3009"), Some("2_bad"))
        );
        assert!(
            failure(&run)["details"].to_string().contains("division by zero"),
            "{run}"
        );
        assert_eq!(ledger(&database), ["1_init applied", "2_bad unfinished"]);

        if ours {
            resolve(&history, &database, "--rolled-back", "2_bad").run().expect(0);
            let history = mended(history);
            migrate(&history, &database, ["deploy"]).expect(0);
            deploy(&history, &database).run().expect(0);
        } else {
            migrate(&history, &database, ["resolve", "--rolled-back", "2_bad"]).expect(0);
            let history = mended(history);
            deploy(&history, &database).run().expect(0);
            expect_clean(&history, &database);
        }
        assert_eq!(
            ledger(&database),
            ["1_init applied", "2_bad rolled back", "2_bad applied", "3_last applied"]
        );
        assert_eq!(tables(&database), ["a", "b", "c"]);
    }
}

#[test]
fn prismas_failed_row_resolved_as_applied_on_either_side() {
    for ours in [true, false] {
        let database = Server::shared().database();
        let history = bad();
        migrate(&history, &database, ["deploy"]).expect(1);
        database.execute("CREATE TABLE b (id int)");
        if ours {
            resolve(&history, &database, "--applied", "2_bad").run().expect(0);
        } else {
            migrate(&history, &database, ["resolve", "--applied", "2_bad"]).expect(0);
        }
        assert_eq!(
            ledger(&database),
            ["1_init applied", "2_bad rolled back", "2_bad applied"]
        );
        assert_eq!(
            (database.ledger()[2].steps, database.ledger()[2].logs.as_deref()),
            (0, Some(""))
        );
        deploy(&history, &database).run().expect(0);
        expect_clean(&history, &database);
    }
}

#[test]
fn a_killed_run_of_prismas_blocks_us_until_it_is_resolved() {
    let database = Server::shared().database();
    let gate = Gate::closed(&database);
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_slow", format!("CREATE TABLE b (id int); {}", Gate::WAIT));
    let prisma = harness::prisma::start(&database.url(), history.folder(), ["deploy"]);
    gate.reached();
    prisma.kill();
    end_backends(&database);
    gate.open();
    assert_eq!(ledger(&database), ["1_init applied", "2_slow unfinished"]);
    assert_eq!(database.ledger()[1].logs, None);

    let run = deploy(&history, &database).run().expect(22);
    assert_eq!(failure(&run)["prisma_code"], "P3009");
    assert!(
        failure(&run)["details"].to_string().contains("the run was killed"),
        "{run}"
    );
    resolve(&history, &database, "--rolled-back", "2_slow").run().expect(0);
    deploy(&history, &database).run().expect(0);
    assert_eq!(
        ledger(&database),
        ["1_init applied", "2_slow rolled back", "2_slow applied"]
    );
    expect_clean(&history, &database);
}

#[test]
fn our_clean_failure_does_not_block_prisma() {
    let database = Server::shared().database();
    let history = bad();
    deploy(&history, &database).run().expect(20);
    assert_eq!(ledger(&database), ["1_init applied", "2_bad rolled back"]);

    let history = mended(history);
    migrate(&history, &database, ["deploy"]).expect(0);
    assert_eq!(
        ledger(&database),
        ["1_init applied", "2_bad rolled back", "2_bad applied", "3_last applied"]
    );
    deploy(&history, &database).run().expect(0);
    expect_clean(&history, &database);
}

#[test]
fn our_partially_committed_row_blocks_prisma_and_resolve_on_either_side_unblocks() {
    for ours in [true, false] {
        let database = Server::shared().database();
        let history = bad().migration("2_bad", "CREATE TABLE b (id int); COMMIT; SELECT 1/0;");
        deploy(&history, &database).run().expect(21);

        let run = migrate(&history, &database, ["deploy"]).expect(1);
        assert!(
            run.to_string().contains("P3009") && run.to_string().contains("2_bad"),
            "{run}"
        );
        assert_eq!(ledger(&database), ["1_init applied", "2_bad unfinished"]);
        if ours {
            resolve(&history, &database, "--applied", "2_bad").run().expect(0);
            migrate(&history, &database, ["deploy"]).expect(0);
        } else {
            migrate(&history, &database, ["resolve", "--applied", "2_bad"]).expect(0);
            deploy(&history, &database).run().expect(0);
        }
        assert_eq!(
            ledger(&database),
            ["1_init applied", "2_bad rolled back", "2_bad applied", "3_last applied"]
        );
        expect_clean(&history, &database);
    }
}
