//! Passwords, on their way from the wire to the verifier.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::text::Malformed;

/// A password as the person typed it. Never printed, compared or stored.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    /// The longest password there is, in characters (`ewelink-v8`, "Passwords: 8 to 64 characters").
    pub const LONGEST: usize = 64;
    /// The shortest password that can be set, in characters.
    pub const SHORTEST_NEW: usize = 8;

    /// Takes a password that somebody logs in with: 1 to 64 characters.
    ///
    /// # Errors
    /// [`Malformed`] when it is empty, longer, or holds a NUL.
    pub fn given(text: String) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(Malformed("is empty"));
        }
        // Bytes first: counting the characters of a megabyte is work that an attacker chooses.
        if text.len() > Self::LONGEST * 4 || text.chars().count() > Self::LONGEST {
            return Err(Malformed("is longer than 64 characters"));
        }
        if text.contains('\0') {
            return Err(Malformed("holds a NUL character"));
        }
        Ok(Self(text.into()))
    }

    /// Takes a password that is to be set: 8 to 64 characters.
    ///
    /// # Errors
    /// As [`Password::given`], and [`Malformed`] when it is shorter.
    pub fn new(text: String) -> Result<Self, Malformed> {
        let short = text.chars().take(Self::SHORTEST_NEW).count() < Self::SHORTEST_NEW;
        let password = Self::given(text)?;
        if short { Err(Malformed("is shorter than 8 characters")) } else { Ok(password) }
    }

    /// What verifiers are made of.
    #[must_use]
    pub fn digest(&self) -> PasswordDigest {
        PasswordDigest(hex::encode(Md5::digest(self.0.expose_secret())).into())
    }
}

/// The MD5 of a password as 32 lower-case hex digits: what Fantem clients send, what eWeLink passwords are turned into, and what
/// a verifier is made of, so that one verifier serves both dialects. As good as the password itself, and as secret.
#[derive(Debug, Clone)]
pub struct PasswordDigest(SecretString);

impl PasswordDigest {
    /// Takes a digest as a client sent it.
    ///
    /// # Errors
    /// [`Malformed`] unless it is 32 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && hex { Ok(Self(text.into())) } else { Err(Malformed("is not an MD5 in lower-case hex")) }
    }

    /// Whether it is the same digest, compared in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }

    /// The SHA-256 of the digest, in hex: what some systems stored.
    #[must_use]
    pub fn sha256(&self) -> SecretString {
        hex::encode(Sha256::digest(self.0.expose_secret())).into()
    }

    /// The 32 hex digits, for the hasher.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A password that is to be checked: always its digest, and the password itself where the dialect sends it. Verifiers from elsewhere
/// may have been made of the one or the other.
#[derive(Debug, Clone)]
pub struct Candidate {
    digest: PasswordDigest,
    password: Option<Password>,
}

impl Candidate {
    /// The digest, which is what verifiers are made of here.
    #[must_use]
    pub fn digest(&self) -> &PasswordDigest {
        &self.digest
    }

    /// The password, where it is known.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(|password| password.0.expose_secret())
    }
}

impl From<Password> for Candidate {
    fn from(password: Password) -> Self {
        Self { digest: password.digest(), password: Some(password) }
    }
}

impl From<PasswordDigest> for Candidate {
    fn from(digest: PasswordDigest) -> Self {
        Self { digest, password: None }
    }
}

/// What a verifier was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Argon2id with the pepper, over the digest. Everything that is made here is of this kind; the others come from elsewhere and are
    /// renewed at their owners' next login.
    Own,
    /// Argon2id with the pepper, over the SHA-256 of the digest.
    Sha256OfDigest,
    /// bcrypt, over the password.
    Bcrypt,
    /// bcrypt, over the digest.
    BcryptOfDigest,
    /// Argon2 as it came, over the password.
    Argon2,
    /// Argon2 as it came, over the digest.
    Argon2OfDigest,
}

impl Scheme {
    /// What stands before the hash of a verifier that is not of our own making.
    const PREFIXES: [(Self, &str); 5] = [
        (Self::Sha256OfDigest, "sha256-md5:"),
        (Self::Bcrypt, "bcrypt:"),
        (Self::BcryptOfDigest, "bcrypt-md5:"),
        (Self::Argon2, "argon2:"),
        (Self::Argon2OfDigest, "argon2-md5:"),
    ];
}

/// What is stored of a password: Argon2id over its digest with the server's pepper, as a PHC string; or, until its owner's next login,
/// what another system stored of it, with its [`Scheme`] before it.
#[derive(Clone)]
pub struct Verifier(String);

impl Verifier {
    /// Puts a hash together with what it was made of.
    #[must_use]
    pub fn of(scheme: Scheme, hash: &str) -> Self {
        let prefix = Scheme::PREFIXES.into_iter().find(|(known, _)| *known == scheme).map_or("", |(_, prefix)| prefix);
        Self(format!("{prefix}{hash}"))
    }

