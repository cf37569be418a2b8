//! What is seen of a migration that asks a person to look.

use crate::migrate;
use harness::history::History;
use harness::postgres::Server;
use harness::process::Run;

const SCRIPT: &str =
    "CREATE TABLE \"A\" (id int); CREATE TYPE e AS ENUM ('x'); CREATE TABLE b (id int); CREATE INDEX ON b (id);";

fn details(run: &Run) -> String {
    run.report.as_ref().unwrap()["failure"]["details"].to_string()
}

#[test]
fn a_failed_row_of_prismas_comes_with_which_of_its_creations_exist() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE z (id int);");
    migrate().deploy(history.folder()).database(&database).run().expect(0);
    let history = history.migration("2_lost", SCRIPT);
    database.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at) VALUES ('x', 'y', '2_lost', now())",
    );
    for (then, said) in [
        ("SELECT 1", "none of the 3 objects that its script creates exists"),
        (
            "CREATE TABLE \"A\" (id int)",
            "1 of the 3 objects that its script creates exist",
        ),
        (
            "CREATE TYPE e AS ENUM ('x'); CREATE TABLE b (id int)",
            "all 3 objects that its script creates exist",
        ),
    ] {
        database.execute(then);
        let run = migrate().deploy(history.folder()).database(&database).run().expect(22);
        assert!(details(&run).contains(said), "{run}");
        let run = migrate()
            .verb(["status"])
            .arg(history.folder())
            .database(&database)
            .run()
            .expect(22);
        assert!(details(&run).contains(said), "{run}");
    }
}
