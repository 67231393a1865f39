//! Why a request failed, and what the dialect says of it: the one table of wire codes.
//!
//! The same cause has another code at another endpoint. What core errors mean where they always mean the same is said here, the rest
//! where an endpoint says it with one of these codes.

use std::fmt::Display;
use std::time::Duration;

use account::{
    Address, BindError, CodeError, EnrolError, GuessError, HashError, Language, LinkError, LoginError, RefreshError,
    RegisterError, ResetError, SendError, StoreError, TokenError,
};
use axum::http::StatusCode;
use axum::response::Response;
use wire::{FormError, JsonError, Unreadable, with_retry_after};

use crate::envelope::{self, Family};

/// A code and its note. The notes of a login are the documents' own (§2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub u32, pub &'static str);

/// Every code of the dialect.
pub(crate) mod code {
    use super::Code;

    pub const FAILED: Code = Code(2, "OPERATE_FAIL");
    pub const ACCOUNT_DISABLED: Code = Code(2, "ACCOUNT_DISABLED");
    pub const PARAMETERS: Code = Code(3, "必填参数为空。");
    pub const FORMAT: Code = Code(4, "参数格式错误");
    pub const EMAIL_ACTIVE: Code = Code(101, "邮箱已注册且已激活");
    pub const RESET_PENDING: Code = Code(101, "邮箱未激活");
    pub const EMAIL_PENDING: Code = Code(102, "邮箱未激活");
    pub const EMAIL_MALFORMED: Code = Code(104, "邮箱格式错误");
    pub const ACCOUNT_UNKNOWN: Code = Code(106, "用户不存在");
    pub const PASSWORD_WRONG: Code = Code(108, "密码错误");
    pub const PASSWORDS_DIFFER_OLD: Code = Code(108, "两次密码不一致");
    pub const USER_NAME_TAKEN: Code = Code(112, "用户名已存在");
    pub const ACTIVATION_LAPSED: Code = Code(113, "邮箱超时未激活");
    pub const NO_CUBE: Code = Code(114, "用户未绑定cube");
    pub const DEVICE_UNKNOWN_OLD: Code = Code(151, "设备未注册");
    pub const DEVICE_UNKNOWN: Code = Code(160, "设备未注册");
    pub const IDENTITY_CONFLICT: Code = Code(162, "设备信息冲突");
    pub const APP_TOO_OLD: Code = Code(170, "app版本过低");
    pub const CUBE_UNKNOWN: Code = Code(181, "cube未注册");
    pub const CUBE_REGISTERED: Code = Code(182, "cube已注册");
    pub const GUID_UNKNOWN: Code = Code(1000, "guid不存在");
    pub const MALFORMED: Code = Code(1001, "参数格式错误");
    pub const MISSING: Code = Code(1002, "必填参数为空");
    pub const NOT_A_GATEWAY: Code = Code(1311, "网关未注册");
    pub const NO_TOKEN: Code = Code(2000, "token为空");
    pub const TOKEN_INVALID: Code = Code(2001, "token无效");
    pub const EMAIL_INACTIVE: Code = Code(2010, "邮箱未激活");
    pub const GATEWAY_UNKNOWN: Code = Code(2020, "设备不存在");
    pub const TOKEN_ANOTHERS: Code = Code(2022, "token与用户不匹配");
    pub const EMAIL_UNKNOWN: Code = Code(4023, "邮箱未注册");
    pub const PASSWORDS_DIFFER: Code = Code(4050, "两次密码不一致");
    pub const PHONE_REGISTERED: Code = Code(4051, "手机号已注册");
    pub const EMAIL_REGISTERED: Code = Code(4053, "邮箱已注册");
    pub const PHONE_UNKNOWN: Code = Code(4055, "手机号未注册");
    pub const GATEWAY_TAKEN: Code = Code(4059, "网关已被其他用户绑定");
    pub const ALREADY_BOUND: Code = Code(4061, "网关已绑定");
    pub const MAIL_NOT_SENT: Code = Code(6012, "邮件发送失败");
    pub const MAIL_CODE_WRONG: Code = Code(6013, "验证码错误");
    pub const MAIL_CODE_USED: Code = Code(6014, "验证码已使用");
    pub const MAIL_CODE_EXPIRED: Code = Code(6015, "验证码已过期");
    pub const SMS_NOT_SENT: Code = Code(8000, "短信发送失败");
    pub const CODE_WRONG: Code = Code(8001, "验证码错误");
    pub const CODE_USED: Code = Code(8002, "验证码已使用");
    pub const CODE_EXPIRED: Code = Code(8003, "验证码已过期");
    pub const COUNTRY_CODE_MISSING: Code = Code(8004, "国家码为空");
    pub const COUNTRY_CODE_MALFORMED: Code = Code(8005, "国家码格式错误");
    pub const TOKEN_INVALID_LIST: Code = Code(20001, "token无效");

