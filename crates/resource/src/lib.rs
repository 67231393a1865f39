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
mod management;
mod mqtt;
mod rabbitmq;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use account::Core;
use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{MethodRouter, any, get, post};
use wire::Guarded;

use crate::events::Places;
use crate::failure::Failure;
pub use crate::feed::{Feed, Follower, News};
pub use crate::forward_auth::{Refusals, Refuse};
pub use crate::management::{Management, ManagementError};
pub use crate::mqtt::Mqtt;
use crate::mqtt::Question;
pub use crate::rabbitmq::Keeper;
pub use crate::topics::{Template, Topics};

/// How the service works.
#[derive(Clone)]
pub struct Settings {
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How tokens that are not good are answered to reverse proxies.
    pub refusals: Refusals,
    /// What MQTT brokers are told, if there is one.
    pub mqtt: Option<Mqtt>,
}

/// What the handlers share.
pub(crate) struct Service {
    pub core: Arc<Core>,
    pub feed: Arc<Feed>,
    pub settings: Settings,
    /// Who follows the events at the moment.
    pub places: Arc<Places>,
}

/// The service's routes.
pub fn router(core: Arc<Core>, feed: Arc<Feed>, settings: Settings) -> Router {
    let service = Arc::new(Service { core, feed, settings, places: Arc::default() });
    Router::new()
        .route("/oauth2/introspect", post(guarded(introspection::one)))
        .route("/oauth2/introspect/batch", post(guarded(introspection::many)))
        .route("/sessions/events", get(guarded(events::follow)))
        .route("/mqtt/rabbitmq/user", rabbitmq(Question::User))
        .route("/mqtt/rabbitmq/vhost", rabbitmq(Question::VirtualHost))
        .route("/mqtt/rabbitmq/resource", rabbitmq(Question::Resource))
        .route("/mqtt/rabbitmq/topic", rabbitmq(Question::Topic))
        .route("/mqtt/emqx/authenticate", post(guarded(mqtt::emqx_authenticate)))
        .route("/mqtt/emqx/authorize", post(guarded(mqtt::emqx_authorize)))
        .route("/auth/verify", any(guarded(forward_auth::verify)))
        .method_not_allowed_fallback(async |request: Request| Failure::Method.answer("resource", &request))
        .with_state(service)
}

fn guarded<H>(handler: H) -> Guarded<H> {
    Guarded::new(handler, |_| Failure::Panicked.into())
}

fn rabbitmq(question: Question) -> MethodRouter<Arc<Service>> {
    post(guarded(async move |State(service): State<Arc<Service>>, request: Request| {
        mqtt::rabbitmq(service, question, request).await
    }))
}
