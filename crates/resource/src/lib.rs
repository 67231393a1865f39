//! What the servers behind the front door ask: whether tokens are good (RFC 7662), what becomes of sessions, and, for reverse proxies,
//! whether a request may pass.
//!
//! Documented in `docs/integrate/`. They speak for themselves by a client id and a secret of their own (RFC 6749 §2.3.1), not by a
//! dialect.

mod credentials;
mod events;
mod failure;
mod feed;
mod forward_auth;
mod introspection;

use std::sync::Arc;
use std::time::Duration;

use account::Core;
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;
use wire::CatchPanicLayer;

use crate::failure::Failure;
pub use crate::feed::{Feed, Follower, News};
pub use crate::forward_auth::{Refusals, Refuse};

/// How the service works.
#[derive(Clone, Copy)]
pub struct Settings {
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How tokens that are not good are answered to reverse proxies.
    pub refusals: Refusals,
}

/// How many resource servers can follow one node's events.
const FOLLOWERS: usize = 64;

/// What the handlers share.
pub(crate) struct Service {
    pub core: Arc<Core>,
    pub feed: Arc<Feed>,
    pub settings: Settings,
    /// How many may follow the events at the same time.
    pub places: Arc<Semaphore>,
}

/// The service's routes.
pub fn router(core: Arc<Core>, feed: Arc<Feed>, settings: Settings) -> Router {
    let service = Arc::new(Service { core, feed, settings, places: Arc::new(Semaphore::new(FOLLOWERS)) });
    Router::new()
        .route("/oauth2/introspect", post(introspection::one))
        .route("/oauth2/introspect/batch", post(introspection::many))
        .route("/sessions/events", get(events::follow))
        .route("/auth/verify", any(forward_auth::verify))
        .method_not_allowed_fallback(async |request: Request| Failure::Method.answer("resource", &request))
        .with_state(service)
        .layer(CatchPanicLayer::custom(|_| -> Response { Failure::Panicked.into() }))
}
