//! RabbitMQ's management API: who is connected, what is subscribed to, and an end to both.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::mqtt::EXCHANGE;

/// The longest that one call may take, and one that lists everything.
const TIMEOUT: Duration = Duration::from_secs(5);
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// The management API of a RabbitMQ, of the version 3.10 or newer.
pub struct Management {
    client: reqwest::Client,
    url: Url,
    user: String,
    password: SecretString,
}

/// Why the management API cannot be used. The words are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// It is no URL.
    #[error("is not a URL that begins with http:// or https://, without a user in it")]
    Url,
    /// There can be no HTTP client.
    #[error("{0}")]
    Client(#[from] reqwest::Error),
}

/// Why a call came to nothing. The words hold no URL, in which there are clients' names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It did not answer, or not in its own form.
    #[error("{0}")]
    Unreachable(String),
    /// It did not do it.
    #[error("it answers {0}")]
    Refused(StatusCode),
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(error.without_url().to_string())
    }
}

/// A connection to the broker.
#[derive(Debug, Deserialize)]
pub(crate) struct Connection {
    /// Whose it is; not known while it is being made.
    #[serde(default)]
    pub user: String,
    #[serde(default)]
    pub vhost: String,
}

/// That a queue gets what is published to a topic.
#[derive(Debug, Deserialize)]
pub(crate) struct Binding {
    /// The queue.
    pub destination: String,
    /// The topic, as RabbitMQ writes it.
    pub routing_key: String,
}

impl Management {
    /// The management API at `url`, for one of RabbitMQ's own users, who must be an administrator.
    ///
    /// # Errors
    /// [`ManagementError`].
    pub fn new(url: &str, user: String, password: SecretString) -> Result<Self, ManagementError> {
        let url: Url = url.parse().map_err(|_| ManagementError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(ManagementError::Url);
        }
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build()?;
        Ok(Self { client, url, user, password })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Everybody's connections.
    pub(crate) async fn connections(&self) -> Result<Vec<Connection>, CallError> {
        self.list(&["connections"], "?columns=user,vhost").await
    }

    /// What clients have subscribed to.
    pub(crate) async fn bindings(&self, vhost: &str) -> Result<Vec<Binding>, CallError> {
        self.list(&["exchanges", vhost, EXCHANGE, "bindings", "source"], "?columns=destination,routing_key").await
    }

    /// Closes all connections of a user, if there are any.
    pub(crate) async fn close(&self, user_name: &str) -> Result<(), CallError> {
        self.delete(&["connections", "username", user_name]).await
    }

    /// Deletes a queue with everything in it, if it is there. Whoever gets messages from it is thrown out by the broker.
    pub(crate) async fn delete_queue(&self, vhost: &str, queue: &str) -> Result<(), CallError> {
        self.delete(&["queues", vhost, queue]).await
    }

    async fn list<T: DeserializeOwned>(&self, path: &[&str], query: &str) -> Result<Vec<T>, CallError> {
        let request = self.request(Method::GET, path, query).timeout(LIST_TIMEOUT);
        let response = request.send().await?;
        match response.status() {
            StatusCode::OK => Ok(response.json().await?),
            other => Err(CallError::Refused(other)),
        }
    }

    async fn delete(&self, path: &[&str]) -> Result<(), CallError> {
        let request = self.request(Method::DELETE, path, "").header("x-reason", "it is not the client's any more");
        match request.send().await?.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            other => Err(CallError::Refused(other)),
        }
    }

    fn request(&self, method: Method, path: &[&str], query: &str) -> RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        let path: Vec<_> = path.iter().map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
        let request = self.client.request(method, format!("{base}/api/{}{query}", path.join("/")));
        request.basic_auth(&self.user, Some(self.password.expose_secret()))
    }
}
