//! Histories drawn at random from everything that a migration can be sent as.

use fastrand::Rng;
use harness::history::History;

/// What a migration is made of; each adds 1 to its own line of the table `counter`, without a key that would hide a second time. Where it is one
/// statement that cannot share a message with another, that statement's effect counts instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Tables, columns and rows, in one transaction.
    Ordinary,
    /// A transaction of its own around everything.
    Enclosed,
    /// Two transactions of its own: between their commits only a part is in.
    TwoTransactions,
    /// `CREATE INDEX CONCURRENTLY` and nothing else.
    IndexAlone,
    /// The same beside other statements.
    IndexBeside,
    /// The same on a table that only the script's own search_path finds.
    IndexBehindPath,
    /// `DROP INDEX CONCURRENTLY` and nothing else.
    DropIndex,
    /// `REINDEX INDEX CONCURRENTLY` and nothing else.
    Reindex,
    /// `ALTER TABLE … DETACH PARTITION … CONCURRENTLY` and nothing else (PostgreSQL 14).
    Detach,
    /// `VACUUM`.
    Vacuum,
    /// A value of an enum added and used.
    Enum,
    /// A block that commits by itself.
    Procedure,
    /// `set_config('search_path', '', false)`, as pg_dump writes it.
    SearchPath,
    /// Several settings of the session.
    Settings,
    /// Some ten thousand rows.
    Big,
}

impl Kind {
    const ALL: [Kind; 15] = [
        Kind::Ordinary,
        Kind::Enclosed,
        Kind::TwoTransactions,
        Kind::IndexAlone,
        Kind::IndexBeside,
        Kind::IndexBehindPath,
        Kind::DropIndex,
        Kind::Reindex,
        Kind::Detach,
        Kind::Vacuum,
        Kind::Enum,
        Kind::Procedure,
        Kind::SearchPath,
        Kind::Settings,
        Kind::Big,
    ];

    /// What Prisma 6.19 can run, and what does not leak into its next migration.
    const FOR_PRISMA: [Kind; 6] = [
        Kind::Ordinary,
        Kind::Enclosed,
        Kind::IndexAlone,
        Kind::DropIndex,
        Kind::Vacuum,
        Kind::Big,
    ];

    /// Whether an interruption may leave a part of it that nobody can judge but a person: it commits by itself, and can take no note with it.
    pub fn needs_a_person(self) -> bool {
        self == Kind::Procedure
    }

    /// Whether it adds to the counter.
    pub fn counts(self) -> bool {
        !matches!(
            self,
            Kind::IndexAlone | Kind::DropIndex | Kind::Reindex | Kind::Detach | Kind::Vacuum
        )
    }

    fn script(self, n: usize, name: &str, rng: &mut Rng) -> String {
        let count = format!("INSERT INTO public.counter VALUES ('{name}', 1);");
        let log = |part: usize| format!("INSERT INTO public.log VALUES ('{name}', {part});");
        // Where most of a run's time is spent, so that a fault at any moment falls into every kind of place.
        let pause = format!("pg_sleep(0.0{})", rng.u32(1..6));
        match self {
            Kind::Ordinary => format!(
                "-- CreateTable\nCREATE TABLE o{n} (id int PRIMARY KEY, item int REFERENCES items (id), at text);\n\
                 ALTER TABLE items ADD COLUMN c{n} text DEFAULT 'x';\n\
                 INSERT INTO o{n} SELECT id, id, note FROM items WHERE id < 50;\nSELECT {pause};\n{count}\n"
            ),
            Kind::Enclosed => format!(
                "BEGIN;\nCREATE TABLE n{n} (id int, note text);\n{count}\nSELECT {pause};\nINSERT INTO n{n} VALUES (1, 'é');\nCOMMIT;\n"
            ),
            Kind::TwoTransactions => format!(
                "BEGIN;\n{count}\n{}\nCOMMIT;\nSELECT {pause};\nBEGIN;\n{}\nCOMMIT;\n",
                log(1),
                log(2)
            ),
            Kind::IndexAlone => format!("CREATE INDEX CONCURRENTLY ix{n} ON items (note, id);"),
            Kind::IndexBeside => format!(
                "{count}\nCREATE INDEX CONCURRENTLY ix{n} ON public.items (id, note);\nCREATE TABLE b{n} (id int);\nSELECT {pause};\n\
                 INSERT INTO b{n} VALUES ({n})"
            ),
            Kind::IndexBehindPath => format!(
                "SET search_path = side;\nCREATE INDEX CONCURRENTLY sx{n} ON things (note);\n{count}\nSELECT {pause};\n\
                 CREATE TABLE behind{n} (id int);\n"
            ),
            Kind::DropIndex => format!("DROP INDEX CONCURRENTLY drop{n};\n"),
            Kind::Reindex => "REINDEX INDEX CONCURRENTLY items_pkey;".to_owned(),
            Kind::Detach => format!("ALTER TABLE parts DETACH PARTITION part{n} CONCURRENTLY;\n"),
            Kind::Vacuum => "VACUUM (ANALYZE) items;".to_owned(),
            Kind::Enum => format!(
                "ALTER TYPE mood ADD VALUE 'v{n}';\nCREATE TABLE e{n} (m mood DEFAULT 'v{n}');\nINSERT INTO e{n} VALUES ('v{n}');\n\
                 SELECT {pause};\n{count}\n"
            ),
            Kind::Procedure => format!(
                "DO $$\nBEGIN\n{count}\n{}\nCOMMIT;\nPERFORM {pause};\n{}\nCOMMIT;\nEND $$;\n",
                log(1),
                log(2)
            ),
            Kind::SearchPath => format!(
                "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE TABLE public.sp{n} (id int);\n\
                 INSERT INTO public.sp{n} VALUES ({n});\n{count}\nSELECT {pause};\n"
            ),
            Kind::Settings => format!(
                "SET statement_timeout = '60s';\nSET search_path = side, public;\nCREATE TABLE st{n} (id int);\nSET standard_conforming_strings = on;\n\
                 {count}\nSELECT {pause};\nRESET statement_timeout;\nINSERT INTO st{n} VALUES (1);\n"
            ),
            Kind::Big => format!(
                "CREATE TABLE big{n} AS SELECT g AS id, md5(g::text) AS hash FROM generate_series(1, 10000) g;\n\
                 UPDATE big{n} SET hash = hash || 'x' WHERE id % 2 = 0;\nCREATE INDEX big{n}_hash ON big{n} (hash);\n{count}\n"
            ),
        }
    }
}

