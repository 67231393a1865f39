//! A request's parameters, whichever way they came, read within their lengths.

use account::{AccountNumber, Malformed, PasswordDigest, Phone};
use serde_json::Value;
use wire::{Form, Incoming, Object};

use crate::failure::{Code, Failure, code};

/// The longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 64;

/// A request's parameters. An empty one counts as absent.
pub(crate) struct Fields {
    source: Source,
    missing: Code,
    malformed: Code,
}

enum Source {
    Form(Form),
    Json(Object),
}

impl Fields {
    /// A form, from the body and the query together.
    pub fn form(incoming: &Incoming) -> Result<Self, Failure> {
        Ok(Self::of(Source::Form(Form::parse_both(incoming.query.as_deref(), &incoming.body)?)))
    }

    /// A form that carries a password: from the body only, since queries end up in logs.
    pub fn secret_form(incoming: &Incoming) -> Result<Self, Failure> {
        Ok(Self::of(Source::Form(Form::parse(&incoming.body)?)))
    }

    /// A JSON object.
    pub fn json(incoming: &Incoming) -> Result<Self, Failure> {
        Ok(Self::of(Source::Json(Object::parse(&incoming.body)?)))
    }

    fn of(source: Source) -> Self {
        Self { source, missing: code::PARAMETERS, malformed: code::PARAMETERS }
    }

    /// Other codes for what is missing and what is malformed.
    pub fn with(self, missing: Code, malformed: Code) -> Self {
        Self { missing, malformed, ..self }
    }

    /// The members of an object within the object.
    pub fn nested(&self, name: &str) -> Option<Self> {
        let Source::Json(object) = &self.source else { return None };
        let Some(Value::Object(members)) = object.get(name) else { return None };
        let source = Source::Json(Object::from_members(members.clone()));
        Some(Self { source, missing: self.missing, malformed: self.malformed })
    }

    pub fn missing(&self, name: &str) -> Failure {
        Failure::new(self.missing, format!("{name} is missing"))
    }

    pub fn malformed(&self, name: &str) -> Failure {
        Failure::new(self.malformed, format!("{name} is malformed"))
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

    /// The MD5 of a password.
    pub fn digest(&self, name: &str) -> Result<PasswordDigest, Failure> {
        PasswordDigest::parse(&self.required(name, 32)?).map_err(|_| self.malformed(name))
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
