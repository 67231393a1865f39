//! How a password is set anew: by its owner who knows the old one, or by whoever proves the address. What follows is the same: the
//! other sessions end, and the owner is told by mail.

use std::time::Duration;

use crate::account::{Account, Standing};
use crate::code::{CodeError, ProvenCode, Purpose};
use crate::core::Core;
use crate::directory::Whereabouts;
use crate::hasher::{HashError, Verdict};
use crate::identifier::Email;
use crate::language::Language;
use crate::link::{Link, LinkError, LinkPurpose};
use crate::login::{ATTEMPTS, LoggedIn, unsteady};
use crate::message::{Address, Message, Notice, Queued};
use crate::origin::Origin;
use crate::password::{Candidate, PasswordDigest, Verifier};
use crate::region::Region;
use crate::session::{Opening, Session};
use crate::store::{AccountChange, Changed, Ending, Spend, StoreError};
use crate::throttle::GuessError;
use crate::token_check::TokenError;

/// How long it is tried to tell a person of a change.
const NEWS: Duration = Duration::from_hours(3 * 24);

/// Somebody wants a new password.
#[derive(Debug)]
pub struct Reset<'a> {
    /// The address of the account.
    pub address: Address,
    /// How the address is proven.
    pub proof: ResetProof<'a>,
    /// The new password.
    pub password: PasswordDigest,
    /// The region that was asked; `None` where every region served here is meant.
    pub region: Option<Region>,
    /// Where the request comes from.
    pub origin: &'a Origin,
}

