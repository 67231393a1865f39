//! Access and refresh tokens: opaque, random, stored only as hashes.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::master_key::MasterKey;
use crate::random::Rng;

/// How many random bytes a token has; on the wire it is twice as many lower-case hex digits. The dialect's own length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLength {
    /// 32 hex digits (`fantem` §2).
    Bits128,
    /// 40 hex digits (`ewelink-v8` §2).
    Bits160,
    /// 64 hex digits: links.
    Bits256,
}

impl TokenLength {
    fn bytes(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits160 => 20,
            Self::Bits256 => 32,
        }
    }
}

/// A token, as its owner holds it. Never printed, compared or stored.
#[derive(Debug, Clone)]
pub struct Token(SecretString);

impl Token {
    /// Draws a new token.
    pub fn draw(rng: &dyn Rng, length: TokenLength) -> Self {
        let mut bytes = [0; 32];
        let used = &mut bytes[..length.bytes()];
        rng.fill(used);
        Self(hex::encode(used).into())
    }

    /// The token that follows `old` in a refresh with this `salt`: always the same one, and unpredictable without the master key.
    pub(crate) fn derive(key: &MasterKey, label: &str, salt: &str, old: &str, length: TokenLength) -> Self {
        let mac = key.mac("refresh", &[label, salt, old]);
        Self(hex::encode(&mac[..length.bytes()]).into())
    }

    /// What the store keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.expose_secret())
    }

    /// The hex digits, for the answer to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// The SHA-256 of a token, in hex. A token has 128 random bits or more, so this needs neither salt nor stretching.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenHash(String);

impl TokenHash {
    /// The hash of what somebody presents as a token.
    #[must_use]
    pub fn of(text: &str) -> Self {
        // Every token check does this: `hex::encode` would push one character after the other.
        let mut digits = [0; 64];
        hex::encode_to_slice(Sha256::digest(text), &mut digits).expect("two digits for each of 32 bytes");
        Self(str::from_utf8(&digits).expect("digits").to_owned())
    }

    /// Takes what the store kept.
    #[must_use]
    pub fn from_stored(hex: String) -> Self {
        Self(hex)
    }

    /// The hash's hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRng;

    #[test]
    fn tokens_have_the_dialects_lengths_and_differ() {
        let token = Token::draw(&SystemRng, TokenLength::Bits128);
        assert_eq!(token.expose().len(), 32);
        let other = Token::draw(&SystemRng, TokenLength::Bits160);
        assert_eq!(other.expose().len(), 40);
        assert_ne!(token.hash(), other.hash());
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of("abc").as_str(), known, "FIPS 180-4");
        assert!(!format!("{token:?}").contains(token.expose()));
    }
}
