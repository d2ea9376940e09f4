//! What the page shows: titles and columns, as plain values. It must not know where they were configured.

use serde_json::{Value, json};

/// The web's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name on the page.
    pub title: String,
    /// One sentence below it: what is joined with what.
    pub subtitle: String,
    /// The table's columns, left to right; when empty, the ones every row has (time, key, id).
    pub columns: Vec<Column>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            title: "Ready To Fly".into(),
            subtitle: "Two streams, joined exactly once, as it happens.".into(),
            columns: Vec::new(),
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
