//! What can be called, and where.

use std::sync::Arc;

use account::{AccountNumber, Language, Serial};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use serde::Serialize;
use wire::{Attempt, Guarded, Incoming};

use crate::Dialect;
use crate::devices::client_heart;
use crate::envelope::{self, Family};
use crate::failure::{self, Failure};
use crate::pages;

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Login,
    LoginV2,
    Logout,
    FlushToken,
    AccountHeart,
    ClientRegister,
    CubeRegister,
    ClientStatus,
    ClientInfo,
    ClientName,
    CubeInfo,
    ClientHeart,
    CubeHeart,
    GatewayList,
    HomeGateway,
    AuthenApply,
    AuthenConfirm,
    AuthenCubes,
    DevCubes,
    BindGateway,
    UnbindGateway,
    CubeConfirm,
    CubeConfirmed,
    CubeRemoveBind,
    Register,
    ResendEmail,
    EmailCode,
    SmsCode,
    ValidatePhoneCode,
    RegisterByPhone,
    RegisterByEmail,
    ResetByPhone,
    ResetByEmail,
    ForgetPassword,
    UpdatePassword,
    VerifyPage,
    PasswordPage,
    SetPassword,
    Style,
    LanguageCodes,
    RegionList,
    Ping,
    Version,
}

/// Where it is called (§2 to §5).
pub(crate) const ROUTES: &[(Endpoint, Method, &str)] = &[
    (Endpoint::Login, Method::POST, "/accounts/login"),
    (Endpoint::LoginV2, Method::POST, "/v2/accounts/login"),
    (Endpoint::Logout, Method::POST, "/accounts/logout"),
    (Endpoint::FlushToken, Method::POST, "/accounts/flushToken"),
    (Endpoint::AccountHeart, Method::GET, "/accounts/heart"),
    (Endpoint::ClientRegister, Method::POST, "/client/register"),
    (Endpoint::CubeRegister, Method::POST, "/cube/register"),
    (Endpoint::ClientStatus, Method::POST, "/client/update/status"),
    (Endpoint::ClientInfo, Method::POST, "/client/get/info"),
    (Endpoint::ClientName, Method::POST, "/client/name"),
    (Endpoint::CubeInfo, Method::POST, "/cube/updateInfo"),
    (Endpoint::ClientHeart, Method::POST, "/client/heart"),
    (Endpoint::CubeHeart, Method::GET, "/cube/heart"),
    (Endpoint::GatewayList, Method::POST, "/client/accountGatewayList"),
    (Endpoint::HomeGateway, Method::POST, "/v2/home/gateway"),
    (Endpoint::AuthenApply, Method::GET, "/authen/apply"),
    (Endpoint::AuthenConfirm, Method::POST, "/authen/confirm"),
    (Endpoint::AuthenCubes, Method::POST, "/authen/cubes"),
    (Endpoint::DevCubes, Method::POST, "/dev/cubes"),
    (Endpoint::BindGateway, Method::POST, "/accounts/bindGateway"),
    (Endpoint::UnbindGateway, Method::POST, "/accounts/unbindGateway"),
    (Endpoint::CubeConfirm, Method::POST, "/cube/confirm"),
    (Endpoint::CubeConfirmed, Method::GET, "/cube/confirm"),
    (Endpoint::CubeRemoveBind, Method::POST, "/cube/removeBind"),
    (Endpoint::Register, Method::POST, "/accounts"),
    (Endpoint::ResendEmail, Method::POST, "/accounts/resendEmail"),
    (Endpoint::EmailCode, Method::POST, "/email/code"),
    (Endpoint::SmsCode, Method::POST, "/sms/code"),
    (Endpoint::ValidatePhoneCode, Method::POST, "/accounts/validatePhoneCode"),
    (Endpoint::RegisterByPhone, Method::POST, "/accounts/registerByPhone"),
    (Endpoint::RegisterByEmail, Method::POST, "/accounts/registerByEmail"),
    (Endpoint::ResetByPhone, Method::POST, "/accounts/resetPasswordByPhone"),
    (Endpoint::ResetByEmail, Method::POST, "/accounts/resetPasswordByEmail"),
    (Endpoint::ForgetPassword, Method::GET, "/accounts/forgetPw"),
    (Endpoint::UpdatePassword, Method::POST, "/accounts/updatepw"),
    (Endpoint::VerifyPage, Method::GET, "/user/verify"),
    (Endpoint::PasswordPage, Method::GET, "/user/findLostEmail"),
    (Endpoint::SetPassword, Method::POST, "/user/updateInfo"),
    (Endpoint::Style, Method::GET, "/user/style.css"),
    (Endpoint::LanguageCodes, Method::GET, "/region/languageCode"),
    (Endpoint::RegionList, Method::GET, "/region/list"),
    (Endpoint::Ping, Method::GET, "/system/connection/ping"),
    (Endpoint::Version, Method::GET, "/system/version"),
];

