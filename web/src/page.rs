//! The pages, rendered once at the start: nothing in them changes while the process lives, all that does comes over the
//! API. A document is answered with a strong ETag.

use crate::{Options, manual};
use askama::Template;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

const HTML: &str = "text/html; charset=utf-8";
/// Keep it, but ask each time whether it is still the same.
pub(crate) const ASK: &str = "no-cache";

#[derive(Template)]
#[template(path = "table.html")]
struct TablePage<'a> {
    site: &'a Site<'a>,
    here: &'static str,
    columns: &'a str,
    /// Empty: there is no map.
    map: &'a str,
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'a> {
    site: &'a Site<'a>,
    here: &'static str,
}

#[derive(Template)]
#[template(path = "lookup.html")]
struct LookupPage<'a> {
    site: &'a Site<'a>,
    here: &'static str,
}

#[derive(Template)]
#[template(path = "manual.html")]
struct ManualPage<'a> {
    site: &'a Site<'a>,
    here: &'static str,
    chapters: &'a [manual::Page],
    chapter: &'a manual::Page,
}

/// What all pages say.
struct Site<'a> {
    title: &'a str,
    subtitle: &'a str,
    /// The assets'.
    version: &'a str,
    /// The table's sky has a map.
    has_map: bool,
    /// Where the manual begins; empty: there is none.
    manual: &'a str,
}

/// The rendered pages.
pub(crate) struct Pages {
    pub(crate) table: Document,
    pub(crate) status: Document,
    pub(crate) lookup: Document,
    /// By the chapter's name.
    pub(crate) manual: BTreeMap<&'static str, Document>,
}

impl Pages {
    /// `version` is the assets'.
    pub(crate) fn render(options: &Options, version: &str) -> Self {
        let chapters = manual::pages(&options.manual);
        let site = &Site {
            title: &options.title,
            subtitle: &options.subtitle,
            version,
            has_map: options.map.is_some(),
            manual: chapters.first().map_or("", |chapter| chapter.name),
        };
        let columns = options.columns_json().to_string();
        let map = options.map.as_ref().map(|map| map.to_json().to_string());
        let chapter = |chapter| {
            let chapters = &chapters[..];
            html(&ManualPage {
                site,
                here: "manual",
                chapters,
                chapter,
            })
        };
        Self {
            table: html(&TablePage {
                site,
                here: "table",
                columns: &columns,
                map: map.as_deref().unwrap_or_default(),
            }),
            status: html(&StatusPage {
                site,
                here: "status",
            }),
            lookup: html(&LookupPage {
                site,
                here: "lookup",
            }),
            manual: chapters.iter().map(|c| (c.name, chapter(c))).collect(),
        }
    }
}

fn html(page: &impl Template) -> Document {
    let text = page.render().expect("writing into memory cannot fail");
    Document::new(HTML, text.into())
}

/// Something that is the same for everyone.
pub(crate) struct Document {
    kind: HeaderValue,
    etag: HeaderValue,
    body: Bytes,
}

impl Document {
    pub(crate) fn new(kind: &'static str, body: Bytes) -> Self {
        let etag = format!("\"{}\"", hash(&body));
        Self {
            kind: HeaderValue::from_static(kind),
            etag: etag.try_into().expect("hexadecimal digits in quotes"),
            body,
        }
    }

    /// The document, or "not modified" when the client has it; `cache` says for how long it is good.
    pub(crate) fn answer(&self, headers: &HeaderMap, cache: &'static str) -> Response {
        let known = headers
            .get(header::IF_NONE_MATCH)
            .and_then(|tags| tags.to_str().ok());
        let etag = self.etag.to_str().unwrap_or_default();
        let same = known.is_some_and(|tags| {
            tags.split(',')
                .any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
        });
        let caching = [
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
        ];
        if same {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        (
            caching,
            [(header::CONTENT_TYPE, self.kind.clone())],
            self.body.clone(),
        )
            .into_response()
    }
}

/// Sixteen hexadecimal digits that change with the content. Not for secrets.
pub(crate) fn hash(content: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
