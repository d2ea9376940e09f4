//! Rows in aligned columns, each row a line. Knows no terminal but its width.

use crate::{human, paint};
use console::{Alignment, measure_text_width, pad_str, truncate_str};
use rtf_config::Column;
use serde_json::Value;

/// Columns are not made narrower, but for a terminal that is.
const LEAST: usize = 8;
/// Nor wider while there is not much to show.
const MOST: usize = 40;
const GAP: &str = "  ";

struct Shown {
    title: String,
    value: String,
    is_time: bool,
    alignment: Alignment,
    width: usize,
}

/// Columns whose widths are set by the first rows; later ones are cut to them.
pub struct Columns {
    columns: Vec<Shown>,
    room: usize,
    is_laid_out: bool,
}

impl Columns {
    /// As configured, else what every row has, in so many characters.
    pub fn new(configured: &[Column], room: usize) -> Self {
        let standard = [
            ("Time", "/foreign_ts", true),
            ("Key", "/key", false),
            ("Id", "/id", false),
            ("Foreign", "/foreign", false),
            ("Primary", "/primary", false),
        ];
        let standard = standard.map(|(title, value, is_time)| Shown {
            title: title.into(),
            value: value.into(),
            is_time,
            alignment: Alignment::Left,
            width: 0,
        });
        let own = configured.iter().map(|column| Shown {
            title: column.title.clone(),
            value: column.value.clone(),
            is_time: column.format.as_deref() == Some("time"),
            alignment: match (column.align.as_deref(), column.format.as_deref()) {
                (Some("end"), _) | (None, Some("money")) => Alignment::Right,
                _ => Alignment::Left,
            },
            width: 0,
        });
        let columns = if configured.is_empty() {
            standard.into_iter().collect()
        } else {
            own.collect()
        };
        Self {
            columns,
            room,
            is_laid_out: false,
        }
    }

    /// Some rows as lines, with a headline before the first.
    pub fn lines(&mut self, rows: &[Value]) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let cells: Vec<Vec<String>> = rows.iter().map(|row| self.cells(row)).collect();
        let mut text = String::new();
        if !self.is_laid_out {
            self.lay_out(&cells);
            self.is_laid_out = true;
            let titles: Vec<String> = self
                .columns
                .iter()
                .map(|c| c.title.to_uppercase())
                .collect();
            text += &format!("{}\n", paint::headline(&self.line(&titles)));
        }
        for row in &cells {
            text += &format!("{}\n", self.line(row));
        }
        text
    }

    fn cells(&self, row: &Value) -> Vec<String> {
        let columns = self.columns.iter();
        columns
            .map(|column| cell(row.pointer(&column.value), column.is_time))
            .collect()
    }

    fn lay_out(&mut self, rows: &[Vec<String>]) {
        for (at, column) in self.columns.iter_mut().enumerate() {
            let widths = rows.iter().map(|row| measure_text_width(&row[at]));
            let title = measure_text_width(&column.title);
            column.width = widths.max().unwrap_or(0).clamp(LEAST, MOST).max(title);
        }
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        loop {
            let all: usize = self.columns.iter().map(|column| column.width).sum();
            if all + gaps <= self.room {
                return;
            }
            // Half a time is none.
            let texts = self.columns.iter_mut().filter(|column| !column.is_time);
            let widest = texts.max_by_key(|column| column.width);
            match widest.filter(|column| column.width > LEAST) {
                Some(column) => column.width -= 1,
                None => return,
            }
        }
    }

    fn line(&self, cells: &[String]) -> String {
        let padded = self.columns.iter().zip(cells).map(|(column, cell)| {
            let cut = truncate_str(cell, column.width, "…");
            pad_str(&cut, column.width, column.alignment, None).into_owned()
        });
        let line: Vec<String> = padded.collect();
        line.join(GAP).trim_end().to_owned()
    }
}

/// A value as text in one line: what others sent must not move the cursor.
fn cell(value: Option<&Value>, is_time: bool) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::Number(ms)) if is_time => match ms.as_i64() {
            Some(ms) => human::time(ms),
            None => ms.to_string(),
        },
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    human::printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn column(title: &str, value: &str, format: Option<&str>) -> Column {
        Column {
            title: title.into(),
            value: value.into(),
            format: format.map(str::to_owned),
            align: None,
            width: None,
            phone: None,
            details: Vec::new(),
        }
    }

    #[test]
    fn columns_stand_below_each_other_and_fit() {
        let configured = [
            column("Time", "/foreign_ts", Some("time")),
            column("Fare", "/primary/0/fare", Some("money")),
            column("Text", "/foreign/text", None),
        ];
        let rows = [
            json!({ "foreign_ts": 1_700_000_000_123_i64, "primary": [{ "fare": 9.5 }], "foreign": { "text": "a\u{1b}[2Jb" } }),
            json!({ "foreign_ts": 1_700_000_000_123_i64, "primary": [], "foreign": { "text": "much longer than there is room for" } }),
        ];
        let mut columns = Columns::new(&configured, 50);
        let text = columns.lines(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "TIME                      FARE  TEXT");
        assert_eq!(lines[1], "2023-11-14 22:13:20Z       9.5  a·[2Jb");
        assert_eq!(
            lines[2],
            "2023-11-14 22:13:20Z            much longer than …"
        );
        assert!(lines.iter().all(|line| measure_text_width(line) <= 50));
        assert_eq!(columns.lines(&rows[..1]).lines().count(), 1);
        assert_eq!(columns.lines(&[]), "");
    }
}
