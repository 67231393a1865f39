//! [`PasswordHasher`]: Argon2id with a pepper, on as many threads as there are cores, each with a memory block that it reuses.
//!
//! What waits is bounded by the time it would wait; past that, the answer is an immediate [`HashError::Overloaded`]. Whoever goes
//! away takes its place in the queue along.
//!
//! Hashes of the kind that this server makes are computed by vector instructions of the processor, found at start: see [`Kernel`]. All
//! others, and those on other processors, are left to the crate `argon2`.

mod argon2id;
mod bare;
mod foreign;
mod queue;
mod raw;
#[cfg(target_arch = "x86_64")]
mod vector;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use account::{Candidate, HashError, Keys, PasswordDigest, PasswordHasher, PepperName, Place, Rng, Scheme, Verdict, Verifier};
use secrecy::{ExposeSecret, SecretString};

use crate::argon2id::Argon2id;
use crate::queue::Queue;
use crate::raw::Memory;

pub use crate::argon2id::{Cost, CostError};
pub use crate::bare::Bare;
pub use crate::queue::Load;
pub use crate::raw::Kernel;

/// How the hasher works.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What one hash costs.
    pub cost: Cost,
    /// How many threads hash.
    pub threads: usize,
    /// The longest that anybody is let wait for a free thread.
    pub max_wait: Duration,
}

/// The most threads that a hasher is to have.
pub const MOST_THREADS: usize = 1024;

/// Why a hasher does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Argon2 knows no such cost.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// The system gives fewer threads.
    #[error("the system does not give {threads} threads ({source}): use fewer, or raise its limit (ulimit -u, TasksMax=)")]
    Threads {
        /// How many are wanted.
        threads: usize,
        /// What the system says.
        source: io::Error,
    },
}

/// Hashes passwords on threads of its own.
pub struct Hasher {
    queue: Queue<Memory>,
    algorithm: Arc<Argon2id>,
    /// What an unknown account's password is checked against; no password is right for it.
    decoy: Verifier,
}

impl Hasher {
    /// Starts the threads, which end when the hasher is dropped. New verifiers are peppered by the key in force.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: Settings, keys: Arc<Keys>, rng: Arc<dyn Rng>) -> Result<Self, StartError> {
        let Settings { cost, threads, max_wait } = settings;
        let algorithm = Arc::new(Argon2id::new(cost, keys, rng)?);
        let decoy = Verifier::of(Scheme::Own, &algorithm.decoy());
        let queue = Queue::start(threads, max_wait).map_err(|source| StartError::Threads { threads, source })?;
        Ok(Self { queue, algorithm, decoy })
    }

    /// How busy it is.
    #[must_use]
    pub fn load(&self) -> Load {
        self.queue.load()
    }

    /// A place, if there is time.
    fn place(&self) -> Result<Place, HashError> {
        self.queue.wait()?;
        Ok(self.queue.reserve())
    }
}

#[async_trait::async_trait]
impl PasswordHasher for Hasher {
    async fn hash(&self, digest: PasswordDigest) -> Result<Verifier, HashError> {
        let algorithm = Arc::clone(&self.algorithm);
        let phc = self.queue.run(self.place()?, move |memory| algorithm.hash(digest.expose(), memory)).await??;
        Ok(Verifier::of(Scheme::Own, &phc))
    }

    async fn wrap(&self, sha256: SecretString) -> Result<Verifier, HashError> {
        let algorithm = Arc::clone(&self.algorithm);
        let phc = self.queue.run(self.place()?, move |memory| algorithm.hash(sha256.expose_secret(), memory)).await??;
        Ok(Verifier::of(Scheme::Sha256OfDigest, &phc))
    }

    fn check(&self, verifier: &Verifier) -> Result<(), HashError> {
        match verifier.parts() {
            (Scheme::Own | Scheme::Sha256OfDigest, phc) => self.algorithm.check(phc),
            (Scheme::Bcrypt | Scheme::BcryptOfDigest, hash) => foreign::check_bcrypt(hash),
            (Scheme::Argon2 | Scheme::Argon2OfDigest, phc) => foreign::read_argon2(phc).map(drop),
        }
    }

    fn pepper_of(&self, verifier: &Verifier) -> Option<PepperName> {
        match verifier.parts() {
            (Scheme::Own | Scheme::Sha256OfDigest, phc) => self.algorithm.pepper_name(phc),
            _ => None,
        }
    }

    fn wait(&self) -> Result<Duration, HashError> {
        self.queue.wait()
    }

    fn reserve(&self) -> Place {
        self.queue.reserve()
    }

