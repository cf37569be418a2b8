//! An upload starts the task, as the stack's rule says.

use std::time::Duration;

use harness::ecs::named;
use harness::history::History;
use serde_json::{Value, json};

use crate::site::{Site, bad, good, variable};

const FIRST: &str = "20240101000000_init";
const SECOND: &str = "20240102000000_more";

fn longer() -> History {
    good().migration(SECOND, "CREATE TABLE b (id int);")
}

/// Sleeps in its migration until there is a table `calm`.
fn slow() -> History {
    History::new().migration(
        FIRST,
        "CREATE TABLE a (id int); SELECT pg_sleep(CASE WHEN to_regclass('public.calm') IS NULL THEN 300 ELSE 0 END);",
    )
}

fn tables(site: &Site) -> String {
    site.database
        .scalar("SELECT coalesce(string_agg(tablename, ',' ORDER BY tablename), '') FROM pg_tables WHERE schemaname = 'public' AND tablename IN ('a', 'b')")
}

#[test]
fn an_upload_is_applied() {
    for site in [Site::versioned(), Site::unversioned()] {
        let created = site.upload(&good());
        let event = created.event();
        let (task, code) = site.run(&event);
        assert_eq!(code, Some(0), "{}", site.ecs.log(&task));
        assert_eq!(site.applied(), [FIRST]);
        let outcome = site.outcome(&task);
        assert_eq!(outcome["task"]["arn"], json!(task));
        assert_eq!(site.alarms(&site.ecs.stopped_event(&task)), Vec::<Value>::new());
        // What the rule told it, and nothing else.
        let shown = site.ecs.task(&task);
        let told = &named(&shown["overrides"]["containerOverrides"], "migrate")["environment"];
        let mut expected = vec![
            json!({ "name": "PRISMA_ARTIFACT_ETAG", "value": created.stored.etag.trim_matches('"') }),
            json!({ "name": "EVENT_ID", "value": event["id"] }),
        ];
        if created.stored.version != "null" {
            expected.push(json!({ "name": "PRISMA_ARTIFACT_VERSION_ID", "value": created.stored.version }));
        }
        assert_eq!(told, &json!(expected));
    }
}

#[test]
fn the_report_lies_where_the_stack_says() {
    let site = Site::versioned();
    let created = site.upload(&good());
    let (task, _) = site.run(&created.event());
    let place = site.stack.output("MigrateReports");
    let prefix = place.strip_prefix(&format!("s3://{}/", site.bucket)).unwrap();
    let run = site.outcome(&task)["run_id"].as_str().unwrap().to_owned();
    let key = format!("{prefix}/{}/{}/{run}.json", site.key, created.stored.version);
    let report = site.s3.get(&site.bucket, &key).unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(serde_json::from_slice::<Value>(&report).unwrap()["exit_code"], 0);
    // The report is an upload too, and starts nothing.
    let report = site.s3.created().pop().unwrap();
    assert_eq!(report.key, key);
    assert_eq!(site.deliver(&report.event()), Vec::<String>::new());
}

#[test]
fn another_key_and_another_bucket_start_nothing() {
    let site = Site::unversioned();
    let created = site.upload(&good());
    for (name, value) in [("key", "newsroom/PROD/api/prisma.zip"), ("bucket", "another")] {
        let mut other = created.clone();
        match name {
            "key" => value.clone_into(&mut other.key),
            _ => value.clone_into(&mut other.bucket),
        }
        assert_eq!(site.deliver(&other.event()), Vec::<String>::new(), "{name}");
    }
    assert_eq!(site.deliver(&created.event()).len(), 1);
}

#[test]
fn a_migration_that_fails_leaves_nothing_and_rings() {
    let site = Site::versioned();
    let (task, code) = site.deploy(&bad());
    assert_eq!(code, Some(20));
    assert_eq!(tables(&site), "");
    let rung = site.alarms(&site.ecs.stopped_event(&task));
    assert_eq!(rung.len(), 1, "{rung:?}");
    assert_eq!(named(&rung[0]["containers"], "migrate")["exitCode"], 20);
    assert_eq!(rung[0]["task"], json!(task));
    // The next upload mends it.
    let (_, code) = site.deploy(&good());
    assert_eq!((code, tables(&site).as_str()), (Some(0), "a"));
}

#[test]
fn an_event_that_comes_twice_applies_once() {
    for site in [Site::versioned(), Site::unversioned()] {
        let created = site.upload(&good());
        let (first, second) = (created.event(), created.event());
        // At the same time, so that one waits for the other.
        let tasks = [site.deliver(&first), site.deliver(&second)].concat();
        assert_eq!(tasks.len(), 2);
        let codes: Vec<_> = tasks.iter().map(|task| site.exit_code(task)).collect();
        assert_eq!(codes, [Some(0), Some(0)]);
        let mut results: Vec<_> = tasks.iter().map(|task| site.outcome(task)["result"].clone()).collect();
        results.sort_by_key(Value::to_string);
        assert_eq!(results, ["applied", "up_to_date"]);
        let (third, code) = site.run(&created.event());
        assert_eq!((code, &site.outcome(&third)["result"]), (Some(0), &json!("up_to_date")));
        assert_eq!(site.applied(), [FIRST]);
    }
}

