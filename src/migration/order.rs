//! The order in which migrations are applied: Prisma's since 6.6, JavaScript's `localeCompare`, which is ICU's root collation.
//!
//! Before 6.6 Prisma sorted by bytes. Both agree on `<14 digits>_<snake_case>`; they differ where case, `-` against `_`, prefixes of unequal length or
//! letters beyond ASCII decide.

use std::cmp::Ordering;
use std::sync::LazyLock;

use icu_collator::options::CollatorOptions;
use icu_collator::{Collator, CollatorBorrowed, CollatorPreferences};

use super::Migration;

static ROOT: LazyLock<CollatorBorrowed<'static>> = LazyLock::new(|| {
    Collator::try_new(CollatorPreferences::default(), CollatorOptions::default())
        .expect("the root collation is compiled into the binary")
});

/// Compares two names as Prisma >= 6.6 does. Names that the collation holds for equal (composed and decomposed forms of a letter, or control
/// characters) are told apart by their bytes, where Prisma leaves them in the order in which the file system lists them.
pub fn compare(a: &str, b: &str) -> Ordering {
    ROOT.compare(a, b).then_with(|| a.cmp(b))
}

/// Brings migrations into the order in which they are applied.
pub fn sort(migrations: &mut [Migration]) {
    // To compare by bytes is quick and nearly always right already; a sort of what is in order compares each only with the next.
    migrations.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    migrations.sort_by(|a, b| compare(&a.name, &b.name));
}

/// The names whose place would be another one in the bytewise order of Prisma before 6.6 and of most other tools, in the order in which they are applied.
pub fn contested<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut bytewise: Vec<&str> = names.into_iter().collect();
    bytewise.sort_unstable();
    let mut collated = bytewise.clone();
    collated.sort_by(|a, b| compare(a, b));
    collated
        .into_iter()
        .zip(bytewise)
        .filter_map(|(collated, bytewise)| (collated != bytewise).then_some(collated))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Names in which everything differs that a collation can look at.
    fn hostile_names() -> Vec<String> {
        let stems = [
            "",
            " ",
            "_",
            "-",
            "a",
            "A",
            "b",
            "B",
            "aa",
            "aB",
            "Ab",
            "z",
            "Z",
            "1",
            "9",
            "10",
            "2_x",
            "9_x",
            "10_x",
            "1_a",
            "10_a",
            "a_1",
            "a-1",
            "a 1",
            "a.1",
            "a1",
            "_1",
            "__1",
            "B_1",
            ".hidden",
            "20240101000000",
            "20240101000000_",
            "20240101000000_a",
            "20240101000000_A",
            "20240101000000_b",
            "20240101000000__x",
            "20240101000000-y",
            "20240101000000 y",
            "20240101000000.y",
            "2024010100000_a",
            "202401010000000_a",
            "20240101000000_add-user",
            "20240101000000_add_user",
            "20240101000000_addUser",
            "20240101000000_add_users",
            "20240101000000_add_user_id",
            "20240101000000_é",
            "20240101000000_e\u{301}",
            "20240101000000_e",
            "20240101000000_f",
            "é",
            "e\u{301}",
            "è",
            "E",
            "ê",
            "ế",
            "e\u{302}\u{301}",
            "e\u{301}\u{302}",
            "ä",
            "ae",
            "æ",
            "ß",
            "ss",
            "ø",
            "o",
            "å",
            "Å",
            "A\u{30a}",
            "ı",
            "i",
            "İ",
            "ﬁ",
            "fi",
            "Ⓐ",
            "Ａ",
            "１",
            "²",
            "½",
            "٣",
            "ч",
            "Ч",
            "я",
            "α",
            "ά",
            "Ω",
            "א",
            "ع",
            "अ",
            "ก",
            "เก",
            "漢",
            "字",
            "한",
            "\u{1112}\u{1161}\u{11ab}",
            "あ",
            "ア",
            "ｱ",
            "が",
            "か",
            "😀",
            "👍🏽",
            "👍",
            "👩‍👩‍👧",
            "a\u{200d}b",
            "a\u{200b}b",
            "a\u{ad}b",
            "ab",
            "a\u{a0}b",
            "a b",
            "a\tb",
            "a\u{1}b",
            "a\u{7f}b",
            "\u{feff}a",
            "–",
            "—",
            "…",
            "“",
            "€",
            "£",
            "𝒜",
            "𐐀",
            "𐐨",
            "\u{fffd}",
            "\u{e000}",
            "\u{10ffff}",
            "\u{fffe}a",
            "ch",
            "cz",
            "h",
            "lj",
            "dž",
        ];
        let punctuation = (' '..='~').filter(|c| !c.is_ascii_alphanumeric());
        let mut names: Vec<String> = stems.into_iter().map(String::from).collect();
        for c in punctuation {
            names.extend([format!("{c}"), format!("a{c}b"), format!("20240101000000{c}x")]);
        }
        names.sort();
        names.dedup();
        names
    }

    /// Runs a JavaScript program in Node, with `input` as JSON in `input` and its result written as JSON.
    fn node(expression: &str, input: &[String]) -> serde_json::Value {
        let program = format!(
            "const input = JSON.parse(require('fs').readFileSync(0, 'utf8')); process.stdout.write(JSON.stringify({expression}))"
        );
        // Node takes en-US where no locale is set, as in a container; a developer's own could order letters otherwise (Czech has ch after h).
        let mut child = Command::new("node")
            .args(["-e", &program])
            .env("LC_ALL", "en_US.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("this test holds the order against Node's, and node cannot be run: {error}")
            });
        let json = serde_json::to_vec(input).unwrap();
        child.stdin.take().unwrap().write_all(&json).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "node failed: {}", output.status);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn every_pair_compares_as_in_node() {
        let names = hostile_names();
        let signs = node("input.map(a => input.map(b => Math.sign(a.localeCompare(b))))", &names);
        let mut different = Vec::new();
        for (i, a) in names.iter().enumerate() {
            for (j, b) in names.iter().enumerate() {
                let theirs = signs[i][j].as_i64().unwrap();
                let ours = ROOT.compare(a, b) as i64;
                if ours != theirs {
                    different.push(format!("{a:?} against {b:?}: node {theirs}, ours {ours}"));
                }
            }
        }
        assert!(names.len() > 200);
        assert!(
            different.is_empty(),
            "{} pairs:\n{}",
            different.len(),
            different.join("\n")
        );
    }

    #[test]
    fn equal_names_are_told_apart_by_bytes() {
        assert_eq!(ROOT.compare("é", "e\u{301}"), Ordering::Equal);
        assert_eq!(compare("é", "e\u{301}"), "é".cmp("e\u{301}"));
        assert_eq!(compare("e\u{301}", "é"), "e\u{301}".cmp("é"));
    }

    #[test]
    fn names_whose_place_depends_on_the_order_are_found() {
        let table: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (&["20240102000000_b", "20240101000000_a"], &[]),
            (&["10_a", "1_a", "2_a"], &["1_a", "10_a"]),
            (
                &["20240101000000_B", "20240101000000_a", "3"],
                &["20240101000000_a", "20240101000000_B"],
            ),
            (&["1-b", "1_a", "0"], &["1_a", "1-b"]),
        ];
        for (names, expected) in table {
            assert_eq!(contested(names.iter().copied()), expected, "{names:?}");
        }
    }
}
