//! Traces: what a request spends its time on, told to a collector of OpenTelemetry by OTLP over HTTP.
//!
//! Spans are made where time is spent: a request's here, a hash's in `argon`, an operation's of the store in `sql`. They hold nothing
//! that a client sent. Without a collector nothing is made at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http;
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use tracing::{Instrument, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use wire::Called;

use crate::failure::{Context, Failure};

/// The longest that the collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last batch may take when the server stops.
const LAST: Duration = Duration::from_secs(2);

/// How long spans wait for others to be sent with.
const GATHERING: Duration = Duration::from_secs(1);

/// How many spans wait at most; more are dropped.
const QUEUE: usize = 8192;

/// The crates that make spans for the collector; what libraries make is theirs.
const OURS: [&str; 3] = ["argon", "hearthgate", "sql"];

/// Where traces are told, and which.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TracesSettings {
    /// The collector's URL for traces.
    endpoint: String,
    /// Which part of all requests is traced, from 0 to 1.
    #[serde(default = "all")]
    sample: f64,
    /// Whether `traceparent` headers are believed.
    #[serde(default)]
    trust_parent: bool,
}

fn all() -> f64 {
    1.0
}

/// Traces on their way to the collector.
#[derive(Debug, Clone)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    trust_parent: bool,
}

impl TracesSettings {
    /// Checks what can be checked without the collector.
    pub fn check(&self) -> Result<(), Failure> {
        let url: Option<reqwest::Url> = self.endpoint.parse().ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(format!("traces.endpoint is {:?}, not like http://127.0.0.1:4318/v1/traces", self.endpoint).into());
        }
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(format!("traces.sample is {}, not from 0 to 1", self.sample).into());
        }
        Ok(())
    }
}

impl Traces {
    /// Begins to tell the collector. Whether it listens is its own business.
    pub fn start(settings: &TracesSettings) -> Result<Self, Failure> {
        let unusable = || "traces cannot be told".to_owned();
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build().context(unusable)?;
        let courier = Courier { client, runtime: tokio::runtime::Handle::current(), failing: AtomicBool::new(false) };
        let exporter = SpanExporter::builder().with_http().with_http_client(courier).with_endpoint(&settings.endpoint);
        let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_scheduled_delay(GATHERING).build();
        let batches = BatchSpanProcessor::builder(exporter.build().context(unusable)?).with_batch_config(batches).build();
        let share = Sampler::TraceIdRatioBased(settings.sample);
        let sampler = if settings.trust_parent { Sampler::ParentBased(Box::new(share)) } else { share };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(batches)
            .with_sampler(sampler)
            .with_resource(Resource::builder_empty().with_service_name("hearthgate").build())
            .build();
        Ok(Self { provider, trust_parent: settings.trust_parent })
    }

    /// What makes spans out of what happens.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer("hearthgate"));
        layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_filter(filter_fn(is_ours))
    }

    /// Sends what is left.
    pub async fn stop(self) {
        // It blocks its thread.
        let stopped = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(LAST));
        // What is lost is spans.
        drop(stopped.await);
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    let first = metadata.target().split("::").next();
    metadata.is_span() && first.is_some_and(|first| OURS.contains(&first))
}

/// A middleware that makes a request's span. `wire::Attempt` tells which call it is, and writes on it how it ends.
pub(crate) async fn trace(State(traces): State<Traces>, mut request: Request, next: Next) -> Response {
    use tracing::field::Empty;
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        dialect = Empty,
        endpoint = Empty,
        result = Empty,
        outcome = Empty,
        request_id = Empty,
        http.response.status_code = Empty
    );
    if traces.trust_parent {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(request.headers()));
        // One that cannot be a parent is none.
        drop(span.set_parent(parent));
    }
    let called = Called::default();
    request.extensions_mut().insert(called.clone());
    let response = next.run(request).instrument(span.clone()).await;
    if let Some((dialect, endpoint)) = called.get() {
        span.context().span().update_name(format!("{dialect} {endpoint}"));
        span.record("dialect", dialect);
        span.record("endpoint", endpoint);
    }
    span.record("http.response.status_code", response.status().as_u16());
    response
}

/// Carries batches to the collector.
#[derive(Debug)]
struct Courier {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
    /// Whether the last batch did not arrive.
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Courier {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        // Whoever calls has a thread of its own, without a runtime.
        let sent = self.runtime.spawn(send(self.client.clone(), request)).await?;
        let problem = match &sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            // Without the collector's URL, in which there may be a password.
            Err(error) => Some(error.to_string()),
        };
        let failed_before = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(error) if !failed_before => tracing::warn!(error, "the collector of traces takes none; they are dropped"),
            None if failed_before => tracing::info!("the collector of traces takes them again"),
            _ => {}
        }
        sent.map_err(Into::into)
    }
}

async fn send(client: reqwest::Client, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, reqwest::Error> {
    let sending = async {
        let answer = client.execute(request.try_into()?).await?;
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.body_mut() = answer.bytes().await?;
        Ok(response)
    };
    sending.await.map_err(reqwest::Error::without_url)
}
