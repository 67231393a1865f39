//! Access and refresh tokens: opaque, random, stored only as hashes.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::random::Rng;

/// How many random bytes a token has; on the wire it is twice as many lower-case hex digits. The dialect's own length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLength {
    /// 32 hex digits (`fantem` §2).
    Bits128,
    /// 40 hex digits (`ewelink-v8` §2).
    Bits160,
}

/// A token, as its owner holds it. Never printed, compared or stored.
#[derive(Debug, Clone)]
pub struct Token(SecretString);

impl Token {
    /// Draws a new token.
    pub fn draw(rng: &dyn Rng, length: TokenLength) -> Self {
        let mut bytes = [0; 20];
        let used = match length {
            TokenLength::Bits128 => &mut bytes[..16],
            TokenLength::Bits160 => &mut bytes[..],
        };
        rng.fill(used);
        Self(hex::encode(used).into())
    }

    /// What the store keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(hex::encode(Sha256::digest(self.0.expose_secret())))
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
        assert!(!format!("{token:?}").contains(token.expose()));
    }
}
