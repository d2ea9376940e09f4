//! Values at JSON pointers (RFC 6901) in original bytes: one pass, no tree, nothing copied that can be borrowed.
//!
//! Knows JSON, not events: what an id, a key or a time means to a join is its caller's concern. The whole document
//! is checked, so that what passed may be spliced into another document byte for byte.
//!
//! - [`Finder`] finds the raw text of values at pointers.
//! - [`text`], [`composite`] and [`time`] turn raw values into texts and times, in one canonical way.
//! - [`Extractor`] does all of it for an event: id, key, time and whatever else is asked for. Beside the value it looks at the
//!   record's message key and headers, see [`Parts`].

mod error;
mod extract;
mod find;
#[cfg(test)]
mod fuzz;
mod part;
mod pointer;
mod text;
pub mod time;

pub use error::{ExtractError, Fault, FieldError, JsonError};
pub use extract::{Extracted, Extractor, Fields, share};
pub use find::{Finder, Found};
pub use part::Parts;
pub use pointer::{MAX_DEPTH, MAX_POINTERS, PointerError};
pub use text::{Folding, composite, text};
