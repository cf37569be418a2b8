//! By which SQLSTATE and routine the server in use refuses what cannot run in one transaction: the names of its C functions are no promise, and
//! differ between versions.

use harness::postgres::Server;
use prisma_migrate_task::apply::error::is_refusal;
use prisma_migrate_task::database::server_error::ServerError;

#[test]
fn every_refusal_is_recognised_on_this_version() {
    let database = Server::shared().database();
    database.execute(
        "CREATE TYPE e AS ENUM ('a'); CREATE TABLE p (id int PRIMARY KEY); \
         CREATE TABLE c (id int REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    );
    for (sqlstate, script) in [
        ("25001", "SELECT 1; VACUUM p"),
        ("25001", "SELECT 1; CREATE INDEX CONCURRENTLY ON p (id)"),
        ("25001", "SELECT 1; REINDEX TABLE CONCURRENTLY p"),
        ("25001", "SELECT 1; CREATE DATABASE d"),
        ("25001", "SELECT 1; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        ("25001", "SELECT 1; SET TRANSACTION DEFERRABLE"),
        ("25001", "BEGIN READ ONLY; SELECT 1; SET TRANSACTION READ WRITE"),
        (
            "25001",
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
        ),
        ("2D000", "SELECT 1; DO $$ BEGIN COMMIT; END $$"),
        ("2D000", "SELECT 1; DO $$ BEGIN ROLLBACK; END $$"),
        ("55P04", "ALTER TYPE e ADD VALUE 'b'; SELECT 'b'::e"),
        (
            "55006",
            "INSERT INTO p VALUES (1); INSERT INTO c VALUES (1); ALTER TABLE c ADD COLUMN more int",
        ),
        ("25006", "BEGIN READ ONLY; INSERT INTO p VALUES (2)"),
    ] {
        let mut client = database.client();
        let error = ServerError::from(client.batch_execute(script).unwrap_err());
        assert!(error.is(&[sqlstate]) && is_refusal(&error), "{script}: {error:?}");
    }
}

#[test]
fn the_same_errors_raised_by_a_script_are_its_failures() {
    let database = Server::shared().database();
    for sqlstate in ["25001", "2D000", "55P04", "55006", "25006"] {
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = '{sqlstate}'; END $$");
        let error = ServerError::from(database.client().batch_execute(&raise).unwrap_err());
        assert!(error.is(&[sqlstate]) && !is_refusal(&error), "{error:?}");
    }
}
