//! Ports for programs that do not pick one themselves.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that was free a moment ago.
///
/// Below those that the system gives to whoever does not ask for one, or somebody else would have it before it is used.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        // Each process, which is each test, begins elsewhere.
        let port = 12_000 + u16::try_from((std::process::id() * 37 + step) % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
