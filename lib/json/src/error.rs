//! What can be wrong with a document, in words for the person who sent it.

use std::fmt;

/// A document is not JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Its bytes are not UTF-8.
    #[error("not JSON: invalid UTF-8 at byte {0}")]
    Utf8(usize),
    /// It breaks the grammar; the parser's words say where.
    #[error("not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
}

/// A document is JSON, but a field of its record is not what it must be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{pointer}` {fault}")]
pub struct FieldError {
    /// Where: a JSON pointer, `@key` or `@header.NAME`.
    pub pointer: String,
    /// What was found there.
    pub fault: Fault,
}

impl FieldError {
    pub(crate) fn new(pointer: &str, fault: Fault) -> Self {
        Self {
            pointer: pointer.into(),
            fault,
        }
    }
}

/// What was found where a text or a time should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    Missing,
    /// Kafka's null, where a message key or a header's value should be.
    Null,
    /// Bytes beside the value that are no UTF-8; how many of them are.
    NotUtf8(usize),
    /// A value of another type, with its article.
    WrongType(&'static str),
    /// A string without characters, or without others than white space where it is trimmed.
    Empty,
    /// A string with an escape that stands for no character.
    BadEscape,
    /// A text that is no time; its beginning.
    NotATime(String),
    /// A text that is too long to be an id.
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The longest that is accepted.
        max: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Null => f.write_str("is null"),
            Self::NotUtf8(at) => write!(f, "is not text: invalid UTF-8 at byte {at}"),
            Self::WrongType(found) => write!(f, "is {found}, not a string or number"),
            Self::Empty => f.write_str("is empty"),
            Self::BadEscape => f.write_str("has an escape that stands for no character"),
            Self::NotATime(text) => write!(
                f,
                "is not a time: {text:?} is neither RFC 3339, nor Twitter's format, nor milliseconds since 1970"
            ),
            Self::TooLong { bytes, max } => {
                write!(f, "is {bytes} bytes, at most {max} are accepted")
            }
        }
    }
}

/// Why an event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The document is not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is not what it must be.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The id, made of several fields, is too long.
    #[error("id is {bytes} bytes, at most {max} are accepted")]
    IdTooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The longest that is accepted.
        max: usize,
    },
}