/// How whoever wants a new password proves the address.
#[derive(Debug, Clone, Copy)]
pub enum ResetProof<'a> {
    /// By a code that was sent there.
    Code(&'a str),
    /// By the token of a link that was mailed there.
    Link(&'a str),
}

/// Why no password was reset. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// No account has this address.
    #[error("there is no such account")]
    AccountUnknown,
    /// The account lives in another region.
    #[error("the account lives in region {0}")]
    OtherRegion(Region),
    /// The operator has disabled the account.
    #[error("the account is disabled")]
    AccountDisabled,
    /// The account was not activated in time.
    #[error("the account was not activated in time")]
    ActivationLapsed,
    /// Everybody tries this password first.
    #[error("the password is too common")]
    PasswordCommon,
    /// The code proves nothing.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The link does not work.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The operator has disabled the application meanwhile.
    #[error("the application is disabled")]
    ApplicationDisabled,
    /// Hashing is overloaded or broken.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why no password was changed. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Whoever asks is not logged in.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Everybody tries this password first.
    #[error("the password is too common")]
    PasswordCommon,
    /// The old password is wrong.
    #[error("wrong password")]
    PasswordWrong,
    /// It was not compared with anything.
    #[error(transparent)]
    Guess(#[from] GuessError),
    /// Hashing is overloaded or broken.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What proved the address, to be used up by the change.
enum Proven {
    Code(ProvenCode),
    Link(Link),
}

/// What a reset needs to be made true.
struct Ready {
    account: Account,
    proven: Proven,
    verifier: Verifier,
}

impl Core {
    /// Sets a new password for whoever proves the address, and ends every session of the account. Proving the address activates it.
    ///
    /// # Errors
    /// [`ResetError`]; then nothing was changed, and the code or link can still be used.
    pub async fn reset_password(&self, reset: &Reset<'_>) -> Result<Account, ResetError> {
        let ready = self.prepare(reset).await?;
        self.set_anew(reset, ready, None).await
    }

    /// Sets a new password, likewise, and begins a session.
    ///
    /// # Errors
    /// [`ResetError`], as [`Core::reset_password`].
    pub async fn reset_password_and_log_in(&self, reset: &Reset<'_>, opening: &Opening) -> Result<LoggedIn, ResetError> {
        let ready = self.prepare(reset).await?;
        let (session, tokens) = self.begin_session(opening, ready.account.number);
        let account = self.set_anew(reset, ready, Some(&session)).await?;
        Ok(LoggedIn { account, session, tokens, previous_ended_at: None })
    }

    async fn prepare(&self, reset: &Reset<'_>) -> Result<Ready, ResetError> {
        self.can_hash(reset.origin)?;
        // Before anything is looked up: whoever is refused for it learns nothing of an account, and need not be counted.
        if reset.password.is_common() {
            return Err(ResetError::PasswordCommon);
        }
        let account = self.resettable(reset).await?;
        let proven = match (reset.proof, &reset.address) {
            (ResetProof::Code(code), address) => {
                Proven::Code(self.check_code(Purpose::Reset, address, code, reset.origin).await?)
            }
            (ResetProof::Link(token), Address::Email(email)) => {
                Proven::Link(self.open_link(LinkPurpose::Reset, email, token, reset.origin).await?.1?)
            }
            (ResetProof::Link(_), Address::Phone(_)) => return Err(LinkError::Unknown.into()),
        };
        let verifier = self.hash_for(reset.origin, reset.password.clone(), None).await?;
        Ok(Ready { account, proven, verifier })
    }

    async fn set_anew(&self, reset: &Reset<'_>, ready: Ready, session: Option<&Session>) -> Result<Account, ResetError> {
        let Ready { mut account, proven, verifier } = ready;
        for _ in 0..ATTEMPTS {
            if session.is_some_and(|session| session.account != account.number) {
                // Meanwhile the address has become another account's.
                return Err(ResetError::AccountUnknown);
            }
            let news = self.password_news(&account);
            let change = AccountChange {
                verifier: Some(&verifier),
                activate: true,
                spend: Some(match &proven {
                    Proven::Code(code) => Spend::Code(code),
                    Proven::Link(link) => Spend::Link(link),
                }),
                end: Ending::All,
                begin: session,
                message: news.as_ref(),
                ..AccountChange::on(&account, self.clock.now())
            };
            match self.store.change_account(change).await? {
                Changed::Done => {
                    self.notifier.wake();
                    return Ok(account);
                }
                Changed::Spent => {
                    return Err(match &proven {
                        Proven::Code(_) => CodeError::Used.into(),
                        Proven::Link(_) => LinkError::Used.into(),
                    });
                }
                Changed::Closed => return Err(ResetError::ApplicationDisabled),
                Changed::Stale => account = self.resettable(reset).await?,
            }
        }
        Err(unsteady().into())
    }

    async fn resettable(&self, reset: &Reset<'_>) -> Result<Account, ResetError> {
        let account = match self.whereabouts(&reset.address.identifier(), reset.region.as_ref()).await? {
            Whereabouts::Here(account) => *account,
            Whereabouts::In(region) => return Err(ResetError::OtherRegion(region)),
            Whereabouts::Nowhere => {
                match reset.proof {
                    ResetProof::Code(code) => {
                        self.check_code_of_nobody(Purpose::Reset, &reset.address, code, reset.origin).await?;
                    }
                    ResetProof::Link(_) => self.presented_nothing(reset.origin).await.map_err(LinkError::from)?,
                }
                return Err(ResetError::AccountUnknown);
            }
        };
        if !account.enabled {
            return Err(ResetError::AccountDisabled);
        }
        match account.activation.standing(self.clock.now()) {
            Standing::Lapsed => Err(ResetError::ActivationLapsed),
            Standing::Active | Standing::Pending => Ok(account),
        }
    }

    /// Changes the password of whoever holds the access token, and ends the account's other sessions.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing was changed.
    pub async fn change_password(
        &self,
        access: &str,
        old: &Candidate,
        new: PasswordDigest,
        origin: &Origin,
    ) -> Result<Account, ChangeError> {
        let mut verifier = None;
        for _ in 0..ATTEMPTS {
            let (account, session) = self.session(access).await?;
            if new.is_common() {
                return Err(ChangeError::PasswordCommon);
            }
            let entered = self.enter(origin)?;
            let guess = self.guess_within(&account, &session.id, origin);
            match self.compare(guess, old, Some(&account.verifier), &entered).await? {
                (Verdict::Wrong, _) => return Err(ChangeError::PasswordWrong),
                (_, permit) => self.was_right(&permit, false).await?,
            }
            let renewed = match verifier.take() {
                Some(verifier) => verifier,
                None => self.hash_for(origin, new.clone(), None).await?,
            };
            let news = self.password_news(&account);
            let change = AccountChange {
                verifier: Some(&renewed),
                end: Ending::AllBut(&session.id),
                message: news.as_ref(),
                ..AccountChange::on(&account, self.clock.now())
            };
            if let Changed::Done = self.store.change_account(change).await? {
                self.notifier.wake();
                return Ok(account);
            }
            verifier = Some(renewed);
        }
        Err(unsteady().into())
    }

    /// The mail that tells an account's owner of a new password.
    pub(crate) fn password_news(&self, account: &Account) -> Option<Queued> {
        let email: &Email = account.email.as_ref()?;
        let message = Message {
            to: Address::Email(email.clone()),
            language: Language::of(account.details.language.as_deref()),
            notice: Notice::PasswordChanged { at: self.clock.now() },
        };
        Some(self.queue(&message, NEWS, false))
    }
}
