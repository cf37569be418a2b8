//! What is in a script, and what becomes of it.

use harness::history::History;
use harness::postgres::Server;

use super::{deploy, failure, ledger, log, names, tables, warnings};

#[test]
fn second_of_two_statements_fails() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_init", "CREATE TABLE a (id int);")
        .migration("2_bad", "CREATE TABLE b (id int);\nINSERT INTO nowhere VALUES (1);")
        .migration("3_later", "CREATE TABLE c (id int);");
    let run = deploy(&history, &database).run().expect(20);

    assert_eq!(ledger(&database), ["1_init applied", "2_bad rolled back"]);
    let row = &database.ledger()[1];
    let logs = row.logs.as_deref().unwrap();
    assert!(
        logs.contains("relation \"nowhere\" does not exist") && logs.contains("42P01"),
        "{logs}"
    );
    assert_eq!(row.steps, 0);
    assert_eq!(tables(&database), ["a"]);
    let failure = failure(&run);
    assert_eq!(failure["prisma_code"], "P3018");
    assert_eq!(failure["sqlstate"], "42P01");
    assert_eq!(failure["migration"], "2_bad");
    assert_eq!(
        (&failure["place"]["line"], &failure["place"]["column"]),
        (&2.into(), &13.into())
    );
    assert!(failure["state"].as_str().unwrap().contains("rolled back"), "{failure}");
    assert_eq!(
        (names(&run, "applied"), names(&run, "pending")),
        (vec!["1_init"], vec!["2_bad", "3_later"])
    );

    let history = history.migration("2_bad", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(0);
    assert_eq!(
        ledger(&database),
        [
            "1_init applied",
            "2_bad rolled back",
            "2_bad applied",
            "3_later applied"
        ]
    );
    assert_eq!(tables(&database), ["a", "b", "c"]);
}

#[test]
fn begin_bad_commit() {
    let database = Server::shared().database();
    let history = History::new().migration(
        "1_bad",
        "BEGIN;\nCREATE TABLE a (id int);\nSELECT 1/0;\nCREATE TABLE b (id int);\nCOMMIT;",
    );
    let run = deploy(&history, &database).run().expect(20);

    let failure = failure(&run);
    assert_eq!(failure["sqlstate"], "22012");
    assert_eq!(failure["what"], "division by zero");
    assert_eq!(failure["place"]["line"], 3);
    assert_eq!(ledger(&database), ["1_bad rolled back"]);
    assert!(
        database.ledger()[0]
            .logs
            .as_deref()
            .unwrap()
            .contains("division by zero")
    );
    assert!(tables(&database).is_empty());
}

#[test]
fn begin_without_commit() {
    for script in [
        "BEGIN; CREATE TABLE a (id int);",
        "BEGIN; CREATE TABLE a (id int); COMMIT AND CHAIN;",
    ] {
        let database = Server::shared().database();
        let history = History::new()
            .migration("1_open", script)
            .migration("2_later", "CREATE TABLE b (id int);");
        let run = deploy(&history, &database).run();

        assert!(
            failure(&run)["what"]
                .as_str()
                .unwrap()
                .contains("leaves a transaction open"),
            "{run}"
        );
        assert!(names(&run, "applied").is_empty(), "{run}");
        if script.contains("CHAIN") {
            assert_eq!(
                (run.code, ledger(&database), tables(&database)),
                (21, vec!["1_open unfinished".to_owned()], vec!["a".to_owned()])
            );
        } else {
            assert_eq!(
                (run.code, ledger(&database), tables(&database)),
                (20, vec!["1_open rolled back".to_owned()], vec![])
            );
        }
    }
}

