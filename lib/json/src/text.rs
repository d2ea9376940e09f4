//! Raw JSON values as texts, in one canonical way for ids and keys. Knows no document.

use crate::{Fault, FieldError};
use std::borrow::Cow;

/// How the parts of a key are made alike before they are compared. Never for ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Folding {
    /// White space at both ends goes.
    pub trim: bool,
    /// Every letter becomes its Unicode lower case.
    pub fold_case: bool,
}

/// The text of a value: the decoded string, or the number's own text, so that `1` and `"1"` meet, while `1` and
/// `1.0` do not.
///
/// # Errors
/// Missing, null, a boolean, an object, an array, or an empty string.
pub fn text<'j>(pointer: &str, raw: Option<&'j str>) -> Result<Cow<'j, str>, FieldError> {
    text_of(raw)
        .and_then(not_empty)
        .map_err(|fault| FieldError::new(pointer, fault))
}

/// One text as it is; of several, their JSON array: `["a","b"]`.
pub fn composite<'j>(mut parts: Vec<Cow<'j, str>>) -> Cow<'j, str> {
    match parts.len() {
        1 => parts.remove(0),
        _ => serde_json::to_string(&parts)
            .expect("strings are always JSON")
            .into(),
    }
}

pub(crate) fn not_empty(text: Cow<'_, str>) -> Result<Cow<'_, str>, Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    Ok(text)
}

pub(crate) fn text_of(raw: Option<&str>) -> Result<Cow<'_, str>, Fault> {
    let raw = raw.ok_or(Fault::Missing)?;
    match raw.as_bytes().first() {
        Some(b'"') => string(raw),
        Some(b'-' | b'0'..=b'9') => Ok(raw.into()),
        Some(b't' | b'f') => Err(Fault::WrongType("a boolean")),
        Some(b'n') => Err(Fault::WrongType("null")),
        Some(b'{') => Err(Fault::WrongType("an object")),
        Some(b'[') => Err(Fault::WrongType("an array")),
        _ => Err(Fault::Missing),
    }
}

/// Decodes a raw JSON string; without escapes it is borrowed.
fn string(raw: &str) -> Result<Cow<'_, str>, Fault> {
    if raw.contains('\\') {
        return serde_json::from_str::<String>(raw)
            .map(Cow::Owned)
            .map_err(|_| Fault::BadEscape);
    }
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    inner.map(Cow::Borrowed).ok_or(Fault::BadEscape)
}

impl Folding {
    /// Makes a text alike to others of its kind; borrows where nothing changes inside it.
    pub fn apply(self, text: Cow<'_, str>) -> Cow<'_, str> {
        let text = match text {
            text if !self.trim => text,
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        };
        if !self.fold_case
            || text
                .bytes()
                .all(|b| b.is_ascii() && !b.is_ascii_uppercase())
        {
            return text;
        }
        Cow::Owned(text.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(raw: Option<&str>) -> String {
        match text("/a", raw) {
            Ok(text) => text.into_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_canon_is_kept() {
        assert_eq!(words(Some("\"1\"")), "1");
        assert_eq!(words(Some("1")), "1");
        assert_eq!(words(Some("-1.50e3")), "-1.50e3");
        assert_eq!(words(Some(r#""a\u00e9\n""#)), "aé\n");
        assert_eq!(words(None), "`/a` is missing");
        assert_eq!(words(Some("\"\"")), "`/a` is empty");
        assert_eq!(
            words(Some("true")),
            "`/a` is a boolean, not a string or number"
        );
        assert_eq!(words(Some("null")), "`/a` is null, not a string or number");
        assert_eq!(
            words(Some("{}")),
            "`/a` is an object, not a string or number"
        );
        assert_eq!(
            words(Some("[1]")),
            "`/a` is an array, not a string or number"
        );
        let bad = words(Some(r#""\ud800""#));
        assert_eq!(bad, "`/a` has an escape that stands for no character");
    }

    #[test]
    fn texts_are_borrowed_where_they_can_be() {
        assert!(matches!(
            text("", Some("\"abc\"")),
            Ok(Cow::Borrowed("abc"))
        ));
        let both = Folding {
            trim: true,
            fold_case: true,
        };
        assert!(matches!(both.apply(" ab ".into()), Cow::Borrowed("ab")));
        assert_eq!(both.apply(" ÀB ".into()), "àb");
        assert_eq!(Folding::default().apply(" A ".into()), " A ");
    }

    #[test]
    fn several_parts_become_an_array() {
        assert_eq!(composite(vec!["a".into()]), "a");
        assert_eq!(composite(vec!["a".into(), "b\"".into()]), r#"["a","b\""]"#);
    }
}
