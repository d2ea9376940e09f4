//! Scripts, styles and pictures, compiled in. Their address holds a hash of them all, so that a browser keeps them for ever
//! and a new version is a new address.

use crate::error::ApiError;
use crate::page::{self, ASK, Document};
use crate::server::Web;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::sync::Arc;

const FOR_EVER: &str = "public, max-age=31536000, immutable";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal: $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("../assets/", $name)))),*]
    };
}

const FILES: &[(&str, &str, &str)] = files![
    "base.css": CSS,
    "table.css": CSS,
    "status.css": CSS,
    "lookup.css": CSS,
    "manual.css": CSS,
    "map.css": CSS,
    "icon.svg": SVG,
    "app.js": JS,
    "cells.js": JS,
    "chart.js": JS,
    "coastline.js": JS,
    "cursor.js": JS,
    "figures.js": JS,
    "globe.js": JS,
    "live.js": JS,
    "lookup.js": JS,
    "map.js": JS,
    "numbers.js": JS,
    "originals.js": JS,
    "spark.js": JS,
    "status.js": JS,
    "table.js": JS,
];

/// The assets, and the hash in their address.
pub(crate) struct Assets {
    pub(crate) version: String,
    files: BTreeMap<&'static str, Document>,
}

impl Assets {
    pub(crate) fn load() -> Arc<Self> {
        let version = page::hash(FILES);
        let document = |&(name, kind, text): &(&'static str, &'static str, &'static str)| {
            (name, Document::new(kind, text.into()))
        };
        Arc::new(Self {
            version,
            files: FILES.iter().map(document).collect(),
        })
    }
}

/// `GET /assets/{version}/{file}`. Another version than ours is answered too, for a page that another server sent while one
/// replaces the other, but nobody may keep that answer.
pub(crate) async fn asset(
    State(web): State<Web>,
    Path((version, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let cache = if version == web.assets.version {
        FOR_EVER
    } else {
        ASK
    };
    match web.assets.files.get(file.as_str()) {
        Some(document) => document.answer(&headers, cache),
        None => ApiError::NotFound.into_response(),
    }
}
