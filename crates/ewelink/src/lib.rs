//! The eWeLink dialects (CoolKit open platform), version 8 and its successor v2: wire bytes to and from the core's requests and
//! outcomes. Applications, signatures, regions and sessions are the same; only the wire differs.
//!
//! Documented in `docs/dialects/ewelink-v8.md` and `docs/dialects/ewelink-v2.md`; "§" refers to their sections.

mod regions;
mod signature;
mod v2;
mod v8;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use account::{Core, Limit, Region, Sending, Terms, TokenError, TokenLength};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use wire::Hosts;

/// Where an address is, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The province or state, else the country, in the language of a person.
    pub name: Option<String>,
    /// The country's code (ISO 3166-1): `CN`.
    pub country: Option<String>,
}

/// Tells the place of an address, in the language of a person.
pub type Places = Arc<dyn Fn(IpAddr, Option<&str>) -> Place + Send + Sync>;

/// How the dialects work.
#[derive(Clone)]
pub struct Settings {
    /// Which host means which region.
    pub hosts: Hosts,
    /// The regions that are served.
    pub regions: Vec<Region>,
    /// How far a strict application's clock may be off (`ewelink-v8` §5).
    pub max_clock_skew: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Where `user.location` comes from, if the operator has such a thing.
    pub places: Option<Places>,
}

/// What the dialects' handlers share.
pub(crate) struct Dialect {
    pub core: Arc<Core>,
    pub settings: Settings,
}

/// What the dialect answers to a request without a good access token, with an HTTP status that reverse proxies understand: 401 with the
/// dialect's own code (`ewelink-v8` §3), or the failure of the store.
#[must_use]
pub fn refuse_token(error: &TokenError) -> Response {
    v8::refuse_token(error)
}

impl Dialect {
    /// The region that belongs to a country's calling code, as far as it is served: else the one of the host.
    pub fn region(&self, calling_code: Option<&str>, host: Option<&str>) -> Region {
        let of_country = calling_code.and_then(regions::of_calling_code);
        let served = of_country.and_then(|name| self.settings.regions.iter().find(|region| region.as_str() == name));
        served.unwrap_or_else(|| self.settings.hosts.region(host)).clone()
    }
}

const DAY: Duration = Duration::from_hours(24);

/// Tokens of 40 hex digits; `at` lives one month, `rt` two (`ewelink-v8` §2).
const TERMS: Terms = Terms {
    token_length: TokenLength::Bits160,
    access_lifetime: DAY.saturating_mul(30),
    refresh_lifetime: DAY.saturating_mul(60),
    repeatable: Some(Duration::from_mins(1)),
};

/// Codes: valid half an hour, 3 a minute, 20 an hour, 100 a day for one address (`ewelink-v2`).
const SENDING: Sending = Sending {
    lifetime: Duration::from_mins(30),
    limits: &[
        Limit { most: 3, within: Duration::from_mins(1) },
        Limit { most: 20, within: Duration::from_hours(1) },
        Limit { most: 100, within: DAY },
    ],
};

/// The content type of every answer.
const JSON: [(HeaderName, HeaderValue); 1] = [(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))];

/// The dialects' routes: everything under `/api/`, and what is under `/v2/` and nobody else's.
pub fn router(core: Arc<Core>, settings: Settings) -> Router {
    let dialect = Arc::new(Dialect { core, settings });
    v8::router(&dialect).merge(v2::router(&dialect))
}

/// Every route, for whoever checks that each is tested.
#[must_use]
pub fn routes() -> Vec<(Method, &'static str)> {
    let v8 = v8::ROUTES.iter().map(|(_, method, path)| (method.clone(), *path));
    let v2 = v2::ROUTES.iter().map(|(_, method, path)| (method.clone(), *path));
    v8.chain(v2).collect()
}
