//! Telling a client when to try again.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

/// How soon to try again what was refused with `status`, when nothing better is known: a second after 503, otherwise never.
#[must_use]
pub fn shortly(status: StatusCode) -> Option<Duration> {
    (status == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1))
}

/// `response` with `Retry-After`, in whole seconds and at least one, if there is a time to tell.
#[must_use]
pub fn with_retry_after(mut response: Response, wait: Option<Duration>) -> Response {
    if let Some(wait) = wait {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)));
    }
    response
}
