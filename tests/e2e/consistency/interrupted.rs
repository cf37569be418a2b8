//! What interrupted and failed runs of this program leave.

use super::{AT_GATE, Deploy, GATE, NAME, State, each, pending};

const BUILDING: &str = "SELECT count(*) > 0 FROM pg_index WHERE indexrelid = to_regclass('i') AND NOT indisvalid";

/// Step by step, with a statement in the third step that waits at the gate.
fn steps(first: &str, rest: &str) -> String {
    format!(
        "{first};\nCREATE INDEX CONCURRENTLY i ON t (id);\nBEGIN; INSERT INTO ran VALUES (2); {GATE} COMMIT;\n{rest}"
    )
}

fn killed_in_step_3(first: &str, rest: &str) -> State {
    pending(&steps(first, rest)).gate().killed_when(AT_GATE)
}

#[test]
fn scripts_that_go_statement_by_statement() {
    each(&[
        ("it failed and is still broken", Deploy::FailsRunning(21), || {
            pending("INSERT INTO ran VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (id);\nSELECT 1/0;").deployed(21)
        }),
        ("it failed and is mended", Deploy::Applies, || {
            pending("INSERT INTO ran VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (id);\nSELECT 1/0;")
                .deployed(21)
                .script("INSERT INTO ran VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (id);\nSELECT 1;")
        }),
        ("it failed and its beginning was edited", Deploy::Refused(21), || {
            pending("INSERT INTO ran VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (id);\nSELECT 1/0;")
                .deployed(21)
                .script("INSERT INTO ran VALUES (7);\nCREATE INDEX CONCURRENTLY i ON t (id);\nSELECT 1;")
        }),
        ("it failed and is not in the artifact", Deploy::Refused(21), || {
            let state = pending("INSERT INTO ran VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (id);\nSELECT 1/0;")
                .deployed(21);
            State {
                history: state.history.remove(NAME),
                ..state
            }
        }),
        ("it was killed", Deploy::Applies, || {
            killed_in_step_3("INSERT INTO ran VALUES (1)", "")
        }),
        ("it was killed, and a later one is pending", Deploy::Applies, || {
            killed_in_step_3("INSERT INTO ran VALUES (1)", "SELECT 1;").later()
        }),
        ("it had set a search_path", Deploy::Applies, || {
            killed_in_step_3("SET search_path = public, pg_catalog", "INSERT INTO ran VALUES (3);")
        }),
        ("it had set a setting of its own", Deploy::Applies, || {
            killed_in_step_3(
                "SET app.tenant = 'x'",
                "INSERT INTO ran SELECT length(current_setting('app.tenant'));",
            )
        }),
        ("it had set a setting in a DO block", Deploy::Refused(21), || {
            killed_in_step_3(
                "DO $$ BEGIN PERFORM set_config('app.tenant', md5(random()::text), false); END $$",
                "INSERT INTO ran SELECT length(current_setting('app.tenant'));",
            )
        }),
        ("it had a temporary table", Deploy::Refused(21), || {
            killed_in_step_3(
                "CREATE TEMPORARY TABLE kept (id int)",
                "INSERT INTO ran SELECT id FROM kept;",
            )
        }),
        ("it had a prepared statement", Deploy::Refused(21), || {
            killed_in_step_3("PREPARE p AS SELECT 1", "EXECUTE p;")
        }),
        ("it had a role that is gone", Deploy::Refused(21), || {
            let state = pending("SELECT 1;");
            let (user, role) = (
                state.database.user().to_owned(),
                format!("{}_gone", state.database.user()),
            );
            let state = state.superuser(&format!(
                "CREATE ROLE {role}; GRANT {role} TO {user}; GRANT ALL ON SCHEMA public TO {role}; GRANT ALL ON ran TO {role}"
            ));
            let state = state.script(&format!(
                "CREATE INDEX CONCURRENTLY i ON t (id);\nSET ROLE {role};\nBEGIN; INSERT INTO ran VALUES (2); {GATE} COMMIT;\nSELECT 1;"
            ));
            state
                .gate()
                .killed_when(AT_GATE)
                .superuser(&format!("REVOKE {role} FROM {user}"))
        }),
        ("the rest calls currval", Deploy::Refused(21), || {
            killed_in_step_3(
                "CREATE SEQUENCE s; SELECT nextval('s')",
                "INSERT INTO ran SELECT currval('s');",
            )
        }),
        ("a mark of an earlier build", Deploy::Applies, || {
            let script = "INSERT INTO ran VALUES (1);\nVACUUM t;\nINSERT INTO ran VALUES (2);";
            let state = pending(script).sql("INSERT INTO ran VALUES (1)");
            let prefix = state.sha256("INSERT INTO ran VALUES (1)");
            state.marked(script, &format!("steps step=1 prefix={prefix}"))
        }),
    ]);
}

