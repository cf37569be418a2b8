//! What a statement means for the protocol, as far as its first words tell.
//!
//! It only chooses how a script is sent: the server has the last word on whether it can be so.

use super::command::copies_from_stdin;
use super::tokens::tokens;
use squawk_lexer::TokenKind;
use std::borrow::Cow;

/// What a statement means for the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs in any transaction.
    Ordinary,
    /// Runs in any transaction, and takes no snapshot: a transaction's modes may be set after it (`PlannedStmtRequiresSnapshot` in PostgreSQL's sources).
    WithoutSnapshot,
    /// `SET`, `RESET` of a session's setting, or `SELECT set_config(…)` by itself.
    Setting,
    /// `BEGIN` or `START TRANSACTION`; `modes` where it sets the isolation level or the like.
    Begin {
        /// Something follows that must come before the transaction's first query.
        modes: bool,
    },
    /// `SET TRANSACTION …`: must come before the transaction's first query.
    SetTransaction,
    /// `COMMIT` or `END`; `chain` where it opens the next transaction at once.
    Commit {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `ROLLBACK` or `ABORT`, not to a savepoint: takes back what came before it in its transaction, our bookkeeping too.
    Rollback {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `PREPARE TRANSACTION`: what came before it is neither committed nor taken back, our bookkeeping too.
    Prepare,
    /// `COPY … FROM STDIN`: its data cannot travel in a script.
    CopyFromStdin,
    /// Cannot run inside a transaction block.
    Alone(Box<Alone>),
}

/// A statement that cannot run inside a transaction block, by what the catalogue can say of it afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alone {
    /// `CREATE [UNIQUE] INDEX CONCURRENTLY`.
    CreateIndex {
        /// The index's name as written, unqualified by grammar; absent where the server makes it.
        index: Option<String>,
        /// The table's name as written, qualified or not.
        table: String,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// `UNIQUE`.
        unique: bool,
        /// The names of its columns as written; none if it has an expression.
        columns: Option<Vec<String>>,
    },
    /// `DROP INDEX CONCURRENTLY`: its name as written.
    DropIndex(String),
    /// `ALTER TABLE parent DETACH PARTITION partition CONCURRENTLY` (or `FINALIZE`): both names as written.
    DetachPartition {
        /// The partitioned table.
        parent: String,
        /// The partition.
        partition: String,
    },
    /// `CREATE` or `DROP` of a `DATABASE` or `TABLESPACE`.
    Global {
        /// `CREATE`, not `DROP`.
        create: bool,
        /// `DATABASE`, not `TABLESPACE`.
        database: bool,
        /// Its name as written.
        name: String,
    },
    /// Does no harm when run once more: `VACUUM`, `REINDEX`, `CLUSTER`, `ALTER SYSTEM`, `DISCARD ALL`.
    Repeatable {
        /// `REINDEX … CONCURRENTLY` waits for old snapshots, as all of its family.
        concurrently: bool,
    },
    /// `LOCK TABLE` or `DECLARE`, where the script is nothing else: it needs a transaction block, and the server refuses it outside one.
    WantsBlock,
    /// Anything else: whether it has run cannot be read off the catalogue.
    Opaque {
        /// It may commit by itself (`CALL`, `DO`), so that even its failure does not prove that it left nothing.
        commits: bool,
    },
}

impl Alone {
    /// Whether it belongs to the CONCURRENTLY family, which waits for old snapshots: `lock_timeout` is off for it, and a deadlock with a waiting
    /// session is retried.
    pub fn is_concurrent(&self) -> bool {
        matches!(
            self,
            Alone::CreateIndex { .. }
                | Alone::DropIndex(_)
                | Alone::DetachPartition { .. }
                | Alone::Repeatable { concurrently: true }
        )
    }
}

/// Whether the server runs it in a transaction block alone, because what it makes is gone when its transaction ends (`RequireTransactionBlock` in
/// PostgreSQL's sources; SAVEPOINT and its kind want a BEGIN).
pub(super) fn wants_block(statement: &str) -> bool {
    let words = Words::all(statement);
    words.is(0, &["lock"]) || (words.is(0, &["declare"]) && !words.pairs("with", "hold"))
}

/// The significant tokens of a statement, as text.
pub(super) struct Words<'a> {
    words: Vec<&'a str>,
}

