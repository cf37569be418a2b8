//! What a run meets: a database, an artifact in S3, and a task definition in ECS, whose container is the real binary.

use harness::ecs::{Definition, Ecs};
use harness::history::{History, Layout};
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::s3::S3;
use harness::tool::{Call, Tool};
use serde_json::Value;

pub const KEY: &str = "shop/PROD/db/prisma.zip";
pub const INIT: &str = "20240101000000_init";

pub struct World {
    pub ecs: Ecs,
    pub s3: S3,
    pub database: Database,
    family: String,
}

impl World {
    pub fn with(history: &History) -> World {
        World::of(history, |definition| definition)
    }

    /// One migration, which makes a table.
    pub fn simple() -> World {
        World::with(&History::new().migration(INIT, "CREATE TABLE a (id int);"))
    }

    /// A migration that runs until it is stopped, at most for a minute.
    pub fn slow() -> World {
        World::with(&History::new().migration(INIT, "CREATE TABLE a (id int); SELECT pg_sleep(60);"))
    }

    /// The task definition is `change`d before it is registered.
    pub fn of(history: &History, change: impl FnOnce(Definition) -> Definition) -> World {
        let (ecs, s3) = (Ecs::start(env!("CARGO_BIN_EXE_prisma-migrate-task")), S3::start());
        let database = Server::shared().database();
        s3.put("artifacts", KEY, history.zip(Layout::Folder));
        s3.put("reports", "made", "");
        ecs.platform(s3.environment());
        ecs.secret(s3.secret_key());
        let family = "shop-migrate".to_owned();
        let definition = Definition::new(&family).database(&database);
        let definition = definition
            .env("ARTIFACT_BUCKET", "artifacts")
            .env("PRISMA_ARTIFACT_KEY", KEY);
        ecs.register(change(definition));
        World {
            ecs,
            s3,
            database,
            family,
        }
    }

    /// `run` with these words, every flag of the place given.
    pub fn run(&self, words: &[&str]) -> Call {
        let place = [
            "--cluster",
            self.ecs.cluster(),
            "--task-definition",
            &self.family,
            "--subnets",
            "subnet-1,subnet-2",
            "--security-groups",
            "sg-1",
        ];
        self.anywhere(["run"].iter().chain(&place).chain(words))
    }

    /// The same on a terminal of its own, made by `script` of util-linux; standard output and error both come in as `stdout`.
    pub fn run_on_a_terminal(&self, words: &str) -> Call {
        let program = env!("CARGO_BIN_EXE_prisma-migrate-task");
        let line = format!(
            "'{program}' run --cluster {} --task-definition {} --subnets subnet-1 --security-groups sg-1 {words}",
            self.ecs.cluster(),
            self.family
        );
        let script = Tool::new("script").verb(["-qec", &line, "/dev/null"]);
        self.placed(script.env("SHELL", "/bin/sh").env("TERM", "xterm"))
    }

    /// A call with these words and nothing of the place.
    pub fn anywhere<'a>(&self, words: impl Iterator<Item = &'a &'a str>) -> Call {
        self.placed(crate::migrate().verb(words))
    }

    fn placed(&self, call: Call) -> Call {
        let call = call.without_report().envs(self.ecs.environment()).s3(&self.s3);
        call.secret(&self.database.secrets()[0])
            .secret(&self.database.secrets()[1])
    }

    /// The only task that there is.
    pub fn task(&self) -> String {
        let tasks = self.ecs.tasks();
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        tasks[0].clone()
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.ecs.tasks().len()
    }

    pub fn tables(&self) -> String {
        self.database
            .scalar("SELECT count(*) FROM pg_tables WHERE tablename = 'a'")
    }

    /// Ends what [`World::slow`] runs.
    pub fn cancel(&self) {
        let sleeping = "query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() AND datname = current_database()";
        self.database.execute(&format!(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {sleeping}"
        ));
    }

    /// Registers the task definition under another family too, with these tags.
    pub fn register_as(&self, family: &str, tags: &[(&str, &str)]) -> String {
        let definition = Definition::new(family).database(&self.database);
        let definition = definition.env("ARTIFACT_BUCKET", "artifacts");
        let definition = definition.env("PRISMA_ARTIFACT_KEY", KEY);
        let tagged = tags
            .iter()
            .fold(definition, |definition, (key, value)| definition.tag(key, value));
        self.ecs.register(tagged)
    }

    /// The command of the last task that was asked for.
    pub fn command(&self) -> Vec<String> {
        let requests = self.ecs.requests("RunTask");
        let command = &requests.last().unwrap()["overrides"]["containerOverrides"][0]["command"];
        serde_json::from_value(command.clone()).unwrap()
    }
}

/// The outcome on standard output, which is its last line where it is JSON.
pub fn outcome(run: &Run) -> Value {
    serde_json::from_str(run.stdout.lines().last().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}\n{run}"))
}
