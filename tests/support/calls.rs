//! Calls as clients make them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Answer, Server};

pub const APPID: &str = "McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr";
pub const SECRET: &str = "OdPuCZ4PkPPi0rVKRVcGmll2NM6vVk0c";

/// `dev`'s sample device and cube.
pub const TOUCH: &str = "touchfjsljdfksdjfksdfsdfsdfsdfs234sdfsd";
pub const CUBE: &str = "A01011725020927";

pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    BASE64.encode(mac.finalize().into_bytes())
}

pub fn md5(password: &str) -> String {
    hex::encode(Md5::digest(password))
}

/// An eWeLink v8 app.
#[derive(Clone)]
pub struct Ewelink {
    pub url: String,
    pub secret: String,
    pub host: Option<String>,
    pub client: reqwest::Client,
}

impl Ewelink {
    pub fn new(server: &Server) -> Self {
        let url = format!("{}/api/user/login", server.http);
        Self { url, secret: SECRET.into(), host: None, client: crate::support::client() }
    }

    pub fn at_host(mut self, host: &str) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The body of a login of `dev`'s sample account.
    pub fn body() -> Value {
        json!({
            "appid": APPID, "phoneNumber": "+8613123456789", "password": "12345678",
            "ts": 1_558_004_249, "version": 8, "nonce": "q3wz95p6",
        })
    }

    /// That body with some fields changed; `null` takes a field out.
    pub fn body_with(changes: &Value) -> Value {
        let mut body = Self::body();
        for (field, value) in changes.as_object().unwrap() {
            if value.is_null() {
                body.as_object_mut().unwrap().remove(field);
            } else {
                body[field] = value.clone();
            }
        }
        body
    }

    /// A request that still can be changed, not signed.
    pub fn request(&self, body: impl Into<Vec<u8>>) -> RequestBuilder {
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body.into());
        match &self.host {
            Some(host) => request.header("host", host),
            None => request,
        }
    }

    /// Sends exact bytes, signed.
    pub async fn send(&self, body: impl Into<Vec<u8>>) -> Answer {
        let body = body.into();
        let authorization = format!("Sign {}", sign(&self.secret, &body));
        Answer::read(self.request(body).header("authorization", authorization).send().await.unwrap()).await
    }

    /// Logs in with the sample body changed.
    pub async fn login(&self, changes: Value) -> Answer {
        self.send(Self::body_with(&changes).to_string()).await
    }
}

/// A Fantem panel or phone.
#[derive(Clone)]
pub struct Fantem {
    pub url: String,
    pub client: reqwest::Client,
}

impl Fantem {
    pub fn new(server: &Server) -> Self {
        Self { url: format!("{}/accounts/login", server.http), client: crate::support::client() }
    }

    /// The sample login of the documents.
    pub const SAMPLE: [(&str, &str); 4] =
        [("username", "apilogin"), ("password", "e10adc3949ba59abbe56e057f20f883e"), ("uuid", TOUCH), ("cubeSn", CUBE)];

    /// The sample with some parameters changed or added; an empty value takes one out.
    pub fn form(changes: &[(&str, &str)]) -> String {
        let mut parameters: Vec<(&str, &str)> = Self::SAMPLE.to_vec();
        for (name, value) in changes {
            parameters.retain(|(known, _)| known != name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        let letter = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
        let pair = |(name, value): &(&str, &str)| format!("{name}={}", value.bytes().map(letter).collect::<String>());
        parameters.iter().map(pair).collect::<Vec<_>>().join("&")
    }

    pub async fn send(&self, body: impl Into<Vec<u8>>) -> Answer {
        let request = self.client.post(&self.url).header("content-type", "application/x-www-form-urlencoded");
        Answer::read(request.body(body.into()).send().await.unwrap()).await
    }

    pub async fn login(&self, changes: &[(&str, &str)]) -> Answer {
        self.send(Self::form(changes)).await
    }
}
