//! What follows from a script and the catalogue, case by case.

use super::catalogue::{ColumnFacts, ConstraintFacts, Facts, Relation};
use super::name::Name;
use super::{Examined, Hazard, Watchfulness, foresee, script};
use crate::migration::{Migration, Script};
use crate::plan::{self, Policy};
use crate::sql::script::Strings;
use std::collections::HashMap;

const LARGE: u64 = 48 << 30;

fn relation(name: &str, bytes: u64) -> Relation {
    let column = |name: &str, ty: &str| ColumnFacts {
        name: name.to_owned(),
        ty: ty.to_owned(),
        ..ColumnFacts::default()
    };
    Relation {
        name: name.to_owned(),
        kind: "r".to_owned(),
        bytes,
        empty: bytes == 0,
        columns: vec![column("id", "integer"), column("note", "character varying(20)")],
        ..Relation::default()
    }
}

/// `big`, `small`, `bare`, an index `big_i` on `big`, and `child`, which refers to `big`.
fn facts(version: u32) -> Facts {
    let mut big = relation("big", LARGE);
    big.referencing = vec!["child".to_owned()];
    big.columns[0].unique = true;
    let mut child = relation("child", LARGE);
    child.constraints = vec![ConstraintFacts {
        name: "child_fkey".to_owned(),
        refers_to: Some("big".to_owned()),
        ..ConstraintFacts::default()
    }];
    let index = Relation {
        table: Some(Box::new(big.clone())),
        kind: "i".to_owned(),
        ..relation("big_i", 1 << 20)
    };
    let relations = [big, relation("small", 8192), relation("bare", 0), index, child];
    Facts {
        version,
        schema: "public".to_owned(),
        relations: relations
            .into_iter()
            .flat_map(|relation| {
                let plain = Name::plain(&relation.name);
                let qualified = Name {
                    schema: Some("public".to_owned()),
                    ..plain.clone()
                };
                [(plain, relation.clone()), (qualified, relation)]
            })
            .collect(),
        volatile: HashMap::from([("now".to_owned(), false), ("random".to_owned(), true)]),
        ..Facts::default()
    }
}

fn examined(scripts: &[&str], version: u32) -> Examined {
    let migrations: Vec<Migration> = scripts
        .iter()
        .enumerate()
        .map(|(at, script)| Migration {
            name: at.to_string(),
            script: Script::read(script.as_bytes().to_vec()),
        })
        .collect();
    let plan = plan::first(&migrations, &Policy::default(), Strings::Standard).unwrap();
    let scripts: Vec<_> = plan.pending.iter().map(script::read).collect();
    foresee(&scripts, &facts(version), &Watchfulness::default())
}

/// `class line`, one for each hazard.
fn hazards(scripts: &[&str], version: u32) -> Vec<String> {
    let hazards = examined(scripts, version).hazards;
    let line = |hazard: Hazard| format!("{} {}", hazard.class, hazard.line);
    hazards.into_iter().map(line).collect()
}

/// `MODE relation`, one for each lock of the first statement.
fn locks(script: &str) -> Vec<String> {
    let locks = &examined(&[script], 150_000).plan[0].statements[0].locks;
    locks
        .iter()
        .map(|lock| format!("{} {}", lock.mode, lock.relation))
        .collect()
}

