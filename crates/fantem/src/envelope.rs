//! How answers are written (§1).

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The ways in which endpoints write their answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `{"code", "note", "data"}` with a number as code: the older form endpoints.
    Number,
    /// The same with a text as code: the newer JSON endpoints.
    Text,
    /// Nothing but the code, a number, and what the answer holds beside it.
    Bare,
    /// `{"str": "…"}` with a code of its own.
    Str,
    /// A page for people.
    Page,
}

const JSON: [(HeaderName, HeaderValue); 1] = [(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))];

/// A success.
pub(crate) fn success(family: Family, data: Value) -> Response {
    let body = match family {
        Family::Text => json!({ "code": "1", "note": "操作成功", "data": data }),
        Family::Str => json!({ "str": "1" }),
        Family::Bare => {
            let mut body = json!({ "code": 1 });
            if let (Value::Object(body), Value::Object(data)) = (&mut body, data) {
                body.extend(data);
            }
            body
        }
        Family::Number | Family::Page => json!({ "code": 1, "note": "OPERATE_SUCCESS", "data": data }),
    };
    (JSON, Json(body)).into_response()
}

/// A failure; `data` is null.
pub(crate) fn failure(family: Family, status: StatusCode, code: u32, note: &str) -> Response {
    let body = match family {
        Family::Text => json!({ "code": code.to_string(), "note": note, "data": null }),
        Family::Bare => json!({ "code": code }),
        Family::Str => json!({ "str": code.to_string() }),
        Family::Number | Family::Page => json!({ "code": code, "note": note, "data": null }),
    };
    (status, JSON, Json(body)).into_response()
}
