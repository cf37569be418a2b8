//! Behind a real PgBouncer: what does not keep a session is refused, and what does can be used with --allow-pooler.

use crate::migrate;
use harness::history::History;
use harness::pgbouncer::{PgBouncer, PoolMode};
use harness::postgres::{Database, Server};
use harness::process::{Run, Signal};
use harness::tool::Call;
use harness::until;

const DROPS_OPTIONS: &str = "ignore_startup_parameters = options";
const NAME: &str = "20240101000000_it";

fn history(script: &str) -> History {
    History::new().migration(NAME, script)
}

fn call(history: &History, database: &Database, pooler: &PgBouncer) -> Call {
    migrate()
        .deploy(history.folder())
        .database_url(database, &pooler.url_for(database))
}

fn failure<'a>(run: &'a Run, field: &str) -> &'a str {
    run.report.as_ref().unwrap()["failure"][field]
        .as_str()
        .unwrap_or_default()
}

#[test]
fn startup_options_that_are_refused_or_dropped_are_told_at_once_whatever_the_mode() {
    let database = Server::shared().database();
    let history = history("CREATE TABLE t (id int);");
    for mode in [PoolMode::Session, PoolMode::Transaction, PoolMode::Statement] {
        for (settings, words) in [
            (&[][..], "unsupported startup parameter: options"),
            (&[DROPS_OPTIONS][..], "does not keep a session"),
        ] {
            let pooler = PgBouncer::start(&database, mode, settings);
            let run = call(&history, &database, &pooler).run().expect(50);
            assert!(failure(&run, "what").contains(words), "{run}");
            assert!(failure(&run, "next").contains("writer endpoint"), "{run}");
            assert!(!run.stderr.contains("waiting for the database"), "{run}");
        }
    }
    assert!(!database.has_ledger());
}

#[test]
fn a_pooler_that_does_not_keep_sessions_is_found_out_in_spite_of_the_flag_and_nothing_is_set_there() {
    for mode in [PoolMode::Transaction, PoolMode::Statement] {
        for settings in [&[][..], &["server_round_robin = 1"][..], &[DROPS_OPTIONS][..]] {
            let database = Server::shared().database();
            let pooler = PgBouncer::start(&database, mode, settings);
            let history = history("CREATE TABLE t (id int);");
            let run = call(&history, &database, &pooler)
                .arg("--allow-pooler")
                .run()
                .expect(50);
            assert!(failure(&run, "what").contains("does not keep a session"), "{run}");
            assert!(!database.has_ledger());
            let mut application = client(&pooler.url_for(&database));
            for _ in 0..3 {
                let row = application
                    .simple_query("SELECT current_setting('prisma_migrate_task.run_id', true), current_setting('statement_timeout')")
                    .unwrap();
                assert!(!format!("{row:?}").contains("-"), "{row:?}");
            }
        }
    }
}

fn client(url: &str) -> harness::postgres::Client {
    harness::postgres::Client::connect(url, harness::postgres::NoTls).unwrap()
}

#[test]
fn a_pooler_that_drops_options_and_keeps_no_session_is_left_as_it_was() {
    let database = Server::shared().database();
    let pooler = PgBouncer::start(
        &database,
        PoolMode::Transaction,
        &[DROPS_OPTIONS, "default_pool_size = 1"],
    );
    let setting = "SELECT setting FROM pg_settings WHERE name = 'client_connection_check_interval'";
    let before = database.scalar(setting);
    call(&history("SELECT 1;"), &database, &pooler).run().expect(50);
    let mut application = client(&pooler.url_for(&database));
    let rows = application.simple_query(setting).unwrap();
    let harness::postgres::SimpleQueryMessage::Row(row) = &rows[1] else {
        let harness::postgres::SimpleQueryMessage::Row(row) = &rows[0] else {
            panic!("{rows:?}")
        };
        assert_eq!(row.get(0), Some(before.as_str()));
        return;
    };
    assert_eq!(row.get(0), Some(before.as_str()));
}

#[test]
fn in_session_mode_a_migration_runs_with_the_settings_that_could_not_travel() {
    let database = Server::shared().database();
    let user = database.user();
    database
        .superuser()
        .batch_execute(&format!(
            "ALTER ROLE {user} SET statement_timeout = '7s'; ALTER ROLE {user} SET lock_timeout = '3s'; CREATE SCHEMA \"My s\" AUTHORIZATION {user}"
        ))
        .unwrap();
    for settings in [&[][..], &[DROPS_OPTIONS][..]] {
        let pooler = PgBouncer::start(&database, PoolMode::Session, settings);
        let schema = "My s";
        let url = format!(
            "{}?schema=My%20s&options=-c%20work_mem%3D3MB",
            pooler.url_for(&database)
        );
        let table = |name: &str| {
            format!(
                "CREATE TABLE {name} AS SELECT current_setting('statement_timeout') AS s, current_setting('lock_timeout') AS l, \
                 current_setting('search_path') AS p, current_setting('work_mem') AS w; RESET ALL; SET statement_timeout = '9s';"
            )
        };
        let first = if settings.is_empty() { "a" } else { "c" };
        let second = if settings.is_empty() { "b" } else { "d" };
        let mut history = History::new();
        for name in ["a", "b", "c", "d"].iter().filter(|name| **name <= second) {
            history = history.migration(&format!("2024010100000{}_x", name.as_bytes()[0] - b'a'), table(name));
        }
        let run = migrate()
            .deploy(history.folder())
            .database_url(&database, &url)
            .arg("--allow-pooler")
            .run()
            .expect(0);
        assert_eq!(
            run.report.as_ref().unwrap()["applied"].as_array().unwrap().len(),
            2,
            "{run}"
        );
        for name in [first, second] {
            let seen = database.rows(&format!("SELECT s, l, p, w FROM \"{schema}\".{name}"));
            assert_eq!(seen, [["0", "10s", "\"My s\"", "3MB"]], "{name}");
        }
        // The pooler's backend is given back as it was.
        assert_eq!(client(&pooler.url_for(&database)).simple_query("SHOW statement_timeout").map(|rows| {
            rows.iter().any(|row| matches!(row, harness::postgres::SimpleQueryMessage::Row(row) if row.get(0) == Some("7s")))
        }).ok(), Some(true));
    }
}

