//! A client of the eWeLink dialects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::Outcome;
use crate::population::{self, APPLICATION, PASSWORD};
use crate::subject::Serving;

/// A client of the eWeLink dialects.
#[derive(Clone)]
pub(crate) struct Caller {
    client: reqwest::Client,
    url: String,
}

impl Caller {
    pub fn of(server: &Serving) -> Self {
        Self { client: reqwest::Client::new(), url: server.url.clone() }
    }

    /// One that calls from an address of the loopback.
    pub fn from(server: &Serving, address: std::net::Ipv4Addr) -> Outcome<Self> {
        // The server ends what is idle for 5 s, which a client that comes just then cannot know.
        let client = reqwest::Client::builder().pool_idle_timeout(std::time::Duration::from_secs(2));
        let client = client.local_address(std::net::IpAddr::from(address)).build()?;
        Ok(Self { client, url: server.url.clone() })
    }

    /// Logs in, which must succeed.
    pub async fn log_in(&self, person: i64) -> Outcome<()> {
        let (_, answer) = self.try_to_log_in(person).await?;
        if answer["at"].is_string() { Ok(()) } else { Err(format!("a login was answered {answer}").into()) }
    }

    /// Logs in; the answer, and its HTTP status.
    pub async fn try_to_log_in(&self, person: i64) -> Outcome<(u16, Value)> {
        let body = json!({
            "appid": APPLICATION.0, "email": population::email(person), "password": PASSWORD, "ts": 1, "version": 8, "nonce": "q3wz95p6",
        });
        let body = body.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(APPLICATION.1.as_bytes())?;
        mac.update(body.as_bytes());
        let signature = BASE64.encode(mac.finalize().into_bytes());
        let request = self.client.post(format!("{}/api/user/login", self.url)).header("host", "eu-api.coolkit.cc");
        let response = request.header("authorization", format!("Sign {signature}")).body(body).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// Checks a token.
    pub async fn check(&self, person: i64) -> Outcome<()> {
        let request = self.client.get(format!("{}/v2/user/profile", self.url)).bearer_auth(population::access_token(person));
        let answer: Value = request.header("x-ck-appid", APPLICATION.0).send().await?.json().await?;
        // Who has logged in meanwhile has another token: the answer takes the same look at the store.
        if matches!(answer["error"].as_i64(), Some(0 | 401)) {
            Ok(())
        } else {
            Err(format!("a check was answered {answer}").into())
        }
    }
}
