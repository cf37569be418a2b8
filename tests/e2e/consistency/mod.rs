//! What `status`, `plan` and a dry `resolve` say of a database is what the deploy that follows does.
//!
//! Each state is made for real: by kills, failures, Prisma's rows, rows written by hand, indexes that are INVALID, files that are gone. [`check`] then
//! holds every verb to the deploy, and follows each piece of advice that a failure gives.

mod artifacts;
mod foreign;
mod interrupted;
mod places;

use crate::migrate;
use harness::history::History;
use harness::postgres::{Client, Database, Server};
use harness::process::Run;
use harness::tool::Call;
use harness::until;
use serde_json::Value;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

const BEFORE: &str = "20230101000000_before";
const NAME: &str = "20240101000000_it";
const LATER: &str = "20250101000000_later";
const TABLE: &str = "CREATE TABLE t (id int, note text); CREATE TABLE ran (step int)";

/// A database and the artifact that is deployed to it next.
struct State {
    database: Database,
    history: History,
    /// Sessions that stay open while the state is looked at.
    held: Vec<Client>,
}

/// How the deploy ends that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deploy {
    /// It changes what `status` says is pending, and nothing else.
    Applies,
    /// It has nothing to do.
    Nothing,
    /// The script fails when it runs, with this exit code: nobody can know that beforehand.
    FailsRunning(i32),
    /// It is refused with this exit code, and so are the others.
    Refused(i32),
    /// It ends with this exit code because another session works: the others say so and report what is pending.
    Waits(i32),
}

type Make = fn() -> State;

/// Checks every state, also after one that fails.
#[track_caller]
fn each(states: &[(&str, Deploy, Make)]) {
    let mut failed = Vec::new();
    for (name, deploy, make) in states {
        let ended = catch_unwind(AssertUnwindSafe(|| check(name, *deploy, *make)));
        failed.extend(ended.is_err().then_some(*name));
    }
    assert!(
        failed.is_empty(),
        "{} of {} states: {failed:?}",
        failed.len(),
        states.len()
    );
}

/// A database to which the first migration is applied, and a history with another one.
fn pending(script: &str) -> State {
    let database = Server::shared().database();
    let history = History::new().migration(BEFORE, TABLE);
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    State {
        database,
        history: history.migration(NAME, script),
        held: Vec::new(),
    }
}

impl State {
    fn sql(self, sql: &str) -> State {
        self.database.execute(sql);
        self
    }

    fn superuser(self, sql: &str) -> State {
        self.database.superuser().batch_execute(sql).unwrap();
        self
    }

    fn script(self, script: &str) -> State {
        self.history.write(format!("migrations/{NAME}/migration.sql"), script);
        self
    }

    fn deployed(self, code: i32) -> State {
        self.call("deploy", &[]).run().expect(code);
        self
    }

    fn later(self) -> State {
        State {
            history: self.history.migration(LATER, "INSERT INTO ran VALUES (100);"),
            ..self
        }
    }

    fn call(&self, verb: &str, arguments: &[&str]) -> Call {
        let call = migrate()
            .verb([verb])
            .arg(self.history.folder())
            .database(&self.database);
        arguments.iter().fold(call, |call, argument| call.arg(argument))
    }

    /// Begins a deploy, and kills it and its backend once this query is true.
    fn killed_when(mut self, true_for: &str) -> State {
        let run = self.call("deploy", &[]).spawn();
        let mut superuser = self.database.superuser();
        until(&format!("{true_for} is true"), || {
            superuser.query_one(true_for, &[]).unwrap().get::<_, Option<bool>>(0) == Some(true)
        });
        run.kill();
        until("no backend of the run is left", || {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                       AND usename <> 'postgres' AND application_name <> 'harness'";
            superuser.query(sql, &[]).unwrap().is_empty()
        });
        self.held.clear();
        self
    }

    /// An open session that has written to `t`.
    fn writer(mut self) -> State {
        let mut client = self.database.client();
        client.batch_execute("BEGIN; INSERT INTO t VALUES (0)").unwrap();
        self.held.push(client);
        self
    }

    /// An open session that holds the advisory lock in which [`GATE`] waits.
    fn gate(mut self) -> State {
        let mut client = self.database.client();
        client.batch_execute("SELECT pg_advisory_lock(42)").unwrap();
        self.held.push(client);
        self
    }

