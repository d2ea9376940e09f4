//! Who is let in, and who is not.

use crate::support::{Site, Store};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rtf_web::{Guard, Options};

const PAGES: [&str; 6] = [
    "/",
    "/status",
    "/api/rows",
    "/api/stream",
    "/manual/x",
    "/nowhere",
];

fn site(basic: Option<(&str, &str)>, trusted_header: Option<&str>) -> Site {
    let basic = basic.map(|(user, password)| (user.to_owned(), password.to_owned()));
    let guard = Guard {
        basic,
        trusted_header: trusted_header.map(str::to_owned),
    };
    let options = Options {
        guard,
        ..Options::default()
    };
    Site::with(&options, Store::new().source())
}

async fn status(site: &Site, path: &str, name: &str, value: &str) -> StatusCode {
    let request = Request::get(path).header(name, value);
    site.send(request.body(Body::empty()).unwrap())
        .await
        .status()
}

fn credentials(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

#[tokio::test]
async fn nothing_is_shown_without_the_password() {
    let site = site(Some(("ops", "p:w\u{fc}")), None);
    for path in PAGES {
        let refused = site.get(path).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        let challenge = refused.headers()[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
    for wrong in [
        credentials("ops:p:w"),
        credentials("ops:p:w\u{fc}x"),
        credentials("op:p:w\u{fc}"),
        credentials("ops"),
        "Basic".into(),
        format!("Bearer {}", STANDARD.encode("ops:p:w\u{fc}")),
    ] {
        let answer = status(&site, "/", "authorization", &wrong).await;
        assert_eq!(answer, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let right = credentials("ops:p:w\u{fc}");
    for right in [right.clone(), right.replace("Basic", "basic")] {
        let answer = status(&site, "/", "authorization", &right).await;
        assert_eq!(answer, StatusCode::OK);
    }
    let missing = status(&site, "/nowhere", "authorization", &right).await;
    assert_eq!(missing, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_comes_through_the_proxy_is_let_in() {
    let site = site(None, Some("X-Forwarded-User"));
    assert_eq!(site.get("/").await.status(), StatusCode::FORBIDDEN);
    for (name, value, wanted) in [
        ("x-forwarded-user", "ann", StatusCode::OK),
        ("x-forwarded-user", "", StatusCode::FORBIDDEN),
        ("x-forwarded-for", "ann", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(
            status(&site, "/", name, value).await,
            wanted,
            "{name}: {value}"
        );
    }
}

#[tokio::test]
async fn the_password_is_not_logged() {
    let guard = Guard {
        basic: Some(("ops".into(), "hunter2".into())),
        trusted_header: None,
    };
    let shown = format!("{guard:?}");
    assert!(
        shown.contains("ops") && !shown.contains("hunter2"),
        "{shown}"
    );
}
