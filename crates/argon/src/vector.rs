//! Argon2id of version 19 with one lane (RFC 9106), its memory filled by the processor's vector instructions.
//!
//! The compression is written in intrinsics, which the functions of `pulp`'s tokens call safely: who holds a token has asked the
//! processor for its instructions.

mod avx2;
mod avx512;
mod fill;

use std::io;

use argon2::Block;
use blake2::{Blake2b256, Blake2b512, Digest};
use bytemuck::Pod;
use memmap2::MmapMut;
use zeroize::Zeroizing;

use crate::raw::{Inputs, OUTPUT};

/// How many 64-bit words a block has.
const WORDS: usize = Block::SIZE / 8;

/// How large a huge page is on this architecture, in bytes.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// A processor's vectors.
pub(crate) trait Vector: Copy {
    /// A block of 1 KiB, in registers or in memory.
    type Block: Pod;

    /// Where the word with this number stands in a block.
    fn place(word: usize) -> usize;

    /// Argon2's compression function, whose result takes the place of `block`, or is laid over it by exclusive or.
    fn compress<const OVER: bool>(self, previous: &Self::Block, reference: &Self::Block, block: &mut Self::Block);

    /// Fills the memory behind its first two blocks, by code that is compiled for these vectors.
    fn fill(self, blocks: &mut [Self::Block], passes: u32);
}

/// Memory outside the heap, in huge pages where the system gives them: references into it are random, and would each miss the TLB.
///
/// It takes room when it is first written to, and keeps it.
#[derive(Default)]
pub(crate) struct Area(Option<MmapMut>);

impl Area {
    fn blocks<B: Pod>(&mut self, count: usize) -> io::Result<&mut [B]> {
        let needed = count * size_of::<B>();
        let map = match self.0.take() {
            Some(map) if map.len() >= needed => map,
            _ => map(needed)?,
        };
        Ok(bytemuck::cast_slice_mut(&mut self.0.insert(map)[..needed]))
    }
}

/// Maps at least so many bytes. Linux begins a mapping at a huge page only when it is whole huge pages long.
fn map(bytes: usize) -> io::Result<MmapMut> {
    let map = MmapMut::map_anon(bytes.next_multiple_of(HUGE_PAGE))?;
    // A kernel that was built without huge pages refuses, and gives small ones.
    #[cfg(target_os = "linux")]
    drop(map.advise(memmap2::Advice::HugePage));
    Ok(map)
}

/// Fills `output` with the hash of `inputs`, which must be of the kind that the module knows.
pub(crate) fn hash<V: Vector>(vector: V, inputs: &Inputs, output: &mut [u8; OUTPUT], area: &mut Area) -> io::Result<()> {
    let blocks = area.blocks::<V::Block>(inputs.params.block_count())?;
    let seed = seed(inputs);
    for (number, block) in (0..).zip(&mut blocks[..2]) {
        write::<V>(block, &expand(&seed, number));
    }
    vector.fill(blocks, inputs.params.t_cost());
    let last = read::<V>(&blocks[blocks.len() - 1]);
    *output = Blake2b256::new().chain_update(le32(OUTPUT)).chain_update(last.as_slice()).finalize().into();
    Ok(())
}

/// What RFC 9106 calls `H_0`.
fn seed(inputs: &Inputs) -> Zeroizing<[u8; 64]> {
    let params = inputs.params;
    let mut hash = Blake2b512::new();
    hash.update(le32(1));
    hash.update(le32(OUTPUT));
    for number in [params.m_cost(), params.t_cost(), inputs.version as u32, inputs.algorithm as u32] {
        hash.update(number.to_le_bytes());
    }
    for part in [inputs.password, inputs.salt, inputs.secret, params.data()] {
        hash.update(le32(part.len()));
        hash.update(part);
    }
    Zeroizing::new(hash.finalize().into())
}

/// One of the first two blocks: what RFC 9106 calls `H'`, 1024 bytes long.
fn expand(seed: &[u8; 64], number: u32) -> Zeroizing<[u8; Block::SIZE]> {
    let first = Blake2b512::new().chain_update(le32(Block::SIZE)).chain_update(seed);
    let first = first.chain_update(number.to_le_bytes()).chain_update(le32(0)).finalize();
    let mut link = Zeroizing::new(<[u8; 64]>::from(first));
    let mut bytes = Zeroizing::new([0; Block::SIZE]);
    // Each link of the chain gives its first half; the last one is given whole.
    let (halves, whole) = bytes.split_at_mut(Block::SIZE - 64);
    for half in halves.chunks_exact_mut(32) {
        half.copy_from_slice(&link[..32]);
        *link = Blake2b512::digest(*link).into();
    }
    whole.copy_from_slice(&*link);
    bytes
}

fn write<V: Vector>(block: &mut V::Block, bytes: &[u8; Block::SIZE]) {
    let words: &mut [u64; WORDS] = bytemuck::cast_mut(block);
    for (number, word) in bytes.as_chunks().0.iter().enumerate() {
        words[V::place(number)] = u64::from_le_bytes(*word);
    }
}

fn read<V: Vector>(block: &V::Block) -> Zeroizing<[u8; Block::SIZE]> {
    let mut bytes = Zeroizing::new([0; Block::SIZE]);
    for (number, word) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
        *word = self::word::<V>(block, number).to_le_bytes();
    }
    bytes
}

#[inline(always)]
fn word<V: Vector>(block: &V::Block, number: usize) -> u64 {
    let words: &[u64; WORDS] = bytemuck::cast_ref(block);
    words[V::place(number)]
}

/// A length as Argon2 hashes it. Everything here is far shorter than 4 GiB.
#[expect(
    clippy::cast_possible_truncation,
    reason = "passwords, salts and secrets come from bounded requests and stored verifiers"
)]
fn le32(length: usize) -> [u8; 4] {
    (length as u32).to_le_bytes()
}
