//! `POST /api/user/login` (§2), and what every signed call is checked for.

use std::time::Duration;

use account::{
    Address, Authenticated, Caller, Client, Credential, Email, LoggedIn, Login, LoginError, Opening, Password, Phone, Profile,
};
use serde_json::Value;
use wire::{Attempt, Incoming};

use super::Answer;
use super::answer;
use super::call::{Call, Stamp};
use super::failure::Failure;
use crate::{Dialect, TERMS, signature};

/// A call that an application has signed, and whose common fields have the form that its profile demands.
pub(super) struct Signed {
    pub call: Call,
    pub application: Authenticated,
    /// What may reach the password check only once, and for how long it is remembered.
    pub nonce: Option<(String, Duration)>,
}

impl Signed {
    pub fn profile(&self) -> Profile {
        self.application.profile()
    }

    /// The language that the app asks for.
    pub fn language(&self) -> Result<Option<String>, Failure> {
        Ok(self.call.remark("lang", self.profile())?.map(str::to_owned))
    }

    /// What is known of the app. Some of what apps send is of no use here, but no excuse for being malformed either.
    pub fn client(&self, incoming: &Incoming) -> Result<Client, Failure> {
        for unused in ["model", "romVersion", "imei"] {
            self.call.remark(unused, self.profile())?;
        }
        Ok(Client {
            address: incoming.origin.address,
            app_version: self.call.remark("appVersion", self.profile())?.map(str::to_owned),
            os: self.call.remark("os", self.profile())?.map(str::to_owned),
        })
    }

    /// The session that begins with the call.
    pub fn opening(&self, incoming: &Incoming) -> Result<Opening, Failure> {
        let audience = self.application.audience();
        Ok(Opening { audience, terms: TERMS, client: self.client(incoming)? })
    }

    /// Whose account is meant: the phone number wins (§2).
    pub fn address(&self, attempt: &mut Attempt) -> Result<Address, Failure> {
        let address = address(&self.call, self.profile())?;
        attempt.identifier = Some(address.identifier());
        Ok(address)
    }
}

/// Checks that a phone number or an e-mail address is there.
pub(super) fn names_somebody(call: &Call) -> Result<(), Failure> {
    let named = call.get("phoneNumber").or(call.get("email"));
    named.map(drop).ok_or(Failure::Missing("phoneNumber or email"))
}

impl Dialect {
    pub(super) async fn login(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let call = Call::parse(&incoming.body, &["password"])?;
        names_somebody(&call)?;
        if let Err(busy) = self.core.can_hash(&incoming.origin) {
            // For the log: whose login it was, whoever signed it.
            attempt.identifier = address(&call, Profile::Compat).ok().map(|address| address.identifier());
            return Err(LoginError::from(busy).into());
        }
        let application = self.authenticate(incoming, &call, &[&incoming.body]).await?;
        // The identifier first: what is wrong with the rest is logged with it.
        attempt.identifier = Some(address(&call, application.profile())?.identifier());
        let signed = self.check_form(call, application, attempt)?;
        let language = signed.language()?;
        let address = signed.address(attempt)?;
        let Some(Value::String(password)) = signed.call.get("password") else { return Err(Failure::Malformed("password")) };
        let password = Password::given(password.clone()).map_err(|_| Failure::Malformed("password"))?;
        let login = Login {
            identifier: address.identifier(),
            credential: Credential::Password(password.into()),
            client: signed.client(incoming)?,
            caller: Caller::Application(signed.application),
            region: Some(self.settings.hosts.region(incoming.host.as_deref()).clone()),
            terms: TERMS,
            origin: incoming.origin.clone(),
            nonce: signed.nonce,
            what: attempt.entrust_entry(),
        };
        let logged_in = self.core.login(&login).await?;
        Ok(answer::logged_in(&logged_in, language.as_deref(), self.settings.places.as_ref(), LoggedIn::OUTCOME))
    }

    /// Checks who signed one of `messages`.
    pub(super) async fn authenticate(
        &self,
        incoming: &Incoming,
        call: &Call,
        messages: &[impl AsRef<[u8]>],
    ) -> Result<Authenticated, Failure> {
        let id = call.application()?;
        let signature = incoming.authorization.as_deref().and_then(signature::parse).ok_or(Failure::NotSigned)?;
        Ok(self.core.authenticate(id, messages, &signature).await?)
    }

    /// Checks the form of the common fields, and the clock.
    pub(super) fn check_form(&self, call: Call, application: Authenticated, attempt: &mut Attempt) -> Result<Signed, Failure> {
        attempt.audience = Some(application.audience());
        let stamp = call.stamp(application.profile())?;
        let nonce = self.check_clock(&stamp, application.profile(), attempt)?;
        Ok(Signed { call, application, nonce })
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

fn address(call: &Call, profile: Profile) -> Result<Address, Failure> {
    if let Some(phone) = call.get("phoneNumber") {
        return phone_number(phone, profile).map(Address::Phone).ok_or(Failure::Malformed("phoneNumber"));
    }
    email(call, "email").map(Address::Email)
}

pub(super) fn email(call: &Call, field: &'static str) -> Result<Email, Failure> {
    let email: Option<Email> = call.text(field, 254)?.and_then(|text| text.parse().ok());
    email.filter(Email::is_address).ok_or(Failure::Malformed(field))
}

/// E.164 with its `+`; in the compat profile also without it, or as a JSON number.
pub(super) fn phone_number(value: &Value, profile: Profile) -> Option<Phone> {
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