    /// What it was made of, and the hash.
    #[must_use]
    pub fn parts(&self) -> (Scheme, &str) {
        let foreign = Scheme::PREFIXES.into_iter().find_map(|(scheme, prefix)| Some((scheme, self.0.strip_prefix(prefix)?)));
        foreign.unwrap_or((Scheme::Own, &self.0))
    }

    /// Takes a PHC string from the hasher or the store.
    #[must_use]
    pub fn from_phc(phc: String) -> Self {
        Self(phc)
    }

    /// The same, naming the master key with this fingerprint, unless it names one already.
    ///
    /// # Errors
    /// [`Malformed`] when that is no fingerprint.
    pub fn of_key(self, fingerprint: &str) -> Result<Self, Malformed> {
        let key = hex::decode(fingerprint).map_err(|_| Malformed("is not a fingerprint in hex"))?;
        let named = |part: &str| match part.starts_with("m=") && !part.contains("keyid=") {
            true => format!("{part},keyid={}", STANDARD_NO_PAD.encode(&key)),
            false => part.to_owned(),
        };
        Ok(Self(self.0.split('$').map(named).collect::<Vec<_>>().join("$")))
    }

    /// The PHC string, for the hasher and the store.
    #[must_use]
    pub fn phc(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_what_fantem_clients_send() {
        let password = Password::given("123456".into()).unwrap();
        assert_eq!(password.digest().expose(), "e10adc3949ba59abbe56e057f20f883e");
    }

    #[test]
    fn lengths_count_characters() {
        assert!(Password::given("密".repeat(64)).is_ok());
        assert!(Password::given("密".repeat(65)).is_err());
        assert!(Password::given("🐎".repeat(64)).is_ok(), "of four bytes each");
        assert!(Password::given("🐎".repeat(65)).is_err());
        assert!(Password::given(String::new()).is_err());
        assert!(Password::given("a\0b".into()).is_err());
        assert!(Password::new("1234567".into()).is_err());
        assert!(Password::new("12345678".into()).is_ok());
    }

    #[test]
    fn only_lower_case_md5_is_a_digest() {
        assert!(PasswordDigest::parse("e10adc3949ba59abbe56e057f20f883e").is_ok());
        for bad in ["", "E10ADC3949BA59ABBE56E057F20F883E", "e10adc3949ba59abbe56e057f20f883", "g10adc3949ba59abbe56e057f20f883e"]
        {
            assert!(PasswordDigest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_is_only_itself() {
        let digest = |text: &str| Password::given(text.into()).unwrap().digest();
        assert!(digest("123456").is(&PasswordDigest::parse("e10adc3949ba59abbe56e057f20f883e").unwrap()));
        assert!(!digest("123456").is(&digest("1234567")));
        let sha256 = "cdf4a007e2b02a0c49fc9b7ccfbb8a10c644f635e1765dcf2a7ab794ddc7edac";
        assert_eq!(digest("123456").sha256().expose_secret(), sha256, "of the hex digits");
    }

    #[test]
    fn a_password_is_known_where_it_was_sent() {
        let password = Password::given("correct horse".into()).unwrap();
        assert_eq!(Candidate::from(password.digest()).password(), None);
        assert_eq!(Candidate::from(password).password(), Some("correct horse"));
    }

    #[test]
    fn a_verifier_tells_what_it_was_made_of() {
        assert_eq!(Verifier::of(Scheme::Own, "$argon2id$x").phc(), "$argon2id$x");
        for (scheme, prefix) in Scheme::PREFIXES {
            let verifier = Verifier::of(scheme, "$hash");
            assert_eq!((verifier.phc(), verifier.parts()), (format!("{prefix}$hash").as_str(), (scheme, "$hash")));
        }
        assert_eq!(Verifier::from_phc("$argon2id$x".into()).parts(), (Scheme::Own, "$argon2id$x"));
    }

    #[test]
    fn a_verifier_names_one_key() {
        let verifier = |phc: &str| Verifier::from_phc(phc.into());
        let named = verifier("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA").of_key("0011").unwrap();
        assert_eq!(named.phc(), "$argon2id$v=19$m=8,t=1,p=1,keyid=ABE$c2FsdA$aGFzaA");
        let again = verifier(named.phc()).of_key("2233").unwrap();
        assert_eq!(again.phc(), named.phc(), "the one that it named before");
        assert!(named.of_key("no hex").is_err());
    }

    #[test]
    fn nothing_secret_can_be_printed() {
        let password = Password::given("correct horse".into()).unwrap();
        let verifier = Verifier::from_phc("$argon2id$secret".into());
        let printed = format!("{password:?} {:?} {verifier:?}", password.digest());
        assert!(!printed.contains("horse") && !printed.contains("argon2id"), "{printed}");
        assert!(!printed.contains(password.digest().expose()));
    }
}
