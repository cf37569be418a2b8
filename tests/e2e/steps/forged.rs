//! Scripts and triggers that close, open or remove the migration's row: a row that is not ours to read proves nothing.

use super::{Committed, deploy, each, is_true, pending, rows, servers};
use harness::history::History;
use harness::postgres::Database;

/// A name, what is there before, and the script. Each writes rows into `a`, up to `all` of them.
struct Case {
    name: &'static str,
    before: &'static str,
    script: &'static str,
    all: u32,
}

const CLOSE: &str = "CREATE FUNCTION close() RETURNS void LANGUAGE sql AS \
    'UPDATE _prisma_migrations SET finished_at = now() WHERE finished_at IS NULL'";
const DELETE: &str = "CREATE FUNCTION remove() RETURNS void LANGUAGE sql AS \
    'DELETE FROM _prisma_migrations WHERE finished_at IS NULL'";
const CLOSES_AT_ONCE: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.finished_at := now(); RETURN NEW; END'; \
    CREATE TRIGGER f BEFORE INSERT ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION f()";
const CLOSES_ON_UPDATE: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.finished_at := now(); RETURN NEW; END'; \
    CREATE TRIGGER f BEFORE UPDATE ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION f()";
const REMOVES_BEHIND: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN DELETE FROM _prisma_migrations WHERE id = NEW.id; RETURN NULL; END'; \
    CREATE TRIGGER f AFTER UPDATE ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION f()";
const REMOVES_AT_COMMIT: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN DELETE FROM _prisma_migrations WHERE id = NEW.id; RETURN NULL; END'; \
    CREATE CONSTRAINT TRIGGER f AFTER INSERT OR UPDATE ON _prisma_migrations DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()";
const KEEPS_OPEN: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.finished_at := NULL; RETURN NEW; END'; \
    CREATE TRIGGER f BEFORE UPDATE ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION f()";
const REOPENS: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN UPDATE _prisma_migrations SET finished_at = NULL WHERE id = NEW.id; RETURN NULL; END'; \
    CREATE TRIGGER f AFTER UPDATE ON _prisma_migrations FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION f()";
const REOPENS_AT_COMMIT: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN UPDATE _prisma_migrations SET finished_at = NULL WHERE id = NEW.id; RETURN NULL; END'; \
    CREATE CONSTRAINT TRIGGER f AFTER UPDATE ON _prisma_migrations DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
    WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION f()";
const SKIPS_UPDATES: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
    CREATE TRIGGER f BEFORE UPDATE ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION f()";
const HIDDEN_WHEN_CLOSED: &str = "ALTER TABLE _prisma_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
    CREATE POLICY p ON _prisma_migrations USING (migration_name NOT LIKE '%_it' OR finished_at IS NULL) WITH CHECK (true)";
const NO_UPDATES: &str = "CREATE RULE r AS ON UPDATE TO _prisma_migrations DO INSTEAD NOTHING";

/// The script's own statements.
const OWN: [Case; 12] = [
    Case {
        name: "seen: closes its row in a transaction of its own, and the next one fails",
        before: "",
        script: "begin; update _prisma_migrations set finished_at=now() where finished_at is null; insert into a values(1); commit; begin; create table b(i int); insert into b values(1/0); commit;",
        all: 2,
    },
    Case {
        name: "seen: deletes its row",
        before: "",
        script: "begin; delete from _prisma_migrations where finished_at is null; create table if not exists c(i int); insert into a values(1); commit;",
        all: 1,
    },
    Case {
        name: "closes its row through a function, and the next transaction fails",
        before: CLOSE,
        script: "begin; select close(); insert into a values(1); commit; begin; insert into a values(1/0); commit;",
        all: 2,
    },
    Case {
        name: "closes its row through a function, and goes on beside an index",
        before: CLOSE,
        script: "begin; select close(); insert into a values(1); commit; create index concurrently a_i on a(i); insert into a values(1/0);",
        all: 2,
    },
    Case {
        name: "closes its row and fails in the same transaction",
        before: "",
        script: "update _prisma_migrations set finished_at=now() where finished_at is null; insert into a values(1/0);",
        all: 1,
    },
    Case {
        name: "deletes its row through a function, in the first of two transactions",
        before: DELETE,
        script: "begin; select remove(); insert into a values(1); commit; begin; insert into a values(2); commit;",
        all: 2,
    },
    Case {
        name: "deletes its row through a function, before an index",
        before: DELETE,
        script: "insert into a values(1); select remove(); create index concurrently a_i on a(i); insert into a values(2);",
        all: 2,
    },
    Case {
        name: "deletes its row through DO, in one transaction",
        before: DELETE,
        script: "insert into a values(1); do $$ begin perform remove(); end $$;",
        all: 1,
    },
    Case {
        name: "empties the ledger and fails in its second transaction",
        before: "",
        script: "begin; insert into a values(1); truncate _prisma_migrations; commit; begin; insert into a values(1/0); commit;",
        all: 2,
    },
    Case {
        name: "marks its row as rolled back and fails in its second transaction",
        before: "",
        script: "begin; insert into a values(1); update _prisma_migrations set rolled_back_at=now() where finished_at is null; commit; begin; insert into a values(1/0); commit;",
        all: 2,
    },
    Case {
        name: "renames the ledger in its first transaction",
        before: "",
        script: "begin; insert into a values(1); alter table _prisma_migrations rename to ledger; commit; begin; insert into a values(2); alter table ledger rename to _prisma_migrations; commit;",
        all: 2,
    },
    Case {
        name: "writes a mark of another progress and fails",
        before: "",
        script: "begin; insert into a values(1); commit; begin; insert into a values(2); update _prisma_migrations set logs = replace(logs, 'step=1', 'step=3') where finished_at is null; commit; begin; insert into a values(1/0); commit;",
        all: 3,
    },
];

