//! What the deserializer found wrong, in words that name the key, its place and what is accepted.

use crate::error::ConfigError;
use crate::layer::Layer;
use crate::secret;
use figment::error::{Actual, Kind};

/// The most edits between what was typed and what is proposed instead.
const NEAR: usize = 2;

/// The error of a merged configuration. `layers` are its sources, the strongest last.
pub(crate) fn explain(error: &figment::Error, layers: &[Layer]) -> ConfigError {
    let path = full_path(error);
    let place = layers.iter().rev().find_map(|layer| layer.place(&path));
    ConfigError::Key {
        place: place.unwrap_or_else(|| "configuration".into()),
        words: words(&error.kind, &path),
    }
}

/// The path of the key that is wrong, itself included: figment leaves it out where it is missing or a list's element has it.
fn full_path(error: &figment::Error) -> Vec<String> {
    let mut path = error.path.clone();
    if let Kind::UnknownField(key, _) = &error.kind
        && path.last() != Some(key)
    {
        path.push(key.clone());
    }
    path
}

fn words(kind: &Kind, path: &[String]) -> String {
    let key = path.join(".");
    match kind {
        Kind::UnknownField(name, accepted) => {
            let near = nearest(name, accepted)
                .map(|near| format!(" (did you mean `{near}`?)"))
                .unwrap_or_default();
            let table = path.split_last().map_or(&[][..], |(_, table)| table);
            let table = match table {
                [] => String::new(),
                table => format!(" in [{}]", table.join(".")),
            };
            let accepted = accepted.join(", ");
            format!("unknown key `{name}`{table}{near}; accepted: {accepted}")
        }
        Kind::UnknownVariant(value, accepted) => {
            format!("`{key}` = `{value}` is not one of: {}", accepted.join(", "))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!(
                "`{key}` is {}, expected {}",
                shown(found, path),
                wanted(expected)
            )
        }
        Kind::MissingField(name) if key.is_empty() => format!("`{name}` is missing"),
        Kind::MissingField(name) => format!("`{name}` is missing in `{key}`"),
        other => format!("`{key}`: {other}"),
    }
}

/// What was found; a text that may hold a password is not repeated.
fn shown(found: &Actual, path: &[String]) -> String {
    match found {
        Actual::Str(_) if secret::may_be_in(path) => "a text".into(),
        Actual::Str(text) => format!("`{text}`"),
        Actual::Unsigned(number) => format!("the number {number}"),
        Actual::Signed(number) => format!("the number {number}"),
        Actual::Float(number) => format!("the number {number}"),
        Actual::Map => "a table".into(),
        Actual::Seq => "a list".into(),
        other => other.to_string(),
    }
}

/// The deserializer's Rust words, in TOML's.
fn wanted(expected: &str) -> &str {
    match expected {
        "a string" => "a text in quotes",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "usize" | "u64" | "u32" | "u16" => "a whole number, not negative",
        rust if rust.starts_with("struct ") => "a table",
        other => other,
    }
}

/// The accepted key that is most like what was typed, if any is.
fn nearest<'a>(typed: &str, accepted: &[&'a str]) -> Option<&'a str> {
    let near = accepted
        .iter()
        .map(|key| (distance(typed, key), *key))
        .min()?;
    (near.0 <= NEAR).then_some(near.1)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_near() {
        let accepted = ["topic", "id", "key", "time"];
        assert_eq!(nearest("topik", &accepted), Some("topic"));
        assert_eq!(nearest("tmie", &accepted), Some("time"));
        assert_eq!(nearest("partitions", &accepted), None);
    }
}
