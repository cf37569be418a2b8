//! Whether a schema that holds something counts as empty (P3005): Prisma and ours must agree.

use harness::history::History;
use harness::postgres::Server;

use super::migrate;
use crate::cases::deploy;

#[test]
fn prisma_and_ours_agree_on_what_is_not_empty() {
    let nothing_that_counts = "CREATE VIEW v AS SELECT 1; CREATE MATERIALIZED VIEW m AS SELECT 1 AS one; CREATE SEQUENCE s; \
        CREATE TYPE mood AS ENUM ('sad'); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
        CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE SCHEMA other; CREATE TABLE other.users (id int); \
        CREATE TABLE spatial_ref_sys (srid int)";
    let cases = [
        (nothing_that_counts, true),
        ("CREATE TABLE users (id int)", false),
        (
            "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT",
            false,
        ),
        ("CREATE TABLE \"SPATIAL_REF_SYS\" (srid int)", true),
        ("CREATE TABLE geometry_columns (id int)", true),
    ];
    for (sql, empty) in cases {
        let (ours, prismas) = (Server::shared().database(), Server::shared().database());
        ours.execute(sql);
        prismas.execute(sql);
        let history = History::new();
        let run = migrate(&history, &prismas, ["deploy"]);
        assert_eq!(
            (run.code == 0, run.to_string().contains("P3005")),
            (empty, !empty),
            "{sql}\n{run}"
        );
        let run = deploy(&history, &ours).run();
        assert_eq!(run.code, if empty { 0 } else { 23 }, "{sql}\n{run}");
        assert_eq!(ours.has_ledger(), prismas.has_ledger(), "{sql}");
    }
}
