//! How many Argon2id hashes a second the C reference implementation makes: built for this processor, in memory that is reused and made
//! of huge pages where the kernel gives them, and not wiped in between.
//!
//! `argon2-upstream THREADS SECONDS MEMORY_KIB ITERATIONS` prints the number.

use std::cell::Cell;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use argon2_sys::{ARGON2_OK, ARGON2_VERSION_13, Argon2_Context, Argon2_id, argon2_ctx};
use libc::{c_int, size_t};

/// The size of a huge page.
const HUGE: size_t = 2 * 1024 * 1024;

unsafe extern "C" {
    /// Whether memory is wiped after each hash.
    static mut FLAG_clear_internal_memory: c_int;
}

thread_local! {
    /// The memory of the thread's hashes.
    static BLOCK: Cell<*mut u8> = const { Cell::new(null_mut()) };
}

/// Gives the thread's memory, which is made for the first hash.
unsafe extern "C" fn allocate(memory: *mut *mut u8, bytes: size_t) -> c_int {
    if BLOCK.get().is_null() {
        let mut made = null_mut();
        // SAFETY: `made` is a place for a pointer; what is put there is as long as is told of it.
        unsafe {
            if libc::posix_memalign(&raw mut made, HUGE, bytes.next_multiple_of(HUGE)) != 0 {
                return -1;
            }
            // It is advice: without huge pages it goes on.
            libc::madvise(made, bytes.next_multiple_of(HUGE), libc::MADV_HUGEPAGE);
        }
        BLOCK.set(made.cast());
    }
    // SAFETY: the caller wants the pointer there.
    unsafe { *memory = BLOCK.get() };
    0
}

/// Keeps the memory for the next hash.
unsafe extern "C" fn keep(_: *mut u8, _: size_t) {}

fn hash(memory_kib: u32, iterations: u32) {
    let (mut output, mut input, mut salt, mut secret) = ([0; 32], *b"a digest of a password in hex...", [1; 16], [2; 32]);
    let mut context = Argon2_Context {
        out: output.as_mut_ptr(),
        outlen: 32,
        pwd: input.as_mut_ptr(),
        pwdlen: 32,
        salt: salt.as_mut_ptr(),
        saltlen: 16,
        secret: secret.as_mut_ptr(),
        secretlen: 32,
        ad: null_mut(),
        adlen: 0,
        t_cost: iterations,
        m_cost: memory_kib,
        lanes: 1,
        threads: 1,
        version: ARGON2_VERSION_13,
        allocate_cbk: Some(allocate),
        free_cbk: Some(keep),
        flags: 0,
    };
    // SAFETY: the context's pointers lead to what is as long as it says, until the call returns.
    assert_eq!(unsafe { argon2_ctx(&raw mut context, Argon2_id) }, ARGON2_OK, "a hash failed");
}

/// Hashes a second on this thread.
fn rate(length: Duration, memory_kib: u32, iterations: u32) -> f64 {
    // The first one pays for the memory.
    hash(memory_kib, iterations);
    let begun = Instant::now();
    let mut made = 0;
    while begun.elapsed() < length {
        hash(memory_kib, iterations);
        made += 1;
    }
    f64::from(made) / begun.elapsed().as_secs_f64()
}

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).map(|number| number.parse().expect("a number")).collect();
    let [threads, seconds, memory_kib, iterations] = numbers[..] else { panic!("THREADS SECONDS MEMORY_KIB ITERATIONS") };
    // SAFETY: no other thread runs yet.
    unsafe { FLAG_clear_internal_memory = 0 };
    let length = Duration::from_secs(seconds.into());
    let threads: Vec<_> = (0..threads).map(|_| std::thread::spawn(move || rate(length, memory_kib, iterations))).collect();
    let all: f64 = threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum();
    println!("{all}");
}
