//! A schema that Prisma does not manage yet (P3005).

use harness::history::History;
use harness::postgres::Server;

use super::{deploy, failure, ledger, tables, tool};

fn history() -> History {
    History::new().migration("1_init", "CREATE TABLE fresh (id int);")
}

#[test]
fn p3005_and_the_table_is_not_created() {
    let database = Server::shared().database();
    database.execute("CREATE TABLE users (id int)");
    for history in [history(), History::new()] {
        let run = deploy(&history, &database).run().expect(23);
        let failure = failure(&run);
        assert_eq!(failure["prisma_code"], "P3005");
        assert!(failure["what"].as_str().unwrap().contains("users"), "{run}");
        assert!(failure["next"].as_str().unwrap().contains("baseline --to"), "{run}");
        assert!(!database.has_ledger());
        assert_eq!(tables(&database), ["users"]);
    }
}

#[test]
fn p3005_does_not_count_what_is_no_ordinary_table_of_the_schema() {
    let cases = [
        ("a view", "CREATE VIEW v AS SELECT 1"),
        ("a materialized view", "CREATE MATERIALIZED VIEW m AS SELECT 1 AS one"),
        ("a sequence", "CREATE SEQUENCE s"),
        ("an enum", "CREATE TYPE mood AS ENUM ('sad')"),
        ("a composite type", "CREATE TYPE pair AS (a int, b int)"),
        (
            "a function",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ),
        ("a partitioned table", "CREATE TABLE p (id int) PARTITION BY RANGE (id)"),
        (
            "a table of another schema",
            "CREATE SCHEMA other; CREATE TABLE other.users (id int)",
        ),
        ("PostGIS's table", "CREATE TABLE spatial_ref_sys (srid int)"),
    ];
    for (what, sql) in cases {
        let database = Server::shared().database();
        database.execute(sql);
        let run = deploy(&history(), &database).run();
        assert_eq!(run.code, 0, "{what} counts\n{run}");
        assert_eq!(ledger(&database), ["1_init applied"], "{what}");
    }
}

#[test]
fn p3005_counts_the_tables_of_the_schema_that_was_asked_for() {
    let database = Server::shared().database();
    database.execute("CREATE SCHEMA app; CREATE TABLE app.users (id int)");
    let url = format!("{}?schema=app", database.url());
    let history = history();
    tool()
        .deploy(history.folder())
        .database_url(&database, &url)
        .run()
        .expect(23);
    deploy(&history, &database).run().expect(0);
}

#[test]
fn a_partition_is_an_ordinary_table() {
    let database = Server::shared().database();
    database.execute("CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT");
    deploy(&history(), &database).run().expect(23);
}
