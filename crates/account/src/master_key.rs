//! The master key, and what is sealed or peppered with keys derived from it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::code::Purpose;
use crate::message::Address;
use crate::random::{self, Rng};
use crate::text::Malformed;

const NONCE: usize = 24;

/// The 256-bit key that makes a stolen database useless: application secrets are sealed under it, and the pepper of every verifier
/// comes from it.
pub struct MasterKey(SecretBox<[u8; 32]>);

impl MasterKey {
    /// The length of a fingerprint, in bytes.
    pub const FINGERPRINT: usize = 8;

    /// Draws a new key.
    pub fn draw(rng: &dyn Rng) -> Self {
        Self(SecretBox::new(Box::new(random::bytes(rng))))
    }

    /// Reads a key as [`MasterKey::expose`] writes it: 64 hex digits, white space around them allowed.
    ///
    /// # Errors
    /// [`Malformed`] when it is anything else.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), key.as_mut()).map_err(|_| Malformed("is not a key of 64 hex digits"))?;
        Ok(Self(SecretBox::new(Box::new(*key))))
    }

    /// The key as 64 hex digits, for its file.
    #[must_use]
    pub fn expose(&self) -> SecretString {
        hex::encode(self.0.expose_secret()).into()
    }

    /// The secret that goes into every verifier besides the password.
    pub(crate) fn pepper(&self) -> SecretBox<[u8; 32]> {
        SecretBox::new(Box::new(self.derive("pepper")))
    }

    /// Tells keys apart without revealing them: a store remembers it, to refuse a key that is not its own. In hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(self.fingerprint_bytes())
    }

    pub(crate) fn fingerprint_bytes(&self) -> [u8; Self::FINGERPRINT] {
        *self.derive("fingerprint").first_chunk().expect("a MAC is longer than that")
    }

    /// Whether the two are the same key.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.fingerprint_bytes() == other.fingerprint_bytes()
    }

    /// Seals another key.
    pub(crate) fn seal_key(&self, rng: &dyn Rng, other: &Self) -> Sealed {
        self.seal(rng, &other.fingerprint(), other.0.expose_secret())
    }

    /// Opens the key with this fingerprint.
    pub(crate) fn open_key(&self, fingerprint: &str, sealed: &Sealed) -> Result<Self, Malformed> {
        let opened = self.open(fingerprint, sealed)?;
        let key: &[u8; 32] = opened.as_slice().try_into().map_err(|_| Malformed("is no key"))?;
        Ok(Self(SecretBox::new(Box::new(*key))))
    }

    /// Seals `secret`. It can only be opened for the same `owner`, so that a sealed secret cannot be moved to another row.
    pub fn seal(&self, rng: &dyn Rng, owner: &str, secret: &[u8]) -> Sealed {
        let nonce: [u8; NONCE] = random::bytes(rng);
        let payload = Payload { msg: secret, aad: owner.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).expect("a short text can always be sealed");
        Sealed(BASE64.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what [`MasterKey::seal`] closed.
    ///
    /// # Errors
    /// [`Malformed`] when it was sealed under another key, for another owner, or was changed.
    pub fn open(&self, owner: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        const WRONG: Malformed = Malformed("does not open with this master key");
        let bytes = BASE64.decode(&sealed.0).map_err(|_| WRONG)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or(WRONG)?;
        let payload = Payload { msg: sealed, aad: owner.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| WRONG)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derive("seal").into())
    }

    /// What the store keeps of a code: six digits alone could be tried out on a plain hash.
    pub(crate) fn code_hash(&self, purpose: Purpose, address: &Address, code: &str) -> String {
        hex::encode(self.mac("code", &[purpose.as_str(), address.as_str(), code]))
    }

    /// A keyed hash of `parts`, for one purpose. No part may hold a NUL.
    pub(crate) fn mac(&self, purpose: &str, parts: &[&str]) -> [u8; 32] {
        hmac(&self.derive(purpose), parts.join("\0").as_bytes())
    }

    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        hmac(self.0.expose_secret(), format!("hearthgate/{purpose}").as_bytes())
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([REDACTED])")
    }
}

/// A secret sealed under the master key (XChaCha20-Poly1305; nonce and ciphertext in base64).
#[derive(Debug, Clone)]
pub struct Sealed(String);

impl Sealed {
    /// Takes what the store kept.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// What the store keeps.
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
    fn a_sealed_secret_opens_for_its_owner_and_key_only() {
        let key = MasterKey::draw(&SystemRng);
        let sealed = key.seal(&SystemRng, "app", b"secret");
        assert_eq!(*key.open("app", &sealed).unwrap(), b"secret");
        assert!(key.open("other", &sealed).is_err());
        assert!(MasterKey::draw(&SystemRng).open("app", &sealed).is_err());
        assert!(key.open("app", &Sealed::from_stored("AAAA".into())).is_err());
        let mut torn = BASE64.decode(sealed.as_str()).unwrap();
        *torn.last_mut().unwrap() ^= 1;
        assert!(key.open("app", &Sealed::from_stored(BASE64.encode(torn))).is_err());
    }

    #[test]
    fn a_key_survives_its_file() {
        let key = MasterKey::draw(&SystemRng);
        let again = MasterKey::parse(&format!("{}\n", key.expose().expose_secret())).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert!(again.is(&key) && !again.is(&MasterKey::draw(&SystemRng)));
        assert!(MasterKey::parse("abc").is_err());
    }
}