    /// A row of the migration that Prisma began and did not finish.
    fn failed_of_prisma(self) -> State {
        let sql = format!(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, logs) \
             VALUES (gen_random_uuid()::text, repeat('a', 64), '{NAME}', now(), NULL)"
        );
        self.superuser(&sql)
    }

    /// A row of ours with this mark, as an earlier build wrote it for this script.
    fn marked(self, script: &str, mark: &str) -> State {
        let sql = format!(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) \
             VALUES (md5(random()::text), encode(sha256(convert_to($script${script}$script$, 'UTF8')), 'hex'), '{NAME}', \
             'prisma-migrate-task/1 run=dead state={mark}')"
        );
        self.superuser(&sql)
    }

    /// SHA-256 of a text, as marks have it.
    fn sha256(&self, text: &str) -> String {
        let sql = format!("SELECT encode(sha256(convert_to($text${text}$text$, 'UTF8')), 'hex')");
        self.database.scalar(&sql)
    }

    /// Everything that a deploy could change, as a text.
    fn fingerprint(&self) -> String {
        if !self.exists() {
            return String::new();
        }
        let mut superuser = self.database.superuser();
        let sql = "SELECT coalesce(string_agg(format('%s %s %s %s', c.oid, n.nspname, c.relname, coalesce(i.indisvalid, true)), E'\\n' ORDER BY c.oid), '') \
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid \
                   WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";
        let mut text: String = superuser.query_one(sql, &[]).unwrap().get(0);
        let tables = superuser
            .query("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND (relname = '_prisma_migrations' OR relname IN ('t', 'ran'))", &[])
            .unwrap();
        for table in tables {
            let table: String = table.get(0);
            let sql = format!("SELECT coalesce(string_agg(r::text, E'\\n' ORDER BY r::text), '') FROM {table} AS r");
            text.push_str(&superuser.query_one(&sql, &[]).unwrap().get::<_, String>(0));
        }
        text
    }

    fn exists(&self) -> bool {
        let sql = format!("SELECT 1 FROM pg_database WHERE datname = '{}'", self.database.name());
        !Server::shared()
            .database()
            .superuser()
            .query(&sql, &[])
            .unwrap()
            .is_empty()
    }

    /// The migrations that a row says are applied, and no other row contradicts.
    fn applied(&self) -> BTreeSet<String> {
        if !self.exists() || !self.database.has_ledger() {
            return BTreeSet::new();
        }
        let sql = "SELECT migration_name FROM _prisma_migrations WHERE rolled_back_at IS NULL \
                   GROUP BY 1 HAVING bool_and(finished_at IS NOT NULL)";
        let names = self.database.superuser().query(sql, &[]).unwrap();
        names.iter().map(|row| row.get(0)).collect()
    }
}

/// What a script waits with, and how a query sees that.
const GATE: &str = "SELECT pg_advisory_xact_lock(42);";
const AT_GATE: &str = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted AND database = \
     (SELECT oid FROM pg_database WHERE datname = current_database())";

fn report(run: &Run) -> &Value {
    run.report.as_ref().unwrap_or_else(|| panic!("no report\n{run}"))
}

fn names(run: &Run, field: &str) -> BTreeSet<String> {
    let listed = report(run)[field].as_array().cloned().unwrap_or_default();
    listed
        .iter()
        .map(|name| name.as_str().or(name["name"].as_str()).unwrap().to_owned())
        .collect()
}

fn text(run: &Run, field: &str) -> String {
    report(run)["failure"][field].as_str().unwrap_or_default().to_owned()
}

