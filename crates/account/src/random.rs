//! Where randomness comes from, and what is made of it.

/// Where randomness comes from. Nothing else in the project draws any.
pub trait Rng: Send + Sync {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws from the operating system")]
    fn fill(&self, bytes: &mut [u8]) {
        // Without its generator the system can make no token safely; there is nothing sensible to answer.
        getrandom::fill(bytes).expect("the operating system's random generator does not answer");
    }
}

/// `N` random bytes.
pub fn bytes<const N: usize>(rng: &dyn Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}

/// `letters` characters, each drawn evenly from the 62 ASCII letters and digits.
pub fn alphanumeric(rng: &dyn Rng, letters: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(letters);
    while text.len() < letters {
        // Bytes from 248 on would favour the first letters: 248 is the largest multiple of 62 in a byte.
        let draw = bytes::<32>(rng).into_iter().filter(|byte| *byte < 248);
        let drawn = draw.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        text.extend(drawn.take(letters - text.len()));
    }
    text
}

/// A version 4 UUID in its usual form of 36 characters.
pub fn uuid(rng: &dyn Rng) -> String {
    let mut id: [u8; 16] = bytes(rng);
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    let hex = hex::encode(id);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let id = uuid(&SystemRng);
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }

    #[test]
    fn alphanumeric_has_the_length_asked_for() {
        for length in [0, 1, 32, 100] {
            let text = alphanumeric(&SystemRng, length);
            assert_eq!(text.len(), length);
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric()));
        }
    }
}
