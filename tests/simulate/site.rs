//! A stack with the world around it: its database, its bucket, its cluster.

use std::time::Duration;

use harness::ecs::{Definition, Ecs};
use harness::history::{History, Layout};
use harness::postgres::{Database, Server};
use harness::s3::{Created, S3};
use harness::until;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::cloud::{Stack, moto, resolve};

/// One test's own.
pub struct Site {
    pub stack: Stack,
    pub database: Database,
    pub s3: S3,
    pub ecs: Ecs,
    pub bucket: String,
    pub key: String,
}

impl Site {
    /// A bucket with versions, the login a secret that the program fetches.
    pub fn versioned() -> Site {
        let database = Server::shared().database();
        let name = format!("newsroom/{}", uuid::Uuid::new_v4());
        let login = json!({ "username": database.user(), "password": database.password() });
        let secret = json!({ "Name": name, "SecretString": login.to_string() });
        moto().call("secretsmanager", "create_secret", &secret);
        let port = database.port().to_string();
        let parameters = [
            ("Host", database.host()),
            ("Port", &port),
            ("Name", database.name()),
            ("Login", &name),
            ("RiffRaffDeploymentId", "17"),
        ];
        let stack = Stack::deploy("simulation/versioned", &parameters);
        Site::around(stack, database)
    }

    /// The account's bucket, without versions; the password a SecureString that ECS injects.
    pub fn unversioned() -> Site {
        let database = Server::shared().database();
        let name = format!("/newsroom/{}", uuid::Uuid::new_v4());
        let password = json!({ "Name": name, "Value": database.password(), "Type": "SecureString" });
        moto().call("ssm", "put_parameter", &password);
        let port = database.port().to_string();
        let parameters = [
            ("Host", database.host()),
            ("Port", &port),
            ("Name", database.name()),
            ("Login", &name),
            ("User", database.user()),
        ];
        let stack = Stack::deploy("simulation/unversioned", &parameters);
        let site = Site::around(stack, database);
        site.s3.unversioned(&site.bucket);
        site
    }

    /// The stack's task definition in an ECS that runs it, and all that it needs.
    pub fn around(stack: Stack, database: Database) -> Site {
        let definition = stack.task_definition();
        Site::with(stack, database, &definition)
    }

    /// The same with a task definition that is given.
    pub fn with(stack: Stack, database: Database, definition: &Value) -> Site {
        let (s3, ecs) = (S3::start(), Ecs::start(PROGRAM));
        ecs.add_cluster(&stack.output("MigrateCluster"));
        ecs.platform(s3.environment());
        ecs.platform([("AWS_ENDPOINT_URL_SECRETS_MANAGER".to_owned(), moto().endpoint())]);
        for secret in database.secrets() {
            ecs.secret(secret);
        }
        ecs.secret(s3.secret_key());
        let arn = definition["taskDefinitionArn"].as_str().unwrap();
        // Other tests have revisions of the same family.
        while ecs.register(read(definition)) != arn {}
        let variable = |name: &str| variable(definition, name).unwrap_or_else(|| panic!("no {name} in {definition:#}"));
        Site {
            bucket: variable("ARTIFACT_BUCKET"),
            key: variable("PRISMA_ARTIFACT_KEY"),
            stack,
            database,
            s3,
            ecs,
        }
    }

    /// Uploads a history; what S3 knows of the object.
    pub fn upload(&self, history: &History) -> Created {
        self.s3.put(&self.bucket, &self.key, history.zip(Layout::Folder));
        self.s3.created().pop().unwrap()
    }

    /// EventBridge: the rules that match start their tasks. The tasks.
    pub fn deliver(&self, event: &Value) -> Vec<String> {
        let rules = self.stack.rules("ecs");
        let started = rules.into_iter().filter(|rule| rule.matches(event)).map(|rule| {
            let ecs = &rule.target["EcsParameters"];
            assert_eq!(
                (&ecs["TaskCount"], &ecs["LaunchType"]),
                (&json!(1), &json!("FARGATE")),
                "{ecs}"
            );
            let overrides = rule.input(event).expect("EventBridge can make the input");
            self.ecs.run_task(json!({
                "cluster": rule.target["Arn"],
                "taskDefinition": ecs["TaskDefinitionArn"],
                "launchType": ecs["LaunchType"],
                "overrides": overrides,
                "startedBy": format!("events-rule/{}", rule.name),
            }))
        });
        started.collect()
    }

