//! The statement splitter against PostgreSQL itself.
//!
//! Two judges. A simple query answers once for each statement that the server found in it, so the number is exact where the statements can run. Parse,
//! of the extended protocol, needs no statement that can run: it refuses a text that cannot be parsed, and one that holds more than one statement.
//! The texts are made of hard fragments by a generator with a fixed seed.

use fastrand::Rng;
use harness::history::History;
use harness::postgres::{Client, Server, SimpleQueryMessage, SqlState};
use prisma_migrate_task::sql::script::statements;

/// Constants, each on its own a whole one, and all of them text or NULL.
const TEXTS: &[&str] = &[
    "'a;b'",
    "'it''s;'",
    "''",
    "''''",
    "'\\'",
    "'\\;\\'",
    "'--'",
    "'/*'",
    "'$$'",
    "'a' \n 'b;'",
    "'a' -- ;'\n 'b'",
    "E'\\''",
    "E'\\\\'",
    "e'\\';\\''",
    "E'''\\';'",
    "E'a' \n '\\';'",
    "U&'d\\0061t;'",
    "U&'d!0061t;' UESCAPE '!'",
    "u&'''' UESCAPE '\\'",
    "N'n;'",
    "$$;$$",
    "$$ ' \" -- /* $$",
    "$a$;$b$;$$;$a$",
    "$é$;$é$",
    "$_1$ $_$ ; $_1$",
    "$a$a$b$a $a$",
    "B'01'::text",
    "X'1F'::text",
    "(SELECT 'x;')",
    "(ARRAY['a;', ')'])[1]",
    "current_setting('a;b', true)",
    "\"left\"('a;b', 1)",
    "(CASE WHEN true THEN 'begin;' ELSE 'end' END)",
];

/// What may stand between two tokens.
const BLANKS: &[&str] = &[
    " ",
    "\n",
    "\t\r\n",
    "\u{b} \u{c}",
    "-- ; ' \" $$ /*\n",
    "--\r\n",
    "--;\r",
    "/* ; */",
    "/* ' */ ",
    "/* /* ; */ ; */",
    "/*/**/;*/",
    "/* -- */",
    "/***/",
    "/* $$ */\n-- */\n",
];

/// Whole statements that can run any number of times beside a table `t (a text)`.
const STATEMENTS: &[&str] = &[
    "SELECT 1 AS \"a;b\"",
    "SELECT 1 AS \"a\"\";\"",
    "SELECT 1 AS U&\"d\\0061;\"",
    "SELECT 1 AS U&\"d!0061;\" UESCAPE '!'",
    "SELECT 1 AS a$b$c, 2 AS d$$, 3 AS é$",
    "SELECT 1 AS a$1$, 2 AS b$1$",
    "SELECT 1--;\n+ 2",
    "SELECT 4/*;*// 2",
    "SELECT 2 */*;*/ 3",
    "SELECT 2 - /* ; */ - 3",
    "SELECT 1 <> -- ;\n 2, 3 <>- 4",
    "SELECT '{\"a\": 1}'::jsonb #>> '{a}', '{\"a\": 1}'::jsonb ? 'a'",
    "SELECT 1.5e3, .5, 1., 1e-1",
    "SELECT 1 AS begin",
    "SELECT 1 AS \"BEGIN\", 2 AS atomic",
    "SELECT (1), ((2)), '(' , ')'",
    "DO $$ BEGIN PERFORM 1; END; $$",
    "DO $do$ BEGIN EXECUTE $x$ SELECT ';' $x$; END $do$",
    "DO LANGUAGE plpgsql 'BEGIN PERFORM '';''; END'",
    "CREATE OR REPLACE RULE r AS ON UPDATE TO t DO ALSO (SELECT 1; SELECT 2)",
    "CREATE OR REPLACE RULE r AS ON UPDATE TO t DO ALSO (SELECT ';)'; ; SELECT ')' /* ); */;)",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC; SELECT CASE WHEN true THEN CASE 1 WHEN 1 THEN 2 END END; END",
    "CREATE FUNCTION g(a int DEFAULT 1) RETURNS int LANGUAGE sql RETURN a",
    "DROP FUNCTION g",
    "CREATE OR REPLACE PROCEDURE p(a text) LANGUAGE sql BEGIN ATOMIC INSERT INTO t VALUES (a); DELETE FROM t; END",
    "create or replace function f() returns int as 'select 1;' language sql",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 2 $$",
    "CREATE OR REPLACE FUNCTION pg_temp.\"begin\"(\"end\" int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT \"end\"; END",
    "CREATE OR REPLACE FUNCTION pg_temp.begin() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION pg_temp.h(begin int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; SELECT 2 AS end; END",
    "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT x.end FROM (SELECT 1 AS end) x; END",
    "CREATE TEMP TABLE IF NOT EXISTS begin (atomic int DEFAULT 1, CHECK (atomic > 0))",
    "PREPARE q AS SELECT $1::int, $2::text",
    "DEALLOCATE q",
    "EXPLAIN (COSTS off) SELECT 1",
    "VALUES (1), (2)",
    "TABLE t",
];