    /// The codes of the old one-cube binding (`/cube/confirm`, `/cube/removeBind`), which have no notes.
    pub mod old_binding {
        use super::Code;

        pub const CUBE_TAKEN: Code = Code(2, "");
        pub const OTHER_CUBE: Code = Code(3, "");
        pub const BOTH_BOUND: Code = Code(4, "");
        pub const ALREADY_BOUND: Code = Code(5, "");
        pub const NOT_ACTIVATED: Code = Code(6, "");
        pub const FAILED: Code = Code(7, "");
        pub const PARAMETERS: Code = Code(8, "");
    }

    /// The codes of `/accounts/updatepw`.
    pub mod update_password {
        use super::Code;

        pub const NO_ACCOUNT: Code = Code(2, "");
        pub const REFUSED: Code = Code(4, "");
    }
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: Code,
    /// The reason in words, for the log.
    pub reason: String,
    /// Whether it is the server's fault.
    pub is_ours: bool,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A refusal with a code of the dialect.
    pub fn new(code: Code, reason: impl Display) -> Self {
        Self { status: StatusCode::OK, code, reason: reason.to_string(), is_ours: false, retry_after: None }
    }

    /// The server's own fault, for which the endpoint has a code.
    pub fn ours(code: Code, reason: impl Display) -> Self {
        Self { is_ours: true, ..Self::new(code, reason) }
    }

    /// The same with another HTTP status.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub fn unknown_path() -> Self {
        Self::new(Code(2, "NOT_FOUND"), "no such path").with_status(StatusCode::NOT_FOUND)
    }

    pub fn unknown_method() -> Self {
        Self::new(Code(2, "METHOD_NOT_ALLOWED"), "no such method").with_status(StatusCode::METHOD_NOT_ALLOWED)
    }

    /// `visitor` is the language of a page.
    pub fn into_response(self, family: Family, visitor: Language) -> Response {
        let Code(code, note) = self.code;
        let response = match family {
            Family::Page => crate::pages::failed(self.status, visitor),
            family => envelope::failure(family, self.status, code, note),
        };
        with_retry_after(response, self.retry_after)
    }
}

pub(crate) fn panicked() -> Response {
    broken("the server panicked").into_response(Family::Number, Language::English)
}

/// What is told of an access token to whom only the HTTP status means something: 401 where the dialect says it in its code alone.
pub(crate) fn refuse_token(error: &TokenError) -> Response {
    let failure = match error {
        TokenError::Unknown | TokenError::Expired => {
            Failure::new(code::TOKEN_INVALID, error).with_status(StatusCode::UNAUTHORIZED)
        }
        TokenError::Store(error) if error.passes() => busy(error, wire::shortly(StatusCode::SERVICE_UNAVAILABLE)),
        TokenError::Store(error) => broken(error),
    };
    failure.into_response(Family::Text, Language::English)
}

