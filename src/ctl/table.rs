//! Tables for people: aligned columns of plain text, numbers to the right.

use std::io::{self, Write};

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table that is printed when it is complete, since only then its widths are known.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Makes a table of these headings.
    pub(super) fn new(columns: [(&'static str, Align); N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Prints headings and rows.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let headings = self.columns.map(|(heading, _)| heading.to_owned());
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&headings]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        for row in [&headings].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(widths).zip(self.columns) {
                match align {
                    Align::Left => line += &format!("{cell:<width$}  "),
                    Align::Right => line += &format!("{cell:>width$}  "),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right_and_no_line_ends_in_spaces() {
        let mut table = Table::new([("ID", Align::Left), ("SEATS", Align::Right), ("KIND", Align::Left)]);
        table.row(["my-device".into(), "2".into(), "lobby".into()]);
        table.row(["x".into(), "10000".into(), "".into()]);
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        let expected = "ID         SEATS  KIND\nmy-device      2  lobby\nx          10000\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
