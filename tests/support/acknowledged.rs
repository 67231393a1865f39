//! Lives whose every acknowledged step must have happened, whatever dies in the middle.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AnyPool;

use super::app::App;
use super::calls::md5;
use super::panel::Panel;
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
    /// The password is another one, by a code; the token was ended.
    Reset(String, String),
    /// A cube is theirs, and somebody is logged in on a phone.
    Bound { cube: String, phone: String },
    /// So many wrong guesses were refused.
    Guessed(i64),
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
    let in_form = answer.body["error"] == 500 || answer.body["note"] == "SERVER_BUSY";
    assert!(in_form && answer.retry_after == Some(1), "{answer:?}");
    None
}

pub async fn log_in(app: &App, person: usize, password: &str) -> Answer {
    app.v8("/api/user/login", json!({ "email": format!("person{person}@example.com"), "password": password })).await
}

/// How many kinds of lives there are.
const KINDS: usize = 7;

/// What people live on: an app and a panel at a server, and the folder in which it leaves its messages.
#[derive(Clone)]
pub struct Living {
    pub app: App,
    panel: Panel,
    outbox: PathBuf,
}

impl Living {
    pub fn at(server: &Server) -> Self {
        Self::with(server, &server.data())
    }

    /// The same, where the data folder is found elsewhere.
    pub fn with(server: &Server, data: &Path) -> Self {
        Self { app: App::new(server), panel: Panel::new(server), outbox: data.join("outbox") }
    }

    /// The same, but for who goes on waiting when the server dies.
    pub fn waiting_for_ever(self) -> Self {
        Self { app: self.app.waiting_for_ever(), panel: self.panel.waiting_for_ever(), ..self }
    }

    /// The code that was sent to this address. It is taken away, and what holds no code as well: nobody else looks.
    fn take_code(&self, to: &str) -> String {
        for entry in std::fs::read_dir(&self.outbox).unwrap() {
            let path = entry.unwrap().path();
            // Others take theirs meanwhile.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let Ok(message) = serde_json::from_slice::<Value>(&bytes) else { continue };
            let text = message["text"].as_str().unwrap();
            let code = text.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 6);
            if message["to"] == to || code.is_none() {
                drop(std::fs::remove_file(&path));
            }
            if let (true, Some(code)) = (message["to"] == to, code) {
                return code.to_owned();
            }
        }
        panic!("no code to {to}")
    }

    async fn reset(&self, at: String, person: usize) -> Option<(Told, Answer)> {
        let email = format!("person{person}@example.com");
        let sent = answered(self.app.v2("/v2/user/verification-code", json!({ "type": 1, "email": email })).await)?;
        if sent.body["error"] == 504 {
            // There was no room for the message.
            return None;
        }
        assert_eq!(sent.body["error"], 0, "{}", sent.body);
        let new = format!("the new password of {person}");
        let reset = json!({ "email": email, "verificationCode": self.take_code(&email), "password": new });
        let reset = answered(self.app.v2("/v2/user/reset-pwd", reset).await)?;
        assert_eq!(reset.body["error"], 0, "{}", reset.body);
        Some((Told::Reset(at, new), reset))
    }

    async fn bind(&self, person: usize) -> Option<(Told, Answer)> {
        let (cube, phone) = (format!("cube-of-{person}"), format!("phone-of-{person}"));
        let device = json!({
            "sn": phone, "wifiMac": format!("{phone}-w"), "bluetoothMac": format!("{phone}-b"), "uuid": "u", "type": "android_phone",
            "manufacturer": "m", "model": "m", "systemType": "android", "systemVersion": "14", "applicationVersion": "V2.0",
        });
        let registered = answered(self.panel.json("/client/register", &device).await.answer)?;
        assert_eq!(registered.body["code"], "1", "{}", registered.body);
        let form = [("sn", cube.as_str()), ("uuid", &cube), ("p2pUid", &cube)];
        let registered = answered(self.panel.form("/cube/register", &form).await.answer)?;
        assert_eq!(registered.body["code"], "1", "{}", registered.body);
        let (email, password) = (format!("person{person}@example.com"), md5(PASSWORD));
        let form = [("username", email.as_str()), ("password", &password), ("uuid", &phone), ("cubeSn", &cube)];
        let login = answered(self.panel.form("/accounts/login", &form).await.answer)?;
        assert_eq!(login.body["code"], 1, "{}", login.body);
        Some((Told::Bound { cube, phone }, login))
    }

    async fn guess(&self, person: usize) -> Option<(Told, Answer)> {
        let mut guesses = 0;
        loop {
            let refused = answered(log_in(&self.app, person, "not the password").await)?;
            assert_eq!(refused.body, json!({ "error": 401 }));
            guesses += 1;
            if guesses == 3 {
                return Some((Told::Guessed(guesses), refused));
            }
        }
    }
}

