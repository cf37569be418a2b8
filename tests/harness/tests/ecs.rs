//! ECS and CloudWatch Logs of the harness keep what the real ones promise, seen through the real SDKs. The containers here are shells.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client as Logs;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::operation::run_task::builders::RunTaskFluentBuilder;
use aws_sdk_ecs::types::{
    AwsVpcConfiguration, ContainerOverride, DesiredStatus, KeyValuePair, LaunchType, NetworkConfiguration, Tag,
    TaskField, TaskOverride, TaskStopCode,
};
use harness::ecs::{Definition, Ecs, Fault, named};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

struct Setting {
    ecs: Ecs,
    client: Client,
    logs: Logs,
    runtime: Runtime,
}

const FAMILY: &str = "newsroom-migrate";

fn shell(script: &str) -> Definition {
    Definition::new(FAMILY).command(["-c", script])
}

fn setting(script: &str) -> Setting {
    let ecs = Ecs::start("/bin/sh");
    ecs.register(shell(script));
    let credentials = Credentials::new("AKIATEST", "secret", None, None, "test");
    let config = aws_sdk_ecs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(ecs.endpoint())
        .retry_config(RetryConfig::disabled())
        .credentials_provider(credentials.clone());
    let logs = aws_sdk_cloudwatchlogs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(ecs.endpoint())
        .retry_config(RetryConfig::disabled())
        .credentials_provider(credentials);
    Setting {
        client: Client::from_conf(config.build()),
        logs: Logs::from_conf(logs.build()),
        ecs,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap(),
    }
}

fn network() -> NetworkConfiguration {
    let vpc = AwsVpcConfiguration::builder().subnets("subnet-1").build().unwrap();
    NetworkConfiguration::builder().awsvpc_configuration(vpc).build()
}

fn variable(name: &str, value: &str) -> KeyValuePair {
    KeyValuePair::builder().name(name).value(value).build()
}

/// The container of the task definition: another one comes first.
fn ours(task: &aws_sdk_ecs::types::Task) -> &aws_sdk_ecs::types::Container {
    let mut all = task.containers().iter();
    all.find(|one| one.name() == Some("migrate"))
        .expect("the task has its container")
}

fn overrides(container: ContainerOverride) -> TaskOverride {
    TaskOverride::builder().container_overrides(container).build()
}

fn code<T: Debug, E: ProvideErrorMetadata + Debug, R: Debug>(result: Result<T, SdkError<E, R>>) -> String {
    let error = result.expect_err("it is refused");
    error
        .code()
        .unwrap_or_else(|| panic!("no answer: {error:?}"))
        .to_owned()
}

impl Setting {
    fn run(&self) -> RunTaskFluentBuilder {
        self.client
            .run_task()
            .cluster(self.ecs.cluster())
            .task_definition(FAMILY)
            .launch_type(LaunchType::Fargate)
            .network_configuration(network())
    }

    fn start(&self, request: RunTaskFluentBuilder) -> String {
        let answer = self.runtime.block_on(request.send()).unwrap();
        assert!(answer.failures().is_empty(), "{answer:?}");
        answer.tasks()[0].task_arn().unwrap().to_owned()
    }

    fn describe(&self, task: &str) -> aws_sdk_ecs::types::Task {
        let request = self
            .client
            .describe_tasks()
            .cluster(self.ecs.cluster())
            .tasks(task)
            .include(TaskField::Tags);
        let answer = self.runtime.block_on(request.send()).unwrap();
        assert!(answer.failures().is_empty(), "{answer:?}");
        answer.tasks()[0].clone()
    }

    /// The messages of a page, and its tokens: forward, backward.
    fn page(&self, task: &str, token: Option<&str>) -> (Vec<String>, String, String) {
        let stream = format!("ecs/migrate/{}", task.rsplit('/').next().unwrap());
        let request = self
            .logs
            .get_log_events()
            .log_group_name(format!("/ecs/{FAMILY}"))
            .log_stream_name(stream);
        let request = request.start_from_head(true).set_next_token(token.map(str::to_owned));
        let page = self.runtime.block_on(request.send()).unwrap();
        let messages = page
            .events()
            .iter()
            .map(|event| event.message().unwrap().to_owned())
            .collect();
        (
            messages,
            page.next_forward_token.unwrap(),
            page.next_backward_token.unwrap(),
        )
    }
}

