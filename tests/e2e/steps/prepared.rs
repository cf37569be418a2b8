//! A prepared statement outlives the transaction that made it, also if that is rolled back: what is sent again prepares it again.

use super::{Committed, deploy, each, everywhere, failure, in_transaction, is_true, pending, servers};
use crate::migrate;

const BEFORE: &str = "CREATE TABLE t (i int); CREATE TABLE held (i int); CREATE TYPE e AS ENUM ('a')";

/// A name, and a script whose second part waits for the table `held`, or is refused, once it has prepared something.
const CASES: [(&str, &str); 5] = [
    (
        "seen: the second of two transactions",
        "begin; insert into t values(1); commit; begin; prepare p as insert into t values($1); execute p(2); lock table held; commit;",
    ),
    (
        "the first of two",
        "begin; prepare p as insert into t values($1); execute p(1); lock table held; commit; begin; execute p(2); commit;",
    ),
    (
        "with an odd name, in steps",
        "insert into t values(1); vacuum t; begin; prepare \"P; --\" as insert into t values($1); execute \"P; --\"(2); lock table held; commit;",
    ),
    (
        "beside one that is kept",
        "prepare q as insert into t values($1); execute q(1); commit; begin; prepare p as select 1; execute q(2); lock table held; commit;",
    ),
    (
        "in a function",
        "begin; insert into t values(1); commit; begin; do $$ begin execute 'prepare p as insert into t values(2)'; end $$; execute p; \
         lock table held; commit;",
    ),
];

#[test]
fn what_is_tried_again_prepares_it_again() {
    each(everywhere(&CASES, |case| case.0), |(server, (name, script))| {
        let (database, history) = pending(server, BEFORE, script);
        let mut holder = in_transaction(&database, "LOCK TABLE held");
        let mut run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--lock-timeout=100ms")
            .spawn();
        run.wait_for_stderr("again in");
        holder.batch_execute("ROLLBACK").unwrap();
        let run = run.wait();
        assert_eq!(run.code, 0, "{name}\n{run}");
        is_true(name, &database, &run, Committed::All);
        assert_eq!(
            database.scalar("SELECT string_agg(i::text, ',' ORDER BY i) FROM t"),
            "1,2",
            "{name}\n{run}"
        );
    });
}

/// What goes on statement by statement from its second transaction on does so too: the error is that of the server, not that the statement is there.
#[test]
fn what_goes_on_in_steps_prepares_it_again() {
    let script = "begin; insert into t values(1); commit; begin; prepare p as insert into t values($1); execute p(2); \
        alter type e add value 'b'; select 'b'::e; commit;";
    let (database, history) = pending(servers()[0], BEFORE, script);
    let run = deploy(&database, &history);
    assert_eq!(run.code, 21, "{run}");
    assert_eq!(failure(&run, "sqlstate"), "55P04", "{run}");
    is_true("an enum", &database, &run, Committed::Part);
}

/// One that the transaction has dropped cannot be had again: nothing is sent twice.
#[test]
fn one_that_is_gone_ends_the_script() {
    each([("one", "deallocate p"), ("all", "deallocate all")], |(name, drops)| {
        let script = format!(
            "prepare p as insert into t values(1); execute p; commit; begin; {drops}; lock table held; insert into t values(2); commit;"
        );
        let (database, history) = pending(servers()[0], BEFORE, &script);
        let _holder = in_transaction(&database, "LOCK TABLE held");
        let run = migrate()
            .deploy(history.folder())
            .database(&database)
            .arg("--lock-timeout=100ms")
            .arg("--lock-retry-for=2s")
            .run();
        assert_eq!(run.code, 21, "{name}\n{run}");
        assert_eq!(failure(&run, "sqlstate"), "55P03", "{name}\n{run}");
        is_true(name, &database, &run, Committed::Part);
    });
}