impl Endpoint {
    /// Whether the audit trail has how it ends.
    fn is_recorded(self) -> bool {
        matches!(
            self,
            Self::Login
                | Self::LoginV2
                | Self::Logout
                | Self::BindGateway
                | Self::UnbindGateway
                | Self::CubeConfirm
                | Self::CubeRemoveBind
                | Self::Register
                | Self::RegisterByPhone
                | Self::RegisterByEmail
                | Self::ResetByPhone
                | Self::ResetByEmail
                | Self::ValidatePhoneCode
                | Self::UpdatePassword
                | Self::VerifyPage
                | Self::SetPassword
        )
    }

    /// How its answers are written (§1).
    pub fn family(self) -> Family {
        match self {
            Self::Login
            | Self::Logout
            | Self::FlushToken
            | Self::Register
            | Self::ForgetPassword
            | Self::EmailCode
            | Self::AuthenApply
            | Self::ClientStatus
            | Self::LanguageCodes => Family::Number,
            Self::CubeConfirm | Self::CubeConfirmed | Self::CubeRemoveBind => Family::Bare,
            Self::UpdatePassword => Family::Str,
            Self::VerifyPage | Self::PasswordPage | Self::SetPassword => Family::Page,
            _ => Family::Text,
        }
    }

    /// What it is called in the log: its path.
    fn name(self) -> &'static str {
        let route = ROUTES.iter().find(|(endpoint, ..)| *endpoint == self);
        match self {
            // The oldest of names, which operators look for.
            Self::Login | Self::LoginV2 => "login",
            _ => route.map_or("", |(_, _, path)| path),
        }
    }
}

/// What is answered, and how it ended.
pub(crate) struct Answer {
    pub body: Body,
    pub account: Option<AccountNumber>,
    pub gateway: Option<Serial>,
    pub outcome: Outcome,
}

