//! Who calls, and with which fields.

use account::{Address, Authenticated, Client, Email, Opening, Password, Phone};
use axum::http::HeaderName;
use serde_json::Value;
use wire::{Attempt, Incoming, Object, Query};

use super::failure::Failure;
use crate::{Dialect, TERMS, signature};

/// Where the application says who it is.
pub(super) const APPID: HeaderName = HeaderName::from_static("x-ck-appid");

/// The longest text that is read, in characters.
const LONGEST: usize = 255;

/// A call's fields. `null` and an empty string count as absent.
pub(super) struct Fields(Object);

impl Fields {
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        Ok(Self(Object::parse(body)?))
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| value.as_str() != Some(""))
    }

    /// A text, or a number as its digits.
    pub fn text(&self, field: &'static str) -> Result<Option<String>, Failure> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= LONGEST && !text.contains('\0') => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(Failure::Malformed(field)),
        }
    }

    pub fn required(&self, field: &'static str) -> Result<String, Failure> {
        self.text(field)?.ok_or(Failure::Missing(field))
    }

    /// A password that is to be checked.
    pub fn password(&self, field: &'static str) -> Result<Password, Failure> {
        self.read_password(field, Password::given)
    }

    /// A password that is to be set.
    pub fn new_password(&self, field: &'static str) -> Result<Password, Failure> {
        self.read_password(field, Password::new)
    }

    fn read_password(
        &self,
        field: &'static str,
        read: impl Fn(String) -> Result<Password, account::Malformed>,
    ) -> Result<Password, Failure> {
        match self.get(field) {
            None => Err(Failure::Missing(field)),
            Some(Value::String(text)) => read(text.clone()).map_err(|_| Failure::Malformed(field)),
            Some(_) => Err(Failure::Malformed(field)),
        }
    }

    /// Whose account is meant: the phone number wins.
    pub fn address(&self, attempt: &mut Attempt) -> Result<Address, Failure> {
        let code = self.text("countryCode")?;
        let address = match (self.text("phoneNumber")?, self.text("email")?) {
            (Some(phone), _) => {
                phone_number(&phone, code.as_deref()).map(Address::Phone).ok_or(Failure::Malformed("phoneNumber"))?
            }
            (None, Some(email)) => {
                let email: Option<Email> = email.parse().ok();
                email.filter(Email::is_address).map(Address::Email).ok_or(Failure::Malformed("email"))?
            }
            (None, None) => return Err(Failure::Missing("phoneNumber or email")),
        };
        attempt.identifier = Some(address.identifier());
        Ok(address)
    }
}

/// With its country code, with or without `+`; or without it, where the country is given beside it. A national number may begin with
/// the digits of its country's code: what is a number of that country's plan with the code before it is one without the code.
fn phone_number(text: &str, country_code: Option<&str>) -> Option<Phone> {
    let country = country_code.map(|code| code.trim_start_matches('+')).filter(|code| !code.is_empty());
    let whole: Option<Phone> = text.parse().ok();
    let Some(country) = country.filter(|_| !text.starts_with('+')) else { return whole };
    let national = Phone::from_parts(&format!("+{country}"), text).ok();
    let is_national = !text.starts_with(country) || national.as_ref().is_some_and(Phone::is_in_its_plan);
    if is_national { national } else { whole }
}

/// The program at the other end; this dialect says nothing of it.
pub(super) fn client(incoming: &Incoming) -> Client {
    Client { address: incoming.origin.address, app_version: None, os: None }
}

pub(super) fn opening(application: &Authenticated, incoming: &Incoming) -> Opening {
    Opening { audience: application.audience(), terms: TERMS, client: client(incoming) }
}

impl Dialect {
    /// Checks who signed the body, and reads it.
    pub(super) async fn signed_body_v2(&self, incoming: &Incoming) -> Result<(Authenticated, Fields), Failure> {
        let fields = Fields::parse(&incoming.body)?;
        Ok((self.authenticate_v2(incoming, &[&incoming.body]).await?, fields))
    }

    /// Checks who signed the query, and reads it.
    pub(super) async fn signed_query_v2(&self, incoming: &Incoming) -> Result<(Authenticated, Fields), Failure> {
        let query = Query::parse(incoming.query.as_deref().unwrap_or_default())?;
        let application = self.authenticate_v2(incoming, &signature::messages(&query)).await?;
        Ok((application, Fields(Object::of(&query))))
    }

    pub(super) async fn authenticate_v2(
        &self,
        incoming: &Incoming,
        messages: &[impl AsRef<[u8]>],
    ) -> Result<Authenticated, Failure> {
        let signature = incoming.authorization.as_deref().and_then(signature::parse).ok_or(Failure::NotSigned)?;
        let id = incoming.header(&APPID).ok_or(Failure::NoApplication)?;
        Ok(self.core.authenticate(&id, messages, &signature).await?)
    }
}

/// The access token of whoever is logged in.
pub(super) fn bearer(incoming: &Incoming) -> Result<&str, Failure> {
    incoming.bearer().ok_or(Failure::NotLoggedIn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phone_numbers_with_and_without_their_country() {
        for (text, country) in [
            ("+8613123456789", None),
            ("8613123456789", None),
            ("+8613123456789", Some("+86")),
            ("8613123456789", Some("+86")),
            ("13123456789", Some("+86")),
            ("13123456789", Some("86")),
        ] {
            let phone = phone_number(text, country).map(|phone| phone.to_string());
            assert_eq!(phone.as_deref(), Some("+8613123456789"), "{text} {country:?}");
        }
        for (text, country, number) in [
            ("9123456789", "+91", "+919123456789"),
            ("919123456789", "+91", "+919123456789"),
            ("3921234567", "+39", "+393921234567"),
            ("393921234567", "+39", "+393921234567"),
            ("55999999999", "+55", "+5555999999999"),
            ("5555999999999", "+55", "+5555999999999"),
            ("7011234567", "+7", "+77011234567"),
            ("77011234567", "+7", "+77011234567"),
            ("2025550123", "+1", "+12025550123"),
            ("12025550123", "+1", "+12025550123"),
        ] {
            let phone = phone_number(text, Some(country)).map(|phone| phone.to_string());
            assert_eq!(phone.as_deref(), Some(number), "{text} {country}");
        }
        assert!(phone_number("phone", Some("+86")).is_none());
    }
}
