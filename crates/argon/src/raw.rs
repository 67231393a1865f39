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

#[cfg(test)]
mod tests {
    use argon2::{AssociatedData, KeyId, ParamsBuilder};
    use proptest::prelude::*;

    use super::*;

    /// Everything that goes into a hash, owned.
    #[derive(Debug, Clone)]
    struct Case {
        algorithm: Algorithm,
        version: Version,
        memory_kib: u32,
        iterations: u32,
        lanes: u32,
        output: usize,
        keyid: Vec<u8>,
        data: Vec<u8>,
        secret: Vec<u8>,
        password: Vec<u8>,
        salt: Vec<u8>,
    }

    /// One of the kind that the vector kernels know.
    fn own(memory_kib: u32, iterations: u32) -> Case {
        Case {
            algorithm: Algorithm::Argon2id,
            version: Version::V0x13,
            memory_kib,
            iterations,
            lanes: 1,
            output: OUTPUT,
            keyid: vec![],
            data: vec![],
            secret: vec![3; 8],
            password: vec![1; 32],
            salt: vec![2; 16],
        }
    }

    impl Case {
        fn params(&self) -> Params {
            let mut params = ParamsBuilder::new();
            params.m_cost(self.memory_kib).t_cost(self.iterations).p_cost(self.lanes).output_len(self.output);
            params.keyid(KeyId::new(&self.keyid).unwrap()).data(AssociatedData::new(&self.data).unwrap());
            params.build().unwrap()
        }

        fn hash(&self, memory: &mut Memory) -> String {
            let mut output = vec![0; self.output];
            let inputs = Inputs {
                algorithm: self.algorithm,
                version: self.version,
                params: &self.params(),
                secret: &self.secret,
                password: &self.password,
                salt: &self.salt,
            };
            inputs.hash_into(&mut output, memory).unwrap();
            hex::encode(output)
        }

        /// What the crate `argon2` makes of it, called here by itself.
        fn expected(&self) -> String {
            let mut output = vec![0; self.output];
            let argon2 = Argon2::new_with_secret(&self.secret, self.algorithm, self.version, self.params()).unwrap();
            argon2.hash_password_into(&self.password, &self.salt, &mut output).unwrap();
            hex::encode(output)
        }
    }

    fn each_kernel(mut check: impl FnMut(&mut Memory, &str)) {
        for kernel in Kernel::available() {
            check(&mut Memory::of(kernel), kernel.name());
        }
    }

    fn any_bytes(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), lengths)
    }

    prop_compose! {
        fn any_own()(
            (memory_kib, iterations) in (8..1200u32, 1..5u32),
            (keyid, data) in (any_bytes(0..9), any_bytes(0..33)),
            (secret, password, salt) in (any_bytes(0..65), any_bytes(0..300), any_bytes(8..65)),
        ) -> Case {
            Case { keyid, data, secret, password, salt, ..own(memory_kib, iterations) }
        }
    }

    prop_compose! {
        fn any_kind()(
            case in any_own(),
            algorithm in prop::sample::select(vec![Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id]),
            version in prop::sample::select(vec![Version::V0x10, Version::V0x13]),
            (lanes, output) in (1..4u32, 4..100usize),
        ) -> Case {
            Case { algorithm, version, lanes, output, memory_kib: case.memory_kib.max(8 * lanes), ..case }
        }
    }

    proptest! {
        #[test]
        fn hashes_are_those_of_the_crate(case in any_own()) {
            let expected = case.expected();
            each_kernel(|memory, kernel| assert_eq!(case.hash(memory), expected, "{kernel}"));
        }

        #[test]
        fn hashes_of_other_kinds_are_those_of_the_crate(case in any_kind()) {
            let expected = case.expected();
            each_kernel(|memory, kernel| assert_eq!(case.hash(memory), expected, "{kernel}"));
        }

        #[test]
        fn what_another_hash_left_behind_does_not_matter(cases in proptest::collection::vec(any_kind(), 2..5)) {
            let expected: Vec<_> = cases.iter().map(Case::expected).collect();
            each_kernel(|memory, kernel| {
                let hashes: Vec<_> = cases.iter().map(|case| case.hash(memory)).collect();
                assert_eq!(hashes, expected, "{kernel}");
            });
        }

        #[test]
        fn the_name_of_the_pepper_does_not_matter(case in any_own()) {
            each_kernel(|memory, kernel| {
                let unnamed = Case { keyid: vec![], ..case.clone() };
                assert_eq!(case.hash(memory), unnamed.hash(memory), "{kernel}");
            });
        }
    }

    #[test]
    fn the_smallest_memories_and_those_that_are_no_multiple_of_four() {
        for memory_kib in (8..40).chain([511, 512, 513, 514, 515, 516, 1023, 1027]) {
            for iterations in 1..4 {
                let case = own(memory_kib, iterations);
                let expected = case.expected();
                each_kernel(|memory, kernel| assert_eq!(case.hash(memory), expected, "{kernel}: {case:?}"));
            }
        }
    }

    #[test]
    fn the_cost_of_a_server() {
        let case = own(19456, 2);
        let expected = case.expected();
        each_kernel(|memory, kernel| assert_eq!(case.hash(memory), expected, "{kernel}"));
    }

    /// RFC 9106, section 5.3.
    #[test]
    fn the_vector_of_the_rfc() {
        let case = Case { lanes: 4, data: vec![4; 12], ..own(32, 3) };
        each_kernel(|memory, kernel| {
            let hash = case.hash(memory);
            assert_eq!(hash, "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659", "{kernel}");
        });
    }

    /// From the tests of the reference implementation, which calls one lane with 64 MiB its default.
    #[test]
    fn a_vector_of_the_reference_implementation() {
        let case = Case { secret: vec![], password: b"password".to_vec(), salt: b"somesalt".to_vec(), ..own(65536, 2) };
        each_kernel(|memory, kernel| {
            let hash = case.hash(memory);
            assert_eq!(hash, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7", "{kernel}");
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_vector_kernels_are_in_use() {
        let known = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi2");
        assert_eq!(Kernel::available().len() > 1, known, "{:?}", Kernel::available());
        let mut memory = Memory::default();
        own(8, 1).hash(&mut memory);
        assert_eq!(
            memory.blocks.is_empty(),
            known,
            "memory of the fallback is used when it is not needed, or the other way round"
        );
    }
}
