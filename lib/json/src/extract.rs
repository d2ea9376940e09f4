//! What makes a document an event: its id, its key, its time. Does not know which side of a join it is.

use crate::text::folded;
use crate::{
    ExtractError, Fault, FieldError, Finder, Folding, Found, PointerError, composite, text, time,
};
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// Where an event keeps what is wanted of it. All texts are JSON pointers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fields {
    /// Parts of its id; none when it has none of its own.
    pub id: Vec<String>,
    /// Parts of its key; at least one.
    pub key: Vec<String>,
    /// Its time, if it has one. Where this is given it must be there and readable.
    pub time: Option<String>,
    /// Whatever else is wanted, as raw JSON.
    pub extra: Vec<String>,
    /// How keys are made alike; ids are taken as they are.
    pub folding: Folding,
    /// The longest id that is accepted, bytes.
    pub max_id_bytes: usize,
}

/// Gets [`Fields`] out of documents.
#[derive(Debug)]
pub struct Extractor {
    finder: Finder,
    fields: Fields,
}

/// What was found in one document, borrowed from it where possible; see [`share`].
#[derive(Debug)]
pub struct Extracted<'e, 'j> {
    /// Its id, if ids were asked for.
    pub id: Option<Cow<'j, str>>,
    /// Its key.
    pub key: Cow<'j, str>,
    /// Its time, ms since 1970, if times were asked for.
    pub time_ms: Option<i64>,
    found: Found<'e, 'j>,
    extra_from: usize,
}

impl<'j> Extracted<'_, 'j> {
    /// The raw JSON at the extra pointer with this number.
    pub fn extra(&self, number: usize) -> Option<&'j str> {
        self.found.get(self.extra_from + number)
    }
}

impl Extractor {
    /// Compiles the pointers.
    ///
    /// # Errors
    /// A text that is no JSON pointer, too many of them, or none for the key.
    pub fn new(fields: Fields) -> Result<Self, PointerError> {
        if fields.key.is_empty() {
            return Err(PointerError::NoKey);
        }
        let all: Vec<&String> = fields
            .id
            .iter()
            .chain(&fields.key)
            .chain(&fields.time)
            .chain(&fields.extra)
            .collect();
        Ok(Self {
            finder: Finder::new(&all)?,
            fields,
        })
    }

    /// Reads one event; the whole document is checked.
    ///
    /// # Errors
    /// Not JSON, or a field that is not what it must be.
    pub fn extract<'j>(&self, json: &'j [u8]) -> Result<Extracted<'_, 'j>, ExtractError> {
        let found = self.finder.find(json)?;
        let ids = self.fields.id.len();
        let keys = ids..ids + self.fields.key.len();
        let time_at = keys.end;
        Ok(Extracted {
            id: self.id(&found)?,
            key: self.key(&found, keys)?,
            time_ms: match &self.fields.time {
                Some(pointer) => Some(time::of(pointer, found.get(time_at))?),
                None => None,
            },
            extra_from: time_at + usize::from(self.fields.time.is_some()),
            found,
        })
    }

    fn id<'j>(&self, found: &Found<'_, 'j>) -> Result<Option<Cow<'j, str>>, ExtractError> {
        let pointers = &self.fields.id;
        let max = self.fields.max_id_bytes;
        if let [pointer] = &pointers[..] {
            let id = text(pointer, found.get(0))?;
            if id.len() > max {
                let bytes = id.len();
                return Err(FieldError::new(pointer, Fault::TooLong { bytes, max }).into());
            }
            return Ok(Some(id));
        }
        if pointers.is_empty() {
            return Ok(None);
        }
        let parts = pointers.iter().enumerate();
        let parts = parts.map(|(i, pointer)| text(pointer, found.get(i)));
        let id = composite(parts.collect::<Result<_, _>>()?);
        if id.len() > max {
            let bytes = id.len();
            return Err(ExtractError::IdTooLong { bytes, max });
        }
        Ok(Some(id))
    }

    fn key<'j>(
        &self,
        found: &Found<'_, 'j>,
        slots: Range<usize>,
    ) -> Result<Cow<'j, str>, FieldError> {
        let folding = self.fields.folding;
        if let [pointer] = &self.fields.key[..] {
            return folded(pointer, found.get(slots.start), folding);
        }
        let parts = self.fields.key.iter().zip(slots);
        let parts = parts.map(|(pointer, slot)| folded(pointer, found.get(slot), folding));
        Ok(composite(parts.collect::<Result<_, _>>()?))
    }
}

/// A text found in `record` as bytes of their own life: a slice of the record where it was borrowed from it.
///
/// # Panics
/// When a borrowed text does not lie within `record`.
pub fn share(record: &Bytes, text: Cow<'_, str>) -> Bytes {
    match text {
        Cow::Borrowed(text) => record.slice_ref(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}
