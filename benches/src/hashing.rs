//! Argon2id by itself: how fast ours is, and how fast the fastest is.

use std::process::Command;
use std::time::{Duration, Instant};

use argon::{Bare, Cost, Kernel};

use crate::Outcome;
use crate::latency::Latency;
use crate::usage;

/// What a hash costs where nothing is configured: KiB of memory, and passes over it.
const MEMORY_KIB: u32 = 19_456;
const ITERATIONS: u32 = 2;

/// One hash after another on this thread, in memory of its own.
struct Hasher(Bare);

impl Hasher {
    fn new() -> Outcome<Self> {
        let cost = Cost { memory_kib: MEMORY_KIB, iterations: ITERATIONS };
        Ok(Self(Bare::new(cost, Kernel::default())?))
    }

    /// A hash as a login costs one.
    fn hash(&mut self) -> Outcome<[u8; 32]> {
        Ok(self.0.hash(&[2; 32], b"a digest of a password in hex...", &[1; 16])?)
    }
}

/// How long our hashes take, one after another on one thread.
pub(crate) fn one(length: Duration) -> Outcome<Latency> {
    let (mut hasher, mut latency) = (Hasher::new()?, Latency::default());
    // The first one pays for the memory.
    hasher.hash()?;
    let begun = Instant::now();
    while begun.elapsed() < length {
        let begun = Instant::now();
        hasher.hash()?;
        latency.note(begun.elapsed());
    }
    Ok(latency)
}

/// How many hashes a second ours makes, on all cores.
pub(crate) fn ours(length: Duration) -> Outcome<f64> {
    let threads: Vec<_> = (0..usage::cores()?).map(|_| std::thread::spawn(move || rate(length))).collect();
    threads.into_iter().map(|thread| thread.join().map_err(|_| "a hashing thread has died")?).sum()
}

fn rate(length: Duration) -> Outcome<f64> {
    let mut hasher = Hasher::new()?;
    hasher.hash()?;
    let (begun, mut made) = (Instant::now(), 0);
    while begun.elapsed() < length {
        hasher.hash()?;
        made += 1;
    }
    Ok(f64::from(made) / begun.elapsed().as_secs_f64())
}

/// How many hashes a second the C reference implementation makes, built for this very processor, on all cores; `None` where it was not
/// built (`benches/upstream`).
pub(crate) fn fastest(length: Duration) -> Outcome<Option<f64>> {
    let beside = std::env::current_exe()?.with_file_name("argon2-upstream");
    if !beside.exists() {
        return Ok(None);
    }
    let numbers = [usage::cores()?.to_string(), length.as_secs().to_string(), MEMORY_KIB.to_string(), ITERATIONS.to_string()];
    let output = Command::new(beside).args(numbers).output()?;
    Ok(Some(String::from_utf8(output.stdout)?.trim().parse()?))
}
