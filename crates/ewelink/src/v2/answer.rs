//! What is answered: `{"error", "msg", "data"}`, all three always.

use account::{Account, AccountNumber, Tokens};
use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::JSON;

#[derive(Serialize)]
pub(super) struct Envelope<'a> {
    pub error: u32,
    pub msg: &'a str,
    pub data: Value,
}

/// A success, and what the log says of it.
pub(super) struct Answer {
    pub data: Value,
    pub account: Option<AccountNumber>,
    pub outcome: &'static str,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (JSON, Json(Envelope { error: 0, msg: "", data: self.data })).into_response()
    }
}

/// A success that has nothing to say.
pub(super) fn done(account: Option<AccountNumber>, outcome: &'static str) -> Answer {
    Answer { data: json!({}), account, outcome }
}

/// The person. What has no value is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct User<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    country_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    apikey: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nickname: Option<&'a str>,
    account_level: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_country: Option<String>,
}

/// The level of an account that pays nothing: the only one there is.
const LEVEL: u32 = 10;

/// `country` is where the request came from, if that is known and asked for.
pub(super) fn user(account: &Account, country: Option<String>) -> Value {
    let user = User {
        country_code: account.phone.as_ref().and_then(account::Phone::country_code),
        phone_number: account.phone.as_ref().map(|phone| phone.as_str()),
        email: account.email.as_ref().map(|email| email.as_str()),
        apikey: account.apikey.as_str(),
        nickname: account.details.display_name.as_deref(),
        account_level: LEVEL,
        ip_country: country,
    };
    serde_json::to_value(user).expect("a person is plain data")
}

/// The answer to whatever begins a session.
pub(super) fn logged_in(account: &Account, tokens: &Tokens, outcome: &'static str) -> Answer {
    let data = json!({
        "user": user(account, None), "at": tokens.access.expose(), "rt": tokens.refresh.expose(), "region": account.region,
    });
    Answer { data, account: Some(account.number), outcome }
}
