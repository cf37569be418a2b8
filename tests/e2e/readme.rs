//! What the README promises in tables, held against the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
    let help = [
        "deploy", "plan", "status", "resolve", "baseline", "adopt", "drift", "execute", "run", "wait", "upload",
    ]
    .map(|verb| tool.verb([verb, "--help"]).without_report().run().expect(0).stdout)
    .join("\n");
    let help = format!(
        "{help}\n{}",
        tool.verb(["--help"]).without_report().run().expect(0).stdout
    );
    let readme = [
        section("### Variables").join("\n"),
        section("### Flags").join("\n"),
        section("### Flags of the client's side").join("\n"),
    ]
    .join("\n");

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
