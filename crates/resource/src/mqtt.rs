//! MQTT brokers ask who may connect, and what to: the HTTP calls of RabbitMQ's `rabbitmq_auth_backend_http` (3.10) and of EMQX (5).
//!
//! A client's user name is `APIKEY/CLIENT`: its account's `apikey`, and the application's id or the device's serial number. An account has
//! one session there, so that whatever is asked later, without the token, is asked about that session. The password is the access token.

use std::sync::Arc;

use account::{Holder, StoreError, TokenError};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::{Arrival, Attempt, Form, Incoming, Unreadable};

use crate::Service;
use crate::introspection::LONGEST_TOKEN;
use crate::topics::{Action, Topics};

/// The exchange and the queues of RabbitMQ's MQTT plugin.
pub(crate) const EXCHANGE: &str = "amq.topic";
pub(crate) const QUEUE: &str = "mqtt-subscription-";

/// What brokers are told.
#[derive(Debug, Clone)]
pub struct Mqtt {
    /// RabbitMQ's virtual host that clients may use.
    pub vhost: String,
    /// Which topics clients may use.
    pub topics: Topics,
    /// From where brokers ask.
    pub networks: Vec<IpNet>,
}

/// The user name that belongs to a session.
#[must_use]
pub fn user_name(apikey: &str, client: &str) -> String {
    format!("{apikey}/{client}")
}

/// Why a client may not. The words hold nothing of the request.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("the broker's question is not understood")]
    Malformed,
    #[error("no broker is configured")]
    NotServed,
    #[error("the question comes from beyond mqtt.networks")]
    Network,
    #[error("the user name is not APIKEY/CLIENT")]
    UserName,
    #[error("the token belongs to another user name")]
    Another,
    #[error("no session belongs to the user name")]
    NoSession,
    #[error("the virtual host is not the clients'")]
    VirtualHost,
    #[error("the client's id does not begin with its user name")]
    ClientId,
    #[error("the resource is not the client's")]
    Resource,
    #[error("the topic is not the client's")]
    Topic,
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self::Token(error.into())
    }
}

impl Denied {
    fn is_ours(&self) -> bool {
        matches!(self, Self::Token(TokenError::Store(_)))
    }

    /// What a broker takes for a failure, where saying no would be saying too much; else `denial`.
    fn answer(&self, denial: impl IntoResponse) -> Response {
        match self {
            Self::Token(TokenError::Store(_)) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Self::NotServed => StatusCode::NOT_FOUND.into_response(),
            Self::Malformed | Self::Unreadable(_) => StatusCode::BAD_REQUEST.into_response(),
            _ => denial.into_response(),
        }
    }
}

/// RabbitMQ's questions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question {
    User,
    VirtualHost,
    Resource,
    Topic,
}

/// `POST /mqtt/rabbitmq/…`: answered `allow` or `deny`.
pub(crate) async fn rabbitmq(service: Arc<Service>, question: Question, request: Request) -> Response {
    let attempt = Attempt::begin("mqtt", "rabbitmq", &request);
    match service.rabbitmq(question, request).await {
        Ok(()) => {
            attempt.succeeded_quietly("allowed");
            "allow".into_response()
        }
        Err(denied) => {
            attempt.failed(&denied, denied.is_ours());
            denied.answer("deny")
        }
    }
}

/// `POST /mqtt/emqx/authenticate`.
pub(crate) async fn emqx_authenticate(State(service): State<Arc<Service>>, request: Request) -> Response {
    let attempt = Attempt::begin("mqtt", "emqx_authenticate", &request);
    let allowed = |holder: Arc<Holder>| {
        let until = holder.session.access_expires_at.0.div_euclid(1000);
        json!({ "result": "allow", "is_superuser": false, "expire_at": until })
    };
    emqx(attempt, service.emqx_authenticate(request).await.map(allowed))
}

/// `POST /mqtt/emqx/authorize`.
pub(crate) async fn emqx_authorize(State(service): State<Arc<Service>>, request: Request) -> Response {
    let attempt = Attempt::begin("mqtt", "emqx_authorize", &request);
    emqx(attempt, service.emqx_authorize(request).await.map(|()| json!({ "result": "allow" })))
}

fn emqx(attempt: Attempt, answer: Result<Value, Denied>) -> Response {
    match answer {
        Ok(allowed) => {
            attempt.succeeded_quietly("allowed");
            Json(allowed).into_response()
        }
        Err(denied) => {
            attempt.failed(&denied, denied.is_ours());
            denied.answer(Json(json!({ "result": "deny" })))
        }
    }
}

/// What EMQX is configured to send.
#[derive(Deserialize)]
struct Authenticate {
    username: String,
    password: String,
    clientid: String,
}

