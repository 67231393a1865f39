//! Verifiers from elsewhere: checked as they came, until their owners' next login renews them.

use account::HashError;
use argon2::{Algorithm, MIN_SALT_LEN, Params, Version};
use base64::Engine as _;
use bcrypt::BASE_64;
use phc::{Output, Salt};
use subtle::ConstantTimeEq;

use crate::argon2id::{broken, read_phc};
use crate::raw::{Inputs, Memory};

/// How long bcrypt's output is, encoded.
const BCRYPT_OUTPUT: usize = 31;

/// The most that a verifier from elsewhere may cost: whoever checks it holds a hashing thread for so long.
const MOST_BCRYPT: u32 = 14;
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_ITERATIONS: u32 = 16;
const MOST_LANES: u32 = 16;

/// Checks that `hash` is one of bcrypt, of a bearable cost.
pub(crate) fn check_bcrypt(hash: &str) -> Result<(), HashError> {
    // The crate counts characters where it means bytes.
    if !hash.is_ascii() {
        return Err(broken("bcrypt's hashes are ASCII"));
    }
    let parts: bcrypt::HashParts = hash.parse().map_err(broken)?;
    let salt = parts.get_salt();
    let output = &hash[hash.len() - BCRYPT_OUTPUT..];
    for part in [&salt, output] {
        BASE_64.decode(part).map_err(|_| broken("bcrypt's salt or output is not in its base64"))?;
    }
    if (4..=MOST_BCRYPT).contains(&parts.get_cost()) { Ok(()) } else { Err(broken("bcrypt's cost must be 4 to 14")) }
}

/// Whether `input` is what the bcrypt hash was made of.
pub(crate) fn verify_bcrypt(input: &str, hash: &str) -> Result<bool, HashError> {
    check_bcrypt(hash)?;
    bcrypt::verify(input, hash).map_err(broken)
}

/// An Argon2 hash of a bearable cost.
pub(crate) struct Argon2Hash {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Salt,
    output: Output,
}

pub(crate) fn read_argon2(phc: &str) -> Result<Argon2Hash, HashError> {
    let hash = read_phc(phc)?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(broken)?;
    let version = hash.version.map_or(Ok(Version::V0x10), Version::try_from).map_err(broken)?;
    let params = Params::try_from(&hash).map_err(broken)?;
    if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_ITERATIONS || params.p_cost() > MOST_LANES {
        return Err(broken("Argon2's cost is above 256 MiB, 16 iterations or 16 lanes"));
    }
    match (hash.salt, hash.hash) {
        (Some(salt), Some(output)) if salt.len() >= MIN_SALT_LEN => Ok(Argon2Hash { algorithm, version, params, salt, output }),
        _ => Err(broken("the Argon2 hash is cut short")),
    }
}

/// Whether `input` is what the Argon2 hash was made of.
pub(crate) fn verify_argon2(input: &str, phc: &str, memory: &mut Memory) -> Result<bool, HashError> {
    let Argon2Hash { algorithm, version, params, salt, output: expected } = read_argon2(phc)?;
    let mut output = vec![0; expected.len()];
    let inputs = Inputs { algorithm, version, params: &params, secret: &[], password: input.as_bytes(), salt: &salt };
    inputs.hash_into(&mut output, memory)?;
    Ok(output.ct_eq(expected.as_bytes()).into())
}
