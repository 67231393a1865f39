//! What the tests share.

pub mod acknowledged;
pub mod answer;
pub mod app;
pub mod calls;
pub mod documents;
pub mod guard;
pub mod panel;
pub mod ports;
pub mod postgres;
pub mod server;
pub mod sinks;
pub mod tls;

pub use answer::{Answer, assert_answer};
pub use calls::{Ewelink, Fantem};
pub use server::Server;

/// An HTTP client.
pub fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

/// An HTTP client at an address of the loopback.
pub fn client_from(address: &str) -> reqwest::Client {
    let address: std::net::IpAddr = address.parse().unwrap();
    client_builder().local_address(address).build().unwrap()
}

/// An HTTP client that still can be changed.
pub fn client_builder() -> reqwest::ClientBuilder {
    // Another test in the same process may have done so.
    drop(rustls::crypto::ring::default_provider().install_default());
    // The server ends what is idle for 5 s, which a client that comes just then cannot know.
    reqwest::Client::builder().pool_idle_timeout(std::time::Duration::from_secs(2))
}