/// The verbs that look agree with each other and with the deploy that follows.
#[track_caller]
fn check(name: &str, expected: Deploy, make: Make) {
    let state = make();
    let before = state.fingerprint();
    let applied_before = state.applied();
    let status = state.call("status", &[]).run();
    let plan = state.call("plan", &["--check"]).run();
    let plain = state.call("plan", &[]).run();
    let dry = dry_resolutions(&state);
    follows(name, &state, &status, make);
    assert_eq!(state.fingerprint(), before, "{name}: looking changed something");

    let patience = ["--lock-wait=1s", "--connect-timeout=5s"];
    let deploy = state.call("deploy", &patience).run();
    let told = format!("{name}: {expected:?}\n--- status\n{status}\n--- plan\n{plan}\n--- deploy\n{deploy}");
    let same_refusal = |looked: &Run| {
        assert_eq!(looked.code, deploy.code, "{told}");
        for field in ["prisma_code", "migration", "what", "next", "sqlstate"] {
            assert_eq!(text(looked, field), text(&deploy, field), "{field}: {told}");
        }
    };
    match expected {
        Deploy::Applies => {
            assert_eq!(
                (status.code, plan.code, plain.code, deploy.code),
                (10, 10, 0, 0),
                "{told}"
            );
            let changed: BTreeSet<String> = state.applied().difference(&applied_before).cloned().collect();
            assert_eq!(names(&status, "pending"), changed, "{told}");
            assert_eq!(names(&plan, "pending"), changed, "{told}");
            assert_eq!(names(&deploy, "pending"), BTreeSet::new(), "{told}");
            each_came_true(&state, &status, &deploy, &told);
        }
        Deploy::Nothing => {
            assert_eq!(
                (status.code, plan.code, plain.code, deploy.code),
                (0, 0, 0, 0),
                "{told}"
            );
            assert_eq!(names(&status, "pending"), BTreeSet::new(), "{told}");
            assert_eq!(state.fingerprint(), before, "{told}");
        }
        Deploy::FailsRunning(code) => {
            assert_eq!((status.code, plan.code, deploy.code), (10, 10, code), "{told}");
            assert!(
                names(&status, "pending").contains(&text(&deploy, "migration")),
                "{told}"
            );
        }
        Deploy::Refused(code) => {
            assert_eq!(deploy.code, code, "{told}");
            same_refusal(&status);
            same_refusal(&plan);
            same_refusal(&plain);
            assert!(names(&deploy, "applied").is_empty(), "{told}");
        }
        Deploy::Waits(code) => {
            assert_eq!((status.code, plan.code, deploy.code), (10, 10, code), "{told}");
            assert!(!names(&status, "pending").is_empty(), "{told}");
            let warned = report(&status)["warnings"].to_string();
            assert!(!warned.is_empty() && warned != "[]", "{told}");
        }
    }
    warnings_agree(&status, &deploy, &told);
    resolutions_come_true(name, dry, make);
}

/// What a deploy warns of, the others have said.
#[track_caller]
fn warnings_agree(status: &Run, deploy: &Run, told: &str) {
    let warned = report(status)["warnings"].to_string();
    for warning in report(deploy)["warnings"].as_array().unwrap() {
        let warning = warning.as_str().unwrap();
        let is_about_history = warning.starts_with("migration ") || warning.contains("in the ledger");
        assert!(
            !is_about_history || warned.contains(&warning.replace('"', "\\\"")),
            "{warning}: {told}"
        );
    }
}

/// What `status` says of each migration is what the deploy has done with it.
#[track_caller]
fn each_came_true(state: &State, status: &Run, deploy: &Run, told: &str) {
    let applied = names(deploy, "applied");
    let recovered = report(deploy)["recovered"].to_string();
    for migration in report(status)["migrations"].as_array().unwrap() {
        let name = migration["name"].as_str().unwrap();
        let does = migration["next_deploy"].as_str().unwrap_or_default();
        match migration["state"].as_str().unwrap() {
            "applied" => assert!(!applied.contains(name), "{name}: {told}"),
            "pending" | "rolled_back" => assert!(applied.contains(name) && does.is_empty(), "{name}: {told}"),
            "interrupted" | "failed" if does.contains("records it as applied") => {
                assert!(!applied.contains(name) && recovered.contains(name), "{name}: {told}");
            }
            "interrupted" | "failed" => {
                let does_so = does.contains("goes on after its first") || does.contains("runs it from the start");
                assert!(does_so && applied.contains(name), "{name}: {told}");
            }
            other => panic!("{name} is {other}: {told}"),
        }
        if let Some((_, index)) = does.split_once("drops the INVALID index ") {
            let index = index.split(',').next().unwrap();
            let dropped = format!("the index {index} was left INVALID: it is dropped");
            assert!(deploy.stderr.contains(&dropped), "{name}: {told}");
        }
    }
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(state.database.scalar(invalid), "0", "{told}");
}

