//! A request's parameters, whichever way they came, read within their lengths.

use std::fmt::Display;

use account::{AccountNumber, Malformed, PasswordDigest, Phone};
use serde_json::Value;
use wire::{Form, Incoming, Object};

use crate::failure::{Code, Failure, code};

/// The longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 64;

/// A request's parameters. An empty one counts as absent.
pub(crate) struct Fields {
    source: Source,
    refusals: Refusals,
}

/// What an endpoint answers to parameters that are not as they must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusals {
    pub missing: Code,
    pub malformed: Code,
}

impl Refusals {
    /// One code for both.
    pub const fn all(code: Code) -> Self {
        Self { missing: code, malformed: code }
    }

    /// Code 3 for everything.
    pub const OLD: Self = Self::all(code::PARAMETERS);
    /// 3 and 4.
    pub const FORMAT: Self = Self { missing: code::PARAMETERS, malformed: code::FORMAT };
    /// 1002 and 1001.
    pub const NEW: Self = Self { missing: code::MISSING, malformed: code::MALFORMED };
}

enum Source {
    Form(Form),
    Json(Object),
}

impl Fields {
    /// A form, from the body and the query together.
    pub fn form(incoming: &Incoming, refusals: Refusals) -> Result<Self, Failure> {
        Self::of(Form::parse_both(incoming.query.as_deref(), &incoming.body).map(Source::Form), refusals)
    }

    /// A form that carries a password: from the body only, since queries end up in logs.
    pub fn secret_form(incoming: &Incoming, refusals: Refusals) -> Result<Self, Failure> {
        Self::of(Form::parse(&incoming.body).map(Source::Form), refusals)
    }

    /// A JSON object; no body at all is one without members.
    pub fn json(incoming: &Incoming, refusals: Refusals) -> Result<Self, Failure> {
        let body = if incoming.body.trim_ascii().is_empty() { b"{}" } else { &incoming.body[..] };
        Self::of(Object::parse(body).map(Source::Json), refusals)
    }

    fn of(source: Result<Source, impl Display>, refusals: Refusals) -> Result<Self, Failure> {
        let source = source.map_err(|error| Failure::new(refusals.malformed, error))?;
        Ok(Self { source, refusals })
    }

    /// The members of an object within the object.
    pub fn nested(&self, name: &str) -> Option<Self> {
        let Source::Json(object) = &self.source else { return None };
        let Some(Value::Object(members)) = object.get(name) else { return None };
        let source = Source::Json(Object::from_members(members.clone()));
        Some(Self { source, refusals: self.refusals })
    }

    pub fn missing(&self, name: &str) -> Failure {
        Failure::new(self.refusals.missing, format!("{name} is missing"))
    }

    pub fn malformed(&self, name: &str) -> Failure {
        Failure::new(self.refusals.malformed, format!("{name} is malformed"))
    }

    /// A parameter's text; numbers and flags are read as they are written.
    fn raw(&self, name: &str) -> Result<Option<String>, Failure> {
        match &self.source {
            Source::Form(form) => Ok(form.get(name).map(str::to_owned)),
            Source::Json(object) => match object.get(name) {
                None => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
                Some(Value::Number(number)) => Ok(Some(number.to_string())),
                Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
                Some(_) => Err(self.malformed(name)),
            },
        }
    }

    /// A text of at most `most` characters, none of which is a control character.
    pub fn optional(&self, name: &str, most: usize) -> Result<Option<String>, Failure> {
        match self.raw(name)? {
            Some(text) if text.chars().count() > most || text.chars().any(char::is_control) => Err(self.malformed(name)),
            text => Ok(text),
        }
    }

    pub fn required(&self, name: &str, most: usize) -> Result<String, Failure> {
        self.optional(name, most)?.ok_or_else(|| self.missing(name))
    }

    pub fn parse<T: std::str::FromStr<Err = Malformed>>(&self, name: &str, most: usize) -> Result<T, Failure> {
        self.required(name, most)?.parse().map_err(|_| self.malformed(name))
    }

    /// A token, without the white space around it: the documents' own sample ends in a line end.
    pub fn token(&self, name: &str) -> Result<String, Failure> {
        let text = self.raw(name)?.ok_or_else(|| self.missing(name))?;
        let token = text.trim();
        if token.is_empty() || token.len() > LONGEST_TOKEN { Err(self.malformed(name)) } else { Ok(token.to_owned()) }
    }

    pub fn account(&self, name: &str) -> Result<AccountNumber, Failure> {
        self.required(name, 20)?.trim().parse().map(AccountNumber).map_err(|_| self.malformed(name))
    }

    /// The MD5 of a password; anything else is code 3, whatever else is malformed here (§1).
    pub fn digest(&self, name: &str) -> Result<PasswordDigest, Failure> {
        let text = self.raw(name)?.ok_or_else(|| self.missing(name))?;
        PasswordDigest::parse(&text).map_err(|_| Failure::new(code::PARAMETERS, format!("{name} is malformed")))
    }

    /// Two times the MD5 of a new password; `differ` says that they are not the same.
    pub fn new_digest(&self, name: &str, again: &str, differ: Code) -> Result<PasswordDigest, Failure> {
        let digest = self.digest(name)?;
        if digest.is(&self.digest(again)?) { Ok(digest) } else { Err(Failure::new(differ, "the two passwords differ")) }
    }

    /// A phone number in its two parts: 8004 without the country code, 8005 for a malformed one.
    pub fn phone(&self, shortest: usize) -> Result<Phone, Failure> {
        let number = self.required("phone", 15)?;
        let digits = number.len() >= shortest && number.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(self.malformed("phone"));
        }
        let country = self.optional("countryCode", 255)?;
        let country = country.ok_or_else(|| Failure::new(code::COUNTRY_CODE_MISSING, "countryCode is missing"))?;
        Phone::from_parts(country_code(&country)?, &number).map_err(|_| self.malformed("phone"))
    }
}

/// A `+` and digits, at most 16 characters (§1).
pub(crate) fn country_code(text: &str) -> Result<&str, Failure> {
    let digits = text.strip_prefix('+').unwrap_or_default();
    let fits = !digits.is_empty() && text.len() <= 16 && digits.bytes().all(|b| b.is_ascii_digit());
    if fits { Ok(text) } else { Err(Failure::new(code::COUNTRY_CODE_MALFORMED, "countryCode is malformed")) }
}
