//! What makes a record an event: its id, its key, its time. Does not know which side of a join it is.

use crate::part::{Field, TIMESTAMP};
use crate::{
    ExtractError, Fault, FieldError, Finder, Folding, Found, Parts, PointerError, composite, time,
};
use bytes::Bytes;
use std::borrow::Cow;

/// Where an event keeps what is wanted of it. Parts of ids and keys are JSON pointers into the value, `@key` for Kafka's message key, or
/// `@header.NAME`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fields {
    /// Parts of its id; none when it has none of its own.
    pub id: Vec<String>,
    /// Parts of its key; at least one.
    pub key: Vec<String>,
    /// Its time, if it has one of its own: as above, or `@timestamp`, which says that it has none. Where this is given it
    /// must be there and readable.
    pub time: Option<String>,
    /// Whatever else is wanted, as raw JSON: pointers.
    pub extra: Vec<String>,
    /// How keys are made alike; ids are taken as they are.
    pub folding: Folding,
    /// The longest id that is accepted, bytes.
    pub max_id_bytes: usize,
}

/// Gets [`Fields`] out of records.
#[derive(Debug)]
pub struct Extractor {
    finder: Finder,
    id: Vec<Field>,
    key: Vec<Field>,
    time: Option<Field>,
    /// The number of the first extra pointer.
    extra_from: usize,
    folding: Folding,
    max_id_bytes: usize,
}

/// What was found in one record, borrowed from it where possible; see [`share`].
#[derive(Debug)]
pub struct Extracted<'e, 'j> {
    /// Its id, if ids were asked for.
    pub id: Option<Cow<'j, str>>,
    /// Its key.
    pub key: Cow<'j, str>,
    /// Its own time, ms since 1970, if it has one.
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
    /// Compiles the fields.
    ///
    /// # Errors
    /// A text that names no field, too many of them, or none for the key.
    pub fn new(fields: Fields) -> Result<Self, PointerError> {
        if fields.key.is_empty() {
            return Err(PointerError::NoKey);
        }
        let mut pointers = Vec::new();
        let mut parse = |text: &String| Field::parse(text, &mut pointers);
        let id = fields.id.iter().map(&mut parse).collect::<Result<_, _>>()?;
        let key = fields
            .key
            .iter()
            .map(&mut parse)
            .collect::<Result<_, _>>()?;
        let own_time = fields.time.filter(|time| time != TIMESTAMP);
        let time = own_time.as_ref().map(parse).transpose()?;
        let extra_from = pointers.len();
        pointers.extend(fields.extra);
        Ok(Self {
            finder: Finder::new(&pointers)?,
            id,
            key,
            time,
            extra_from,
            folding: fields.folding,
            max_id_bytes: fields.max_id_bytes,
        })
    }

    /// Whether any field is a header, so that it must be given them.
    pub fn reads_headers(&self) -> bool {
        let all = self.id.iter().chain(&self.key).chain(&self.time);
        all.into_iter().any(Field::is_header)
    }

    /// Reads one event; the whole value is checked.
    ///
    /// # Errors
    /// Not JSON, or a field that is not what it must be.
    pub fn extract<'j>(&self, parts: &Parts<'j>) -> Result<Extracted<'_, 'j>, ExtractError> {
        let found = self.finder.find(parts.value)?;
        Ok(Extracted {
            id: self.id(parts, Some(&found))?,
            key: texts(&self.key, parts, Some(&found), self.folding)?,
            time_ms: self.time(parts, &found)?,
            extra_from: self.extra_from,
            found,
        })
    }

    /// The id of a record without a value, where all of the id stands beside the value; `None` where it does not.
    ///
    /// # Errors
    /// A field that is not what it must be.
    pub fn id_without_value<'j>(
        &self,
        parts: &Parts<'j>,
    ) -> Option<Result<Cow<'j, str>, ExtractError>> {
        let is_beside = self.id.iter().all(Field::is_beside_the_value);
        is_beside.then(|| self.id(parts, None).transpose())?
    }

    fn id<'j>(
        &self,
        parts: &Parts<'j>,
        found: Option<&Found<'_, 'j>>,
    ) -> Result<Option<Cow<'j, str>>, ExtractError> {
        if self.id.is_empty() {
            return Ok(None);
        }
        let id = texts(&self.id, parts, found, Folding::default())?;
        let (bytes, max) = (id.len(), self.max_id_bytes);
        match &self.id[..] {
            _ if bytes <= max => Ok(Some(id)),
            [field] => Err(field.error(Fault::TooLong { bytes, max }).into()),
            _ => Err(ExtractError::IdTooLong { bytes, max }),
        }
    }

    fn time(&self, parts: &Parts<'_>, found: &Found<'_, '_>) -> Result<Option<i64>, FieldError> {
        let Some(field) = &self.time else {
            return Ok(None);
        };
        let text = field.text(parts, Some(found), Folding::default())?;
        let time = time::of_text(&text).map_err(|fault| field.error(fault))?;
        Ok(Some(time))
    }
}

fn texts<'j>(
    fields: &[Field],
    parts: &Parts<'j>,
    found: Option<&Found<'_, 'j>>,
    folding: Folding,
) -> Result<Cow<'j, str>, FieldError> {
    if let [field] = fields {
        return field.text(parts, found, folding);
    }
    let texts = fields.iter().map(|f| f.text(parts, found, folding));
    Ok(composite(texts.collect::<Result<_, _>>()?))
}

/// A text as bytes of its own life: a slice of `bytes` where it was borrowed from them.
pub fn share(bytes: &Bytes, text: Cow<'_, str>) -> Bytes {
    match text {
        Cow::Borrowed(text) if bytes.as_ptr_range().contains(&text.as_ptr()) => {
            bytes.slice_ref(text.as_bytes())
        }
        Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}