#[test]
fn each_version_is_applied_as_it_is_in_whatever_order_it_comes() {
    let site = Site::versioned();
    let first = site.upload(&good());
    let second = site.upload(&longer());
    // The newer one is there already, and the first event is for the older.
    let (task, code) = site.run(&first.event());
    assert_eq!((code, tables(&site).as_str()), (Some(0), "a"));
    assert_eq!(site.outcome(&task)["artifact"]["version_id"], first.stored.version);
    let (task, code) = site.run(&second.event());
    assert_eq!((code, tables(&site).as_str()), (Some(0), "a,b"));
    assert_eq!(site.outcome(&task)["artifact"]["version_id"], second.stored.version);

    let site = Site::versioned();
    let first = site.upload(&good());
    let second = site.upload(&longer());
    let (_, code) = site.run(&second.event());
    assert_eq!((code, tables(&site).as_str()), (Some(0), "a,b"));
    // The older knows less than the database, and takes nothing back.
    let (task, code) = site.run(&first.event());
    assert_eq!(
        (code, tables(&site).as_str()),
        (Some(0), "a,b"),
        "{}",
        site.ecs.log(&task)
    );
    assert_eq!(site.applied(), [FIRST, SECOND]);
}

#[test]
fn without_versions_the_older_upload_is_superseded_and_the_newer_applied() {
    let site = Site::unversioned();
    let first = site.upload(&bad());
    let second = site.upload(&longer());
    let (task, code) = site.run(&first.event());
    assert_eq!(code, Some(41));
    assert_eq!(tables(&site), "");
    assert_eq!(site.alarms(&site.ecs.stopped_event(&task)), Vec::<Value>::new());
    let (_, code) = site.run(&second.event());
    assert_eq!((code, tables(&site).as_str()), (Some(0), "a,b"));
}

#[test]
fn an_event_of_an_unversioned_bucket_cannot_start_a_task_that_was_promised_versions() {
    let site = Site::versioned();
    let mut created = site.upload(&good());
    "null".clone_into(&mut created.stored.version);
    let rules = site.stack.rules("ecs");
    let event = created.event();
    assert!(rules[0].matches(&event));
    assert_eq!(
        rules[0].input(&event).unwrap_err(),
        "ValueError: <version> is not in the event"
    );
}

#[test]
fn a_task_that_never_starts_rings() {
    let site = Site::unversioned();
    site.ecs
        .never_starts("CannotPullContainerError: pull image manifest has been retried 7 time(s)");
    let (task, code) = site.deploy(&good());
    assert_eq!(code, None);
    let rung = site.alarms(&site.ecs.stopped_event(&task));
    assert_eq!(rung.len(), 1, "{rung:?}");
    assert_eq!(rung[0]["stopCode"], "TaskFailedToStart");
    assert!(
        rung[0]["reason"]
            .as_str()
            .unwrap()
            .starts_with("CannotPullContainerError"),
        "{rung:?}"
    );
}

#[test]
fn a_task_that_is_stopped_rolls_back_and_says_so() {
    let site = Site::versioned();
    // As much as the construct grants, of which the program leaves ten seconds.
    let definition = site.stack.task_definition();
    assert_eq!(definition["containerDefinitions"][0]["stopTimeout"], 120);
    assert_eq!(variable(&definition, "STOP_WITHIN").as_deref(), Some("110s"));
    let tasks = site.deliver(&site.upload(&slow()).event());
    site.until_it_sleeps();
    site.ecs.stop_task(&tasks[0]);
    assert_eq!(site.exit_code(&tasks[0]), Some(60));
    assert_eq!(site.ecs.task(&tasks[0])["stopCode"], "UserInitiated");
    assert_eq!(tables(&site), "");
    assert_eq!(site.outcome(&tasks[0])["exit_code"], 60);
}

#[test]
fn a_task_that_is_killed_after_its_stop_timeout_leaves_nothing_half_done() {
    let site = Site::versioned();
    let created = site.upload(&slow());
    let tasks = site.deliver(&created.event());
    site.until_it_sleeps();
    site.ecs.stop_timeout(Duration::ZERO);
    site.ecs.stop_task(&tasks[0]);
    assert_eq!(site.exit_code(&tasks[0]), Some(137));
    assert_eq!(site.alarms(&site.ecs.stopped_event(&tasks[0])).len(), 1);
    // EventBridge does not deliver again, a person does.
    site.database.execute("CREATE TABLE calm ()");
    let (task, code) = site.run(&created.event());
    assert_eq!(
        (code, tables(&site).as_str()),
        (Some(0), "a"),
        "{}",
        site.ecs.log(&task)
    );
}
