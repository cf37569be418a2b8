//! What a failed or interrupted statement has left and other sessions keep from being taken away: they are named, the run ends in time, and the next one
//! goes on with it.

use super::{Committed, deploy, each, everywhere, failure, in_transaction, is_true, pending, rows, servers, terminate};
use crate::migrate;
use harness::history::History;
use harness::postgres::{Client, Database, Server, Version};
use harness::process::{Run, Signal};
use harness::until;

const BEFORE: &str = "CREATE TABLE t (i int, n int); INSERT INTO t VALUES (1, 1), (2, 1); CREATE INDEX t_i ON t (i); CREATE TABLE done (i int); \
    CREATE TABLE p (i int) PARTITION BY RANGE (i); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9); INSERT INTO p VALUES (1)";

/// A statement that leaves something where another session is in a transaction that has done `other`.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    script: &'static str,
    other: &'static str,
    /// What the failure says is left.
    left: &'static str,
}

/// They fail by themselves, each in its run.
const FAILS: [Case; 6] = [
    Case {
        name: "seen: its own lock_timeout, beside a writer",
        script: "set lock_timeout = '100ms'; create index concurrently t_n on t(n);",
        other: "INSERT INTO t VALUES (3, 3)",
        left: "the INVALID index public.t_n",
    },
    Case {
        name: "a unique index, beside a reader",
        script: "create unique index concurrently t_n on t(n);",
        other: "SELECT * FROM t",
        left: "the INVALID index public.t_n",
    },
    Case {
        name: "behind a step that is done",
        script: "insert into done values (1); create unique index concurrently t_n on t(n);",
        other: "SELECT * FROM t",
        left: "the INVALID index public.t_n",
    },
    Case {
        name: "without a name",
        script: "create unique index concurrently on t(n);",
        other: "SELECT * FROM t",
        left: "the INVALID index public.t_n_idx",
    },
    Case {
        name: "REINDEX, beside a reader",
        script: "set lock_timeout = '100ms'; reindex index concurrently t_i;",
        other: "SELECT * FROM t",
        left: "the INVALID index public.t_i_cc",
    },
    Case {
        name: "in a path of its own",
        script: "create schema \"S\"; create table \"S\".\"T\" as select 1 as n from generate_series(1, 2); set search_path = \"S\", public; \
            create unique index concurrently \"I\" on \"T\"(n); ",
        other: "SELECT 1",
        left: "the INVALID index \"S\".\"I\"",
    },
];

const DETACHES: [Case; 3] = [
    Case {
        name: "seen: a detach",
        script: "set lock_timeout = '100ms'; alter table p detach partition p1 concurrently;",
        other: "SELECT * FROM p",
        left: "the half detached partition public.p1",
    },
    Case {
        name: "a detach behind a step that is done",
        script: "insert into done values (1); set lock_timeout = '100ms'; alter table p detach partition p1 concurrently;",
        other: "SELECT * FROM p",
        left: "the half detached partition public.p1",
    },
    Case {
        name: "a detach beside a writer",
        script: "set lock_timeout = '100ms'; alter table p detach partition p1 concurrently;",
        other: "INSERT INTO p VALUES (2)",
        left: "the half detached partition public.p1",
    },
];

/// Before PostgreSQL 14 nothing is detached concurrently.
fn newest() -> &'static Server {
    Server::version(Version::V18)
}

fn stays_alone(database: &Database, told: &str) {
    let rows = rows(database);
    let alone = rows.iter().filter(|row| {
        let logs = row.logs.as_deref().unwrap_or_default();
        !row.finished && !row.rolled_back && logs.contains("state=alone")
    });
    assert_eq!(alone.count(), 1, "{told}\n{rows:?}");
}

/// Its row is finished, and what else there is was rolled back.
#[track_caller]
fn is_closed(database: &Database, run: &Run) {
    let mut rows = rows(database);
    rows.retain(|row| !row.rolled_back);
    assert!(rows.len() == 1 && rows[0].finished, "{rows:?}\n{run}");
}

/// It has given up in time, said what is left and who kept it, and its row still announces the statement.
#[track_caller]
fn gives_up(case: &Case, database: &Database, run: &Run) {
    let told = format!("{}\n{run}", case.name);
    assert_eq!(run.code, 31, "{told}");
    assert!(failure(run, "what").contains(case.left), "{told}");
    assert!(failure(run, "what").contains("--lock-retry-for"), "{told}");
    let state = failure(run, "state");
    assert!(
        state.contains(&format!("{} is still there", case.left)) || state.contains(case.left),
        "{told}"
    );
    assert!(
        !state.contains("nothing was changed") && !state.contains("rolled back"),
        "{told}"
    );
    let details = run.report.as_ref().unwrap()["failure"]["details"].to_string();
    assert!(details.contains("the stranger"), "{told}");
    assert!(
        run.stderr
            .lines()
            .any(|line| line.contains("the stranger") && line.contains("in its way")),
        "{told}"
    );
    stays_alone(database, &told);
}

