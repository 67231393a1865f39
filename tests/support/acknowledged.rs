//! Lives whose every acknowledged step must have happened, whatever dies in the middle.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::app::App;
use super::{Answer, Server};

/// Everybody's password at first.
pub const PASSWORD: &str = "12345678";

/// Until when a server that has come back must serve.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn within(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Asks until there is an answer.
    pub async fn ask(self, call: impl AsyncFn() -> Answer) -> Answer {
        loop {
            if let Some(answer) = answered(call().await) {
                return answer;
            }
            assert!(Instant::now() < self.0, "it is not back in time");
        }
    }

    pub async fn is_good(self, app: &App, at: &str) -> bool {
        let answer = self.ask(async || app.v2_as(at, Method::GET, "/v2/user/profile", Value::Null).await).await;
        match answer.body["error"].as_u64() {
            Some(0) => true,
            Some(401) => false,
            other => panic!("{other:?}"),
        }
    }
}

/// What somebody was told, and must find to be so ever after.
#[derive(Debug, Clone)]
pub enum Told {
    /// This token is good.
    LoggedIn(String),
    /// This one was ended.
    LoggedOut(String),
    /// The first was taken back by a refresh, the second given.
    Refreshed(String, String),
    /// The password is another one; the token was kept.
    Changed(String, String),
}

/// A life, as far as it was told.
#[derive(Debug, Clone)]
pub struct Lived {
    pub told: Told,
    /// Of the request that was answered last.
    pub request_id: String,
}

/// `None` when the answer is that the server cannot answer now, in the dialect's own form.
pub fn answered(answer: Answer) -> Option<Answer> {
    if answer.status != 503 {
        return Some(answer);
    }
    assert!(answer.body["error"] == 500 && answer.retry_after == Some(1), "{answer:?}");
    None
}

pub async fn log_in(app: &App, person: usize, password: &str) -> Answer {
    app.v8("/api/user/login", json!({ "email": format!("person{person}@example.com"), "password": password })).await
}

/// One person's life, or nothing where it cannot be known whether the last thing was done.
pub async fn live(app: &App, person: usize) -> Option<Lived> {
    let login = answered(log_in(app, person, PASSWORD).await)?;
    let (at, rt) = (login.text("/at"), login.text("/rt"));
    let (told, last) = match person % 4 {
        0 => (Told::LoggedIn(at), login),
        1 => {
            let out = answered(app.v2_as(&at, Method::DELETE, "/v2/user/logout", json!({})).await)?;
            assert_eq!(out.body["error"], 0, "{}", out.body);
            (Told::LoggedOut(at), out)
        }
        2 => {
            let new = answered(app.v8_get("/api/user/refresh", &[("rt", &rt)]).await)?;
            (Told::Refreshed(at, new.text("/at")), new)
        }
        _ => {
            let new = format!("the new password of {person}");
            let change = json!({ "oldPassword": PASSWORD, "newPassword": new });
            let changed = answered(app.v2_as(&at, Method::POST, "/v2/user/change-pwd", change).await)?;
            assert_eq!(changed.body["error"], 0, "{}", changed.body);
            (Told::Changed(at, new), changed)
        }
    };
    Some(Lived { told, request_id: last.request_id })
}

impl Lived {
    /// Whether what was told is so.
    pub async fn verify(&self, by: Deadline, app: &App, person: usize) {
        let Self { told, request_id } = self;
        match told {
            Told::LoggedIn(at) => assert!(by.is_good(app, at).await, "{person}, {request_id}: the login was lost"),
            Told::LoggedOut(at) => assert!(!by.is_good(app, at).await, "{person}, {request_id}: the logout was lost"),
            Told::Refreshed(old, new) => {
                assert!(by.is_good(app, new).await, "{person}, {request_id}: the refresh was lost");
                assert!(!by.is_good(app, old).await, "{person}, {request_id}: the old token came back");
            }
            Told::Changed(at, new) => {
                assert!(by.is_good(app, at).await, "{person}, {request_id}: the session was lost");
                let old = by.ask(async || log_in(app, person, PASSWORD).await).await;
                assert_eq!(old.body, json!({ "error": 401 }), "{person}, {request_id}: the old password came back");
                let new = by.ask(async || log_in(app, person, new).await).await;
                assert_eq!(new.body["region"], "cn", "{person}, {request_id}: the new password was lost");
            }
        }
    }
}

/// Makes people with numbers.
pub fn make_people(node: &Server, count: usize) {
    let rows: String = (0..count).map(|person| format!("person{person}@example.com,plain,{PASSWORD}\n")).collect();
    let file = node.folder().path().join("people.csv");
    std::fs::write(&file, format!("email,scheme,verifier\n{rows}")).unwrap();
    assert_eq!(node.operate(&["account", "import", file.to_str().unwrap()])["imported"], count);
}
