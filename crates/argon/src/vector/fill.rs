//! How Argon2id fills its memory: each block from the one before it and from one that their content, or a counter, points to.

use bytemuck::Zeroable;
use pulp::NullaryFnOnce;

use super::{Vector, WORDS, word};

/// How many segments each pass over the memory has.
const SEGMENTS: usize = 4;

/// How many blocks take so long, about a tenth of a millisecond, that others should not have to wait for more.
const LONG: usize = 1024;

/// The number of Argon2id among the variants.
const ARGON2ID: u64 = 2;

/// The whole work. It is a type because `pulp` compiles a type's function for the vectors, and everything that is inlined into it.
pub(super) struct Fill<'a, V: Vector> {
    pub vector: V,
    pub blocks: &'a mut [V::Block],
    pub passes: u32,
}

impl<V: Vector> NullaryFnOnce for Fill<'_, V> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { vector, blocks, passes } = self;
        for pass in 0..passes {
            for number in 0..SEGMENTS {
                let segment = Segment { number, first_pass: pass == 0, lane: blocks.len(), passes };
                match (segment.first_pass, number) {
                    (true, 0 | 1) => by_counter(vector, blocks, segment),
                    (true, _) => by_content::<V, false>(vector, blocks, segment),
                    (false, _) => by_content::<V, true>(vector, blocks, segment),
                }
                if segment.len() >= LONG {
                    // Whoever waits for this processor meanwhile goes first: nobody is to wait for the end of a slice behind hashing.
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// A quarter of a pass.
#[derive(Clone, Copy)]
struct Segment {
    number: usize,
    first_pass: bool,
    /// How many blocks the whole memory has.
    lane: usize,
    passes: u32,
}

impl Segment {
    #[inline(always)]
    fn len(self) -> usize {
        self.lane / SEGMENTS
    }

    /// The block that the segment begins with.
    #[inline(always)]
    fn start(self) -> usize {
        self.number * self.len()
    }

    /// Which block `random` points to from the block at `offset` in this segment: one of those that are written already, but for the
    /// previous one; the recent ones are likelier.
    #[inline(always)]
    fn reference(self, offset: usize, random: u64) -> usize {
        let (oldest, finished) =
            if self.first_pass { (0, self.start()) } else { (self.start() + self.len(), self.lane - self.len()) };
        let eligible = finished + offset - 1;
        let square = (random & u64::from(u32::MAX)).pow(2) >> 32;
        let back = ((eligible as u64 * square) >> 32) as usize;
        let position = oldest + eligible - 1 - back;
        // `oldest` is at most the memory's end, and `eligible` less than its length.
        if position >= self.lane { position - self.lane } else { position }
    }

    /// What the blocks of a segment that do not depend on content refer to, in parts of as many as a block has words.
    #[inline(always)]
    fn pointers<V: Vector>(self, vector: V, part: usize) -> V::Block {
        let mut input = V::Block::zeroed();
        let words: &mut [u64; WORDS] = bytemuck::cast_mut(&mut input);
        let numbers = [0, 0, self.number as u64, self.lane as u64, u64::from(self.passes), ARGON2ID, part as u64 + 1];
        for (place, number) in numbers.into_iter().enumerate() {
            words[V::place(place)] = number;
        }
        let (zero, mut once, mut twice) = (V::Block::zeroed(), V::Block::zeroed(), V::Block::zeroed());
        vector.compress::<false>(&zero, &input, &mut once);
        vector.compress::<false>(&zero, &once, &mut twice);
        twice
    }
}

/// Fills a segment of the first half of the first pass, where no content decides what is read, so that caches tell nothing of it.
#[inline(always)]
fn by_counter<V: Vector>(vector: V, blocks: &mut [V::Block], segment: Segment) {
    // The first two blocks are there.
    let first = if segment.number == 0 { 2 } else { 0 };
    let mut pointers = V::Block::zeroed();
    for offset in first..segment.len() {
        let place = offset % WORDS;
        if place == 0 || offset == first {
            pointers = segment.pointers(vector, offset / WORDS);
        }
        let reference = segment.reference(offset, word::<V>(&pointers, place));
        let current = segment.start() + offset;
        write::<V, false>(vector, blocks, current, current - 1, reference);
    }
}

/// Fills a segment in which each block's first word points to what the next one refers to.
#[inline(always)]
fn by_content<V: Vector, const OVER: bool>(vector: V, blocks: &mut [V::Block], segment: Segment) {
    let mut previous = if segment.number == 0 { segment.lane - 1 } else { segment.start() - 1 };
    for offset in 0..segment.len() {
        let reference = segment.reference(offset, word::<V>(&blocks[previous], 0));
        let current = segment.start() + offset;
        write::<V, OVER>(vector, blocks, current, previous, reference);
        previous = current;
    }
}

/// Writes one block, in place of what is there or over it.
///
/// All three are looked up before anything is computed: a bounds check behind the computation makes the compiler reorder it, so that it
/// takes half as long again.
#[inline(always)]
fn write<V: Vector, const OVER: bool>(vector: V, blocks: &mut [V::Block], current: usize, previous: usize, reference: usize) {
    let three = blocks.get_disjoint_mut([current, previous, reference]);
    let [block, previous, reference] = three.expect("a block refers to older ones than the previous one");
    vector.compress::<OVER>(previous, reference, block);
}