/// One person's life, or nothing where it cannot be known whether the last thing was done.
pub async fn live(living: &Living, person: usize) -> Option<Lived> {
    let app = &living.app;
    let login = answered(log_in(app, person, PASSWORD).await)?;
    let (at, rt) = (login.text("/at"), login.text("/rt"));
    let (told, last) = match person % KINDS {
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
        3 => living.reset(at, person).await?,
        4 => living.bind(person).await?,
        5 => living.guess(person).await?,
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
    /// Whether what was told is so, and in the trail; without a database, whatever can be asked for over the wire.
    pub async fn verify(&self, by: Deadline, app: &App, database: Option<&AnyPool>, person: usize) {
        self.verify_told(by, app, person).await;
        let Some(database) = database else { return };
        self.verify_stored(database, person).await;
        // Refreshes are not in the trail, and refusals a little later.
        if matches!(self.told, Told::Refreshed(..) | Told::Guessed(_)) {
            return;
        }
        let noted = "SELECT COUNT(*) FROM audit WHERE request = $1";
        while number(database, noted, &self.request_id).await == 0 {
            // What a failing store could not write follows when it works again.
            assert!(Instant::now() < by.0, "{person}, {}: it is not in the trail", self.request_id);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn verify_stored(&self, database: &AnyPool, person: usize) {
        let (Self { told, request_id }, email) = (self, format!("person{person}@example.com"));
        match told {
            Told::Bound { cube, phone } => {
                let owned = "SELECT COUNT(*) FROM gateways JOIN accounts ON account = number WHERE serial = $1 AND email = $2";
                let there = "SELECT COUNT(*) FROM sessions JOIN accounts ON account = number WHERE audience = $1 AND email = $2";
                for (query, serial, what) in [(owned, cube, "binding"), (there, phone, "login")] {
                    let found: i64 = sqlx::query_scalar(query).bind(serial).bind(&email).fetch_one(database).await.unwrap();
                    assert_eq!(found, 1, "{person}, {request_id}: the {what} was lost");
                }
            }
            Told::Guessed(guesses) => {
                let counted = "SELECT CAST(COALESCE(SUM(failures), 0) AS BIGINT) FROM lanes \
                               WHERE subject = (SELECT 'account/' || id FROM accounts WHERE email = $1)";
                assert_eq!(number(database, counted, &email).await, *guesses, "{person}, {request_id}: not all guesses count");
            }
            _ => {}
        }
    }

    async fn verify_told(&self, by: Deadline, app: &App, person: usize) {
        let Self { told, request_id } = self;
        match told {
            Told::LoggedIn(at) => assert!(by.is_good(app, at).await, "{person}, {request_id}: the login was lost"),
            Told::LoggedOut(at) => assert!(!by.is_good(app, at).await, "{person}, {request_id}: the logout was lost"),
            Told::Refreshed(old, new) => {
                assert!(by.is_good(app, new).await, "{person}, {request_id}: the refresh was lost");
                assert!(!by.is_good(app, old).await, "{person}, {request_id}: the old token came back");
            }
            Told::Bound { .. } | Told::Guessed(_) => {}
            Told::Reset(at, new) | Told::Changed(at, new) => {
                let kept = matches!(told, Told::Changed(..));
                assert_eq!(by.is_good(app, at).await, kept, "{person}, {request_id}: the session is not as it was");
                let old = by.ask(async || log_in(app, person, PASSWORD).await).await;
                assert_eq!(old.body, json!({ "error": 401 }), "{person}, {request_id}: the old password came back");
                let new = by.ask(async || log_in(app, person, new).await).await;
                assert_eq!(new.body["region"], "cn", "{person}, {request_id}: the new password was lost");
            }
        }
    }
}

/// The number that a query finds for a text.
async fn number(database: &AnyPool, query: &'static str, text: &str) -> i64 {
    sqlx::query_scalar(query).bind(text.to_owned()).fetch_one(database).await.unwrap()
}

/// Makes people with numbers.
pub fn make_people(node: &Server, count: usize) {
    let rows: String = (0..count).map(|person| format!("person{person}@example.com,plain,{PASSWORD}\n")).collect();
    let file = node.folder().path().join("people.csv");
    std::fs::write(&file, format!("email,scheme,verifier\n{rows}")).unwrap();
    assert_eq!(node.operate(&["account", "import", file.to_str().unwrap()])["imported"], count);
}
