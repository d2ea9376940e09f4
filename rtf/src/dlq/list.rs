//! `rtf dlq list` and `rtf dlq show`.

use super::Letters;
use super::letter::Letter;
use crate::table::{Align, Table};
use crate::{human, out};
use rtf_proto::header;
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::ExitCode;

/// So many characters of a text are shown in a table.
const SHOWN: usize = 40;

/// Prints a line for each, and how many there are.
///
/// # Errors
/// Standard output cannot be written.
pub fn list(found: &Letters, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        let letters: Vec<Value> = found.letters.iter().map(Letter::as_json).collect();
        let all = json!({ "topic": found.topic, "count": found.count, "letters": letters });
        out::line(all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    if !found.letters.is_empty() {
        text = table(&found.letters).to_string();
    }
    let shown = found.letters.len() as u64;
    let newest = if shown < found.count {
        format!(", the newest {} shown", human::count(shown))
    } else {
        String::new()
    };
    let count = human::count(found.count);
    writeln!(text, "{count} letters in {}{newest}", found.topic)?;
    out::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn table(letters: &[Letter]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("LETTER", Left),
        ("WRITTEN", Left),
        ("OUTCOME", Left),
        ("REASON", Left),
        ("ATTEMPTS", Right),
        ("SOURCE", Left),
        ("ID", Left),
        ("KEY", Left),
    ]);
    for letter in letters {
        let says = |name| cut(letter.says(name).unwrap_or("-"));
        table.row(vec![
            format!("{}/{}", letter.partition, letter.offset),
            human::time(letter.written_ms),
            says(header::OUTCOME),
            says(header::REASON),
            says(header::ATTEMPTS),
            says(header::SOURCE),
            says(header::ID),
            says(header::KEY),
        ]);
    }
    table
}

/// On one line, and not too long.
fn cut(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(SHOWN).collect();
    if text.escape_debug().count() > SHOWN {
        shown.push('…');
    }
    shown
}

/// Prints all of one letter, or of several of the same event. Exit code 1 when there is none.
///
/// # Errors
/// There is no such letter.
pub fn show(found: &Letters, which: &str, json: bool) -> anyhow::Result<ExitCode> {
    if found.letters.is_empty() {
        anyhow::bail!("no letter `{which}` in topic `{}`", found.topic);
    }
    if json {
        let letters: Vec<Value> = found.letters.iter().map(Letter::as_json).collect();
        out::line(json!({ "topic": found.topic, "letters": letters }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for letter in &found.letters {
        let (partition, offset) = (letter.partition, letter.offset);
        writeln!(text, "letter      {partition}/{offset} of {}", found.topic)?;
        writeln!(text, "written     {}", human::time(letter.written_ms))?;
        let bytes = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "(null)".into(),
        };
        let original = &letter.original;
        writeln!(text, "record key  {}", bytes(original.key.as_deref()))?;
        for (name, value) in &original.headers {
            writeln!(text, "{name:<12}{}", bytes(value.as_deref()))?;
        }
        writeln!(text, "{}\n", bytes(original.value.as_deref()))?;
    }
    out::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
