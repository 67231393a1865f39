//! Watching: health, and metrics for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use account::{Clock, Keys, SystemClock};
use argon::Hasher;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use sql::SqlStore;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::certificate::{Certificate, Validity};
use crate::core::OpenCore;
use crate::failure::{Context, Failure};

/// How long a finding about the store holds: however often is asked, the store is not.
const FRESH: Duration = Duration::from_secs(1);

/// The longest that the store may take to prove that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often measurements are put into their buckets, whether anybody asks for them or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// How often is counted what only the store knows.
const COUNTING: Duration = Duration::from_mins(1);

/// The upper ends of the histograms' buckets, in seconds.
const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Whether one part is ready, and if not, why.
#[derive(Debug, Clone, Serialize)]
struct Check {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Check {
    fn ready() -> Self {
        Self { ready: true, reason: None }
    }

    fn not(reason: impl Into<String>) -> Self {
        Self { ready: false, reason: Some(reason.into()) }
    }

    fn unless(wrong: bool, reason: &str) -> Self {
        if wrong { Self::not(reason) } else { Self::ready() }
    }

    fn without_reason(self) -> Self {
        Self { reason: None, ..self }
    }
}

/// What a login needs, part by part.
#[derive(Debug, Clone, Serialize)]
struct Checks {
    store: Check,
    key: Check,
    hashing: Check,
    running: Check,
}

#[derive(Debug, Serialize)]
struct Report {
    ready: bool,
    checks: Checks,
}

impl Report {
    fn measure(&self) {
        let Checks { store, key, hashing, running } = &self.checks;
        for (name, check) in [("store", store), ("key", key), ("hashing", hashing), ("running", running)] {
            gauge!("hearthgate_ready", "check" => name).set(u8::from(check.ready));
        }
    }
}

/// Knows whether the server can do its work.
pub(crate) struct Health {
    store: SqlStore,
    hasher: Arc<Hasher>,
    keys: Arc<Keys>,
    stopping: AtomicBool,
    /// What was last found out about store and key. Whoever asks while it is being found out waits for that.
    last: Mutex<Option<(Instant, Check, Check)>>,
}

impl Health {
    pub fn of(open: &OpenCore) -> Self {
        Self {
            store: open.store.clone(),
            hasher: Arc::clone(&open.hasher),
            keys: Arc::clone(&open.keys),
            stopping: AtomicBool::new(false),
            last: Mutex::new(None),
        }
    }

    /// From now on the server is not ready any more.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    async fn report(&self) -> Report {
        let (store, key) = self.store_and_key().await;
        let hashing = Check::unless(self.hasher.load().overloaded, "passwords would wait longer than hash.max_wait to be hashed");
        let running = Check::unless(self.stopping.load(Ordering::Relaxed), "the server is stopping");
        let ready = [&store, &key, &hashing, &running].iter().all(|check| check.ready);
        Report { ready, checks: Checks { store, key, hashing, running } }
    }

    async fn store_and_key(&self) -> (Check, Check) {
        let mut last = self.last.lock().await;
        if let Some((at, store, key)) = &*last
            && at.elapsed() < FRESH
        {
            return (store.clone(), key.clone());
        }
        let (store, key) = self.ask_store().await;
        *last = Some((Instant::now(), store.clone(), key.clone()));
        (store, key)
    }

    async fn ask_store(&self) -> (Check, Check) {
        match self.store.ready(PATIENCE).await {
            Ok(remembered) => {
                let other = remembered.is_none_or(|key| !self.keys.knows(&key));
                (Check::ready(), Check::unless(other, "the master key is not the one that the database was made with"))
            }
            Err(error) => (Check::not(error.to_string()), Check::not("the store does not tell its key")),
        }
    }
}

/// Puts measurements where Prometheus can fetch them.
pub(crate) struct Watch {
    handle: PrometheusHandle,
    store: SqlStore,
    hasher: Arc<Hasher>,
    validity: Option<watch::Receiver<Validity>>,
}