/// Enough of a statement to know its kind by; the places of names in `ALTER TABLE … DETACH PARTITION` lie well within it.
const WORDS_READ: usize = 48;

impl<'a> Words<'a> {
    pub(super) fn of(statement: &'a str) -> Self {
        Words::first(statement, WORDS_READ)
    }

    /// All of them.
    pub(super) fn all(statement: &'a str) -> Self {
        Words::first(statement, usize::MAX)
    }

    fn first(statement: &'a str, count: usize) -> Self {
        let words = tokens(statement)
            .filter_map(|(token, range)| {
                let blank = matches!(
                    token,
                    TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. }
                );
                (!blank).then(|| &statement[range])
            })
            .take(count)
            .collect();
        Words { words }
    }

    pub(super) fn at(&self, at: usize) -> Option<&'a str> {
        self.words.get(at).copied()
    }

    pub(super) fn is(&self, at: usize, any_of: &[&str]) -> bool {
        self.words
            .get(at)
            .is_some_and(|word| any_of.iter().any(|w| word.eq_ignore_ascii_case(w)))
    }

    fn find(&self, word: &str) -> Option<usize> {
        self.words.iter().position(|w| w.eq_ignore_ascii_case(word))
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.find(word).is_some()
    }

    /// `AND CHAIN`, not `AND NO CHAIN`.
    fn chains(&self) -> bool {
        self.has("chain") && !self.has("no")
    }

    /// Whether the second word follows the first, or stands behind an `=` or `TO` after it.
    pub(super) fn pairs(&self, first: &str, second: &str) -> bool {
        (0..self.words.len()).any(|at| {
            let next = if self.is(at + 1, &["=", "to"]) { at + 2 } else { at + 1 };
            self.is(at, &[first]) && self.is(next, &[second])
        })
    }

    /// The possibly qualified name that begins at a word, and the place after it. Unicode escapes in it are resolved, which the server's own functions
    /// for names as text do not do.
    pub(super) fn name(&self, at: usize) -> Option<(String, usize)> {
        let (mut name, mut next) = self.part_of_name(at)?;
        while self.words.get(next) == Some(&".") {
            let (part, after) = self.part_of_name(next + 1)?;
            name.push('.');
            name.push_str(&part);
            next = after;
        }
        Some((name, next))
    }

    /// One identifier, with the `UESCAPE` that may follow it.
    fn part_of_name(&self, at: usize) -> Option<(String, usize)> {
        let word = self.words.get(at)?;
        if !self.is(at + 1, &["uescape"]) {
            return Some((resolved(word, '\\').into_owned(), at + 1));
        }
        let escape = self.words.get(at + 2)?.trim_matches('\'').chars().next()?;
        Some((resolved(word, escape).into_owned(), at + 3))
    }

    /// The place after `IF [NOT] EXISTS`, and whether it was there.
    pub(super) fn skip_if_exists(&self, at: usize) -> (usize, bool) {
        if !self.is(at, &["if"]) {
            (at, false)
        } else if self.is(at + 1, &["not"]) {
            (at + 3, true)
        } else {
            (at + 2, true)
        }
    }
}

/// An identifier with Unicode escapes (`U&"d\0061ta"`) as one without; any other as it is.
fn resolved(word: &str, escape: char) -> Cow<'_, str> {
    let Some(text) = word
        .get(..3)
        .filter(|start| start.eq_ignore_ascii_case("u&\""))
        .and_then(|_| word[3..].strip_suffix('"'))
    else {
        return Cow::Borrowed(word);
    };
    let mut name = String::from("\"");
    let mut rest = text;
    while let Some(at) = rest.find(escape) {
        name.push_str(&rest[..at]);
        rest = &rest[at + escape.len_utf8()..];
        if let Some(after) = rest.strip_prefix(escape) {
            name.push(escape);
            rest = after;
            continue;
        }
        let (digits, skipped) = match rest.as_bytes().first() {
            Some(b'+') => (rest.get(1..7), 7),
            _ => (rest.get(..4), 4),
        };
        let character = digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32);
        // What the server would refuse stays as it is: the statement itself will say so.
        let Some(character) = character else {
            return Cow::Borrowed(word);
        };
        if character == '"' {
            name.push('"');
        }
        name.push(character);
        rest = &rest[skipped..];
    }
    name.push_str(rest);
    name.push('"');
    Cow::Owned(name)
}

