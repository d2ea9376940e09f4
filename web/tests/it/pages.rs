//! The pages and their assets: complete, cached, compressed, locked down, escaped.

use crate::support::{Site, Store, rows_only};
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use rtf_web::{Chapter, Column, Format, Map, Options, Place, Spot, app};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What the table page may weigh before compression, all files together.
const FIRST_LOAD_BYTES: usize = 100 << 10;

async fn text(response: Response<Body>) -> String {
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Everything that there can be on the pages.
fn full() -> Options {
    let place = Place {
        code: "AUS".into(),
        name: "Austin, TX".into(),
        latitude: 30.2,
        longitude: -97.7,
    };
    Options {
        map: Some(Map {
            from: Spot::Code("/primary/0/code".into()),
            to: Some(Spot::Degrees("/foreign/lat".into(), "/foreign/lon".into())),
            label: None,
            places: vec![place],
        }),
        manual: vec![Chapter {
            name: "one",
            text: "# One\n\n## A heading\n\nWords.",
        }],
        ..Options::default()
    }
}

/// The addresses in a page's `href` and `src`, or a module's `from`, resolved against the page's folder of assets.
fn addresses(text: &str, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (mark, base) in [
        ("href=\"/assets", "/assets"),
        ("src=\"/assets", "/assets"),
        ("from \"./", folder),
        ("import(\"./", folder),
    ] {
        let after = text.split(mark).skip(1);
        found.extend(after.map(|rest| format!("{base}{}", rest.split('"').next().unwrap())));
    }
    found
}

#[tokio::test]
async fn pages_are_complete_and_light() {
    let site = Site::with(&full(), Store::new().source());
    for page in ["/", "/status", "/lookup", "/manual/one"] {
        let html = text(site.get(page).await).await;
        let folder = addresses(&html, "")[0]
            .rsplit_once('/')
            .unwrap()
            .0
            .to_owned()
            + "/";
        let mut bytes = html.len();
        let mut todo = addresses(&html, &folder);
        let mut done = Vec::new();
        while let Some(address) = todo.pop() {
            if done.contains(&address) {
                continue;
            }
            let response = site.get(&address).await;
            assert_eq!(response.status(), StatusCode::OK, "{address}");
            assert_eq!(
                response.headers()["cache-control"],
                "public, max-age=31536000, immutable"
            );
            let asset = text(response).await;
            bytes += asset.len();
            todo.extend(addresses(&asset, &folder));
            done.push(address);
        }
        assert!(done.len() >= 3, "{done:?}");
        assert!(bytes < FIRST_LOAD_BYTES, "{page} weighs {bytes}");
    }
}

#[tokio::test]
async fn a_page_that_is_known_is_not_sent_again() {
    let site = Site::over(Store::new().source());
    let first = site.get("/").await;
    let etag = first.headers()["etag"].clone();
    assert_eq!(first.headers()["cache-control"], "no-cache");
    assert!(etag.to_str().unwrap().starts_with('"'), "a strong tag");
    for known in [etag.to_str().unwrap(), "\"other\", W/\"x\", *"] {
        let request = Request::get("/")
            .header("If-None-Match", known)
            .body(Body::empty())
            .unwrap();
        assert_eq!(site.send(request).await.status(), StatusCode::NOT_MODIFIED);
    }
    let request = Request::get("/")
        .header("If-None-Match", "\"other\"")
        .body(Body::empty())
        .unwrap();
    assert_eq!(site.send(request).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_asset_of_another_version_may_not_be_kept() {
    let site = Site::over(Store::new().source());
    let response = site.get("/assets/0123/app.js").await;
    assert_eq!(
        (response.status(), &response.headers()["cache-control"]),
        (StatusCode::OK, &"no-cache".parse().unwrap())
    );
    assert_eq!(
        site.get("/assets/0123/nothing.js").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        site.get("/assets/0123/..%2F..%2FCargo.toml").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn everything_is_locked_down_and_compressed() {
    let site = Site::over(Store::new().source());
    for path in [
        "/",
        "/status",
        "/lookup",
        "/manual/nothing",
        "/api/lookup?id=1",
        "/api/history",
        "/api/rows",
        "/api/status",
        "/nowhere",
        "/api/rows?limit=x",
    ] {
        let response = site.get(path).await;
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            policy.starts_with("default-src 'self'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }
    for (accepts, gets) in [("gzip", "gzip"), ("gzip, br", "br")] {
        let request = Request::get("/")
            .header("Accept-Encoding", accepts)
            .body(Body::empty())
            .unwrap();
        assert_eq!(site.send(request).await.headers()["content-encoding"], gets);
    }
}

#[tokio::test]
async fn nothing_in_the_options_becomes_markup() {
    let hostile = "\"'><script>alert(1)</script>";
    let options = Options {
        title: hostile.into(),
        subtitle: hostile.into(),
        columns: vec![
            Column::new(hostile, "/foreign/a")
                .format(Format::Link)
                .details([hostile]),
        ],
        map: Some(Map {
            from: Spot::Code(hostile.into()),
            label: Some(hostile.into()),
            ..Map::default()
        }),
        manual: vec![Chapter {
            name: "one",
            text: "# <script>alert(1)</script>\n\n<script>alert(1)</script>",
        }],
        ..Options::default()
    };
    let app = app(
        &options,
        rows_only(Store::new().source()),
        CancellationToken::new(),
    );
    for page in ["/", "/status", "/lookup", "/manual/one"] {
        let request = Request::get(page).body(Body::empty()).unwrap();
        let html = text(app.clone().oneshot(request).await.unwrap()).await;
        assert!(!html.contains("<script>alert"), "{html}");
        let inline = html
            .split("<script")
            .skip(1)
            .any(|tag| !tag.contains("src="));
        assert!(
            !inline && !html.contains("style="),
            "the policy forbids inline scripts and styles"
        );
    }
}

#[tokio::test]
async fn there_is_a_map_and_a_manual_only_where_they_are_wanted() {
    let plain = Site::over(Store::new().source());
    let html = text(plain.get("/").await).await;
    assert!(!html.contains("id=\"map\"") && !html.contains("/manual/"));
    let missing = plain.get("/manual/one").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    let site = Site::with(&full(), Store::new().source());
    let html = text(site.get("/").await).await;
    assert!(html.contains("id=\"map\"") && html.contains("href=\"/manual/one\""));
    let chapter = text(site.get("/manual/one").await).await;
    assert!(
        chapter.contains("<h2 id=\"a-heading\">A heading</h2>"),
        "{chapter}"
    );
}

#[tokio::test]
async fn an_unknown_address_says_so() {
    let site = Site::over(Store::new().source());
    let (status, body) = site.json("/api/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["error"], "there is nothing at this address");
}
