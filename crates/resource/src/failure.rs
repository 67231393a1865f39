//! Why a question was not answered, in OAuth 2.0's form (RFC 6749 §5.2).

use std::time::Duration;

use account::{GuessError, ResourceServerError, StoreError};
use axum::Json;
use axum::extract::Request;
use axum::http::header::{ALLOW, CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use wire::{Attempt, Unreadable, shortly, with_retry_after};

/// Why a question was not answered. The words hold nothing of the request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{0}")]
    Malformed(&'static str),
    #[error("only POST is answered here, and only GET at /sessions/events")]
    Method,
    #[error("the resource server does not say who it is")]
    Nobody,
    #[error(transparent)]
    Client(#[from] ResourceServerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("too many follow the events of this node already, or too many of this resource server's")]
    Crowded,
    #[error("the server failed")]
    Panicked,
}

impl Failure {
    fn status(&self) -> StatusCode {
        if let Some(error) = self.in_store() {
            return if error.passes() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
        }
        match self {
            Self::Unreadable(Unreadable::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unreadable(Unreadable::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::Unreadable(Unreadable::Broken) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Client(ResourceServerError::Guess(GuessError::TooMany { .. })) => StatusCode::TOO_MANY_REQUESTS,
            Self::Client(ResourceServerError::Guess(_)) | Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Nobody | Self::Client(_) => StatusCode::UNAUTHORIZED,
            Self::Store(_) | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn in_store(&self) -> Option<&StoreError> {
        match self {
            Self::Client(ResourceServerError::Store(error) | ResourceServerError::Guess(GuessError::Store(error)))
            | Self::Store(error) => Some(error),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Client(ResourceServerError::Guess(error)) => error.retry_after(),
            _ => None,
        }
    }

    /// What is answered and what is not told: whether it is the id or the secret that is wrong.
    fn words(&self) -> (&'static str, String) {
        match self.status() {
            StatusCode::UNAUTHORIZED => ("invalid_client", "the resource server's id or secret is wrong".into()),
            StatusCode::TOO_MANY_REQUESTS => ("temporarily_unavailable", "too many wrong ids and secrets".into()),
            StatusCode::SERVICE_UNAVAILABLE => ("temporarily_unavailable", "try again later".into()),
            StatusCode::INTERNAL_SERVER_ERROR => ("server_error", "the server failed".into()),
            _ => ("invalid_request", self.to_string()),
        }
    }

    /// The answer, after a line in the log.
    pub fn log(self, attempt: Attempt) -> Response {
        attempt.failed(&self, self.status().is_server_error());
        self.into()
    }

    /// The answer to a request of which nothing else was looked at.
    pub fn answer(self, call: &'static str, request: &Request) -> Response {
        let allowed = if request.uri().path() == "/sessions/events" { "GET" } else { "POST" };
        let mut response = self.log(Attempt::begin("resource", call, request));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        response
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let status = failure.status();
        let (error, description) = failure.words();
        let body = Json(json!({ "error": error, "error_description": description }));
        let mut response = (status, [(CACHE_CONTROL, "no-store")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"hearthgate\""));
        }
        with_retry_after(response, failure.retry_after().or_else(|| shortly(status)))
    }
}
