//! Rows as a table for people, as psql draws it. Characters that could steer the terminal are made visible, line breaks too.

use super::format::{Column, ColumnKind};
use crate::printable::printable_name;
use unicode_width::UnicodeWidthStr;

/// So many rows are held to see how wide the columns are; what comes after them is written as it comes.
const ROWS_HELD: usize = 1000;
/// So many bytes are held at most.
const BYTES_HELD: usize = 1 << 20;

/// A table that is being written.
pub struct Table {
    columns: Vec<Column>,
    /// Rows that wait for the widths.
    held: Vec<Vec<String>>,
    held_bytes: usize,
    /// Set once the heading is written.
    widths: Option<Vec<usize>>,
    rows: u64,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: Vec<Column>) -> Table {
        Table {
            columns,
            held: Vec::new(),
            held_bytes: 0,
            widths: None,
            rows: 0,
        }
    }

    /// Adds a row.
    pub fn row(&mut self, values: &[Option<&str>], out: &mut String) {
        self.rows += 1;
        let cells: Vec<String> = values.iter().map(|value| cell(*value)).collect();
        if let Some(widths) = &self.widths {
            line(&cells, &self.columns, widths, out);
            return;
        }
        self.held_bytes += cells.iter().map(String::len).sum::<usize>();
        self.held.push(cells);
        if self.held.len() >= ROWS_HELD || self.held_bytes >= BYTES_HELD {
            self.write_held(out);
        }
    }

    /// Writes what is held, and how many rows there were.
    pub fn end(mut self, out: &mut String) {
        if self.widths.is_none() {
            self.write_held(out);
        }
        out.push_str(&match self.rows {
            1 => "(1 row)\n".to_owned(),
            rows => format!("({rows} rows)\n"),
        });
    }

    fn write_held(&mut self, out: &mut String) {
        let names: Vec<String> = self.columns.iter().map(|column| printable_name(&column.name)).collect();
        let widths: Vec<usize> = (0..names.len())
            .map(|at| {
                let cells = self.held.iter().filter_map(|row| row.get(at)).chain([&names[at]]);
                cells.map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        line(&names, &[], &widths, out);
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        out.push_str(&rules.join("+"));
        out.push('\n');
        for row in std::mem::take(&mut self.held) {
            line(&row, &self.columns, &widths, out);
        }
        self.widths = Some(widths);
    }
}

fn line(cells: &[String], columns: &[Column], widths: &[usize], out: &mut String) {
    let begin = out.len();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if at > 0 {
            out.push('|');
        }
        let blanks = " ".repeat(width.saturating_sub(cell.width()));
        let right = columns.get(at).is_some_and(|column| column.kind == ColumnKind::Number);
        let (before, after) = if right {
            (blanks.as_str(), "")
        } else {
            ("", blanks.as_str())
        };
        out.extend([" ", before, cell, after, " "]);
    }
    out.truncate(begin + out[begin..].trim_end_matches(' ').len());
    out.push('\n');
}

/// NULL is the bare word; a text that reads the same stands in quotation marks, and one that has them in more.
fn cell(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(value) if value.trim_matches('"') == "NULL" => format!("\"{value}\""),
        Some(value) => printable_name(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        [("id", ColumnKind::Number), ("näme", ColumnKind::Text)]
            .map(|(name, kind)| Column {
                name: name.into(),
                kind,
            })
            .to_vec()
    }

    fn drawn(rows: &[[Option<&str>; 2]]) -> String {
        let (mut table, mut out) = (Table::new(columns()), String::new());
        rows.iter().for_each(|row| table.row(row, &mut out));
        table.end(&mut out);
        out
    }

    #[test]
    fn a_table_is_drawn_as_psql_does() {
        let rows = [
            [Some("1"), Some("Zoë 東京")],
            [Some("100"), None],
            [None, Some("NULL")],
            [Some("2"), Some("\"NULL\"")],
            [Some("3"), Some("two\nlines\u{1b}[2J")],
            [Some("4"), Some("")],
        ];
        assert_eq!(
            drawn(&rows),
            concat!(
                " id   | näme\n",
                "------+---------------------\n",
                "    1 | Zoë 東京\n",
                "  100 | NULL\n",
                " NULL | \"NULL\"\n",
                "    2 | \"\"NULL\"\"\n",
                "    3 | two\\nlines\\u{1b}[2J\n",
                "    4 |\n",
                "(6 rows)\n"
            )
        );
        assert_eq!(drawn(&[]), " id | näme\n----+------\n(0 rows)\n");
    }

    #[test]
    fn rows_are_written_as_they_come_once_the_widths_are_known() {
        let (mut table, mut out) = (Table::new(columns()), String::new());
        for _ in 0..ROWS_HELD - 1 {
            table.row(&[Some("1"), Some("a")], &mut out);
        }
        assert_eq!(out, "");
        table.row(&[Some("1"), Some("a")], &mut out);
        assert_eq!(out.lines().count(), ROWS_HELD + 2);
        out.clear();
        table.row(&[Some("100000"), Some("longer than all before")], &mut out);
        assert_eq!(out, " 100000 | longer than all before\n");
    }
}
