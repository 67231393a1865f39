//! `POST /v2/user/login` and `POST /v2/user/sms-login`.

use account::{Authenticated, Caller, Credential, Identifier, LoggedIn, Login, LoginError};
use wire::{Attempt, Incoming};

use super::answer::{self, Answer};
use super::call::{Fields, client};
use super::failure::Failure;
use crate::{Dialect, TERMS};

impl Dialect {
    pub(super) async fn login_v2(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        if let Err(busy) = self.core.can_hash(&incoming.origin) {
            // For the log: whose login it was, whoever signed it.
            drop(Fields::parse(&incoming.body)?.address(attempt));
            return Err(LoginError::from(busy).into());
        }
        let (application, fields) = self.signed_body_v2(incoming).await?;
        attempt.audience = Some(application.audience());
        let address = fields.address(attempt)?;
        let credential = Credential::Password(fields.password("password")?.into());
        self.log_in(incoming, attempt, application, address.identifier(), credential).await
    }

    pub(super) async fn login_by_code(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let (application, fields) = self.signed_body_v2(incoming).await?;
        attempt.audience = Some(application.audience());
        fields.required("phoneNumber")?;
        let address = fields.address(attempt)?;
        let credential = Credential::Code(fields.required("verificationCode")?);
        self.log_in(incoming, attempt, application, address.identifier(), credential).await
    }

    async fn log_in(
        &self,
        incoming: &Incoming,
        attempt: &mut Attempt,
        application: Authenticated,
        identifier: Identifier,
        credential: Credential,
    ) -> Result<Answer, Failure> {
        let login = Login {
            identifier,
            credential,
            caller: Caller::Application(application),
            region: Some(self.settings.hosts.region(incoming.host.as_deref()).clone()),
            terms: TERMS,
            client: client(incoming),
            origin: incoming.origin.clone(),
            nonce: None,
            what: attempt.entrust_entry(),
        };
        let logged_in = self.core.login(&login).await?;
        Ok(answer::logged_in(&logged_in.account, &logged_in.tokens, LoggedIn::OUTCOME))
    }
}
