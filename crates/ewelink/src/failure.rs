//! Why a request failed, and what the dialect says of it: the one table of wire codes.

use account::{AuthenticateError, HashError, LoginError, Region};
use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wire::{JsonError, Unreadable, with_retry_after};

/// Why a request failed. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Json(#[from] JsonError),
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
    #[error(transparent)]
    Login(#[from] LoginError),
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
        match self {
            Self::Authenticate(error) => matches!(error, AuthenticateError::Store(_) | AuthenticateError::Sealed(_)),
            Self::Login(error) => error.is_ours(),
            Self::Panicked => true,
            _ => false,
        }
    }

    /// HTTP status and the dialect's code (§2, §5).
    fn codes(&self) -> (StatusCode, u32) {
        match self {
            Self::Json(_) | Self::Missing(_) | Self::Malformed(_) | Self::Unreadable(Unreadable::Broken) => (StatusCode::OK, 400),
            Self::NoApplication | Self::NotSigned | Self::ClockSkew => (StatusCode::OK, 406),
            Self::Authenticate(error) => match error {
                AuthenticateError::Unknown | AuthenticateError::Disabled | AuthenticateError::Signature => (StatusCode::OK, 406),
                AuthenticateError::Sealed(_) | AuthenticateError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, 500),
            },
            Self::Login(error) => Self::login_codes(error),
            Self::Unreadable(Unreadable::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, 413),
            Self::Unreadable(Unreadable::TooSlow) => (StatusCode::REQUEST_TIMEOUT, 408),
            Self::UnknownPath => (StatusCode::NOT_FOUND, 404),
            Self::UnknownMethod => (StatusCode::METHOD_NOT_ALLOWED, 405),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, 500),
        }
    }

    fn login_codes(error: &LoginError) -> (StatusCode, u32) {
        match error {
            LoginError::AccountUnknown => (StatusCode::OK, 404),
            LoginError::OtherRegion(_) => (StatusCode::OK, 301),
            LoginError::Replayed | LoginError::ApplicationDisabled => (StatusCode::OK, 406),
            LoginError::PasswordWrong => (StatusCode::OK, 401),
            LoginError::NotActivated | LoginError::ActivationLapsed | LoginError::AccountDisabled => (StatusCode::OK, 402),
            LoginError::Hash(HashError::Overloaded { .. }) => (StatusCode::SERVICE_UNAVAILABLE, 500),
            LoginError::Hash(HashError::Broken(_)) | LoginError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, 500),
            // An application has neither device nor gateway.
            LoginError::DeviceUnknown
            | LoginError::GatewayMissing
            | LoginError::GatewayUnknown
            | LoginError::SeveralGateways
            | LoginError::GatewayTaken
            | LoginError::NoGateway
            | LoginError::AppTooOld => (StatusCode::INTERNAL_SERVER_ERROR, 500),
        }
    }

    fn region(&self) -> Option<Region> {
        match self {
            Self::Login(LoginError::OtherRegion(region)) => Some(region.clone()),
            _ => None,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = self.codes();
        let response = (status, JSON, Json(Body { error, region: self.region() })).into_response();
        match self {
            Self::Login(error) => with_retry_after(response, error.retry_after()),
            _ => response,
        }
    }
}

/// The content type of every answer (§1).
pub(crate) const JSON: [(HeaderName, HeaderValue); 1] =
    [(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))];
