//! Version 8 of the protocol (`docs/dialects/ewelink-v8.md`).

mod answer;
mod call;
mod failure;
mod life;
mod login;

use std::sync::Arc;

use account::AccountNumber;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, any, on};
use wire::{Attempt, Guarded, Incoming};

use crate::Dialect;

use self::failure::Failure;
pub(crate) use self::failure::refuse_token;

/// What can be called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Endpoint {
    Region,
    SendCode,
    Register,
    Login,
    ResetPassword,
    ChangePassword,
    Refresh,
}

/// Where it is called.
pub(crate) const ROUTES: &[(Endpoint, Method, &str)] = &[
    (Endpoint::Region, Method::GET, "/api/user/region"),
    (Endpoint::SendCode, Method::POST, "/api/sms"),
    (Endpoint::Register, Method::POST, "/api/user/register"),
    (Endpoint::Login, Method::POST, "/api/user/login"),
    (Endpoint::ResetPassword, Method::POST, "/api/user/password/reset"),
    (Endpoint::ChangePassword, Method::POST, "/api/user/password"),
    (Endpoint::Refresh, Method::GET, "/api/user/refresh"),
];

impl Endpoint {
    /// Whether the audit trail has how it ends.
    fn is_recorded(self) -> bool {
        matches!(self, Self::Register | Self::Login | Self::ResetPassword | Self::ChangePassword)
    }

    /// What it is called in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::SendCode => "send code",
            Self::Register => "register",
            Self::Login => "login",
            Self::ResetPassword => "reset password",
            Self::ChangePassword => "change password",
            Self::Refresh => "refresh",
        }
    }
}

/// A success, and what the log says of it.
pub(crate) struct Answer {
    pub response: Response,
    pub account: Option<AccountNumber>,
    pub outcome: &'static str,
}

pub(crate) fn router(dialect: &Arc<Dialect>) -> Router {
    let unknown_path = || async { Failure::UnknownPath };
    let unknown_method = || async { Failure::UnknownMethod };
    let mut router = Router::new();
    for (endpoint, method, path) in ROUTES {
        let filter = if *method == Method::GET { MethodFilter::GET } else { MethodFilter::POST };
        let route = on(filter, Guarded::new(handle, |_| Failure::Panicked.into_response()))
            .fallback(unknown_method)
            .with_state((Arc::clone(dialect), *endpoint));
        router = router.route(path, route);
    }
    router.route("/api", any(unknown_path)).route("/api/", any(unknown_path)).route("/api/{*rest}", any(unknown_path))
}

async fn handle(State((dialect, endpoint)): State<(Arc<Dialect>, Endpoint)>, request: Request) -> Response {
    // A GET changes things here: nobody who only wants its head may do so.
    if request.method() == Method::HEAD {
        return Failure::UnknownMethod.into_response();
    }
    let mut attempt = Attempt::begin("ewelink-v8", endpoint.name(), &request);
    if endpoint.is_recorded() {
        attempt = attempt.recorded(&dialect.core, &request);
    }
    match answer(&dialect, endpoint, request, &mut attempt).await {
        Ok(answer) => {
            attempt.account = answer.account;
            attempt.succeeded(answer.outcome).await;
            answer.response
        }
        Err(failure) => {
            attempt.failed(&failure, failure.is_ours());
            failure.into_response()
        }
    }
}

async fn answer(dialect: &Dialect, endpoint: Endpoint, request: Request, attempt: &mut Attempt) -> Result<Answer, Failure> {
    let incoming = Incoming::read(request, dialect.settings.body_timeout).await?;
    match endpoint {
        Endpoint::Login => dialect.login(&incoming, attempt).await,
        Endpoint::Region => dialect.tell_region(&incoming, attempt).await,
        Endpoint::SendCode => dialect.send_code(&incoming, attempt).await,
        Endpoint::Register => dialect.register(&incoming, attempt).await,
        Endpoint::ResetPassword => dialect.reset_password(&incoming, attempt).await,
        Endpoint::ChangePassword => dialect.change_password(&incoming, attempt).await,
        Endpoint::Refresh => dialect.refresh(&incoming, attempt).await,
    }
}
