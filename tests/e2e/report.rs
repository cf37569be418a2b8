//! What the run tells those who wait for it elsewhere: the report in S3, CloudFormation's answers, ECS's facts, metrics.

use harness::endpoint::{Endpoint, Reply, Request};
use harness::history::{History, Layout};
use harness::postgres::{Database, Server};
use harness::process::{Run, Signal};
use harness::s3::S3;
use harness::tool::Call;
use harness::until;
use serde_json::Value;

use crate::migrate;

const NAME: &str = "20240101000000_init";
/// What makes a presigned URL a secret.
const SIGNATURE: &str = "X-Amz-Signature=qzhushhushxk";
const KEY: &str = "shop/PROD/prisma.zip";

fn good() -> History {
    History::new().migration(NAME, "CREATE TABLE a (id int);")
}

fn bad() -> History {
    History::new().migration(
        NAME,
        "CREATE TABLE a (id int);\nSELECT nme FROM a;\nSELECT 'qzelsewherexk';",
    )
}

fn deploy(history: &History, database: &Database) -> Call {
    migrate().deploy(history.folder()).database(database)
}

/// The variables of a custom resource's event.
fn gate(call: Call, bucket: &Endpoint) -> Call {
    call.env(
        "CFN_RESPONSE_URL",
        bucket.url(&format!("/arn%3Aaws%7Cgate?{SIGNATURE}")),
    )
    .secret(SIGNATURE)
    .env("CFN_STACK_ID", "arn:aws:cloudformation:eu-west-1:1:stack/shop/1")
    .env("CFN_REQUEST_ID", "request-1")
    .env("CFN_LOGICAL_RESOURCE_ID", "Gate")
}

fn only(bucket: &Endpoint) -> (Request, Value) {
    let requests = bucket.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let body = serde_json::from_str(&requests[0].body).unwrap();
    (requests[0].clone(), body)
}

/// The last line of standard output, where no file was asked for.
fn printed(run: &Run) -> Value {
    serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap()
}

fn tables(database: &Database) -> String {
    database.scalar("SELECT count(*) FROM pg_tables WHERE tablename = 'a'")
}

#[test]
fn a_gate_is_answered_with_success() {
    let history = good();
    let (database, bucket) = (Server::shared().database(), Endpoint::start());
    gate(deploy(&history, &database), &bucket)
        .arg("--log-level=debug")
        .run()
        .expect(0);
    let (request, body) = only(&bucket);
    assert_eq!(request.method, "PUT");
    assert_eq!(request.target, format!("/arn%3Aaws%7Cgate?{SIGNATURE}"));
    // The URL is signed for none, and S3 takes no chunks without a length.
    assert_eq!(request.headers.get("content-type"), None);
    assert_eq!(request.headers["content-length"], request.body.len().to_string());
    assert_eq!(body["Status"], "SUCCESS");
    assert_eq!(body["StackId"], "arn:aws:cloudformation:eu-west-1:1:stack/shop/1");
    assert_eq!(body["RequestId"], "request-1");
    assert_eq!(body["LogicalResourceId"], "Gate");
    assert_eq!(body["Data"]["Applied"], "1");
    let first = body["PhysicalResourceId"].clone();

    let bucket = Endpoint::start();
    gate(deploy(&history, &database), &bucket).run().expect(0);
    assert_eq!(only(&bucket).1["PhysicalResourceId"], first);
    let bucket = Endpoint::start();
    let named = gate(deploy(&history, &database), &bucket).env("CFN_PHYSICAL_RESOURCE_ID", "older");
    named.run().expect(0);
    assert_eq!(only(&bucket).1["PhysicalResourceId"], "older");
}

#[test]
fn a_failure_says_what_and_where_and_how_the_database_is() {
    let history = bad();
    let (database, bucket, ecs) = (Server::shared().database(), Endpoint::start(), Endpoint::start());
    let call = gate(deploy(&history, &database), &bucket)
        .envs(ecs.ecs())
        .secret("qzelsewherexk");
    let run = call.arg("--log-format=text").run().expect(20);
    let (_, body) = only(&bucket);
    assert_eq!(body["Status"], "FAILED");
    let reason = body["Reason"].as_str().unwrap();
    let log = "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/$252Fecs$252Fmigrate/log-events/ecs$252Fmigrate$252F0123";
    for part in [
        "P3018",
        NAME,
        "SQLSTATE 42703",
        "column \"nme\" does not exist",
        "migration.sql:2:8",
        "everything of this migration was rolled back",
        log,
    ] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
    assert!(!request_holds(&bucket, "qzelsewherexk"), "{reason}");
    assert!(run.stdout.contains(&format!("log:        {log}")), "{run}");
    let task = &run.report.unwrap()["task"];
    assert_eq!(task["arn"], "arn:aws:ecs:eu-west-1:123456789012:task/newsroom/0123");
    assert_eq!((&task["family"], &task["revision"]), (&"migrate".into(), &"7".into()));
    assert_eq!(task["log_url"], log);
}