    async fn verify(&self, place: Place, candidate: Candidate, verifier: Option<Verifier>) -> Result<Verdict, HashError> {
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| self.decoy.clone());
        let algorithm = Arc::clone(&self.algorithm);
        let verdict = self.queue.run(place, move |memory| verify(&algorithm, &candidate, &verifier, memory)).await??;
        Ok(if known { verdict } else { Verdict::Wrong })
    }
}

/// Whatever is right but not of our own making is outdated.
fn verify(algorithm: &Argon2id, candidate: &Candidate, verifier: &Verifier, memory: &mut Memory) -> Result<Verdict, HashError> {
    let digest = candidate.digest();
    let foreign = |right| if right { Verdict::RightButOutdated } else { Verdict::Wrong };
    match (verifier.parts(), candidate.password()) {
        ((Scheme::Own, phc), _) => algorithm.verify(digest.expose(), phc, memory),
        ((Scheme::Sha256OfDigest, phc), _) => {
            let verdict = algorithm.verify(digest.sha256().expose_secret(), phc, memory)?;
            Ok(foreign(verdict != Verdict::Wrong))
        }
        ((Scheme::Bcrypt, hash), Some(password)) => foreign::verify_bcrypt(password, hash).map(foreign),
        ((Scheme::BcryptOfDigest, hash), _) => foreign::verify_bcrypt(digest.expose(), hash).map(foreign),
        ((Scheme::Argon2, phc), Some(password)) => foreign::verify_argon2(password, phc, memory).map(foreign),
        ((Scheme::Argon2OfDigest, phc), _) => foreign::verify_argon2(digest.expose(), phc, memory).map(foreign),
        // Made of the password, which this dialect does not send: nothing to compare, but the time is spent all the same.
        ((Scheme::Bcrypt, hash), None) => foreign::verify_bcrypt(digest.expose(), hash).map(|_| Verdict::Wrong),
        ((Scheme::Argon2, phc), None) => foreign::verify_argon2(digest.expose(), phc, memory).map(|_| Verdict::Wrong),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "this is the hasher itself")]
