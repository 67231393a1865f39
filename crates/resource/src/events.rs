//! Session events as Server-Sent Events: a resource server that follows them may remember that a token is good.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use account::{ResourceServerId, SessionChange, SessionEvent};
use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use wire::{Attempt, Incoming};

use crate::Service;
use crate::credentials::Caller;
use crate::failure::Failure;
use crate::feed::{Follower, News};

/// How often something is sent, whether there is news or not. Whoever hears nothing for longer should not trust what it remembers.
const HEARTBEAT: Duration = Duration::from_secs(5);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What is told of an event. The time is in seconds since 1970.
#[derive(Serialize)]
struct Told {
    sid: String,
    sub: String,
    account_number: i64,
    apikey: String,
    client_id: String,
    client_kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    at: i64,
}

/// How many streams there may be on one node, and for one resource server.
const MOST: usize = 64;
const MOST_OF_ONE: usize = 16;

/// Who follows on this node, and how often.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<HashMap<ResourceServerId, usize>>);

/// A place among those who follow; free again when this is dropped.
struct Place {
    places: Arc<Places>,
    server: ResourceServerId,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<ResourceServerId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One resource server leaves room for the others.
    fn take(places: &Arc<Self>, server: &ResourceServerId) -> Option<Place> {
        let mut taken = places.taken();
        let own = taken.get(server).copied().unwrap_or_default();
        if own >= MOST_OF_ONE || taken.values().sum::<usize>() >= MOST {
            return None;
        }
        taken.insert(server.clone(), own + 1);
        Some(Place { places: Arc::clone(places), server: server.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        let left = taken.get(&self.server).map_or(0, |own| own - 1);
        if left == 0 {
            taken.remove(&self.server);
        } else {
            taken.insert(self.server.clone(), left);
        }
    }
}

/// Somebody's stream.
struct Line {
    service: Arc<Service>,
    caller: Caller,
    follower: Follower,
    /// When it is looked again whether the resource server may follow.
    due: Instant,
    first: Option<Event>,
    _place: Place,
}

/// `GET /sessions/events`. `Last-Event-ID` says which event was the last that arrived.
pub(crate) async fn follow(State(service): State<Arc<Service>>, request: Request) -> Response {
    let attempt = Attempt::begin("resource", "events", &request);
    match begin(&service, request).await {
        Ok(line) => {
            attempt.succeeded("follows").await;
            ([(CACHE_CONTROL, "no-store")], Sse::new(told(line))).into_response()
        }
        Err(failure) => failure.log(attempt),
    }
}

async fn begin(service: &Arc<Service>, request: Request) -> Result<Line, Failure> {
    let incoming = Incoming::read(request, service.settings.body_timeout).await?;
    if incoming.query.is_some() {
        return Err(Failure::Malformed("the last event's id belongs in the header Last-Event-ID"));
    }
    let caller = service.caller(&incoming, None).await?;
    let after = match incoming.headers().contains_key(&LAST_EVENT_ID) {
        true => Some(last_event(&incoming).ok_or(Failure::Malformed("Last-Event-ID is no id of an event"))?),
        false => None,
    };
    let place = Places::take(&service.places, &caller.server.id).ok_or(Failure::Crowded)?;
    let follower = service.feed.follow(after).await?;
    // From here on, so that whoever reconnects before anything happened misses nothing.
    let first = after.is_none().then(|| named(follower.cursor(), "start"));
    let due = Instant::now() + HEARTBEAT;
    Ok(Line { service: Arc::clone(service), caller, follower, due, first, _place: place })
}

fn last_event(incoming: &Incoming) -> Option<i64> {
    incoming.header(&LAST_EVENT_ID)?.parse().ok()
}

/// The stream ends when the store fails or the server stops; the resource server comes again and goes on where it was.
fn told(line: Line) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(line, async |mut line| {
        let event = line.next().await?;
        Some((Ok(event), line))
    })
}

impl Line {
    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if Instant::now() < self.due
            && let Ok(goes_on) = timeout_at(self.due, self.follower.wait()).await
        {
            return if goes_on { self.news().await } else { None };
        }
        self.due = Instant::now() + HEARTBEAT;
        self.may_follow().await.then(|| Event::default().comment(""))
    }

    async fn news(&mut self) -> Option<Event> {
        let news = self.follower.next().await.inspect_err(|error| tracing::warn!(%error, "cannot read session events"));
        Some(match news.ok()? {
            Some(News::Event(event)) => written(event),
            Some(News::Missed(sequence)) => named(sequence, "missed"),
            None => Event::default().comment(""),
        })
    }

    /// Whether the resource server is still registered, enabled, and has the secret with which it came.
    async fn may_follow(&self) -> bool {
        let core = &self.service.core;
        let known = core.resource_server(&self.caller.server.id).await;
        known.is_ok_and(|known| known.enabled && known.knows(&self.caller.secret, core.clock().now()))
    }
}

fn named(sequence: i64, name: &'static str) -> Event {
    Event::default().id(sequence.to_string()).event(name).data("{}")
}

fn written(event: SessionEvent) -> Event {
    let (name, reason) = match event.change {
        SessionChange::Refreshed => ("refreshed", None),
        SessionChange::Ended(_) => ("ended", Some(event.change.as_str())),
        SessionChange::GatewayGained | SessionChange::GatewayLost => ("changed", Some(event.change.as_str())),
        SessionChange::Other => ("changed", None),
    };
    let told = Told {
        sid: event.session.into(),
        sub: event.account_id.into(),
        account_number: event.account.0,
        apikey: event.apikey.into(),
        client_id: event.audience.id().to_owned(),
        client_kind: event.audience.kind(),
        reason,
        at: event.at.0.div_euclid(1000),
    };
    let data = serde_json::to_string(&told).expect("plain data");
    Event::default().id(event.sequence.to_string()).event(name).data(data)
}
