//! The successor of version 8 (`docs/dialects/ewelink-v2.md`): another wire for the same core.

mod answer;
mod call;
mod failure;
mod life;
mod login;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, any, on};
use wire::{Attempt, Guarded, Incoming};

use crate::Dialect;

use self::answer::Answer;
use self::failure::Failure;

/// What can be called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Endpoint {
    Login,
    Register,
    LoginByCode,
    SendCode,
    ResetPassword,
    ChangePassword,
    Profile,
    SetProfile,
    Refresh,
    Logout,
    CloseAccount,
    Region,
}

/// Where it is called.
pub(crate) const ROUTES: &[(Endpoint, Method, &str)] = &[
    (Endpoint::Login, Method::POST, "/v2/user/login"),
    (Endpoint::Register, Method::POST, "/v2/user/register"),
    (Endpoint::LoginByCode, Method::POST, "/v2/user/sms-login"),
    (Endpoint::SendCode, Method::POST, "/v2/user/verification-code"),
    (Endpoint::ResetPassword, Method::POST, "/v2/user/reset-pwd"),
    (Endpoint::ChangePassword, Method::POST, "/v2/user/change-pwd"),
    (Endpoint::Profile, Method::GET, "/v2/user/profile"),
    (Endpoint::SetProfile, Method::POST, "/v2/user/profile"),
    (Endpoint::Refresh, Method::POST, "/v2/user/refresh"),
    (Endpoint::Logout, Method::DELETE, "/v2/user/logout"),
    (Endpoint::CloseAccount, Method::POST, "/v2/user/close-account"),
    (Endpoint::Region, Method::GET, "/v2/utils/get-region"),
];

impl Endpoint {
    /// Whether the audit trail has how it ends.
    fn is_recorded(self) -> bool {
        match self {
            Self::Login
            | Self::Register
            | Self::LoginByCode
            | Self::ResetPassword
            | Self::ChangePassword
            | Self::Logout
            | Self::CloseAccount => true,
            Self::SendCode | Self::Profile | Self::SetProfile | Self::Refresh | Self::Region => false,
        }
    }

    /// What it is called in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Register => "register",
            Self::LoginByCode => "login by code",
            Self::SendCode => "send code",
            Self::ResetPassword => "reset password",
            Self::ChangePassword => "change password",
            Self::Profile => "profile",
            Self::SetProfile => "set profile",
            Self::Refresh => "refresh",
            Self::Logout => "logout",
            Self::CloseAccount => "close account",
            Self::Region => "region",
        }
    }
}

pub(crate) fn router(dialect: &Arc<Dialect>) -> Router {
    let unknown = || async { Failure::UnknownEndpoint };
    let mut router = Router::new();
    for (endpoint, method, path) in ROUTES {
        let filter = MethodFilter::try_from(method.clone()).expect("a method that routes know");
        let route =
            on(filter, Guarded::new(handle, |_| Failure::Panicked.into_response())).with_state((Arc::clone(dialect), *endpoint));
        router = router.route(path, route);
    }
    router
        .method_not_allowed_fallback(unknown)
        .route("/v2", any(unknown))
        .route("/v2/", any(unknown))
        .route("/v2/{*rest}", any(unknown))
}

async fn handle(State((dialect, endpoint)): State<(Arc<Dialect>, Endpoint)>, request: Request) -> Response {
    if request.method() == Method::HEAD {
        return Failure::UnknownEndpoint.into_response();
    }
    let mut attempt = Attempt::begin("ewelink-v2", endpoint.name(), &request);
    if endpoint.is_recorded() {
        attempt = attempt.recorded(&dialect.core, &request);
    }
    match answer(&dialect, endpoint, request, &mut attempt).await {
        Ok(answer) => {
            attempt.account = answer.account;
            attempt.succeeded(answer.outcome).await;
            answer.into_response()
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
        Endpoint::Login => dialect.login_v2(&incoming, attempt).await,
        Endpoint::LoginByCode => dialect.login_by_code(&incoming, attempt).await,
        Endpoint::Register => dialect.register_v2(&incoming, attempt).await,
        Endpoint::SendCode => dialect.send_code_v2(&incoming, attempt).await,
        Endpoint::ResetPassword => dialect.reset_password_v2(&incoming, attempt).await,
        Endpoint::ChangePassword => dialect.change_password_v2(&incoming, attempt).await,
        Endpoint::Profile => dialect.profile(&incoming, attempt).await,
        Endpoint::SetProfile => dialect.set_profile(&incoming, attempt).await,
        Endpoint::Refresh => dialect.refresh_v2(&incoming).await,
        Endpoint::Logout => dialect.logout(&incoming, attempt).await,
        Endpoint::CloseAccount => dialect.close_account(&incoming, attempt).await,
        Endpoint::Region => dialect.tell_region_v2(&incoming).await,
    }
}
