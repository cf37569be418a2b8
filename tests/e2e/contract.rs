//! What the CDK constructs know of the program (cdk/contract.json), held against the program. cdk/test/contract.test.ts holds the constructs against it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use prisma_migrate_task::exit::Exit;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn contract() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("cdk/contract.json")).unwrap()).unwrap()
}

fn texts(key: &str) -> BTreeSet<String> {
    let contract = contract();
    let texts = contract[key].as_array().unwrap_or_else(|| panic!("no list {key}"));
    texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn help(words: &[&str]) -> String {
    crate::migrate().verb(words).without_report().run().expect(0).stdout
}

#[test]
fn its_exit_codes_are_those_of_the_program() {
    let codes: BTreeMap<String, String> = serde_json::from_value(contract()["exitCodes"].clone()).unwrap();
    let table = Exit::TABLE
        .iter()
        .map(|(exit, meaning)| (exit.code().to_string(), (*meaning).to_owned()));
    assert_eq!(codes, table.collect());
}

#[test]
fn it_starts_again_after_the_codes_of_which_the_program_says_so() {
    let codes: Vec<u8> = serde_json::from_value(contract()["startAgain"].clone()).unwrap();
    let again = Exit::TABLE
        .iter()
        .map(|(exit, _)| *exit)
        .filter(|exit| exit.is_start_again());
    assert_eq!(codes, again.map(Exit::code).collect::<Vec<_>>());
}

#[test]
fn its_settings_are_the_flags_of_deploy_that_have_a_variable() {
    let help = help(&["deploy", "--help"]);
    let named = help.split("[env:").skip(1).map(|rest| {
        let name = rest.trim_start();
        let end = name.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        name[..end.unwrap_or(name.len())].to_owned()
    });
    let mut settings: BTreeSet<String> = named.collect();
    // Set by the construct itself, from a prop of another kind.
    settings.remove("REPORT_PREFIX");
    assert_eq!(texts("settings"), settings);
}

#[test]
fn its_variables_are_those_that_the_program_names() {
    // What CloudFormation hands over is named in the README alone, whose tables readme.rs holds against the program.
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let help = [help(&["--help"]), help(&["deploy", "--help"]), readme].join("\n");
    let words: BTreeSet<&str> = help.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).collect();
    let unknown: Vec<String> = texts("variables")
        .into_iter()
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "neither the help nor the README names {unknown:?}");
}

#[test]
fn its_verbs_are_those_of_the_program() {
    let help = help(&["--help"]);
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    let verbs = commands.lines().filter_map(|line| {
        let verb = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
        verb.split(' ').next().map(str::to_owned)
    });
    let verbs: BTreeSet<String> = verbs.filter(|verb| verb != "help").collect();
    assert_eq!(texts("verbs"), verbs);
}

/// The operations that the AWS SDK's clients are asked for in the container, by the name of the method that begins them.
const OPERATIONS: [(&str, &str); 11] = [
    (".get_object()", "s3:GetObject"),
    (".head_object()", "s3:HeadObject"),
    (".put_object()", "s3:PutObject"),
    (".create_multipart_upload()", "s3:CreateMultipartUpload"),
    (".upload_part()", "s3:UploadPart"),
    (".complete_multipart_upload()", "s3:CompleteMultipartUpload"),
    (".abort_multipart_upload()", "s3:AbortMultipartUpload"),
    (".list_objects_v2()", "s3:ListObjectsV2"),
    (".get_secret_value()", "secretsmanager:GetSecretValue"),
    (".describe_secret()", "secretsmanager:DescribeSecret"),
    ("\"rds-db\"", "rds-db:connect"),
];

/// Those of the client's side. It has no other way to S3 than the container's.
const CLIENT_OPERATIONS: [(&str, &str); 19] = [
    (".describe_stacks()", "cloudformation:DescribeStacks"),
    (".describe_task_definition()", "ecs:DescribeTaskDefinition"),
    (".describe_tasks()", "ecs:DescribeTasks"),
    (".list_tasks()", "ecs:ListTasks"),
    (".run_task()", "ecs:RunTask"),
    (".stop_task()", "ecs:StopTask"),
    (".get_log_events()", "logs:GetLogEvents"),
    (".create_db_cluster_snapshot()", "rds:CreateDBClusterSnapshot"),
    (".create_db_snapshot()", "rds:CreateDBSnapshot"),
    (".describe_db_cluster_snapshots()", "rds:DescribeDBClusterSnapshots"),
    (".describe_db_snapshots()", "rds:DescribeDBSnapshots"),
    (
        ".get_bucket_notification_configuration()",
        "s3:GetBucketNotificationConfiguration",
    ),
    (".head_object()", "s3:HeadObject"),
    (".list_objects_v2()", "s3:ListObjectsV2"),
    (".put_object()", "s3:PutObject"),
    ("s3::whole(", "s3:GetObject"),
    ("s3::put(", "s3:PutObject"),
    (".get_parameter()", "ssm:GetParameter"),
    (".get_resources()", "tag:GetResources"),
];

#[test]
fn its_operations_are_those_that_the_source_calls() {
    let container = source(|path| !path.starts_with("pipeline"));
    assert_eq!(texts("awsOperations"), called(&OPERATIONS, &container));
}

#[test]
fn its_client_operations_are_those_that_the_source_calls() {
    let client = source(|path| path.starts_with("pipeline"));
    assert_eq!(texts("clientOperations"), called(&CLIENT_OPERATIONS, &client));
    // Whatever else a client of the SDK is asked for is not in the table yet.
    let clients = ["ecs()", "logs()", "cloudformation()", "tagging()", "ssm()", "rds()"];
    for service in clients {
        let marker = format!("clients.{service}.");
        for (at, _) in client.match_indices(&marker) {
            let rest = &client[at + marker.len() - 1..];
            let known = CLIENT_OPERATIONS.iter().any(|(method, _)| rest.starts_with(method));
            assert!(known, "no operation for {:.60}", &client[at..]);
        }
    }
}

fn called(operations: &[(&str, &str)], source: &str) -> BTreeSet<String> {
    let called = operations.iter().filter(|(method, _)| source.contains(method));
    called.map(|(_, operation)| (*operation).to_owned()).collect()
}

/// The source of the files whose paths below src are meant. Chained calls are broken over lines; the SDK's own words are not.
fn source(is_meant: impl Fn(&Path) -> bool) -> String {
    let src = root().join("src");
    let mut source = String::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if is_meant(path.strip_prefix(&src).unwrap().with_extension("").as_path()) {
                source.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    source.split_whitespace().collect()
}

#[test]
fn its_user_is_that_of_the_image() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let user = contract()["imageUser"].as_str().unwrap().to_owned();
    assert!(
        dockerfile.contains(&format!("\nUSER {user}:{user}\n")),
        "the image has another user than {user}"
    );
}