mod tests {
    use account::{MasterKey, Password, SystemRng};

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1 };

    fn hasher(cost: Cost, keys: Arc<Keys>) -> Hasher {
        let settings = Settings { cost, threads: 2, max_wait: Duration::from_secs(5) };
        Hasher::start(settings, keys, Arc::new(SystemRng)).unwrap()
    }

    fn keys() -> Arc<Keys> {
        Arc::new(Keys::only(MasterKey::draw(&SystemRng)))
    }

    fn digest(password: &str) -> PasswordDigest {
        Password::given(password.into()).unwrap().digest()
    }

    #[tokio::test]
    async fn a_password_is_right_for_its_verifier_only() {
        let hasher = hasher(CHEAP, keys());
        let verifier = hasher.hash(digest("correct")).await.unwrap();
        assert!(verifier.phc().starts_with("$argon2id$v=19$m=64,t=1,p=1,keyid="), "{}", verifier.phc());
        assert_eq!(
            hasher.verify(hasher.reserve(), digest("correct").into(), Some(verifier.clone())).await.unwrap(),
            Verdict::Right
        );
        assert_eq!(hasher.verify(hasher.reserve(), digest("wrong").into(), Some(verifier)).await.unwrap(), Verdict::Wrong);
        assert_eq!(hasher.verify(hasher.reserve(), digest("correct").into(), None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn the_same_password_makes_another_verifier_each_time() {
        let hasher = hasher(CHEAP, keys());
        let (one, two) = (hasher.hash(digest("x")).await.unwrap(), hasher.hash(digest("x")).await.unwrap());
        assert_ne!(one.phc(), two.phc());
    }

    #[tokio::test]
    async fn another_pepper_is_told() {
        let keys = keys();
        let verifier = hasher(CHEAP, Arc::clone(&keys)).hash(digest("x")).await.unwrap();
        let stranger = hasher(CHEAP, self::keys());
        assert_eq!(stranger.pepper_of(&verifier), Some(keys.pepper().name));
        assert_eq!(stranger.pepper_of(&Verifier::of(Scheme::Bcrypt, "x")), None);
        let is_told = |error: &HashError| error.to_string().contains("another master key");
        assert!(stranger.check(&verifier).is_err_and(|error| is_told(&error)));
        let checked = stranger.verify(stranger.reserve(), digest("x").into(), Some(verifier)).await;
        assert!(checked.is_err_and(|error| is_told(&error)));
    }

    #[tokio::test]
    async fn what_names_no_pepper_is_of_the_first_key() {
        let keys = keys();
        let hasher = hasher(CHEAP, Arc::clone(&keys));
        let verifier = hasher.hash(digest("x")).await.unwrap();
        let (before, after) = verifier.phc().split_once(",keyid=").unwrap();
        let nameless = Verifier::from_phc(format!("{before}{}", &after[after.find('$').unwrap()..]));
        hasher.check(&nameless).unwrap();
        assert_eq!(hasher.pepper_of(&nameless), Some(keys.pepper().name));
        for (password, verdict) in [("x", Verdict::RightButOutdated), ("y", Verdict::Wrong)] {
            let checked = hasher.verify(hasher.reserve(), digest(password).into(), Some(nameless.clone())).await;
            assert_eq!(checked.unwrap(), verdict, "{password}");
        }
    }

    /// The fuzzer's seeds are checked against a hash: they name the key that the fuzzer has, or none.
    #[tokio::test]
    async fn the_fuzzers_seeds_are_hashed() {
        let hasher = hasher(CHEAP, Arc::new(Keys::only(MasterKey::parse(&"5e".repeat(32)).unwrap())));
        for (scheme, seed) in [
            (Scheme::Own, include_str!("../../../fuzz/seeds/verifier/own")),
            (Scheme::Own, include_str!("../../../fuzz/seeds/verifier/own-key")),
            (Scheme::Sha256OfDigest, include_str!("../../../fuzz/seeds/verifier/sha256-key")),
        ] {
            // The first byte chooses the scheme.
            let verifier = Verifier::of(scheme, &seed[1..]);
            let verdict = hasher.verify(hasher.reserve(), digest("x").into(), Some(verifier)).await;
            assert_eq!(verdict.unwrap(), Verdict::Wrong, "{seed}");
        }
    }

    #[tokio::test]
    async fn other_parameters_are_outdated_but_right() {
        let keys = keys();
        for old in [
            Cost { memory_kib: 32, iterations: 1 },
            Cost { memory_kib: 128, iterations: 1 },
            Cost { memory_kib: 64, iterations: 2 },
        ] {
            let verifier = hasher(old, Arc::clone(&keys)).hash(digest("x")).await.unwrap();
            let new = hasher(CHEAP, Arc::clone(&keys));
            assert_eq!(
                new.verify(new.reserve(), digest("x").into(), Some(verifier.clone())).await.unwrap(),
                Verdict::RightButOutdated,
                "{old:?}"
            );
            assert_eq!(new.verify(new.reserve(), digest("y").into(), Some(verifier)).await.unwrap(), Verdict::Wrong, "{old:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_verifier_is_an_error_and_never_right() {
        let hasher = hasher(CHEAP, keys());
        let good = hasher.hash(digest("x")).await.unwrap();
        let cut = &good.phc()[..good.phc().rfind('$').unwrap()];
        for bad in ["", "x", "$argon2id$", cut, "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", "$2b$12$abc"] {
            let verdict = hasher.verify(hasher.reserve(), digest("x").into(), Some(Verifier::from_phc(bad.into()))).await;
            assert!(matches!(verdict, Err(HashError::Broken(_))), "{bad}: {verdict:?}");
        }
    }

    #[test]
    fn what_is_no_bcrypt_hash_is_refused() {
        let hasher = hasher(CHEAP, keys());
        let check = |hash: &str| hasher.check(&Verifier::of(Scheme::Bcrypt, hash));
        check("$2b$04$hOkHO5QKBR6NRf7VjFPnBOPnDRqmPfbFHuvyBXlyFRwEnaLplzXSC").unwrap();
        let parts_of_characters = include_str!("../../../fuzz/seeds/verifier/found-6443f18a");
        for bad in [
            "",
            "$2b$04$",
            "$2b$04$abc",
            "$2b$15$hOkHO5QKBR6NRf7VjFPnBOPnDRqmPfbFHuvyBXlyFRwEnaLplzXSC",
            &parts_of_characters[1..],
        ] {
            assert!(matches!(check(bad), Err(HashError::Broken(_))), "{bad}");
        }
    }

    #[test]
    fn what_would_be_hashed_for_minutes_is_refused() {
        let hasher = hasher(CHEAP, keys());
        let hash = "$MDEyMzQ1Njc4OWFiY2RlZg$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        for scheme in [Scheme::Own, Scheme::Sha256OfDigest, Scheme::Argon2, Scheme::Argon2OfDigest] {
            let check = |params: &str| hasher.check(&Verifier::of(scheme, &format!("$argon2id$v=19${params}{hash}")));
            check("m=8,t=1,p=1").unwrap();
            for bad in ["m=8,t=101,p=1", "m=1048577,t=1,p=1", "m=8,t=1,p=1,t=99999999", "m=8,t=1,m=8,p=1"] {
                assert!(matches!(check(bad), Err(HashError::Broken(_))), "{scheme:?} {bad}");
            }
        }
    }
}
