//! Token introspection (RFC 7662): is this access token good, and whose is it?

use std::sync::Arc;

use account::{Guid, Holder, Timestamp};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use wire::{Attempt, Form, Incoming};

use crate::Service;
use crate::failure::Failure;

/// The longest token that is looked up, in bytes. No dialect has longer ones.
pub(crate) const LONGEST_TOKEN: usize = 128;

/// The most tokens in one question.
const MOST_TOKENS: usize = 100;

/// What is said of a token. Of one that is not good, nothing but that.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Good(Box<Good>),
    Bad { active: bool },
}

/// What is said of a good token. Times are in seconds since 1970 (RFC 7662 §2.2).
#[derive(Debug, Serialize)]
struct Good {
    active: bool,
    token_type: &'static str,
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    client_id: String,
    client_kind: &'static str,
    iat: i64,
    exp: i64,
    sid: String,
    account_number: i64,
    apikey: String,
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_guid: Option<Guid>,
    gateways: Vec<Guid>,
}

/// Many tokens in one question.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    tokens: Vec<String>,
}

/// `POST /oauth2/introspect`: one token, in a form.
pub(crate) async fn one(State(service): State<Arc<Service>>, request: Request) -> Response {
    let attempt = Attempt::begin("resource", "introspect", &request);
    let answer = async {
        let incoming = read(&service, request).await?;
        let form = Form::parse(&incoming.body).map_err(|_| Failure::Malformed("the body is no form, or says something twice"))?;
        service.caller(&incoming, Some(&form)).await?;
        let token = form.get("token").ok_or(Failure::Malformed("token is missing"))?;
        let mut answers = look_up(&service, &[token]).await?;
        answers.pop().ok_or(Failure::Panicked)
    };
    said(attempt, answer.await.map(Json))
}

/// `POST /oauth2/introspect/batch`: up to 100 tokens, in JSON; the answers are in their order.
pub(crate) async fn many(State(service): State<Arc<Service>>, request: Request) -> Response {
    let attempt = Attempt::begin("resource", "introspect_batch", &request);
    let answer = async {
        let incoming = read(&service, request).await?;
        service.caller(&incoming, None).await?;
        let question = serde_json::from_slice(&incoming.body);
        let Question { tokens } = question.map_err(|_| Failure::Malformed("the body is not {\"tokens\": [\"…\"]}"))?;
        if tokens.len() > MOST_TOKENS {
            return Err(Failure::Malformed("there are more than 100 tokens"));
        }
        let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
        look_up(&service, &tokens).await
    };
    said(attempt, answer.await.map(|answers| Json(serde_json::json!({ "tokens": answers }))))
}

async fn read(service: &Service, request: Request) -> Result<Incoming, Failure> {
    let incoming = Incoming::read(request, service.settings.body_timeout).await?;
    match incoming.query {
        // URLs end up in logs.
        Some(_) => Err(Failure::Malformed("parameters belong in the body, not in the URL")),
        None => Ok(incoming),
    }
}

async fn look_up(service: &Service, tokens: &[&str]) -> Result<Vec<Answer>, Failure> {
    // None of ours is longer; hashing them would be work for nothing.
    let tokens: Vec<_> = tokens.iter().map(|token| if token.len() > LONGEST_TOKEN { "" } else { token }).collect();
    let holders = service.core.token_holders(&tokens).await?;
    Ok(holders.into_iter().map(|holder| holder.map_or(Answer::Bad { active: false }, |holder| Answer::from(&*holder))).collect())
}

fn said(attempt: Attempt, answer: Result<impl IntoResponse, Failure>) -> Response {
    match answer {
        Ok(answer) => {
            attempt.succeeded_quietly("answered");
            ([(CACHE_CONTROL, "no-store")], answer).into_response()
        }
        Err(failure) => failure.log(attempt),
    }
}

impl From<&Holder> for Answer {
    fn from(holder: &Holder) -> Self {
        let Holder { account, session, device, gateways } = holder;
        let username = account.identifiers().next().map(|identifier| identifier.as_str().to_owned());
        Self::Good(Box::new(Good {
            active: true,
            token_type: "Bearer",
            sub: account.id.as_str().to_owned(),
            username,
            client_id: session.audience.id().to_owned(),
            client_kind: session.audience.kind(),
            iat: seconds(session.access_issued_at),
            exp: seconds(session.access_expires_at),
            sid: session.id.as_str().to_owned(),
            account_number: account.number.0,
            apikey: account.apikey.as_str().to_owned(),
            region: account.region.as_str().to_owned(),
            device_guid: device.clone(),
            gateways: gateways.clone(),
        }))
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}
