//! Aligned columns.

use crate::paint;
use console::{Alignment, measure_text_width, pad_str};
use std::fmt;

/// Rows under a headline; numbers stand right, texts left.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// Where a column's cells stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// With these columns.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// One more row, a cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| measure_text_width(&row[column]));
        cells.max().unwrap_or(0).max(self.columns[column].0.len())
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>) -> String {
        let padded = cells.enumerate().map(|(column, cell)| {
            let alignment = match self.columns[column].1 {
                Align::Left => Alignment::Left,
                Align::Right => Alignment::Right,
            };
            // Colours take no room.
            pad_str(cell, self.width(column), alignment, None).into_owned()
        });
        let line: Vec<String> = padded.collect();
        format!("  {}", line.join("  ").trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.columns.iter().map(|(name, _)| *name);
        writeln!(f, "{}", paint::headline(&self.line(names)))?;
        for row in &self.rows {
            writeln!(f, "{}", self.line(row.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[
            ("N", Align::Right),
            ("NAME", Align::Left),
            ("IDS", Align::Right),
        ]);
        table.row(vec!["0".into(), "a".into(), "1,000".into()]);
        table.row(vec!["10".into(), "longer".into(), "2".into()]);
        assert_eq!(
            table.to_string(),
            "   N  NAME      IDS\n   0  a       1,000\n  10  longer      2\n"
        );
    }
}