/// What EMQX is configured to send.
#[derive(Deserialize)]
struct Authorize {
    username: String,
    topic: String,
    action: String,
}

impl Service {
    /// What a broker is told. Anybody else could find out by such questions whether somebody is logged in, and which gateways are theirs.
    fn mqtt(&self, request: &Request) -> Result<&Mqtt, Denied> {
        let mqtt = self.settings.mqtt.as_ref().ok_or(Denied::NotServed)?;
        // Whoever comes from nowhere that is known is in no network.
        let from = Arrival::of(request.extensions()).address;
        let may = !from.is_unspecified() && mqtt.networks.iter().any(|network| network.contains(&from));
        if may { Ok(mqtt) } else { Err(Denied::Network) }
    }

    async fn rabbitmq(&self, question: Question, request: Request) -> Result<(), Denied> {
        let mqtt = self.mqtt(&request)?;
        let incoming = Incoming::read(request, self.settings.body_timeout).await?;
        let form = Form::parse(&incoming.body).map_err(|_| Denied::Malformed)?;
        let get = |name: &str| form.get(name).ok_or(Denied::Malformed);
        let user = get("username")?;
        if get("vhost")? != mqtt.vhost {
            return Err(Denied::VirtualHost);
        }
        // A topic's question says it with other words.
        let client = form.get("client_id").or_else(|| form.get("variable_map.client_id")).ok_or(Denied::ClientId)?;
        is_theirs(client, user)?;
        match question {
            Question::User => self.log_in(user, get("password")?).await.map(drop),
            Question::VirtualHost => self.session_of(user).await.map(drop),
            Question::Resource => {
                let (name, permission) = (get("name")?, get("permission")?);
                let known = match get("resource")? {
                    "exchange" => name == EXCHANGE && permission != "configure",
                    "queue" => ["qos0", "qos1"].iter().any(|qos| name == format!("{QUEUE}{client}{qos}")),
                    _ => false,
                };
                if known { self.session_of(user).await.map(drop) } else { Err(Denied::Resource) }
            }
            Question::Topic => {
                let action = match get("permission")? {
                    "write" => Action::Publish,
                    "read" => Action::Subscribe,
                    _ => return Err(Denied::Malformed),
                };
                let holder = self.session_of(user).await?;
                // The broker has made dots of slashes, and stars of plus signs.
                let allowed = get("name")? == EXCHANGE && mqtt.topics.allow(&holder, action, get("routing_key")?, '.');
                if allowed { Ok(()) } else { Err(Denied::Topic) }
            }
        }
    }

    async fn emqx_authenticate(&self, request: Request) -> Result<Arc<Holder>, Denied> {
        self.mqtt(&request)?;
        let incoming = Incoming::read(request, self.settings.body_timeout).await?;
        let asked: Authenticate = serde_json::from_slice(&incoming.body).map_err(|_| Denied::Malformed)?;
        is_theirs(&asked.clientid, &asked.username)?;
        self.log_in(&asked.username, &asked.password).await
    }

    async fn emqx_authorize(&self, request: Request) -> Result<(), Denied> {
        let mqtt = self.mqtt(&request)?;
        let incoming = Incoming::read(request, self.settings.body_timeout).await?;
        let asked: Authorize = serde_json::from_slice(&incoming.body).map_err(|_| Denied::Malformed)?;
        let action = match asked.action.as_str() {
            "publish" => Action::Publish,
            "subscribe" => Action::Subscribe,
            _ => return Err(Denied::Malformed),
        };
        let holder = self.session_of(&asked.username).await?;
        if mqtt.topics.allow(&holder, action, &asked.topic, '/') { Ok(()) } else { Err(Denied::Topic) }
    }

    /// The session of whoever holds the token, if the user name is that session's.
    async fn log_in(&self, user: &str, token: &str) -> Result<Arc<Holder>, Denied> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::Unknown.into());
        }
        let holder = self.core.token_holder(token).await?;
        let theirs = user_name(holder.account.apikey.as_str(), holder.session.audience.id()) == user;
        if theirs { Ok(holder) } else { Err(Denied::Another) }
    }

    /// The session that the user name belongs to.
    async fn session_of(&self, user: &str) -> Result<Holder, Denied> {
        let (apikey, client) = user.split_once('/').ok_or(Denied::UserName)?;
        self.core.holder_at(apikey, client).await?.ok_or(Denied::NoSession)
    }
}

/// A client's id is its user name, or begins with it and a slash: nobody takes over the queue or connection of anybody else.
fn is_theirs(client: &str, user: &str) -> Result<(), Denied> {
    let rest = client.strip_prefix(user).ok_or(Denied::ClientId)?;
    if rest.is_empty() || rest.starts_with('/') { Ok(()) } else { Err(Denied::ClientId) }
}
