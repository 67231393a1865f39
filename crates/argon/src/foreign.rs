//! Verifiers from elsewhere: checked as they came, until their owners' next login renews them.

use account::HashError;
use argon2::{Algorithm, Argon2, MIN_SALT_LEN, Params, Version};
use base64::Engine as _;
use bcrypt::BASE_64;
use phc::PasswordHash;
use subtle::ConstantTimeEq;

use crate::argon2id::{Memory, broken};

/// How long bcrypt's output is, encoded.
const BCRYPT_OUTPUT: usize = 31;

/// The most that a verifier from elsewhere may cost: whoever checks it holds a hashing thread for so long.
const MOST_BCRYPT: u32 = 14;
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_ITERATIONS: u32 = 16;
const MOST_LANES: u32 = 16;

/// Checks that `hash` is one of bcrypt, of a bearable cost.
pub(crate) fn check_bcrypt(hash: &str) -> Result<(), HashError> {
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

/// Reads an Argon2 hash of a bearable cost.
pub(crate) fn read_argon2(phc: &str) -> Result<(Argon2<'static>, PasswordHash), HashError> {
    let hash = PasswordHash::new(phc).map_err(broken)?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(broken)?;
    let version = hash.version.map_or(Ok(Version::V0x10), Version::try_from).map_err(broken)?;
    let params = Params::try_from(&hash).map_err(broken)?;
    if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_ITERATIONS || params.p_cost() > MOST_LANES {
        return Err(broken("Argon2's cost is above 256 MiB, 16 iterations or 16 lanes"));
    }
    if hash.salt.is_none_or(|salt| salt.len() < MIN_SALT_LEN) || hash.hash.is_none() {
        return Err(broken("the Argon2 hash is cut short"));
    }
    Ok((Argon2::new(algorithm, version, params), hash))
}

/// Whether `input` is what the Argon2 hash was made of.
pub(crate) fn verify_argon2(input: &str, phc: &str, memory: &mut Memory) -> Result<bool, HashError> {
    let (argon2, hash) = read_argon2(phc)?;
    let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Err(broken("the Argon2 hash is cut short")) };
    let mut output = vec![0; expected.as_bytes().len()];
    let blocks = memory.blocks(argon2.params().block_count());
    argon2.hash_password_into_with_memory(input.as_bytes(), &salt, &mut output, blocks).map_err(broken)?;
    Ok(output.ct_eq(expected.as_bytes()).into())
}
