//! How the texts below a help are broken into lines: with the indent of their column.

use crate::settings;

/// How wide clap makes a help at most.
const WIDEST: usize = 100;

/// How many columns a help has, as clap counts them: those of the terminal, else COLUMNS.
pub(super) fn columns() -> usize {
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let columns = terminal.or_else(|| settings::variable("COLUMNS")?.parse().ok());
    columns.unwrap_or(WIDEST).min(WIDEST)
}

/// The text with its long lines broken. In a row of two columns, which a gap of two spaces divides, the rest stands below the second; in a command it is
/// what a shell takes for the same line.
pub(super) fn broken(text: &str, columns: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| broken_line(line, columns)).collect();
    lines.join("\n")
}

fn broken_line(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let indent = line.len() - line.trim_start().len();
    let second = line[indent..].rfind("  ").map(|gap| indent + gap + 2);
    let (start, hang, end) = match second {
        Some(second) => (second, second, ""),
        None => (indent, indent + 4, " \\"),
    };
    let (mut shown, mut width) = (line[..start].to_owned(), start);
    let mut is_first = true;
    for word in line[start..].split(' ') {
        let length = word.chars().count();
        if !is_first && width + 1 + length + end.len() > columns {
            shown.push_str(&format!("{end}\n{}", " ".repeat(hang)));
            width = hang;
        } else if !is_first {
            shown.push(' ');
            width += 1;
        }
        is_first = false;
        shown.push_str(word);
        width += length;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_with_the_indent_of_its_column() {
        for (line, shown) in [
            ("Short", "Short"),
            (
                "  A  one two three four five",
                "  A  one two\n     three four\n     five",
            ),
            (
                "  program plan --check ./p",
                "  program plan \\\n      --check \\\n      ./p",
            ),
            ("  word-that-is-longer-than-a-line", "  word-that-is-longer-than-a-line"),
        ] {
            assert_eq!(broken(line, 17), shown);
        }
    }
}