fn request_holds(endpoint: &Endpoint, text: &str) -> bool {
    endpoint.requests().iter().any(|request| request.body.contains(text))
}

#[test]
fn a_wait_condition_is_signalled() {
    for (history, code, status) in [(good(), 0, "SUCCESS"), (bad(), 20, "FAILURE")] {
        let (database, bucket) = (Server::shared().database(), Endpoint::start());
        let call = deploy(&history, &database)
            .env("CFN_SIGNAL_URL", bucket.url(&format!("/handle?{SIGNATURE}")))
            .secret(SIGNATURE);
        call.clone().env("CFN_SIGNAL_ID", "deploy-5").run().expect(code);
        let (request, body) = only(&bucket);
        assert_eq!((request.method.as_str(), &body["Status"]), ("PUT", &status.into()));
        assert_eq!(body["UniqueId"], "deploy-5");
        assert!(body["Data"].is_string() && body["Reason"].is_string(), "{body}");
    }
}

#[test]
fn an_end_after_which_the_gate_starts_the_task_again_is_answered_by_the_last_run_alone() {
    let (database, bucket) = (Server::shared().database(), Endpoint::start());
    let history = good();
    let call = || gate(deploy(&history, &database), &bucket).arg("--lock-wait=0");
    let mut holder = database.client();
    holder.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
    let run = call().env("CFN_RETRIES", "2").run().expect(30);
    assert!(
        run.stderr.contains("its gate starts the task again, 2 times more"),
        "{run}"
    );
    assert_eq!(bucket.requests().len(), 0);
    call().env("CFN_RETRIES", "0").run().expect(30);
    assert_eq!(only(&bucket).1["Status"], "FAILED");
    drop(holder);
    // What nobody tries again is answered whatever is left.
    let (other, bucket) = (Server::shared().database(), Endpoint::start());
    gate(deploy(&bad(), &other), &bucket)
        .env("CFN_RETRIES", "2")
        .run()
        .expect(20);
    assert_eq!(only(&bucket).1["Status"], "FAILED");
    let bucket = Endpoint::start();
    gate(deploy(&history, &database), &bucket)
        .env("CFN_RETRIES", "2")
        .run()
        .expect(0);
    assert_eq!(only(&bucket).1["Status"], "SUCCESS");
    let run = gate(deploy(&history, &database), &Endpoint::start())
        .env("CFN_RETRIES", "some")
        .run()
        .expect(2);
    assert!(run.stdout.contains("CFN_RETRIES is no whole number"), "{run}");
}

#[test]
fn an_answer_that_is_not_taken_is_sent_again() {
    let (database, bucket) = (Server::shared().database(), Endpoint::start());
    bucket.reply([Reply::Status(500), Reply::Close, Reply::Status(503)]);
    gate(deploy(&good(), &database), &bucket)
        .arg("--log-level=debug")
        .run()
        .expect(0);
    let bodies: Vec<String> = bucket.requests().into_iter().map(|request| request.body).collect();
    assert!(bodies.len() >= 4, "{bodies:?}");
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
}

