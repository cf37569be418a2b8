//! What a script makes for its transaction alone means nothing in steps: such a script is refused, and nothing of it is committed.

use super::{Committed, deploy, each, failure, is_true, pending, servers};

/// What is there before.
const BEFORE: &str = "CREATE TYPE status AS ENUM ('open'); CREATE TABLE orders (id int PRIMARY KEY, s status); INSERT INTO orders VALUES (1, 'open'); \
    CREATE SCHEMA tenant_a; CREATE TABLE tenant_a.orders (id int PRIMARY KEY, s status); INSERT INTO tenant_a.orders VALUES (1, 'open'); \
    CREATE TABLE d (i int REFERENCES orders DEFERRABLE)";

/// Statements whose effect ends with their transaction, or that change how the rest is read.
const LOCAL: [&str; 24] = [
    // Seen.
    "set local search_path = tenant_a, public",
    "set client_encoding = 'LATIN1'",
    "set constraints all deferred",
    "create temp table x on commit drop as select 1 as i",
    "lock table orders in share mode",
    "set transaction isolation level serializable",
    // Variants.
    "set local role none",
    "select set_config('search_path', 'tenant_a, public', true)",
    "select pg_catalog.set_config('search_path', 'tenant_a, public', 1 = 1)",
    "do $$ begin perform set_config('search_path', 'tenant_a, public', true); end $$",
    "do $$ begin set local search_path = tenant_a, public; end $$",
    "do $$ begin lock table orders; end $$",
    "do $$ begin set constraints all deferred; end $$",
    "do $$ begin create temp table x (i int) on commit drop; end $$",
    "set names 'LATIN1'",
    "set standard_conforming_strings = off",
    "create temporary table x (i int) on commit delete rows",
    "lock orders",
    "set transaction read write",
    "set transaction_isolation = 'serializable'",
    "select 1 from orders for update",
    "declare c cursor for select 1",
    "savepoint s",
    "select pg_advisory_xact_lock(77)",
];

/// What has the server refuse the whole.
const CARRIERS: [(&str, &str); 2] = [
    (
        "an enum value",
        "alter type status add value 'closed'; update orders set s='closed';",
    ),
    (
        "an index",
        "update orders set s=null; create index concurrently i on orders(s);",
    ),
];

/// Everything that the scripts could have changed.
const STATE: &str = "SELECT (SELECT string_agg(enumlabel, ',' ORDER BY 1) FROM pg_enum), to_regclass('i') IS NULL, \
    (SELECT array_agg(s)::text FROM orders), (SELECT array_agg(s)::text FROM tenant_a.orders)";

#[test]
fn what_lasts_until_the_end_of_its_transaction_is_refused_in_steps() {
    std::thread::scope(|scope| {
        for part in LOCAL.chunks(12) {
            scope.spawn(move || {
                for local in part {
                    each(
                        CARRIERS
                            .into_iter()
                            .take(if LOCAL[..6].contains(local) { 2 } else { 1 }),
                        |(carrier, rest)| {
                            is_refused(0, &format!("{local}, with {carrier}"), &format!("{local};\n{rest}"));
                        },
                    );
                }
            });
        }
    });
}

#[test]
fn so_it_is_on_the_oldest_and_the_newest_server() {
    for server in [1, 2] {
        each(&LOCAL[..6], |local| {
            let (_, rest) = CARRIERS[0];
            is_refused(server, local, &format!("{local};\n{rest}"));
        });
    }
}

#[track_caller]
fn is_refused(server: usize, name: &str, script: &str) {
    let (database, history) = pending(servers()[server], BEFORE, script);
    let before = database.rows(STATE);
    let run = deploy(&database, &history);
    assert_eq!(database.rows(STATE), before, "{name}\n{run}");
    assert_eq!(run.code, 20, "{name}\n{run}");
    is_true(name, &database, &run, Committed::Nothing);
    let report = run.report.as_ref().unwrap();
    assert_eq!(report["failure"]["place"]["line"], 1, "{name}\n{run}");
    assert!(!failure(&run, "next").is_empty(), "{name}\n{run}");
}

/// In a transaction of the script's own such a thing means in steps what it means in the whole.
#[test]
fn in_a_transaction_of_the_scripts_own_it_is_kept() {
    each(
        [
            "set local search_path = tenant_a, public",
            "select set_config('search_path', 'tenant_a, public', true)",
            "do $$ begin set local search_path = tenant_a, public; end $$",
        ],
        |local| {
            let script =
                format!("begin; {local}; update orders set id = 2; commit; create index concurrently i on orders(s);");
            let (database, history) = pending(servers()[0], BEFORE, &script);
            let run = deploy(&database, &history).expect(0);
            let ids = "SELECT (SELECT id FROM orders), (SELECT id FROM tenant_a.orders), (SELECT indrelid = 'orders'::regclass FROM pg_index WHERE indexrelid = 'i'::regclass)";
            assert_eq!(database.rows(ids), [["1", "2", "t"]], "{local}\n{run}");
        },
    );
}

#[test]
fn a_function_that_sets_something_for_its_transaction_is_not_forgotten() {
    let function = "CREATE FUNCTION enter() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('search_path', 'tenant_a, public', true); END $$";
    let script = "select enter(); alter type status add value 'closed'; update orders set s='closed';";
    let (database, history) = pending(servers()[0], &format!("{BEFORE}; {function}"), script);
    let run = deploy(&database, &history);
    let orders = database.rows("SELECT (SELECT s FROM orders), (SELECT s FROM tenant_a.orders)");
    assert_ne!(orders, [["closed", "open"]], "the wrong table was updated\n{run}");
}