#[test]
fn statements_that_run_by_themselves() {
    each(&[
        ("killed while an index was built", Deploy::Applies, || {
            pending("CREATE INDEX CONCURRENTLY i ON t (id);")
                .writer()
                .killed_when(BUILDING)
        }),
        (
            "killed while the second of three statements built an index",
            Deploy::Applies,
            || {
                pending(
                    "INSERT INTO ran VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (id);\nINSERT INTO ran VALUES (2);",
                )
                .writer()
                .killed_when(BUILDING)
            },
        ),
        ("the index was built by hand meanwhile", Deploy::Applies, || {
            pending("CREATE INDEX CONCURRENTLY i ON t (id);")
                .writer()
                .killed_when(BUILDING)
                .sql("DROP INDEX i; CREATE INDEX i ON t (id)")
        }),
        (
            "the index was built by hand meanwhile, and more follows",
            Deploy::Applies,
            || {
                pending("CREATE INDEX CONCURRENTLY i ON t (id);\nINSERT INTO ran VALUES (2);")
                    .writer()
                    .killed_when(BUILDING)
                    .sql("DROP INDEX i; CREATE INDEX i ON t (id)")
            },
        ),
        (
            "another index of the name was built by hand",
            Deploy::Refused(21),
            || {
                pending("CREATE INDEX CONCURRENTLY i ON t (id);")
                    .writer()
                    .killed_when(BUILDING)
                    .sql("DROP INDEX i; CREATE INDEX i ON t (note)")
            },
        ),
        ("the INVALID index was dropped by hand", Deploy::Applies, || {
            pending("CREATE INDEX CONCURRENTLY i ON t (id);")
                .writer()
                .killed_when(BUILDING)
                .sql("DROP INDEX i")
        }),
        (
            "an index without a name, and another session made one",
            Deploy::Refused(21),
            || {
                let building = "SELECT count(*) > 0 FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisvalid";
                pending("CREATE INDEX CONCURRENTLY ON t (id);")
                    .writer()
                    .killed_when(building)
                    .sql("CREATE INDEX other ON t (note)")
            },
        ),
        ("an index without a name", Deploy::Applies, || {
            let building = "SELECT count(*) > 0 FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisvalid";
            pending("CREATE INDEX CONCURRENTLY ON t (id);")
                .writer()
                .killed_when(building)
        }),
        ("the rows cannot be unique", Deploy::FailsRunning(20), || {
            pending("CREATE UNIQUE INDEX CONCURRENTLY i ON t (id);")
                .sql("INSERT INTO t VALUES (1), (1)")
                .writer()
                .killed_when(BUILDING)
        }),
        ("killed while an index was dropped", Deploy::Applies, || {
            let state = pending("DROP INDEX CONCURRENTLY i;").sql("CREATE INDEX i ON t (id)");
            let dropping = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                            AND query LIKE 'DROP INDEX%' AND wait_event_type = 'Lock'";
            state.writer().killed_when(dropping)
        }),
        ("a CALL was announced", Deploy::Refused(21), || {
            let script = "VACUUM t;\nCALL p();";
            let state = pending(script).sql("CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'");
            let text = state.sha256("VACUUM t");
            state.marked(script, &format!("alone step=2 text={text} before="))
        }),
        ("a VACUUM was announced", Deploy::Applies, || {
            let script = "INSERT INTO ran VALUES (1);\nVACUUM t;";
            let state = pending(script).sql("INSERT INTO ran VALUES (1)");
            let text = state.sha256("INSERT INTO ran VALUES (1)");
            state.marked(script, &format!("alone step=2 text={text} session={{}} before="))
        }),
        ("an announced index of an earlier build", Deploy::Applies, || {
            let script = "CREATE INDEX CONCURRENTLY i ON t (id);";
            let state = pending(script).sql("CREATE INDEX i ON t (id)");
            let prefix = state.sha256("");
            state.marked(script, &format!("alone step=1 prefix={prefix} before="))
        }),
        ("an announced statement failed", Deploy::Refused(21), || {
            let script = "CREATE INDEX CONCURRENTLY i ON t (id);";
            let state = pending(script);
            let text = state.sha256("");
            state.marked(script, &format!("alone step=1 text={text} before=\nERROR: it broke"))
        }),
        ("an announced statement was edited", Deploy::Refused(21), || {
            let script = "INSERT INTO ran VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (id);";
            let state = pending(script);
            let text = state.sha256("INSERT INTO ran VALUES (7)");
            state.marked(script, &format!("alone step=2 text={text} before="))
        }),
    ]);
}

