//! What becomes of sessions, for those who remember that a token is good.

use crate::account::{AccountNumber, ApiKey, ObjectId};
use crate::core::Core;
use crate::session::Audience;
use crate::store::StoreError;
use crate::time::Timestamp;

/// What became of a session. Whatever it is, what was known of the session before is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChange {
    /// It goes on with new tokens.
    Refreshed,
    /// It goes on, and its account has gained a gateway.
    GatewayGained,
    /// It goes on, but its account has lost a gateway.
    GatewayLost,
    /// It ended.
    Ended(EndReason),
    /// What a newer version of this server has noted, of which this one knows only that it happened. Nothing that is remembered of the
    /// session is to be relied on.
    Other,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Its owner logged out.
    LoggedOut,
    /// Its owner logged in anew at the same audience.
    Replaced,
    /// The account has a new password.
    PasswordChanged,
    /// A refresh token was used a second time.
    TokenReused,
    /// The account was closed.
    AccountClosed,
    /// The account was disabled.
    AccountDisabled,
    /// The account moved to another region.
    AccountMoved,
    /// The application was disabled.
    ApplicationDisabled,
    /// The device came again as another one.
    DeviceReplaced,
    /// An operator ended it.
    Revoked,
}

/// Everything that can become of a session, with its name.
const CHANGES: [(SessionChange, &str); 14] = [
    (SessionChange::Refreshed, "refreshed"),
    (SessionChange::GatewayGained, "gateway_gained"),
    (SessionChange::GatewayLost, "gateway_lost"),
    (SessionChange::Ended(EndReason::LoggedOut), "logged_out"),
    (SessionChange::Ended(EndReason::Replaced), "replaced"),
    (SessionChange::Ended(EndReason::PasswordChanged), "password_changed"),
    (SessionChange::Ended(EndReason::TokenReused), "token_reused"),
    (SessionChange::Ended(EndReason::AccountClosed), "account_closed"),
    (SessionChange::Ended(EndReason::AccountDisabled), "account_disabled"),
    (SessionChange::Ended(EndReason::AccountMoved), "account_moved"),
    (SessionChange::Ended(EndReason::ApplicationDisabled), "application_disabled"),
    (SessionChange::Ended(EndReason::DeviceReplaced), "device_replaced"),
    (SessionChange::Ended(EndReason::Revoked), "revoked"),
    (SessionChange::Other, "other"),
];

impl SessionChange {
    /// Its name: `refreshed`, `gateway_lost`, or why the session ended, such as `logged_out`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        CHANGES.iter().find(|(change, _)| *change == self).map_or("", |(_, name)| name)
    }

    /// What is called so. Versions follow one another while nodes run: a name that is not known is a newer one's.
    #[must_use]
    pub fn named(name: &str) -> Self {
        CHANGES.iter().find(|(_, known)| *known == name).map_or(Self::Other, |(change, _)| *change)
    }
}

/// That something became of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEvent {
    /// Its place in the order in which things became so. The first has 1, and none is left out.
    pub sequence: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub change: SessionChange,
    /// The session's id.
    pub session: ObjectId,
    /// Whose it is, or was.
    pub account: AccountNumber,
    /// The account's object id.
    pub account_id: ObjectId,
    /// The account's `apikey`.
    pub apikey: ApiKey,
    /// Where it is valid, or was.
    pub audience: Audience,
}

impl Core {
    /// The sequence number of the newest event; 0 when there never was one. Every event that was committed before the call is
    /// numbered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest_event(&self) -> Result<i64, StoreError> {
        // Asking is cheap; numbering is a write.
        match self.store.numbered_events().await? {
            Some(newest) => Ok(newest),
            None => self.store.number_events().await,
        }
    }

    /// The first events after the one with this sequence number, in order, at most `limit`. Those of long ago are forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn session_events(&self, after: i64, limit: u32) -> Result<Vec<SessionEvent>, StoreError> {
        self.store.session_events(after, limit).await
    }

    /// Up to which event this follower has done what it does about them; `None` for one that has done nothing yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn told_up_to(&self, follower: &str) -> Result<Option<i64>, StoreError> {
        self.store.told_up_to(follower).await
    }

    /// Remembers up to which event this follower has done what it does about them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_told(&self, follower: &str, sequence: i64) -> Result<(), StoreError> {
        self.store.note_told(follower, sequence).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (change, name) in CHANGES {
            assert_eq!(SessionChange::named(name), change);
            assert_eq!(change.as_str(), name);
        }
        assert_eq!(SessionChange::named("what nobody has thought of yet"), SessionChange::Other);
    }
}
