//! RabbitMQ's management API: clients whose session has ended are thrown out, also those that only listen.

use std::time::Duration;

use account::SessionChange;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::feed::{Feed, News};
use crate::mqtt;

/// The longest that the management API may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often is tried to throw somebody out, and the pause before the second time, which doubles.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// How long a failing store is left alone.
const RESPITE: Duration = Duration::from_secs(2);

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
    #[error("is not a URL that begins with http:// or https://")]
    Url,
    /// There can be no HTTP client.
    #[error("{0}")]
    Client(#[from] reqwest::Error),
}

impl Management {
    /// The management API at `url`, for one of RabbitMQ's own users, who must be an administrator.
    ///
    /// # Errors
    /// [`ManagementError`].
    pub fn new(url: &str, user: String, password: SecretString) -> Result<Self, ManagementError> {
        let url: Url = url.parse().map_err(|_| ManagementError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ManagementError::Url);
        }
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build()?;
        Ok(Self { client, url, user, password })
    }

    /// Throws out whoever's session ends, as long as the feed goes on.
    pub async fn follow(self, feed: std::sync::Arc<Feed>) {
        let mut after = None;
        loop {
            let mut follower = match feed.follow(after).await {
                Ok(follower) => follower,
                Err(error) => {
                    tracing::warn!(%error, "cannot follow the sessions that end");
                    tokio::time::sleep(RESPITE).await;
                    continue;
                }
            };
            after = Some(follower.cursor());
            while follower.wait().await {
                match follower.next().await {
                    Ok(Some(News::Event(event))) => {
                        if let SessionChange::Ended(_) | SessionChange::Other = event.change {
                            self.close(&mqtt::user_name(event.apikey.as_str(), event.audience.id())).await;
                        }
                    }
                    Ok(Some(News::Missed(_))) => {
                        tracing::warn!(
                            "sessions have ended unheard; their clients are refused when they publish or subscribe next"
                        );
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot read what became of sessions");
                        tokio::time::sleep(RESPITE).await;
                        break;
                    }
                }
                after = Some(follower.cursor());
            }
            if feed.is_stopped() {
                return;
            }
        }
    }

    /// Closes all connections of a user.
    async fn close(&self, user_name: &str) {
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            match self.try_close(user_name).await {
                Ok(StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) => return,
                outcome if attempt == TRIES => {
                    let outcome = outcome.map_or_else(|error| error.without_url().to_string(), |status| status.to_string());
                    tracing::error!(outcome, "RabbitMQ does not throw a client out whose session has ended");
                }
                _ => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    async fn try_close(&self, user_name: &str) -> Result<StatusCode, reqwest::Error> {
        let name = utf8_percent_encode(user_name, NON_ALPHANUMERIC);
        let base = self.url.as_str().trim_end_matches('/');
        let request = self.client.delete(format!("{base}/api/connections/username/{name}"));
        let request = request.basic_auth(&self.user, Some(self.password.expose_secret()));
        Ok(request.header("x-reason", "the session has ended").send().await?.status())
    }
}
