//! Whether somebody is there (§5).

use axum::http::StatusCode;
use axum::response::IntoResponse;
use wire::{Incoming, Query};

use crate::routes::Answer;

pub(crate) fn ping(incoming: &Incoming) -> Answer {
    let query = Query::parse(incoming.query.as_deref().unwrap_or_default()).ok();
    let number = query.as_ref().and_then(|query| query.get("timeStamp")).and_then(|text| text.parse::<i64>().ok());
    match number {
        Some(_) => Answer::whole("OK".into_response()),
        None => Answer::whole((StatusCode::BAD_REQUEST, "FAIL").into_response()).refused("timeStamp is not a number"),
    }
}

pub(crate) fn version() -> Answer {
    Answer::whole(env!("CARGO_PKG_VERSION").into_response())
}