    /// An upload, delivered once, and its task at its end: the task, and its container's exit code.
    pub fn deploy(&self, history: &History) -> (String, Option<i64>) {
        let created = self.upload(history);
        self.run(&created.event())
    }

    /// The one task of an event, at its end.
    pub fn run(&self, event: &Value) -> (String, Option<i64>) {
        let mut tasks = self.deliver(event);
        assert_eq!(tasks.len(), 1, "one rule starts one task");
        let task = tasks.remove(0);
        let code = self.exit_code(&task);
        (task, code)
    }

    /// What its container exits with.
    pub fn exit_code(&self, task: &str) -> Option<i64> {
        let stopped = self.ecs.stopped(task);
        let containers = stopped["containers"].as_array().unwrap();
        let ours = containers
            .iter()
            .find(|container| container["name"] == "migrate")
            .unwrap();
        ours["exitCode"].as_i64()
    }

    /// The outcome, which the task prints. What it logs beside it comes by another pipe, and may come after it.
    pub fn outcome(&self, task: &str) -> Value {
        let log = self.ecs.log(task);
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut outcomes = lines
            .map(|mut line| line["outcome"].take())
            .filter(|outcome| outcome["run_id"].is_string() && outcome["result"].is_string());
        outcomes.next().unwrap_or_else(|| panic!("no outcome in\n{log}"))
    }

    /// The family of its task definition.
    pub fn family(&self) -> String {
        let definition = self.stack.output("MigrateTaskDefinition");
        let name = definition.rsplit('/').next().unwrap();
        name.split(':').next().unwrap().to_owned()
    }

    /// The names in the ledger of what is applied.
    pub fn applied(&self) -> Vec<String> {
        let rows = self.database.ledger();
        let mut rows: Vec<_> = rows.into_iter().filter(|row| row.finished).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows.into_iter().map(|row| row.name).collect()
    }

    /// Waits until a migration is in `pg_sleep`.
    pub fn until_it_sleeps(&self) {
        until("the migration sleeps", || {
            self.database.scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event = 'PgSleep'") == "1"
        });
    }

    /// The messages that the alarms publish of an event.
    pub fn alarms(&self, event: &Value) -> Vec<Value> {
        let rules = self.stack.rules("sns");
        assert_eq!(
            rules.len(),
            4,
            "failed, to be started again, never started, and no exit code"
        );
        let rung = rules.into_iter().filter(|rule| rule.matches(event));
        rung.map(|rule| rule.input(event).expect("EventBridge can make the message"))
            .collect()
    }
}

/// A variable of the definition's one container.
pub fn variable(definition: &Value, name: &str) -> Option<String> {
    let variables = definition["containerDefinitions"][0]["environment"].as_array()?;
    let variable = variables.iter().find(|variable| variable["name"] == name)?;
    Some(text(&variable["value"]))
}

/// CloudFormation may hand over numbers, and ECS makes them texts.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// moto's task definition as the harness's.
fn read(definition: &Value) -> Definition {
    let containers = definition["containerDefinitions"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let container = &containers[0];
    let options = &container["logConfiguration"]["options"];
    let mut read = Definition::new(definition["family"].as_str().unwrap())
        .container(container["name"].as_str().unwrap())
        .log(
            options["awslogs-group"].as_str().unwrap(),
            options["awslogs-stream-prefix"].as_str().unwrap(),
        )
        .stop_timeout(Duration::from_secs(container["stopTimeout"].as_u64().unwrap()));
    for variable in container["environment"].as_array().unwrap() {
        read = read.env(variable["name"].as_str().unwrap(), text(&variable["value"]));
    }
    for secret in container["secrets"].as_array().into_iter().flatten() {
        let value = resolve(secret["valueFrom"].as_str().unwrap());
        read = read.secret(secret["name"].as_str().unwrap(), value);
    }
    read
}

/// A history that applies.
pub fn good() -> History {
    History::new().migration("20240101000000_init", "CREATE TABLE a (id int);")
}

/// One whose migration fails in its second statement.
pub fn bad() -> History {
    History::new().migration("20240101000000_init", "CREATE TABLE a (id int);\nSELECT nme FROM a;")
}
