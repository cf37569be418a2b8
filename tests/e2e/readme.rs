//! What the README and `docs/outcome.md` promise in tables, held against the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::history::{History, Layout};
use harness::postgres::Server;
use harness::s3::S3;
use prisma_migrate_task::exit::Exit;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The lines of the section under this heading.
fn section(heading: &str) -> Vec<String> {
    let readme = readme();
    let lines = readme.lines().skip_while(|line| *line != heading).skip(1);
    let lines: Vec<String> = lines
        .take_while(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    assert!(!lines.is_empty(), "no section {heading:?}");
    lines
}

#[test]
fn its_exit_codes_are_those_of_the_program() {
    let rows: Vec<(u8, String)> = section("### Exit codes")
        .iter()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').splitn(2, '|').map(str::trim).collect();
            Some((cells.first()?.parse().ok()?, (*cells.get(1)?).to_owned()))
        })
        .collect();
    let table: Vec<(u8, String)> = Exit::TABLE
        .iter()
        .map(|(exit, meaning)| (exit.code(), (*meaning).to_owned()))
        .collect();
    assert_eq!(rows, table);
}

#[test]
fn its_flags_and_variables_are_those_of_the_help() {
    let tool = crate::migrate();
    let words = |text: &str, is_word: fn(&str) -> bool| -> BTreeSet<String> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .filter(|word| is_word(word))
            .map(str::to_owned)
            .collect()
    };
    let flag = |word: &str| {
        word.starts_with("--") && word.ends_with(char::is_alphanumeric) && !matches!(word, "--help" | "--version")
    };
    let variable = |word: &str| word.contains('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let help = ["deploy", "status", "resolve"]
        .map(|verb| tool.verb([verb, "--help"]).without_report().run().expect(0).stdout)
        .join("\n");
    let help = format!(
        "{help}\n{}",
        tool.verb(["--help"]).without_report().run().expect(0).stdout
    );
    let readme = [section("### Variables").join("\n"), section("### Flags").join("\n")].join("\n");

    assert_eq!(words(&readme, flag), words(&help, flag));
    // The README says once that a flag's variable is its name in upper case.
    let of_a_flag = |name: &str| words(&help, flag).contains(&format!("--{}", name.to_lowercase().replace('_', "-")));
    let named = words(&readme, variable);
    let missing: Vec<String> = words(&help, variable)
        .into_iter()
        .filter(|name| !of_a_flag(name) && !named.contains(name))
        .collect();
    assert!(missing.is_empty(), "the README does not name {missing:?}");
}

#[test]
fn the_documents_fields_are_all_described() {
    let s3 = S3::start();
    let database = Server::shared().database();
    let history = History::new()
        .migration("1_a", "CREATE TABLE a (id int);")
        .migration("2_b", "CREATE TABLE b (id int) WITH (nothing = 1)")
        .migration("3_c", "SELECT 1/0, c FROM a");
    s3.put("artifacts", "prisma.zip", history.zip(Layout::Root));
    let tool = crate::migrate();
    let deployed = tool
        .deploy("s3://artifacts/prisma.zip")
        .s3(&s3)
        .database(&database)
        .run()
        .expect(20);
    let resolve = tool.verb(["resolve", "--applied", "2_b"]).arg(history.folder());
    let resolved = resolve.database(&database).run().expect(0);
    let failed = tool.deploy(history.folder()).database(&database).run().expect(20);

    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/outcome.md")).unwrap();
    let mut fields = BTreeSet::new();
    for run in [deployed, resolved, failed] {
        keys(&run.report.unwrap(), &mut fields);
    }
    for field in ["place", "version_id", "path", "sqlstate", "how", "resolved"] {
        assert!(fields.contains(field), "no run had {field}");
    }
    let missing: Vec<_> = fields
        .iter()
        .filter(|field| !document.contains(&format!("`{field}`")))
        .collect();
    assert!(missing.is_empty(), "docs/outcome.md does not describe {missing:?}");
}

fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                found.insert(name.clone());
                keys(value, found);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}
