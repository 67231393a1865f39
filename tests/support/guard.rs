//! What a resource server asks.

use std::collections::BTreeSet;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::Server;

/// A resource server.
#[derive(Clone)]
pub struct Guard {
    base: String,
    pub id: String,
    pub secret: String,
    client: reqwest::Client,
}

impl Guard {
    /// Registers one.
    pub fn new(server: &Server) -> Self {
        let made = server.operate(&["resource", "create", "--name", "sample API"]);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self { base: server.http.clone(), id: text("id"), secret: text("secret"), client: super::client() }
    }

    /// The same with another secret.
    pub fn with_secret(&self, secret: &str) -> Self {
        Self { secret: secret.into(), ..self.clone() }
    }

    /// A question, not sent yet and without credentials.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base))
    }

    /// Status and body of what is said of a token.
    pub async fn asks(&self, token: &str) -> (u16, Value) {
        let form = format!("token={token}&token_type_hint=access_token");
        let question = self.post("/oauth2/introspect").header("content-type", "application/x-www-form-urlencoded").body(form);
        read(question.basic_auth(&self.id, Some(&self.secret))).await
    }

    /// What is said of a token.
    pub async fn introspect(&self, token: &str) -> Value {
        let (status, body) = self.asks(token).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Whether a token is good.
    pub async fn is_good(&self, token: &str) -> bool {
        let body = self.introspect(token).await;
        assert!(body["active"] == true || body == json!({ "active": false }), "{body}");
        body["active"] == true
    }

    /// Follows the events after this one, or from now on.
    pub async fn follow(&self, after: Option<&str>) -> Events {
        Events::of(self.try_follow(after).await)
    }

    /// Follows the events from now on as soon as there is room: that somebody has left is seen a moment later.
    pub async fn follow_next(&self) -> Events {
        loop {
            let response = self.try_follow(None).await;
            if response.status() != 503 {
                return Events::of(response);
            }
        }
    }

    pub async fn try_follow(&self, after: Option<&str>) -> Response {
        let request = self.client.get(format!("{}/sessions/events", self.base)).basic_auth(&self.id, Some(&self.secret));
        let request = if let Some(after) = after { request.header("last-event-id", after) } else { request };
        request.send().await.unwrap()
    }
}

/// Status and body of an answer.
pub async fn read(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A stream of events.
pub struct Events {
    response: Response,
    text: String,
}

/// An event of a stream.
#[derive(Debug)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next block of lines; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event; `None` at the end of the stream. Comments are passed over.
    pub async fn try_next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let (Some(id), Some(name), Some(data)) = (field("id"), field("event"), field("data")) {
                return Some(Event { id: id.into(), name: name.into(), data: serde_json::from_str(data).unwrap() });
            }
            assert!(block.starts_with(':'), "{block:?}");
        }
    }

    pub async fn next(&mut self) -> Event {
        self.try_next().await.expect("the stream goes on")
    }

    /// Waits for a comment.
    pub async fn heartbeat(&mut self) {
        let block = self.block().await.expect("the stream goes on");
        assert!(block.starts_with(':'), "{block:?}");
    }

    /// The names or reasons of the next so many events, in any order, each with its session.
    pub async fn reasons(&mut self, count: usize) -> BTreeSet<(String, String)> {
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            let event = self.next().await;
            let reason = event.data["reason"].as_str().unwrap_or(&event.name).to_owned();
            assert!(seen.insert((event.data["sid"].as_str().unwrap().to_owned(), reason)), "twice: {event:?}");
        }
        seen
    }
}
