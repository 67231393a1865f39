//! Why a request failed, and what the dialect says of it: the one table of wire codes.

use std::time::Duration;

use account::{
    AuthenticateError, ChangeError, CloseError, CodeError, GuessError, HashError, LoginError, RefreshError, Region,
    RegisterError, ResetError, SendError, StoreError, TokenError,
};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use wire::{FormError, JsonError, Unreadable, with_retry_after};

use super::answer::Envelope;
use crate::JSON;

/// Why a request failed. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
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
    #[error("the request is not signed")]
    NotSigned,
    #[error("the request carries no access token")]
    NotLoggedIn,
    #[error("the access token is another application's")]
    OtherApplication,
    #[error("the request names no application")]
    NoApplication,
    #[error(transparent)]
    Authenticate(#[from] AuthenticateError),
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
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Close(#[from] CloseError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no such endpoint")]
    UnknownEndpoint,
    #[error("the server panicked")]
    Panicked,
}

/// What is said of a failure. Every answer is HTTP 200, but for those that a proxy or client must heed before it reads them.
struct Said {
    status: StatusCode,
    error: u32,
    msg: &'static str,
}

const fn said(error: u32, msg: &'static str) -> Said {
    Said { status: StatusCode::OK, error, msg }
}

const OURS: Said = said(500, "internal error");
/// Not now, but perhaps a little later.
const BUSY: Said = Said { status: StatusCode::SERVICE_UNAVAILABLE, ..said(500, "the server is busy") };
const COMMON: Said = said(400, "the password is too common");
const TOO_OFTEN: Said = Said { status: StatusCode::TOO_MANY_REQUESTS, ..said(160_038, "too often") };
const UNKNOWN_TOKEN: Said = said(401, "the access token is invalid");
const EXPIRED_TOKEN: Said = said(402, "the access token has expired");
const WRONG_CODE: Said = said(10002, "wrong verification code");
const NO_ACCOUNT: Said = said(10003, "the account does not exist");
const ELSEWHERE: Said = said(10004, "redirection");
const REGISTERED: Said = said(10009, "the account is registered already");
const NOT_ACTIVE: Said = said(400, "account is not activated");
const DISABLED: Said = said(400, "account is disabled");
const UNKNOWN_APPLICATION: Said = said(407, "the appid is invalid");

impl Failure {
    /// Whether it is the server's fault.
    pub fn is_ours(&self) -> bool {
        matches!(self.said().error, 500 | 504)
    }

    fn said(&self) -> Said {
        match self {
            Self::Json(_) | Self::Query(_) | Self::Unreadable(Unreadable::Broken) => said(400, "the parameters cannot be read"),
            Self::Missing(_) => said(400, "a parameter is missing"),
            Self::Malformed(_) => said(400, "a parameter is malformed"),
            Self::Authenticate(AuthenticateError::Signature) => said(400, "sign verification failed"),
            Self::NotSigned | Self::NotLoggedIn => said(406, "the Authorization header is missing or not for this api"),
            Self::NoApplication | Self::Authenticate(AuthenticateError::Unknown | AuthenticateError::Disabled) => {
                UNKNOWN_APPLICATION
            }
            Self::OtherApplication => UNKNOWN_TOKEN,
            Self::UnknownEndpoint => said(403, "api not found"),
            Self::Unreadable(Unreadable::TooLarge) => {
                Said { status: StatusCode::PAYLOAD_TOO_LARGE, ..said(413, "the body is too large") }
            }
            Self::Unreadable(Unreadable::TooSlow) => {
                Said { status: StatusCode::REQUEST_TIMEOUT, ..said(408, "the body came too slowly") }
            }
            Self::Login(error) => login(error),
            Self::Send(error) => send(error),
            Self::Register(error) => register(error),
            Self::Reset(error) => reset(error),
            Self::Change(ChangeError::Token(error)) | Self::Token(error) | Self::Close(CloseError::Token(error)) => token(error),
            Self::Change(ChangeError::PasswordCommon) => COMMON,
            Self::Change(ChangeError::PasswordWrong) => said(10001, "wrong password"),
            Self::Change(ChangeError::Hash(error)) => hash(error),
            Self::Change(ChangeError::Guess(error)) | Self::Refresh(RefreshError::Guess(error)) => guess(error),
            Self::Close(CloseError::Code(error)) => code(error),
            Self::Refresh(RefreshError::Unknown | RefreshError::Reused) => said(401, "the refresh token is invalid"),
            Self::Refresh(RefreshError::Expired) => said(402, "the refresh token has expired"),
            Self::Authenticate(AuthenticateError::Store(error))
            | Self::Change(ChangeError::Store(error))
            | Self::Close(CloseError::Store(error))
            | Self::Refresh(RefreshError::Store(error))
            | Self::Store(error) => store(error),
            Self::Authenticate(AuthenticateError::Sealed(_)) | Self::Panicked => OURS,
        }
    }

    fn region(&self) -> Option<&Region> {
        match self {
            Self::Login(LoginError::OtherRegion(region))
            | Self::Send(SendError::OtherRegion(region))
            | Self::Reset(ResetError::OtherRegion(region)) => Some(region),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Login(LoginError::Guess(error) | LoginError::CodeWrong(CodeError::Guess(error)))
            | Self::Register(RegisterError::Code(CodeError::Guess(error)))
            | Self::Reset(ResetError::Code(CodeError::Guess(error)))
            | Self::Close(CloseError::Code(CodeError::Guess(error)))
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

fn login(error: &LoginError) -> Said {
    match error {
        LoginError::AccountUnknown => NO_ACCOUNT,
        LoginError::OtherRegion(_) => ELSEWHERE,
        LoginError::Guess(error) => guess(error),
        LoginError::PasswordWrong | LoginError::AccountHidden => said(10001, "wrong password"),
        LoginError::CodeHidden => code(&CodeError::Wrong),
        LoginError::CodeWrong(error) => code(error),
        LoginError::NotActivated | LoginError::ActivationLapsed => NOT_ACTIVE,
        LoginError::AccountDisabled => DISABLED,
        LoginError::ApplicationDisabled => UNKNOWN_APPLICATION,
        LoginError::Hash(error) => hash(error),
        LoginError::Store(error) => store(error),
        // An application has neither device nor gateway, and the dialect no nonce that is used once.
        LoginError::Replayed
        | LoginError::DeviceUnknown
        | LoginError::GatewayMissing
        | LoginError::GatewayUnknown
        | LoginError::SeveralGateways
        | LoginError::GatewayTaken
        | LoginError::NoGateway
        | LoginError::AppTooOld => OURS,
    }
}

fn send(error: &SendError) -> Said {
    match error {
        SendError::Malformed(_) => said(400, "a parameter is malformed"),
        SendError::AccountUnknown | SendError::ActivationLapsed => NO_ACCOUNT,
        SendError::OtherRegion(_) => ELSEWHERE,
        SendError::Registered => REGISTERED,
        SendError::TooOften { .. } => TOO_OFTEN,
        SendError::NotSent(_) => said(504, "the verification code could not be sent"),
        SendError::Store(error) => store(error),
        // The dialect mails no links.
        SendError::NotActivated | SendError::AlreadyActive | SendError::AccountDisabled => OURS,
    }
}

fn register(error: &RegisterError) -> Said {
    match error {
        RegisterError::AddressMalformed(_) => said(400, "a parameter is malformed"),
        RegisterError::PasswordCommon => COMMON,
        RegisterError::Registered | RegisterError::Pending => REGISTERED,
        RegisterError::Code(error) => code(error),
        RegisterError::ApplicationDisabled => UNKNOWN_APPLICATION,
        RegisterError::Hash(error) => hash(error),
        RegisterError::Store(error) => store(error),
        // The dialect knows no user names and mails no links.
        RegisterError::UserNameMalformed(_)
        | RegisterError::UserNameTaken
        | RegisterError::TooOften { .. }
        | RegisterError::TooMany { .. } => OURS,
    }
}

fn reset(error: &ResetError) -> Said {
    match error {
        ResetError::AccountUnknown | ResetError::ActivationLapsed => NO_ACCOUNT,
        ResetError::OtherRegion(_) => ELSEWHERE,
        ResetError::AccountDisabled => DISABLED,
        ResetError::PasswordCommon => COMMON,
        ResetError::Code(error) => code(error),
        ResetError::ApplicationDisabled => UNKNOWN_APPLICATION,
        ResetError::Hash(error) => hash(error),
        ResetError::Store(error) => store(error),
        ResetError::Link(_) => OURS,
    }
}

fn code(error: &CodeError) -> Said {
    match error {
        CodeError::Wrong | CodeError::Used | CodeError::Expired => WRONG_CODE,
        CodeError::Guess(error) => guess(error),
        CodeError::Store(error) => store(error),
    }
}

fn token(error: &TokenError) -> Said {
    match error {
        TokenError::Unknown => UNKNOWN_TOKEN,
        TokenError::Expired => EXPIRED_TOKEN,
        TokenError::Store(error) => store(error),
    }
}

fn guess(error: &GuessError) -> Said {
    match error {
        GuessError::TooMany { .. } => TOO_OFTEN,
        GuessError::Hash(error) => hash(error),
        GuessError::Store(error) => store(error),
    }
}

fn hash(error: &HashError) -> Said {
    match error {
        HashError::Overloaded { .. } => BUSY,
        HashError::Broken(_) => OURS,
    }
}

fn store(error: &StoreError) -> Said {
    if error.passes() { BUSY } else { OURS }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Said { status, error, msg } = self.said();
        let data = self.region().map_or_else(|| json!({}), |region| json!({ "region": region }));
        let response = (status, JSON, Json(Envelope { error, msg, data })).into_response();
        with_retry_after(response, self.retry_after().or_else(|| wire::shortly(status)))
    }
}