#[test]
fn scripts_with_several_transactions() {
    each(&[
        ("the second one failed", Deploy::Refused(21), || {
            pending("BEGIN; INSERT INTO ran VALUES (1); COMMIT;\nBEGIN; SELECT 1/0; COMMIT;").deployed(21)
        }),
        ("the second one was killed", Deploy::Applies, || {
            pending(&format!(
                "BEGIN; INSERT INTO ran VALUES (1); COMMIT;\nBEGIN; INSERT INTO ran VALUES (2); {GATE} COMMIT;"
            ))
            .gate()
            .killed_when(AT_GATE)
        }),
        (
            "the second one was killed, and its beginning was edited",
            Deploy::Refused(21),
            || {
                pending(&format!(
                    "BEGIN; INSERT INTO ran VALUES (1); COMMIT;\nBEGIN; INSERT INTO ran VALUES (2); {GATE} COMMIT;"
                ))
                .gate()
                .killed_when(AT_GATE)
                .script("BEGIN; INSERT INTO ran VALUES (7); COMMIT;\nBEGIN; INSERT INTO ran VALUES (2); COMMIT;")
            },
        ),
        ("a chain with modes was killed", Deploy::Refused(21), || {
            pending(&format!(
                "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO ran VALUES (1); COMMIT AND CHAIN; INSERT INTO ran VALUES (2); {GATE} COMMIT;"
            ))
            .gate()
            .killed_when(AT_GATE)
        }),
        ("an earlier build had committed all of it", Deploy::Applies, || {
            let script = "BEGIN; INSERT INTO ran VALUES (1); COMMIT;";
            pending(script).sql(script).marked(script, "partial")
        }),
        ("an earlier build had committed a part", Deploy::Refused(21), || {
            let script = "INSERT INTO ran VALUES (1); COMMIT; INSERT INTO ran VALUES (2);";
            pending(script)
                .sql("INSERT INTO ran VALUES (1)")
                .marked(script, "partial")
        }),
        (
            "an earlier build had committed all of it, and the file was edited",
            Deploy::Refused(21),
            || {
                let script = "BEGIN; INSERT INTO ran VALUES (1); COMMIT;";
                pending("BEGIN; INSERT INTO ran VALUES (7); COMMIT;")
                    .sql(script)
                    .marked(script, "partial")
            },
        ),
        ("undecidable", Deploy::Refused(21), || {
            let script = "BEGIN; INSERT INTO ran VALUES (1); PREPARE TRANSACTION 'x';";
            pending(script).marked(script, "undecidable")
        }),
        ("two rows of ours", Deploy::Refused(21), || {
            let script = "BEGIN; INSERT INTO ran VALUES (1); COMMIT;";
            pending(script).marked(script, "partial").marked(script, "partial")
        }),
        ("a row of ours, and one of Prisma's", Deploy::Refused(21), || {
            let script = "BEGIN; INSERT INTO ran VALUES (1); COMMIT;";
            pending(script).marked(script, "partial").failed_of_prisma()
        }),
        (
            "a row of ours, and one that says it is applied",
            Deploy::Refused(21),
            || {
                let script = "BEGIN; INSERT INTO ran VALUES (1); COMMIT;";
                pending(script).deployed(0).marked(script, "partial")
            },
        ),
    ]);
}

#[test]
fn sessions_that_still_work() {
    each(&[
        ("another session holds the migration lock", Deploy::Waits(30), || {
            let mut state = pending("INSERT INTO ran VALUES (1);");
            let mut client = state.database.client();
            client.batch_execute("SELECT pg_advisory_lock(72707369)").unwrap();
            state.held.push(client);
            state
        }),
        ("the backend that wrote the row lives", Deploy::Waits(30), || {
            let script = "BEGIN; INSERT INTO ran VALUES (1); COMMIT;\nBEGIN; INSERT INTO ran VALUES (2); COMMIT;";
            let mut state = pending(script).sql("INSERT INTO ran VALUES (1)");
            let mut client = state.database.client();
            let backend: String = client
                .query_one(
                    "SELECT format('%s@%s', pid, (extract(epoch from backend_start) * 1000000)::bigint) FROM pg_stat_activity \
                     WHERE pid = pg_backend_pid()",
                    &[],
                )
                .unwrap()
                .get(0);
            state.held.push(client);
            let text = state.sha256("BEGIN; INSERT INTO ran VALUES (1); COMMIT");
            state.marked(
                script,
                &format!("partial step=1 text={text} session={{}} backend={backend}"),
            )
        }),
    ]);
}