#[test]
fn an_answer_that_is_refused_does_not_hide_the_outcome() {
    for (history, code, result) in [(good(), 70, "applied"), (bad(), 20, "failed")] {
        let (database, bucket) = (Server::shared().database(), Endpoint::start());
        bucket.always(Reply::Status(403));
        let run = gate(deploy(&history, &database), &bucket).run().expect(code);
        only(&bucket);
        let outcome = printed(&run);
        assert_eq!(
            (&outcome["result"], &outcome["exit_code"]),
            (&result.into(), &code.into())
        );
        let warning = outcome["warnings"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .as_str()
            .unwrap();
        assert!(
            warning.contains("custom resource could not be answered: it answered 403"),
            "{run}"
        );
    }
}

#[test]
fn whoever_never_takes_the_answer_does_not_outlast_the_stop() {
    let history = good();
    let (database, bucket) = (Server::shared().database(), Endpoint::start());
    bucket.always(Reply::Silence);
    let run = gate(deploy(&history, &database), &bucket)
        .arg("--stop-within=3s")
        .spawn();
    until("the answer is sent", || !bucket.requests().is_empty());
    // What is true is in the log by now, whatever becomes of the process.
    assert!(run.stderr().contains("deploy: applied"), "{}", run.stderr());
    run.signal(Signal::TERM);
    let run = run.wait().expect(70);
    assert_eq!(printed(&run)["result"], "applied");
    assert_eq!(tables(&database), "1");
}

#[test]
fn a_run_that_is_stopped_in_a_migration_answers() {
    let (database, bucket) = (Server::shared().database(), Endpoint::start());
    let history = History::new().migration(NAME, "CREATE TABLE a (id int); SELECT pg_sleep(300);");
    let run = gate(deploy(&history, &database), &bucket).spawn();
    until("it sleeps", || {
        database.scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%' AND state = 'active'") == "1"
    });
    run.signal(Signal::TERM);
    run.wait().expect(60);
    let (_, body) = only(&bucket);
    assert_eq!(body["Status"], "FAILED");
    let reason = body["Reason"].as_str().unwrap();
    assert!(
        reason.contains("stopped by SIGTERM") && reason.contains("rolled back"),
        "{reason}"
    );
}

#[test]
fn an_oversized_reason_is_cut() {
    for filler in ["x", "é", "\"", "😀"] {
        let (database, bucket) = (Server::shared().database(), Endpoint::start());
        let script = format!("DO $$ BEGIN RAISE EXCEPTION '{}'; END $$;", filler.repeat(6000));
        gate(deploy(&History::new().migration(NAME, script), &database), &bucket)
            .run()
            .expect(20);
        let (request, body) = only(&bucket);
        assert!(request.body.len() <= 4096, "{}", request.body.len());
        let reason = body["Reason"].as_str().unwrap();
        assert!(
            reason.contains(NAME) && reason.contains("P0001") && reason.contains("…; database: "),
            "{reason}"
        );
    }
}

#[test]
fn a_gate_hears_of_what_is_wrong_before_anything_runs() {
    let (database, history) = (Server::shared().database(), good());
    // A variable of a flag, a source that is not there, and a report that has no place.
    let wrong: [(&str, &str); 3] = [
        ("LOCK_WAIT", "soon"),
        ("PRISMA_ARTIFACT_KEY", "alone"),
        ("REPORT", "s3://bucket"),
    ];
    for (name, value) in wrong {
        let bucket = Endpoint::start();
        let call = match name {
            "PRISMA_ARTIFACT_KEY" => migrate().verb(["deploy"]).database(&database),
            _ => deploy(&history, &database),
        };
        let run = gate(call, &bucket).env(name, value).without_report().run().expect(2);
        let (_, body) = only(&bucket);
        assert_eq!(body["Status"], "FAILED", "{run}");
        assert!(!body["Reason"].as_str().unwrap().is_empty());
    }
    assert_eq!(tables(&database), "0");
}

#[test]
fn an_answer_that_could_not_be_given_is_a_usage_error_before_anything_runs() {
    let (database, history) = (Server::shared().database(), good());
    let urls = [
        format!("http://answers.example/?{SIGNATURE}"),
        format!("ftp://127.0.0.1/?{SIGNATURE}"),
        SIGNATURE.to_owned(),
    ];
    for url in urls {
        for name in ["CFN_RESPONSE_URL", "CFN_SIGNAL_URL"] {
            let call = deploy(&history, &database).env(name, &url).secret(SIGNATURE);
            let run = call.run().expect(2);
            assert!(run.stdout.contains(&format!("{name} is no https URL")), "{run}");
        }
    }
    let incomplete = deploy(&history, &database)
        .env("CFN_RESPONSE_URL", "https://answers.example/")
        .env("CFN_STACK_ID", "stack");
    let run = incomplete.run().expect(2);
    assert!(run.stdout.contains("CFN_LOGICAL_RESOURCE_ID is not"), "{run}");
    assert_eq!(tables(&database), "0");
}

#[test]
fn a_report_is_an_object_in_s3() {
    let history = good();
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.unversioned("reports");
    let call = deploy(&history, &database).s3(&s3).without_report();
    let run = call.arg("--report=s3://reports/a b/é.json").run().expect(0);
    let report: Value = serde_json::from_slice(&s3.get("reports", "a b/é.json").unwrap()).unwrap();
    assert_eq!(report["run_id"], printed(&run)["run_id"]);
    assert!(
        report["schema"]["objects"]
            .as_object()
            .is_some_and(|objects| !objects.is_empty())
    );
    let drift = migrate().verb(["drift", "--since", "s3://reports/a b/é.json"]);
    drift.database(&database).s3(&s3).run().expect(0);
}

#[test]
fn a_prefix_names_the_report_by_its_artifact() {
    let (s3, database) = (S3::start(), Server::shared().database());
    s3.unversioned("reports");
    s3.unversioned("plain");
    let versioned = s3.put("artifacts", KEY, good().zip(Layout::Folder));
    let plain = s3.put("plain", KEY, good().zip(Layout::Folder));
    let call = |words: &[&str]| {
        let call = migrate().verb(words).s3(&s3).database(&database).without_report();
        call.env("REPORT_PREFIX", "s3://reports/migrations/")
    };
    let etag = plain.etag.trim_matches('"').to_owned();
    let table = [
        (
            vec!["deploy", "s3://artifacts/shop/PROD/prisma.zip"],
            0,
            format!("{KEY}/{}", versioned.version),
        ),
        (
            vec!["status", "s3://plain/shop/PROD/prisma.zip"],
            0,
            format!("{KEY}/{etag}"),
        ),
        (
            vec!["deploy", "s3://artifacts/nothing.zip"],
            40,
            "nothing.zip/unread".to_owned(),
        ),
        (vec!["execute", "SELECT 1"], 0, "execute".to_owned()),
    ];
    for (words, code, folder) in table {
        let run = call(&words).run().expect(code);
        let said = if words[0] == "execute" {
            &run.stderr
        } else {
            &run.stdout
        };
        let outcome: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let key = format!("migrations/{folder}/{}.json", outcome["run_id"].as_str().unwrap());
        let report = s3.get("reports", &key).unwrap_or_else(|| panic!("no {key}\n{run}"));
        assert_eq!(serde_json::from_slice::<Value>(&report).unwrap()["exit_code"], code);
    }
    let superseded = call(&["deploy", "s3://plain/shop/PROD/prisma.zip"]).env("PRISMA_ARTIFACT_ETAG", "\"older\"");
    let run = superseded.run().expect(41);
    let key = format!(
        "migrations/{KEY}/older/{}.json",
        printed(&run)["run_id"].as_str().unwrap()
    );
    assert!(s3.get("reports", &key).is_some(), "{run}");
}

#[test]
fn a_report_that_s3_does_not_take() {
    let (s3, database, bucket) = (S3::start(), Server::shared().database(), Endpoint::start());
    s3.unversioned("reports");
    let call = |history: &History| {
        let call = gate(deploy(history, &database), &bucket).s3(&s3).without_report();
        call.arg("--report=s3://reports/r.json")
    };
    s3.fail(4, 503, "SlowDown");
    call(&good()).run().expect(0);
    assert!(s3.get("reports", "r.json").is_some());

    s3.fail(1, 403, "AccessDenied");
    let run = call(&good()).run().expect(70);
    let warning = printed(&run)["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.contains("s3:PutObject on arn:aws:s3:::reports/r.json"), "{run}");
    // The migrations are in, whatever became of the report.
    let answers: Vec<Value> = bucket
        .requests()
        .iter()
        .map(|it| serde_json::from_str(&it.body).unwrap())
        .collect();
    assert_eq!(answers.last().unwrap()["Status"], "SUCCESS");

    s3.fail(1, 403, "AccessDenied");
    call(&History::new().migration("2_bad", "SELECT nme;")).run().expect(20);
}

#[test]
fn metadata_that_never_comes_holds_nothing_up_for_long() {
    let history = good();
    let (database, ecs) = (Server::shared().database(), Endpoint::start());
    ecs.always(Reply::Silence);
    let run = deploy(&history, &database)
        .envs(ecs.ecs())
        .env("EVENT_ID", "event-1")
        .run()
        .expect(0);
    assert_eq!(ecs.requests().len(), 2);
    let report = run.report.as_ref().unwrap();
    assert_eq!(
        (&report["task"], &report["event_id"]),
        (&Value::Null, &"event-1".into())
    );
    assert!(run.stderr.contains("no answer within 2s"), "{run}");
}

#[test]
fn metrics_are_one_line_of_the_log() {
    let history = good();
    let (database, ecs) = (Server::shared().database(), Endpoint::start());
    let run = deploy(&history, &database)
        .envs(ecs.ecs())
        .arg("--metrics")
        .run()
        .expect(0);
    let lines: Vec<Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let metrics: Vec<&Value> = lines.iter().filter(|line| line.get("_aws").is_some()).collect();
    let [line] = metrics[..] else { panic!("{run}") };
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Dimensions"], serde_json::json!([["Family", "Verb"]]));
    for metric in directive["Metrics"].as_array().unwrap() {
        assert!(line[metric["Name"].as_str().unwrap()].is_u64(), "{line}");
    }
    assert_eq!(
        (&line["Family"], &line["Verb"], &line["Applied"]),
        (&"migrate".into(), &"deploy".into(), &1.into())
    );
    assert!(!deploy(&history, &database).run().expect(0).stderr.contains("_aws"));
}
