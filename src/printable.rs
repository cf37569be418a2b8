//! Texts of others (names from an archive, messages of the server) before they reach a terminal or a log.

use std::borrow::Cow;

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

/// Texts of others are shown up to this length, in characters: a log of a failed statement may quote megabytes.
const SHOWN: usize = 4_000;

/// The beginning of a text that may be very long, and how much of it was left out.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!(
            "{}… ({} more characters; the whole text is in the `logs` column of _prisma_migrations)",
            &text[..end],
            text[end..].chars().count()
        ),
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