#[test]
fn in_session_mode_a_failing_migration_is_rolled_back_and_recorded() {
    let database = Server::shared().database();
    let pooler = PgBouncer::start(&database, PoolMode::Session, &[DROPS_OPTIONS]);
    let history = history("CREATE TABLE t (id int);\nSELECT nonsense;");
    let run = call(&history, &database, &pooler)
        .arg("--allow-pooler")
        .run()
        .expect(20);
    assert_eq!(failure(&run, "sqlstate"), "42703");
    assert_eq!(database.scalar("SELECT to_regclass('t') IS NULL"), "t");
    assert!(database.ledger()[0].rolled_back);
    history.write(format!("migrations/{NAME}/migration.sql"), "CREATE TABLE t (id int);");
    let run = call(&history, &database, &pooler).env("ALLOW_POOLER", "true").run();
    run.expect(0);
}

#[test]
fn in_session_mode_a_signal_cancels_what_runs_behind_the_pooler() {
    let database = Server::shared().database();
    let pooler = PgBouncer::start(&database, PoolMode::Session, &[DROPS_OPTIONS]);
    let history = history("CREATE TABLE t (id int); SELECT pg_sleep(300);");
    let run = call(&history, &database, &pooler)
        .arg("--allow-pooler")
        .arg("--progress-every=1s")
        .spawn();
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    until("it sleeps", || database.scalar(sleeping) == "1");
    let mut run = run;
    // The second connection sees the backend behind the pooler.
    run.wait_for_stderr("running for ");
    run.signal(Signal::TERM);
    run.wait().expect(60);
    assert_eq!(database.scalar(sleeping), "0");
    assert_eq!(database.scalar("SELECT to_regclass('t') IS NULL"), "t");
    assert!(database.ledger().is_empty());
}

#[test]
fn in_session_mode_an_index_is_built_concurrently_without_the_limit_to_its_wait() {
    let database = Server::shared().database();
    database.execute("CREATE TABLE t (id int)");
    migrate()
        .verb(["resolve", "--applied", "20230101000000_before"])
        .arg(History::new().migration("20230101000000_before", "SELECT 1;").folder())
        .database(&database)
        .run();
    let pooler = PgBouncer::start(&database, PoolMode::Session, &[DROPS_OPTIONS]);
    let history = History::new()
        .migration("20230101000000_before", "SELECT 1;")
        .migration(
            NAME,
            "CREATE INDEX CONCURRENTLY i ON t (id);\nCREATE TABLE seen AS SELECT current_setting('lock_timeout') AS l;",
        );
    let mut other = database.client();
    let mut transaction = other.transaction().unwrap();
    transaction.execute("INSERT INTO t VALUES (7)", &[]).unwrap();
    let mut run = call(&history, &database, &pooler)
        .arg("--allow-pooler")
        .arg("--lock-timeout=200ms")
        .arg("--progress-every=1s")
        .spawn();
    run.wait_for_stderr("is in its way");
    assert!(!run.stderr().contains("INVALID"), "{}", run.stderr());
    transaction.commit().unwrap();
    run.wait().expect(0);
    assert_eq!(
        database.scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"),
        "t"
    );
    assert_eq!(database.scalar("SELECT l FROM seen"), "200ms");
}

#[test]
fn the_role_holds_behind_a_pooler_too() {
    let database = Server::shared().database();
    let owner = crate::role::owner_of(&database);
    let pooler = PgBouncer::start(&database, PoolMode::Session, &[]);
    let history =
        history("CREATE TABLE t (id int); RESET ROLE;").migration("20240102000000_next", "CREATE TABLE u (id int);");
    call(&history, &database, &pooler)
        .arg("--allow-pooler")
        .arg(format!("--role={owner}"))
        .run()
        .expect(0);
    for table in ["t", "u", "_prisma_migrations"] {
        assert_eq!(crate::role::owner(&database, table), owner.name(), "{table}");
    }
    let run = call(&history, &database, &pooler)
        .arg("--allow-pooler")
        .arg("--role=postgres")
        .run()
        .expect(50);
    assert!(failure(&run, "next").contains("GRANT \"postgres\" TO"), "{run}");
}

#[test]
fn an_rds_proxy_is_refused_by_its_name_in_spite_of_the_flag() {
    let run = migrate()
        .deploy(history("SELECT 1;").folder())
        .env(
            "DATABASE_URL",
            "postgresql://u@app.proxy-c1x2.eu-west-1.rds.amazonaws.com/db",
        )
        .arg("--allow-pooler")
        .run()
        .expect(50);
    assert!(failure(&run, "next").contains("writer endpoint"), "{run}");
}

#[test]
fn options_that_no_statement_can_make_are_a_mistake_with_the_flag() {
    let database = Server::shared().database();
    let run = migrate()
        .deploy(history("SELECT 1;").folder())
        .database_url(&database, &format!("{}?options=-d%205", database.url()))
        .arg("--allow-pooler")
        .run()
        .expect(2);
    assert!(failure(&run, "what").contains("-c name=value"), "{run}");
}