/// What is in the way of the ledger, before the migration.
const OBSTACLES: [(&str, &str); 10] = [
    ("a trigger that closes each row as it is inserted", CLOSES_AT_ONCE),
    ("a trigger that closes each row as it is marked", CLOSES_ON_UPDATE),
    ("a trigger that removes what is updated", REMOVES_BEHIND),
    (
        "a trigger that removes rows when their transaction commits",
        REMOVES_AT_COMMIT,
    ),
    ("seen: a trigger that keeps finished_at NULL", KEEPS_OPEN),
    ("seen: a trigger that opens a closed row again", REOPENS),
    (
        "a trigger that opens a closed row again when its transaction commits",
        REOPENS_AT_COMMIT,
    ),
    ("a trigger that skips updates", SKIPS_UPDATES),
    ("row security that hides a closed row", HIDDEN_WHEN_CLOSED),
    ("a rule that turns updates into nothing", NO_UPDATES),
];

/// Each form of a script; all write two rows.
const FORMS: [(&str, &str); 5] = [
    ("one transaction", "insert into a values(1); insert into a values(2);"),
    (
        "two transactions",
        "begin; insert into a values(1); commit; begin; insert into a values(2); commit;",
    ),
    (
        "two transactions, an error in the second",
        "begin; insert into a values(1); commit; begin; insert into a values(1/0); commit;",
    ),
    (
        "steps",
        "insert into a values(1); create index concurrently a_i on a(i); insert into a values(2);",
    ),
    (
        "one statement alone",
        "do $$ begin insert into a values(1); commit; insert into a values(2); commit; end $$;",
    ),
];

fn count(database: &Database) -> u32 {
    let row = database
        .superuser()
        .query_one("SELECT count(*)::int4 FROM a", &[])
        .unwrap();
    u32::try_from(row.get::<_, i32>(0)).unwrap()
}

/// Several deploys: what each says must be true of what it did, and nothing is done twice.
#[track_caller]
fn deploys(name: &str, database: &Database, history: &History, (deploys, all): (u32, u32)) {
    let mut before = count(database);
    for n in 1..=deploys {
        let run = deploy(database, history);
        let now = count(database);
        assert!(now <= all, "{name}, deploy {n}: {now} rows of {all}\n{run}");
        let added = now - before;
        let state = if run.code == 0 {
            String::new()
        } else {
            super::failure(&run, "state")
        };
        let told = format!(
            "{name}, deploy {n}: {added} rows were added\n{:?}\n{run}",
            rows(database)
        );
        match run.code {
            0 => assert_eq!(now, all, "{told}"),
            20 | 50 => {
                assert_eq!(added, 0, "{told}");
                assert!(
                    state.contains("rolled back") || state.contains("nothing was changed"),
                    "{told}"
                );
            }
            21 => {
                assert!(!state.contains("was rolled back"), "{told}");
                assert!(added == 0 || !state.contains("nothing was changed"), "{told}");
                if now == all && added > 0 {
                    assert!(
                        !state.contains("the rest is not") && !state.contains("nothing after that"),
                        "{told}"
                    );
                }
            }
            22 => assert_eq!(added, 0, "{told}"),
            code => panic!("exit code {code}: {told}"),
        }
        if added > 0 && now < all {
            is_true(name, database, &run, Committed::Part);
        }
        before = now;
    }
}

#[test]
fn a_script_that_forges_its_row_is_not_believed() {
    each(
        OWN,
        |Case {
             name,
             before,
             script,
             all,
         }| {
            let (database, history) = pending(servers()[0], &format!("CREATE TABLE a (i int); {before}"), script);
            deploys(name, &database, &history, (3, all));
        },
    );
}

