//! The compression with AVX2: two rows, then two columns of the block at a time, in eight of the sixteen registers.

use std::arch::x86_64::{__m256i, _MM_HINT_T0};

use pulp::x86::V3;

use super::Vector;
use super::fill::Fill;

/// Two registers that are worked on side by side.
type Pair = [__m256i; 2];

impl Vector for V3 {
    type Block = [__m256i; 32];

    fn place(word: usize) -> usize {
        word
    }

    #[expect(clippy::needless_range_loop, reason = "iterators over the rows copy them")]
    #[inline(always)]
    fn compress<const OVER: bool>(self, previous: &Self::Block, reference: &Self::Block, block: &mut Self::Block) {
        prefetch(self, reference);
        let rows = [
            mixed_rows(self, two_rows(self, previous, reference, 0)),
            mixed_rows(self, two_rows(self, previous, reference, 8)),
            mixed_rows(self, two_rows(self, previous, reference, 16)),
            mixed_rows(self, two_rows(self, previous, reference, 24)),
        ];
        for first in 0..4 {
            let columns = mixed_columns(self, [rows[0][first], rows[1][first], rows[2][first], rows[3][first]]);
            for (part, [one, other]) in columns.into_iter().enumerate() {
                for (number, column) in [(first + 8 * part, one), (first + 8 * part + 4, other)] {
                    let result = xor(self, column, xor(self, previous[number], reference[number]));
                    block[number] = if OVER { xor(self, block[number], result) } else { result };
                }
            }
        }
    }

    fn fill(self, blocks: &mut [Self::Block], passes: u32) {
        self.vectorize(Fill { vector: self, blocks, passes });
    }
}

/// Asks for the whole block before its first part is used: it is far away as a rule, and more than the processor looks ahead.
#[inline(always)]
fn prefetch(simd: V3, block: &[__m256i; 32]) {
    for line in block.as_chunks::<2>().0 {
        simd.sse._mm_prefetch::<_MM_HINT_T0>((&raw const *line).cast());
    }
}

/// The exclusive or of both blocks in two rows, the registers from `first` on.
#[inline(always)]
fn two_rows(simd: V3, previous: &[__m256i; 32], reference: &[__m256i; 32], first: usize) -> [Pair; 4] {
    let mut rows = [0, 1, 2, 3].map(|part| [previous[first + part], previous[first + part + 4]]);
    for (part, [one, other]) in rows.iter_mut().enumerate() {
        *one = xor(simd, *one, reference[first + part]);
        *other = xor(simd, *other, reference[first + part + 4]);
    }
    rows
}

/// The permutation of RFC 9106 on two rows, whose words 0 to 3 are in `a`, and so on. For the diagonals, `b` stays where it is.
#[inline(always)]
fn mixed_rows(simd: V3, rows: [Pair; 4]) -> [Pair; 4] {
    const LEFT: i32 = 0b00_11_10_01;
    const ACROSS: i32 = 0b01_00_11_10;
    const RIGHT: i32 = 0b10_01_00_11;
    let [a, b, c, d] = mixed(simd, rows);
    let diagonals = [turned::<RIGHT>(simd, a), b, turned::<LEFT>(simd, c), turned::<ACROSS>(simd, d)];
    let [a, b, c, d] = mixed(simd, diagonals);
    [turned::<LEFT>(simd, a), b, turned::<RIGHT>(simd, c), turned::<ACROSS>(simd, d)]
}

#[inline(always)]
fn turned<const BY: i32>(simd: V3, [x, y]: Pair) -> Pair {
    [simd.avx2._mm256_permute4x64_epi64::<BY>(x), simd.avx2._mm256_permute4x64_epi64::<BY>(y)]
}

/// The permutation of RFC 9106 on two columns. The first register of `a` holds words 0 and 1 of both, the second one their words 2 and 3.
#[inline(always)]
fn mixed_columns(simd: V3, columns: [Pair; 4]) -> [Pair; 4] {
    let [a, b, c, d] = mixed(simd, columns);
    let diagonals = [right(simd, a), b, left(simd, c), [d[1], d[0]]];
    let [a, b, c, d] = mixed(simd, diagonals);
    [left(simd, a), b, right(simd, c), [d[1], d[0]]]
}

/// Turns both columns' four words by one.
#[inline(always)]
fn left(simd: V3, [x, y]: Pair) -> Pair {
    [simd.avx2._mm256_alignr_epi8::<8>(y, x), simd.avx2._mm256_alignr_epi8::<8>(x, y)]
}

#[inline(always)]
fn right(simd: V3, [x, y]: Pair) -> Pair {
    [simd.avx2._mm256_alignr_epi8::<8>(x, y), simd.avx2._mm256_alignr_epi8::<8>(y, x)]
}

/// What RFC 9106 calls `GB`, on eight times four words. Rotations by whole bytes are shuffles.
#[inline(always)]
fn mixed(simd: V3, [a, b, c, d]: [Pair; 4]) -> [Pair; 4] {
    let by_24 = [3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10];
    let by_16 = [2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9];
    let a = added(simd, a, b);
    let d = both(simd, d, a, |x| simd.avx2._mm256_shuffle_epi32::<0b10_11_00_01>(x));
    let c = added(simd, c, d);
    let b = both(simd, b, c, |x| shuffled(simd, x, by_24));
    let a = added(simd, a, b);
    let d = both(simd, d, a, |x| shuffled(simd, x, by_16));
    let c = added(simd, c, d);
    let b =
        both(simd, b, c, |x| simd.avx2._mm256_xor_si256(simd.avx2._mm256_srli_epi64::<63>(x), simd.avx2._mm256_add_epi64(x, x)));
    [a, b, c, d]
}

/// The sum and twice the product of the lower halves.
#[inline(always)]
fn added(simd: V3, x: Pair, y: Pair) -> Pair {
    let one = |x, y| {
        let product = simd.avx2._mm256_mul_epu32(x, y);
        simd.avx2._mm256_add_epi64(simd.avx2._mm256_add_epi64(x, y), simd.avx2._mm256_add_epi64(product, product))
    };
    [one(x[0], y[0]), one(x[1], y[1])]
}

/// The exclusive or, rotated.
#[inline(always)]
fn both(simd: V3, x: Pair, y: Pair, rotate: impl Fn(__m256i) -> __m256i) -> Pair {
    [rotate(xor(simd, x[0], y[0])), rotate(xor(simd, x[1], y[1]))]
}

#[inline(always)]
fn xor(simd: V3, x: __m256i, y: __m256i) -> __m256i {
    simd.avx2._mm256_xor_si256(x, y)
}

/// The bytes of both halves in the order `by`.
#[inline(always)]
fn shuffled(simd: V3, x: __m256i, by: [u8; 16]) -> __m256i {
    simd.avx2._mm256_shuffle_epi8(x, bytemuck::must_cast([by, by]))
}
