//! A place in a script, shown as its line with a caret.

use crate::failure::Place;
use crate::printable::printable_name;
use crate::sql::password;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

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
    let shown: String = text
        .chars()
        .skip(from)
        .take(2 * CONTEXT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let byte = |at: usize| shown.char_indices().nth(at).map_or(shown.len(), |(byte, _)| byte);
    let word = shown
        .chars()
        .skip(column - from)
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .count()
        .max(1);
    let caret = byte(column - from)..byte(column - from + word);
    let snippet = Snippet::source(shown.as_str())
        .line_start(line)
        .path(file)
        .annotation(AnnotationKind::Primary.span(caret));
    Renderer::plain()
        .render(&[Level::ERROR.no_name().secondary_title("").element(snippet)])
        .trim_start_matches('\n')
        .to_owned()
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
    fn a_password_in_the_line_is_not_shown() {
        let found = at("ALTER ROLE app WITH PASSWORD 'hunter2' OOPS", "OOPS");
        assert!(found.excerpt.contains("PASSWORD ********* OOPS"), "{}", found.excerpt);
        let found = at("ALTER ROLE app PASSWORD\n\n  'hunter2' OOPS", "OOPS");
        assert!(found.excerpt.contains("  ********* OOPS"), "{}", found.excerpt);
    }
}
