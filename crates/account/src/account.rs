//! Accounts: who a person is.

use crate::identifier::{Email, Identifier, Phone, UserName};
use crate::password::Verifier;
use crate::random::{self, Rng};
use crate::region::Region;
use crate::text::{Malformed, plain, text_type};
use crate::time::Timestamp;

/// An account's number (`accountId`): counted up from 1, so that clients which keep it in 32 bits go on working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct AccountNumber(pub i64);

impl std::fmt::Display for AccountNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

text_type! {
    /// An object id (`_id`): 24 lower-case hex digits.
    ObjectId, |text| {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 24 && hex { Ok(text.to_owned()) } else { Err(Malformed("is not an object id (24 hex digits)")) }
    }
}

impl ObjectId {
    /// Draws a new id.
    pub fn draw(rng: &dyn Rng) -> Self {
        Self(hex::encode(random::bytes::<12>(rng)))
    }

    /// Draws a new id that begins with a time and with how many others have been drawn for that time before, so that later ones come
    /// later.
    pub fn at(time: Timestamp, nth: u16, rng: &dyn Rng) -> Self {
        let milliseconds = u64::try_from(time.0).unwrap_or(0) & 0xffff_ffff_ffff;
        Self(format!("{milliseconds:012x}{nth:04x}{}", hex::encode(random::bytes::<4>(rng))))
    }
}

text_type! {
    /// The key that an account's devices share (`apikey`): a UUID that never changes.
    ApiKey, |text| plain(text, 64).map(|()| text.to_owned())
}

impl ApiKey {
    /// Draws a new key.
    pub fn draw(rng: &dyn Rng) -> Self {
        Self(random::uuid(rng))
    }
}

text_type! {
    /// A day of the calendar: `YYYY-MM-DD`.
    Date, |text| match text.parse::<jiff::civil::Date>() {
        Ok(date) if text.len() == 10 => Ok(date.to_string()),
        _ => Err(Malformed("is not a day of the calendar (YYYY-MM-DD)")),
    }
}

/// Whether an account's owner has proven that its address is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Proven, or vouched for by the operator.
    Active,
    /// Not yet; the activation link works until the deadline.
    Pending {
        /// The end of the activation link's life.
        deadline: Timestamp,
    },
}

impl Activation {
    /// How long an activation link lives (`fantem` §2: 24 hours).
    pub const LINK_LIFETIME: std::time::Duration = std::time::Duration::from_hours(24);

    /// Where the activation stands at `now`.
    #[must_use]
    pub fn standing(self, now: Timestamp) -> Standing {
        match self {
            Self::Active => Standing::Active,
            Self::Pending { deadline } if now < deadline => Standing::Pending,
            Self::Pending { .. } => Standing::Lapsed,
        }
    }
}

/// Where an account's activation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Activated.
    #[default]
    Active,
    /// Waiting for its owner to activate it.
    Pending,
    /// Not activated in time.
    Lapsed,
}

/// What an account holds about its person. Nothing here decides anything.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// Nickname or display name.
    pub display_name: Option<String>,
    /// Language, in the form its client uses (`cn`, `en`, `zh_CN`).
    pub language: Option<String>,
    /// Birthday.
    pub birthday: Option<Date>,
    /// Postal address.
    pub address: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// The groups it belongs to, joined with `&` (`fantem`: `accountRank`).
    pub groups: Option<String>,
}

/// A person's account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its number.
    pub number: AccountNumber,
    /// Its object id.
    pub id: ObjectId,
    /// Its devices' key.
    pub apikey: ApiKey,
    /// Where it is registered.
    pub region: Region,
    /// Its user name.
    pub user_name: Option<UserName>,
    /// Its e-mail address.
    pub email: Option<Email>,
    /// Its phone number.
    pub phone: Option<Phone>,
    /// What its password is checked against.
    pub verifier: Verifier,
    /// Whether its owner has proven the address.
    pub activation: Activation,
    /// Whether it may be used at the moment.
    pub enabled: bool,
    /// What it holds about its person.
    pub details: Details,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When its owner last logged in.
    pub last_login_at: Option<Timestamp>,
    /// Counts every change of what a login decides on (verifier, activation, enabled, gateways): a login is only committed on the
    /// revision it was decided on.
    pub revision: i64,
}

impl Account {
    /// Its identifiers, the most speaking first: user name, e-mail address, phone number.
    pub fn identifiers(&self) -> impl Iterator<Item = Identifier> {
        let user_names = self.user_name.iter().cloned().map(Identifier::UserName);
        let emails = self.email.iter().cloned().map(Identifier::Email);
        let phones = self.phone.iter().cloned().map(Identifier::Phone);
        user_names.chain(emails).chain(phones)
    }
}
