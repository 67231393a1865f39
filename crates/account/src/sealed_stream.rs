//! Whatever is too long for memory, sealed under the master key: read and written in parts.

use std::io::{self, Read, Write};

use aead_stream::{DecryptorBE32, EncryptorBE32, Key, Nonce, StreamBE32};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::Payload;

use crate::master_key::MasterKey;
use crate::random::{self, Rng};

/// What a sealed stream begins with; the fingerprint of its key and a nonce follow.
const MAGIC: &[u8; 20] = b"hearthgate sealed 1\n";
const FINGERPRINT: usize = 2 * MasterKey::FINGERPRINT;
const NONCE: usize = 19;
const HEADER: usize = MAGIC.len() + FINGERPRINT + NONCE;

/// The length of a part, and what is added to it when it is sealed. A part that is shorter is the last one.
const PART: usize = 64 * 1024;
const TAG: usize = 16;

/// Why a sealed stream does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenStreamError {
    /// It was sealed under another key.
    #[error("the master key is not the one that it was encrypted under")]
    OtherKey,
    /// It was changed or cut off, or never was one.
    #[error("it is damaged or cut off")]
    Damaged,
    /// It cannot be read, or what is in it cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl MasterKey {
    /// The fingerprint of the key that a stream is sealed under which begins like this; `None` for what is no sealed stream.
    #[must_use]
    pub fn seals(beginning: &[u8]) -> Option<String> {
        let rest = beginning.strip_prefix(MAGIC)?;
        rest.get(..FINGERPRINT).map(|fingerprint| String::from_utf8_lossy(fingerprint).into_owned())
    }

    /// Seals everything in `from` (STREAM over XChaCha20-Poly1305).
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn seal_stream(&self, rng: &dyn Rng, mut from: impl Read, mut to: impl Write) -> io::Result<()> {
        let nonce: [u8; NONCE] = random::bytes(rng);
        let header = [&MAGIC[..], self.fingerprint().as_bytes(), &nonce].concat();
        to.write_all(&header)?;
        let mut sealer = EncryptorBE32::<XChaCha20Poly1305>::new(&self.stream_key(), &stream_nonce(nonce));
        let too_long = |_| io::Error::other("it is too long to be sealed");
        loop {
            let part = read(&mut from, PART)?;
            let payload = Payload { msg: &part, aad: &header };
            if part.len() < PART {
                return to.write_all(&sealer.encrypt_last(payload).map_err(too_long)?);
            }
            to.write_all(&sealer.encrypt_next(payload).map_err(too_long)?)?;
        }
    }

    /// Opens what [`MasterKey::seal_stream`] sealed. What is written is right as far as it goes, but only all there is on success.
    ///
    /// # Errors
    /// [`OpenStreamError`].
    pub fn open_stream(&self, mut from: impl Read, mut to: impl Write) -> Result<(), OpenStreamError> {
        let damaged = |_| OpenStreamError::Damaged;
        let header: [u8; HEADER] = read(&mut from, HEADER)?.try_into().map_err(|_| OpenStreamError::Damaged)?;
        if Self::seals(&header).ok_or(OpenStreamError::Damaged)? != self.fingerprint() {
            return Err(OpenStreamError::OtherKey);
        }
        let nonce = *header.last_chunk().expect("the rest of the header");
        let mut opener = DecryptorBE32::<XChaCha20Poly1305>::new(&self.stream_key(), &stream_nonce(nonce));
        loop {
            let part = read(&mut from, PART + TAG)?;
            let payload = Payload { msg: &part, aad: &header };
            if part.len() < PART + TAG {
                return Ok(to.write_all(&opener.decrypt_last(payload).map_err(damaged)?)?);
            }
            to.write_all(&opener.decrypt_next(payload).map_err(damaged)?)?;
        }
    }

    fn stream_key(&self) -> Key<XChaCha20Poly1305> {
        self.derive("stream").into()
    }
}

fn stream_nonce(nonce: [u8; NONCE]) -> Nonce<XChaCha20Poly1305, StreamBE32<XChaCha20Poly1305>> {
    nonce.into()
}

/// As many bytes as are wanted; fewer only at the end.
fn read(from: &mut impl Read, wanted: usize) -> io::Result<Vec<u8>> {
    let mut part = Vec::with_capacity(wanted);
    from.take(wanted as u64).read_to_end(&mut part)?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRng;

    fn sealed(key: &MasterKey, text: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        key.seal_stream(&SystemRng, text, &mut sealed).unwrap();
        sealed
    }

    fn opened(key: &MasterKey, sealed: &[u8]) -> Result<Vec<u8>, OpenStreamError> {
        let mut text = Vec::new();
        key.open_stream(sealed, &mut text).map(|()| text)
    }

    #[test]
    fn a_stream_of_any_length_opens() {
        let key = MasterKey::draw(&SystemRng);
        for length in [0, 1, PART - 1, PART, PART + 1, 3 * PART] {
            let text: Vec<u8> = (0..length).map(|place| u8::try_from(place % 251).unwrap()).collect();
            let sealed = sealed(&key, &text);
            assert_eq!(MasterKey::seals(&sealed), Some(key.fingerprint()));
            assert_eq!(opened(&key, &sealed).unwrap(), text, "{length}");
            assert!(matches!(opened(&MasterKey::draw(&SystemRng), &sealed), Err(OpenStreamError::OtherKey)));
        }
    }

    /// Cut off anywhere, with something behind it, its parts exchanged, or any byte changed: it does not open.
    #[test]
    fn a_stream_that_was_changed_does_not_open() {
        let key = MasterKey::draw(&SystemRng);
        let whole = sealed(&key, &[7; 2 * PART]);
        let is_refused = |changed: &[u8]| opened(&key, changed).is_err();
        let parts = |count: usize| HEADER + count * (PART + TAG);
        for end in [0, 1, HEADER - 1, HEADER, parts(0) + 1, parts(1), parts(1) + TAG, parts(2), whole.len() - 1] {
            assert!(is_refused(&whole[..end]), "cut off at {end}");
        }
        assert!(is_refused(&[&whole[..], b"x"].concat()));
        let exchanged = [&whole[..HEADER], &whole[parts(1)..parts(2)], &whole[parts(0)..parts(1)], &whole[parts(2)..]].concat();
        assert!(is_refused(&exchanged));
        for place in (0..HEADER + 40).chain([parts(1), parts(2), whole.len() - 1]) {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(is_refused(&changed), "byte {place}");
        }
    }
}
