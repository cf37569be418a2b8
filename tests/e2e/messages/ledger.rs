//! What keeps the row of a migration from being written: never our own assertion, raw, and never the script, if it is not the script.

use harness::postgres::Server;

use super::{NAME, begin, never_says, says};

const RAW: &[&str] = &["invalid input syntax", "22P02", "ledger row", "rows: 0", "int4in"];

#[test]
fn our_assertion_is_never_shown_and_never_stored() {
    let rule = |event: &str| format!("CREATE RULE r AS ON {event} TO _prisma_migrations DO INSTEAD NOTHING");
    let trigger = |when: &str, returns: &str| {
        format!(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {returns} END $$; \
             CREATE TRIGGER keep BEFORE {when} ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION keep()"
        )
    };
    let written = &[
        "the migration's row in",
        "could not be written: a rule, a trigger or row security on the table prevents it",
    ][..];
    let closed = &[
        "the script, or a rule, a trigger or row security on the table, keeps its row in _prisma_migrations from being closed",
    ][..];
    for (before, script, code, words) in [
        (trigger("INSERT", "RETURN NULL;"), "SELECT 1", 50, written),
        (
            trigger("INSERT", "RETURN NULL;"),
            "CREATE INDEX CONCURRENTLY i ON a (note)",
            50,
            written,
        ),
        (trigger("UPDATE", "RETURN NULL;"), "SELECT 1", 20, closed),
        (
            trigger("UPDATE", "NEW.finished_at := NULL; RETURN NEW;"),
            "SELECT 1",
            20,
            closed,
        ),
        (String::from("SELECT 1"), "DELETE FROM _prisma_migrations", 20, closed),
        (
            String::from("SELECT 1"),
            "UPDATE _prisma_migrations SET finished_at = now()",
            20,
            closed,
        ),
        (
            rule("DELETE"),
            "UPDATE _prisma_migrations SET finished_at = now()",
            20,
            closed,
        ),
    ] {
        let database = Server::shared().database();
        begin(&database);
        database.execute(&before);
        let next = super::history().migration("20240103000000_next", script);
        let next = next.migration(NAME, "SELECT 1");
        let run = crate::migrate()
            .deploy(next.folder())
            .database(&database)
            .run()
            .expect(code);
        says(&run, "what", words);
        never_says(&run, RAW);
        for row in database.ledger() {
            let logs = row.logs.unwrap_or_default();
            assert!(RAW.iter().all(|raw| !logs.contains(raw)), "{logs}");
        }
    }
}

#[test]
fn a_ledger_without_a_key_in_a_publication_is_not_the_scripts_fault() {
    let database = Server::shared().database();
    begin(&database);
    database
        .superuser()
        .batch_execute("ALTER TABLE _prisma_migrations DROP CONSTRAINT _prisma_migrations_pkey; CREATE PUBLICATION everything FOR ALL TABLES")
        .unwrap();
    let next = super::history()
        .migration(NAME, "SELECT 1")
        .migration("20240103000000_next", "SELECT 1");
    let run = crate::migrate()
        .deploy(next.folder())
        .database(&database)
        .run()
        .expect(20);
    says(
        &run,
        "what",
        &["the migration's row in _prisma_migrations could not be closed: cannot update table"],
    );
    says(
        &run,
        "next",
        &[
            "give _prisma_migrations a primary key over `id`, or run `ALTER TABLE _prisma_migrations REPLICA IDENTITY FULL`",
        ],
    );
    never_says(&run, &["the script, or a", "take out what removes"]);
    database.execute("ALTER TABLE _prisma_migrations ADD PRIMARY KEY (id)");
    crate::migrate()
        .deploy(next.folder())
        .database(&database)
        .run()
        .expect(0);
}

#[test]
fn a_constraint_of_the_ledger_is_not_the_scripts_fault() {
    for (constraint, code, words) in [
        (
            "ALTER TABLE _prisma_migrations ADD UNIQUE (migration_name), ADD CHECK (migration_name <> '20240103000000_next')",
            50,
            "could not be written",
        ),
        (
            "UPDATE _prisma_migrations SET logs = ''; ALTER TABLE _prisma_migrations ALTER logs SET NOT NULL",
            20,
            "could not be closed: null value in column \"logs\"",
        ),
    ] {
        let database = Server::shared().database();
        begin(&database);
        database.execute(constraint);
        let next = super::history()
            .migration(NAME, "SELECT 1")
            .migration("20240103000000_next", "SELECT 1");
        let run = crate::migrate()
            .deploy(next.folder())
            .database(&database)
            .run()
            .expect(code);
        says(&run, "what", &["the migration's row in", words]);
        says(&run, "next", &["look at the table's columns, constraints, triggers"]);
        never_says(&run, &["the script, or a"]);
    }
}
