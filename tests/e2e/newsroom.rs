//! One newsroom's deployment for the client's verbs: a bucket with prisma.zip, reports, a task definition whose container is the real binary, and the
//! rule's part, played by the test: what EventBridge would start is started here.

use crate::migrate;
use harness::ecs::{Definition, Ecs};
use harness::history::{History, Layout};
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::s3::{S3, Stored};
use harness::tool::Call;
use serde_json::{Value, json};

pub const BUCKET: &str = "artifacts";
pub const KEY: &str = "newsroom/CODE/api/prisma.zip";
pub const FAMILY: &str = "newsroom-migrate";
pub const ARTIFACT: &str = "s3://artifacts/newsroom/CODE/api/prisma.zip";

pub struct Newsroom {
    pub s3: S3,
    pub ecs: Ecs,
    pub database: Database,
}

/// What the rule tells a task of the upload.
#[derive(Clone, Copy)]
pub enum Tells {
    /// As the construct's rule does in a bucket with versioning.
    Version,
    /// As it does in one without.
    Etag,
    /// As a rule does that passes nothing on.
    Nothing,
}

impl Newsroom {
    pub fn new() -> Newsroom {
        let (s3, database) = (S3::start(), Server::shared().database());
        let ecs = Ecs::start(env!("CARGO_BIN_EXE_prisma-migrate-task"));
        s3.unversioned("reports");
        ecs.platform(s3.environment());
        let definition = Definition::new(FAMILY)
            .database(&database)
            .log("/ecs/newsroom-migrate", "migrate")
            .env("ARTIFACT_BUCKET", BUCKET)
            .env("PRISMA_ARTIFACT_KEY", KEY)
            .env("REPORT_PREFIX", "s3://reports/newsroom");
        ecs.register(definition.hush(s3.secret_key()));
        Newsroom { s3, ecs, database }
    }

    /// Stores the artifact.
    pub fn put(&self, history: &History) -> Stored {
        self.s3.put(BUCKET, KEY, history.zip(Layout::Folder))
    }

    /// What the rule does with the event of an upload; the task's ARN.
    pub fn event(&self, stored: &Stored, tells: Tells) -> String {
        let etag = json!({ "name": "PRISMA_ARTIFACT_ETAG", "value": stored.etag.trim_matches('"') });
        let version = json!({ "name": "PRISMA_ARTIFACT_VERSION_ID", "value": stored.version });
        let environment = match tells {
            Tells::Version => json!([etag, version]),
            Tells::Etag => json!([etag]),
            Tells::Nothing => json!([]),
        };
        self.ecs.run_task(json!({
            "cluster": self.ecs.cluster(),
            "taskDefinition": FAMILY,
            "startedBy": "events-rule/newsroom",
            "overrides": { "containerOverrides": [{ "name": "migrate", "environment": environment }] },
        }))
    }

    /// A call of a client's verb that is told no place.
    pub fn bare(&self, words: &[&str]) -> Call {
        migrate()
            .verb(words)
            .without_report()
            .envs(self.ecs.environment())
            .s3(&self.s3)
            .secret(self.ecs.secret_key())
    }

    /// A call of a client's verb with this place.
    pub fn call(&self, words: &[&str]) -> Call {
        let cluster = format!("--cluster={}", self.ecs.cluster());
        let place = [&cluster, "--task-definition", FAMILY, "--reports=s3://reports/newsroom"];
        self.bare(&[words, &place[..]].concat())
    }

    /// The outputs of the construct's stack.
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        [
            ("MigrateCluster", self.ecs.cluster_arn()),
            ("MigrateTaskDefinition", FAMILY.to_owned()),
            ("MigrateContainer", "migrate".to_owned()),
            ("MigrateSubnets", "subnet-0a,subnet-0b".to_owned()),
            ("MigrateSecurityGroups", "sg-0a".to_owned()),
            ("MigrateAssignPublicIp", "DISABLED".to_owned()),
            ("MigrateLogGroup", "/ecs/newsroom-migrate".to_owned()),
            ("MigrateArtifact", ARTIFACT.to_owned()),
            ("MigrateReports", "s3://reports/newsroom".to_owned()),
            ("MigrateRule", "newsroom-upload".to_owned()),
            ("MigrateDeadLetters", "https://sqs.example/newsroom-dead".to_owned()),
        ]
        .into()
    }

    pub fn tables(&self) -> String {
        self.database
            .scalar("SELECT count(*) FROM pg_tables WHERE tablename = 'a'")
    }
}

/// The outcome, as the last line of standard output.
pub fn outcome(run: &Run) -> Value {
    let line = run.stdout.lines().last().unwrap_or_else(|| panic!("no outcome\n{run}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// What a field of the failure says.
pub fn failure(run: &Run, field: &str) -> String {
    outcome(run)["failure"][field].as_str().unwrap_or_default().to_owned()
}

pub fn good() -> History {
    History::new().migration("20240101000000_init", "CREATE TABLE a (id int);")
}

pub fn bad() -> History {
    History::new().migration("20240101000000_init", "CREATE TABLE a (id int);\nSELECT nme FROM a;")
}
