//! What another system stored of a password: what an import takes can be checked, and no password that was not given is right for it.
#![no_main]

use std::sync::LazyLock;

use account::{HashError, Password, PasswordHasher, Scheme, Verdict, Verifier};
use argon::Hasher;
use fuzz::{RUNTIME, choose, hasher};
use libfuzzer_sys::fuzz_target;

const SCHEMES: [Scheme; 6] =
    [Scheme::Own, Scheme::Sha256OfDigest, Scheme::Bcrypt, Scheme::BcryptOfDigest, Scheme::Argon2, Scheme::Argon2OfDigest];

static HASHER: LazyLock<Hasher> = LazyLock::new(hasher);

/// Whether checking it takes so little that it can be done many times.
fn is_cheap(hash: &str) -> bool {
    let number = |name: &str| {
        let (_, rest) = hash.split_once(name)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()
    };
    match number("m=") {
        Some(memory) => memory <= 256 && number(",t=").is_some_and(|passes| passes <= 2),
        None => hash.get(4..6) == Some("04"),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((scheme, rest)) = choose(&SCHEMES, data) else { return };
    let Ok(hash) = std::str::from_utf8(rest) else { return };
    let verifier = Verifier::of(*scheme, hash);
    assert_eq!(Verifier::from_phc(verifier.phc().to_owned()).parts().1, verifier.parts().1);
    let taken = HASHER.check(&verifier);
    if taken.is_ok() && is_cheap(hash) {
        let password = Password::given("not the password".into()).expect("a password");
        let verdict = RUNTIME.block_on(HASHER.verify(HASHER.reserve(), password.into(), Some(verifier)));
        assert!(matches!(verdict, Ok(Verdict::Wrong)), "{scheme:?} {hash:?}: {verdict:?}");
    } else if let Err(error) = taken {
        assert!(matches!(error, HashError::Broken(_)));
    }
});
