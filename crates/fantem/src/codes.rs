//! Codes by mail and SMS (§5).

use account::{Address, CodeWanted, Email, Purpose, Sending};
use serde_json::json;
use wire::{Attempt, Incoming};

use crate::failure::{CodeCodes, Failure, SendCodes, code};
use crate::fields::{Fields, Refusals};
use crate::routes::Answer;
use crate::{BY_MAIL, BY_SMS, Dialect};

impl Dialect {
    pub(crate) async fn email_code(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::FORMAT)?;
        let address = Address::Email(fields.parse::<Email>("email", 255)?);
        let language = fields.language()?;
        let codes = SendCodes {
            malformed: code::FORMAT,
            unknown: code::EMAIL_UNKNOWN,
            registered: code::EMAIL_REGISTERED,
            pending: code::EMAIL_PENDING,
            lapsed: code::ACTIVATION_LAPSED,
            not_sent: code::MAIL_NOT_SENT,
        };
        self.send(address.clone(), &fields, language.clone(), BY_MAIL, codes, attempt).await?;
        Ok(Answer::data(json!({ "email": address.as_str(), "language": language })).outcome("sent"))
    }

    pub(crate) async fn sms_code(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::FORMAT)?;
        let address = Address::Phone(fields.phone(6)?);
        let codes = SendCodes {
            malformed: code::FORMAT,
            unknown: code::PHONE_UNKNOWN,
            registered: code::PHONE_REGISTERED,
            pending: code::PHONE_UNKNOWN,
            lapsed: code::PHONE_UNKNOWN,
            not_sent: code::SMS_NOT_SENT,
        };
        // Whoever has a Chinese number reads Chinese, as far as anybody knows.
        let language = address.as_str().starts_with("+86").then(|| "zh_CN".to_owned());
        self.send(address, &fields, language, BY_SMS, codes, attempt).await?;
        Ok(Answer::done().outcome("sent"))
    }

    async fn send(
        &self,
        to: Address,
        fields: &Fields,
        language: Option<String>,
        sending: Sending,
        codes: SendCodes,
        attempt: &mut Attempt,
    ) -> Result<(), Failure> {
        attempt.identifier = Some(to.identifier());
        let purpose = match fields.optional("status", 8)?.as_deref() {
            None => Purpose::Reset,
            Some("1") => Purpose::Register,
            Some(_) => return Err(fields.malformed("status")),
        };
        let wanted = CodeWanted { purpose, to, region: None, language, sending };
        self.core.send_code(&wanted).await.map_err(|error| codes.refuse(error))
    }

    /// Does not use the code up.
    pub(crate) async fn validate_phone_code(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::FORMAT)?;
        let digits = fields.code()?;
        let address = Address::Phone(fields.phone(8)?);
        attempt.identifier = Some(address.identifier());
        if self.core.is_registered(&address).await? {
            return Err(Failure::new(code::PHONE_REGISTERED, "the number is registered already"));
        }
        let checked = self.core.check_code(Purpose::Register, &address, &digits, &incoming.origin).await;
        checked.map_err(|error| CodeCodes::CHECK.refuse(error))?;
        attempt.changes_nothing();
        Ok(Answer::done())
    }
}

impl Fields {
    /// Exactly six characters.
    pub(crate) fn code(&self) -> Result<String, Failure> {
        let code = self.required("code", 6)?;
        if code.chars().count() == 6 { Ok(code) } else { Err(self.malformed("code")) }
    }

    /// `en` or `zh_CN`, also as `/region/languageCode` writes them.
    pub(crate) fn language(&self) -> Result<Option<String>, Failure> {
        match self.optional("language", 16)? {
            Some(language) if !["en", "zh_CN", "en-US", "zh-CN"].contains(&language.as_str()) => Err(self.malformed("language")),
            language => Ok(language),
        }
    }
}
