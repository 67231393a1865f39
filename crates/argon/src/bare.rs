//! Hashing without everything around it.

use account::HashError;
use argon2::{Algorithm, Params, ParamsBuilder, Version};

use crate::argon2id::{Cost, CostError};
use crate::raw::{Inputs, Kernel, Memory, OUTPUT};

/// Hashes on the thread that calls it, as one of the [`Hasher`](crate::Hasher)'s threads does, with memory that it reuses. It is there to
/// measure how many hashes a second a processor makes.
pub struct Bare {
    params: Params,
    memory: Memory,
}

impl Bare {
    /// Makes ready for hashes of this cost; the hasher's choice among the kernels is [`Kernel::default`]. The memory is allocated by the
    /// first hash.
    ///
    /// # Errors
    /// [`CostError`] when Argon2 knows no such cost.
    pub fn new(cost: Cost, kernel: Kernel) -> Result<Self, CostError> {
        let mut params = ParamsBuilder::new();
        params.m_cost(cost.memory_kib).t_cost(cost.iterations).p_cost(1).output_len(OUTPUT);
        let params = params.build().map_err(|_| CostError(cost))?;
        Ok(Self { params, memory: Memory::of(kernel) })
    }

    /// Computes one hash, as it stands in a verifier.
    ///
    /// # Errors
    /// [`HashError::Broken`] when the salt is shorter than 8 bytes, or the system gives no memory.
    pub fn hash(&mut self, secret: &[u8], password: &[u8], salt: &[u8]) -> Result<[u8; OUTPUT], HashError> {
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let mut output = [0; OUTPUT];
        Inputs { algorithm, version, params: &self.params, secret, password, salt }.hash_into(&mut output, &mut self.memory)?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_makes_the_same_hash() {
        let cost = Cost { memory_kib: 256, iterations: 2 };
        let hash = |kernel| Bare::new(cost, kernel).unwrap().hash(b"pepper", b"password", b"a salt of some length").unwrap();
        let hashes: Vec<_> = Kernel::available().into_iter().map(hash).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:x?}");
    }

    #[test]
    fn what_argon2_does_not_know_is_refused() {
        assert!(Bare::new(Cost { memory_kib: 7, iterations: 1 }, Kernel::default()).is_err());
        let mut bare = Bare::new(Cost { memory_kib: 8, iterations: 1 }, Kernel::default()).unwrap();
        assert!(bare.hash(b"", b"", b"short").is_err());
    }
}
