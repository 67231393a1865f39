//! Applications: who calls the eWeLink dialects.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::Keys;
use crate::master_key::Sealed;
use crate::random::{self, Rng};
use crate::text::{Malformed, plain, text_type};
use crate::time::Timestamp;

text_type! {
    /// An application's id (`appid`): 1 to 64 letters, digits, `-` and `_`.
    ApplicationId, |text| {
        plain(text, 64)?;
        let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if letters { Ok(text.to_owned()) } else { Err(Malformed("is not an application id (1 to 64 of A-Z, a-z, 0-9, - and _)")) }
    }
}

impl ApplicationId {
    /// Draws a new id of 32 letters and digits, the vendor's form.
    pub fn draw(rng: &dyn Rng) -> Self {
        Self(random::alphanumeric(rng, 32))
    }
}

/// How exactly an application's requests must follow the documents (`ewelink-v8` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What real clients are known to send is accepted.
    #[default]
    Compat,
    /// Exactly what the documents say, with clock and replay rules.
    Strict,
}

impl Profile {
    /// The profile's name: `compat` or `strict`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compat => "compat",
            Self::Strict => "strict",
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "compat" => Ok(Self::Compat),
            "strict" => Ok(Self::Strict),
            _ => Err(Malformed("is neither compat nor strict")),
        }
    }
}

/// An application's secret in the clear: the key of its signatures. Cannot be printed or compared.
pub struct ApplicationSecret(Zeroizing<Vec<u8>>);

impl ApplicationSecret {
    /// The longest secret, in bytes.
    const LONGEST: usize = 128;

    /// Draws a new secret of 32 letters and digits, the vendor's form.
    pub fn draw(rng: &dyn Rng) -> Self {
        Self(Zeroizing::new(random::alphanumeric(rng, 32).into_bytes()))
    }

    /// Takes an existing secret: 16 to 128 printable ASCII characters.
    ///
    /// # Errors
    /// [`Malformed`] when it is anything else.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let fits = (16..=Self::LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            return Err(Malformed("is not a secret (16 to 128 printable ASCII characters)"));
        }
        Ok(Self(Zeroizing::new(text.as_bytes().to_vec())))
    }

    /// The text of the secret, to show it to the operator who made it.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) fn seal(&self, keys: &Keys, rng: &dyn Rng, owner: &ApplicationId) -> Sealed {
        keys.seal(rng, owner.as_str(), &self.0)
    }

    /// Opens `application`'s secret.
    ///
    /// # Errors
    /// [`Malformed`] when it was sealed under another master key.
    pub(crate) fn open(keys: &Keys, application: &Application) -> Result<Self, Malformed> {
        keys.open(application.id.as_str(), &application.secret).map(Self)
    }

    /// Whether `signature` is the HMAC-SHA256 of `message` under this secret, compared in constant time (`ewelink-v8` §1).
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(message);
        mac.verify_slice(signature).is_ok()
    }
}

impl std::fmt::Debug for ApplicationSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApplicationSecret([REDACTED])")
    }
}

/// An application that may call.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its id.
    pub id: ApplicationId,
    /// What the operator calls it.
    pub name: String,
    /// Its secret, sealed for its id.
    pub secret: Sealed,
    /// How exactly it must follow the documents.
    pub profile: Profile,
    /// Whether it may call at the moment.
    pub enabled: bool,
    /// When it was registered.
    pub created_at: Timestamp,
}
