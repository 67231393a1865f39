//! Everything around a login: codes, registration, passwords, profile, refreshing, leaving.

use account::{
    Account, Audience, CodeWanted, Details, Purpose, Refresh, Registration, RegistrationProof, Reset, ResetProof, Session,
    SpentToken, TokenError, TokenHash,
};
use serde_json::json;
use wire::{Attempt, Incoming};

use super::answer::{self, Answer, done};
use super::call::{APPID, Fields, bearer, opening};
use super::failure::Failure;
use crate::{Dialect, SENDING, TERMS};

/// The longest nickname, in characters.
const LONGEST_NICKNAME: usize = 64;

impl Dialect {
    pub(super) async fn register_v2(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let (application, fields) = self.signed_body_v2(incoming).await?;
        attempt.audience = Some(application.audience());
        let code = fields.required("verificationCode")?;
        let calling_code = fields.text("countryCode")?;
        let registration = Registration {
            region: self.region(calling_code.as_deref(), incoming.host.as_deref()),
            user_name: None,
            address: fields.address(attempt)?,
            password: fields.new_password("password")?.digest(),
            details: Details { language: fields.text("lang")?, ..Details::default() },
            proof: RegistrationProof::Code(&code),
            origin: &incoming.origin,
        };
        let logged_in = self.core.register_and_log_in(&registration, &opening(&application, incoming)).await?;
        Ok(answer::logged_in(&logged_in.account, &logged_in.tokens, "registered"))
    }

    pub(super) async fn send_code_v2(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let (_, fields) = self.signed_body_v2(incoming).await?;
        let purpose = match fields.required("type")?.as_str() {
            "0" => Purpose::Register,
            "1" => Purpose::Reset,
            "3" => Purpose::Close,
            "4" => Purpose::LogIn,
            _ => return Err(Failure::Malformed("type")),
        };
        let wanted = CodeWanted {
            purpose,
            to: fields.address(attempt)?,
            region: Some(self.settings.hosts.region(incoming.host.as_deref()).clone()),
            language: fields.text("lang")?,
            sending: SENDING,
        };
        self.core.send_code(&wanted).await?;
        Ok(done(None, "sent"))
    }

    pub(super) async fn reset_password_v2(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let (application, fields) = self.signed_body_v2(incoming).await?;
        attempt.audience = Some(application.audience());
        let code = fields.required("verificationCode")?;
        let reset = Reset {
            address: fields.address(attempt)?,
            proof: ResetProof::Code(&code),
            password: fields.new_password("password")?.digest(),
            region: Some(self.settings.hosts.region(incoming.host.as_deref()).clone()),
            origin: &incoming.origin,
        };
        let logged_in = self.core.reset_password_and_log_in(&reset, &opening(&application, incoming)).await?;
        Ok(answer::logged_in(&logged_in.account, &logged_in.tokens, "password reset"))
    }

    pub(super) async fn change_password_v2(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::parse(&incoming.body)?;
        let (old, new) = (fields.password("oldPassword")?, fields.new_password("newPassword")?);
        self.session_of(incoming, attempt).await?;
        let account = self.core.change_password(bearer(incoming)?, &old.into(), new.digest(), &incoming.origin).await?;
        Ok(done(Some(account.number), "password changed"))
    }

    pub(super) async fn profile(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let (account, _) = self.session_of(incoming, attempt).await?;
        let country = self.settings.places.as_ref().and_then(|places| places(incoming.origin.address, None).country);
        let data = json!({ "user": answer::user(&account, country), "region": account.region });
        Ok(Answer { data, account: Some(account.number), outcome: "told" })
    }

    /// Only the nickname is kept; what else clients set concerns services that are not here.
    pub(super) async fn set_profile(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::parse(&incoming.body)?;
        let (account, _) = self.session_of(incoming, attempt).await?;
        let Some(nickname) = fields.text("nickname")? else { return Ok(done(Some(account.number), "unchanged")) };
        if nickname.chars().count() > LONGEST_NICKNAME || nickname.chars().any(char::is_control) {
            return Err(Failure::Malformed("nickname"));
        }
        let details = Details { display_name: Some(nickname), ..account.details };
        self.core.set_details(account.number, &details).await?;
        Ok(done(Some(account.number), "changed"))
    }

    /// Signed, or with the access token that belongs to the refresh token, which need not be good any more.
    pub(super) async fn refresh_v2(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::parse(&incoming.body)?;
        let signed = match incoming.bearer() {
            Some(_) => None,
            None => Some(self.authenticate_v2(incoming, &[&incoming.body]).await?.audience()),
        };
        let token = fields.required("rt")?;
        let access = TokenHash::of(incoming.bearer().unwrap_or_default());
        let is_theirs = |session: &Session, spent: Option<&SpentToken>| match &signed {
            Some(audience) => session.audience == *audience,
            None => {
                let own = session.access_hash == access || spent.is_some_and(|spent| spent.access == access);
                own && is_from_application(session, incoming)
            }
        };
        let refresh = Refresh { token: &token, is_theirs: &is_theirs, terms: TERMS, origin: &incoming.origin };
        let refreshed = self.core.refresh(&refresh).await?;
        let data = json!({ "at": refreshed.tokens.access.expose(), "rt": refreshed.tokens.refresh.expose() });
        Ok(Answer { data, account: Some(refreshed.account.number), outcome: "refreshed" })
    }

    pub(super) async fn logout(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let (account, session) = self.session_of(incoming, attempt).await?;
        // Somebody else may have ended it since.
        let ended = self.core.log_out(bearer(incoming)?, |ended| ended.id == session.id).await?;
        if ended { Ok(done(Some(account.number), "logged out")) } else { Err(TokenError::Unknown.into()) }
    }

    pub(super) async fn close_account(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let code = Fields::parse(&incoming.body)?.required("verificationCode")?;
        self.session_of(incoming, attempt).await?;
        let number = self.core.close_account(bearer(incoming)?, &code, &incoming.origin).await?;
        Ok(done(Some(number), "account closed"))
    }

    pub(super) async fn tell_region_v2(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let (_, fields) = self.signed_query_v2(incoming).await?;
        let code = fields.text("countryCode")?;
        let region = self.region(code.as_deref(), incoming.host.as_deref());
        Ok(Answer { data: json!({ "region": region }), account: None, outcome: "told" })
    }

    /// The session of whoever is logged in, whose attempt it is.
    async fn session_of(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<(Account, Session), Failure> {
        let (account, session) = self.core.session(bearer(incoming)?).await?;
        (attempt.account, attempt.audience) = (Some(account.number), Some(session.audience.clone()));
        if is_from_application(&session, incoming) { Ok((account, session)) } else { Err(Failure::OtherApplication) }
    }
}

/// Whether a session is that of an application: of the one that the request names, if it names one.
fn is_from_application(session: &Session, incoming: &Incoming) -> bool {
    let Audience::Application(id) = &session.audience else { return false };
    incoming.header(&APPID).is_none_or(|named| named == id.as_str())
}
