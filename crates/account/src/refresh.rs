//! Refreshing: a refresh token makes a new pair of tokens, once.
//!
//! Where the dialect allows it, a client that lost the answer may ask again for a short time and gets the same pair, which is derived
//! from the old token, the master key and a salt: no token is stored. Any other second use means that somebody else has the token, and
//! ends the session.

use crate::account::Account;
use crate::audit::Deed;
use crate::core::Core;
use crate::login::{ATTEMPTS, unsteady};
use crate::master_key::MasterKey;
use crate::origin::Origin;
use crate::random;
use crate::session::{Session, Terms, Tokens};
use crate::session_event::EndReason;
use crate::store::{RefreshToken, Rotation, StoreError};
use crate::throttle::GuessError;
use crate::time::Timestamp;
use crate::token::{Token, TokenHash};

/// Somebody wants new tokens.
pub struct Refresh<'a> {
    /// The refresh token.
    pub token: &'a str,
    /// Whether a session, and the spent token if it is one, are such as the caller may refresh. To anybody else the token is unknown.
    pub is_theirs: &'a (dyn Fn(&Session, Option<&SpentToken>) -> bool + Send + Sync),
    /// What the dialect promises.
    pub terms: Terms,
    /// Where the request comes from.
    pub origin: &'a Origin,
}

/// A session with new tokens.
#[derive(Debug)]
pub struct Refreshed {
    /// The account.
    pub account: Account,
    /// The session.
    pub session: Session,
    /// Its new tokens.
    pub tokens: Tokens,
}

/// Why there are no new tokens. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// It is no refresh token of this audience, or its session has ended.
    #[error("no session has this refresh token")]
    Unknown,
    /// Its time is over.
    #[error("the refresh token has expired")]
    Expired,
    /// It was used before: the session was ended.
    #[error("the refresh token was used before; the session was ended")]
    Reused,
    /// It was not compared with anything.
    #[error(transparent)]
    Guess(#[from] GuessError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A refresh token that was used: what the store keeps of it until it would have expired.
#[derive(Debug, Clone)]
pub struct SpentToken {
    /// Its hash.
    pub hash: TokenHash,
    /// The hash of the access token that was replaced with it.
    pub access: TokenHash,
    /// The hash of the token that took its place.
    pub successor: TokenHash,
    /// What the new pair was derived with.
    pub salt: String,
    /// When it was used.
    pub spent_at: Timestamp,
    /// When it would have expired.
    pub expires_at: Timestamp,
}

impl Core {
    /// Makes a new pair of tokens for a session; the old access token ends at once.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn refresh(&self, refresh: &Refresh<'_>) -> Result<Refreshed, RefreshError> {
        let hash = TokenHash::of(refresh.token);
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let theirs = |found: &RefreshToken| match found {
                RefreshToken::Current(session) => (refresh.is_theirs)(session, None),
                // One that would have expired may have been forgotten, or not yet.
                RefreshToken::Spent(session, spent) => now < spent.expires_at && (refresh.is_theirs)(session, Some(spent)),
            };
            let Some(found) = self.store.refresh_token(&hash).await?.filter(theirs) else {
                self.presented_nothing(refresh.origin).await?;
                return Err(RefreshError::Unknown);
            };
            let done = match found {
                RefreshToken::Current(session) => self.rotate(refresh, session).await?,
                RefreshToken::Spent(session, spent) => Some(self.repeat(refresh, session, &spent).await?),
            };
            if let Some((session, tokens)) = done {
                let account = self.store.account(session.account).await?.ok_or(RefreshError::Unknown)?;
                return Ok(Refreshed { account, session, tokens });
            }
        }
        Err(unsteady().into())
    }

    /// `None` when another refresh was faster.
    async fn rotate(&self, refresh: &Refresh<'_>, session: Session) -> Result<Option<(Session, Tokens)>, RefreshError> {
        let now = self.clock.now();
        if now >= session.refresh_expires_at {
            return Err(RefreshError::Expired);
        }
        let salt = hex::encode(random::bytes::<16>(self.rng()));
        let tokens = refresh.derive(&self.keys.current(), &salt);
        let spent = SpentToken {
            hash: session.refresh_hash.clone(),
            access: session.access_hash.clone(),
            successor: tokens.refresh.hash(),
            salt,
            spent_at: now,
            expires_at: session.refresh_expires_at,
        };
        let renewed = Session {
            access_hash: tokens.access.hash(),
            access_issued_at: now,
            access_expires_at: now.plus(refresh.terms.access_lifetime),
            refresh_hash: tokens.refresh.hash(),
            refresh_expires_at: now.plus(refresh.terms.refresh_lifetime),
            ..session
        };
        let done = self.store.rotate(Rotation { session: renewed.clone(), spent, now }).await?;
        Ok(done.then_some((renewed, tokens)))
    }

    async fn repeat(
        &self,
        refresh: &Refresh<'_>,
        session: Session,
        spent: &SpentToken,
    ) -> Result<(Session, Tokens), RefreshError> {
        let in_time = refresh.terms.repeatable.is_some_and(|span| self.clock.now() <= spent.spent_at.plus(span));
        // It may have been used before the key was rotated.
        let is_successor = |tokens: &Tokens| tokens.refresh.hash() == session.refresh_hash;
        let tokens = || self.keys.find(|key| Some(refresh.derive(key, &spent.salt)).filter(is_successor));
        if in_time && session.refresh_hash == spent.successor {
            // Whoever asks has every right to the pair, even where it was made under a key that only another node has.
            let tokens = tokens().ok_or(StoreError::OtherKey)?;
            return Ok((session, tokens));
        }
        let entry = self.entry_of(Deed {
            what: "refresh".into(),
            outcome: RefreshError::Reused.to_string(),
            refused: true,
            account: Some(session.account),
            identifier: None,
            audience: Some(session.audience.clone()),
            origin: Some(refresh.origin.clone()),
        });
        self.store.end_session(&session.id, EndReason::TokenReused, self.clock.now(), Some(entry)).await?;
        Err(RefreshError::Reused)
    }
}

impl Refresh<'_> {
    /// The pair that follows the token: the same for the same salt and key.
    fn derive(&self, key: &MasterKey, salt: &str) -> Tokens {
        let token = |label| Token::derive(key, label, salt, self.token, self.terms.token_length);
        Tokens { access: token("access"), refresh: token("refresh") }
    }
}