#[test]
fn commit_without_begin_then_a_failure() {
    let database = Server::shared().database();
    let history = History::new()
        .migration(
            "1_half",
            "CREATE TABLE a (id int);\nCOMMIT;\nCREATE TABLE b (id int);\nSELECT 1/0;",
        )
        .migration("2_later", "CREATE TABLE c (id int);");
    let run = deploy(&history, &database).run().expect(21);

    assert_eq!(
        (
            failure(&run)["sqlstate"].as_str(),
            failure(&run)["prisma_code"].as_str()
        ),
        (Some("22012"), Some("P3018"))
    );
    assert_eq!(failure(&run)["place"]["line"], 4);
    assert!(
        failure(&run)["state"]
            .as_str()
            .unwrap()
            .contains("committed part of itself"),
        "{run}"
    );
    assert!(
        failure(&run)["next"]
            .as_str()
            .unwrap()
            .contains("resolve --rolled-back 1_half"),
        "{run}"
    );
    assert_eq!(ledger(&database), ["1_half unfinished"]);
    let logs = database.ledger()[0].logs.clone().unwrap();
    let mark = logs.lines().next().unwrap();
    assert!(
        mark.starts_with("prisma-migrate-task/1 run=") && mark.contains(" state=partial step=1 "),
        "{logs}"
    );
    assert!(logs.contains("division by zero"), "{logs}");
    assert_eq!(tables(&database), ["a"]);

    let again = deploy(&history, &database).run().expect(21);
    assert_eq!(failure(&again)["prisma_code"], "P3009");
    assert!(
        failure(&again)["details"].to_string().contains("division by zero"),
        "{again}"
    );
    assert_eq!(ledger(&database), ["1_half unfinished"]);
    assert_eq!(tables(&database), ["a"]);
}

#[test]
fn create_index_concurrently_alone() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_table", "CREATE TABLE a (id int); INSERT INTO a VALUES (1), (1);")
        .migration("2_index", "CREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id);\n");
    let run = deploy(&history, &database).run().expect(20);

    assert_eq!(failure(&run)["sqlstate"], "23505");
    assert_eq!(ledger(&database), ["1_table applied", "2_index rolled back"]);
    assert_eq!(database.scalar("SELECT to_regclass('a_id')"), "NULL");

    database.execute("DELETE FROM a");
    let run = deploy(&history, &database).run().expect(0);
    assert_eq!(run.report.as_ref().unwrap()["applied"][0]["how"], "alone");
    assert_eq!(
        ledger(&database),
        ["1_table applied", "2_index rolled back", "2_index applied"]
    );
    assert_eq!(
        database.scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"),
        "t"
    );
    let row = &database.ledger()[2];
    assert_eq!((row.steps, row.logs.as_deref()), (1, None));
}

#[test]
fn create_index_concurrently_beside_other_statements() {
    let database = Server::shared().database();
    let history = History::new().migration(
        "1_both",
        "CREATE TABLE a (id int);\nCREATE INDEX CONCURRENTLY a_id ON a (id);\nCREATE TABLE b (id int);",
    );
    let run = deploy(&history, &database).run().expect(0);

    assert_eq!(run.report.as_ref().unwrap()["applied"][0]["how"], "step_by_step");
    assert_eq!(ledger(&database), ["1_both applied"]);
    let row = &database.ledger()[0];
    assert_eq!((row.steps, row.logs.as_deref()), (1, None));
    assert_eq!(tables(&database), ["a", "b"]);
    assert_eq!(
        database.scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"),
        "t"
    );
}

#[test]
fn alter_type_add_value_and_its_use_in_one_file() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_type", "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE a (m mood);")
        .migration(
            "2_value",
            "ALTER TYPE mood ADD VALUE 'glad';\nINSERT INTO a VALUES ('glad');",
        );
    deploy(&history, &database).run().expect(0);

    assert_eq!(ledger(&database), ["1_type applied", "2_value applied"]);
    let row = &database.ledger()[1];
    assert_eq!((row.steps, row.logs.as_deref()), (1, None));
    assert_eq!(database.scalar("SELECT m FROM a"), "glad");
}

#[test]
fn set_config_search_path_as_pg_dump_writes_it() {
    let database = Server::shared().database();
    let history = History::new()
        .migration(
            "1_dump",
            "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE TABLE public.a (id int);",
        )
        .migration("2_later", "CREATE TABLE b (id int);");
    deploy(&history, &database).run().expect(0);

    assert_eq!(ledger(&database), ["1_dump applied", "2_later applied"]);
    assert_eq!(tables(&database), ["a", "b"]);
}

