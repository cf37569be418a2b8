//! Where the task is: what is ambiguous or missing is told before anything is started.

use super::account::Account;
use harness::process::Run;

fn run(account: &Account, words: &[&str]) -> Run {
    let stage = ["run", "--stage", account.stage()];
    let call = crate::migrate().verb(stage.iter().chain(words)).without_report();
    let call = call
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let call = call
        .env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", "not0a0secret");
    // Nothing listens there: whoever got so far would say that it was not answered.
    let call = call.env("AWS_ENDPOINT_URL_ECS", "http://127.0.0.1:9");
    call.env("LOG_FORMAT", "text").envs(account.environment()).run()
}

fn refused(account: &Account, words: &[&str]) -> String {
    run(account, words).expect(2).stdout
}

#[test]
fn without_a_word_on_where_it_is_the_ways_are_named() {
    let call = crate::migrate().verb(["run", "--log-format", "text"]).without_report();
    let run = call.env("AWS_REGION", "eu-west-1").run().expect(2);
    assert!(run.stdout.contains("nothing says where the task is"), "{run}");
    assert!(
        run.stdout
            .contains("give --cfn-stack NAME, or the tags as --stack, --stage and --app, or --cluster"),
        "{run}"
    );
}

#[test]
fn without_a_region_it_names_the_variable() {
    let call = crate::migrate().verb(["run", "--log-format", "text", "--cfn-stack", "x"]);
    let run = call
        .without_report()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .run()
        .expect(2);
    assert!(
        run.stdout.contains("no AWS region is configured") && run.stdout.contains("AWS_REGION"),
        "{run}"
    );
}

#[test]
fn two_stacks_with_the_tags_are_listed() {
    let account = Account::new();
    let outputs = [("MigrateCluster", "c"), ("MigrateTaskDefinition", "d")];
    let names = ["a", "b"].map(|name| account.stack(name, Some("db"), &outputs));
    account.stack("other", Some("db"), &[("Other", "x")]);
    let said = refused(&account, &["--app", "db"]);
    let expected = format!(
        "more than one stack with the task's outputs: {}, {}",
        names[0], names[1]
    );
    let other_order = format!(
        "more than one stack with the task's outputs: {}, {}",
        names[1], names[0]
    );
    assert!(said.contains(&expected) || said.contains(&other_order), "{said}");
    assert!(said.contains("give --cfn-stack with one of them"), "{said}");
}

fn refused_of_stack(account: &Account, name: &str) -> Run {
    let call = crate::migrate().verb(["run", "--log-format", "text", "--cfn-stack", name]);
    let call = call.without_report().env("AWS_REGION", "eu-west-1");
    let call = call
        .env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", "not0a0secret");
    call.envs(account.environment()).run().expect(2)
}

#[test]
fn a_stack_with_outputs_of_another_prefix_names_it() {
    let account = Account::new();
    let name = account.stack("a", None, &[("ShopCluster", "c"), ("ShopTaskDefinition", "d")]);
    let run = refused_of_stack(&account, &name);
    assert!(
        run.stdout
            .contains("has no outputs MigrateCluster and MigrateTaskDefinition"),
        "{run}"
    );
    assert!(run.stdout.contains("give --output-prefix Shop"), "{run}");
}

#[test]
fn a_stack_that_is_not_there_is_said_with_its_name() {
    let account = Account::new();
    let run = refused_of_stack(&account, "nowhere");
    assert!(
        run.stdout
            .contains("cloudformation:DescribeStacks on nowhere was refused"),
        "{run}"
    );
}

#[test]
fn of_what_carries_the_tags_each_is_told_that_is_ambiguous_or_missing() {
    let account = Account::new();
    let said = refused(&account, &["--app", "db"]);
    assert!(
        said.contains(&format!(
            "there is no ECS cluster with the tags Stage={}, App=db",
            account.stage()
        )),
        "{said}"
    );

    // A cluster is often shared, and then has no app.
    account.cluster("one", None);
    let said = refused(&account, &["--app", "db"]);
    assert!(said.contains("there is no task definition with the tags"), "{said}");

    // Two revisions are one family.
    let family = account.definition("migrate", Some("db"));
    account.definition("migrate", Some("db"));
    let said = refused(&account, &["--app", "db"]);
    assert!(said.contains("there is no security group with the tags"), "{said}");

    account.security_group("sg");
    let said = refused(&account, &["--app", "db"]);
    assert!(
        said.contains("ssm:GetParameter on /account/vpc/primary/subnets/private"),
        "{said}"
    );
    assert!(
        said.contains("or give --subnets, or another --subnets-parameter"),
        "{said}"
    );

    let other = account.definition("other", Some("db"));
    let said = refused(&account, &["--app", "db"]);
    assert!(
        said.contains("more than one task definition") && said.contains(&family) && said.contains(&other),
        "{said}"
    );
    assert!(said.contains("give --task-definition with one of them"), "{said}");

    account.cluster("two", Some("db"));
    account.cluster("three", Some("db"));
    let said = refused(&account, &["--app", "db"]);
    assert!(said.contains("more than one ECS cluster"), "{said}");
}