#[test]
fn locks_by_text_and_catalogue() {
    let cases: &[(&str, &[&str])] = &[
        ("ALTER TABLE ONLY public.BIG ADD x int", &["ACCESS EXCLUSIVE big"]),
        (
            "ALTER TABLE big ADD FOREIGN KEY (id) REFERENCES small",
            &["SHARE ROW EXCLUSIVE big", "SHARE ROW EXCLUSIVE small"],
        ),
        (
            "ALTER TABLE child DROP CONSTRAINT child_fkey",
            &["ACCESS EXCLUSIVE child", "ACCESS EXCLUSIVE big"],
        ),
        (
            "ALTER TABLE child VALIDATE CONSTRAINT child_fkey",
            &["SHARE UPDATE EXCLUSIVE child", "ROW SHARE big"],
        ),
        (
            "TRUNCATE big CASCADE",
            &["ACCESS EXCLUSIVE big", "ACCESS EXCLUSIVE child"],
        ),
        ("DROP INDEX big_i", &["ACCESS EXCLUSIVE big_i", "ACCESS EXCLUSIVE big"]),
        (
            "REINDEX INDEX CONCURRENTLY big_i",
            &["SHARE UPDATE EXCLUSIVE big", "SHARE UPDATE EXCLUSIVE big_i"],
        ),
        ("insert into \"small\" values (1)", &["ROW EXCLUSIVE small"]),
        (
            "WITH a AS (UPDATE big SET note = 'x' RETURNING id) DELETE FROM small USING a",
            &["ROW EXCLUSIVE small", "ROW EXCLUSIVE big"],
        ),
        ("SELECT * FROM big", &[]),
        ("COMMENT ON TABLE big IS 'x'", &[]),
    ];
    for (script, expected) in cases {
        assert_eq!(locks(script), *expected, "{script}");
    }
}

#[test]
fn hazards_by_what_the_database_knows() {
    let none: &[&str] = &[];
    let cases: &[(&[&str], &[&str])] = &[
        // The same statement on a large, a small, an empty and a new table.
        (&["CREATE INDEX ON big (id)"], &["index-build 1"]),
        (&["CREATE INDEX ON small (id); CREATE INDEX ON bare (id)"], none),
        (
            &["CREATE TABLE new (id int); CREATE INDEX ON new (id); DROP TABLE new;"],
            none,
        ),
        (&["DROP TABLE small"], &["drop 1"]),
        (&["DROP TABLE bare"], none),
        // A table that takes a dropped one's place is new; one that is there stays there.
        (
            &["DROP TABLE big;\nCREATE TABLE big (id int);\nCREATE INDEX ON big (id);"],
            &["drop 1"],
        ),
        (
            &["CREATE TABLE IF NOT EXISTS big (id int);\nCREATE INDEX ON big (id);"],
            &["index-build 2"],
        ),
        // It is followed through its names, across migrations.
        (
            &["ALTER TABLE big RENAME TO huge", "CREATE INDEX ON public.huge (id)"],
            &["rename 1", "index-build 1"],
        ),
        (
            &["ALTER TABLE big RENAME TO huge", "CREATE INDEX ON big (id)"],
            &["rename 1"],
        ),
        // Types and defaults.
        (&["ALTER TABLE big ALTER note TYPE varchar(30)"], none),
        (&["ALTER TABLE big ALTER note TYPE varchar(10)"], &["table-rewrite 1"]),
        (&["ALTER TABLE big ALTER note TYPE text USING note::text"], none),
        (
            &["ALTER TABLE big ALTER note TYPE text USING lower(note)"],
            &["table-rewrite 1"],
        ),
        (&["ALTER TABLE big ADD a timestamptz DEFAULT now()"], none),
        (&["ALTER TABLE big ADD a float DEFAULT random()"], &["table-rewrite 1"]),
        (
            &["ALTER TABLE big ADD a int DEFAULT unheard_of()"],
            &["table-rewrite 1"],
        ),
        (&["ALTER TABLE big ADD a int REFERENCES small"], none),
        (
            &["ALTER TABLE big ADD a int DEFAULT 1 REFERENCES small"],
            &["table-scan 1"],
        ),
        // Locks are held to the end of their transaction.
        (
            &["ALTER TABLE big ADD CONSTRAINT c CHECK (id > 0) NOT VALID;\nALTER TABLE big VALIDATE CONSTRAINT c;"],
            &["table-scan 2"],
        ),
        (
            &[
                "ALTER TABLE big ADD CONSTRAINT c CHECK (id > 0) NOT VALID;\nCOMMIT;\nALTER TABLE big VALIDATE CONSTRAINT c;",
            ],
            none,
        ),
        (
            &[
                "ALTER TABLE big ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
                "ALTER TABLE big VALIDATE CONSTRAINT c;",
            ],
            none,
        ),
        // One ALTER TABLE takes one lock.
        (&["ALTER TABLE big VALIDATE CONSTRAINT c, ADD b int"], &["table-scan 1"]),
        // Rows.
        (
            &["UPDATE big SET note = 'x' WHERE id = 1; DELETE FROM big WHERE id = 2 AND note = 'x'"],
            none,
        ),
        (&["UPDATE big SET note = 'x' WHERE note = 'y'"], &["data-change 1"]),
        (
            &["WITH a AS (DELETE FROM big RETURNING id) SELECT 1"],
            &["data-change 1"],
        ),
        // Columns of one's own making.
        (&["ALTER TABLE big ADD a int; ALTER TABLE big RENAME a TO b;"], none),
        (&["ALTER TABLE big ADD a int; ALTER TABLE big DROP a;"], none),
        (&["ALTER TABLE big DROP note"], &["drop 1"]),
    ];
    for (scripts, expected) in cases {
        assert_eq!(hazards(scripts, 150_000), *expected, "{scripts:?}");
    }
}