fn impatient(database: &Database, history: &History) -> Run {
    migrate()
        .deploy(history.folder())
        .database(database)
        .arg("--lock-timeout=200ms")
        .arg("--lock-retry-for=500ms")
        .run()
}

fn nothing_is_left(database: &Database) -> bool {
    database.scalar(
        "SELECT (SELECT count(*) FROM pg_index WHERE NOT indisvalid) + (SELECT count(*) FROM pg_inherits i WHERE to_jsonb(i) ->> 'inhdetachpending' = 'true')",
    ) == "0"
}

/// Another session that has locked what the case's script is going to leave something of.
fn stranger(database: &Database, case: &Case) -> Client {
    in_transaction(database, case.other)
}

#[test]
fn a_run_whose_statement_has_failed_names_who_keeps_what_it_left() {
    let cases = &FAILS[..5];
    each(everywhere(cases, |case| case.name), |(server, case)| {
        let (database, history) = pending(server, BEFORE, case.script);
        let mut other = stranger(&database, &case);
        let run = impatient(&database, &history);
        gives_up(&case, &database, &run);
        let done = database.scalar("SELECT count(*) FROM done");
        assert_eq!(
            failure(&run, "state").contains("1 of 2 steps are committed"),
            case.script.matches(';').count() == 2,
            "{}\n{run}",
            case.name
        );
        // Once more, with the same end.
        gives_up(&case, &database, &impatient(&database, &history));
        other.batch_execute("ROLLBACK").unwrap();
        database.execute("UPDATE t SET n = i");
        let run = deploy(&database, &history);
        assert_eq!(run.code, 0, "{}\n{run}", case.name);
        is_true(case.name, &database, &run, Committed::All);
        assert!(nothing_is_left(&database), "{}\n{run}", case.name);
        assert_eq!(database.scalar("SELECT count(*) FROM done"), done, "{}", case.name);
    });
}

/// The error of the statement itself is not forgotten over what it left.
#[test]
fn the_error_of_the_statement_is_shown_too() {
    let case = FAILS[1];
    let (database, history) = pending(servers()[0], BEFORE, case.script);
    let _other = stranger(&database, &case);
    let run = impatient(&database, &history);
    let details = run.report.as_ref().unwrap()["failure"]["details"].to_string();
    assert!(details.contains("23505"), "{run}");
}

/// A table that the script itself has made nobody else uses: nothing is waited for.
#[test]
fn what_nobody_uses_is_taken_away_at_once() {
    let case = FAILS[5];
    let (database, history) = pending(servers()[0], BEFORE, case.script);
    let run = impatient(&database, &history);
    assert_eq!(run.code, 21, "{run}");
    assert!(nothing_is_left(&database), "{run}");
}

/// What the wait ends with is done: the same run goes on.
#[test]
fn a_wait_that_ends_is_no_failure() {
    each(FAILS[..1].iter().copied().chain(DETACHES), |case| {
        let (database, history) = pending(newest(), BEFORE, case.script);
        let mut other = stranger(&database, &case);
        let mut run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--lock-timeout=200ms")
            .arg("--progress-every=1s")
            .spawn();
        run.wait_for_stderr("is still there, because other sessions use its table");
        run.wait_for_stderr("the stranger");
        other.batch_execute("ROLLBACK").unwrap();
        let run = run.wait();
        assert_eq!(run.code, 0, "{}\n{run}", case.name);
        is_true(case.name, &database, &run, Committed::All);
        assert!(nothing_is_left(&database), "{}\n{run}", case.name);
    });
}

/// Without a lock_timeout the wait is one, and as long as `--lock-retry-for`.
#[test]
fn a_wait_without_a_lock_timeout_ends_too() {
    let case = FAILS[1];
    for server in servers() {
        let (database, history) = pending(server, BEFORE, case.script);
        let _other = stranger(&database, &case);
        let run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--lock-timeout=0")
            .arg("--lock-retry-for=3s")
            .arg("--progress-every=1s")
            .run();
        gives_up(&case, &database, &run);
        // Said while it waits, not only behind it.
        assert!(
            run.stderr
                .lines()
                .any(|line| line.contains("the stranger") && line.contains("is in its way")),
            "{run}"
        );
        assert!(run.took.as_secs() < 20, "{run}");
    }
}

/// Kills the run and its backend when the statement has left something, beside the session that keeps it there.
fn left_by_a_killed_run(server: &Server, case: &Case) -> (Database, History, Client) {
    let script = case.script.replace("set lock_timeout = '100ms';", "");
    let (database, history) = pending(server, BEFORE, &script);
    let other = stranger(&database, case);
    let run = migrate().deploy(history.folder()).database(&database).spawn();
    until("something is left", || !nothing_is_left(&database));
    run.kill();
    terminate_ours(&database);
    (database, history, other)
}

