//! Codes of six digits that prove an address: sent to it, and typed in by whoever reads it.

use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::account::{Account, Standing};
use crate::core::Core;
use crate::directory::Whereabouts;
use crate::language::Language;
use crate::message::{Address, Confidential, DeliveryError, Message, Notice};
use crate::origin::Origin;
use crate::random::{self, Rng};
use crate::region::Region;
use crate::store::{Mailed, Mailing, NewCode, StoreError};
use crate::text::Malformed;
use crate::throttle::{GuessError, Permit, Subject};
use crate::time::Timestamp;

/// How often a code can be tried before it is of no use.
pub(crate) const TRIES: i64 = 5;

/// What a code proves an address for. A code for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Registering an account.
    Register,
    /// Setting a new password.
    Reset,
    /// Closing the account.
    Close,
    /// Logging in without a password.
    LogIn,
}

impl Purpose {
    /// Its name: `register`, `reset`, `close` or `log_in`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::LogIn => "log_in",
        }
    }
}

/// At most `most` messages to one address within a time.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// How many.
    pub most: u32,
    /// In what time.
    pub within: Duration,
}

/// What a dialect promises about the messages that it sends.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// How long the code or link in it is valid.
    pub lifetime: Duration,
    /// How many may be sent to one address.
    pub limits: &'static [Limit],
}

/// Somebody wants a code.
#[derive(Debug)]
pub struct CodeWanted {
    /// What for.
    pub purpose: Purpose,
    /// Where to.
    pub to: Address,
    /// The region that was asked; `None` where every region served here is meant.
    pub region: Option<Region>,
    /// The language that the client uses, if it says so; the account's own goes before it.
    pub language: Option<String>,
    /// What the dialect promises.
    pub sending: Sending,
}

