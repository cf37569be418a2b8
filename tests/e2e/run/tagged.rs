//! The task is found by its stack's outputs, and by what carries its tags.

use harness::ecs::Fault;
use harness::history::History;

use super::account::Account;
use super::world::{INIT, World, outcome};

#[test]
fn a_stacks_outputs_say_all_of_it() {
    let account = Account::new();
    let history = History::new().migration(INIT, "CREATE TABLE a (id int);");
    let world = World::of(&history, |definition| {
        definition.tag("Stage", account.stage()).tag("App", "db")
    });
    let cluster = world.ecs.cluster_arn();
    let name = account.stack(
        "shop",
        Some("db"),
        &[
            ("MigrateCluster", cluster.as_str()),
            ("MigrateTaskDefinition", "shop-migrate"),
            ("MigrateContainer", "migrate"),
            ("MigrateSubnets", "subnet-1,subnet-2"),
            ("MigrateSecurityGroups", "sg-1"),
            ("MigrateAssignPublicIp", "ENABLED"),
            ("MigrateReports", "s3://reports/shop"),
        ],
    );
    let by_name = ["run", "--cfn-stack", &name];
    let by_tags = ["run", "--stage", account.stage(), "--app", "db"];
    for words in [&by_name[..], &by_tags] {
        let run = world.anywhere(words.iter()).envs(account.environment()).run().expect(0);
        assert_eq!(outcome(&run)["result"], "planned", "{run}");
        let request = world.ecs.requests("RunTask").pop().unwrap();
        assert_eq!(
            request["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"],
            "ENABLED"
        );
        assert!(world.command().join(" ").contains("--report s3://reports/shop/runs/"));
    }

    // The stack does not tell where the log is, and whoever runs it may not ask ECS: the report has the outcome all the same.
    world.ecs.fault("DescribeTaskDefinition", Fault::AccessDenied, 1);
    let run = world
        .anywhere(by_name.iter())
        .envs(account.environment())
        .run()
        .expect(0);
    assert_eq!(outcome(&run)["result"], "planned", "{run}");
    assert!(
        run.stderr.contains("the task's log is not shown; give --log-group"),
        "{run}"
    );
}

#[test]
fn where_no_stack_has_outputs_the_tags_say_all_of_it() {
    let (world, account) = (World::simple(), Account::new());
    let cluster = account.cluster("c", None);
    world.ecs.add_cluster(&cluster);
    let family = account.definition("migrate", Some("db"));
    world.register_as(&family, &[("Stage", account.stage()), ("App", "db")]);
    account.security_group("sg");
    let parameter = account.parameter("subnet-7,subnet-8");
    let words = [
        "run",
        "--stage",
        account.stage(),
        "--app",
        "db",
        "--subnets-parameter",
        &parameter,
        "--confirm",
    ];
    let run = world.anywhere(words.iter()).envs(account.environment()).run().expect(0);
    assert_eq!(outcome(&run)["task"]["family"], family.as_str(), "{run}");
    let network = world.ecs.requests("RunTask").pop().unwrap()["networkConfiguration"]["awsvpcConfiguration"].clone();
    assert_eq!(network["subnets"], serde_json::json!(["subnet-7", "subnet-8"]));
    assert!(
        network["securityGroups"][0].as_str().unwrap().starts_with("sg-"),
        "{network}"
    );
}

/// A cluster, a security group and subnets that carry the stage; the flags that find the task by its tags.
fn tagged(world: &World, account: &Account) -> Vec<String> {
    let cluster = account.cluster("c", None);
    world.ecs.add_cluster(&cluster);
    account.security_group("sg");
    let parameter = account.parameter("subnet-7");
    let words = [
        "run",
        "--confirm",
        "--stage",
        account.stage(),
        "--app",
        "db",
        "--subnets-parameter",
        &parameter,
    ];
    words.map(str::to_owned).into()
}

fn run(world: &World, account: &Account, words: &[String]) -> harness::tool::Call {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    world.anywhere(words.iter()).envs(account.environment())
}

#[test]
fn of_a_family_that_two_stages_share_the_newest_revision_of_this_stage_is_started() {
    let (world, account) = (World::simple(), Account::new());
    let words = tagged(&world, &account);
    for stage in [account.stage(), account.stage(), "PROD"] {
        let family = account.definition_of_stage("migrate", stage, "db");
        world.register_as(&family, &[("Stage", stage), ("App", "db")]);
    }
    let done = run(&world, &account, &words).run().expect(0);
    let request = world.ecs.requests("RunTask").pop().unwrap();
    let asked = request["taskDefinition"].as_str().unwrap();
    assert!(
        asked.starts_with("arn:aws:ecs:") && asked.ends_with(":2"),
        "{asked}\n{done}"
    );
}

#[test]
fn a_task_definition_with_other_tags_than_were_asked_for_is_not_started() {
    let (world, account) = (World::simple(), Account::new());
    let words = tagged(&world, &account);
    let family = account.definition_of_stage("migrate", account.stage(), "db");
    // Whatever the tagging API knows: ECS says that this revision is of PROD, or has no stage.
    for (tags, said) in [
        (&[("Stage", "PROD"), ("App", "db")][..], "carries Stage=PROD"),
        (&[("App", "db")], "carries no tag Stage"),
    ] {
        let world = World::simple();
        world.ecs.add_cluster(&account.name("c"));
        world.register_as(&family, tags);
        let refused = run(&world, &account, &words).run().expect(2);
        let what = outcome(&refused)["failure"]["what"].as_str().unwrap().to_owned();
        assert!(what.contains(said) && what.contains("nothing is started"), "{refused}");
        assert!(world.ecs.requests("RunTask").is_empty());
    }
    // A family that is named, beside the tags: its newest revision is looked at too.
    let named = [
        "run",
        "--confirm",
        "--stage",
        account.stage(),
        "--cluster",
        world.ecs.cluster(),
        "--task-definition",
        "shop-migrate",
        "--subnets",
        "s",
        "--security-groups",
        "sg",
    ];
    let refused = world.anywhere(named.iter()).envs(account.environment()).run().expect(2);
    assert!(
        outcome(&refused)["failure"]["what"]
            .as_str()
            .unwrap()
            .contains("carries no tag Stage"),
        "{refused}"
    );
    // Nobody may know: nothing is started either.
    world.register_as(&family, &[("Stage", account.stage()), ("App", "db")]);
    world.ecs.fault("DescribeTaskDefinition", Fault::AccessDenied, 1);
    let refused = run(&world, &account, &words).run().expect(2);
    assert!(
        outcome(&refused)["failure"]["next"]
            .as_str()
            .unwrap()
            .contains("carries the tags"),
        "{refused}"
    );
    assert!(world.ecs.requests("RunTask").is_empty());
}

#[test]
fn what_is_offered_where_several_families_carry_the_tags_are_revisions() {
    let (world, account) = (World::simple(), Account::new());
    let words = tagged(&world, &account);
    let families = ["one", "two"].map(|name| account.definition(name, Some("db")));
    let refused = run(&world, &account, &words).run().expect(2);
    let what = outcome(&refused)["failure"]["what"].as_str().unwrap().to_owned();
    for family in families {
        assert!(what.contains(&format!("task-definition/{family}:1")), "{refused}");
    }
}
