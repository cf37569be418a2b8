//! `--snapshot-before`: nothing pending, no snapshot; no snapshot, no deploy.

use harness::history::History;
use serde_json::json;

use super::account::Account;
use super::world::{INIT, World, outcome};

fn words<'a>(flag: &'a str, name: &'a str) -> [&'a str; 4] {
    ["--confirm", "--snapshot-before", flag, name]
}

#[test]
fn a_snapshot_is_taken_before_what_is_pending_is_applied() {
    let (world, account) = (World::simple(), Account::new());
    let instance = account.db_instance();
    let confirmed = || {
        let call = world.run(&words("--db-instance", &instance));
        call.envs(account.environment()).run().expect(0)
    };
    let run = confirmed();
    assert_eq!(
        (&outcome(&run)["verb"], &outcome(&run)["result"]),
        (&json!("deploy"), &json!("applied")),
        "{run}"
    );
    let snapshots = account.snapshots(&instance);
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    let (name, tags) = &snapshots[0];
    assert!(name.starts_with("before-20240101000000-init-2"), "{name}");
    assert_eq!(tags.get("prisma-migrate-task:before").map(String::as_str), Some(INIT));
    assert_eq!(world.tasks(), 2);

    // Nothing is pending any more.
    let run = confirmed();
    assert_eq!(
        (&outcome(&run)["verb"], &outcome(&run)["result"]),
        (&json!("plan"), &json!("up_to_date")),
        "{run}"
    );
    assert_eq!((account.snapshots(&instance).len(), world.tasks()), (1, 3));
}

#[test]
fn a_cluster_has_snapshots_of_its_own() {
    let (world, account) = (World::simple(), Account::new());
    let cluster = account.db_cluster();
    world
        .run(&words("--db-cluster", &cluster))
        .envs(account.environment())
        .run()
        .expect(0);
    assert!(account.cluster_snapshots(&cluster)[0].starts_with("before-20240101000000-init-2"));
    assert_eq!(world.tables(), "1");
}

#[test]
fn without_a_snapshot_nothing_is_deployed() {
    let (world, account) = (World::simple(), Account::new());
    let run = world
        .run(&words("--db-instance", "nowhere"))
        .envs(account.environment())
        .run()
        .expect(2);
    let said = outcome(&run);
    let what = said["failure"]["what"].as_str().unwrap();
    assert!(
        what.contains("there is no snapshot before-") && what.contains("nothing was deployed"),
        "{run}"
    );
    assert!(what.contains("rds:CreateDBSnapshot on nowhere"), "{run}");
    assert_eq!(
        (said["failure"]["state"].as_str(), world.tables().as_str()),
        (Some("nothing was changed"), "0")
    );

    let run = world.run(&["--confirm", "--snapshot-before"]).run().expect(2);
    assert!(
        outcome(&run)["failure"]["next"]
            .as_str()
            .unwrap()
            .contains("--db-instance"),
        "{run}"
    );
    assert_eq!(world.tasks(), 1);
}

#[test]
fn what_plan_refuses_takes_no_snapshot() {
    let history = History::new().migration(INIT, "CREATE TABLE a (id int);");
    let world = World::of(&history, |definition| definition.env("FAIL_ON", "drop"));
    let account = Account::new();
    let instance = account.db_instance();
    world.database.execute("CREATE TABLE b (id int)");
    let run = world
        .run(&words("--db-instance", &instance))
        .envs(account.environment())
        .run();
    assert_eq!(outcome(&run)["verb"], "plan", "{run}");
    assert_eq!(run.code, 23, "{run}");
    assert!(account.snapshots(&instance).is_empty());
}
