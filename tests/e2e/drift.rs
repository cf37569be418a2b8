//! `drift` and `deploy --check-drift`: what was changed outside migrations since an earlier run.

use crate::cases::{failure, tables, warnings};
use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server};
use harness::process::Run;
use harness::s3::S3;
use harness::tool::Call;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// One object of every kind that is compared.
const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
    CREATE SEQUENCE numbers;
    CREATE TABLE a (id serial PRIMARY KEY, name varchar(40) NOT NULL DEFAULT 'x', m mood);
    CREATE TABLE b (id int GENERATED ALWAYS AS IDENTITY, a_id int CONSTRAINT b_a REFERENCES a (id), twice int GENERATED ALWAYS AS (a_id * 2) STORED);
    CREATE INDEX b_idx ON b (a_id) WHERE a_id > 7;
    CREATE VIEW v AS SELECT id, m FROM a;
    CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n + 1';
    CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER a_t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION t();
    ALTER TABLE a ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON a USING (id > 0);
    CREATE TABLE parts (at date) PARTITION BY RANGE (at);
    CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
";

struct Deployed {
    database: Database,
    history: History,
    folder: TempDir,
}

impl Deployed {
    fn new() -> Deployed {
        let database = Server::shared().database();
        let history = History::new().migration("1_init", SCHEMA);
        let run = migrate().deploy(history.folder()).database(&database).run().expect(0);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("report.json"), run.report.unwrap().to_string()).unwrap();
        Deployed {
            database,
            history,
            folder,
        }
    }

    fn report(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }

    fn drift(&self) -> Run {
        let call = migrate().verb(["drift", "--since"]).arg(self.report());
        call.database(&self.database).run()
    }

    fn deploy(&self, action: &str) -> Call {
        let call = migrate().deploy(self.history.folder()).database(&self.database);
        call.arg("--check-drift").arg(action).arg("--since").arg(self.report())
    }
}

fn found(run: &Run) -> Vec<String> {
    let list = run.report.as_ref().unwrap()["drift"].as_array().unwrap();
    let one = |difference: &Value| format!("{} {}", difference["change"], difference["object"]).replace('"', "");
    list.iter().map(one).collect()
}

#[test]
fn an_untouched_schema_has_no_drift_however_the_session_looks_at_it() {
    let deployed = Deployed::new();
    let run = deployed.drift().expect(0);
    assert_eq!(run.report.as_ref().unwrap()["result"], "no_drift");
    deployed
        .database
        .execute("INSERT INTO a (name) VALUES ('data is no schema'); ANALYZE a");
    let url = format!("{}?options=-csearch_path%3Dpg_catalog", deployed.database.url());
    let call = migrate().verb(["drift", "--since"]).arg(deployed.report());
    call.database_url(&deployed.database, &url).run().expect(0);
}

#[test]
fn what_was_changed_by_hand_is_named_object_by_object() {
    let deployed = Deployed::new();
    let changes: &[(&str, &[&str])] = &[
        ("ALTER TABLE a ADD extra text", &["added column public.a.extra"]),
        ("ALTER TABLE a DROP extra", &[]),
        (
            "ALTER TABLE a ALTER name TYPE varchar(41)",
            &["changed column public.a.name"],
        ),
        (
            "ALTER TABLE a ALTER name TYPE varchar(40), ALTER name SET DEFAULT 'y'",
            &["changed column public.a.name"],
        ),
        (
            "ALTER TABLE a ALTER name SET DEFAULT 'x', ALTER name DROP NOT NULL",
            &["changed column public.a.name"],
        ),
        (
            "ALTER TABLE a ALTER name SET NOT NULL; ALTER TABLE b DROP CONSTRAINT b_a",
            &["removed constraint public.b.b_a"],
        ),
        (
            "ALTER TABLE b ADD CONSTRAINT b_a FOREIGN KEY (a_id) REFERENCES a (id) NOT VALID",
            &["changed constraint public.b.b_a"],
        ),
        (
            "ALTER TABLE b VALIDATE CONSTRAINT b_a; CREATE INDEX more ON b (a_id)",
            &["added index public.b.more"],
        ),
        (
            "DROP INDEX more; CREATE OR REPLACE VIEW v AS SELECT id, m FROM a WHERE id > 3",
            &["changed view public.v"],
        ),
        (
            "CREATE OR REPLACE VIEW v AS SELECT id, m FROM a; \
             CREATE OR REPLACE FUNCTION f(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n + 2'",
            &["changed function public.f(n integer)"],
        ),
        (
            "CREATE OR REPLACE FUNCTION f(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n + 1'; ALTER TABLE a DISABLE TRIGGER a_t",
            &["changed trigger public.a.a_t"],
        ),
        (
            "ALTER TABLE a ENABLE TRIGGER a_t; ALTER TYPE mood ADD VALUE 'fine'",
            &["changed enum public.mood"],
        ),
        (
            "ALTER POLICY own ON a USING (id > 1); ALTER TABLE a FORCE ROW LEVEL SECURITY",
            &[
                "changed enum public.mood",
                "changed policy public.a.own",
                "changed table public.a",
            ],
        ),
        (
            "ALTER POLICY own ON a USING (id > 0); ALTER TABLE a NO FORCE ROW LEVEL SECURITY; DROP TABLE b; CREATE TABLE c (id int PRIMARY KEY); \
             CREATE SCHEMA s; DROP TABLE parts_old; ALTER SEQUENCE numbers INCREMENT 2; DROP DOMAIN percent",
            &[
                "removed domain public.percent",
                "changed enum public.mood",
                "added schema s",
                "changed sequence public.numbers",
                "removed sequence public.b_id_seq",
                "removed table public.b",
                "added table public.c",
                "removed table public.parts_old",
            ],
        ),
    ];
    for (sql, expected) in changes {
        deployed.database.execute(sql);
        let run = deployed.drift();
        assert_eq!(run.code, if expected.is_empty() { 0 } else { 11 }, "{sql}\n{run}");
        let (mut found, mut expected) = (
            found(&run),
            expected.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(),
        );
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{sql}");
    }
    let text = migrate()
        .verb(["drift", "--since"])
        .arg(deployed.report())
        .arg("--log-format")
        .arg("text");
    let text = text.database(&deployed.database).run().expect(11);
    assert!(
        text.stdout
            .contains("changed  enum public.mood\n             was 'sad', 'ok'\n             is  'sad', 'ok', 'fine'"),
        "{text}"
    );
}

