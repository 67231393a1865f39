//! The compression with AVX-512: a whole block in sixteen of the thirty-two registers.
//!
//! A block is a matrix of eight by eight pairs of words, whose rows and then columns are mixed. Of two neighbouring rows `r` and `s`,
//! four registers hold a quarter of each: `r0..r3 s0..s3`, `r4..r7 s4..s7`, and so on. Rows are mixed between the four registers of
//! two rows, columns between the registers of all rows for the same quarter: neither takes words from one register to another. Blocks
//! stand in memory in this order, too, so that nothing is sorted when they are read and written.

use std::arch::x86_64::__m512i;

use pulp::core_arch::x86::Avx512f;
use pulp::x86::V4;

use super::Vector;
use super::fill::Fill;

/// Four registers that are worked on side by side, so that none waits for the other's result.
type Quad = [__m512i; 4];

impl Vector for V4 {
    type Block = [__m512i; 16];

    fn place(word: usize) -> usize {
        let (row, column) = (word / 16, word % 16);
        let register = row / 2 * 4 + column / 4;
        register * 8 + row % 2 * 4 + column % 4
    }

    #[inline(always)]
    fn compress<const OVER: bool>(self, previous: &Self::Block, reference: &Self::Block, block: &mut Self::Block) {
        let simd = self.avx512f;
        let mut state = *previous;
        for (state, reference) in state.iter_mut().zip(reference) {
            *state = simd._mm512_xor_si512(*state, *reference);
        }
        let columns = transposed(mixed_rows(simd, transposed(bytemuck::must_cast(state))));
        let state: Self::Block = bytemuck::must_cast(mixed_columns(simd, columns));
        for (number, block) in block.iter_mut().enumerate() {
            // 0x96 is the exclusive or of three.
            let result = simd._mm512_ternarylogic_epi64::<0x96>(state[number], previous[number], reference[number]);
            *block = if OVER { simd._mm512_xor_si512(*block, result) } else { result };
        }
    }

    fn fill(self, blocks: &mut [Self::Block], passes: u32) {
        self.vectorize(Fill { vector: self, blocks, passes });
    }
}

#[inline(always)]
fn transposed([a, b, c, d]: [Quad; 4]) -> [Quad; 4] {
    [[a[0], b[0], c[0], d[0]], [a[1], b[1], c[1], d[1]], [a[2], b[2], c[2], d[2]], [a[3], b[3], c[3], d[3]]]
}

/// The permutation of RFC 9106 on eight rows, whose words 0 to 3 are in `a`, 4 to 7 in `b`, and so on.
///
/// For the diagonals, `b` stays where it is: it is finished last, and the others' way is gone while it is computed.
#[inline(always)]
fn mixed_rows(simd: Avx512f, rows: [Quad; 4]) -> [Quad; 4] {
    const LEFT: i32 = 0b00_11_10_01;
    const ACROSS: i32 = 0b01_00_11_10;
    const RIGHT: i32 = 0b10_01_00_11;
    let [a, b, c, d] = mixed(simd, rows);
    let diagonals = [turned::<RIGHT>(simd, a), b, turned::<LEFT>(simd, c), turned::<ACROSS>(simd, d)];
    let [a, b, c, d] = mixed(simd, diagonals);
    [turned::<LEFT>(simd, a), b, turned::<RIGHT>(simd, c), turned::<ACROSS>(simd, d)]
}

/// Turns each half of the registers by itself.
#[inline(always)]
fn turned<const BY: i32>(simd: Avx512f, x: Quad) -> Quad {
    let one = |x| simd._mm512_permutex_epi64::<BY>(x);
    [one(x[0]), one(x[1]), one(x[2]), one(x[3])]
}

/// The permutation of RFC 9106 on eight columns. A register of `a` holds words 0 and 1 of two columns in its lower half, and their
/// words 2 and 3 in the upper one.
#[inline(always)]
fn mixed_columns(simd: Avx512f, columns: [Quad; 4]) -> [Quad; 4] {
    let left = simd._mm512_setr_epi64(1, 4, 3, 6, 5, 0, 7, 2);
    let across = simd._mm512_setr_epi64(4, 5, 6, 7, 0, 1, 2, 3);
    let right = simd._mm512_setr_epi64(5, 0, 7, 2, 1, 4, 3, 6);
    let [a, b, c, d] = mixed(simd, columns);
    let diagonals = [permuted(simd, right, a), b, permuted(simd, left, c), permuted(simd, across, d)];
    let [a, b, c, d] = mixed(simd, diagonals);
    [permuted(simd, left, a), b, permuted(simd, right, c), permuted(simd, across, d)]
}

#[inline(always)]
fn permuted(simd: Avx512f, by: __m512i, x: Quad) -> Quad {
    let one = |x| simd._mm512_permutexvar_epi64(by, x);
    [one(x[0]), one(x[1]), one(x[2]), one(x[3])]
}

/// What RFC 9106 calls `GB`, on thirty-two times four words.
#[inline(always)]
fn mixed(simd: Avx512f, [a, b, c, d]: [Quad; 4]) -> [Quad; 4] {
    let a = added(simd, a, b);
    let d = rotated::<32>(simd, d, a);
    let c = added(simd, c, d);
    let b = rotated::<24>(simd, b, c);
    let a = added(simd, a, b);
    let d = rotated::<16>(simd, d, a);
    let c = added(simd, c, d);
    let b = rotated::<63>(simd, b, c);
    [a, b, c, d]
}

/// The sum and twice the product of the lower halves.
#[inline(always)]
fn added(simd: Avx512f, x: Quad, y: Quad) -> Quad {
    let one = |x, y| {
        let product = simd._mm512_mul_epu32(x, y);
        simd._mm512_add_epi64(simd._mm512_add_epi64(x, y), simd._mm512_add_epi64(product, product))
    };
    [one(x[0], y[0]), one(x[1], y[1]), one(x[2], y[2]), one(x[3], y[3])]
}

/// The exclusive or, turned to the right.
#[inline(always)]
fn rotated<const BY: i32>(simd: Avx512f, x: Quad, y: Quad) -> Quad {
    let one = |x, y| simd._mm512_ror_epi64::<BY>(simd._mm512_xor_si512(x, y));
    [one(x[0], y[0]), one(x[1], y[1]), one(x[2], y[2]), one(x[3], y[3])]
}