/// Whether a statement may commit by itself: `CALL` and `DO` run code that can; no other statement does.
pub fn may_commit(statement: &str) -> bool {
    Words::of(statement).is(0, &["call", "do"])
}

/// What a statement means, by its first words.
pub fn kind(statement: &str) -> Kind {
    // A script may hold millions of them, and nothing behind the word makes another kind of them.
    const ORDINARY: [&str; 3] = ["insert", "update", "delete"];
    let is = |word: &str| {
        statement
            .get(..word.len())
            .is_some_and(|first| first.eq_ignore_ascii_case(word))
    };
    if ORDINARY.into_iter().any(is) {
        return Kind::Ordinary;
    }
    let words = Words::of(statement);
    let first = words.words.first().map(|w| w.to_ascii_lowercase()).unwrap_or_default();
    match first.as_str() {
        "begin" | "start" => Kind::Begin {
            modes: ["isolation", "only", "write", "deferrable"]
                .iter()
                .any(|word| words.has(word)),
        },
        "commit" | "end" if words.is(1, &["prepared"]) => alone_of(Alone::Opaque { commits: false }),
        "commit" | "end" => Kind::Commit { chain: words.chains() },
        "rollback" if words.is(1, &["prepared"]) => alone_of(Alone::Opaque { commits: false }),
        "rollback" | "abort" if words.has("to") => Kind::Ordinary,
        "rollback" | "abort" => Kind::Rollback { chain: words.chains() },
        "prepare" if words.is(1, &["transaction"]) => Kind::Prepare,
        "set"
            if words.is(
                1,
                &[
                    "transaction",
                    "transaction_isolation",
                    "transaction_read_only",
                    "transaction_deferrable",
                ],
            ) =>
        {
            Kind::SetTransaction
        }
        "set" if words.is(1, &["local"]) && words.is(2, &["transaction_isolation", "transaction_read_only"]) => {
            Kind::SetTransaction
        }
        "set" if words.is(1, &["constraints", "local"]) => Kind::WithoutSnapshot,
        "lock" | "listen" | "unlisten" | "notify" | "fetch" | "move" | "show" | "checkpoint" => Kind::WithoutSnapshot,
        "set" | "reset" => Kind::Setting,
        "select" if sets_config(&words) => Kind::Setting,
        "copy" if copies_from_stdin(statement) => Kind::CopyFromStdin,
        _ => alone(&first, &words).map_or(Kind::Ordinary, alone_of),
    }
}

fn alone_of(alone: Alone) -> Kind {
    Kind::Alone(Box::new(alone))
}

/// `SELECT [pg_catalog.]set_config(…)` and nothing behind it, as pg_dump writes it.
fn sets_config(words: &Words<'_>) -> bool {
    let at = if words.is(1, &["pg_catalog"]) { 3 } else { 1 };
    let arguments = words.words.get(at + 1..).unwrap_or_default();
    // No second call beside or inside it, which would be made twice.
    words.is(at, &["set_config"])
        && arguments.last() == Some(&")")
        && arguments.iter().filter(|word| **word == "(").count() == 1
}

/// The statements that PostgreSQL refuses inside a transaction block (PreventInTransactionBlock in its sources), as far as their words tell.
fn alone(first: &str, words: &Words<'_>) -> Option<Alone> {
    match first {
        "create" => {
            let index = if words.is(1, &["unique"]) { 2 } else { 1 };
            if words.is(index, &["index"]) && words.is(index + 1, &["concurrently"]) {
                return Some(create_index(words, index + 2));
            }
            if words.is(1, &["database", "tablespace"]) {
                let (name, _) = words.name(2)?;
                return Some(Alone::Global {
                    create: true,
                    database: words.is(1, &["database"]),
                    name,
                });
            }
            words
                .is(1, &["subscription"])
                .then_some(Alone::Opaque { commits: false })
        }
        "drop" => {
            if words.is(1, &["index"]) && words.is(2, &["concurrently"]) {
                let (at, _) = words.skip_if_exists(3);
                return Some(
                    words
                        .name(at)
                        .map_or(Alone::Opaque { commits: false }, |(name, _)| Alone::DropIndex(name)),
                );
            }
            if words.is(1, &["database", "tablespace"]) {
                let (at, _) = words.skip_if_exists(2);
                let (name, _) = words.name(at)?;
                return Some(Alone::Global {
                    create: false,
                    database: words.is(1, &["database"]),
                    name,
                });
            }
            words
                .is(1, &["subscription"])
                .then_some(Alone::Opaque { commits: false })
        }
        "alter" if words.is(1, &["system"]) => Some(Alone::Repeatable { concurrently: false }),
        "alter" if words.is(1, &["database"]) && words.is(3, &["set"]) && words.is(4, &["tablespace"]) => {
            Some(Alone::Opaque { commits: false })
        }
        "alter" if words.is(1, &["table"]) => detach_partition(words),
        "reindex" if words.has("concurrently") => Some(Alone::Repeatable { concurrently: true }),
        "reindex" if words.is(1, &["schema", "database", "system"]) => Some(Alone::Repeatable { concurrently: false }),
        "vacuum" => Some(Alone::Repeatable { concurrently: false }),
        "cluster" if words.words.len() == 1 => Some(Alone::Repeatable { concurrently: false }),
        "discard" if words.is(1, &["all"]) => Some(Alone::Repeatable { concurrently: false }),
        _ => None,
    }
}