fn statement(random: &mut Rng) -> String {
    if random.bool() {
        return pick(random, STATEMENTS).to_owned();
    }
    let mut statement = String::from("SELECT");
    for at in 0..random.usize(1..4) {
        statement.push_str(if at > 0 { "||" } else { " " });
        statement.push_str(pick(random, BLANKS));
        statement.push_str(pick(random, TEXTS));
        // A string goes on behind a line break; the next operator must not be swallowed by it.
        statement.push_str(pick(random, BLANKS));
    }
    statement
}

/// Some statements with their semicolons and what stands between them.
fn script(random: &mut Rng) -> String {
    let mut script = String::new();
    for _ in 0..random.usize(1..6) {
        script.push_str(pick(random, BLANKS));
        if random.u8(..6) == 0 {
            script.push(';');
        }
        script.push_str(&statement(random));
        script.push_str(pick(random, BLANKS));
        script.push(';');
    }
    if random.bool() {
        script.push_str(&statement(random));
    }
    script
}

fn pick<'a>(random: &mut Rng, from: &[&'a str]) -> &'a str {
    from[random.usize(..from.len())]
}

fn client() -> (harness::postgres::Database, Client) {
    let database = Server::shared().database();
    let mut client = database.client();
    client.batch_execute("CREATE TABLE t (a text)").unwrap();
    (database, client)
}

/// How many statements the server found, or why it ran none of them to the end.
fn count(client: &mut Client, script: &str) -> Result<usize, String> {
    let messages = client.simple_query(script).map_err(|error| said(&error))?;
    let is_end = |message: &&SimpleQueryMessage| matches!(message, SimpleQueryMessage::CommandComplete(_));
    Ok(messages.iter().filter(is_end).count())
}

fn said(error: &harness::postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parsed {
    /// At most one statement, whether or not it could run.
    One,
    Several,
    /// Refused by the lexer or the grammar, or, where the words do not tell, by what comes after them.
    Refused,
    Unclear,
}

/// What the server's grammar says of a text.
fn parsed(client: &mut Client, text: &str) -> Parsed {
    let Err(error) = client.prepare(text) else {
        return Parsed::One;
    };
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| said(&error).starts_with(beginning));
    if begins(&["cannot insert multiple commands"]) {
        Parsed::Several
    } else if begins(&[
        "syntax error",
        "unterminated",
        "unsafe use",
        "invalid Unicode",
        "trailing junk",
    ]) {
        Parsed::Refused
    } else if error.code() == Some(&SqlState::SYNTAX_ERROR) {
        Parsed::Unclear
    } else {
        Parsed::One
    }
}

#[test]
fn each_fragment_is_one_statement_to_both() {
    let (_database, mut client) = client();
    let version = Server::shared().major();
    let selects = TEXTS.iter().map(|text| format!("SELECT {text}"));
    for statement in STATEMENTS.iter().map(|text| (*text).to_owned()).chain(selects) {
        client
            .batch_execute("DEALLOCATE ALL; DROP FUNCTION IF EXISTS g")
            .unwrap();
        client
            .batch_execute(match statement.as_str() {
                "DEALLOCATE q" => "PREPARE q AS SELECT 1",
                "DROP FUNCTION g" => "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                _ => "",
            })
            .unwrap();
        assert_eq!(
            count(&mut client, &statement),
            Ok(1),
            "PostgreSQL {version}: {statement}"
        );
        assert_eq!(statements(&statement).len(), 1, "{statement}");
        assert_eq!(statements(&statement)[0].range, 0..statement.len(), "{statement}");
    }
}