/// Why no code was sent. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The address cannot be anybody's.
    #[error("the address {0}")]
    Malformed(Malformed),
    /// No account has this address.
    #[error("there is no such account")]
    AccountUnknown,
    /// The account was not activated in time.
    #[error("the account was not activated in time")]
    ActivationLapsed,
    /// The account is not activated yet.
    #[error("the account is not activated")]
    NotActivated,
    /// The operator has disabled the account.
    #[error("the account is disabled")]
    AccountDisabled,
    /// The account is activated already.
    #[error("the account is activated already")]
    AlreadyActive,
    /// An account has this address already.
    #[error("the address is registered already")]
    Registered,
    /// The account lives in another region.
    #[error("the account lives in region {0}")]
    OtherRegion(Region),
    /// Too many messages were sent to this address.
    #[error("too many messages to this address")]
    TooOften {
        /// When to try again.
        retry_after: Duration,
    },
    /// It could not be delivered at once; it is tried again.
    #[error(transparent)]
    NotSent(#[from] DeliveryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a code proves nothing. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// It is not the newest code for this purpose and address, or was tried too often.
    #[error("wrong code")]
    Wrong,
    /// It was used before.
    #[error("the code was used before")]
    Used,
    /// Its time is over.
    #[error("the code has expired")]
    Expired,
    /// It was not compared with anything.
    #[error(transparent)]
    Guess(#[from] GuessError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A code as the store keeps it.
#[derive(Debug)]
pub struct StoredCode {
    /// Its keyed hash.
    pub hash: String,
    /// The end of its life.
    pub expires_at: Timestamp,
    /// Whether it was used.
    pub used: bool,
}

/// A code that was right, to be used up by whatever it allows.
#[derive(Debug, Clone)]
pub struct ProvenCode {
    /// What it proves the address for.
    pub purpose: Purpose,
    /// The address.
    pub address: Address,
    /// Its keyed hash.
    pub hash: String,
}

/// Draws six digits, evenly.
fn draw(rng: &dyn Rng) -> String {
    // The largest multiple of a million in 32 bits: above it, the first codes would be more frequent.
    const EVEN: u32 = u32::MAX / 1_000_000 * 1_000_000;
    loop {
        let number = u32::from_le_bytes(random::bytes(rng));
        if number < EVEN {
            return format!("{:06}", number % 1_000_000);
        }
    }
}

impl Core {
    /// Sends a code, the newest of which is the only one that counts, and waits for its first delivery.
    ///
    /// # Errors
    /// [`SendError`]; with [`SendError::NotSent`] the code is valid and its delivery is tried again.
    pub async fn send_code(&self, wanted: &CodeWanted) -> Result<(), SendError> {
        wanted.to.identifier().registrable().map_err(SendError::Malformed)?;
        let account = match wanted.purpose {
            Purpose::Register => self.check_free(wanted).await?,
            _ => Some(self.check_held(wanted).await?),
        };
        let CodeWanted { purpose, to, sending, .. } = wanted;
        let code = draw(self.rng());
        let now = self.clock.now();
        let own_language = account.as_ref().and_then(|account| account.details.language.as_deref());
        let message = Message {
            to: to.clone(),
            language: Language::of(own_language.or(wanted.language.as_deref())),
            notice: Notice::Code { purpose: *purpose, code: Confidential(code.clone()), lifetime: sending.lifetime },
        };
        let hash = self.keys.current().code_hash(*purpose, to, &code);
        let code = NewCode { purpose: *purpose, hash: &hash, expires_at: now.plus(sending.lifetime) };
        let queued = self.queue(&message, sending.lifetime, true);
        let mailing = Mailing { address: to, code: Some(code), link: None, message: &queued, limits: sending.limits, now };
        match self.store.mail(mailing).await? {
            Mailed::Queued => Ok(self.attempt(&queued, &message).await?),
            Mailed::TooOften { retry_after } => Err(SendError::TooOften { retry_after }),
        }
    }

    /// Nobody has the address for good; whoever reads the code has a better claim to it than whoever never activated it.
    async fn check_free(&self, wanted: &CodeWanted) -> Result<Option<Account>, SendError> {
        let identifier = wanted.to.identifier();
        let account = self.store.account_named(&identifier).await?;
        let standing = account.as_ref().map(|account| account.activation.standing(self.clock.now()));
        match standing {
            Some(Standing::Active) => Err(SendError::Registered),
            None if self.elsewhere(&identifier).await?.is_some() => Err(SendError::Registered),
            _ => Ok(account),
        }
    }

    async fn check_held(&self, wanted: &CodeWanted) -> Result<Account, SendError> {
        match self.whereabouts(&wanted.to.identifier(), wanted.region.as_ref()).await? {
            Whereabouts::Here(account) if account.activation.standing(self.clock.now()) == Standing::Lapsed => {
                Err(SendError::ActivationLapsed)
            }
            Whereabouts::Here(account) => Ok(*account),
            Whereabouts::In(region) => Err(SendError::OtherRegion(region)),
            Whereabouts::Nowhere => Err(SendError::AccountUnknown),
        }
    }

    /// Checks a code without using it up. A try is taken before the comparison, and given back where the code was right, so that
    /// no number of guesses at once is more than five.
    ///
    /// # Errors
    /// [`CodeError`].
    pub async fn check_code(
        &self,
        purpose: Purpose,
        address: &Address,
        code: &str,
        origin: &Origin,
    ) -> Result<ProvenCode, CodeError> {
        let identifier = address.identifier();
        let account = self.store.account_named(&identifier).await?;
        let subject = account.as_ref().map_or(Subject::Nobody(&identifier), Subject::Account);
        let permit = self.permit(self.guess(subject, origin, None)).await?;
        let compared = self.compare_code(&permit, purpose, address, code).await;
        if !matches!(compared, Err(CodeError::Wrong)) {
            // Whoever reads the account's mail or phone is at home where it says so.
            self.was_right(&permit, compared.is_ok() && account.is_some()).await?;
        }
        compared
    }

    /// Does with a code for an address that no account has what is done with a wrong one: it costs the same, and counts.
    pub(crate) async fn check_code_of_nobody(
        &self,
        purpose: Purpose,
        address: &Address,
        code: &str,
        origin: &Origin,
    ) -> Result<(), CodeError> {
        match self.check_code(purpose, address, code, origin).await {
            Err(error @ (CodeError::Guess(_) | CodeError::Store(_))) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Compares a code, which is a guess that was permitted.
    pub(crate) async fn compare_code(
        &self,
        _permit: &Permit,
        purpose: Purpose,
        address: &Address,
        code: &str,
    ) -> Result<ProvenCode, CodeError> {
        self.expect_key_in_force().await?;
        let stored = self.store.take_try(purpose, address, TRIES).await?.ok_or(CodeError::Wrong)?;
        // It may have been sent before the key was rotated.
        let is_stored = |hash: &String| bool::from(hash.as_bytes().ct_eq(stored.hash.as_bytes()));
        let hash = self.keys.find(|key| Some(key.code_hash(purpose, address, code)).filter(is_stored)).ok_or(CodeError::Wrong)?;
        if stored.used {
            return Err(CodeError::Used);
        }
        if self.clock.now() >= stored.expires_at {
            return Err(CodeError::Expired);
        }
        let proven = ProvenCode { purpose, address: address.clone(), hash };
        self.store.return_try(&proven).await?;
        Ok(proven)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::random::SystemRng;

    /// Hands these numbers out, the last one first.
    struct Numbers(Mutex<Vec<u32>>);

    impl Rng for Numbers {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0.lock().unwrap().pop().unwrap().to_le_bytes());
        }
    }

    #[test]
    fn a_code_has_six_digits() {
        for _ in 0..1000 {
            let code = draw(&SystemRng);
            assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
        }
    }

    /// 32 bits hold a million 4294 times, and 967,296 more: those would make the first codes more frequent.
    #[test]
    fn no_code_is_more_frequent_than_another() {
        let numbers = Numbers(Mutex::new(vec![1_000_007, 4_293_999_999, 4_294_000_000, u32::MAX]));
        assert_eq!([draw(&numbers), draw(&numbers)], ["999999", "000007"]);
    }
}