#[test]
fn an_obstacle_on_the_ledger_is_not_believed() {
    std::thread::scope(|scope| {
        for part in OBSTACLES.chunks(4) {
            scope.spawn(move || {
                for (obstacle, before) in part {
                    each(FORMS, |(form, script)| {
                        let name = format!("{obstacle}: {form}");
                        let (database, history) = pending(servers()[0], "CREATE TABLE a (i int)", script);
                        database.execute(before);
                        deploys(&name, &database, &history, (2, 2));
                    });
                }
            });
        }
    });
}

/// Triggers that a script makes for its own row: they run when its transaction commits, and nobody expects them.
const AT_ITS_COMMIT: [(&str, &str); 3] = [
    (
        "opens its row again",
        "UPDATE _prisma_migrations SET finished_at = NULL WHERE id = NEW.id",
    ),
    (
        "opens its row again and writes over its mark",
        "UPDATE _prisma_migrations SET finished_at = NULL, logs = ''mine'' WHERE id = NEW.id",
    ),
    (
        "opens its row again with the mark of another run",
        "UPDATE _prisma_migrations SET finished_at = NULL, logs = ''prisma-migrate-task/1 run=other state=partial'' WHERE id = NEW.id",
    ),
];

fn at_its_commit(what: &str) -> String {
    format!(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {what}; RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER f AFTER UPDATE ON _prisma_migrations DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
         WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION f()"
    )
}

/// All of it is committed, and its row is not as the run has written it.
#[test]
fn a_row_that_its_own_script_opens_again_blocks() {
    each(AT_ITS_COMMIT, |(name, what)| {
        let script = format!("insert into a values(1); {};", at_its_commit(what));
        let (database, history) = pending(servers()[0], "CREATE TABLE a (i int)", &script);
        let run = deploy(&database, &history);
        assert_eq!(run.code, 21, "{name}\n{run}");
        is_true(name, &database, &run, Committed::All);
        assert!(
            super::failure(&run, "state").contains("all of this migration is committed"),
            "{name}\n{run}"
        );
        let rows = rows(&database);
        assert!(
            rows[0]
                .logs
                .as_deref()
                .unwrap_or_default()
                .contains("state=undecidable"),
            "{name}: {rows:?}\n{run}"
        );
        let run = deploy(&database, &history);
        assert_eq!(run.code, 21, "{name}\n{run}");
        assert_eq!(count(&database), 1, "{name}\n{run}");
    });
}

fn all_or_nothing(database: &Database, history: &History) -> harness::process::Run {
    let call = crate::migrate().deploy(history.folder()).database(database);
    call.arg("--all-or-nothing").run()
}

#[test]
fn the_last_row_of_several_migrations_that_is_opened_again_blocks() {
    each(AT_ITS_COMMIT, |(name, what)| {
        let script = format!("insert into a values(1); {};", at_its_commit(what));
        let (database, history) = pending(servers()[0], "CREATE TABLE a (i int)", &script);
        let history = history.migration("20250101000000_later", "insert into a values(2)");
        let run = all_or_nothing(&database, &history);
        assert_eq!(run.code, 21, "{name}\n{run}");
        assert_eq!(count(&database), 2, "{name}\n{run}");
        let state = super::failure(&run, "state");
        assert!(
            state.contains("all migrations of this run are committed"),
            "{name}\n{run}"
        );
        for run in [all_or_nothing(&database, &history), deploy(&database, &history)] {
            assert!(matches!(run.code, 21 | 22), "{name}\n{run}");
            assert_eq!(count(&database), 2, "{name}\n{run}");
        }
    });
}

/// A trigger that runs at the commit can remove the rows of all of them, and nobody would know.
#[test]
fn several_migrations_do_not_share_a_transaction_where_their_rows_can_go_at_its_commit() {
    each(
        [("removes", REMOVES_AT_COMMIT), ("opens again", REOPENS_AT_COMMIT)],
        |(name, trigger)| {
            let (database, history) = pending(servers()[0], "CREATE TABLE a (i int)", "insert into a values(1)");
            let history = history.migration("20250101000000_later", "insert into a values(2)");
            database.execute(trigger);
            let run = all_or_nothing(&database, &history);
            assert_eq!(run.code, 24, "{name}\n{run}");
            assert_eq!(count(&database), 0, "{name}\n{run}");
        },
    );
}

#[test]
fn the_seen_ones_on_the_oldest_and_the_newest_server() {
    for server in &servers()[1..] {
        each(
            OWN.into_iter().take(4),
            |Case {
                 name,
                 before,
                 script,
                 all,
             }| {
                let (database, history) = pending(server, &format!("CREATE TABLE a (i int); {before}"), script);
                deploys(name, &database, &history, (3, all));
            },
        );
        each(
            [("keeps open", KEEPS_OPEN), ("opens again", REOPENS)],
            |(name, before)| {
                let (database, history) = pending(server, "CREATE TABLE a (i int)", FORMS[1].1);
                database.execute(before);
                deploys(name, &database, &history, (2, 2));
            },
        );
    }
}