/// One migration.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its directory.
    pub name: String,
    /// None for the first one, which makes what the others stand on.
    pub kind: Option<Kind>,
    /// `migration.sql`.
    pub text: String,
}

/// A whole history.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// In order.
    pub scripts: Vec<Script>,
}

impl Drawn {
    /// Draws a history that a server of this version can run, or one that Prisma can run too.
    pub fn new(rng: &mut Rng, version: u32, for_prisma: bool) -> Drawn {
        let kinds: Vec<Kind> = if for_prisma {
            Kind::FOR_PRISMA.to_vec()
        } else {
            Kind::ALL
                .into_iter()
                .filter(|kind| version >= 14 || *kind != Kind::Detach)
                .collect()
        };
        let drawn: Vec<Kind> = (0..rng.usize(3..7)).map(|_| kinds[rng.usize(..kinds.len())]).collect();
        let mut base = vec![
            "CREATE TABLE counter (name text, n int);\nCREATE TABLE log (name text, part int);".to_owned(),
            "CREATE TABLE items (id int PRIMARY KEY, note text);".to_owned(),
            "INSERT INTO items SELECT g, md5(g::text) FROM generate_series(1, 3000) g;".to_owned(),
            "CREATE TYPE mood AS ENUM ('a');\nCREATE SCHEMA side;\nCREATE TABLE side.things (id int, note text);"
                .to_owned(),
            "CREATE TABLE parts (id int) PARTITION BY LIST (id);".to_owned(),
            "INSERT INTO counter VALUES ('20240101000000_base', 1);".to_owned(),
        ];
        let mut scripts = Vec::new();
        for (at, kind) in drawn.into_iter().enumerate() {
            let n = at + 1;
            let name = format!("202401010000{n:02}_{kind:?}").to_lowercase();
            match kind {
                Kind::DropIndex => base.push(format!("CREATE INDEX drop{n} ON items (note);")),
                Kind::Detach => base.push(format!("CREATE TABLE part{n} PARTITION OF parts FOR VALUES IN ({n});")),
                _ => {}
            }
            let text = kind.script(n, &name, rng);
            scripts.push(Script {
                name,
                kind: Some(kind),
                text,
            });
        }
        let first = Script {
            name: "20240101000000_base".into(),
            kind: None,
            text: base.join("\n"),
        };
        scripts.insert(0, first);
        Drawn { scripts }
    }

    /// The project on disk.
    pub fn history(&self) -> History {
        self.scripts.iter().fold(History::new(), |history, script| {
            history.migration(&script.name, &script.text)
        })
    }

    /// The kind of a migration.
    pub fn kind_of(&self, name: &str) -> Option<Kind> {
        self.scripts.iter().find(|script| script.name == name)?.kind
    }

    /// Whether a migration of such a kind is in it.
    pub fn has(&self, of: impl Fn(Kind) -> bool) -> bool {
        self.scripts.iter().filter_map(|script| script.kind).any(of)
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.scripts.iter().map(|script| script.name.as_str()).collect()
    }
}
