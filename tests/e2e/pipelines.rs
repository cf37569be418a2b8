//! The examples of pipelines (examples/pipelines), run as a pipeline runs them.

use crate::newsroom::{BUCKET, FAMILY, KEY, Newsroom, Tells, bad, good};
use crate::run::account::Account;
use harness::python;
use harness::tool::Tool;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const REQUIREMENTS: &str = include_str!("pipelines/requirements.txt");

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/pipelines")
        .join(name)
}

/// The script, with the real AWS CLI; its words are the task's command.
fn aws_cli(newsroom: &Newsroom, words: &[&str]) -> Output {
    let path = format!(
        "{}:{}",
        python::programs("aws-cli", REQUIREMENTS).display(),
        std::env::var("PATH").unwrap()
    );
    Command::new("sh")
        .arg(example("aws-cli.sh"))
        .args(words)
        .env_clear()
        .envs(newsroom.ecs.environment())
        .envs([
            ("PATH", path.as_str()),
            // Version 1 of the CLI knows no AWS_REGION.
            ("AWS_DEFAULT_REGION", harness::ecs::REGION),
            ("CLUSTER", newsroom.ecs.cluster()),
            ("TASK_DEFINITION", FAMILY),
            ("SUBNETS", "subnet-0a,subnet-0b"),
            ("SECURITY_GROUPS", "sg-0a"),
            ("LOG_GROUP", "/ecs/newsroom-migrate"),
            ("POLL_SECONDS", "0.2"),
        ])
        .output()
        .unwrap()
}

fn ended(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    (stdout, stderr)
}

#[test]
fn the_aws_cli_alone_takes_over_the_exit_code() {
    let newsroom = Newsroom::new();
    newsroom.put(&good());
    let (log, _) = ended(&aws_cli(&newsroom, &[]), 0);
    assert!(log.contains("20240101000000_init"), "{log}");
    assert_eq!(newsroom.tables(), "1");
    // Words with what the shell and JSON treat in ways of their own.
    let sql = "SELECT 'a \"quoted\" \\ word',\n\t-- of two lines\n'behind' AS \"said\"";
    let (log, _) = ended(&aws_cli(&newsroom, &["execute", sql]), 0);
    assert!(log.contains("quoted") && log.contains("behind"), "{log}");

    let newsroom = Newsroom::new();
    newsroom.put(&bad());
    let (_, stderr) = ended(&aws_cli(&newsroom, &["deploy"]), 20);
    assert!(stderr.contains("exit code 20"), "{stderr}");
}

#[test]
fn the_aws_cli_alone_sees_what_never_started() {
    let newsroom = Newsroom::new();
    newsroom.put(&good());
    newsroom.ecs.refuses("RESOURCE:ENI", "no free address");
    let (_, stderr) = ended(&aws_cli(&newsroom, &[]), 80);
    assert!(stderr.contains("ECS started no task: RESOURCE:ENI"), "{stderr}");
    newsroom.ecs.never_starts("CannotPullContainerError: not found");
    let (_, stderr) = ended(&aws_cli(&newsroom, &[]), 80);
    assert!(stderr.contains("CannotPullContainerError"), "{stderr}");
    assert_eq!(newsroom.tables(), "0");
}

/// The step of an example that runs the program, as its runner's shell does.
fn step(name: &str) -> String {
    let text = std::fs::read_to_string(example(name)).unwrap();
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches("- ").trim_start_matches("run: "));
    let steps: Vec<&str> = lines.filter(|line| line.starts_with("prisma-migrate-task ")).collect();
    assert_eq!(steps.len(), 1, "{name}: {steps:?}");
    steps[0].to_owned()
}

#[test]
fn the_step_of_each_pipeline_ends_as_the_migrations_end() {
    let program = Path::new(env!("CARGO_BIN_EXE_prisma-migrate-task")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    for name in ["github-actions.yml", "buildspec.yml"] {
        for (history, code) in [(bad(), 20), (good(), 0)] {
            let (newsroom, account) = (Newsroom::new(), Account::new());
            newsroom.s3.put(BUCKET, "other", "x");
            let outputs = newsroom.outputs();
            let outputs: Vec<(&str, &str)> = outputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let stack = account.stack("newsroom", None, &outputs);
            let project = history.folder();
            let line = format!("cd {} && {}", project.parent().unwrap().display(), step(name));
            let run = Tool::new("sh").verb(["-ec", &line]).without_report();
            let run = run.env("PATH", &path).env("CFN_STACK", stack);
            let mut run = run
                .envs(newsroom.ecs.environment())
                .s3(&newsroom.s3)
                .envs(account.environment())
                .spawn();
            run.wait_for_stderr("uploaded 1 migration");
            newsroom.event(&newsroom.s3.stored(BUCKET, KEY).unwrap(), Tells::Version);
            run.wait().expect(code);
        }
    }
}
