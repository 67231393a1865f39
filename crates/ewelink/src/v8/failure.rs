//! Why a request failed, and what the dialect says of it: the one table of wire codes.

use std::time::Duration;

use account::{
    AuthenticateError, ChangeError, CodeError, GuessError, HashError, LoginError, RefreshError, Region, RegisterError,
    ResetError, SendError, StoreError, TokenError,
};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wire::{FormError, JsonError, Unreadable, with_retry_after};

use crate::JSON;

/// Our own fault.
const OURS: (StatusCode, u32) = (StatusCode::INTERNAL_SERVER_ERROR, 500);

/// Not now, but perhaps a little later (§5).
const BUSY: (StatusCode, u32) = (StatusCode::SERVICE_UNAVAILABLE, 500);

/// Why a request failed. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    Query(#[from] FormError),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is malformed")]
    Malformed(&'static str),
    #[error("the request names no application")]
    NoApplication,
    #[error("the request is not signed")]
    NotSigned,
    #[error("the request's clock is off")]
    ClockSkew,
    #[error(transparent)]
    Authenticate(#[from] AuthenticateError),
    #[error("the request carries no access token")]
    NotLoggedIn,
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error(transparent)]
    Reset(#[from] ResetError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    #[error("no such path")]
    UnknownPath,
    #[error("no such method")]
    UnknownMethod,
    #[error("the server panicked")]
    Panicked,
}

/// What a failure looks like on the wire: nothing but this (§1).
#[derive(Serialize)]
struct Body {
    error: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

impl Failure {
    /// Whether it is the server's fault.
    pub fn is_ours(&self) -> bool {
        let (status, error) = self.codes();
        status.is_server_error() || error == 504
    }

    /// HTTP status and the dialect's code (§2, §5).
    fn codes(&self) -> (StatusCode, u32) {
        match self {
            Self::Json(_) | Self::Query(_) | Self::Missing(_) | Self::Malformed(_) | Self::Unreadable(Unreadable::Broken) => {
                (StatusCode::OK, 400)
            }
            Self::NotLoggedIn => (StatusCode::OK, 401),
            Self::NoApplication | Self::NotSigned | Self::ClockSkew => (StatusCode::OK, 406),
            Self::Authenticate(error) => match error {
                AuthenticateError::Unknown | AuthenticateError::Disabled | AuthenticateError::Signature => (StatusCode::OK, 406),
                AuthenticateError::Store(error) => Self::store_codes(error),
                AuthenticateError::Sealed(_) => OURS,
            },
            Self::Login(error) => Self::login_codes(error),
            Self::Send(error) => Self::send_codes(error),
            Self::Register(error) => Self::register_codes(error),
            Self::Reset(error) => Self::reset_codes(error),
            Self::Change(error) => match error {
                ChangeError::Token(error) => Self::token_codes(error),
                ChangeError::PasswordCommon => (StatusCode::OK, 400),
                ChangeError::PasswordWrong => (StatusCode::OK, 405),
                ChangeError::Guess(error) => Self::guess_codes(error),
                ChangeError::Hash(error) => Self::hash_codes(error),
                ChangeError::Store(error) => Self::store_codes(error),
            },
            Self::Refresh(error) => match error {
                RefreshError::Unknown | RefreshError::Reused => (StatusCode::OK, 401),
                RefreshError::Expired => (StatusCode::OK, 402),
                RefreshError::Guess(error) => Self::guess_codes(error),
                RefreshError::Store(error) => Self::store_codes(error),
            },
            Self::Unreadable(Unreadable::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, 413),
            Self::Unreadable(Unreadable::TooSlow) => (StatusCode::REQUEST_TIMEOUT, 408),
            Self::UnknownPath => (StatusCode::NOT_FOUND, 404),
            Self::UnknownMethod => (StatusCode::METHOD_NOT_ALLOWED, 405),
            Self::Panicked => OURS,
        }
    }

    /// §5.
    fn guess_codes(error: &GuessError) -> (StatusCode, u32) {
        match error {
            GuessError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, 160_038),
            GuessError::Hash(error) => Self::hash_codes(error),
            GuessError::Store(error) => Self::store_codes(error),
        }
    }

    fn hash_codes(error: &HashError) -> (StatusCode, u32) {
        match error {
            HashError::Overloaded { .. } => BUSY,
            HashError::Broken(_) => OURS,
        }
    }

    fn store_codes(error: &StoreError) -> (StatusCode, u32) {
        if error.passes() { BUSY } else { OURS }
    }

    fn code_codes(error: &CodeError) -> (StatusCode, u32) {
        match error {
            CodeError::Wrong | CodeError::Used | CodeError::Expired => (StatusCode::OK, 498),
            CodeError::Guess(error) => Self::guess_codes(error),
            CodeError::Store(error) => Self::store_codes(error),
        }
    }

    fn token_codes(error: &TokenError) -> (StatusCode, u32) {
        match error {
            TokenError::Unknown => (StatusCode::OK, 401),
            TokenError::Expired => (StatusCode::OK, 402),
            TokenError::Store(error) => Self::store_codes(error),
        }
    }

    /// §3. An account that was not activated in time is none: its address may be registered again.
    fn send_codes(error: &SendError) -> (StatusCode, u32) {
        match error {
            SendError::Malformed(_) => (StatusCode::OK, 400),
            SendError::AccountUnknown | SendError::ActivationLapsed => (StatusCode::OK, 401),
            SendError::OtherRegion(_) => (StatusCode::OK, 301),
            SendError::Registered => (StatusCode::OK, 409),
            SendError::NotSent(_) => (StatusCode::OK, 504),
            SendError::TooOften { .. } => (StatusCode::OK, 160_038),
            SendError::Store(error) => Self::store_codes(error),
            // The dialect mails no links.
            SendError::NotActivated | SendError::AlreadyActive | SendError::AccountDisabled => OURS,
        }
    }

    fn register_codes(error: &RegisterError) -> (StatusCode, u32) {
        match error {
            RegisterError::AddressMalformed(_) | RegisterError::PasswordCommon => (StatusCode::OK, 400),
            RegisterError::Registered | RegisterError::Pending => (StatusCode::OK, 409),
            RegisterError::Code(error) => Self::code_codes(error),
            RegisterError::ApplicationDisabled => (StatusCode::OK, 406),
            RegisterError::Hash(error) => Self::hash_codes(error),
            RegisterError::Store(error) => Self::store_codes(error),
            // The dialect knows no user names and mails no links.
            RegisterError::UserNameMalformed(_)
            | RegisterError::UserNameTaken
            | RegisterError::TooOften { .. }
            | RegisterError::TooMany { .. } => OURS,
        }
    }

    fn reset_codes(error: &ResetError) -> (StatusCode, u32) {
        match error {
            ResetError::AccountUnknown | ResetError::ActivationLapsed => (StatusCode::OK, 401),
            ResetError::OtherRegion(_) => (StatusCode::OK, 301),
            ResetError::AccountDisabled => (StatusCode::OK, 402),
            ResetError::PasswordCommon => (StatusCode::OK, 400),
            ResetError::Code(error) => Self::code_codes(error),
            ResetError::ApplicationDisabled => (StatusCode::OK, 406),
            ResetError::Hash(error) => Self::hash_codes(error),
            ResetError::Store(error) => Self::store_codes(error),
            ResetError::Link(_) => OURS,
        }
    }

    fn login_codes(error: &LoginError) -> (StatusCode, u32) {
        match error {
            LoginError::AccountUnknown => (StatusCode::OK, 404),
            LoginError::OtherRegion(_) => (StatusCode::OK, 301),
            LoginError::Replayed | LoginError::ApplicationDisabled => (StatusCode::OK, 406),
            LoginError::Guess(error) => Self::guess_codes(error),
            LoginError::PasswordWrong | LoginError::AccountHidden => (StatusCode::OK, 401),
            LoginError::NotActivated | LoginError::ActivationLapsed | LoginError::AccountDisabled => (StatusCode::OK, 402),
            LoginError::Hash(error) => Self::hash_codes(error),
            LoginError::Store(error) => Self::store_codes(error),
            // An application has neither device nor gateway, and logs in with a password.
            LoginError::CodeWrong(_)
            | LoginError::CodeHidden
            | LoginError::DeviceUnknown
            | LoginError::GatewayMissing
            | LoginError::GatewayUnknown
            | LoginError::SeveralGateways
            | LoginError::GatewayTaken
            | LoginError::NoGateway
            | LoginError::AppTooOld => OURS,
        }
    }

    fn region(&self) -> Option<Region> {
        match self {
            Self::Login(LoginError::OtherRegion(region))
            | Self::Send(SendError::OtherRegion(region))
            | Self::Reset(ResetError::OtherRegion(region)) => Some(region.clone()),
            _ => None,
        }
    }

    /// When to try again, where that is worth saying.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Login(LoginError::Guess(error))
            | Self::Register(RegisterError::Code(CodeError::Guess(error)))
            | Self::Reset(ResetError::Code(CodeError::Guess(error)))
            | Self::Change(ChangeError::Guess(error))
            | Self::Refresh(RefreshError::Guess(error)) => error.retry_after(),
            Self::Login(LoginError::Hash(error))
            | Self::Register(RegisterError::Hash(error))
            | Self::Reset(ResetError::Hash(error))
            | Self::Change(ChangeError::Hash(error)) => error.retry_after(),
            Self::Send(SendError::TooOften { retry_after }) => Some(*retry_after),
            _ => None,
        }
    }
}

/// What is told of an access token to whom only the HTTP status means something: 401 where the dialect says it in its code alone.
pub(crate) fn refuse_token(error: &TokenError) -> Response {
    let (status, error) = Failure::token_codes(error);
    let status = if status == StatusCode::OK { StatusCode::UNAUTHORIZED } else { status };
    let response = (status, JSON, Json(Body { error, region: None })).into_response();
    with_retry_after(response, wire::shortly(status))
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = self.codes();
        let response = (status, JSON, Json(Body { error, region: self.region() })).into_response();
        with_retry_after(response, self.retry_after().or_else(|| wire::shortly(status)))
    }
}