/// A way to correct the ledger, and what it said it would do.
struct Dry {
    arguments: Vec<String>,
    run: Run,
}

fn dry_resolutions(state: &State) -> Vec<Dry> {
    let mut dry = Vec::new();
    for arguments in [
        vec!["--applied", NAME],
        vec!["--rolled-back", NAME],
        vec!["--accept", NAME],
        vec!["--accept-all"],
    ] {
        let arguments: Vec<&str> = arguments.into_iter().chain(["--dry-run"]).collect();
        let run = state.call("resolve", &arguments).run();
        assert_ne!(run.code, 2, "{run}");
        let arguments = arguments.iter().filter(|argument| **argument != "--dry-run");
        dry.push(Dry {
            arguments: arguments.map(|argument| (*argument).to_owned()).collect(),
            run,
        });
    }
    dry
}

/// What a dry resolve says is what the real one does; and afterwards the verbs still agree.
#[track_caller]
fn resolutions_come_true(name: &str, dry: Vec<Dry>, make: Make) {
    let nothing = ["already", "no applied migration was edited"];
    for Dry { arguments, run: dry } in dry {
        let said = report(&dry)["resolved"].to_string();
        // What is refused, or changes nothing, is not worth a database of its own.
        if dry.code != 0 || nothing.iter().any(|words| said.contains(words)) {
            continue;
        }
        let state = make();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--lock-wait=1s"]).collect();
        let real = state.call("resolve", &arguments).run();
        let told = format!("{name}: {arguments:?}\n--- dry\n{dry}\n--- real\n{real}");
        let busy = !state.held.is_empty() && real.code == 30;
        if busy {
            continue;
        }
        assert_eq!(real.code, 0, "{told}");
        let said = |run: &Run| {
            report(run)["resolved"]
                .to_string()
                .replace("dry run, nothing was written: ", "")
        };
        assert_eq!(said(&dry), said(&real), "{told}");
        assert_eq!(
            report(&dry)["warnings"].to_string(),
            report(&real)["warnings"].to_string(),
            "{told}"
        );
        let said = said(&real);
        let status = state.call("status", &[]).run();
        let of_it = |run: &Run| {
            let migrations = report(run)["migrations"].as_array().unwrap();
            let found = migrations.iter().find(|migration| migration["name"] == NAME);
            found
                .map(|migration| migration["state"].as_str().unwrap().to_owned())
                .unwrap_or_default()
        };
        if said.contains("is recorded as applied; it was not run") || said.contains("it stays applied") {
            assert_eq!(of_it(&status), "applied", "{told}\n{status}");
        }
        if said.contains("the next deploy runs it again from the start")
            && state.history.migrations().join(NAME).exists()
        {
            assert_eq!(of_it(&status), "rolled_back", "{told}\n{status}");
        }
        if said.contains("the checksum of") {
            assert!(
                !report(&status)["warnings"].to_string().contains("was edited"),
                "{told}\n{status}"
            );
        }
    }
}

/// Each command that a failure names can be run as it stands, and does not fail.
#[track_caller]
fn follows(name: &str, state: &State, status: &Run, make: Make) {
    let next = text(status, "next");
    let commands = next.split('`').skip(1).step_by(2);
    for command in commands.filter(|command| command.contains("prisma-migrate-task ")) {
        let words: Vec<&str> = command
            .split_whitespace()
            .skip_while(|word| *word != "prisma-migrate-task")
            .skip(1)
            .collect();
        if words.contains(&"adopt") || words.contains(&"NAME") {
            continue;
        }
        // The history's folder is the SOURCE, wherever the command was printed for.
        let folder = state.history.folder().display().to_string();
        let words: Vec<&str> = words.into_iter().filter(|word| *word != folder).collect();
        let call = |state: &State| {
            migrate()
                .verb(words.clone())
                .arg(state.history.folder())
                .database(&state.database)
        };
        let run = match command.contains("resolve") {
            true => call(state).arg("--dry-run").run(),
            // It writes: not here.
            false => call(&make()).run(),
        };
        assert!(
            run.code == 0 || run.code == 10,
            "{name}: the advice `{command}` fails\n{run}\n{status}"
        );
    }
}
