//! Calls of the Fantem dialect, which note every code that they see.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Server};

/// The notes of successes, by family.
const NUMBER: &str = "OPERATE_SUCCESS";
const TEXT: &str = "操作成功";

const FORM: &str = "application/x-www-form-urlencoded";

/// A panel, phone or cube.
#[derive(Clone)]
pub struct Panel {
    base: String,
    client: reqwest::Client,
    cookies: String,
    /// Whether calls that a server leaves unanswered go on waiting.
    waits_for_ever: bool,
    seen: Arc<Mutex<BTreeSet<(String, u32)>>>,
}

impl Panel {
    pub fn new(server: &Server) -> Self {
        Self {
            base: server.http.clone(),
            client: crate::support::client(),
            cookies: String::new(),
            waits_for_ever: false,
            seen: Arc::default(),
        }
    }

    /// The same with these cookies.
    pub fn with_cookies(&self, cookies: &[(&str, &str)]) -> Self {
        let cookies: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self { cookies: cookies.join("; "), ..self.clone() }
    }

    /// The same at another server.
    pub fn at(&self, server: &Server) -> Self {
        Self { base: server.http.clone(), ..self.clone() }
    }

    /// One that goes on waiting when its server dies.
    pub fn waiting_for_ever(&self) -> Self {
        Self { waits_for_ever: true, ..self.clone() }
    }

    /// The same from another address of the loopback.
    pub fn from(&self, address: &str) -> Self {
        Self { client: super::client_from(address), ..self.clone() }
    }

    /// Every request and code so far.
    pub fn seen(&self) -> BTreeSet<(String, u32)> {
        self.seen.lock().unwrap().clone()
    }

    pub async fn form(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        self.send(Method::POST, path, "", form(parameters), FORM).await
    }

    /// A form whose parameters are in the query.
    pub async fn form_in_query(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        self.send(Method::POST, path, &form(parameters), String::new(), "").await
    }

    /// A body that need not be anything.
    pub async fn body(&self, path: &str, body: &str) -> Reply {
        self.send(Method::POST, path, "", body.to_owned(), "application/json").await
    }

    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        self.send(Method::GET, path, &form(parameters), String::new(), "").await
    }

    pub async fn json(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, "", body.to_string(), "application/json").await
    }

    /// The status of whatever is answered, be it a page.
    pub async fn status(&self, method: Method, path: &str, parameters: &[(&str, &str)]) -> u16 {
        self.visit(method, path, parameters).await.0
    }

    /// The status of a page, and when to try again.
    pub async fn visit(&self, method: Method, path: &str, parameters: &[(&str, &str)]) -> (u16, Option<u64>) {
        let url = format!("{}{path}", self.base);
        let request = match method {
            Method::GET => self.client.get(format!("{url}?{}", form(parameters))),
            method => self.client.request(method, url).header("content-type", FORM).body(form(parameters)),
        };
        let response = request.send().await.unwrap();
        let retry_after = response.headers().get("retry-after").map(|seconds| seconds.to_str().unwrap().parse().unwrap());
        (response.status().as_u16(), retry_after)
    }

    async fn send(&self, method: Method, path: &str, query: &str, body: String, content_type: &str) -> Reply {
        let request = format!("{method} {path}");
        let url = if query.is_empty() { format!("{}{path}", self.base) } else { format!("{}{path}?{query}", self.base) };
        let mut builder = self.client.request(method, url).header("content-type", content_type);
        if !self.cookies.is_empty() {
            builder = builder.header("cookie", &self.cookies);
        }
        let answered = match builder.body(body).send().await {
            Ok(response) => Answer::try_read(response).await,
            Err(error) => Err(error),
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(_) if self.waits_for_ever => std::future::pending().await,
            Err(error) => panic!("{error}"),
        };
        let reply = Reply { request: request.clone(), answer };
        self.seen.lock().unwrap().insert((request, reply.code()));
        reply
    }
}

fn form(parameters: &[(&str, &str)]) -> String {
    let letter = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", value.bytes().map(letter).collect::<String>());
    parameters.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// What was answered to which request.
#[derive(Debug)]
pub struct Reply {
    pub request: String,
    pub answer: Answer,
}

impl Reply {
    fn code(&self) -> u32 {
        let body = &self.answer.body;
        let written = body.get("code").or(body.get("str")).unwrap_or_else(|| panic!("no code in {body}"));
        written.as_str().map_or_else(|| u32::try_from(written.as_u64().unwrap()).unwrap(), |text| text.parse().unwrap())
    }

    /// A success of a family whose `code` is a number.
    #[track_caller]
    pub fn number(&self, data: Value) -> Value {
        self.is(200, &json!({ "code": 1, "note": NUMBER, "data": data }))
    }

    /// A success of a family whose `code` is a text.
    #[track_caller]
    pub fn text(&self, data: Value) -> Value {
        self.is(200, &json!({ "code": "1", "note": TEXT, "data": data }))
    }

    /// A failure of a family whose `code` is a number.
    #[track_caller]
    pub fn fails(&self, code: u32) {
        self.is(200, &json!({ "code": code, "note": "<text>", "data": null }));
    }

    /// A failure of a family whose `code` is a text.
    #[track_caller]
    pub fn fails_in_text(&self, code: u32) {
        self.is(200, &json!({ "code": code.to_string(), "note": "<text>", "data": null }));
    }

    /// The whole body, and `data` of it.
    #[track_caller]
    pub fn is(&self, status: u16, expected: &Value) -> Value {
        super::assert_answer(&self.request, &self.answer, status, expected);
        self.answer.body.get("data").cloned().unwrap_or_default()
    }
}
