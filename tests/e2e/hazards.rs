//! Hazards against PostgreSQL itself: what `plan` says that a statement writes anew, reads through or builds, and under which lock, is what the server
//! then does: by `relfilenode`, the counters of scans, new indexes and `pg_locks`.

use std::collections::{BTreeMap, BTreeSet};

use harness::postgres::{Client, Server, Version};

use crate::locks::{Foreseer, words};

/// From this size on, in bytes, a table is large here.
const LARGE: u64 = 20_000;

/// Large tables of every kind; what is small has a name of its own.
const FIXTURE: &str = "
CREATE EXTENSION IF NOT EXISTS citext;
CREATE DOMAIN plain AS text;
CREATE DOMAIN chk AS text CONSTRAINT chk_check CHECK (value <> '');
CREATE DOMAIN chk_over AS chk;
CREATE DOMAIN dnn AS int NOT NULL;
CREATE DOMAIN short20 AS varchar(20);
CREATE DOMAIN drandom AS float DEFAULT random();
CREATE DOMAIN used AS text;
CREATE DOMAIN used_over AS used;
CREATE DOMAIN in_array AS text;
ALTER DOMAIN used ADD CONSTRAINT used_late CHECK (value <> 'zz') NOT VALID;
CREATE TABLE big (id int PRIMARY KEY, a int NOT NULL, b int, note text, free text, short varchar(20), ci citext, ts timestamp,
    ts3 timestamp(3), tz timestamptz, ts_i timestamp, d_plain plain, d_chk chk, d_short short20, num numeric(10,2), arr varchar(20)[],
    checked varchar(20) CHECK (checked <> ''), partial text, expr varchar(20), p int, late int,
    CONSTRAINT p_nn CHECK (p IS NOT NULL AND p > 0));
INSERT INTO big SELECT n, n, n, repeat('x', 50), 'f', 's', 'c', now(), now(), now(), now(), 'p', 'c', 's', 1, '{a}', 'c', 'p', 'e', n, n
    FROM generate_series(1, 400) n;
ALTER TABLE big ADD CONSTRAINT late CHECK (late > 0) NOT VALID;
CREATE INDEX big_note ON big (note);
CREATE INDEX big_short ON big (short);
CREATE INDEX big_ts ON big (ts_i);
CREATE INDEX big_partial ON big (id) WHERE partial IS NULL;
CREATE INDEX big_expr ON big (lower(expr));
CREATE UNIQUE INDEX big_b ON big (b);
CREATE UNIQUE INDEX big_a ON big (a);
CREATE TABLE child (id int, big_id int CONSTRAINT child_fk REFERENCES big);
CREATE TABLE typed (id int, x used, y used_over, pad text);
INSERT INTO typed SELECT n, 'x', 'y', repeat('x', 100) FROM generate_series(1, 400) n;
CREATE TABLE p (k int NOT NULL, note text) PARTITION BY RANGE (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);
INSERT INTO p SELECT n, repeat('x', 100) FROM generate_series(1, 400) n;
CREATE TABLE pd (k int NOT NULL, note text) PARTITION BY RANGE (k);
CREATE TABLE pd_rest PARTITION OF pd DEFAULT;
INSERT INTO pd SELECT n, repeat('x', 100) FROM generate_series(5000, 5400) n;
CREATE TABLE l (r text NOT NULL, note text) PARTITION BY LIST (r);
CREATE TABLE l1 PARTITION OF l FOR VALUES IN ('asia');
CREATE TABLE ix (k int NOT NULL, note text) PARTITION BY RANGE (k);
CREATE INDEX ix_note ON ix (note);
CREATE TABLE bare (k int NOT NULL, note text);
CREATE TABLE proven (k int NOT NULL, note text, CHECK (k >= 1000 AND k < 2000));
CREATE TABLE narrow (k int NOT NULL, note text, CHECK (k BETWEEN 1200 AND 1700));
CREATE TABLE wide (k int NOT NULL, note text, CHECK (k >= 0 AND k < 2000));
CREATE TABLE elsewhere (k int NOT NULL, note text, CHECK (note <> ''));
CREATE TABLE unproven (k int NOT NULL, note text);
ALTER TABLE unproven ADD CONSTRAINT unproven_k CHECK (k >= 1000 AND k < 2000) NOT VALID;
CREATE TABLE nullable (k int, note text, CHECK (k >= 1000 AND k < 2000));
CREATE TABLE indexed (k int NOT NULL, note text, CHECK (k >= 1000 AND k < 2000));
CREATE INDEX indexed_note ON indexed (note);
INSERT INTO bare SELECT 1500, repeat('x', 100) FROM generate_series(1, 400) n;
INSERT INTO proven SELECT * FROM bare; INSERT INTO narrow SELECT * FROM bare; INSERT INTO wide SELECT * FROM bare;
INSERT INTO elsewhere SELECT * FROM bare; INSERT INTO unproven SELECT * FROM bare; INSERT INTO nullable SELECT * FROM bare;
INSERT INTO indexed SELECT * FROM bare;
CREATE TABLE ev (at timestamptz NOT NULL, note text) PARTITION BY RANGE (at);
CREATE TABLE ev24 (at timestamptz NOT NULL, note text, CHECK (at >= '2024-01-01' AND at < '2025-01-01'));
INSERT INTO ev24 SELECT '2024-05-05', repeat('x', 100) FROM generate_series(1, 400);
CREATE TABLE eu (r text NOT NULL, note text, CHECK (r = 'eu'));
CREATE TABLE eu_us (r text NOT NULL, note text, CHECK (r IN ('eu', 'us')));
INSERT INTO eu SELECT 'eu', repeat('x', 100) FROM generate_series(1, 400); INSERT INTO eu_us SELECT * FROM eu;
";

