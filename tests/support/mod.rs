//! What the tests share.

pub mod answer;
pub mod calls;
pub mod server;

pub use answer::{Answer, assert_answer};
pub use calls::{Ewelink, Fantem};
pub use server::Server;
