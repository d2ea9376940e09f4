//! `rtf dlq list` and `rtf dlq show`.

use super::Letters;
use super::letter::Letter;
use crate::human;
use crate::table::{Align, Table};
use rtf_proto::header;
use serde_json::{Value, json};
use std::process::ExitCode;

/// So many characters of a text are shown in a table.
const SHOWN: usize = 40;

/// Prints a line for each, and how many there are.
pub fn list(found: &Letters, json: bool) -> ExitCode {
    if json {
        let letters: Vec<Value> = found.letters.iter().map(Letter::as_json).collect();
        let all = json!({ "topic": found.topic, "count": found.count, "letters": letters });
        println!("{all}");
        return ExitCode::SUCCESS;
    }
    if !found.letters.is_empty() {
        print!("{}", table(&found.letters));
    }
    let shown = found.letters.len() as u64;
    let newest = if shown < found.count {
        format!(", the newest {} shown", human::count(shown))
    } else {
        String::new()
    };
    println!(
        "{} letters in {}{newest}",
        human::count(found.count),
        found.topic
    );
    ExitCode::SUCCESS
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
        println!("{}", json!({ "topic": found.topic, "letters": letters }));
        return Ok(ExitCode::SUCCESS);
    }
    for letter in &found.letters {
        println!(
            "letter      {}/{} of {}",
            letter.partition, letter.offset, found.topic
        );
        println!("written     {}", human::time(letter.written_ms));
        let bytes = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "(null)".into(),
        };
        println!("record key  {}", bytes(letter.original.key.as_deref()));
        for (name, value) in &letter.original.headers {
            println!("{name:<12}{}", bytes(value.as_deref()));
        }
        println!("{}\n", bytes(letter.original.value.as_deref()));
    }
    Ok(ExitCode::SUCCESS)
}
