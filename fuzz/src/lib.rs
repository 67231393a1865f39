//! What the targets share: a server without listeners, whose dialects are called as HTTP does.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use account::{
    ApplicationSecret, Core, DeliveryError, Details, DeviceKind, GatewayKind, Keys, MasterKey, Message, NewAccount, Notifier,
    ObjectId, Origin, Password, Ports, Profile, Rules, Standing, SystemClock, SystemRng,
};
use argon::{Cost, Hasher};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::Sha256;
use sql::{Limits, SqlStore};
use tokio::runtime::Runtime;
use tower_service::Service;

/// Applications of either profile, and the secret of both.
pub const COMPAT: &str = "McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr";
pub const STRICT: &str = "StrictStrictStrictStrictStrict00";
const SECRET: &str = "OdPuCZ4PkPPi0rVKRVcGmll2NM6vVk0c";

/// Where asynchronous functions run.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

static HOUSE: LazyLock<Router> = LazyLock::new(|| RUNTIME.block_on(build()));

/// Loses every message.
struct Nowhere;

#[async_trait::async_trait]
impl Notifier for Nowhere {
    async fn deliver(&self, _: &ObjectId, _: &Message) -> Result<(), DeliveryError> {
        Ok(())
    }

    fn wake(&self) {}
}

/// A hasher of the lowest cost.
pub fn hasher() -> Hasher {
    let settings = argon::Settings { cost: Cost { memory_kib: 8, iterations: 1 }, threads: 1, max_wait: Duration::from_secs(60) };
    Hasher::start(settings, keys(), Arc::new(SystemRng)).expect("Argon2 knows the cost")
}

/// A master key whose fingerprint the seeds know.
fn keys() -> Arc<Keys> {
    Arc::new(Keys::only(MasterKey::parse(&"5e".repeat(32)).expect("a key")))
}

async fn build() -> Router {
    // In memory, where there is such a place: a store that is durable waits for the disk.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let store = SqlStore::sqlite(&folder.keep().join("fuzz.db"), Limits::default()).await.expect("a store");
    let rules = Rules {
        failures: 1_000_000,
        source_failures: 1_000_000,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
        daily: 1_000_000,
    };
    let region: account::Region = "cn".parse().expect("a region");
    let settings = account::Settings {
        regions: vec![region.clone()],
        retry_pause: Duration::from_secs(1),
        throttle: rules,
        registrations: 1_000_000,
        longest_wait: Duration::from_secs(60),
        audit_keep: Duration::from_hours(24),
        uniform_errors: false,
    };
    let ports = Ports {
        store: Arc::new(store),
        hasher: Arc::new(hasher()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        notifier: Arc::new(Nowhere),
        directory: None,
    };
    let core = Arc::new(Core::new(ports, settings, keys()));
    add_samples(&core, &region).await;
    let body_timeout = Duration::from_secs(60);
    let ewelink = ewelink::Settings {
        hosts: wire::Hosts::new([], region.clone()),
        regions: vec![region.clone()],
        max_clock_skew: Duration::from_secs(10 * 365 * 24 * 60 * 60),
        body_timeout,
        places: None,
    };
    let public_url = Some("https://id.example.com".to_owned());
    let fantem = fantem::Settings { body_timeout, region, public_url, allow_forced_rebind: true };
    ewelink::router(Arc::clone(&core), ewelink).merge(fantem::router(core, fantem))
}

async fn add_samples(core: &Core, region: &account::Region) {
    for (id, profile) in [(COMPAT, Profile::Compat), (STRICT, Profile::Strict)] {
        let secret = ApplicationSecret::parse(SECRET).expect("a secret");
        core.create_application(None, id.parse().ok(), Some(secret), profile).await.expect("an application");
    }
    let account = NewAccount {
        region: region.clone(),
        user_name: "apilogin".parse().ok(),
        email: "anna@example.com".parse().ok(),
        phone: "+8613123456789".parse().ok(),
        password: Password::given("123456".into()).expect("a password").digest(),
        standing: Standing::Active,
        details: Details::default(),
    };
    core.create_account(account).await.expect("an account");
    core.register_device("touch".parse().expect("a serial"), DeviceKind::Touch, None).await.expect("a device");
    core.register_gateway("cube".parse().expect("a serial"), GatewayKind::Cube, None).await.expect("a gateway");
}

/// What is answered to a request: the status and the body.
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// Makes a call, which must not be answered with a failure of the server's own.
pub fn call(request: axum::http::request::Builder, body: &[u8]) -> Option<Answer> {
    let origin = Origin { address: IpAddr::V4(Ipv4Addr::LOCALHOST), request: "fuzz".into() };
    // What is no request for HTTP does not come so far.
    let request = request.extension(origin).body(Body::from(body.to_vec())).ok()?;
    let shown = format!("{} {}", request.method(), request.uri());
    let mut house = HOUSE.clone();
    let (status, body) = RUNTIME.block_on(async {
        let response = house.call(request).await.expect("a router always answers");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body in memory").to_bytes().to_vec())
    });
    assert!(!status.is_server_error(), "{shown} is answered {status}: {}", String::from_utf8_lossy(&body));
    Some(Answer { status, body })
}

/// A call of the eWeLink dialects, signed as the application `appid`: over its body, or over its query if that is all it has.
pub fn call_signed(method: &Method, path: &str, content: &[u8], appid: &str, at: Option<&str>) -> Option<Answer> {
    let in_query = *method == Method::GET;
    let uri = if in_query { format!("{path}?{}", std::str::from_utf8(content).ok()?) } else { path.to_owned() };
    let signed = if in_query { sorted(content)? } else { content.to_vec() };
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(&signed);
    let signature = format!("Sign {}", STANDARD.encode(mac.finalize().into_bytes()));
    let authorization = at.map_or(signature, |at| format!("Bearer {at}"));
    let request = Request::builder().method(method).uri(uri).header("x-ck-appid", appid).header("authorization", authorization);
    call(request, if in_query { &[] } else { content })
}

/// What a query is signed over.
fn sorted(query: &[u8]) -> Option<Vec<u8>> {
    let query = wire::Query::parse(std::str::from_utf8(query).ok()?).ok()?;
    let mut pairs: Vec<_> = query.pairs().iter().filter(|(name, _)| name != "sign").map(|(n, v)| format!("{n}={v}")).collect();
    pairs.sort();
    Some(pairs.join("&").into_bytes())
}

/// Splits off the byte that chooses one of `choices`.
pub fn choose<'a, T>(choices: &'a [T], data: &'a [u8]) -> Option<(&'a T, &'a [u8])> {
    let (choice, rest) = data.split_first()?;
    Some((&choices[usize::from(*choice) % choices.len()], rest))
}