/// Ends the run's backends, and neither the harness's nor the stranger's.
fn terminate_ours(database: &Database) {
    let mut superuser = database.superuser();
    until("no backend of a run is left", || {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
            AND application_name LIKE 'prisma-migrate-task/%'";
        superuser.query(sql, &[]).unwrap().is_empty()
    });
}

/// Those whose statement waits for the other session, so that it can be killed meanwhile.
const KILLED: [Case; 3] = [
    FAILS[0],
    Case {
        name: "seen: REINDEX",
        ..FAILS[4]
    },
    Case {
        name: "an index without a name, behind a step",
        script: "insert into done values (1); create index concurrently on t(n);",
        other: "INSERT INTO t VALUES (3, 3)",
        left: "the INVALID index public.t_n_idx",
    },
];

#[test]
fn a_run_after_one_that_was_killed_names_who_keeps_what_that_left() {
    let detaches = everywhere(&DETACHES, |case| case.name);
    let detaches = detaches.into_iter().filter(|(server, _)| server.major() >= 14);
    let cases = everywhere(&KILLED, |case| case.name);
    each(cases.into_iter().chain(detaches), |(server, case)| {
        let (database, history, mut other) = left_by_a_killed_run(server, &case);
        let run = impatient(&database, &history);
        gives_up(&case, &database, &run);
        gives_up(&case, &database, &impatient(&database, &history));
        other.batch_execute("ROLLBACK").unwrap();
        let run = deploy(&database, &history);
        assert_eq!(run.code, 0, "{}\n{run}", case.name);
        is_closed(&database, &run);
        assert!(nothing_is_left(&database), "{}\n{run}", case.name);
        assert!(
            database.scalar("SELECT count(*) FROM done").as_str() <= "1",
            "{}",
            case.name
        );
    });
}

/// SIGTERM while what was left is waited for: the next run goes on with it.
#[test]
fn a_stop_while_it_is_waited_for_leaves_it_to_the_next_run() {
    each(KILLED.into_iter().chain(DETACHES), |case| {
        let (database, history, mut other) = left_by_a_killed_run(newest(), &case);
        let mut run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--lock-timeout=200ms")
            .arg("--stop-within=2s")
            .spawn();
        run.wait_for_stderr("is still there, because other sessions use its table");
        run.signal(Signal::TERM);
        let run = run.wait();
        assert_eq!(run.code, 60, "{}\n{run}", case.name);
        stays_alone(&database, case.name);
        other.batch_execute("ROLLBACK").unwrap();
        terminate(&database);
        let run = deploy(&database, &history);
        assert_eq!(run.code, 0, "{}\n{run}", case.name);
        assert!(nothing_is_left(&database), "{}\n{run}", case.name);
    });
}

/// A detach that is stopped between its two transactions is finished, by this run or by the next.
#[test]
fn a_detach_that_is_stopped_half_way_is_finished() {
    each(DETACHES, |case| {
        let script = case.script.replace("set lock_timeout = '100ms';", "");
        let (database, history) = pending(newest(), BEFORE, &script);
        let mut other = stranger(&database, &case);
        let run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--stop-within=3s")
            .spawn();
        until("it is half detached", || !nothing_is_left(&database));
        run.signal(Signal::TERM);
        let run = run.wait();
        assert_eq!(run.code, 60, "{}\n{run}", case.name);
        stays_alone(&database, case.name);
        other.batch_execute("ROLLBACK").unwrap();
        terminate(&database);
        let run = deploy(&database, &history);
        assert_eq!(run.code, 0, "{}\n{run}", case.name);
        assert_eq!(
            database.scalar("SELECT count(*) FROM pg_inherits"),
            "0",
            "{}",
            case.name
        );
        is_closed(&database, &run);
    });
}

/// What another session has left half detached is not this run's to finish.
#[test]
fn a_partition_that_was_half_detached_before_is_left_as_it_is() {
    let script = "alter table p detach partition p1 concurrently;";
    let (database, history) = pending(newest(), BEFORE, script);
    let mut other = in_transaction(&database, "SELECT * FROM p");
    let mut detaching = database.client();
    detaching.batch_execute("SET lock_timeout = '50ms'").unwrap();
    detaching.batch_execute(script).unwrap_err();
    assert!(!nothing_is_left(&database));
    other.batch_execute("ROLLBACK").unwrap();
    let run = deploy(&database, &history);
    assert_eq!(run.code, 20, "{run}");
    is_true("half detached before", &database, &run, Committed::Nothing);
    assert!(!nothing_is_left(&database), "{run}");
    super::rewrite(&history, "alter table p detach partition p1 finalize;");
    deploy(&database, &history).expect(0);
    assert_eq!(database.scalar("SELECT count(*) FROM pg_inherits"), "0");
}
