//! `POST /accounts/login` (§2).

use std::sync::Arc;
use std::time::Duration;

use account::{Account, Caller, Client, LoggedIn, Login, Terms, TokenLength};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wire::{Attempt, Form, Incoming};

use crate::Dialect;
use crate::envelope;
use crate::failure::Failure;
use crate::parameters::{Name, Parameters};

/// Tokens of 32 hex digits; the access token lives 2 hours, the refresh token 30 days (§2).
const TERMS: Terms = Terms {
    token_length: TokenLength::Bits128,
    access_lifetime: Duration::from_hours(2),
    refresh_lifetime: Duration::from_hours(30 * 24),
};

pub(crate) async fn handle(State(dialect): State<Arc<Dialect>>, request: Request) -> Response {
    let mut attempt = Attempt::begin("fantem", &request);
    match dialect.login(request, &mut attempt).await {
        Ok(logged_in) => {
            attempt.succeeded(logged_in.account.number);
            envelope::success(Data::of(&logged_in))
        }
        Err(failure) => {
            attempt.failed(&failure, failure.is_ours());
            failure.into_response()
        }
    }
}

impl Dialect {
    async fn login(&self, request: Request, attempt: &mut Attempt) -> Result<LoggedIn, Failure> {
        let incoming = Incoming::read(request, self.settings.body_timeout).await?;
        let Parameters { device, name, password, gateway } = Parameters::read(&Form::parse(&incoming.body)?)?;
        let identifier = match name {
            Name::Clear(identifier) => identifier,
            Name::MaybePhone(user_name) if self.core.knows(&user_name).await? => user_name,
            Name::MaybePhone(_) => return Err(Failure::CountryCodeMissing),
        };
        attempt.identifier = Some(identifier.clone());
        let login = Login {
            identifier,
            password,
            caller: Caller::Device { serial: device, gateway },
            // The dialect knows no regions.
            region: None,
            terms: TERMS,
            client: Client { address: incoming.address, app_version: None, os: None },
            nonce: None,
        };
        Ok(self.core.login(&login).await?)
    }
}

/// `emailStatus` and `phoneStatus`. The other statuses (1 not verified, 3 not verified in time) cannot log in.
const VERIFIED: u8 = 2;
const NO_PHONE: u8 = 0;

/// The 15 fields of a login's success, always present.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    account_token: &'a str,
    flush_token: &'a str,
    account_id: i64,
    username: &'a str,
    display_name: Option<&'a str>,
    email: Option<&'a str>,
    email_status: Option<u8>,
    phone: Option<&'a str>,
    phone_status: u8,
    birthday: Option<&'a str>,
    address: Option<&'a str>,
    register_time: i64,
    country: Option<&'a str>,
    credit_card: Option<&'a str>,
    account_rank: Option<&'a str>,
}

impl<'a> Data<'a> {
    fn of(logged_in: &'a LoggedIn) -> Self {
        let LoggedIn { account, tokens, .. } = logged_in;
        let details = &account.details;
        let email = account.email.as_ref().map(|email| email.as_str());
        let phone = account.phone.as_ref().map(|phone| phone.national());
        Self {
            account_token: tokens.access.expose(),
            flush_token: tokens.refresh.expose(),
            account_id: account.number.0,
            username: user_name(account),
            display_name: details.display_name.as_deref(),
            email,
            email_status: email.map(|_| VERIFIED),
            phone,
            phone_status: if phone.is_some() { VERIFIED } else { NO_PHONE },
            birthday: details.birthday.as_ref().map(|date| date.as_str()),
            address: details.address.as_deref(),
            register_time: account.registered_at.0,
            country: details.country.as_deref(),
            credit_card: None,
            account_rank: details.groups.as_deref(),
        }
    }
}

/// An account that was registered by e-mail or phone has that as its user name.
fn user_name(account: &Account) -> &str {
    let user_name = account.user_name.as_ref().map(|name| name.as_str());
    let email = account.email.as_ref().map(|email| email.as_str());
    let phone = account.phone.as_ref().map(|phone| phone.national());
    user_name.or(email).or(phone).unwrap_or_default()
}
