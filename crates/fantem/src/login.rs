//! `POST /accounts/login` (§2) and `POST /v2/accounts/login` (§3).

use account::{Account, Caller, Client, Credential, Device, Identifier, LoggedIn, Login, LoginError};
use serde::Serialize;
use wire::{Attempt, Form, Incoming};

use crate::failure::{Failure, code};
use crate::fields::{Fields, Refusals, country_code};
use crate::parameters::{self, Name, Parameters};
use crate::routes::Answer;
use crate::{Dialect, TERMS};

/// The country of a phone number that comes without one (§3).
const DEFAULT_COUNTRY: &str = "+86";

impl Dialect {
    pub(crate) async fn login(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let Parameters { device, name, password, gateway } = Parameters::read(&Form::parse(&incoming.body)?)?;
        let identifier = match name {
            Name::Clear(identifier) => identifier,
            Name::MaybePhone(user_name) if self.core.knows(&user_name).await? => user_name,
            Name::MaybePhone(_) => {
                return Err(Failure::new(code::COUNTRY_CODE_MISSING, "a phone number came without countryCode"));
            }
        };
        attempt.identifier = Some(identifier.clone());
        let caller = Caller::Panel { serial: device, gateway };
        attempt.audience = Some(caller.audience());
        let login = login(incoming, attempt, identifier, Credential::Password(password.into()), caller);
        let logged_in = self.core.login(&login).await?;
        let data = Data { tokens: Tokens::old(&logged_in), person: Person::of(&logged_in.account) };
        Ok(Answer::data(data).of(logged_in.account.number).outcome(LoggedIn::OUTCOME))
    }

    pub(crate) async fn login_v2(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::OLD)?;
        let typed: Identifier = fields.parse("username", 255)?;
        let password = fields.digest("password")?;
        let country = fields.optional("countryCode", 255)?;
        let country = country.as_deref().map(country_code).transpose()?;
        let device = self.calling_device(incoming).await?;
        let identifier = match parameters::name(typed.clone(), country) {
            Name::Clear(identifier) => identifier,
            Name::MaybePhone(user_name) if self.core.knows(&user_name).await? => user_name,
            Name::MaybePhone(_) => match parameters::name(typed, Some(DEFAULT_COUNTRY)) {
                Name::Clear(identifier) | Name::MaybePhone(identifier) => identifier,
            },
        };
        attempt.identifier = Some(identifier.clone());
        let caller = Caller::Device { serial: device.serial };
        attempt.audience = Some(caller.audience());
        let login = login(incoming, attempt, identifier, Credential::Password(password.into()), caller);
        let logged_in = self.core.login(&login).await.map_err(|error| match error {
            LoginError::DeviceUnknown => Failure::new(code::DEVICE_UNKNOWN, error),
            error => error.into(),
        })?;
        let data = Data { tokens: Tokens::new(&logged_in), person: Person::of(&logged_in.account) };
        Ok(Answer::data(data).of(logged_in.account.number).outcome(LoggedIn::OUTCOME))
    }

    /// The device that the cookie `guid` names.
    pub(crate) async fn calling_device(&self, incoming: &Incoming) -> Result<Device, Failure> {
        let unknown = || Failure::new(code::DEVICE_UNKNOWN, "the cookie guid names no registered device");
        let guid = incoming.cookie("guid").and_then(|text| text.parse().ok()).ok_or_else(unknown)?;
        self.core.device_by_guid(&guid).await?.ok_or_else(unknown)
    }
}

fn login(incoming: &Incoming, attempt: &mut Attempt, identifier: Identifier, credential: Credential, caller: Caller) -> Login {
    Login {
        identifier,
        credential,
        caller,
        // The dialect knows no regions.
        region: None,
        terms: TERMS,
        client: Client { address: incoming.origin.address, app_version: None, os: None },
        origin: incoming.origin.clone(),
        nonce: None,
        what: attempt.entrust_entry(),
    }
}

/// `emailStatus` and `phoneStatus`. The other statuses (1 not verified, 3 not verified in time) cannot log in.
const VERIFIED: u8 = 2;
const NO_PHONE: u8 = 0;

/// What a login answers, always with every field.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    tokens: Tokens<'a>,
    #[serde(flatten)]
    person: Person<'a>,
}

/// The tokens, as the two kinds of login call them.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Tokens<'a> {
    Old {
        account_token: &'a str,
        flush_token: &'a str,
        account_rank: Option<&'a str>,
    },
    New {
        account_access_token: &'a str,
        access_token_expire_time: i64,
        account_refresh_token: &'a str,
        refresh_token_expire_time: i64,
    },
}

impl<'a> Tokens<'a> {
    fn old(logged_in: &'a LoggedIn) -> Self {
        Self::Old {
            account_token: logged_in.tokens.access.expose(),
            flush_token: logged_in.tokens.refresh.expose(),
            account_rank: logged_in.account.details.groups.as_deref(),
        }
    }

    fn new(logged_in: &'a LoggedIn) -> Self {
        Self::New {
            account_access_token: logged_in.tokens.access.expose(),
            access_token_expire_time: logged_in.session.access_expires_at.0,
            account_refresh_token: logged_in.tokens.refresh.expose(),
            refresh_token_expire_time: logged_in.session.refresh_expires_at.0,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Person<'a> {
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
}

impl<'a> Person<'a> {
    fn of(account: &'a Account) -> Self {
        let details = &account.details;
        let email = account.email.as_ref().map(|email| email.as_str());
        let phone = account.phone.as_ref().map(|phone| phone.national());
        Self {
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
