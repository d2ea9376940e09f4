//! What goes wrong with a request, and how the client is told: a status and JSON that names the parameter.

use crate::SourceError;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::fmt::Display;

/// A client that was refused for now may try again after so many seconds.
const RETRY_AFTER_SECONDS: &str = "1";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{parameter}: {reason}")]
    Parameter { parameter: String, reason: String },
    #[error("{0}")]
    Source(#[from] SourceError),
    #[error("the rows could not be read in time")]
    TimedOut,
    #[error("too many streams are open")]
    Full,
    #[error("it cannot be found out: {0}")]
    Unknown(String),
    #[error("there is nothing at this address")]
    NotFound,
    #[error("a user and a password are needed")]
    WrongPassword,
    #[error("this page is for those who come through its proxy")]
    NotThroughProxy,
}

impl ApiError {
    pub(crate) fn parameter(parameter: &str, reason: impl Display) -> Self {
        Self::Parameter {
            parameter: parameter.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn unknown(parameter: &str, accepted: &[&str]) -> Self {
        Self::parameter(
            parameter,
            format_args!("unknown; accepted: {}", accepted.join(", ")),
        )
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongPassword => StatusCode::UNAUTHORIZED,
            Self::NotThroughProxy => StatusCode::FORBIDDEN,
            Self::Source(_) | Self::TimedOut | Self::Full | Self::Unknown(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.to_string() });
        if let Self::Parameter { parameter, .. } = &self {
            body["parameter"] = parameter.as_str().into();
        }
        let status = self.status();
        let headers = [(header::CACHE_CONTROL, "no-store")];
        let mut response = (status, headers, Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let after = header::HeaderValue::from_static(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        response
    }
}
