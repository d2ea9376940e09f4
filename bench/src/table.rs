//! A table of figures, as Markdown. Knows nothing of what was measured.

use crate::oracle::Faults;
use crate::spread::Spread;
use std::fmt::Write;

pub fn cell(spread: Option<Spread>) -> String {
    spread.map_or("–".into(), |spread| spread.to_string())
}

/// A table that ends with what was not as promised, all runs together.
pub fn checked(
    heading: &str,
    columns: &[&str],
    rows: impl Iterator<Item = (Vec<String>, Faults)>,
) -> String {
    let columns = [columns, &["missing", "duplicated", "wrong"]].concat();
    let rows = rows.map(|(mut cells, faults)| {
        let Faults {
            missing,
            duplicated,
            wrong,
        } = faults;
        cells.extend([missing, duplicated, wrong].map(|rows| rows.to_string()));
        cells
    });
    table(heading, &columns, rows)
}

pub fn table(heading: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("\n**{heading}**\n\n");
    let mut line = |cells: &[String]| {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    let head: Vec<String> = columns.iter().map(|name| (*name).into()).collect();
    line(&head);
    line(&vec!["---".into(); head.len()]);
    rows.for_each(|cells| line(&cells));
    text
}

/// What went wrong, below the tables; nothing if nothing did.
pub fn failures(failures: impl Iterator<Item = String>) -> String {
    let lines: String = failures.map(|words| format!("- {words}\n")).collect();
    if lines.is_empty() {
        return lines;
    }
    format!("\nRuns that did not come to their end:\n\n{lines}")
}
