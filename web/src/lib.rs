//! The web role: joined rows as a live table, as JSON and as a stream of events; pages of figures, of a single event, and a manual.
//!
//! It reads rows through [`RowSource`], figures through [`StatusSource`] and events through [`LookupSource`]; it must not know Kafka, the registry, nor
//! what a row is about: the columns are options. Reading destroys nothing, so any number of these may run side by side.
//!
//! Code map: [`run`] and [`app`] put the routes together; `feed` reads new rows once for all browsers and `stream` hands
//! them to each; `walk` reads older rows, merged over the partitions; `source` is the only place that knows a store.

mod api;
mod assets;
mod cursor;
mod error;
mod feed;
mod filter;
mod frame;
mod guard;
mod history;
mod lookup;
mod manual;
mod options;
mod page;
mod row;
mod server;
mod source;
mod status;
mod stream;
mod walk;

pub use cursor::{BadCursor, Cursor};
pub use lookup::LookupSource;
pub use manual::slug;
pub use options::{Align, Chapter, Column, Format, Guard, Map, Options, Place, Spot};
pub use row::{BadRow, Row};
pub use server::{Sources, app, run};
pub use source::{Chunk, EmbeddedRows, Page, RedisRows, RowSource, SourceError};
pub use status::StatusSource;
