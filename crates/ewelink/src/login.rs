//! `POST /api/user/login` (§2).

use std::sync::Arc;
use std::time::Duration;

use account::{Authenticated, Caller, Client, Email, Identifier, LoggedIn, Login, Password, Phone, Profile, Terms, TokenLength};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use wire::{Attempt, Incoming};

use crate::Dialect;
use crate::answer;
use crate::call::{Call, Stamp};
use crate::failure::Failure;
use crate::signature;

const DAY: Duration = Duration::from_hours(24);

/// Tokens of 40 hex digits; `at` lives one month, `rt` two (§2).
const TERMS: Terms = Terms {
    token_length: TokenLength::Bits160,
    access_lifetime: DAY.saturating_mul(30),
    refresh_lifetime: DAY.saturating_mul(60),
};

pub(crate) async fn handle(State(dialect): State<Arc<Dialect>>, request: Request) -> Response {
    let mut attempt = Attempt::begin("ewelink-v8", &request);
    match dialect.login(request, &mut attempt).await {
        Ok((logged_in, language)) => {
            attempt.succeeded(logged_in.account.number);
            answer::logged_in(&logged_in, language.as_deref(), dialect.settings.places.as_ref())
        }
        Err(failure) => {
            attempt.failed(&failure, failure.is_ours());
            failure.into_response()
        }
    }
}

impl Dialect {
    /// Returns the login and the language that the app asked for.
    async fn login(&self, request: Request, attempt: &mut Attempt) -> Result<(LoggedIn, Option<String>), Failure> {
        let incoming = Incoming::read(request, self.settings.body_timeout).await?;
        let call = Call::parse(&incoming.body, &["password"])?;
        if call.get("phoneNumber").or(call.get("email")).is_none() {
            return Err(Failure::Missing("phoneNumber or email"));
        }
        let application = self.authenticate(&incoming, &call).await?;
        let profile = application.profile();
        let language = call.remark("lang", profile)?.map(str::to_owned);
        let login = self.read_login(&incoming, &call, application, attempt)?;
        Ok((self.core.login(&login).await?, language))
    }

    async fn authenticate(&self, incoming: &Incoming, call: &Call) -> Result<Authenticated, Failure> {
        let id = call.application()?;
        let signature = incoming.authorization.as_deref().and_then(signature::parse).ok_or(Failure::NotSigned)?;
        Ok(self.core.authenticate(id, &incoming.body, &signature).await?)
    }

    fn read_login(
        &self,
        incoming: &Incoming,
        call: &Call,
        application: Authenticated,
        attempt: &mut Attempt,
    ) -> Result<Login, Failure> {
        let profile = application.profile();
        let identifier = identifier(call, profile)?;
        attempt.identifier = Some(identifier.clone());
        let stamp = call.stamp(profile)?;
        let Some(Value::String(password)) = call.get("password") else { return Err(Failure::Malformed("password")) };
        let password = Password::given(password.clone()).map_err(|_| Failure::Malformed("password"))?;
        let client = Client {
            address: incoming.address,
            app_version: call.remark("appVersion", profile)?.map(str::to_owned),
            os: call.remark("os", profile)?.map(str::to_owned),
        };
        // These are of no use here, but no excuse for being malformed either.
        for unused in ["model", "romVersion", "imei"] {
            call.remark(unused, profile)?;
        }
        let nonce = self.check_clock(&stamp, profile, attempt)?;
        Ok(Login {
            identifier,
            password: password.digest(),
            caller: Caller::Application(application),
            region: Some(self.settings.hosts.region(incoming.host.as_deref()).clone()),
            terms: TERMS,
            client,
            nonce,
        })
    }

    /// In the strict profile a wrong clock is refused and a nonce is used once; in the compat profile, whose clients freeze both for
    /// as long as they run, a wrong clock is only noted (§5).
    fn check_clock(&self, stamp: &Stamp, profile: Profile, attempt: &mut Attempt) -> Result<Option<(String, Duration)>, Failure> {
        let skew = self.settings.max_clock_skew;
        let current = stamp.is_current(self.core.clock().now(), skew);
        match (profile, current) {
            (Profile::Strict, false) => Err(Failure::ClockSkew),
            (Profile::Strict, true) => Ok(Some((stamp.once(), skew * 2))),
            (Profile::Compat, false) => {
                attempt.note = Some("the app's clock is off or frozen");
                Ok(None)
            }
            (Profile::Compat, true) => Ok(None),
        }
    }
}

/// Who logs in: the phone number wins (§2).
fn identifier(call: &Call, profile: Profile) -> Result<Identifier, Failure> {
    if let Some(phone) = call.get("phoneNumber") {
        return phone_number(phone, profile).map(Identifier::Phone).ok_or(Failure::Malformed("phoneNumber"));
    }
    let email: Option<Email> = call.text("email", 254)?.and_then(|text| text.parse().ok());
    email.filter(Email::is_address).map(Identifier::Email).ok_or(Failure::Malformed("email"))
}

/// E.164 with its `+`; in the compat profile also without it, or as a JSON number.
fn phone_number(value: &Value, profile: Profile) -> Option<Phone> {
    let text = match (value, profile) {
        (Value::String(text), Profile::Strict) if text.starts_with('+') => text.clone(),
        (Value::String(text), Profile::Compat) => text.clone(),
        (Value::Number(number), Profile::Compat) => number.as_u64()?.to_string(),
        _ => return None,
    };
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn phone_numbers_in_each_profile() {
        let read = |value: Value, profile| phone_number(&value, profile).map(|phone| phone.to_string());
        let whole = Some("+8613123456789".to_owned());
        assert_eq!(read(json!("+8613123456789"), Profile::Strict), whole);
        for stray in [json!("+8613123456789"), json!("8613123456789"), json!(8_613_123_456_789_u64)] {
            assert_eq!(read(stray, Profile::Compat), whole);
        }
        for bad in [json!("8613123456789"), json!(8_613_123_456_789_u64)] {
            assert_eq!(read(bad, Profile::Strict), None);
        }
        for bad in [json!("+86 131"), json!("phone"), json!(-8_613_123_456_789_i64), json!(1.5), json!("+"), json!("\u{0}")] {
            assert_eq!(read(bad, Profile::Compat), None);
        }
    }
}
