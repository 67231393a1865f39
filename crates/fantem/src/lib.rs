//! The Fantem/OOMI dialect: wire bytes to and from the core's requests and outcomes.
//!
//! Documented in `docs/dialects/fantem.md`; "§" refers to its sections.

mod accounts;
mod binding;
mod codes;
mod devices;
mod envelope;
mod failure;
mod fields;
mod login;
mod pages;
mod parameters;
mod regions;
mod retired;
mod routes;
mod system;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use account::{Core, Email, Limit, Region, Sending, Terms, Token, TokenError, TokenLength};
use axum::Router;
use axum::http::Method;
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::failure::{Code, Failure};

/// How the dialect works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Where accounts are registered: the dialect knows no regions.
    pub region: Region,
    /// What the links in mails begin with; without it, no link can be mailed.
    pub public_url: Option<String>,
    /// Whether a cube can be taken from its account by whoever holds it (§5).
    pub allow_forced_rebind: bool,
}

/// What the dialect's handlers share.
pub(crate) struct Dialect {
    pub core: Arc<Core>,
    pub settings: Settings,
}

/// Tokens of 32 hex digits; the access token lives 2 hours, the refresh token 30 days (§2).
const TERMS: Terms = Terms {
    token_length: TokenLength::Bits128,
    access_lifetime: Duration::from_hours(2),
    refresh_lifetime: Duration::from_hours(30 * 24),
    // A second use ends the session (§4).
    repeatable: None,
};

const DAY: Duration = Duration::from_hours(24);

/// Codes by SMS: valid 10 minutes; 1 a minute, 5 an hour, 10 a day for one number (§5).
const BY_SMS: Sending = Sending {
    lifetime: Duration::from_mins(10),
    limits: &[
        Limit { most: 1, within: Duration::from_mins(1) },
        Limit { most: 5, within: Duration::from_hours(1) },
        Limit { most: 10, within: DAY },
    ],
};

/// Codes and activation links by mail: valid a day (§5); 3 a minute, 20 an hour, 100 a day for one address.
const BY_MAIL: Sending = Sending {
    lifetime: DAY,
    limits: &[
        Limit { most: 3, within: Duration::from_mins(1) },
        Limit { most: 20, within: Duration::from_hours(1) },
        Limit { most: 100, within: DAY },
    ],
};

/// Links to set a new password: valid an hour.
const RESET_LINK: Sending = Sending { lifetime: Duration::from_hours(1), ..BY_MAIL };

impl Dialect {
    /// How a link that leads to `path` is written, with the configured public URL and nothing that a request says. Without such a
    /// URL, the failure is `code`.
    fn link(&self, path: &'static str, code: Code) -> Result<impl Fn(&Email, &Token) -> String + Send + Sync + use<>, Failure> {
        let base = self.settings.public_url.clone().ok_or_else(|| Failure::ours(code, "public_url is not configured"))?;
        Ok(move |email: &Email, token: &Token| {
            format!("{base}{path}?email={}&code={}", utf8_percent_encode(email.as_str(), NON_ALPHANUMERIC), token.expose())
        })
    }
}

/// The dialect's routes. Its paths begin at the root, so it also answers for every path that is nobody's.
pub fn router(core: Arc<Core>, settings: Settings) -> Router {
    routes::router(&Arc::new(Dialect { core, settings }))
}

/// What the dialect answers to a request without a good access token in its cookie, with an HTTP status that reverse proxies understand:
/// 401 with the dialect's own code, or the failure of the store.
#[must_use]
pub fn refuse_token(error: &TokenError) -> Response {
    failure::refuse_token(error)
}

/// Every route, for whoever checks that each is tested.
#[must_use]
pub fn routes() -> Vec<(Method, &'static str)> {
    routes::ROUTES.iter().map(|(_, method, path)| (method.clone(), *path)).collect()
}
