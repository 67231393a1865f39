//! A handler that answers even when it panics.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use futures_util::future::{CatchUnwind, FutureExt, TryFutureExt, UnwrapOrElse};

/// What answers for a handler that panicked, given what it panicked with.
pub type Panicked = fn(Box<dyn Any + Send>) -> Response;

/// A handler whose panics are answered, too. Unlike a layer, it costs no allocation.
#[derive(Debug, Clone)]
pub struct Guarded<H> {
    handler: H,
    panicked: Panicked,
}

impl<H> Guarded<H> {
    /// `panicked` answers where `handler` does not.
    pub fn new(handler: H, panicked: Panicked) -> Self {
        Self { handler, panicked }
    }
}

impl<T, S, H: Handler<T, S>> Handler<T, S> for Guarded<H> {
    type Future = UnwrapOrElse<CatchUnwind<AssertUnwindSafe<H::Future>>, Panicked>;

    fn call(self, request: Request, state: S) -> Self::Future {
        // What a handler shares with others is behind locks that bear it.
        AssertUnwindSafe(self.handler.call(request, state)).catch_unwind().unwrap_or_else(self.panicked)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn whoever_panics_is_answered_for() {
        let panicked: Panicked = |_| StatusCode::INTERNAL_SERVER_ERROR.into_response();
        let handle = |panics: bool| async move { if panics { panic!("on purpose") } else { StatusCode::OK } };
        for (panics, status) in [(false, StatusCode::OK), (true, StatusCode::INTERNAL_SERVER_ERROR)] {
            let handler = Guarded::new(move || handle(panics), panicked);
            assert_eq!(handler.call(Request::default(), ()).await.status(), status);
        }
    }
}
