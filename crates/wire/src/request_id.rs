//! Every request has an id. Its answer carries it as `X-Request-Id`, and so does everything that is logged of it.

use std::fmt;
use std::sync::Arc;

use account::Core;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;

/// A request's id: 16 hex digits. Always drawn here; one that a client sends is not looked at.
#[derive(Debug, Clone)]
pub struct RequestId(String);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RequestId {
    /// The id that [`name_requests`] gave to `request`.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or_else(|| Self("unnamed".into()))
    }
}

/// A middleware that gives each request its id.
pub async fn name_requests(State(core): State<Arc<Core>>, mut request: Request, next: Next) -> Response {
    let mut bytes = [0; 8];
    core.rng().fill(&mut bytes);
    let id = RequestId(hex::encode(bytes));
    let header = HeaderValue::from_str(&id.0);
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    if let Ok(header) = header {
        response.headers_mut().insert("x-request-id", header);
    }
    response
}