#[test]
fn hazards_by_the_server_s_version() {
    let default = ["ALTER TABLE big ADD a int DEFAULT 1"];
    assert_eq!(hazards(&default, 100_000), ["table-rewrite 1"]);
    assert_eq!(hazards(&default, 110_000), [] as [&str; 0]);
    let not_null = ["ALTER TABLE big ADD CONSTRAINT n NOT NULL id NOT VALID"];
    assert_eq!(hazards(&not_null, 180_000), [] as [&str; 0]);
    assert_eq!(
        hazards(&["ALTER TABLE big ADD NOT NULL note"], 180_000),
        ["table-scan 1"]
    );
}

#[test]
fn a_lock_that_is_held_is_named_with_its_line() {
    let script = "ALTER TABLE big ADD CONSTRAINT c CHECK (id > 0) NOT VALID;\nALTER TABLE big VALIDATE CONSTRAINT c;";
    let hazard = &examined(&[script], 150_000).hazards[0];
    assert_eq!(
        hazard.what,
        "reads all of big (48 GB) to validate c, under ACCESS EXCLUSIVE, which line 1 took and its transaction holds: \
         nobody can read or write it meanwhile"
    );
    assert_eq!(
        hazard.recipe,
        "put it into a migration of its own, so that the stronger lock is gone by then"
    );
}

#[test]
fn what_cannot_be_told_is_said() {
    let note = |script: &str| examined(&[script], 150_000).plan[0].statements[0].note.clone();
    for (script, said) in [
        ("DO $$ BEGIN EXECUTE 'DROP TABLE big'; END $$", "cannot be seen into"),
        ("CALL tidy_up()", "cannot be seen"),
        ("SET search_path TO other", "search path"),
        ("ALTER TABLE big ADD a int NOT NULL", "fails unless big has no rows"),
        ("ALTER TABLE big ADD a int NOT A COLUMN AT ALL", "not wholly known"),
        ("DROP TABLE big CASCADE", "CASCADE also drops"),
    ] {
        assert!(
            note(script).is_some_and(|note| note.contains(said)),
            "{script}: {:?}",
            note(script)
        );
    }
    for script in [
        "ALTER TABLE bare ADD a int NOT NULL",
        "ALTER TABLE big ADD a int NOT NULL DEFAULT 1",
    ] {
        assert_eq!(note(script), None, "{script}");
    }
}

#[test]
fn millions_of_inserts_are_one_entry() {
    let script = "INSERT INTO small VALUES (1);\n".repeat(10_000)
        + "UPDATE small SET note = 'x' WHERE id = 1;\n".repeat(3).as_str();
    let plan = examined(&[&script], 150_000).plan;
    let statements: Vec<(usize, usize)> = plan[0].statements.iter().map(|s| (s.line, s.count)).collect();
    assert_eq!(statements, [(1, 10_000), (10_001, 3)]);
}
