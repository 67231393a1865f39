//! Whether an access token is good, and how its session ends.

use crate::account::{Account, AccountNumber, Details};
use crate::code::{CodeError, Purpose};
use crate::core::Core;
use crate::message::Address;
use crate::origin::Origin;
use crate::session::Session;
use crate::session_event::EndReason;
use crate::store::{Changed, Spend, StoreError};

/// Why an access token is not good. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No session has it: it never was one, or its session has ended.
    #[error("no session has this access token")]
    Unknown,
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an account was not closed. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Whoever asks is not logged in.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The code proves nothing.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Core {
    /// Finds the session that has this access token, and its account. A disabled account or application has no sessions.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn session(&self, access: &str) -> Result<(Account, Session), TokenError> {
        let holder = self.token_holder(access).await?;
        Ok((holder.account.clone(), holder.session.clone()))
    }

    /// Ends the session that has this access token, also where the token has expired. `false` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn log_out(&self, access: &str, is_theirs: impl Fn(&Session) -> bool) -> Result<bool, StoreError> {
        match self.holder_of(access).await? {
            Some(holder) if is_theirs(&holder.session) => {
                self.store.end_session(&holder.session.id, EndReason::LoggedOut, self.clock.now(), None).await
            }
            _ => Ok(false),
        }
    }

    /// Sets what an account holds about its person.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_details(&self, account: AccountNumber, details: &Details) -> Result<bool, StoreError> {
        self.store.set_details(account, details).await
    }

    /// Closes the account of whoever holds the access token: its gateways are free, and nothing is left of it but what goes by its own
    /// time: the audit trail, session events, and hashes of spent refresh tokens.
    ///
    /// # Errors
    /// [`CloseError`]; then the account is as it was.
    pub async fn close_account(&self, access: &str, code: &str, origin: &Origin) -> Result<AccountNumber, CloseError> {
        let (account, session) = self.session(access).await?;
        let permit = self.permit(self.guess_within(&account, &session.id, origin)).await.map_err(CodeError::from)?;
        let begun = self.clock.now();
        let phone = account.phone.clone().map(Address::Phone);
        let email = account.email.clone().map(Address::Email);
        let mut wrong = CodeError::Wrong;
        // The code went to either address.
        for address in [phone, email].into_iter().flatten() {
            match self.compare_code(&permit, Purpose::Close, &address, code).await {
                Ok(proven) => match self.store.delete_account(account.number, Spend::Code(&proven), self.clock.now()).await? {
                    Changed::Done => {
                        self.forget_in_directory(&account, begun).await;
                        return Ok(account.number);
                    }
                    _ => return Err(CodeError::Used.into()),
                },
                Err(CodeError::Store(error)) => return Err(error.into()),
                Err(CodeError::Wrong) => {}
                Err(error) => wrong = error,
            }
        }
        if !matches!(wrong, CodeError::Wrong) {
            self.was_right(&permit, false).await?;
        }
        Err(wrong.into())
    }
}
