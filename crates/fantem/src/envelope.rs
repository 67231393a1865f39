//! The envelope of every answer: `{"code", "note", "data"}` (§1).

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

#[derive(Serialize)]
struct Envelope<'a, T> {
    code: u32,
    note: &'a str,
    data: Option<T>,
}

const JSON: [(HeaderName, HeaderValue); 1] = [(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))];

/// A success of the older form endpoints: `code` is a number.
pub(crate) fn success(data: impl Serialize) -> Response {
    let envelope = Envelope { code: 1, note: "OPERATE_SUCCESS", data: Some(data) };
    (JSON, Json(envelope)).into_response()
}

/// A failure; `data` is null.
pub(crate) fn failure(status: StatusCode, code: u32, note: &str) -> Response {
    let envelope: Envelope<'_, ()> = Envelope { code, note, data: None };
    (status, JSON, Json(envelope)).into_response()
}
