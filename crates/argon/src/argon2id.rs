//! One Argon2id hash: `Argon2id(m, t, p=1, secret=pepper, input)`, as a PHC string whose `keyid` names the pepper.

use std::ops::RangeInclusive;
use std::sync::Arc;

use account::{HashError, Keys, Pepper, PepperName, Rng, Verdict};
use argon2::{Algorithm, KeyId, MIN_SALT_LEN, Params, ParamsBuilder, Version};
use phc::{Output, PasswordHash, Salt};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use crate::raw::{Inputs, Memory, OUTPUT};

/// The length of a salt, in bytes.
const SALT: usize = 16;

/// What one hash costs. One lane: a thread works on one hash at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
}

impl Cost {
    /// How much memory a stored verifier, and so the configuration, may ask for.
    pub const MEMORY_KIB: RangeInclusive<u32> = 8..=1024 * 1024;
    /// How many passes, likewise.
    pub const ITERATIONS: RangeInclusive<u32> = 1..=100;
}

/// A cost that Argon2 does not know.
#[derive(Debug, thiserror::Error)]
#[error("Argon2 does not work with {} KiB of memory and {} iterations (8 KiB to 1 GiB, 1 to 100 iterations)", .0.memory_kib, .0.iterations)]
pub struct CostError(pub Cost);

/// Argon2id with this server's pepper and today's cost.
pub(crate) struct Argon2id {
    cost: Cost,
    keys: Arc<Keys>,
    rng: Arc<dyn Rng>,
}

impl Argon2id {
    pub fn new(cost: Cost, keys: Arc<Keys>, rng: Arc<dyn Rng>) -> Result<Self, CostError> {
        let argon2id = Self { cost, keys, rng };
        let known = argon2id.params(&argon2id.keys.pepper()).is_ok_and(|params| is_bearable(&params));
        if known { Ok(argon2id) } else { Err(CostError(cost)) }
    }

    fn params(&self, pepper: &Pepper) -> Result<Params, HashError> {
        let mut params = ParamsBuilder::new();
        params.m_cost(self.cost.memory_kib).t_cost(self.cost.iterations).p_cost(1).output_len(OUTPUT);
        params.keyid(KeyId::new(&pepper.name).map_err(broken)?);
        params.build().map_err(broken)
    }

    /// Makes the PHC string of `input` with a new salt.
    pub fn hash(&self, input: &str, memory: &mut Memory) -> Result<String, HashError> {
        let mut salt = [0; SALT];
        self.rng.fill(&mut salt);
        let pepper = self.keys.pepper();
        let params = self.params(&pepper)?;
        let output = compute(&params, &pepper, input, &salt, memory)?;
        encode(&params, &salt, &output)
    }

    pub fn verify(&self, input: &str, phc: &str, memory: &mut Memory) -> Result<Verdict, HashError> {
        let (params, stored) = Self::read(phc)?;
        let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
            return Err(broken("the stored verifier is cut short"));
        };
        let pepper = self.pepper_in(&params)?;
        let output = compute(&params, &pepper, input, &salt, memory)?;
        if !bool::from(output.ct_eq(expected.as_bytes())) {
            return Ok(Verdict::Wrong);
        }
        let today = (params.m_cost(), params.t_cost(), params.p_cost()) == (self.cost.memory_kib, self.cost.iterations, 1);
        Ok(if today && pepper.is_current { Verdict::Right } else { Verdict::RightButOutdated })
    }

    /// Whether `phc` is a verifier that this could check.
    pub fn check(&self, phc: &str) -> Result<(), HashError> {
        let (params, stored) = Self::read(phc)?;
        let salted = stored.salt.is_some_and(|salt| salt.len() >= MIN_SALT_LEN);
        let hashed = stored.hash.is_some_and(|hash| hash.as_bytes().len() == OUTPUT);
        if !(salted && hashed) {
            return Err(broken("the stored verifier's salt or hash is of a wrong length"));
        }
        self.pepper_in(&params).map(drop)
    }

    fn pepper_in(&self, params: &Params) -> Result<Pepper, HashError> {
        self.keys.pepper_named(params.keyid()).ok_or_else(|| broken("the stored verifier was made under another master key"))
    }

    /// The name of the pepper in `phc`, whether its key is known or not.
    pub fn pepper_name(&self, phc: &str) -> Option<PepperName> {
        let (params, _) = Self::read(phc).ok()?;
        match params.keyid() {
            [] => self.keys.pepper_named(&[]).map(|pepper| pepper.name),
            name => name.try_into().ok(),
        }
    }

    fn read(phc: &str) -> Result<(Params, PasswordHash), HashError> {
        let stored = read_phc(phc)?;
        if stored.algorithm.as_str() != Algorithm::Argon2id.as_str() || stored.version != Some(Version::V0x13.into()) {
            return Err(broken("the stored verifier is not Argon2id version 19"));
        }
        let params = Params::try_from(&stored).map_err(broken)?;
        if is_bearable(&params) {
            Ok((params, stored))
        } else {
            Err(broken("the stored verifier's cost is above 1 GiB or 100 iterations"))
        }
    }

    /// A verifier of today's cost that no known password fits.
    pub fn decoy(&self) -> String {
        let mut random = [0; SALT + OUTPUT];
        self.rng.fill(&mut random);
        let (salt, output) = random.split_at(SALT);
        let encoded = self.params(&self.keys.pepper()).and_then(|params| encode(&params, salt, output));
        encoded.expect("the cost is known, and salt and output have the lengths that a PHC string takes")
    }
}

fn is_bearable(params: &Params) -> bool {
    Cost::MEMORY_KIB.contains(&params.m_cost()) && Cost::ITERATIONS.contains(&params.t_cost())
}

/// Reads a PHC string. One that names a parameter twice is none, though the crate takes it: which of the two holds is anybody's guess.
pub(crate) fn read_phc(phc: &str) -> Result<PasswordHash, HashError> {
    let hash = PasswordHash::new(phc).map_err(broken)?;
    let mut names: Vec<_> = hash.params.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(broken("a parameter is named twice")) } else { Ok(hash) }
}

fn compute(params: &Params, pepper: &Pepper, input: &str, salt: &[u8], memory: &mut Memory) -> Result<[u8; OUTPUT], HashError> {
    let secret = pepper.secret.expose_secret();
    let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
    let mut output = [0; OUTPUT];
    Inputs { algorithm, version, params, secret, password: input.as_bytes(), salt }.hash_into(&mut output, memory)?;
    Ok(output)
}

fn encode(params: &Params, salt: &[u8], output: &[u8]) -> Result<String, HashError> {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: params.try_into().map_err(broken)?,
        salt: Some(Salt::new(salt).map_err(broken)?),
        hash: Some(Output::new(output).map_err(broken)?),
    };
    Ok(hash.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(crate) fn broken(error: impl ToString) -> HashError {
    HashError::Broken(error.to_string())
}
