//! Where the migrations go: schemas, databases, and names that try to be SQL.

use harness::history::History;
use harness::postgres::{Database, Server};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{deploy, failure, ledger, tool};
use crate::session::Session;

const HOSTILE: &str = "ev\"il'; DROP SCHEMA public; -- é%41";

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn with_schema(database: &Database, schema: &str) -> String {
    format!("{}?schema={}", database.url(), encoded(schema))
}

/// Where the unqualified name was made, and what a script saw as its search_path.
const LOOK: &str = "CREATE TABLE a AS SELECT current_setting('search_path') AS path;";

#[test]
fn a_missing_schema_is_created_and_search_path_is_exactly_that() {
    for schema in ["app", "Mixed Case", HOSTILE] {
        let database = Server::shared().database();
        let history = History::new().migration("1_init", LOOK);
        let url = with_schema(&database, schema);
        let run = tool()
            .deploy(history.folder())
            .database_url(&database, &url)
            .run()
            .expect(0);

        let rows = database.ledger_in(schema);
        assert!(rows.len() == 1 && rows[0].finished, "{rows:?}");
        assert!(!database.has_ledger());
        let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
        assert_eq!(database.scalar(&format!("SELECT path FROM {quoted}.a")), quoted);
        assert_eq!(run.report.as_ref().unwrap()["database"]["ledger_schema"], schema);
        tool()
            .deploy(history.folder())
            .database_url(&database, &url)
            .run()
            .expect(0);
        assert_eq!(database.ledger_in(schema).len(), 1);
    }
}

#[test]
fn schemas_of_one_database_have_ledgers_of_their_own() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", LOOK);
    deploy(&history, &database).run().expect(0);
    let url = with_schema(&database, "second");
    tool()
        .deploy(history.folder())
        .database_url(&database, &url)
        .run()
        .expect(0);
    assert_eq!((ledger(&database).len(), database.ledger_in("second").len()), (1, 1));
}

#[test]
fn a_schema_with_a_comma_is_one_schema() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let url = with_schema(&database, "one, public");
    tool()
        .deploy(history.folder())
        .database_url(&database, &url)
        .run()
        .expect(0);
    assert_eq!(database.ledger_in("one, public").len(), 1);
    assert!(!database.has_ledger());
}

#[test]
fn without_a_schema_the_search_path_is_the_servers() {
    let database = Server::shared().database();
    database.execute("CREATE SCHEMA app");
    let set = format!("ALTER ROLE \"{}\" SET search_path = app, public", database.user());
    database.superuser().batch_execute(&set).unwrap();
    let history = History::new().migration("1_init", LOOK);
    deploy(&history, &database).run().expect(0);
    assert_eq!(database.ledger_in("app").len(), 1);
    assert_eq!(database.scalar("SELECT path FROM app.a"), "app, public");
}

#[test]
fn a_search_path_without_a_schema_that_exists() {
    let database = Server::shared().database();
    let set = format!("ALTER ROLE \"{}\" SET search_path = nowhere", database.user());
    database.superuser().batch_execute(&set).unwrap();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    let run = deploy(&history, &database).run().expect(50);
    assert!(failure(&run)["next"].as_str().unwrap().contains("DB_SCHEMA"), "{run}");
}

#[test]
fn a_hostile_database_name_is_a_name() {
    let database = Server::shared().database();
    let allow = format!("ALTER ROLE \"{}\" CREATEDB", database.user());
    database.superuser().batch_execute(&allow).unwrap();
    let name = format!("{}{HOSTILE}", database.name());
    let url = database.url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let url = format!("{server}/{}?schema={}", encoded(&name), encoded(HOSTILE));
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    tool()
        .deploy(history.folder())
        .database_url(&database, &url)
        .run()
        .expect(0);

    let session = Session::open(&url).unwrap();
    assert_eq!(session.scalar("SELECT current_database()"), name);
    assert_eq!(session.scalar("SELECT count(finished_at) FROM _prisma_migrations"), "1");
    assert_eq!(session.scalar("SELECT current_schema()"), HOSTILE);
    assert_eq!(
        session.scalar("SELECT count(*) FROM pg_namespace WHERE nspname = 'public'"),
        "1"
    );
}

#[test]
fn hostile_migration_names_are_names() {
    let database = Server::shared().database();
    let history = History::new()
        .migration(
            "1_it's \"; DROP TABLE _prisma_migrations; --",
            "CREATE TABLE a (id int);",
        )
        .migration("2_\\'); --", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(0);
    assert_eq!(
        ledger(&database),
        [
            "1_it's \"; DROP TABLE _prisma_migrations; -- applied",
            "2_\\'); -- applied"
        ]
    );
}