#[test]
fn raise_notice_and_warning() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_quiet", "CREATE TABLE a (id int);")
        .migration(
            "2_loud",
            "DO $$ BEGIN RAISE NOTICE 'rows: %', 7; RAISE WARNING 'half empty' USING HINT = 'fill it'; END $$;",
        );
    let run = deploy(&history, &database).run().expect(0);

    let lines = log(&run);
    let said = |message: &str| {
        let line = lines.iter().find(|line| line["message"] == message);
        line.unwrap_or_else(|| panic!("{message:?} is not in the log\n{run}"))
    };
    assert_eq!(
        (&said("rows: 7")["level"], &said("rows: 7")["migration"]),
        (&"info".into(), &"2_loud".into())
    );
    let warning = said("half empty");
    assert_eq!(
        (&warning["level"], &warning["migration"]),
        (&"warn".into(), &"2_loud".into())
    );
    assert_eq!(warning["hint"], "fill it");
    assert!(
        lines.iter().all(|line| line["sqlstate"] != "25P01"
            && !line["message"].as_str().unwrap().contains("no transaction in progress")),
        "{run}"
    );
    assert_eq!(ledger(&database), ["1_quiet applied", "2_loud applied"]);
}

#[test]
fn empty_file_comments_only_and_semicolons() {
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_empty", "")
        .migration("2_blank", " \n\t\r\n")
        .migration("3_comment", "-- nothing to do")
        .migration("4_comments", "/* /* nested */ */\n-- This is an empty migration.\n")
        .migration("5_semicolons", ";;\n;");
    let run = deploy(&history, &database).run().expect(0);

    assert_eq!(names(&run, "applied").len(), 5);
    for row in database.ledger() {
        assert!(
            row.finished && !row.rolled_back && row.steps == 1 && row.logs.is_none(),
            "{row:?}"
        );
    }
    assert_eq!(database.ledger().len(), 5);
}

#[test]
fn copy_from_stdin_and_psql_commands() {
    let cases = [
        ("COPY a FROM stdin;\n1\n\\.\n", 1, "INSERT"),
        ("INSERT INTO a VALUES (1);\n\\connect other\n", 2, "psql"),
        ("\\set x 1\nSELECT 1;", 1, "psql"),
    ];
    for (script, line, hint) in cases {
        let database = Server::shared().database();
        let history = History::new()
            .migration("1_init", "CREATE TABLE a (id int);")
            .migration("2_psql", script);
        let run = deploy(&history, &database).run().expect(20);

        let failure = failure(&run);
        assert_eq!(
            (failure["sqlstate"].as_str(), failure["migration"].as_str()),
            (Some("42601"), Some("2_psql")),
            "{run}"
        );
        assert_eq!(failure["place"]["line"], line, "{run}");
        assert!(failure.to_string().contains(hint), "{run}");
        // COPY is known for what it is beforehand, and nothing runs; the rest only the server can judge.
        if script.starts_with("COPY") {
            assert!(ledger(&database).is_empty() && tables(&database).is_empty());
        } else {
            assert_eq!(ledger(&database), ["1_init applied", "2_psql rolled back"]);
            assert_eq!(database.scalar("SELECT count(*) FROM a"), "0");
        }
    }
}

#[test]
fn edited_after_being_applied() {
    let database = Server::shared().database();
    let history = History::new().migration("1_init", "CREATE TABLE a (id int);");
    deploy(&history, &database).run().expect(0);
    let history = history
        .migration("1_init", "CREATE TABLE a (id bigint);")
        .migration("2_next", "CREATE TABLE b (id int);");

    let strict = deploy(&history, &database).arg("--strict").run().expect(23);
    assert!(
        failure(&strict)["details"].to_string().contains("1_init was edited"),
        "{strict}"
    );
    assert_eq!(
        (ledger(&database), tables(&database)),
        (vec!["1_init applied".to_owned()], vec!["a".to_owned()])
    );

    let run = deploy(&history, &database).run().expect(0);
    assert!(warnings(&run).contains("1_init was edited"), "{run}");
    assert_eq!(ledger(&database), ["1_init applied", "2_next applied"]);
    let run = deploy(&history, &database).run().expect(0);
    assert!(
        warnings(&run).contains("1_init was edited"),
        "nothing pending, and it still says so\n{run}"
    );
    deploy(&history, &database).arg("--strict").run().expect(23);
}