#[test]
fn a_task_is_a_process_with_its_exit_code_and_its_log() {
    let s = setting("echo out; echo err >&2; echo \"$A $B $C\"; printf unfinished; exit 20");
    let definition = shell("echo out; echo err >&2; echo \"$A $B $C\"; printf unfinished; exit 20")
        .env("A", "from the definition")
        .secret("B", "resolved");
    s.ecs.register(definition.env("C", "before"));
    s.ecs.platform([("A".to_owned(), "from the platform".to_owned())]);
    let container = ContainerOverride::builder()
        .name("migrate")
        .environment(variable("C", "overridden"))
        .build();
    let request = s
        .run()
        .overrides(overrides(container))
        .started_by("a/person_1")
        .tags(Tag::builder().key("Stage").value("CODE").build());
    let task = s.start(request);
    s.ecs.stopped(&task);

    let shown = s.describe(&task);
    assert_eq!(ours(&shown).name(), Some("migrate"));
    assert_eq!(ours(&shown).exit_code(), Some(20));
    assert_eq!(shown.stop_code(), Some(&TaskStopCode::EssentialContainerExited));
    assert_eq!(shown.stopped_reason(), Some("Essential container in task exited"));
    assert_eq!(
        (shown.last_status(), shown.desired_status()),
        (Some("STOPPED"), Some("STOPPED"))
    );
    assert_eq!(shown.started_by(), Some("a/person_1"));
    assert_eq!(shown.tags()[0].value(), Some("CODE"));
    assert!(
        shown
            .task_definition_arn()
            .unwrap()
            .ends_with(":task-definition/newsroom-migrate:2"),
        "{shown:?}"
    );
    let all = shown.overrides().unwrap().container_overrides();
    let ours = all.iter().find(|one| one.name() == Some("migrate")).unwrap();
    assert_eq!(ours.environment(), [variable("C", "overridden")]);
    let times = [
        shown.created_at(),
        shown.started_at(),
        shown.stopping_at(),
        shown.stopped_at(),
    ]
    .map(|at| at.unwrap().as_secs_f64());
    assert!(times.is_sorted() && times[0] > 1_700_000_000.0, "{times:?}");

    let (mut said, ..) = s.page(&task, None);
    // What two pipes carry has an order each, and none between them.
    let err = said.iter().position(|line| line == "err").unwrap();
    said.remove(err);
    assert_eq!(said, ["out", "from the definition resolved overridden", "unfinished"]);
}

#[test]
fn a_container_sees_its_definition_and_nothing_of_the_test() {
    let s = setting("exit 1");
    let container = ContainerOverride::builder()
        .name("migrate")
        .command("-c")
        .command("set; pwd")
        .build();
    let task = s.start(s.run().overrides(overrides(container)));
    assert_eq!(named(&s.ecs.stopped(&task)["containers"], "migrate")["exitCode"], 0);
    let log = s.ecs.log(&task);
    for expected in ["AWS_EXECUTION_ENV='AWS_ECS_FARGATE'", "AWS_REGION='eu-west-1'"] {
        assert!(log.contains(expected), "{log}");
    }
    for name in ["HOME=", "CARGO", "USER="] {
        assert!(!log.contains(name), "{log}");
    }
    assert_eq!(log.lines().last(), Some("/"));
}

