//! What a login depends on (§3): regions, codes, registration, passwords, refreshing.

use account::{
    Address, Audience, Candidate, ChangeError, CodeWanted, Details, LoggedIn, Password, Profile, Purpose, Refresh, Registration,
    RegistrationProof, Reset, ResetProof, TokenError,
};
use axum::Json;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use wire::{Attempt, Incoming, Object, Query};

use super::Answer;
use super::answer;
use super::call::Call;
use super::failure::Failure;
use super::login::{Signed, email, names_somebody, phone_number};
use crate::{Dialect, JSON, SENDING, TERMS, signature};

fn plain(body: Value, outcome: &'static str) -> Answer {
    Answer { response: (JSON, Json(body)).into_response(), account: None, outcome }
}

impl Dialect {
    /// A signed call with a body.
    async fn signed_body(
        &self,
        incoming: &Incoming,
        required: &[&'static str],
        check: impl Fn(&Call) -> Result<(), Failure>,
        attempt: &mut Attempt,
    ) -> Result<Signed, Failure> {
        let call = Call::parse(&incoming.body, required)?;
        check(&call)?;
        let application = self.authenticate(incoming, &call, &[&incoming.body]).await?;
        self.check_form(call, application, attempt)
    }

    /// A signed call whose fields are in the query.
    async fn signed_query(
        &self,
        incoming: &Incoming,
        required: &[&'static str],
        attempt: &mut Attempt,
    ) -> Result<Signed, Failure> {
        let query = Query::parse(incoming.query.as_deref().unwrap_or_default())?;
        let call = Call::of_query(&query, required)?;
        let application = self.authenticate(incoming, &call, &signature::messages(&query)).await?;
        self.check_form(call, application, attempt)
    }

    pub(super) async fn tell_region(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let signed = self.signed_query(incoming, &[], attempt).await?;
        let code = signed.call.text("country_code", 16)?;
        let region = self.region(code, incoming.host.as_deref());
        Ok(plain(json!({ "error": 0, "region": region }), "told"))
    }

    pub(super) async fn send_code(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let one_address = |call: &Call| match (call.get("email"), call.get("to")) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (None, None) => Err(Failure::Missing("email or to")),
            (Some(_), Some(_)) => Err(Failure::Malformed("email and to, of which there must be one")),
        };
        let signed = self.signed_body(incoming, &["sendType"], one_address, attempt).await?;
        let to = match signed.call.get("to") {
            Some(phone) => Address::Phone(phone_number(phone, signed.profile()).ok_or(Failure::Malformed("to"))?),
            None => Address::Email(email(&signed.call, "email")?),
        };
        attempt.identifier = Some(to.identifier());
        let wanted = CodeWanted {
            purpose: purpose(signed.call.get("sendType"), signed.profile())?,
            to,
            region: Some(self.settings.hosts.region(incoming.host.as_deref()).clone()),
            language: signed.language()?,
            sending: SENDING,
        };
        self.core.send_code(&wanted).await?;
        Ok(plain(json!({ "error": 0 }), "sent"))
    }

    pub(super) async fn register(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let signed = self.signed_body(incoming, &["password", "verificationCode"], names_somebody, attempt).await?;
        let language = signed.language()?;
        let registration = Registration {
            region: self.settings.hosts.region(incoming.host.as_deref()).clone(),
            user_name: None,
            address: signed.address(attempt)?,
            password: new_password(&signed.call, "password")?.digest(),
            details: Details { language: language.clone(), ..Details::default() },
            proof: RegistrationProof::Code(code(&signed)?),
            origin: &incoming.origin,
        };
        let logged_in = self.core.register_and_log_in(&registration, &signed.opening(incoming)?).await?;
        Ok(answer::logged_in(&logged_in, language.as_deref(), self.settings.places.as_ref(), "registered"))
    }

    pub(super) async fn reset_password(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let signed = self.signed_body(incoming, &["password", "verificationCode"], names_somebody, attempt).await?;
        let language = signed.language()?;
        let reset = Reset {
            address: signed.address(attempt)?,
            proof: ResetProof::Code(code(&signed)?),
            password: new_password(&signed.call, "password")?.digest(),
            region: Some(self.settings.hosts.region(incoming.host.as_deref()).clone()),
            origin: &incoming.origin,
        };
        let logged_in = self.core.reset_password_and_log_in(&reset, &signed.opening(incoming)?).await?;
        Ok(answer::logged_in(&logged_in, language.as_deref(), self.settings.places.as_ref(), "password reset"))
    }

    pub(super) async fn change_password(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let call = Call::unsigned(Object::parse(&incoming.body)?, &["oldPassword", "newPassword"])?;
        let token = incoming.bearer().ok_or(Failure::NotLoggedIn)?;
        let old = call.text("oldPassword", Password::LONGEST)?.unwrap_or_default();
        let old: Candidate = Password::given(old.to_owned()).map_err(|_| Failure::Malformed("oldPassword"))?.into();
        let new = new_password(&call, "newPassword")?;
        let (account, session) = self.core.session(token).await.map_err(ChangeError::Token)?;
        (attempt.account, attempt.audience) = (Some(account.number), Some(session.audience.clone()));
        if !matches!(session.audience, Audience::Application(_)) {
            return Err(ChangeError::Token(TokenError::Unknown).into());
        }
        let account = self.core.change_password(token, &old, new.digest(), &incoming.origin).await?;
        let answer = plain(json!({ "message": "Change password is success!" }), "password changed");
        Ok(Answer { account: Some(account.number), ..answer })
    }

    pub(super) async fn refresh(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let signed = self.signed_query(incoming, &["rt"], attempt).await?;
        if signed.call.text("grantType", 16)?.is_some_and(|kind| kind != "refresh") {
            return Err(Failure::Malformed("grantType"));
        }
        let language = signed.language()?;
        let audience = signed.application.audience();
        let refresh = Refresh {
            token: signed.call.text("rt", 64)?.unwrap_or_default(),
            is_theirs: &|session, _| session.audience == audience,
            terms: TERMS,
            origin: &incoming.origin,
        };
        let refreshed = self.core.refresh(&refresh).await?;
        let logged_in = LoggedIn {
            account: refreshed.account,
            session: refreshed.session,
            tokens: refreshed.tokens,
            previous_ended_at: None,
        };
        Ok(answer::logged_in(&logged_in, language.as_deref(), self.settings.places.as_ref(), "refreshed"))
    }
}

fn code(signed: &Signed) -> Result<&str, Failure> {
    signed.call.text("verificationCode", 16)?.ok_or(Failure::Missing("verificationCode"))
}

fn new_password(call: &Call, field: &'static str) -> Result<Password, Failure> {
    let text = call.text(field, Password::LONGEST)?.unwrap_or_default();
    Password::new(text.to_owned()).map_err(|_| Failure::Malformed(field))
}

/// A digit as a string; in the compat profile also as a number.
fn purpose(send_type: Option<&Value>, profile: Profile) -> Result<Purpose, Failure> {
    let digit = match (send_type, profile) {
        (Some(Value::String(text)), _) => text.clone(),
        (Some(Value::Number(number)), Profile::Compat) => number.to_string(),
        _ => return Err(Failure::Malformed("sendType")),
    };
    match digit.as_str() {
        "0" => Ok(Purpose::Register),
        "1" => Ok(Purpose::Reset),
        "3" => Ok(Purpose::Close),
        "4" => Ok(Purpose::LogIn),
        _ => Err(Failure::Malformed("sendType")),
    }
}
