//! The Fantem/OOMI dialect: wire bytes to and from the core's requests and outcomes.
//!
//! Documented in `docs/dialects/fantem.md`; "§" refers to its sections.

mod envelope;
mod failure;
mod login;
mod parameters;

use std::sync::Arc;
use std::time::Duration;

use account::Core;
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::post;
use wire::CatchPanicLayer;

use crate::failure::Failure;

/// How the dialect works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
}

/// What the dialect's handlers share.
pub(crate) struct Dialect {
    pub core: Arc<Core>,
    pub settings: Settings,
}

/// The dialect's routes. Its paths begin at the root, so it also answers for every path that is nobody's.
pub fn router(core: Arc<Core>, settings: Settings) -> Router {
    let unknown_method = || async { Failure::UnknownMethod };
    Router::new()
        .route("/accounts/login", post(login::handle).fallback(unknown_method))
        .fallback(|| async { Failure::UnknownPath })
        .layer(CatchPanicLayer::custom(|_| Failure::Panicked.into_response()))
        .with_state(Arc::new(Dialect { core, settings }))
}
