//! Where guesses are counted, and how that is called.

use std::str::FromStr;

use crate::account::ObjectId;
use crate::device::Serial;
use crate::identifier::Identifier;
use crate::master_key::MasterKey;
use crate::origin::Source;
use crate::text::{Malformed, plain};

/// Where guesses are counted: a name that tells lanes apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Lane(String);

impl Lane {
    /// The lane of everybody who guesses at an account.
    #[must_use]
    pub fn of_account(account: &ObjectId) -> Self {
        Self(format!("account/{account}"))
    }

    /// The lane of everybody who guesses at an identifier that nobody has. Such a name may be a password in the wrong field.
    pub(crate) fn of_nobody(key: &MasterKey, identifier: &Identifier) -> Self {
        Self(format!("nobody/{}", hex::encode(&key.mac("nobody", &[identifier.as_str()])[..16])))
    }

    /// The lane of whatever comes from a source.
    #[must_use]
    pub fn of_source(source: Source) -> Self {
        Self(format!("from/{source}"))
    }

    /// The lane of tokens and links that do not exist, from a source: apps whose session has ended go on trying, and must not be in
    /// the way of people who log in.
    #[must_use]
    pub fn of_tokens(source: Source) -> Self {
        Self(format!("tokens/{source}"))
    }

    /// The lane of registrations that prove nothing, from a source.
    #[must_use]
    pub fn of_newcomers(source: Source) -> Self {
        Self(format!("newcomers/{source}"))
    }

    pub(crate) fn at(&self, source: Source) -> Self {
        Self(format!("{}/from/{source}", self.0))
    }

    pub(crate) fn on(&self, device: &Serial) -> Self {
        Self(format!("{}/on/{device}", self.0))
    }

    pub(crate) fn within(&self, session: &ObjectId) -> Self {
        Self(format!("{}/in/{session}", self.0))
    }

    /// Reads what [`Lane::as_str`] wrote.
    #[must_use]
    pub fn from_stored(name: String) -> Self {
        Self(name)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Lane {
    type Err = Malformed;

    /// Takes any name that an operator has read somewhere.
    fn from_str(name: &str) -> Result<Self, Malformed> {
        plain(name, 512)?;
        Ok(Self(name.to_owned()))
    }
}
