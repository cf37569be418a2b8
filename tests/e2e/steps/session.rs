//! What a script has made of its session: a later run makes it again exactly, or stops and says what it cannot make again.

use super::{Committed, deploy, each, failure, is_true, pending, rewrite, role, rows, servers, terminate, until_true};
use crate::migrate;
use harness::history::History;
use harness::postgres::{Database, Server};

const TABLES: &str = "CREATE SCHEMA tenant; CREATE TABLE tenant.t (i int); CREATE TABLE t (i int); CREATE TABLE users (id int); \
    INSERT INTO users VALUES (7); CREATE TABLE r (x text); CREATE SEQUENCE s; SELECT nextval('s'); \
    CREATE FUNCTION use_tenant() RETURNS void LANGUAGE plpgsql AS 'BEGIN SET search_path = tenant; END'; \
    CREATE FUNCTION kept() RETURNS int LANGUAGE sql AS 'SELECT 1'";

/// How a case ends that is gone on with.
enum End {
    /// As it would have without the interruption.
    Same,
    /// With exit 21 and this word in its sentence.
    Stops(&'static str),
    /// Either.
    Either,
}
use End::{Either, Same, Stops};

struct Case {
    name: &'static str,
    /// Before the index.
    first: &'static str,
    /// Behind the index.
    then: &'static str,
    /// What is compared.
    seen: &'static str,
    end: End,
}

const IN_T: &str = "SELECT (SELECT string_agg(i::text, ',' ORDER BY i) FROM tenant.t), (SELECT string_agg(i::text, ',' ORDER BY i) FROM t)";

const CASES: [Case; 20] = [
    Case {
        name: "seen: search_path in a transaction",
        first: "begin; set search_path=tenant; insert into t values(-1); commit;",
        then: "insert into t values(-2);",
        seen: IN_T,
        end: Same,
    },
    Case {
        name: "set_config in a query",
        first: "select set_config('search_path', n, false) from (values ('tenant')) as v(n);",
        then: "insert into t values(-2);",
        seen: IN_T,
        end: Same,
    },
    Case {
        name: "DO",
        first: "do $$ begin perform set_config('search_path', 'tenant', false); end $$;",
        then: "insert into t values(-2);",
        seen: IN_T,
        end: Same,
    },
    Case {
        name: "a function",
        first: "select use_tenant();",
        then: "insert into t values(-2);",
        seen: IN_T,
        end: Same,
    },
    Case {
        name: "set_config in an UPDATE",
        first: "insert into r select set_config('search_path', 'tenant', false);",
        then: "insert into t values(-2);",
        seen: IN_T,
        end: Same,
    },
    Case {
        name: "a setting that was reset again",
        first: "set search_path=tenant; insert into t values(-1); reset search_path;",
        then: "insert into t values(-2);",
        seen: IN_T,
        end: Same,
    },
    Case {
        name: "a setting of a transaction that was rolled back",
        first: "begin; set search_path=tenant; rollback; insert into t values(-1);",
        then: "insert into t values(-2);",
        seen: IN_T,
        end: Same,
    },
    Case {
        name: "several settings",
        first: "do $$ begin set timezone = 'Asia/Tokyo'; set datestyle = 'German, DMY'; set search_path = tenant, public; end $$;",
        then: "insert into r values (current_setting('timezone') || timestamptz '2024-01-01 00:00+00'); insert into t values(-2);",
        seen: "SELECT (SELECT x FROM r), (SELECT string_agg(i::text, ',') FROM tenant.t)",
        end: Same,
    },
    Case {
        name: "a role",
        first: "begin; set role :role; commit;",
        then: "create table made (i int);",
        seen: "SELECT tableowner LIKE '%_other' FROM pg_tables WHERE tablename = 'made'",
        end: Same,
    },
    Case {
        name: "a role by set_config",
        first: "select set_config('role', ':role', false);",
        then: "create table made (i int);",
        seen: "SELECT tableowner LIKE '%_other' FROM pg_tables WHERE tablename = 'made'",
        end: Same,
    },
    Case {
        name: "seen: a temporary table that hides a real one",
        first: "create temp table users (id int);",
        then: "delete from users;",
        seen: "SELECT count(*) FROM public.users",
        end: Stops("temporary"),
    },
    Case {
        name: "a temporary table made in DO",
        first: "do $$ begin create temp table users (id int); end $$;",
        then: "delete from users;",
        seen: "SELECT count(*) FROM public.users",
        end: Stops("temporary"),
    },
    Case {
        name: "a temporary view",
        first: "begin; create temp view users as select 1 as id; commit;",
        then: "insert into r select id::text from users;",
        seen: "SELECT x FROM r",
        end: Stops("temporary"),
    },
    Case {
        name: "a temporary function",
        first: "create function pg_temp.kept() returns int language sql as 'select 2';",
        then: "insert into r values (pg_temp.kept()::text);",
        seen: "SELECT x FROM r",
        end: Stops("temporary"),
    },
    Case {
        name: "seen: a prepared statement",
        first: "prepare p as insert into t values (-2);",
        then: "execute p;",
        seen: IN_T,
        end: Either,
    },
    Case {
        name: "a cursor WITH HOLD",
        first: "declare c cursor with hold for select id from users;",
        then: "fetch c; insert into t values (-2);",
        seen: IN_T,
        end: Either,
    },
    Case {
        name: "seen: currval",
        first: "select nextval('s');",
        then: "insert into t values (currval('s'));",
        seen: IN_T,
        end: Either,
    },
    Case {
        name: "lastval in a function",
        first: "insert into r select nextval('s')::text;",
        then: "insert into t values (lastval());",
        seen: IN_T,
        end: Either,
    },
    Case {
        name: "an advisory lock",
        first: "select pg_advisory_lock(4711);",
        then: "insert into r select pg_advisory_unlock(4711)::text;",
        seen: "SELECT x FROM r",
        end: Either,
    },
    Case {
        name: "a listener",
        first: "listen channel;",
        then: "insert into r select pg_listening_channels();",
        seen: "SELECT x FROM r",
        end: Same,
    },
];

/// The migration, in a database whose table `t` belongs to the role that a case may set.
fn ready(server: &Server, case: &Case) -> (Database, History) {
    let (database, history) = pending(server, TABLES, "");
    let role = role(&database, "other");
    database
        .superuser()
        .batch_execute(&format!(
            "ALTER TABLE public.t OWNER TO {role}; ALTER TABLE tenant.t OWNER TO {role}"
        ))
        .unwrap();
    let script = format!("{}\ncreate index concurrently t_i on t(i);\n{}", case.first, case.then);
    rewrite(&history, &script.replace(":role", &role));
    (database, history)
}

/// Kills the run and its backend while the index waits for a writer.
fn killed_in_the_index(database: &Database, history: &History) {
    let mut writer = database.client();
    writer
        .batch_execute("BEGIN; INSERT INTO tenant.t VALUES (0); INSERT INTO public.t VALUES (0)")
        .unwrap();
    let run = migrate().deploy(history.folder()).database(database).spawn();
    until_true(
        database,
        "the index is there and INVALID",
        "SELECT count(*) = 1 FROM pg_index WHERE indexrelid::regclass::text LIKE '%t_i' AND NOT indisvalid",
    );
    run.kill();
    terminate(database);
    writer.batch_execute("ROLLBACK").unwrap();
}

fn is_gone_on_with(server: usize, case: &Case) {
    let name = case.name;
    let server = servers()[server];
    let twin = {
        let (database, history) = ready(server, case);
        deploy(&database, &history).expect(0);
        database.rows(case.seen)
    };
    let (database, history) = ready(server, case);
    killed_in_the_index(&database, &history);
    let marks = format!("{:?}", rows(&database));
    let run = deploy(&database, &history);
    let told = format!("{name}\n{marks}\n{run}");
    match case.end {
        Same => assert_eq!(run.code, 0, "{told}"),
        Stops(word) => {
            assert_eq!(run.code, 21, "{told}");
            let said = format!("{} {} {:?}", failure(&run, "what"), failure(&run, "state"), run.report);
            assert!(said.contains(word), "{told}");
        }
        Either => assert!(matches!(run.code, 0 | 21), "{told}"),
    }
    if run.code == 0 {
        assert_eq!(database.rows(case.seen), twin, "{told}");
        is_true(name, &database, &run, Committed::All);
    } else {
        is_true(name, &database, &run, Committed::Part);
    }
    assert_eq!(database.scalar("SELECT count(*) FROM public.users"), "1", "{told}");
}

#[test]
fn a_session_is_made_again_or_the_run_stops() {
    std::thread::scope(|scope| {
        each(CASES.chunks(7), |part| {
            scope.spawn(move || part.iter().for_each(|case| is_gone_on_with(0, case)));
        });
    });
}

#[test]
fn so_it_is_on_the_oldest_and_the_newest_server() {
    each([1, 2], |server| {
        each(
            CASES
                .iter()
                .filter(|case| case.name.starts_with("seen") || case.name == "a role"),
            |case| {
                is_gone_on_with(server, case);
            },
        );
    });
}

/// The value of a custom setting may be a secret.
#[test]
fn a_secret_in_a_setting_is_kept_nowhere() {
    const SECRET: &str = "hunter2hunter2";
    each(
        [
            ("seen: SET", "set app.jwt_secret = 'hunter2hunter2';"),
            (
                "set_config",
                "select set_config('app.jwt_secret', 'hunter2hunter2', false);",
            ),
            (
                "DO",
                "do $$ begin perform set_config('app.jwt_secret', 'hunter2hunter2', false); end $$;",
            ),
            (
                "in a transaction",
                "begin; set app.jwt_secret = 'hunter2hunter2'; commit;",
            ),
            ("a name in capitals", "set \"App.JWT_Secret\" = 'hunter2hunter2';"),
            ("a function", "select set_secret();"),
        ],
        |(name, first)| {
            let function = "CREATE FUNCTION set_secret() RETURNS void LANGUAGE sql AS $$ SELECT set_config('app.jwt_secret', 'hunter2hunter2', false) $$";
            let text = format!(
                "{first}\ncreate index concurrently t_i on t(i);\ninsert into r values (length(current_setting('app.jwt_secret', true))::text);"
            );
            let (database, history) = pending(servers()[0], &format!("{TABLES}; {function}"), &text);
            killed_in_the_index(&database, &history);
            let kept = format!("{:?}", rows(&database));
            assert!(!kept.contains(SECRET), "{name}: {kept}");
            for verb in ["status", "deploy"] {
                let run = migrate()
                    .verb([verb])
                    .arg(history.folder())
                    .database(&database)
                    .secret(SECRET)
                    .run();
                if verb == "status" {
                    continue;
                }
                let told = format!("{name}\n{kept}\n{run}");
                match run.code {
                    0 => assert_eq!(database.scalar("SELECT x FROM r"), "14", "{told}"),
                    21 => assert!(run.stdout.to_lowercase().contains("app.jwt_secret"), "{told}"),
                    code => panic!("exit code {code}: {told}"),
                }
            }
            let kept = format!("{:?}", rows(&database));
            assert!(!kept.contains(SECRET), "{name}: {kept}");
        },
    );
}
