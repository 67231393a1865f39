//! One Argon2 hash without its encoding, on whatever computes it fastest.

use account::HashError;
use argon2::{Algorithm, Argon2, Block, MIN_SALT_LEN, Params, Version};

use crate::argon2id::broken;
#[cfg(target_arch = "x86_64")]
use crate::vector::{self, Area};

/// The length of the hashes that this server makes, in bytes.
pub(crate) const OUTPUT: usize = 32;

/// What computes a hash.
#[derive(Debug, Clone, Copy)]
pub struct Kernel(Choice);

#[derive(Debug, Clone, Copy)]
enum Choice {
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// The crate `argon2`.
    Portable,
}

impl Kernel {
    /// Those that work on this processor, the fastest first. The last one works everywhere.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let choices = [
            #[cfg(target_arch = "x86_64")]
            pulp::x86::V4::try_new().map(Choice::Avx512),
            #[cfg(target_arch = "x86_64")]
            pulp::x86::V3::try_new().map(Choice::Avx2),
            Some(Choice::Portable),
        ];
        choices.into_iter().flatten().map(Self).collect()
    }

    /// What to call it in front of an operator.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Choice::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Choice::Avx2(_) => "AVX2",
            Choice::Portable => "portable",
        }
    }
}

/// The fastest one that works on this processor.
impl Default for Kernel {
    fn default() -> Self {
        Self::available()[0]
    }
}

/// What a thread hashes with: a kernel, and memory that grows to the largest hash that it made.
#[derive(Default)]
pub(crate) struct Memory {
    kernel: Kernel,
    #[cfg(target_arch = "x86_64")]
    area: Area,
    blocks: Vec<Block>,
}

impl Memory {
    pub fn of(kernel: Kernel) -> Self {
        Self { kernel, ..Self::default() }
    }

    fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.blocks.len() < count {
            self.blocks.resize(count, Block::default());
        }
        &mut self.blocks[..count]
    }
}

/// What a hash is made of.
pub(crate) struct Inputs<'a> {
    pub algorithm: Algorithm,
    pub version: Version,
    pub params: &'a Params,
    pub secret: &'a [u8],
    pub password: &'a [u8],
    pub salt: &'a [u8],
}

impl Inputs<'_> {
    /// Fills `output` with the hash.
    pub fn hash_into(&self, output: &mut [u8], memory: &mut Memory) -> Result<(), HashError> {
        #[cfg(target_arch = "x86_64")]
        if let Some(output) = self.own_kind(output) {
            match memory.kernel.0 {
                Choice::Avx512(simd) => return vector::hash(simd, self, output, &mut memory.area).map_err(broken),
                Choice::Avx2(simd) => return vector::hash(simd, self, output, &mut memory.area).map_err(broken),
                Choice::Portable => {}
            }
        }
        self.hash_portably(output, memory)
    }

    /// `output`, if the hash is of the one kind that this server makes, which is all that the vector kernels know.
    #[cfg(target_arch = "x86_64")]
    fn own_kind<'o>(&self, output: &'o mut [u8]) -> Option<&'o mut [u8; OUTPUT]> {
        let known = matches!((self.algorithm, self.version), (Algorithm::Argon2id, Version::V0x13));
        let sound = self.params.p_cost() == 1 && self.salt.len() >= MIN_SALT_LEN;
        if known && sound { output.try_into().ok() } else { None }
    }

    fn hash_portably(&self, output: &mut [u8], memory: &mut Memory) -> Result<(), HashError> {
        let argon2 = Argon2::new_with_secret(self.secret, self.algorithm, self.version, self.params.clone()).map_err(broken)?;
        let blocks = memory.blocks(self.params.block_count());
        argon2.hash_password_into_with_memory(self.password, self.salt, output, blocks).map_err(broken)
    }
}
