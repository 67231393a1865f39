//! Why a request failed, and what the dialect says of it: the one table of wire codes.

use account::{HashError, LoginError, StoreError};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use wire::{FormError, Unreadable, with_retry_after};

use crate::envelope;

/// Why a request failed. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is malformed")]
    Malformed(&'static str),
    #[error("countryCode is malformed")]
    CountryCodeMalformed,
    #[error("a phone number came without countryCode")]
    CountryCodeMissing,
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error("no such path")]
    UnknownPath,
    #[error("no such method")]
    UnknownMethod,
    #[error("the server panicked")]
    Panicked,
}

/// The notes of the documents' table of errors (§2).
const PARAMETERS: (StatusCode, u32, &str) = (StatusCode::OK, 3, "必填参数为空。");
const OPERATE_FAIL: (StatusCode, u32, &str) = (StatusCode::INTERNAL_SERVER_ERROR, 2, "OPERATE_FAIL");

impl Failure {
    /// Whether it is the server's fault.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Login(error) => error.is_ours(),
            Self::Panicked => true,
            _ => false,
        }
    }

    /// HTTP status, the dialect's code and its note (§2, §6).
    fn codes(&self) -> (StatusCode, u32, &'static str) {
        match self {
            Self::Form(_) | Self::Missing(_) | Self::Malformed(_) | Self::Unreadable(Unreadable::Broken) => PARAMETERS,
            Self::CountryCodeMissing => (StatusCode::OK, 8004, "国家码为空"),
            Self::CountryCodeMalformed => (StatusCode::OK, 8005, "国家码格式错误"),
            Self::Login(error) => Self::login_codes(error),
            Self::Unreadable(Unreadable::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, 2, "BODY_TOO_LARGE"),
            Self::Unreadable(Unreadable::TooSlow) => (StatusCode::REQUEST_TIMEOUT, 2, "REQUEST_TIMEOUT"),
            Self::UnknownPath => (StatusCode::NOT_FOUND, 2, "NOT_FOUND"),
            Self::UnknownMethod => (StatusCode::METHOD_NOT_ALLOWED, 2, "METHOD_NOT_ALLOWED"),
            Self::Panicked => OPERATE_FAIL,
        }
    }

    fn login_codes(error: &LoginError) -> (StatusCode, u32, &'static str) {
        match error {
            LoginError::GatewayMissing => PARAMETERS,
            LoginError::DeviceUnknown => (StatusCode::OK, 151, "设备未注册"),
            LoginError::GatewayUnknown => (StatusCode::OK, 181, "cube未注册"),
            LoginError::AccountUnknown => (StatusCode::OK, 106, "用户不存在"),
            LoginError::PasswordWrong => (StatusCode::OK, 108, "密码错误"),
            LoginError::AccountDisabled => (StatusCode::OK, 2, "ACCOUNT_DISABLED"),
            LoginError::NotActivated => (StatusCode::OK, 102, "邮箱未激活"),
            LoginError::ActivationLapsed => (StatusCode::OK, 113, "邮箱超时未激活"),
            LoginError::SeveralGateways => (StatusCode::OK, 2, "SEVERAL_CUBES: use /v2/accounts/login"),
            LoginError::NoGateway | LoginError::GatewayTaken => (StatusCode::OK, 114, "用户未绑定cube"),
            LoginError::AppTooOld => (StatusCode::OK, 170, "app版本过低"),
            LoginError::Hash(HashError::Overloaded { .. }) => (StatusCode::SERVICE_UNAVAILABLE, 2, "SERVER_BUSY"),
            LoginError::Hash(HashError::Broken(_)) | LoginError::Store(_) => OPERATE_FAIL,
            // The dialect asks for every region that is served, and its requests carry neither nonce nor application.
            LoginError::OtherRegion(_) | LoginError::Replayed | LoginError::ApplicationDisabled => OPERATE_FAIL,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Login(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, note) = self.codes();
        let response = envelope::failure(status, code, note);
        match self {
            Self::Login(error) => with_retry_after(response, error.retry_after()),
            _ => response,
        }
    }
}