/// Our own fault (§6).
fn broken(reason: impl Display) -> Failure {
    Failure::ours(code::FAILED, reason).with_status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Not now, but perhaps a little later (§6).
fn busy(reason: impl Display, retry_after: Option<Duration>) -> Failure {
    let busy = Failure::ours(Code(2, "SERVER_BUSY"), reason).with_status(StatusCode::SERVICE_UNAVAILABLE);
    Failure { retry_after, ..busy }
}

/// Not so often (§6).
fn too_many(reason: impl Display, retry_after: Duration) -> Failure {
    let refused = Failure::new(Code(2, "TOO_MANY_ATTEMPTS"), reason).with_status(StatusCode::TOO_MANY_REQUESTS);
    Failure { retry_after: Some(retry_after), ..refused }
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::TooLarge => Self::new(Code(2, "BODY_TOO_LARGE"), error).with_status(StatusCode::PAYLOAD_TOO_LARGE),
            Unreadable::TooSlow => Self::new(Code(2, "REQUEST_TIMEOUT"), error).with_status(StatusCode::REQUEST_TIMEOUT),
            Unreadable::Broken => Self::new(code::PARAMETERS, error),
        }
    }
}

impl From<FormError> for Failure {
    fn from(error: FormError) -> Self {
        Self::new(code::PARAMETERS, error)
    }
}

impl From<JsonError> for Failure {
    fn from(error: JsonError) -> Self {
        Self::new(code::PARAMETERS, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.passes() { busy(error, wire::shortly(StatusCode::SERVICE_UNAVAILABLE)) } else { broken(error) }
    }
}

impl From<HashError> for Failure {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded { retry_after } => busy(error, Some(retry_after)),
            HashError::Broken(_) => broken(error),
        }
    }
}

impl From<GuessError> for Failure {
    fn from(error: GuessError) -> Self {
        match error {
            GuessError::TooMany { retry_after } => too_many(error, retry_after),
            GuessError::Hash(error) => error.into(),
            GuessError::Store(error) => error.into(),
        }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Guess(error) => error.into(),
            LinkError::Store(error) => error.into(),
            LinkError::Unknown | LinkError::Expired | LinkError::Used => Self::new(code::update_password::REFUSED, error),
        }
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        let code = match error {
            LoginError::Guess(error) => return error.into(),
            LoginError::Hash(error) => return error.into(),
            LoginError::Store(error) => return error.into(),
            LoginError::GatewayMissing => code::PARAMETERS,
            LoginError::DeviceUnknown => code::DEVICE_UNKNOWN_OLD,
            LoginError::GatewayUnknown => code::CUBE_UNKNOWN,
            LoginError::AccountUnknown => code::ACCOUNT_UNKNOWN,
            LoginError::PasswordWrong | LoginError::AccountHidden => code::PASSWORD_WRONG,
            LoginError::AccountDisabled => code::ACCOUNT_DISABLED,
            LoginError::NotActivated => code::EMAIL_PENDING,
            LoginError::ActivationLapsed => code::ACTIVATION_LAPSED,
            LoginError::SeveralGateways => Code(2, "SEVERAL_CUBES: use /v2/accounts/login"),
            LoginError::NoGateway | LoginError::GatewayTaken => code::NO_CUBE,
            LoginError::AppTooOld => code::APP_TOO_OLD,
            // The dialect asks for every region that is served; it has neither nonces nor applications, nor logs in by code.
            LoginError::OtherRegion(_)
            | LoginError::Replayed
            | LoginError::ApplicationDisabled
            | LoginError::CodeWrong(_)
            | LoginError::CodeHidden => return broken(error),
        };
        Self::new(code, error)
    }
}

/// The codes for codes: those that came by mail for a registration have codes of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeCodes {
    wrong: Code,
    used: Code,
    expired: Code,
}

impl CodeCodes {
    pub const USUAL: Self = Self { wrong: code::CODE_WRONG, used: code::CODE_USED, expired: code::CODE_EXPIRED };
    pub const BY_MAIL: Self = Self { wrong: code::MAIL_CODE_WRONG, used: code::MAIL_CODE_USED, expired: code::MAIL_CODE_EXPIRED };
    /// Where only checking is asked for, a code that was used is a wrong one.
    pub const CHECK: Self = Self { used: code::CODE_WRONG, ..Self::USUAL };

    pub fn refuse(self, error: CodeError) -> Failure {
        match error {
            CodeError::Wrong => Failure::new(self.wrong, error),
            CodeError::Used => Failure::new(self.used, error),
            CodeError::Expired => Failure::new(self.expired, error),
            CodeError::Guess(error) => error.into(),
            CodeError::Store(error) => error.into(),
        }
    }
}

