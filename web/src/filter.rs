//! Which rows a reader asked for: text that occurs in them, or their key. Pure.

use crate::Row;
use std::borrow::Cow;

/// What rows must have; nothing matches everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// In lower case.
    text: Option<String>,
    key: Option<String>,
}

impl Filter {
    /// `text` occurs in the row, whatever its case; `key` is the row's key.
    pub(crate) fn new(text: Option<&str>, key: Option<&str>) -> Self {
        Self {
            text: text.map(str::to_lowercase),
            key: key.map(str::to_owned),
        }
    }

    /// Whether every row matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_none() && self.key.is_none()
    }

    pub(crate) fn matches(&self, row: &Row) -> bool {
        if self.key.as_ref().is_some_and(|key| *key != row.key) {
            return false;
        }
        let Some(text) = &self.text else { return true };
        let json = String::from_utf8_lossy(&row.json);
        unescaped(&json).to_lowercase().contains(text)
    }
}

/// JSON text with its escapes resolved, so that `caf\u00e9` is found as "café". Not JSON any more.
fn unescaped(json: &str) -> Cow<'_, str> {
    if !json.contains('\\') {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = unescape(&rest[at + 1..], &mut text);
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Resolves the escape whose backslash was just passed, and returns what follows it.
fn unescape<'a>(rest: &'a str, text: &mut String) -> &'a str {
    let Some(kind) = rest.chars().next() else {
        return rest;
    };
    let after = &rest[kind.len_utf8()..];
    match kind {
        'u' => return unescape_unicode(after, text),
        'n' | 'r' | 't' | 'b' | 'f' => text.push(' '),
        other => text.push(other),
    }
    after
}

/// Four hexadecimal digits, or twice that for what lies beyond the basic plane.
fn unescape_unicode<'a>(rest: &'a str, text: &mut String) -> &'a str {
    let Some((first, after)) = unit(rest) else {
        return rest;
    };
    let second = after.strip_prefix("\\u").and_then(unit);
    if let Some((second, after)) = second
        && let Some(Ok(c)) = char::decode_utf16([first, second]).next()
        && c.len_utf16() == 2
    {
        text.push(c);
        return after;
    }
    text.push(char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER));
    after
}

fn unit(rest: &str) -> Option<(u16, &str)> {
    let (digits, after) = rest.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(key: &str, json: &str) -> Row {
        Row {
            partition: 0,
            offset: 0,
            joined_ts: 0,
            key: key.into(),
            json: json.to_owned().into(),
        }
    }

    #[test]
    fn text_is_found_in_any_case_and_spelling() {
        let row = row("k", r#"{"text":"Caf\u00e9 \ud83c\udf34 \"Aloha\" Łódź"}"#);
        for q in ["café", "CAFÉ", "🌴", "\"aloha\"", "łódź", "text"] {
            assert!(Filter::new(Some(q), None).matches(&row), "{q}");
        }
        assert!(!Filter::new(Some("u00e9"), None).matches(&row));
    }

    #[test]
    fn the_key_must_be_the_whole_key() {
        let row = row("Austin, TX", r#"{"a":"beach"}"#);
        assert!(Filter::new(None, Some("Austin, TX")).matches(&row));
        assert!(!Filter::new(None, Some("austin, tx")).matches(&row));
        assert!(!Filter::new(Some("beach"), Some("Austin")).matches(&row));
        assert!(Filter::new(None, None).matches(&row));
    }

    #[test]
    fn broken_escapes_do_no_harm() {
        for json in [
            "\\",
            "\\u",
            "\\u12",
            "\\ud83c",
            "\\ud83c\\u0041",
            "\\ué345",
            "x\\é",
        ] {
            unescaped(json);
        }
    }

    proptest! {
        #[test]
        fn every_string_is_found_as_it_was(text in "\\PC{1,20}", pad in "\\PC{0,9}") {
            let mut escaped = String::new();
            for unit in format!("{pad}{text}").encode_utf16() {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
            prop_assert!(Filter::new(Some(&text), None).matches(&row("k", &escaped)));
        }
    }
}
