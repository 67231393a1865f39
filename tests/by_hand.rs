//! The core on real databases, with a clock that is set by hand.
#![allow(missing_docs, clippy::unwrap_used)]

mod decisions;
mod guessing;
#[path = "support/postgres.rs"]
mod postgres;
mod races;
mod renewal;
mod rotations;
mod session_life;
mod trail;
#[path = "support/world.rs"]
mod world;