#[test]
fn the_metadata_names_the_task_and_its_log() {
    let s = setting("exit 0");
    let task = s
        .ecs
        .run_task(json!({ "cluster": s.ecs.cluster(), "taskDefinition": FAMILY }));
    let id = task.rsplit('/').next().unwrap();
    let get = |path: &str| -> Value {
        use std::io::{Read, Write};
        let address = s.ecs.endpoint().replace("http://", "");
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let of_task = get(&format!("/v4/{id}-1/task"));
    assert_eq!(
        (&of_task["TaskARN"], &of_task["Family"], &of_task["Revision"]),
        (&json!(task), &json!(FAMILY), &json!("1"))
    );
    let container = get(&format!("/v4/{id}-1"));
    assert_eq!(container["LogOptions"]["awslogs-stream"], format!("ecs/migrate/{id}"));
    assert_eq!(container["LogOptions"]["awslogs-group"], format!("/ecs/{FAMILY}"));
}

#[test]
fn a_client_token_starts_one_task() {
    let s = setting("exit 0");
    let first = s.start(s.run().client_token("one"));
    s.ecs.stopped(&first);
    assert_eq!(s.start(s.run().client_token("one")), first);
    assert_ne!(s.start(s.run().client_token("two")), first);
    let other = s
        .runtime
        .block_on(s.run().client_token("one").started_by("another").send());
    let error = other.unwrap_err().into_service_error();
    let aws_sdk_ecs::operation::run_task::RunTaskError::ConflictException(conflict) = error else {
        panic!("{error:?}");
    };
    assert_eq!(conflict.resource_ids(), [first]);
    // The answer is lost, the task is there.
    s.ecs.fault("RunTask", Fault::CloseAfter, 1);
    let before = s.ecs.tasks().len();
    assert!(s.runtime.block_on(s.run().client_token("three").send()).is_err());
    assert_eq!(s.ecs.tasks().len(), before + 1);
    assert_eq!(Some(&s.start(s.run().client_token("three"))), s.ecs.tasks().last());
}

#[test]
fn what_run_task_refuses() {
    let s = setting("exit 0");
    let refused = |request: RunTaskFluentBuilder| code(s.runtime.block_on(request.send()));
    assert_eq!(refused(s.run().cluster("elsewhere")), "ClusterNotFoundException");
    assert_eq!(refused(s.run().task_definition("nothing")), "ClientException");
    assert_eq!(
        refused(s.run().task_definition("newsroom-migrate:2")),
        "ClientException"
    );
    assert_eq!(
        refused(s.run().set_network_configuration(None)),
        "InvalidParameterException"
    );
    assert_eq!(refused(s.run().started_by("a person")), "InvalidParameterException");
    assert_eq!(refused(s.run().count(2)), "UnknownOperationException");
    let named = |name: &str, value: &str| {
        let container = ContainerOverride::builder()
            .name(name)
            .environment(variable("V", value))
            .build();
        s.run().overrides(overrides(container))
    };
    assert_eq!(refused(named("another", "")), "InvalidParameterException");
    // To the character: what is around the value counts too.
    let around =
        json!({ "containerOverrides": [{ "name": "migrate", "environment": [{ "name": "V", "value": "" }] }] });
    let room = 8192 - around.to_string().len();
    s.start(named("migrate", &"x".repeat(room)));
    assert_eq!(
        refused(named("migrate", &"x".repeat(room + 1))),
        "InvalidParameterException"
    );

    s.ecs.refuses("RESOURCE:MEMORY", "no room");
    let before = s.ecs.tasks();
    let answer = s.runtime.block_on(s.run().send()).unwrap();
    assert!(answer.tasks().is_empty());
    assert_eq!(
        (answer.failures()[0].reason(), answer.failures()[0].detail()),
        (Some("RESOURCE:MEMORY"), Some("no room"))
    );
    assert_eq!(s.ecs.tasks(), before);
}

#[test]
fn a_task_that_never_starts_has_no_exit_code_and_no_log() {
    let s = setting("exit 0");
    let reason = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found";
    s.ecs.never_starts(reason);
    let task = s.start(s.run());
    s.ecs.stopped(&task);
    let shown = s.describe(&task);
    assert_eq!(shown.stop_code(), Some(&TaskStopCode::TaskFailedToStart));
    assert_eq!(shown.stopped_reason(), Some(reason));
    assert_eq!((ours(&shown).exit_code(), ours(&shown).reason()), (None, Some(reason)));
    assert_eq!(shown.started_at(), None);
    let id = task.rsplit('/').next().unwrap();
    let log = || {
        let request = s.logs.get_log_events().log_group_name(format!("/ecs/{FAMILY}"));
        code(
            s.runtime
                .block_on(request.log_stream_name(format!("ecs/migrate/{id}")).send()),
        )
    };
    assert_eq!(log(), "ResourceNotFoundException");
    // Only that one, and another's stream does not help.
    let next = s.start(s.run());
    assert_eq!(named(&s.ecs.stopped(&next)["containers"], "migrate")["exitCode"], 0);
    assert_eq!(log(), "ResourceNotFoundException");
}

#[test]
fn stop_task_is_sigterm_and_then_sigkill() {
    for (script, expected) in [
        (
            "trap 'echo stopping; exit 60' TERM; echo ready; while :; do sleep 0.05; done",
            60,
        ),
        ("trap '' TERM; echo ready; while :; do sleep 0.05; done", 137),
    ] {
        let s = setting(script);
        if expected == 137 {
            s.ecs.stop_timeout(Duration::from_millis(100));
        }
        let task = s.start(s.run());
        s.ecs.says(&task, "ready");
        assert_eq!(s.describe(&task).last_status(), Some("RUNNING"));
        assert_eq!(s.describe(&task).containers()[0].exit_code(), None);
        let stop = s
            .client
            .stop_task()
            .cluster(s.ecs.cluster())
            .task(&task)
            .reason("enough");
        let answer = s.runtime.block_on(stop.send()).unwrap();
        assert_eq!(answer.task().unwrap().desired_status(), Some("STOPPED"));
        s.ecs.stopped(&task);
        let shown = s.describe(&task);
        assert_eq!(shown.stop_code(), Some(&TaskStopCode::UserInitiated));
        assert_eq!(shown.stopped_reason(), Some("enough"));
        assert_eq!(ours(&shown).exit_code(), Some(expected));
        assert_eq!(s.ecs.log(&task).contains("stopping"), expected == 60);
    }
}

#[test]
fn a_task_that_is_stopped_before_it_starts_has_no_exit_code() {
    let s = setting("exit 0");
    s.ecs.hold();
    let task = s.start(s.run());
    harness::until("it is pending", || s.describe(&task).last_status() == Some("PENDING"));
    let stop = s.client.stop_task().cluster(s.ecs.cluster()).task(&task);
    s.runtime.block_on(stop.send()).unwrap();
    s.ecs.stopped(&task);
    let shown = s.describe(&task);
    assert_eq!(
        (shown.stop_code(), ours(&shown).exit_code()),
        (Some(&TaskStopCode::UserInitiated), None)
    );
    let other = s.start(s.run());
    s.ecs.release();
    assert_eq!(named(&s.ecs.stopped(&other)["containers"], "migrate")["exitCode"], 0);
    let stop = s
        .client
        .stop_task()
        .cluster(s.ecs.cluster())
        .task("0123456789abcdef0123456789abcdef");
    assert_eq!(code(s.runtime.block_on(stop.send())), "InvalidParameterException");
}

#[test]
fn a_container_out_of_memory_is_killed() {
    let s = setting("");
    s.ecs.register(shell("echo ready; while :; do sleep 0.05; done"));
    let task = s.start(s.run());
    s.ecs.says(&task, "ready");
    s.ecs.out_of_memory(&task);
    s.ecs.stopped(&task);
    let shown = s.describe(&task);
    assert_eq!(shown.stop_code(), Some(&TaskStopCode::EssentialContainerExited));
    let ours = shown
        .containers()
        .iter()
        .find(|one| one.name() == Some("migrate"))
        .unwrap();
    assert_eq!(ours.exit_code(), Some(137));
    assert!(ours.reason().unwrap().starts_with("OutOfMemoryError"), "{ours:?}");
    assert_eq!(shown.containers()[0].exit_code(), Some(0), "the agent comes first");
}

#[test]
fn tasks_are_listed_by_what_they_are_page_by_page() {
    let s = setting("exit 0");
    s.ecs.register(Definition::new("other").command(["-c", "exit 0"]));
    let mut ours: Vec<String> = (0..5).map(|_| s.start(s.run())).collect();
    let theirs = s.start(s.run().task_definition("other").started_by("gate"));
    for task in s.ecs.tasks() {
        s.ecs.stopped(&task);
    }
    ours.sort();
    let list = || s.client.list_tasks().cluster(s.ecs.cluster());
    let all = |request: aws_sdk_ecs::operation::list_tasks::builders::ListTasksFluentBuilder| {
        let pages = s
            .runtime
            .block_on(request.into_paginator().send().collect::<Result<Vec<_>, _>>())
            .unwrap();
        let mut found: Vec<String> = pages.iter().flat_map(|page| page.task_arns().to_vec()).collect();
        found.sort();
        (pages.len(), found)
    };
    s.ecs.page(2);
    assert_eq!(
        all(list().family(FAMILY).desired_status(DesiredStatus::Stopped)),
        (3, ours)
    );
    assert_eq!(
        all(list().family(FAMILY)).1,
        Vec::<String>::new(),
        "RUNNING unless it is said"
    );
    assert_eq!(
        all(list().started_by("gate").desired_status(DesiredStatus::Stopped)),
        (1, vec![theirs])
    );
    let both = list().started_by("gate").family("other");
    assert_eq!(code(s.runtime.block_on(both.send())), "InvalidParameterException");

    s.ecs.hold();
    let held = s.start(s.run());
    assert_eq!(all(list().family(FAMILY)).1, [held]);
}

#[test]
fn a_task_that_is_not_known_is_a_failure_of_a_good_answer() {
    let s = setting("exit 0");
    let task = s.start(s.run());
    let describe = || {
        let request = s.client.describe_tasks().cluster(s.ecs.cluster()).tasks(&task);
        s.runtime.block_on(request.send()).unwrap()
    };
    s.ecs.fault("DescribeTasks", Fault::Unknown, 1);
    let answer = describe();
    assert_eq!(
        (answer.tasks().len(), answer.failures()[0].reason()),
        (0, Some("MISSING"))
    );
    assert_eq!(answer.failures()[0].arn(), Some(task.as_str()));
    assert_eq!(describe().tasks().len(), 1);
    s.ecs.forget(&task);
    assert_eq!(describe().failures()[0].reason(), Some("MISSING"));
    assert_eq!(s.page(&task, None).0, Vec::<String>::new(), "its log stays");
}

#[test]
fn a_definition_is_found_by_family_revision_and_arn() {
    let s = setting("exit 0");
    let second = s.ecs.register(
        shell("exit 1")
            .env("A", "b")
            .secret("DB_PASSWORD", "hush")
            .log("/logs", "prefix"),
    );
    let describe = |name: &str| {
        let request = s.client.describe_task_definition().task_definition(name);
        s.runtime.block_on(request.send())
    };
    for (name, revision) in [(FAMILY, 2), ("newsroom-migrate:1", 1), (second.as_str(), 2)] {
        let answer = describe(name).unwrap();
        assert_eq!(answer.task_definition().unwrap().revision(), revision);
    }
    let answer = describe(&second).unwrap();
    assert!(!format!("{answer:?}").contains("hush"));
    let container = &answer.task_definition().unwrap().container_definitions()[0];
    assert_eq!(container.environment(), [variable("A", "b")]);
    assert_eq!(container.secrets()[0].name(), "DB_PASSWORD");
    let options = container.log_configuration().unwrap().options().unwrap();
    assert_eq!(
        (
            options["awslogs-group"].as_str(),
            options["awslogs-stream-prefix"].as_str()
        ),
        ("/logs", "prefix")
    );
    assert_eq!(code(describe("newsroom-migrate:3")), "ClientException");
}

#[test]
fn log_events_come_page_by_page_and_the_end_repeats_its_token() {
    let s = setting("echo 1; echo 2; echo 3; echo; echo 4; echo 5; while :; do sleep 0.05; done");
    let task = s.start(s.run());
    s.ecs.says(&task, "5");
    s.ecs.page(2);
    let (mut said, mut token) = (Vec::new(), None);
    loop {
        let (messages, forward, _) = s.page(&task, token.as_deref());
        said.push(messages);
        if token.as_ref() == Some(&forward) {
            break;
        }
        token = Some(forward);
    }
    assert_eq!(said, [vec!["1", "2"], vec!["3", "4"], vec!["5"], vec![]]);
    // An empty page is not the end: its token is another one.
    s.ecs.fault("GetLogEvents", Fault::EmptyPage, 1);
    let (messages, forward, _) = s.page(&task, None);
    assert!(messages.is_empty());
    let (messages, next, backward) = s.page(&task, Some(&forward));
    assert_eq!(messages, ["1", "2"]);
    assert_ne!(next, forward);
    assert_eq!(
        s.page(&task, Some(&backward)).0,
        Vec::<String>::new(),
        "nothing is before the first"
    );
    let stream = format!("ecs/migrate/{}", task.rsplit('/').next().unwrap());
    let latest = s
        .logs
        .get_log_events()
        .log_group_name(format!("/ecs/{FAMILY}"))
        .log_stream_name(&stream);
    let latest = s.runtime.block_on(latest.send()).unwrap();
    let messages: Vec<_> = latest.events().iter().filter_map(|event| event.message()).collect();
    assert_eq!(messages, ["4", "5"], "without startFromHead it is the newest");
    let forward = s
        .logs
        .get_log_events()
        .log_group_name(format!("/ecs/{FAMILY}"))
        .log_stream_name(&stream)
        .next_token(next);
    assert_eq!(code(s.runtime.block_on(forward.send())), "InvalidParameterException");
}

#[test]
fn a_log_is_delayed_or_cut() {
    let s = setting("echo 1; echo 2; echo 3");
    s.ecs.delay_logs();
    let task = s.start(s.run());
    s.ecs.stopped(&task);
    assert_eq!(s.page(&task, None).0, Vec::<String>::new());
    s.ecs.deliver_logs();
    assert_eq!(s.page(&task, None).0, ["1", "2", "3"]);
    s.ecs.lose_logs_after(1);
    assert_eq!(s.page(&task, None).0, ["1"]);
    assert_eq!(s.ecs.log(&task), "1\n2\n3\n");
}

#[test]
fn a_line_longer_than_awslogs_reads_is_several_events() {
    let s = setting("printf '%020000d' 0");
    let task = s.start(s.run());
    s.ecs.stopped(&task);
    let lengths: Vec<usize> = s.page(&task, None).0.iter().map(String::len).collect();
    assert_eq!(lengths, [16_384, 3_616]);
}

#[test]
#[should_panic(expected = "a secret is in the log")]
fn a_secret_in_a_log_fails_the_test() {
    let s = setting("exit 0");
    s.ecs
        .register(shell("echo $P").secret("P", "qzhushxk").hush("qzhushxk"));
    let task = s.start(s.run());
    s.ecs.stopped(&task);
    s.ecs.log(&task);
}

#[test]
fn faults_meet_the_next_requests_of_their_operation() {
    let s = setting("exit 0");
    let task = s.start(s.run());
    let describe = || {
        let request = s.client.describe_tasks().cluster(s.ecs.cluster()).tasks(&task);
        s.runtime.block_on(request.send())
    };
    for (fault, expected) in [
        (Fault::Throttled, "ThrottlingException"),
        (Fault::Internal, "ServerException"),
        (Fault::ExpiredToken, "ExpiredTokenException"),
        (Fault::AccessDenied, "AccessDeniedException"),
    ] {
        s.ecs.fault("DescribeTasks", fault, 2);
        s.start(s.run());
        assert_eq!(code(describe()), expected);
        assert_eq!(code(describe()), expected);
        describe().unwrap();
    }
    s.ecs.fault("DescribeTasks", Fault::Close, 1);
    assert!(matches!(describe().unwrap_err(), SdkError::DispatchFailure(_)));
    describe().unwrap();
    s.ecs.fault("GetLogEvents", Fault::Throttled, 1);
    let log = s.logs.get_log_events().log_group_name("g").log_stream_name("s").send();
    assert_eq!(code(s.runtime.block_on(log)), "ThrottlingException");
}

#[test]
fn each_stop_is_an_event() {
    let s = setting("exit 3");
    let task = s.start(s.run().started_by("gate"));
    let event = s.ecs.stopped_event(&task);
    assert_eq!(
        (&event["source"], &event["detail-type"]),
        (&json!("aws.ecs"), &json!("ECS Task State Change"))
    );
    assert_eq!(
        (&event["account"], &event["region"], &event["resources"]),
        (&json!("123456789012"), &json!("eu-west-1"), &json!([task]))
    );
    let detail = &event["detail"];
    assert_eq!(detail["clusterArn"], s.ecs.cluster_arn());
    assert_eq!(
        (&detail["startedBy"], &detail["lastStatus"], &detail["stopCode"]),
        (&json!("gate"), &json!("STOPPED"), &json!("EssentialContainerExited"))
    );
    assert_eq!(
        (
            &named(&detail["containers"], "migrate")["exitCode"],
            &named(&detail["overrides"]["containerOverrides"], "migrate")["name"]
        ),
        (&json!(3), &json!("migrate"))
    );
    // Another container comes first, in both.
    for list in [&detail["containers"], &detail["overrides"]["containerOverrides"]] {
        assert_ne!(list[0]["name"], "migrate", "{list:#}");
    }
    let stopped_at = detail["stoppedAt"].as_str().unwrap();
    assert!(
        stopped_at.starts_with("20") && stopped_at.ends_with('Z'),
        "{stopped_at}"
    );
    let statuses: Vec<Value> = s
        .ecs
        .events()
        .iter()
        .map(|event| event["detail"]["lastStatus"].clone())
        .collect();
    assert_eq!(statuses, ["PENDING", "RUNNING", "STOPPED"]);
}

#[test]
fn requests_are_recorded_and_must_be_signed() {
    let s = setting("exit 0");
    let task = s.start(s.run().started_by("me"));
    let asked = s.ecs.requests("RunTask");
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0]["networkConfiguration"]["awsvpcConfiguration"]["subnets"],
        json!(["subnet-1"])
    );
    assert_eq!(asked[0]["startedBy"], "me");
    let config = s.client.config().to_builder().region(Region::new("us-east-1")).build();
    let elsewhere = Client::from_conf(config)
        .describe_tasks()
        .cluster(s.ecs.cluster())
        .tasks(task);
    assert_eq!(
        code(s.runtime.block_on(elsewhere.send())),
        "MissingAuthenticationTokenException"
    );
}