#[test]
fn two_databases_with_the_same_history_have_one_fingerprint() {
    let [one, other] = [Deployed::new(), Deployed::new()].map(|deployed| {
        let run = deployed.deploy("warn").run().expect(0);
        let shown: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(shown["schema"]["objects"], serde_json::json!({}), "{run}");
        let schema = &run.report.as_ref().unwrap()["schema"];
        assert!(schema["objects"].as_object().unwrap().len() > 20);
        schema.clone()
    });
    assert_eq!(one, other);
}

#[test]
fn a_deploy_warns_of_drift_or_refuses_before_it_applies() {
    let deployed = Deployed::new();
    deployed.deploy("refuse").run().expect(0);
    deployed.database.execute("ALTER TABLE a ADD by_hand text");
    let next = deployed.history.migration("2_next", "CREATE TABLE next (id int);");
    let deployed = Deployed {
        history: next,
        ..deployed
    };
    let before = tables(&deployed.database);
    let run = deployed.deploy("refuse").run().expect(24);
    assert!(
        failure(&run)["details"]
            .to_string()
            .contains("column public.a.by_hand was added"),
        "{run}"
    );
    assert_eq!(tables(&deployed.database), before);
    let run = deployed.deploy("warn").run().expect(0);
    assert!(
        warnings(&run).contains("drift: column public.a.by_hand was added"),
        "{run}"
    );
    assert_eq!(tables(&deployed.database).len(), before.len() + 1);
    // The report of that deploy is the new measure.
    fs::write(deployed.report(), run.report.as_ref().unwrap().to_string()).unwrap();
    deployed.drift().expect(0);
}

#[test]
fn migrations_since_the_report_are_said() {
    let deployed = Deployed::new();
    let next = deployed.history.migration("2_next", "CREATE TABLE next (id int);");
    migrate()
        .deploy(next.folder())
        .database(&deployed.database)
        .run()
        .expect(0);
    let deployed = Deployed {
        history: next,
        ..deployed
    };
    let run = deployed.drift().expect(11);
    assert!(
        warnings(&run).contains("1 migration was applied then and 2 are now"),
        "{run}"
    );
    assert_eq!(found(&run), ["added table public.next"]);
}

#[test]
fn a_report_from_s3_and_reports_that_are_none() {
    let deployed = Deployed::new();
    let s3 = S3::start();
    s3.put("reports", "last.json", fs::read(deployed.report()).unwrap());
    let drift = |since: &str| {
        let call = migrate().verb(["drift", "--since", since]).s3(&s3);
        call.database(&deployed.database).run()
    };
    drift("s3://reports/last.json").expect(0);
    s3.put("reports", "none.json", b"<html>".to_vec());
    s3.put("reports", "other.json", b"{\"schema\": null}".to_vec());
    for (since, said) in [
        ("s3://reports/none.json", "is no JSON document"),
        ("s3://reports/other.json", "does not hold a schema"),
        ("s3://reports/gone.json", "cannot be read"),
        ("not/there.json", "cannot be read"),
    ] {
        let run = drift(since).expect(2);
        assert!(failure(&run)["what"].as_str().unwrap().contains(said), "{run}");
    }
}
