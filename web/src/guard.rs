//! Who may see the pages: whoever knows a password, or whom a proxy in front has let through.

use crate::Guard;
use crate::error::ApiError;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use subtle::ConstantTimeEq;

const SCHEME: &str = "Basic";

/// What a request must carry.
pub(crate) struct Gate {
    /// The credentials as a browser sends them.
    basic: Option<String>,
    header: Option<String>,
}

impl Gate {
    /// `None`: everybody may.
    pub(crate) fn new(guard: &Guard) -> Option<Arc<Self>> {
        let basic = guard.basic.as_ref();
        let basic = basic.map(|(user, password)| STANDARD.encode(format!("{user}:{password}")));
        let header = guard.trusted_header.clone();
        (basic.is_some() || header.is_some()).then(|| Arc::new(Self { basic, header }))
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        self.knows_password(headers) || self.came_through_proxy(headers)
    }

    /// Takes as long for a wrong password that begins right as for any other.
    fn knows_password(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()?.split_once(' '));
        let (Some(wanted), Some((scheme, given))) = (&self.basic, given) else {
            return false;
        };
        let is_right = bool::from(wanted.as_bytes().ct_eq(given.trim().as_bytes()));
        scheme.eq_ignore_ascii_case(SCHEME) && is_right
    }

    fn came_through_proxy(&self, headers: &HeaderMap) -> bool {
        let name = self.header.as_ref();
        name.and_then(|name| headers.get(name))
            .is_some_and(|value| !value.is_empty())
    }
}

/// Answers who is not let in.
pub(crate) async fn ask(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if gate.lets_in(request.headers()) {
        return next.run(request).await;
    }
    if gate.basic.is_none() {
        return ApiError::NotThroughProxy.into_response();
    }
    let challenge = [(
        header::WWW_AUTHENTICATE,
        "Basic realm=\"Ready To Fly\", charset=\"UTF-8\"",
    )];
    (challenge, ApiError::WrongPassword).into_response()
}
