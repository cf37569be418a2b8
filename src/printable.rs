//! Texts of others (names from an archive, messages of the server) before they reach a terminal or a log.

use std::borrow::Cow;
use std::time::Duration;

/// The text with what could steer a terminal or disguise a line made visible: control characters (newline and tab excepted) and the characters that
/// change the direction of writing or begin a line.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The same for a name, which must not look like several lines or columns: newline and tab are made visible too.
pub fn printable_name(name: &str) -> String {
    printable(name).replace('\n', "\\n").replace('\t', "\\t")
}

/// A number and what it counts: `1 table`, `2 tables`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// The first ones of several: `first step`, `first 2 steps`.
pub fn first(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("first {one}"),
        _ => format!("first {number} {many}"),
    }
}

/// How long something took, as every line says it: `0.021 s`, `12.345 s`, `3 min 5 s`, `2 h 0 min 5 s`.
pub fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}.{:03} s", took.subsec_millis()),
        (0, min, s) => format!("{min} min {s} s"),
        (h, min, s) => format!("{h} h {min} min {s} s"),
    }
}

/// Whether a character could steer a terminal or disguise a line.
pub fn steers(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_durations() {
        assert_eq!(count(1, "index", "indexes"), "1 index");
        assert_eq!(count(0, "index", "indexes"), "0 indexes");
        assert_eq!(first(1, "step", "steps"), "first step");
        assert_eq!(first(2, "step", "steps"), "first 2 steps");
        for (millis, shown) in [
            (21, "0.021 s"),
            (59_999, "59.999 s"),
            (60_000, "1 min 0 s"),
            (3_605_000, "1 h 0 min 5 s"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn what_steers_a_terminal_is_made_visible() {
        let cases = [
            ("plain é\n\tline", "plain é\n\tline"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\rb\u{7f}\u{9b}c", "a\\u{d}b\\u{7f}\\u{9b}c"),
            ("abc\u{202e}def", "abc\\u{202e}def"),
        ];
        for (text, shown) in cases {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable_name("a\nb\tc\u{7}"), "a\\nb\\tc\\u{7}");
    }
}