/// Scripts, one a migration, and what they do as `class relation MODE`.
type Case = (&'static [&'static str], &'static [&'static str]);

/// The locks of a transaction: the strongest of all its statements, whatever took it.
const LOCKS: &[Case] = &[
    (
        &["DROP INDEX big_note; CREATE INDEX big_note ON big (note)"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (
        &["DROP INDEX big_note", "CREATE INDEX big_note ON big (note)"],
        &["index-build big SHARE"],
    ),
    (
        &["DROP INDEX public.big_note, big_ts; ALTER TABLE big ADD FOREIGN KEY (b) REFERENCES public.big"],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER INDEX big_note RENAME TO other; DROP INDEX other; CREATE INDEX n ON big (b)"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ADD x int; CREATE INDEX n ON big (b)"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big RENAME note TO remark; CREATE INDEX n ON big (b)"],
        &["index-build big ACCESS EXCLUSIVE", "rename big"],
    ),
    (
        &["ALTER TABLE big RENAME TO huge; CREATE INDEX n ON huge (b)"],
        &["index-build big ACCESS EXCLUSIVE", "rename big"],
    ),
    (
        &["ALTER TABLE child DROP CONSTRAINT child_fk; CREATE INDEX n ON big (b)"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (
        &["DROP TABLE child; CREATE INDEX n ON big (b)"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (
        &["CREATE TABLE n (id int REFERENCES big); CREATE INDEX i ON big (b)"],
        &["index-build big SHARE ROW EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE child ADD CONSTRAINT again FOREIGN KEY (id) REFERENCES big NOT VALID; ALTER TABLE child DROP CONSTRAINT again; CREATE INDEX n ON big (b)",
        ],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big DISABLE TRIGGER USER; CREATE INDEX n ON big (b)"],
        &["index-build big SHARE ROW EXCLUSIVE"],
    ),
    (
        &["LOCK TABLE big IN EXCLUSIVE MODE; CREATE INDEX n ON big (b)"],
        &["index-build big EXCLUSIVE"],
    ),
    (&["ALTER TABLE big VALIDATE CONSTRAINT late"], &[]),
    (
        &["CREATE INDEX n ON big (b); ALTER TABLE big VALIDATE CONSTRAINT late"],
        &["index-build big SHARE", "table-scan big SHARE"],
    ),
    (
        &["ALTER DOMAIN used ADD CHECK (value <> 'q'); ALTER TABLE typed ADD CHECK (id > 0) NOT VALID"],
        &["table-scan typed SHARE"],
    ),
    (
        &["ALTER TABLE typed ADD n int; ALTER DOMAIN used ADD CHECK (value <> 'q')"],
        &["table-scan typed ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER DOMAIN used ADD CHECK (value <> 'q'); CREATE INDEX n ON typed (id)"],
        &["index-build typed SHARE", "table-scan typed SHARE"],
    ),
    (
        &["ALTER TABLE p ADD n int; CREATE INDEX n ON p1 (note)"],
        &["index-build p1 ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE ONLY p ALTER note SET DEFAULT ''; CREATE INDEX n ON p1 (note)"],
        &["index-build p1 SHARE"],
    ),
];

/// What pending statements change is followed, and what domains do is known.
const FOLLOWED: &[Case] = &[
    (&["ALTER TABLE big ADD n chk"], &["table-rewrite big ACCESS EXCLUSIVE"]),
    (
        &["ALTER TABLE big ADD n chk DEFAULT 'a'"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ADD n public.chk_over"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ADD n dnn DEFAULT 4"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ADD n drandom"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ADD n plain, ADD m chk[], ADD o short20 DEFAULT 'a'"],
        &[],
    ),
    (
        &["CREATE DOMAIN n AS text CHECK (value <> 'q'); ALTER TABLE big ADD n n"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["CREATE DOMAIN n AS chk", "ALTER TABLE big ADD n n"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "CREATE DOMAIN n AS text; ALTER DOMAIN n SET NOT NULL",
            "ALTER TABLE big ADD n n DEFAULT 'x'",
        ],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["CREATE DOMAIN n AS float DEFAULT random(); ALTER TABLE big ADD n n"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER DOMAIN plain ADD CHECK (value <> 'q') NOT VALID; ALTER TABLE big ADD n plain"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER DOMAIN chk DROP CONSTRAINT chk_check; ALTER TABLE big ADD n chk_over"],
        &[],
    ),
    (
        &["ALTER DOMAIN chk RENAME TO renamed; ALTER TABLE big ADD n renamed"],
        &["rename chk", "table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER DOMAIN used ADD CONSTRAINT n CHECK (value <> 'q')"],
        &["table-scan typed SHARE"],
    ),
    (
        &["ALTER DOMAIN used ADD CONSTRAINT n CHECK (value <> 'q') NOT VALID"],
        &[],
    ),
    (
        &[
            "ALTER DOMAIN used ADD CONSTRAINT n CHECK (value <> 'q') NOT VALID",
            "ALTER DOMAIN used VALIDATE CONSTRAINT n",
        ],
        &["table-scan typed SHARE"],
    ),
    (
        &["ALTER DOMAIN used VALIDATE CONSTRAINT used_late"],
        &["table-scan typed SHARE"],
    ),
    (&["ALTER DOMAIN used_over SET NOT NULL"], &["table-scan typed SHARE"]),
    (
        &["ALTER DOMAIN used SET NOT NULL; ALTER DOMAIN used SET NOT NULL"],
        &["table-scan typed SHARE"],
    ),
    (
        &["ALTER DOMAIN used SET DEFAULT 'x'; ALTER DOMAIN used DROP NOT NULL; ALTER DOMAIN dnn SET NOT NULL"],
        &[],
    ),
    (
        &["ALTER TABLE typed ALTER x TYPE text; ALTER TABLE typed ALTER y TYPE text; ALTER DOMAIN used SET NOT NULL"],
        &[],
    ),
    (&["ALTER TABLE big ALTER a SET NOT NULL"], &[]),
    (
        &[
            "ALTER TABLE big ALTER a DROP NOT NULL",
            "ALTER TABLE big ALTER a SET NOT NULL",
        ],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE big ALTER a DROP NOT NULL; ALTER TABLE big ALTER a SET NOT NULL; ALTER TABLE big ALTER a SET NOT NULL",
        ],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE big ALTER num TYPE numeric(12,3)",
            "ALTER TABLE big ALTER num TYPE numeric(10,2)",
        ],
        &[
            "table-rewrite big ACCESS EXCLUSIVE",
            "table-rewrite big ACCESS EXCLUSIVE",
        ],
    ),
    (
        &[
            "ALTER TABLE big ALTER b TYPE bigint",
            "ALTER TABLE big ALTER b TYPE int",
        ],
        &[
            "table-rewrite big ACCESS EXCLUSIVE",
            "table-rewrite big ACCESS EXCLUSIVE",
        ],
    ),
    (
        &[
            "ALTER TABLE big ALTER free TYPE varchar",
            "ALTER TABLE big ALTER free TYPE text",
        ],
        &[],
    ),
    (&["ALTER TABLE big ALTER p SET NOT NULL"], &[]),
    (
        &["ALTER TABLE big DROP CONSTRAINT p_nn; ALTER TABLE big ALTER p SET NOT NULL"],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE big RENAME CONSTRAINT p_nn TO n; ALTER TABLE big DROP CONSTRAINT n",
            "ALTER TABLE big ALTER p SET NOT NULL",
        ],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big RENAME p TO q; ALTER TABLE big ALTER q SET NOT NULL"],
        &["rename big"],
    ),
    (
        &[
            "ALTER TABLE big ADD CONSTRAINT n CHECK (b > 0 AND b IS NOT NULL)",
            "ALTER TABLE big ALTER b SET NOT NULL",
        ],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE big ADD CONSTRAINT n CHECK (b > 0)",
            "ALTER TABLE big ALTER b SET NOT NULL",
        ],
        &["table-scan big ACCESS EXCLUSIVE", "table-scan big ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE big ADD CONSTRAINT n CHECK (b IS NOT NULL) NOT VALID",
            "ALTER TABLE big ALTER b SET NOT NULL",
        ],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE big ADD CONSTRAINT n CHECK (b IS NOT NULL) NOT VALID",
            "ALTER TABLE big VALIDATE CONSTRAINT n",
            "ALTER TABLE big ALTER b SET NOT NULL",
        ],
        &[],
    ),
    (
        &["ALTER TABLE big DROP CONSTRAINT big_pkey CASCADE; ALTER TABLE big ADD PRIMARY KEY USING INDEX big_a"],
        &[],
    ),
    (
        &["ALTER TABLE big DROP CONSTRAINT big_pkey CASCADE; ALTER TABLE big ADD PRIMARY KEY USING INDEX big_b"],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
    (&["TRUNCATE big CASCADE; CREATE INDEX n ON big (b)"], &["drop big"]),
    (
        &["ALTER TABLE big ALTER checked TYPE varchar(30)"],
        &["table-scan big ACCESS EXCLUSIVE"],
    ),
];

/// What costs nothing, or not that.
const CHEAP: &[Case] = &[
    (&["CREATE INDEX IF NOT EXISTS big_note ON big (note)"], &[]),
    (
        &["CREATE UNIQUE INDEX IF NOT EXISTS \"big_b\" ON \"public\".\"big\" (b)"],
        &[],
    ),
    (
        &["CREATE INDEX IF NOT EXISTS missing ON big (note)"],
        &["index-build big SHARE"],
    ),
    (
        &[
            "DROP INDEX big_note",
            "CREATE INDEX IF NOT EXISTS big_note ON big (note)",
        ],
        &["index-build big SHARE"],
    ),
    (
        &["CREATE INDEX n ON big (b)", "CREATE INDEX IF NOT EXISTS n ON big (b)"],
        &["index-build big SHARE"],
    ),
    (
        &["DROP INDEX IF EXISTS missing; CREATE INDEX n ON big (b)"],
        &["index-build big SHARE"],
    ),
    (
        &["ALTER TABLE big ADD COLUMN IF NOT EXISTS a float DEFAULT random()"],
        &[],
    ),
    (
        &["ALTER TABLE big ADD COLUMN IF NOT EXISTS n float DEFAULT random()"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE big DROP COLUMN IF EXISTS missing; ALTER TABLE IF EXISTS missing DROP COLUMN a; DROP TABLE IF EXISTS missing",
        ],
        &[],
    ),
    (&["ALTER TABLE big DROP COLUMN IF EXISTS free"], &["drop big"]),
    (
        &["CREATE TABLE IF NOT EXISTS big (id int); CREATE INDEX n ON big (b)"],
        &["index-build big SHARE"],
    ),
    (&["ALTER TABLE big ALTER free TYPE citext"], &[]),
    (&["ALTER TABLE big ALTER free TYPE citext USING free::citext"], &[]),
    (
        &["ALTER TABLE big ALTER free TYPE public.citext USING CAST(free AS citext)"],
        &[],
    ),
    (
        &["ALTER TABLE big ALTER note TYPE citext"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (&["ALTER TABLE big ALTER ci TYPE text"], &[]),
    (
        &["ALTER TABLE big ALTER ci TYPE varchar(9)"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (&["ALTER TABLE big ALTER short TYPE text"], &[]),
    (
        &["ALTER TABLE big ALTER short TYPE varchar(40) USING short::varchar(40)"],
        &[],
    ),
    (
        &["ALTER TABLE big ALTER short TYPE varchar(10)"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ALTER partial TYPE varchar"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ALTER expr TYPE varchar(40)"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ALTER note TYPE text COLLATE \"C\""],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (&["ALTER TABLE big ALTER free TYPE text COLLATE \"C\""], &[]),
    (&["ALTER TABLE big ALTER arr TYPE varchar[]"], &[]),
    (
        &["ALTER TABLE big ALTER arr TYPE text[]"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (&["ALTER TABLE big ALTER d_plain TYPE text"], &[]),
    (&["ALTER TABLE big ALTER d_chk TYPE text USING d_chk::text"], &[]),
    (&["ALTER TABLE big ALTER d_short TYPE varchar"], &[]),
    (
        &["ALTER TABLE big ALTER d_short TYPE varchar(20)"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (&["ALTER TABLE big ALTER free TYPE plain"], &[]),
    (
        &["ALTER TABLE big ALTER free TYPE chk"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE big ALTER d_chk TYPE chk_over"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (&["SET TIME ZONE 'UTC'; ALTER TABLE big ALTER ts TYPE timestamptz"], &[]),
    (
        &["SET LOCAL timezone = 'Etc/UTC'; ALTER TABLE big ALTER ts3 TYPE timestamptz(6)"],
        &[],
    ),
    (
        &["SET timezone TO 'GMT'; ALTER TABLE big ALTER ts3 TYPE timestamptz(3)"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["SET timezone TO 'UTC'; ALTER TABLE big ALTER ts_i TYPE timestamptz"],
        &["index-build big ACCESS EXCLUSIVE"],
    ),
    (&["SET timezone TO 'UTC'; ALTER TABLE big ALTER tz TYPE timestamp"], &[]),
    (
        &["SET timezone TO 'UTC'; ALTER TABLE big ALTER ts TYPE timestamptz USING ts AT TIME ZONE 'UTC'"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["SET timezone TO 'Europe/London'; ALTER TABLE big ALTER ts TYPE timestamptz"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (
        &["SELECT set_config('TimeZone', 'Africa/Abidjan', true); ALTER TABLE big ALTER ts TYPE timestamptz"],
        &["table-rewrite big ACCESS EXCLUSIVE"],
    ),
    (&["ALTER TABLE big SET TABLESPACE pg_default"], &[]),
    (&["ALTER TABLE big SET LOGGED"], &[]),
    (
        &["ALTER TABLE typed SET UNLOGGED; ALTER TABLE typed SET UNLOGGED"],
        &["table-rewrite typed ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE p ATTACH PARTITION bare FOR VALUES FROM (1000) TO (2000)"],
        &["table-scan bare ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE p ATTACH PARTITION proven FOR VALUES FROM (1000) TO (2000)"],
        &[],
    ),
    (
        &["ALTER TABLE p ATTACH PARTITION narrow FOR VALUES FROM (1000) TO (MAXVALUE)"],
        &[],
    ),
    (
        &["ALTER TABLE p ATTACH PARTITION wide FOR VALUES FROM (1000) TO (2000)"],
        &["table-scan wide ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE p ATTACH PARTITION elsewhere FOR VALUES FROM (1000) TO (2000)"],
        &["table-scan elsewhere ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE p ATTACH PARTITION unproven FOR VALUES FROM (1000) TO (2000)"],
        &["table-scan unproven ACCESS EXCLUSIVE"],
    ),
    (
        &[
            "ALTER TABLE unproven VALIDATE CONSTRAINT unproven_k",
            "ALTER TABLE p ATTACH PARTITION unproven FOR VALUES FROM (1000) TO (2000)",
        ],
        &[],
    ),
    (
        &[
            "ALTER TABLE bare ADD CHECK (k >= 1000 AND k < 2000)",
            "ALTER TABLE p ATTACH PARTITION bare FOR VALUES FROM (1000) TO (2000)",
        ],
        &["table-scan bare ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE pd ATTACH PARTITION proven FOR VALUES FROM (1000) TO (2000)"],
        &["table-scan pd_rest ACCESS EXCLUSIVE"],
    ),
    (
        &["CREATE TABLE n PARTITION OF pd FOR VALUES FROM (1000) TO (2000)"],
        &["table-scan pd_rest ACCESS EXCLUSIVE"],
    ),
    (&["CREATE TABLE n PARTITION OF p FOR VALUES FROM (1000) TO (2000)"], &[]),
    (
        &[
            "CREATE TABLE q (k int NOT NULL, note text) PARTITION BY RANGE (k); ALTER TABLE q ATTACH PARTITION bare DEFAULT",
        ],
        &[],
    ),
    (
        &["ALTER TABLE p ATTACH PARTITION bare DEFAULT"],
        &["table-scan bare ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE ev ATTACH PARTITION ev24 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"],
        &[],
    ),
    (
        &["ALTER TABLE ev ATTACH PARTITION ev24 FOR VALUES FROM ('2024-02-01') TO ('2025-01-01')"],
        &["table-scan ev24 ACCESS EXCLUSIVE"],
    ),
    (&["ALTER TABLE l ATTACH PARTITION eu FOR VALUES IN ('eu')"], &[]),
    (
        &["ALTER TABLE l ATTACH PARTITION eu_us FOR VALUES IN ('us', 'eu', 'uk')"],
        &[],
    ),
    (
        &["ALTER TABLE ix ATTACH PARTITION proven FOR VALUES FROM (1000) TO (2000)"],
        &["index-build proven ACCESS EXCLUSIVE"],
    ),
    (
        &["ALTER TABLE ix ATTACH PARTITION indexed FOR VALUES FROM (1000) TO (2000)"],
        &[],
    ),
];

/// A table that is there before a statement: its name, its size, and where it is stored.
type Tables = BTreeMap<u32, (String, i64, u32)>;

fn tables(client: &mut Client, names: &BTreeMap<u32, String>) -> Tables {
    let rows = client
        .query(
            "SELECT oid, pg_table_size(oid), relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
            &[],
        )
        .unwrap();
    rows.iter()
        .filter_map(|row| Some((row.get(0), (names.get(&row.get(0))?.clone(), row.get(1), row.get(2)))))
        .collect()
}

fn names(client: &mut Client) -> BTreeMap<u32, String> {
    let rows = client
        .query(
            "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace",
            &[],
        )
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn indexes(client: &mut Client) -> BTreeSet<(u32, u32)> {
    let rows = client.query("SELECT indexrelid, indrelid FROM pg_index", &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn scans(client: &mut Client) -> BTreeMap<u32, i64> {
    let rows = client
        .query(
            "SELECT relid, seq_scan FROM pg_stat_xact_all_tables WHERE seq_scan > 0",
            &[],
        )
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn strongest(client: &mut Client, table: u32) -> String {
    let row = client
        .query_one(
            "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = $1 AND granted \
             ORDER BY array_position('{AccessShareLock,RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,\
             ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'::text[], mode) DESC LIMIT 1",
            &[&table],
        )
        .unwrap();
    words(row.get(0))
}

/// What the server does to large tables while nobody else can write to them, as `class relation MODE`.
fn done(client: &mut Client, scripts: &[&str]) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let first = names(client);
    for script in scripts {
        client.batch_execute("BEGIN").unwrap();
        for statement in script.split(';') {
            let (tables, indexes, before) = (tables(client, &first), indexes(client), scans(client));
            client
                .batch_execute(statement)
                .map_err(|error| format!("{statement}: {error:?}"))?;
            let (now, after) = (self::tables(client, &first), scans(client));
            let built = self::indexes(client);
            for (table, (name, size, stored)) in &tables {
                let Some((_, _, stored_now)) = now.get(table).filter(|_| *size >= LARGE as i64) else {
                    continue;
                };
                let scanned = after.get(table) > before.get(table);
                let is_new = |index: &(u32, u32)| index.1 == *table && !indexes.contains(index);
                let class = match (stored != stored_now, scanned, built.iter().any(is_new)) {
                    (true, ..) if statement.contains("TRUNCATE") => continue,
                    (true, ..) => "table-rewrite",
                    (false, true, true) => "index-build",
                    (false, true, false) => "table-scan",
                    (false, false, _) => continue,
                };
                let mode = strongest(client, *table);
                if mode != "SHARE UPDATE EXCLUSIVE" {
                    done.push(format!("{class} {name} {mode}"));
                }
            }
        }
        let end = if scripts.len() == 1 { "ROLLBACK" } else { "COMMIT" };
        client.batch_execute(end).map_err(|error| format!("{error:?}"))?;
    }
    done.sort();
    Ok(done)
}

/// What is said of them: the mode of what takes time.
fn said(foreseer: &Foreseer, scripts: &[&str]) -> Vec<String> {
    let examined = foreseer.examined(scripts, LARGE);
    let hazard = |hazard: &prisma_migrate_task::hazard::Hazard| {
        let mode = hazard.what.split_once(", under ").map(|(_, rest)| {
            let end = rest.find([',', ':']).unwrap_or(rest.len());
            format!(" {}", &rest[..end])
        });
        format!("{} {}{}", hazard.class, hazard.relation, mode.unwrap_or_default())
    };
    let mut said: Vec<String> = examined.hazards.iter().map(hazard).collect();
    said.sort();
    said
}

fn compare(cases: &[Case]) {
    let mut wrong = Vec::new();
    for version in Version::ALL {
        let database = Server::version(version).database();
        let mut clean = false;
        for (scripts, expected) in cases {
            if !clean {
                database.execute(&format!("DROP OWNED BY CURRENT_USER CASCADE; {FIXTURE}"));
            }
            // A migration that nothing follows is taken back.
            clean = scripts.len() == 1;
            let said = said(&Foreseer::new(&database), scripts);
            let done = done(&mut database.client(), scripts);
            let takes_time = |hazard: &&&str| hazard.split(' ').count() > 2;
            let timed: Vec<String> = expected
                .iter()
                .filter(takes_time)
                .map(|hazard| (*hazard).to_owned())
                .collect();
            if said != *expected || done != Ok(timed) {
                wrong.push(format!(
                    "{version}: {scripts:?}\n  expected {expected:?}\n  said     {said:?}\n  done     {done:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn locks_are_those_of_the_whole_transaction() {
    compare(LOCKS);
}

#[test]
fn pending_changes_and_domains_are_followed() {
    compare(FOLLOWED);
}

#[test]
fn what_costs_nothing_is_no_hazard() {
    compare(CHEAP);
}
