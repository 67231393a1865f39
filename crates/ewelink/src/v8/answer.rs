//! What a login answers (§2).

use account::LoggedIn;
use axum::Json;
use axum::response::IntoResponse;
use serde::Serialize;

use super::Answer;
use crate::{JSON, Places};

/// A login's success. It never has a key `error`.
#[derive(Serialize)]
struct Body<'a> {
    at: &'a str,
    rt: &'a str,
    user: User<'a>,
    region: &'a str,
}

/// The person. What has no value is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct User<'a> {
    #[serde(rename = "_id")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    app_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<&'a str>,
    /// Whether the person's app is connected to the dispatch service, which is not this server's to know.
    online: bool,
    /// When the session began, and when the one that it replaced ended.
    online_time: String,
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offline_time: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    app_infos: Vec<AppInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nickname: Option<&'a str>,
    created_at: String,
    apikey: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<&'a str>,
}

/// The answer to a login, and to whatever else begins a session. `language` is the one that the app asked for; the account's own goes before it.
pub(super) fn logged_in(logged_in: &LoggedIn, language: Option<&str>, places: Option<&Places>, outcome: &'static str) -> Answer {
    let LoggedIn { account, session, tokens, previous_ended_at } = logged_in;
    let lang = account.details.language.as_deref().or(language);
    let client = &session.client;
    let app_info = AppInfo { app_version: client.app_version.as_deref(), os: client.os.as_deref() };
    let user = User {
        id: account.id.as_str(),
        phone_number: account.phone.as_ref().map(|phone| phone.as_str()),
        email: account.email.as_ref().map(|email| email.as_str()),
        app_id: session.audience.id(),
        lang,
        online: false,
        online_time: session.created_at.iso8601(),
        ip: client.address.to_string(),
        location: places.and_then(|places| places(client.address, lang).name),
        offline_time: previous_ended_at.map(|time| time.iso8601()),
        app_infos: if client.app_version.is_some() || client.os.is_some() { vec![app_info] } else { Vec::new() },
        nickname: account.details.display_name.as_deref(),
        created_at: account.registered_at.iso8601(),
        apikey: account.apikey.as_str(),
    };
    let body = Body { at: tokens.access.expose(), rt: tokens.refresh.expose(), user, region: account.region.as_str() };
    Answer { response: (JSON, Json(body)).into_response(), account: Some(account.number), outcome }
}