#[test]
fn a_script_has_as_many_statements_as_the_server_finds() {
    let (_database, mut client) = client();
    let mut random = Rng::with_seed(1);
    let mut ran = 0;
    for _ in 0..4000 {
        let script = script(&mut random);
        client
            .batch_execute("DEALLOCATE ALL; DROP FUNCTION IF EXISTS g")
            .unwrap();
        // Two fragments may not go together (DEALLOCATE before PREPARE): such a script says nothing.
        let Ok(found) = count(&mut client, &script) else {
            continue;
        };
        ran += 1;
        assert_eq!(statements(&script).len(), found, "{script}");
    }
    assert!(ran > 1200, "only {ran} of the scripts ran");
}

/// Characters are taken out, put in and swapped, so that quotes and comments begin and end where nobody meant them to: wherever the server still
/// can parse the text, the splitter cuts it where the server does.
#[test]
fn what_the_server_can_parse_is_cut_where_it_cuts() {
    const PIECES: &[&str] = &[
        "'", "''", "\"", "\\", "\\'", "E", "E'", "U&", "U&'", "N", "B", "$", "$$", "$a$", "a$", "$1", "$1a", "--", "-",
        "/*", "*/", "/", "*", ";", "(", ")", "\n", " ", "\r", "@", "||", "::", ":", "1", "0x", "é", "begin ", "end ",
        "case ", "atomic ", "as ",
    ];
    let (_database, mut client) = client();
    let mut random = Rng::with_seed(2);
    let mut tally = [0; 4];
    for _ in 0..6000 {
        let mut script = script(&mut random);
        for _ in 0..random.usize(1..3) {
            let places: Vec<usize> = script.char_indices().map(|(at, _)| at).collect();
            let at = places[random.usize(..places.len())];
            if random.bool() {
                script.remove(at);
            } else {
                script.insert_str(at, pick(&mut random, PIECES));
            }
            if script.is_empty() {
                script.push(' ');
            }
        }
        let whole = parsed(&mut client, &script);
        tally[whole as usize] += 1;
        if matches!(whole, Parsed::Refused | Parsed::Unclear) {
            continue;
        }
        let found = statements(&script);
        assert_eq!(found.len() > 1, whole == Parsed::Several, "{script}");
        for (at, statement) in found.iter().enumerate() {
            let text = &script[statement.range.clone()];
            let piece = parsed(&mut client, text);
            assert!(
                matches!(piece, Parsed::One | Parsed::Unclear),
                "{piece:?}: {text:?} of {script}"
            );
            let until = parsed(&mut client, &script[..statement.range.end]);
            assert_eq!(until == Parsed::Several, at > 0, "up to {text:?} of {script}");
        }
    }
    let [one, several, refused, _] = tally;
    assert!(
        one > 100 && several > 500 && refused > 1000,
        "one {one}, several {several}, refused {refused}"
    );
}

/// Where `standard_conforming_strings` is off (a setting of the role or the database; PostgreSQL 19 has it no more), a backslash is an escape in any
/// string, and the splitter does not know. A script that is sent whole is the server's to read; one that is cut can be cut wrong, and then the first
/// wrong piece ends inside a string: the server refuses it, and nothing runs that is not in the script.
#[test]
fn without_standard_conforming_strings_a_script_is_cut_as_the_server_reads_it() {
    let database = Server::shared().database();
    let off = format!(
        "ALTER DATABASE {} SET standard_conforming_strings = off",
        database.name()
    );
    database.superuser().batch_execute(&off).unwrap();
    let hidden = r"SELECT 'a\'; DROP TABLE kept; --'";
    let history = History::new().migration("1_whole", format!("CREATE TABLE kept (id int); {hidden};"));
    crate::migrate()
        .deploy(history.folder())
        .database(&database)
        .run()
        .expect(0);

    let index = "CREATE INDEX CONCURRENTLY i ON kept (id)";
    let history = history.migration("2_cut", format!("SELECT 1; {hidden}; {index};"));
    crate::migrate()
        .deploy(history.folder())
        .database(&database)
        .run()
        .expect(0);
    assert_eq!(
        database.scalar("SELECT count(*) FROM pg_class WHERE relname IN ('kept', 'i')"),
        "2"
    );
}
