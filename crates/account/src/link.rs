//! Links that are mailed: whoever opens one has read the mail.

use std::time::Duration;

use crate::account::{Account, AccountNumber, Activation, Standing};
use crate::code::{SendError, Sending};
use crate::core::Core;
use crate::identifier::{Email, Identifier};
use crate::language::Language;
use crate::message::{Address, Confidential, Message, Notice};
use crate::origin::Origin;
use crate::store::{AccountChange, Changed, Mailed, Mailing, Spend, StoreError};
use crate::throttle::GuessError;
use crate::time::Timestamp;
use crate::token::{Token, TokenHash, TokenLength};

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPurpose {
    /// Activating an account.
    Activate,
    /// Setting a new password.
    Reset,
}

impl LinkPurpose {
    /// Its name: `activate` or `reset`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Reset => "reset",
        }
    }
}

/// How a dialect writes a link: the address and the link's 256-bit token, put together with the configured public URL.
pub type LinkForm<'a> = &'a (dyn Fn(&Email, &Token) -> String + Send + Sync);

/// A link as the store keeps it. An account has one for each purpose, the newest.
#[derive(Debug, Clone)]
pub struct Link {
    /// What it is for.
    pub purpose: LinkPurpose,
    /// Whose it is.
    pub account: AccountNumber,
    /// The hash of its token.
    pub hash: TokenHash,
    /// The end of its life.
    pub expires_at: Timestamp,
    /// Whether it was used.
    pub used: bool,
}

/// Why a link does not work. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no such link, or a newer one.
    #[error("there is no such link")]
    Unknown,
    /// Its time is over.
    #[error("the link has expired")]
    Expired,
    /// It was used before.
    #[error("the link was used before")]
    Used,
    /// It was not compared with anything.
    #[error(transparent)]
    Guess(#[from] GuessError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a working activation link did.
#[derive(Debug)]
pub enum Activated {
    /// The account is activated now.
    Now(Account),
    /// It was activated before.
    Before(Account),
}

impl Core {
    /// Mails an activation link again.
    ///
    /// # Errors
    /// [`SendError`]; with [`SendError::NotSent`] the link is valid and its delivery is tried again.
    pub async fn resend_activation(
        &self,
        account: &Account,
        email: &Email,
        language: Option<&str>,
        form: LinkForm<'_>,
        sending: Sending,
    ) -> Result<(), SendError> {
        match account.activation {
            Activation::Active => Err(SendError::AlreadyActive),
            Activation::Pending { deadline } => {
                let now = self.clock.now();
                if now >= deadline {
                    return Err(SendError::ActivationLapsed);
                }
                // No link outlives the time in which the account can be activated.
                let left = Duration::from_millis(u64::try_from(deadline.0 - now.0).unwrap_or(0));
                let sending = Sending { lifetime: left, ..sending };
                self.mail_link(account, email, LinkPurpose::Activate, language, form, sending).await
            }
        }
    }

    /// Mails a link to set a new password to the account that has this address.
    ///
    /// # Errors
    /// [`SendError`]; with [`SendError::NotSent`] the link is valid and its delivery is tried again.
    pub async fn send_reset_link(
        &self,
        email: &Email,
        language: Option<&str>,
        form: LinkForm<'_>,
        sending: Sending,
    ) -> Result<(), SendError> {
        let account = self.store.account_named(&Identifier::Email(email.clone())).await?.ok_or(SendError::AccountUnknown)?;
        if !account.enabled {
            return Err(SendError::AccountDisabled);
        }
        match account.activation.standing(self.clock.now()) {
            Standing::Active => self.mail_link(&account, email, LinkPurpose::Reset, language, form, sending).await,
            Standing::Pending => Err(SendError::NotActivated),
            Standing::Lapsed => Err(SendError::ActivationLapsed),
        }
    }

    async fn mail_link(
        &self,
        account: &Account,
        email: &Email,
        purpose: LinkPurpose,
        language: Option<&str>,
        form: LinkForm<'_>,
        sending: Sending,
    ) -> Result<(), SendError> {
        let now = self.clock.now();
        let (link, message) = self.draw_link(account, email, purpose, language, form, sending.lifetime);
        let queued = self.queue(&message, sending.lifetime, true);
        let address = Address::Email(email.clone());
        let mailing = Mailing { address: &address, code: None, link: Some(&link), message: &queued, limits: sending.limits, now };
        match self.store.mail(mailing).await? {
            Mailed::Queued => Ok(self.attempt(&queued, &message).await?),
            Mailed::TooOften { retry_after } => Err(SendError::TooOften { retry_after }),
        }
    }

    /// A new link and the message that carries it.
    pub(crate) fn draw_link(
        &self,
        account: &Account,
        email: &Email,
        purpose: LinkPurpose,
        language: Option<&str>,
        form: LinkForm<'_>,
        lifetime: Duration,
    ) -> (Link, Message) {
        let token = Token::draw(self.rng(), TokenLength::Bits256);
        let url = Confidential(form(email, &token));
        let notice = match purpose {
            LinkPurpose::Activate => Notice::Activation { url, lifetime },
            LinkPurpose::Reset => Notice::Reset { url, lifetime },
        };
        let language = Language::of(language.or(account.details.language.as_deref()));
        let message = Message { to: Address::Email(email.clone()), language, notice };
        let expires_at = self.clock.now().plus(lifetime);
        (Link { purpose, account: account.number, hash: token.hash(), expires_at, used: false }, message)
    }

    /// Finds the account that a link belongs to, and says whether the link works. The link is for `email` only.
    ///
    /// # Errors
    /// [`LinkError`]; an account is found also where the link no longer works, for its language.
    pub async fn open_link(
        &self,
        purpose: LinkPurpose,
        email: &Email,
        token: &str,
        origin: &Origin,
    ) -> Result<(Account, Result<Link, LinkError>), LinkError> {
        let Some((account, link)) = self.find_link(purpose, email, token).await? else {
            self.presented_nothing(origin).await?;
            return Err(LinkError::Unknown);
        };
        let state = if link.used {
            Err(LinkError::Used)
        } else if self.clock.now() >= link.expires_at {
            Err(LinkError::Expired)
        } else {
            Ok(link)
        };
        Ok((account, state))
    }

    async fn find_link(&self, purpose: LinkPurpose, email: &Email, token: &str) -> Result<Option<(Account, Link)>, StoreError> {
        let link = self.store.link(&TokenHash::of(token)).await?.filter(|link| link.purpose == purpose);
        let Some(link) = link else { return Ok(None) };
        let account = self.store.account(link.account).await?.filter(|account| account.email.as_ref() == Some(email));
        Ok(account.map(|account| (account, link)))
    }

    /// Activates the account that an activation link belongs to.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn activate(&self, email: &Email, token: &str, origin: &Origin) -> Result<Activated, LinkError> {
        for _ in 0..crate::login::ATTEMPTS {
            let (account, link) = self.open_link(LinkPurpose::Activate, email, token, origin).await?;
            let link = match link {
                Ok(link) => link,
                Err(LinkError::Used) => return Ok(Activated::Before(account)),
                Err(error) => return Err(error),
            };
            if account.activation == Activation::Active {
                return Ok(Activated::Before(account));
            }
            let change = AccountChange {
                activate: true,
                spend: Some(Spend::Link(&link)),
                ..AccountChange::on(&account, self.clock.now())
            };
            if let Changed::Done = self.store.change_account(change).await? {
                return Ok(Activated::Now(account));
            }
        }
        Err(crate::login::unsteady().into())
    }
}