/// Why nobody was registered. `format` stands for an address or user name that cannot be registered.
pub(crate) fn register(error: RegisterError, address: &Address, codes: CodeCodes, format: Code) -> Failure {
    let taken = match address {
        Address::Email(_) => code::EMAIL_ACTIVE,
        Address::Phone(_) => code::PHONE_REGISTERED,
    };
    let code = match error {
        RegisterError::Store(error) => return error.into(),
        RegisterError::Hash(error) => return error.into(),
        RegisterError::Code(error) => return codes.refuse(error),
        RegisterError::UserNameMalformed(_) | RegisterError::PasswordCommon => code::FORMAT,
        RegisterError::AddressMalformed(_) => format,
        RegisterError::UserNameTaken => code::USER_NAME_TAKEN,
        RegisterError::Registered => taken,
        RegisterError::Pending => code::EMAIL_PENDING,
        RegisterError::TooOften { .. } => code::MAIL_NOT_SENT,
        RegisterError::TooMany { retry_after } => return too_many(error, retry_after),
        // The dialect has no applications.
        RegisterError::ApplicationDisabled => return broken(error),
    };
    Failure::new(code, error)
}

/// Why no password was reset. `unknown` stands for an address that is nobody's, or not any more.
pub(crate) fn reset(error: ResetError, unknown: Code, disabled: Code) -> Failure {
    let code = match error {
        ResetError::Store(error) => return error.into(),
        ResetError::Hash(error) => return error.into(),
        ResetError::Code(error) => return CodeCodes::USUAL.refuse(error),
        ResetError::AccountUnknown | ResetError::ActivationLapsed => unknown,
        ResetError::AccountDisabled => disabled,
        ResetError::PasswordCommon => code::FORMAT,
        ResetError::Link(error) => return error.into(),
        // The dialect asks for every region that is served, and has no applications.
        ResetError::OtherRegion(_) | ResetError::ApplicationDisabled => return broken(error),
    };
    Failure::new(code, error)
}

/// The codes for a message that was not sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendCodes {
    pub malformed: Code,
    pub unknown: Code,
    pub registered: Code,
    pub pending: Code,
    pub lapsed: Code,
    pub not_sent: Code,
}

impl SendCodes {
    pub fn refuse(self, error: SendError) -> Failure {
        let code = match error {
            SendError::Store(error) => return error.into(),
            SendError::NotSent(error) => return Failure::ours(self.not_sent, error),
            SendError::Malformed(_) => self.malformed,
            SendError::AccountUnknown => self.unknown,
            SendError::AccountDisabled => code::ACCOUNT_DISABLED,
            SendError::Registered | SendError::AlreadyActive => self.registered,
            SendError::NotActivated => self.pending,
            SendError::ActivationLapsed => self.lapsed,
            SendError::TooOften { .. } => self.not_sent,
            // The dialect asks for every region that is served.
            SendError::OtherRegion(_) => return broken(error),
        };
        Failure::new(code, error)
    }
}

/// An access token that is not good.
pub(crate) fn token(error: TokenError, invalid: Code) -> Failure {
    match error {
        TokenError::Store(error) => error.into(),
        error => Failure::new(invalid, error),
    }
}

impl From<RefreshError> for Failure {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Guess(error) => error.into(),
            RefreshError::Store(error) => error.into(),
            error => Self::new(code::TOKEN_INVALID, error),
        }
    }
}

impl From<EnrolError> for Failure {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Store(error) => error.into(),
            EnrolError::GuidUnknown => Self::new(code::GUID_UNKNOWN, error),
            EnrolError::Conflict => Self::new(code::IDENTITY_CONFLICT, error),
        }
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Store(error) => error.into(),
            BindError::GatewayUnknown => Self::new(code::GATEWAY_UNKNOWN, error),
            BindError::Taken => Self::new(code::GATEWAY_TAKEN, error),
            BindError::Already => Self::new(code::ALREADY_BOUND, error),
        }
    }
}
