//! The task is found by its stack's outputs, and by what carries its tags.

use harness::ecs::Fault;

use super::account::Account;
use super::world::{World, outcome};

#[test]
fn a_stacks_outputs_say_all_of_it() {
    let (world, account) = (World::simple(), Account::new());
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
    world.register_as(&family);
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
