//! Traces, told to a collector.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustix::process::Signal;
use serde_json::json;

use crate::support::app::App;
use crate::support::calls::{APPID, SECRET, md5};
use crate::support::sinks::{HttpSink, Mood};
use crate::support::{Ewelink, Server};

const PASSWORD: &str = "12345678";
const PHONE: &str = "+8613123456789";

/// A collector: the bytes of each batch are handed on.
async fn collector() -> (HttpSink, String) {
    let sink = HttpSink::start().await;
    let endpoint = sink.url.clone();
    (sink, endpoint)
}

fn traced(endpoint: &str, settings: &[(&str, &str)]) -> Server {
    Server::dev_with(&[&[("HEARTHGATE_TRACES__ENDPOINT", endpoint)], settings].concat())
}

/// Batches until one has a span with this request's id: all spans of its trace.
async fn trace_of(sink: &mut HttpSink, request_id: &str, bytes: &mut Vec<u8>) -> Vec<Span> {
    let mut seen: Vec<Span> = Vec::new();
    loop {
        let (batch, _) = sink.next_bytes().await;
        bytes.extend_from_slice(&batch);
        let batch = ExportTraceServiceRequest::decode(batch).unwrap();
        seen.extend(batch.resource_spans.into_iter().flat_map(|part| part.scope_spans).flat_map(|scope| scope.spans));
        if let Some(request) = seen.iter().find(|span| attribute(span, "request_id").as_deref() == Some(request_id)) {
            let trace = request.trace_id.clone();
            return seen.into_iter().filter(|span| span.trace_id == trace).collect();
        }
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Attribute::StringValue(text) => Some(text.clone()),
        Attribute::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

/// A login's trace: the request, its hash, and what it asked of the store, each beneath the request. Nothing that a client sent is told.
#[tokio::test]
async fn a_login_is_a_trace() {
    let (mut sink, endpoint) = collector().await;
    let server = traced(&endpoint, &[]);
    let login = Ewelink::new(&server).login(json!({})).await;
    let mut bytes = Vec::new();
    let spans = trace_of(&mut sink, &login.request_id, &mut bytes).await;
    let names: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.name.as_str(), span)).collect();
    let request = names["ewelink-v8 login"];
    let told =
        ["dialect", "endpoint", "result", "outcome", "http.response.status_code"].map(|name| attribute(request, name).unwrap());
    assert_eq!(told, ["ewelink-v8", "login", "success", "logged in", "200"]);
    assert!(request.parent_span_id.is_empty());
    for store in ["applications::find", "lanes::take", "sessions::commit_login"] {
        assert_eq!(names[store].parent_span_id, request.span_id, "{store}");
    }
    assert_eq!(names["hash"].parent_span_id, request.span_id);
    assert_eq!(names["hash.work"].parent_span_id, names["hash"].span_id);
    let all = request.start_time_unix_nano..=request.end_time_unix_nano;
    for span in &spans {
        // SQLite's thread leaves an operation's span a moment after it has answered.
        let end = if span.name.starts_with("hash") { span.end_time_unix_nano } else { span.start_time_unix_nano };
        assert!(all.contains(&span.start_time_unix_nano) && all.contains(&end), "{} is not in {all:?}: {span:?}", span.name);
    }
    let (access, digest) = (login.text("/at"), md5(PASSWORD));
    let told = String::from_utf8_lossy(&bytes);
    for secret in [PASSWORD, &digest, &access, SECRET, APPID, PHONE, &PHONE[3..], "127.0.0.1"] {
        assert!(!told.contains(secret), "{secret} was told");
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_same_words_as_in_the_metrics() {
    let (mut sink, endpoint) = collector().await;
    let server = traced(&endpoint, &[("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of-the-collector")]);
    let refused = Ewelink::new(&server).login(json!({ "password": "another password" })).await;
    let spans = trace_of(&mut sink, &refused.request_id, &mut Vec::new()).await;
    let request = spans.iter().find(|span| span.name == "ewelink-v8 login").unwrap();
    assert_eq!(attribute(request, "result").unwrap(), "refusal");
    assert_eq!(attribute(request, "outcome").unwrap(), "wrong password");
    Ewelink::new(&server).login(json!({})).await;
    assert_eq!(sink.next_bytes().await.1["x-key"], "of-the-collector");
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Somebody else's trace is gone on with only where that is allowed.
#[tokio::test]
async fn a_parent_is_believed_where_it_may_be() {
    for (trust, parent) in [("false", ""), ("true", "b7ad6b7169203331")] {
        let (mut sink, endpoint) = collector().await;
        let server = traced(&endpoint, &[("HEARTHGATE_TRACES__TRUST_PARENT", trust)]);
        let app = App::new(&server).with_header("traceparent", PARENT);
        let login = app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": PASSWORD })).await;
        let spans = trace_of(&mut sink, &login.request_id, &mut Vec::new()).await;
        let request = spans.iter().find(|span| span.name == "ewelink-v8 login").unwrap();
        assert_eq!(hex::encode(&request.parent_span_id), parent);
    }
}

/// Of nothing, nothing is told: what arrives at the end is what was asked for at the end.
#[tokio::test]
async fn a_share_of_nothing_is_nothing() {
    let (mut sink, endpoint) = collector().await;
    let silent = traced(&endpoint, &[("HEARTHGATE_TRACES__SAMPLE", "0.0")]);
    let unseen = Ewelink::new(&silent).login(json!({})).await;
    // It sends what it has before it ends.
    drop(silent.stop());
    let server = traced(&endpoint, &[]);
    let seen = Ewelink::new(&server).login(json!({})).await;
    let mut bytes = Vec::new();
    trace_of(&mut sink, &seen.request_id, &mut bytes).await;
    assert!(!String::from_utf8_lossy(&bytes).contains(&unseen.request_id));
}

/// A collector that hangs, refuses or is not there changes no answer and holds no stop up for long; the log says so once.
#[tokio::test]
async fn a_broken_collector_is_in_nobodys_way() {
    let (sink, hanging) = collector().await;
    sink.is_now(Mood::Hangs);
    let (failing_sink, failing) = collector().await;
    failing_sink.is_now(Mood::Fails);
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [hanging, failing, format!("http://{nowhere}/v1/traces")] {
        let endpoint = format!("{endpoint}?key=hush");
        let mut server = traced(&endpoint, &[]);
        let ewelink = Ewelink::new(&server);
        for _ in 0..50 {
            assert_eq!(ewelink.login(json!({})).await.body["region"], "cn");
        }
        server.log.wait_for(|line| line.contains("the collector of traces takes none"));
        assert_eq!(ewelink.login(json!({})).await.body["region"], "cn");
        let begun = Instant::now();
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        // Two for the last batch, the rest for a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?} to stop", begun.elapsed());
        assert!(!server.log.all().iter().any(|line| line.contains("hush")), "a key in a URL is nobody's business");
        let complaints = server.log.all().iter().filter(|line| line.contains("the collector of traces takes none")).count();
        assert_eq!(complaints, 1);
    }
}

/// Spans are no part of the log's lines.
#[tokio::test]
async fn the_log_stays_as_it_is() {
    let (mut sink, endpoint) = collector().await;
    let server = traced(&endpoint, &[]);
    let login = Ewelink::new(&server).login(json!({})).await;
    trace_of(&mut sink, &login.request_id, &mut Vec::new()).await;
    let line = server.log_line(&login.request_id);
    let fields: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let as_ever = ["timestamp", "level", "message", "request_id", "dialect", "outcome", "account", "identifier", "note", "ms"];
    assert_eq!(fields, as_ever, "{line}");
}