impl Watch {
    /// Begins to measure.
    pub fn start(open: &OpenCore, certificate: Option<&Certificate>) -> Result<Self, Failure> {
        let failed = || "cannot measure".to_owned();
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).context(failed)?;
        let handle = builder.install_recorder().context(failed)?;
        describe();
        begin_at_zero();
        let validity = certificate.map(Certificate::validity);
        Ok(Self { handle, store: open.store.clone(), hasher: Arc::clone(&open.hasher), validity })
    }

    fn render(&self) -> String {
        let load = self.hasher.load();
        set("hearthgate_hash_queue_length", load.waiting);
        set("hearthgate_hash_threads", load.threads);
        gauge!("hearthgate_hash_expected_wait_seconds").set(load.expected_wait);
        let connections = self.store.connections();
        gauge!("hearthgate_store_connections", "state" => "in_use").set(connections.in_use);
        gauge!("hearthgate_store_connections", "state" => "idle").set(connections.idle);
        if let Some(validity) = &self.validity {
            set("hearthgate_certificate_not_after_timestamp_seconds", validity.borrow().not_after.0.div_euclid(1000));
        }
        metrics_process::Collector::default().collect();
        self.handle.render()
    }

    async fn upkeep(handle: PrometheusHandle) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            handle.run_upkeep();
        }
    }

    async fn count(store: SqlStore) {
        let mut every = tokio::time::interval(COUNTING);
        loop {
            every.tick().await;
            let now = SystemClock.now();
            match store.counts(now).await {
                Ok(counts) => {
                    set("hearthgate_sessions", counts.sessions);
                    set("hearthgate_messages_waiting", counts.waiting);
                    set("hearthgate_messages_given_up", counts.given_up);
                    let age = counts.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
                    gauge!("hearthgate_messages_oldest_age_seconds").set(age);
                }
                Err(error) => tracing::warn!(%error, "cannot count sessions and messages"),
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
fn set(name: &'static str, value: impl TryInto<i64>) {
    gauge!(name).set(value.try_into().unwrap_or(i64::MAX) as f64);
}

fn describe() {
    describe_counter!("hearthgate_requests_total", "Calls, by dialect, endpoint and how they ended");
    describe_histogram!("hearthgate_request_duration_seconds", Unit::Seconds, "How long calls took, by dialect and endpoint");
    describe_gauge!("hearthgate_connections", "Connections of clients, watchers and operators");
    describe_counter!(
        "hearthgate_connections_refused_total",
        "Connections for which there was no room, from their source or in all"
    );
    describe_counter!(
        "hearthgate_connections_dismissed_total",
        "Connections that kept the server waiting and made room for others"
    );
    describe_gauge!("hearthgate_hash_queue_length", "Passwords that wait to be hashed");
    describe_gauge!("hearthgate_hash_expected_wait_seconds", Unit::Seconds, "How long the next password is expected to wait");
    describe_gauge!("hearthgate_hash_threads", "Threads that hash");
    describe_histogram!("hearthgate_hash_wait_seconds", Unit::Seconds, "How long passwords waited to be hashed");
    describe_histogram!("hearthgate_hash_duration_seconds", Unit::Seconds, "How long hashing took");
    describe_counter!("hearthgate_hash_refused_total", "Passwords that were not hashed because too many waited");
    describe_histogram!(
        "hearthgate_store_operation_duration_seconds",
        Unit::Seconds,
        "How long the store's operations took, waiting for a connection included"
    );
    describe_counter!("hearthgate_store_errors_total", "Operations of the store that failed, by kind of failure");
    describe_gauge!("hearthgate_store_connections", "Connections to the database, by state");
    describe_counter!("hearthgate_messages_total", "Deliveries of messages that were tried, by channel and outcome");
    describe_gauge!("hearthgate_messages_waiting", "Messages that wait to be delivered");
    describe_gauge!("hearthgate_messages_given_up", "Messages that were given up within the last 30 days");
    describe_gauge!("hearthgate_messages_oldest_age_seconds", Unit::Seconds, "Age of the oldest message that waits");
    describe_counter!("hearthgate_rabbitmq_failures_total", "Attempts to throw clients out of RabbitMQ that failed");
    describe_gauge!("hearthgate_sessions", "Sessions that can be used or refreshed, in the whole store");
    describe_gauge!("hearthgate_certificate_not_after_timestamp_seconds", Unit::Seconds, "When the certificate in service ends");
    describe_gauge!("hearthgate_ready", "1 when a part of the server is ready, else 0");
    describe_gauge!("hearthgate_build_info", "1, with the version that runs");
    metrics_process::Collector::default().describe();
}

/// A counter that is there before its first event shows that event as a rise.
fn begin_at_zero() {
    gauge!("hearthgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    counter!("hearthgate_hash_refused_total").increment(0);
    counter!("hearthgate_connections_dismissed_total").increment(0);
    counter!("hearthgate_rabbitmq_failures_total").increment(0);
    for reason in ["source", "all"] {
        counter!("hearthgate_connections_refused_total", "reason" => reason).increment(0);
    }
    for kind in ["unavailable", "contended", "failed", "inconsistent"] {
        counter!("hearthgate_store_errors_total", "kind" => kind).increment(0);
    }
    for channel in ["mail", "sms"] {
        for outcome in ["sent", "failed"] {
            counter!("hearthgate_messages_total", "channel" => channel, "outcome" => outcome).increment(0);
        }
    }
}

/// Health for load balancers: without reasons, which are nobody else's business.
pub(crate) fn public(health: &Arc<Health>) -> Router {
    let ready = async |State(health): State<Arc<Health>>| {
        let Report { ready, checks: Checks { store, key, hashing, running } } = health.report().await;
        let [store, key, hashing, running] = [store, key, hashing, running].map(Check::without_reason);
        answer(&Report { ready, checks: Checks { store, key, hashing, running } })
    };
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready)).with_state(Arc::clone(health))
}

/// Health with reasons, and metrics; `tasks` gets what must be done meanwhile.
pub(crate) fn router(health: &Arc<Health>, watch: Option<Watch>, tasks: &mut JoinSet<()>) -> Router {
    let ready = async |State(health): State<Arc<Health>>| answer(&health.report().await);
    let router = Router::new().route("/health/live", get(live)).route("/health/ready", get(ready));
    let router = router.with_state(Arc::clone(health));
    let Some(watch) = watch else { return router };
    tasks.spawn(Watch::upkeep(watch.handle.clone()));
    tasks.spawn(Watch::count(watch.store.clone()));
    let scrape = async |State((watch, health)): State<(Arc<Watch>, Arc<Health>)>| {
        health.report().await.measure();
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], watch.render())
    };
    let metrics = Router::new().route("/metrics", get(scrape)).with_state((Arc::new(watch), Arc::clone(health)));
    router.merge(metrics)
}

async fn live() -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(serde_json::json!({ "live": true }))).into_response()
}

fn answer(report: &Report) -> Response {
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CACHE_CONTROL, "no-store")], Json(report)).into_response()
}
