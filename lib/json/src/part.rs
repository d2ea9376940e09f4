//! Where in a Kafka record a text stands: in its value, at a JSON pointer; or beside it, in its message key or a header.

use crate::text::{Folding, not_empty, text_of};
use crate::{Fault, FieldError, Found, PointerError};
use bytes::Bytes;
use std::borrow::Cow;

/// The message key.
const KEY: &str = "@key";
/// A header, by its name.
const HEADER: &str = "@header.";
/// Kafka's timestamp; only for times.
pub(crate) const TIMESTAMP: &str = "@timestamp";

/// A record as fields point into it. Kafka's null is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'j> {
    /// The value: a JSON document.
    pub value: &'j [u8],
    /// The message key.
    pub key: Option<&'j [u8]>,
    /// Names and values in the record's order. May be left out where [`crate::Extractor::reads_headers`] says no.
    pub headers: &'j [(String, Option<Bytes>)],
}

impl<'j> Parts<'j> {
    /// A record of which nothing but the value is known.
    pub fn of(value: &'j [u8]) -> Self {
        Self {
            value,
            ..Self::default()
        }
    }

    /// The value of a header. Of several with this name the last one counts, as for Kafka's own `lastHeader` and for the
    /// members of a JSON object.
    fn header(&self, name: &str) -> Result<Cow<'j, str>, Fault> {
        let mut named = self.headers.iter().rev().filter(|(n, _)| n == name);
        let (_, value) = named.next().ok_or(Fault::Missing)?;
        beside(value.as_deref())
    }
}

/// Bytes beside the value are text as they are; a number in digits meets the same number in JSON.
fn beside(bytes: Option<&[u8]>) -> Result<Cow<'_, str>, Fault> {
    let text = std::str::from_utf8(bytes.ok_or(Fault::Null)?);
    text.map(Cow::Borrowed)
        .map_err(|e| Fault::NotUtf8(e.valid_up_to()))
}

/// One field of an event: what it was called, and where it stands.
#[derive(Debug)]
pub(crate) struct Field {
    text: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// In the value, at the pointer with this number.
    Value(usize),
    Key,
    Header(Box<str>),
}

impl Field {
    /// Reads `@key`, `@header.NAME` or a JSON pointer; a pointer is added to `pointers`.
    pub(crate) fn parse(text: &str, pointers: &mut Vec<String>) -> Result<Self, PointerError> {
        let place = match text.strip_prefix(HEADER) {
            Some("") => return Err(PointerError::NoField(text.into())),
            Some(name) => Place::Header(name.into()),
            None if text == KEY => Place::Key,
            None if text.starts_with('@') => return Err(PointerError::NoField(text.into())),
            None => {
                pointers.push(text.into());
                Place::Value(pointers.len() - 1)
            }
        };
        let text = text.into();
        Ok(Self { text, place })
    }

    pub(crate) fn is_header(&self) -> bool {
        matches!(self.place, Place::Header(_))
    }

    pub(crate) fn is_beside_the_value(&self) -> bool {
        !matches!(self.place, Place::Value(_))
    }

    /// Its text, folded; what is empty after that is empty. `found` may be `None` where the field is beside the value.
    pub(crate) fn text<'j>(
        &self,
        parts: &Parts<'j>,
        found: Option<&Found<'_, 'j>>,
        folding: Folding,
    ) -> Result<Cow<'j, str>, FieldError> {
        let text = match &self.place {
            Place::Value(pointer) => text_of(found.and_then(|found| found.get(*pointer))),
            Place::Key => beside(parts.key),
            Place::Header(name) => parts.header(name),
        };
        text.map(|text| folding.apply(text))
            .and_then(not_empty)
            .map_err(|fault| self.error(fault))
    }

    pub(crate) fn error(&self, fault: Fault) -> FieldError {
        FieldError::new(&self.text, fault)
    }
}
