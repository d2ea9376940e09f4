//! What the page shows: titles and columns, as plain values. It must not know where they were configured.

use serde_json::{Value, json};
use std::fmt;

/// The web's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name on the page.
    pub title: String,
    /// One sentence below it: what is joined with what.
    pub subtitle: String,
    /// The table's columns, left to right; when empty, the ones every row has (time, key, id).
    pub columns: Vec<Column>,
    /// How rows are drawn on a map; when none, there is no map.
    pub map: Option<Map>,
    /// What an operator can read on the page itself.
    pub manual: Vec<Chapter>,
    /// Who may see it.
    pub guard: Guard,
}

/// Who may see the pages and their API: everybody, unless a way in is named. Health and metrics are for everybody.
#[derive(Clone, Default)]
pub struct Guard {
    /// User and password.
    pub basic: Option<(String, String)>,
    /// A header that a proxy in front sets for whom it has let through, and takes off everybody else's requests.
    pub trusted_header: Option<String>,
}

/// Without the password.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.basic.as_ref().map(|(user, _)| user);
        f.debug_struct("Guard")
            .field("user", &user)
            .field("trusted_header", &self.trusted_header)
            .finish()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            title: "Ready To Fly".into(),
            subtitle: "Two streams, joined exactly once, as it happens.".into(),
            columns: Vec::new(),
            map: None,
            manual: Vec::new(),
            guard: Guard::default(),
        }
    }
}

impl Options {
    /// The columns as the page's code reads them.
    pub(crate) fn columns_json(&self) -> Value {
        let standard = Column::standard();
        let columns = if self.columns.is_empty() {
            &standard
        } else {
            &self.columns
        };
        columns.iter().map(Column::to_json).collect()
    }
}

/// Where a row lies on the map of the world: at a place, or on the way from one to another.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// The place, or where the way begins: JSON pointers into the row.
    pub from: Spot,
    /// Where the way ends, if it is one.
    pub to: Option<Spot>,
    /// Pointer to what is said of it.
    pub label: Option<String>,
    /// The places that a code may name.
    pub places: Vec<Place>,
}

/// How a row names a place, as JSON pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// A code of [`Map::places`].
    Code(String),
    /// Degrees north and degrees east.
    Degrees(String, String),
}

impl Default for Spot {
    fn default() -> Self {
        Self::Code(String::new())
    }
}

/// A place that has a code.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// What rows call it.
    pub code: String,
    /// What people call it.
    pub name: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl Map {
    /// The map as the page's code reads it.
    pub(crate) fn to_json(&self) -> Value {
        let place =
            |place: &Place| json!([place.code, place.name, place.latitude, place.longitude]);
        json!({
            "from": self.from.pointers(),
            "to": self.to.as_ref().map(Spot::pointers),
            "label": self.label,
            "places": self.places.iter().map(place).collect::<Vec<_>>(),
        })
    }
}

impl Spot {
    fn pointers(&self) -> Vec<&str> {
        match self {
            Self::Code(code) => vec![code],
            Self::Degrees(latitude, longitude) => vec![latitude, longitude],
        }
    }
}

/// A page of the manual.
#[derive(Clone, Copy, Debug)]
pub struct Chapter {
    /// Its name in addresses: `/manual/{name}`.
    pub name: &'static str,
    /// Markdown. A link to `NAME.md` leads to that chapter, if there is one.
    pub text: &'static str,
}

/// One column of the table.
#[derive(Clone, Debug)]
pub struct Column {
    /// The heading.
    pub title: String,
    /// JSON pointer (RFC 6901) into the row, for example `/foreign/user/name`.
    pub value: String,
    /// JSON pointers to what is said beside the value, in small print: an airport's city, a price's airline. A three-letter
    /// currency among a price's details is its currency.
    pub details: Vec<String>,
    /// How the value is written.
    pub format: Format,
    /// Left or right; when none, what suits the format.
    pub align: Option<Align>,
    /// A CSS length or percentage; when none, what the content needs.
    pub width: Option<String>,
    /// Whether it is left out on a phone.
    pub phone_hidden: bool,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As it stands.
    #[default]
    Text,
    /// A grouped number with two decimals, with its currency where there is one.
    Money,
    /// RFC 3339, Twitter's format or epoch ms, shown in the reader's zone.
    Time,
    /// An airport's code.
    Airport,
    /// An `http(s)` address.
    Link,
}

/// Where a cell's content stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// At the start of the line.
    Start,
    /// At its end.
    End,
}

impl Column {
    /// A text column without details.
    pub fn new(title: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            value: value.into(),
            details: Vec::new(),
            format: Format::Text,
            align: None,
            width: None,
            phone_hidden: false,
        }
    }

    /// The same column in another format.
    pub fn format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The same column with details, given as JSON pointers.
    pub fn details<const N: usize>(self, details: [&str; N]) -> Self {
        Self {
            details: details.map(str::to_owned).to_vec(),
            ..self
        }
    }

    /// The columns that fit any row.
    fn standard() -> Vec<Self> {
        vec![
            Self::new("Joined", "/joined_ts").format(Format::Time),
            Self::new("Key", "/key"),
            Self::new("Id", "/id"),
            Self::new("Foreign", "/foreign"),
            Self::new("Primary", "/primary/0"),
        ]
    }

    fn to_json(&self) -> Value {
        let end = match self.align {
            Some(align) => align == Align::End,
            None => self.format == Format::Money,
        };
        json!({
            "title": self.title,
            "value": self.value,
            "details": self.details,
            "format": self.format.name(),
            "end": end,
            "width": self.width,
            "phoneHidden": self.phone_hidden,
        })
    }
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Money => "money",
            Self::Time => "time",
            Self::Airport => "airport",
            Self::Link => "link",
        }
    }
}
