//! The eWeLink dialect, version 8 (CoolKit open platform): wire bytes to and from the core's requests and outcomes.
//!
//! Documented in `docs/dialects/ewelink-v8.md`; "§" refers to its sections.

mod answer;
mod call;
mod failure;
mod login;
mod signature;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use account::Core;
use axum::Router;
use axum::routing::{any, post};
use wire::{CatchPanicLayer, Hosts};

use crate::failure::Failure;

/// Tells the place of an address, in the language of a person; `None` where it is not known.
pub type Places = Arc<dyn Fn(IpAddr, Option<&str>) -> Option<String> + Send + Sync>;

/// How the dialect works.
#[derive(Clone)]
pub struct Settings {
    /// Which host means which region.
    pub hosts: Hosts,
    /// How far a strict application's clock may be off (§5).
    pub max_clock_skew: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Where `user.location` comes from, if the operator has such a thing.
    pub places: Option<Places>,
}

/// What the dialect's handlers share.
pub(crate) struct Dialect {
    pub core: Arc<Core>,
    pub settings: Settings,
}

/// The dialect's routes: everything under `/api/`.
pub fn router(core: Arc<Core>, settings: Settings) -> Router {
    let unknown_path = || async { Failure::UnknownPath };
    let unknown_method = || async { Failure::UnknownMethod };
    Router::new()
        .route("/api/user/login", post(login::handle).fallback(unknown_method))
        .route("/api", any(unknown_path))
        .route("/api/", any(unknown_path))
        .route("/api/{*rest}", any(unknown_path))
        .layer(CatchPanicLayer::custom(|_| axum::response::IntoResponse::into_response(Failure::Panicked)))
        .with_state(Arc::new(Dialect { core, settings }))
}
