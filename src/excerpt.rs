//! A place in a script, shown as its line with a caret; and what is shown of a text that is too long.

use crate::failure::Place;
use crate::printable::printable_name;
use crate::sql::password;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::borrow::Cow;

/// How much of a long line is shown on either side of the place, in characters.
const CONTEXT: usize = 120;

/// The place `at` (characters, from 0) of a migration's script. `at` may be the script's end.
pub fn place(migration: &str, script: &str, at: usize) -> Place {
    place_in(format!("{migration}/migration.sql"), script, at)
}

/// The place `at` (characters, from 0) of the script that this file holds. `at` may be the script's end.
pub fn place_in(file: String, script: &str, at: usize) -> Place {
    let byte = script.char_indices().nth(at).map_or(script.len(), |(byte, _)| byte);
    // The end of a script that ends in a newline is its last line's end: there is nothing to see in the empty line behind it.
    let byte = if byte == script.len() {
        script.trim_end().len()
    } else {
        byte
    };
    let start = script[..byte].rfind('\n').map_or(0, |newline| newline + 1);
    let end = script[byte..].find('\n').map_or(script.len(), |newline| byte + newline);
    let line = script[..start].matches('\n').count() + 1;
    // The word PASSWORD may stand in a line above its value.
    let above = script[..start].trim_end().rfind('\n').map_or(0, |newline| newline + 1);
    let starred = password::starred(&script[above..end]);
    let shown: String = starred.chars().skip(script[above..start].chars().count()).collect();
    let column = script[start..byte].chars().count();
    let excerpt = excerpt(&printable_name(&file), line, shown.trim_end_matches('\r'), column);
    Place {
        file,
        line,
        column: column + 1,
        excerpt,
    }
}

fn excerpt(file: &str, line: usize, text: &str, column: usize) -> String {
    let from = column.saturating_sub(CONTEXT);
    let around: Vec<char> = text.chars().skip(from).take(2 * CONTEXT).collect();
    let at = column - from;
    let word = around
        .iter()
        .skip(at)
        .take_while(|c| c.is_alphanumeric() || **c == '_' || invisible(**c).is_some())
        .count()
        .max(1);
    let visible = |range: &[char]| visible(&range.iter().collect::<String>());
    let (before, under) = (around.len().min(at), around.len().min(at + word));
    let start = visible(&around[..before]).len();
    let caret = start..start + visible(&around[before..under]).len();
    let shown = visible(&around);
    let snippet = Snippet::source(shown.as_str())
        .line_start(line)
        .path(file)
        .annotation(AnnotationKind::Primary.span(caret));
    Renderer::plain()
        .render(&[Level::ERROR.no_name().secondary_title("").element(snippet)])
        .trim_start_matches('\n')
        .to_owned()
}

/// The name of a character that cannot be seen, or looks like a space and is none to PostgreSQL.
///
/// Source: the Unicode Character Database, general categories Zs and Cf, without those that join visible text in some scripts (U+200C, U+200D are both).
pub fn invisible(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{a0}' | '\u{202f}' => "a no-break space",
        '\u{ad}' => "a soft hyphen",
        '\u{200b}' => "a zero-width space",
        '\u{200c}' | '\u{200d}' | '\u{2060}' => "a zero-width joiner",
        '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "a mark of the direction of writing"
        }
        '\u{feff}' => "a byte order mark",
        '\u{2028}' | '\u{2029}' => "a Unicode line separator",
        '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' | '\u{3000}' => "a Unicode space",
        _ => return None,
    })
}

/// A text of one line with what cannot be seen by its number: `<U+00A0>`.
pub fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        c if invisible(c).is_some() => format!("<U+{:04X}>", u32::from(c)),
        c if c.is_control() => ' '.to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// What is shown of a text that somebody else has written and that may be of any length, such as the `logs` of a row.
pub fn shortened(text: &str) -> Cow<'_, str> {
    const LINES: usize = 40;
    const BYTES: usize = 4_000;
    let lines = text.split_inclusive('\n').take(LINES).map(str::len).sum::<usize>();
    let shown = text.floor_char_boundary(lines.min(BYTES));
    if shown == text.len() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!(
        "{}\n… {} bytes more, which --report FILE has whole",
        text[..shown].trim_end(),
        text.len() - shown
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(script: &str, needle: &str) -> Place {
        let byte = script.find(needle).expect("the needle is in the script");
        place("1_a", script, script[..byte].chars().count())
    }

    #[test]
    fn a_place_is_its_line_and_column_in_characters() {
        let found = at("CREATE TABLE é (\r\n  näme tixt\r\n);", "tixt");
        assert_eq!((found.line, found.column), (2, 8));
        assert_eq!(
            found.excerpt,
            " --> 1_a/migration.sql:2:8\n  |\n2 |   näme tixt\n  |        ^^^^"
        );
    }

    #[test]
    fn the_end_of_a_script_is_the_end_of_its_last_line() {
        let script = "SELECT (1\n\n";
        let found = place("1_a", script, script.chars().count());
        assert_eq!((found.line, found.column), (1, 10));
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let script = format!("SELECT {} oops, {}", "1, ".repeat(1000), "1, ".repeat(1000));
        let found = at(&script, "oops");
        assert_eq!(found.column, 3009);
        assert!(
            found.excerpt.contains("oops") && found.excerpt.len() < 800,
            "{}",
            found.excerpt
        );
    }

    #[test]
    fn what_cannot_be_seen_is_shown_by_its_number() {
        let found = at("SELECT\u{a0}1,\u{200b} x", "SELECT");
        assert_eq!(
            found.excerpt,
            " --> 1_a/migration.sql:1:1\n  |\n1 | SELECT<U+00A0>1,<U+200B> x\n  | ^^^^^^^^^^^^^^^"
        );
        let found = at("SELECT\u{a0}é, x", "x");
        assert!(
            found
                .excerpt
                .ends_with("1 | SELECT<U+00A0>é, x\n  |                  ^"),
            "{}",
            found.excerpt
        );
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(shortened("ERROR: a\nb\n"), "ERROR: a\nb\n");
        let long = "é".repeat(1_500_000);
        let shown = shortened(&long);
        assert!(
            shown.len() < 4_200 && shown.ends_with("2996000 bytes more, which --report FILE has whole"),
            "{shown}"
        );
        let lines = "a\n".repeat(100);
        assert!(shortened(&lines).starts_with(&"a\n".repeat(39)) && shortened(&lines).contains("120 bytes more"));
    }

    #[test]
    fn a_password_in_the_line_is_not_shown() {
        let found = at("ALTER ROLE app WITH PASSWORD 'hunter2' OOPS", "OOPS");
        assert!(found.excerpt.contains("PASSWORD ********* OOPS"), "{}", found.excerpt);
        let found = at("ALTER ROLE app PASSWORD\n\n  'hunter2' OOPS", "OOPS");
        assert!(found.excerpt.contains("  ********* OOPS"), "{}", found.excerpt);
    }
}
