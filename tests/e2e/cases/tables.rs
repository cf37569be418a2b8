//! A migrations table or a database that cannot be written.

use harness::history::History;
use harness::postgres::{Database, Server};

use super::{deploy, failure, tables};

/// A database with one applied migration, and a history with one more.
fn prepared() -> (Database, History) {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    (database, history.migration("2_next", "CREATE TABLE b (id int);"))
}

#[test]
fn a_table_that_cannot_be_written() {
    let cases = [
        ("no privilege", "REVOKE INSERT ON _prisma_migrations FROM CURRENT_USER"),
        (
            "a rule",
            "CREATE RULE r AS ON INSERT TO _prisma_migrations DO INSTEAD NOTHING",
        ),
        (
            "a trigger",
            "CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER t BEFORE INSERT ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION t()",
        ),
        (
            "a trigger on the update",
            "CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER t BEFORE UPDATE ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION t()",
        ),
        (
            "a trigger that raises",
            "CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$not today$$; END'; \
             CREATE TRIGGER t BEFORE INSERT ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION t()",
        ),
        (
            "row security",
            "ALTER TABLE _prisma_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
             CREATE POLICY p ON _prisma_migrations FOR SELECT USING (true)",
        ),
        (
            "a column of another type",
            "ALTER TABLE _prisma_migrations ALTER migration_name TYPE varchar(2)",
        ),
        (
            "a column more",
            "ALTER TABLE _prisma_migrations ADD owner text NOT NULL DEFAULT ''; ALTER TABLE _prisma_migrations ALTER owner DROP DEFAULT",
        ),
    ];
    for (what, sql) in cases {
        let (database, history) = prepared();
        let sql = if what == "a column of another type" {
            format!("UPDATE _prisma_migrations SET migration_name = '1'; {sql}")
        } else {
            sql.to_owned()
        };
        database.execute(&sql);
        let run = deploy(&history, &database).run();

        // What comes in the way of the row's end, the script may have put there itself.
        let code = if what == "a trigger on the update" { 20 } else { 50 };
        assert_eq!(run.code, code, "{what}\n{run}");
        let failure = failure(&run);
        assert!(
            failure["what"].as_str().unwrap().contains("_prisma_migrations"),
            "{what}\n{run}"
        );
        assert!(!failure["next"].as_str().unwrap().is_empty());
        assert_eq!(tables(&database), ["a"], "{what}");
        assert!(
            database
                .ledger()
                .iter()
                .all(|row| row.name != "2_next" || row.rolled_back),
            "{what}"
        );
    }
}

#[test]
fn a_table_of_odd_columns() {
    let (database, history) = prepared();
    database.execute("ALTER TABLE _prisma_migrations DROP COLUMN rolled_back_at");
    let run = deploy(&history, &database).run().expect(50);
    assert_eq!(failure(&run)["sqlstate"], "42703");
    assert!(
        failure(&run)["next"].as_str().unwrap().contains("compare its columns"),
        "{run}"
    );
    assert_eq!(tables(&database), ["a"]);
}

#[test]
fn a_table_that_may_not_be_read() {
    let (database, history) = prepared();
    database.execute("REVOKE ALL ON _prisma_migrations FROM CURRENT_USER");
    let run = deploy(&history, &database).run().expect(50);
    assert_eq!(failure(&run)["sqlstate"], "42501");
    assert_eq!(tables(&database), ["a"]);
}

#[test]
fn a_read_only_database() {
    let (database, history) = prepared();
    let set = format!(
        "ALTER DATABASE \"{}\" SET default_transaction_read_only = on",
        database.name()
    );
    database.superuser().batch_execute(&set).unwrap();
    let run = deploy(&history, &database).run().expect(50);
    assert!(
        failure(&run)["what"].as_str().unwrap().contains("does not take writes"),
        "{run}"
    );
    assert_eq!(tables(&database), ["a"]);
}

#[test]
fn a_script_that_takes_its_ledger_away() {
    for script in [
        "DROP TABLE _prisma_migrations; CREATE TABLE b (id int);",
        "DELETE FROM _prisma_migrations; CREATE TABLE b (id int);",
    ] {
        let (database, history) = prepared();
        let history = history.migration("2_next", script);
        let run = deploy(&history, &database).run().expect(20);
        let next = failure(&run)["next"].as_str().unwrap();
        assert!(
            next.contains("take out what removes, moves or changes the migrations table"),
            "{run}"
        );
        assert_eq!(tables(&database), ["a"], "{script}");
        assert!(database.ledger().iter().any(|row| row.name == "1_init" && row.finished));
    }
}
