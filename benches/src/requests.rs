//! The requests that real clients send, and the answers that are right.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::json;
use sha2::Sha256;

use crate::http::Answer;
use crate::population::{self, APPLICATION, PASSWORD, RESOURCE_SERVER};

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Login,
    Fantem,
    Refresh,
    Check,
    Introspect,
}

/// What clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wanted {
    /// Signed logins of eWeLink v8
    Login,
    /// Logins of Fantem: a form with a device's serial number
    Fantem,
    /// Signed refreshes of eWeLink v8, each client with the tokens that the one before gave it
    Refresh,
    /// Token checks as a reverse proxy asks them: /auth/verify
    Check,
    /// Token checks as a resource server asks them: /oauth2/introspect
    Introspect,
    /// Of 200 requests two logins, ten refreshes and 188 token checks
    Mix,
}

impl Wanted {
    /// The kind of a client's request, by its number.
    pub fn nth(self, number: usize) -> Kind {
        match (self, number % 200) {
            (Self::Login, _) | (Self::Mix, 0) => Kind::Login,
            (Self::Fantem, _) | (Self::Mix, 100) => Kind::Fantem,
            (Self::Refresh, _) | (Self::Mix, 10 | 30 | 50 | 70 | 90 | 110 | 130 | 150 | 170 | 190) => Kind::Refresh,
            (Self::Check | Self::Mix, _) => Kind::Check,
            (Self::Introspect, _) => Kind::Introspect,
        }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Fantem => "fantem",
            Self::Refresh => "refresh",
            Self::Check => "check",
            Self::Introspect => "introspect",
        }
    }

    /// Whether it is the answer that must come, where nothing is wrong and nothing refused.
    pub fn is_right(self, answer: &Answer<'_>) -> bool {
        let holds = |text: &str| find(answer.body, text).is_some();
        match self {
            Self::Login | Self::Refresh => answer.status == 200 && holds("\"rt\":\""),
            Self::Fantem => answer.status == 200 && holds("\"accountToken\":\""),
            Self::Check => answer.status == 204,
            Self::Introspect => answer.status == 200 && answer.body.starts_with(b"{\"active\":true,"),
        }
    }
}

/// The text that follows `before`, up to `end`.
pub(crate) fn between<'a>(body: &'a [u8], before: &str, end: &[u8]) -> Option<&'a str> {
    let rest = &body[find(body, before)? + before.len()..];
    let length = rest.iter().position(|byte| end.contains(byte))?;
    std::str::from_utf8(&rest[..length]).ok()
}

fn find(body: &[u8], text: &str) -> Option<usize> {
    body.windows(text.len()).position(|window| window == text.as_bytes())
}

/// Real clients of version 8 send the same nonce and time for as long as they run.
const NONCE: &str = "q3wz95p6";

/// `POST /api/user/login`.
pub(crate) fn login(person: i64) -> Vec<u8> {
    let email = population::email(person);
    let body = json!({ "appid": APPLICATION.0, "email": email, "password": PASSWORD, "ts": 1, "version": 8, "nonce": NONCE });
    let body = body.to_string();
    let signature = signature(&body);
    post("/api/user/login", &format!("authorization: Sign {signature}\r\ncontent-type: application/json"), &body)
}

/// `GET /api/user/refresh`.
pub(crate) fn refresh(token: &str) -> Vec<u8> {
    let query = format!("appid={}&grantType=refresh&nonce={NONCE}&rt={token}&ts=1&version=8", APPLICATION.0);
    get(&format!("/api/user/refresh?{query}"), &format!("Sign {}", signature(&query)))
}

/// `POST /accounts/login`.
pub(crate) fn fantem(person: i64) -> Vec<u8> {
    let (email, serial) = (population::email(person), population::device(person));
    let password = hex::encode(Md5::digest(PASSWORD));
    let form = format!("uuid={serial}&username={email}&password={password}");
    post("/accounts/login", "content-type: application/x-www-form-urlencoded", &form)
}

/// `GET /auth/verify`.
pub(crate) fn check(person: i64) -> Vec<u8> {
    get("/auth/verify", &format!("Bearer {}", population::access_token(person)))
}

/// `POST /oauth2/introspect`.
pub(crate) fn introspect(person: i64) -> Vec<u8> {
    let credentials = BASE64.encode(format!("{}:{}", RESOURCE_SERVER.0, RESOURCE_SERVER.1));
    let headers = format!("authorization: Basic {credentials}\r\ncontent-type: application/x-www-form-urlencoded");
    post("/oauth2/introspect", &headers, &format!("token={}", population::access_token(person)))
}

fn signature(message: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(APPLICATION.1.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

fn get(path: &str, authorization: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: eu-api.coolkit.cc\r\nauthorization: {authorization}\r\n\r\n").into_bytes()
}

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: eu-api.coolkit.cc\r\n{headers}\r\ncontent-length: {length}\r\n\r\n");
    (head + body).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_what_it_says() {
        let mut counts = std::collections::BTreeMap::new();
        (0..200).for_each(|number| *counts.entry(Wanted::Mix.nth(number)).or_insert(0) += 1);
        let expected = [(Kind::Login, 1), (Kind::Fantem, 1), (Kind::Refresh, 10), (Kind::Check, 188)];
        assert!(counts.into_iter().eq(expected));
    }

    #[test]
    fn what_is_between() {
        assert_eq!(between(br#"{"at":"x","rt":"abc"}"#, "\"rt\":\"", b"\""), Some("abc"));
        assert_eq!(between(br#"{"error":401,"msg":""}"#, "\"error\":", b",}"), Some("401"));
        assert_eq!(between(b"{}", "\"rt\":\"", b"\""), None);
    }
}