/// How a call ended that was answered, in the log's words. Pages tell failures as well, and some answers are as if something had been done.
pub(crate) enum Outcome {
    Done(&'static str),
    Refused(&'static str),
    /// By our own fault.
    Failed(&'static str),
}

pub(crate) enum Body {
    /// What stands in the envelope.
    Data(serde_json::Value),
    /// Everything.
    Whole(Response),
}

impl Answer {
    /// An answer with `data` in the envelope.
    pub fn data(data: impl Serialize) -> Self {
        let data = serde_json::to_value(data).expect("an answer is plain data");
        Self::of_body(Body::Data(data))
    }

    /// An answer that says nothing but that it is one.
    pub fn done() -> Self {
        Self::data(())
    }

    pub fn whole(response: Response) -> Self {
        Self::of_body(Body::Whole(response))
    }

    fn of_body(body: Body) -> Self {
        Self { body, account: None, gateway: None, outcome: Outcome::Done("done") }
    }

    /// Whose account it concerns.
    pub fn of(self, account: AccountNumber) -> Self {
        Self { account: Some(account), ..self }
    }

    /// Which gateway it concerns.
    pub fn about(self, gateway: Serial) -> Self {
        Self { gateway: Some(gateway), ..self }
    }

    /// What the log says.
    pub fn outcome(self, outcome: &'static str) -> Self {
        Self { outcome: Outcome::Done(outcome), ..self }
    }

    /// What the log says, where nothing was done.
    pub fn refused(self, reason: &'static str) -> Self {
        Self { outcome: Outcome::Refused(reason), ..self }
    }

    /// What the log says, where nothing could be done.
    pub fn failed(self, reason: &'static str) -> Self {
        Self { outcome: Outcome::Failed(reason), ..self }
    }
}

pub(crate) fn router(dialect: &Arc<Dialect>) -> Router {
    let mut router = Router::new();
    for (endpoint, method, path) in ROUTES {
        let filter = if *method == Method::GET { MethodFilter::GET } else { MethodFilter::POST };
        let route = on(filter, Guarded::new(handle, |_| failure::panicked())).with_state((Arc::clone(dialect), *endpoint));
        router = router.route(path, route);
    }
    router
        .method_not_allowed_fallback(unknown_method)
        .fallback(|| async { Failure::unknown_path().into_response(Family::Number, Language::English) })
}

/// Refuses a method in the form of the path's other answers.
async fn unknown_method(request: Request) -> Response {
    let route = ROUTES.iter().find(|(_, _, path)| *path == request.uri().path());
    let family = route.map_or(Family::Number, |(endpoint, ..)| endpoint.family());
    Failure::unknown_method().into_response(family, pages::visitor(request.headers()))
}

async fn handle(State((dialect, endpoint)): State<(Arc<Dialect>, Endpoint)>, request: Request) -> Response {
    // A GET changes things here: nobody who only wants its head may do so.
    if request.method() == Method::HEAD {
        return unknown_method(request).await;
    }
    let visitor = pages::visitor(request.headers());
    let mut attempt = Attempt::begin("fantem", endpoint.name(), &request);
    if endpoint.is_recorded() {
        attempt = attempt.recorded(&dialect.core, &request);
    }
    match dialect.answer(endpoint, request, &mut attempt).await {
        Ok(answer) => {
            (attempt.account, attempt.gateway) = (answer.account, answer.gateway);
            match answer.outcome {
                Outcome::Done(outcome) => attempt.succeeded(outcome).await,
                Outcome::Refused(reason) => attempt.failed(&reason, false),
                Outcome::Failed(reason) => attempt.failed(&reason, true),
            }
            match answer.body {
                Body::Data(data) => envelope::success(endpoint.family(), data),
                Body::Whole(response) => response,
            }
        }
        Err(failure) => {
            attempt.failed(&failure.reason, failure.is_ours);
            failure.into_response(endpoint.family(), visitor)
        }
    }
}

impl Dialect {
    async fn answer(&self, endpoint: Endpoint, request: Request, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let incoming = Incoming::read(request, self.settings.body_timeout).await?;
        match endpoint {
            Endpoint::Login => self.login(&incoming, attempt).await,
            Endpoint::LoginV2 => self.login_v2(&incoming, attempt).await,
            Endpoint::Logout => self.logout(&incoming).await,
            Endpoint::FlushToken => self.flush_token(&incoming).await,
            Endpoint::AccountHeart => self.account_heart(&incoming).await,
            Endpoint::ClientRegister => self.client_register(&incoming).await,
            Endpoint::CubeRegister => self.cube_register(&incoming).await,
            Endpoint::ClientStatus => self.client_status(&incoming).await,
            Endpoint::ClientInfo => self.client_info(&incoming).await,
            Endpoint::ClientName => self.client_name(&incoming).await,
            Endpoint::CubeInfo => self.cube_info(&incoming).await,
            Endpoint::ClientHeart => client_heart(&incoming),
            Endpoint::GatewayList => self.gateway_list(&incoming).await,
            Endpoint::HomeGateway => self.home_gateway(&incoming).await,
            Endpoint::AuthenApply => self.authen_apply(&incoming),
            Endpoint::AuthenConfirm => self.authen_confirm(&incoming),
            Endpoint::CubeHeart | Endpoint::AuthenCubes | Endpoint::DevCubes => Ok(Answer::done()),
            Endpoint::BindGateway => self.bind_gateway(&incoming).await,
            Endpoint::UnbindGateway => self.unbind_gateway(&incoming).await,
            Endpoint::CubeConfirm => self.cube_confirm(&incoming).await,
            Endpoint::CubeConfirmed => self.cube_confirmed(&incoming).await,
            Endpoint::CubeRemoveBind => self.cube_remove_bind(&incoming).await,
            Endpoint::Register => self.register(&incoming, attempt).await,
            Endpoint::ResendEmail => self.resend_email(&incoming, attempt).await,
            Endpoint::EmailCode => self.email_code(&incoming, attempt).await,
            Endpoint::SmsCode => self.sms_code(&incoming, attempt).await,
            Endpoint::ValidatePhoneCode => self.validate_phone_code(&incoming, attempt).await,
            Endpoint::RegisterByPhone => self.register_by_phone(&incoming, attempt).await,
            Endpoint::RegisterByEmail => self.register_by_email(&incoming, attempt).await,
            Endpoint::ResetByPhone => self.reset_by_phone(&incoming, attempt).await,
            Endpoint::ResetByEmail => self.reset_by_email(&incoming, attempt).await,
            Endpoint::ForgetPassword => self.forget_password(&incoming, attempt).await,
            Endpoint::UpdatePassword => self.update_password(&incoming, attempt).await,
            Endpoint::VerifyPage => self.verify_page(&incoming, attempt).await,
            Endpoint::PasswordPage => self.password_page(&incoming, attempt).await,
            Endpoint::SetPassword => self.set_password(&incoming, attempt).await,
            Endpoint::Style => Ok(pages::style()),
            Endpoint::LanguageCodes => Ok(crate::regions::languages()),
            Endpoint::RegionList => crate::regions::countries(&incoming),
            Endpoint::Ping => Ok(crate::system::ping(&incoming)),
            Endpoint::Version => Ok(crate::system::version()),
        }
    }
}