fn create_index(words: &Words<'_>, at: usize) -> Alone {
    let (at, if_not_exists) = words.skip_if_exists(at);
    let (index, at) = if words.is(at, &["on"]) {
        (None, at)
    } else {
        match words.part_of_name(at) {
            Some((name, after)) => (Some(name), after),
            None => (None, at + 1),
        }
    };
    let at = if words.is(at + 1, &["only"]) { at + 2 } else { at + 1 };
    match words.name(at) {
        Some((table, after)) => Alone::CreateIndex {
            index,
            table,
            if_not_exists,
            unique: words.is(1, &["unique"]),
            columns: columns(words, after),
        },
        None => Alone::Opaque { commits: false },
    }
}

/// The names in an index's list of columns, which begins behind the table's name; none if one of them is an expression, or the end is not read.
fn columns(words: &Words<'_>, after: usize) -> Option<Vec<String>> {
    let open = if words.is(after, &["using"]) { after + 2 } else { after };
    if words.at(open) != Some("(") {
        return None;
    }
    let mut found = Vec::new();
    let mut at = open + 1;
    loop {
        let (name, mut next) = words.part_of_name(at)?;
        if name == "(" || words.at(next) == Some("(") {
            return None;
        }
        found.push(name);
        let mut depth = 0usize;
        while depth > 0 || !words.is(next, &[",", ")"]) {
            match words.at(next)? {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ => {}
            }
            next += 1;
        }
        if words.at(next) == Some(")") {
            return Some(found);
        }
        at = next + 1;
    }
}

