//! Calls of the eWeLink dialects, which note every code that they see.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::calls::{APPID, SECRET, sign};
use super::{Answer, Server};

/// An app.
#[derive(Clone)]
pub struct App {
    base: String,
    host: String,
    /// Which application it is.
    pub appid: String,
    pub secret: String,
    client: reqwest::Client,
    header: Option<(&'static str, String)>,
    /// Whether calls that a server leaves unanswered go on waiting.
    waits_for_ever: bool,
    seen: Arc<Mutex<BTreeSet<(String, u32)>>>,
}

impl App {
    pub fn new(server: &Server) -> Self {
        Self {
            base: server.http.clone(),
            host: "cn-apia.coolkit.cn".into(),
            appid: APPID.into(),
            secret: SECRET.into(),
            client: crate::support::client(),
            header: None,
            waits_for_ever: false,
            seen: Arc::default(),
        }
    }

    /// The same at another host name.
    pub fn at_host(&self, host: &str) -> Self {
        Self { host: host.into(), ..self.clone() }
    }

    /// The same at another server.
    pub fn at(&self, server: &Server) -> Self {
        Self { base: server.http.clone(), ..self.clone() }
    }

    /// The same from another address of the loopback.
    pub fn from(&self, address: &str) -> Self {
        Self { client: super::client_from(address), ..self.clone() }
    }

    /// One that goes on waiting when its server dies.
    pub fn waiting_for_ever(&self) -> Self {
        Self { waits_for_ever: true, ..self.clone() }
    }

    /// The same with a header in every request.
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        Self { header: Some((name, value.to_owned())), ..self.clone() }
    }

    /// Another application.
    pub fn as_application(&self, appid: &str, secret: &str) -> Self {
        Self { appid: appid.into(), secret: secret.into(), ..self.clone() }
    }

    /// Every request and code so far.
    pub fn seen(&self) -> BTreeSet<(String, u32)> {
        self.seen.lock().unwrap().clone()
    }

    fn request(&self, method: Method, path: &str, query: &str) -> RequestBuilder {
        let url = if query.is_empty() { format!("{}{path}", self.base) } else { format!("{}{path}?{query}", self.base) };
        let request = self.client.request(method, url).header("host", &self.host);
        self.header.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    async fn send(&self, method: Method, path: &str, builder: RequestBuilder) -> Answer {
        let answered = match builder.send().await {
            Ok(response) => Answer::try_read(response).await,
            Err(error) => Err(error),
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(_) if self.waits_for_ever => std::future::pending().await,
            Err(error) => panic!("{error}"),
        };
        let code = answer.body.get("error").map_or(Some(0), Value::as_u64).unwrap();
        self.seen.lock().unwrap().insert((format!("{method} {path}"), u32::try_from(code).unwrap()));
        answer
    }

    /// A body with what every v8 call carries; `null` takes a field out.
    pub fn v8_body(&self, changes: &Value) -> Value {
        let mut body = json!({ "appid": self.appid, "nonce": "q3wz95p6", "ts": 1_558_004_249, "version": 8 });
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    /// A signed v8 call.
    pub async fn v8(&self, path: &str, changes: Value) -> Answer {
        let body = self.v8_body(&changes).to_string();
        let signature = sign(&self.secret, body.as_bytes());
        self.authorized(Method::POST, path, &format!("Sign {signature}"), body).await
    }

    /// A signed v8 call without a body, its parameters in this order.
    pub async fn v8_get(&self, path: &str, parameters: &[(&str, &str)]) -> Answer {
        let common = [("appid", self.appid.as_str()), ("nonce", "q3wz95p6"), ("ts", "1558004249"), ("version", "8")];
        let all: Vec<_> = common.into_iter().chain(parameters.iter().copied()).collect();
        let join =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let mut sorted = all.clone();
        sorted.sort_unstable();
        let signature = sign(&self.secret, join(&sorted).as_bytes());
        self.get(path, &join(&all), &format!("Sign {signature}")).await
    }

    /// Any call without a body.
    pub async fn get(&self, path: &str, query: &str, authorization: &str) -> Answer {
        let builder = self.request(Method::GET, path, query).header("authorization", authorization);
        self.send(Method::GET, path, builder.header("x-ck-appid", &self.appid)).await
    }

    /// Any call with a body.
    pub async fn authorized(&self, method: Method, path: &str, authorization: &str, body: impl Into<reqwest::Body>) -> Answer {
        let builder = self.request(method.clone(), path, "").header("x-ck-appid", &self.appid).body(body);
        let builder = if authorization.is_empty() { builder } else { builder.header("authorization", authorization) };
        self.send(method, path, builder).await
    }

    /// A signed v2 call.
    pub async fn v2(&self, path: &str, body: Value) -> Answer {
        let body = body.to_string();
        let signature = sign(&self.secret, body.as_bytes());
        self.authorized(Method::POST, path, &format!("Sign {signature}"), body).await
    }

    /// A v2 call of somebody who is logged in.
    pub async fn v2_as(&self, at: &str, method: Method, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.authorized(method, path, &format!("Bearer {at}"), body).await
    }
}