fn detach_partition(words: &Words<'_>) -> Option<Alone> {
    let detach = words.find("detach")?;
    if !words.is(detach + 1, &["partition"]) {
        return None;
    }
    let (partition, next) = words.name(detach + 2)?;
    if !words.is(next, &["concurrently", "finalize"]) {
        return None;
    }
    let (at, _) = words.skip_if_exists(2);
    let at = if words.is(at, &["only"]) { at + 1 } else { at };
    let (parent, _) = words.name(at)?;
    Some(Alone::DetachPartition { parent, partition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_an_index_are_read_unless_one_is_an_expression() {
        let of = |list: &str| match kind(&format!("CREATE INDEX CONCURRENTLY i ON t {list}")) {
            Kind::Alone(alone) => match *alone {
                Alone::CreateIndex { columns, .. } => columns,
                _ => None,
            },
            _ => None,
        };
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        for (list, expected) in [
            ("(a)", names(&["a"])),
            (
                "USING gin (\"A b\" jsonb_path_ops, c DESC NULLS LAST) WHERE c > 1",
                names(&["\"A b\"", "c"]),
            ),
            ("(a text_ops (x = 1), b) INCLUDE (c)", names(&["a", "b"])),
            ("(lower(a))", None),
            ("((a + 1), b)", None),
            ("(a", None),
        ] {
            assert_eq!(of(list), expected, "{list}");
        }
    }

    #[test]
    fn kinds_are_told_by_the_first_words() {
        use Kind::*;
        let create = |index: Option<&str>, table: &str, if_not_exists| {
            super::alone_of(super::Alone::CreateIndex {
                index: index.map(str::to_owned),
                table: table.into(),
                if_not_exists,
                unique: if_not_exists,
                columns: Some(vec!["a".into()]),
            })
        };
        let repeatable = |concurrently| super::alone_of(super::Alone::Repeatable { concurrently });
        let cases: &[(&str, Kind)] = &[
            ("begin", Begin { modes: false }),
            ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", Begin { modes: true }),
            ("BEGIN READ ONLY", Begin { modes: true }),
            ("BEGIN WORK READ WRITE", Begin { modes: true }),
            ("commit", Commit { chain: false }),
            ("END TRANSACTION", Commit { chain: false }),
            ("COMMIT AND CHAIN", Commit { chain: true }),
            ("COMMIT AND NO CHAIN", Commit { chain: false }),
            (
                "COMMIT PREPARED 'x'",
                super::alone_of(super::Alone::Opaque { commits: false }),
            ),
            ("ROLLBACK", Rollback { chain: false }),
            ("ROLLBACK TO SAVEPOINT a", Ordinary),
            ("ROLLBACK WORK TO a", Ordinary),
            ("ABORT AND CHAIN", Rollback { chain: true }),
            ("PREPARE TRANSACTION 'x'", Prepare),
            ("PREPARE p AS SELECT 1", Ordinary),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", SetTransaction),
            ("SET LOCAL lock_timeout = 1", WithoutSnapshot),
            ("LOCK TABLE t", WithoutSnapshot),
            ("SET lock_timeout = '5s'", Setting),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Setting),
            ("RESET ALL", Setting),
            ("SELECT pg_catalog.set_config('search_path', '', false)", Setting),
            ("SELECT set_config('a.b', note, true) FROM t", Ordinary),
            ("COPY t (a, \"from\") FROM STDIN", CopyFromStdin),
            ("copy t from stdin with (format csv)", CopyFromStdin),
            ("COPY (SELECT a FROM stdin) TO '/tmp/x'", Ordinary),
            ("COPY t FROM '/tmp/x'", Ordinary),
            (
                "CREATE INDEX CONCURRENTLY i ON ONLY s.\"T\" (a)",
                create(Some("i"), "s.\"T\"", false),
            ),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"I\" ON t (a)",
                create(Some("\"I\""), "t", true),
            ),
            ("create index /* x */ concurrently on t (a)", create(None, "t", false)),
            (
                "CREATE INDEX CONCURRENTLY U&\"d\\0061t\\+000061\\\\\" ON U&\"T\\0022\" (a)",
                create(Some("\"data\\\""), "\"T\"\"\"", false),
            ),
            (
                "CREATE INDEX CONCURRENTLY U&\"i!00e4!!\" UESCAPE '!' ON t (a)",
                create(Some("\"iä!\""), "t", false),
            ),
            ("CREATE INDEX concurrently_named ON t (a)", Ordinary),
            (
                "DROP INDEX CONCURRENTLY IF EXISTS s.i",
                super::alone_of(super::Alone::DropIndex("s.i".into())),
            ),
            ("DROP INDEX i", Ordinary),
            ("REINDEX (VERBOSE, CONCURRENTLY) TABLE t", repeatable(true)),
            ("REINDEX TABLE t", Ordinary),
            ("REINDEX SCHEMA s", repeatable(false)),
            ("VACUUM ANALYZE t", repeatable(false)),
            (
                "CREATE DATABASE d",
                super::alone_of(super::Alone::Global {
                    create: true,
                    database: true,
                    name: "d".into(),
                }),
            ),
            (
                "DROP DATABASE IF EXISTS d",
                super::alone_of(super::Alone::Global {
                    create: false,
                    database: true,
                    name: "d".into(),
                }),
            ),
            (
                "ALTER TABLE IF EXISTS ONLY s.p DETACH PARTITION s.c CONCURRENTLY",
                super::alone_of(super::Alone::DetachPartition {
                    parent: "s.p".into(),
                    partition: "s.c".into(),
                }),
            ),
            ("ALTER TABLE p DETACH PARTITION c", Ordinary),
            ("ALTER SYSTEM SET work_mem = '1MB'", repeatable(false)),
            ("DISCARD ALL", repeatable(false)),
            ("DISCARD TEMP", Ordinary),
            ("CREATE TABLE begin_here (a int)", Ordinary),
            ("CALL p()", Ordinary),
        ];
        for (statement, expected) in cases {
            assert_eq!(super::kind(statement), *expected, "{statement}");
        }
    }
}
