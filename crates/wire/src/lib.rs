//! What every dialect does with a request before it is the dialect's own: read it within limits, find its region, name it, log it.

mod attempt;
mod form;
mod forwarded;
mod guarded;
mod hosts;
mod json;
mod request;
mod request_id;
mod retry;

pub use crate::attempt::{Attempt, Called};
pub use crate::form::{Form, FormError, Query};
pub use crate::forwarded::{ForwardedHeader, Proxies};
pub use crate::guarded::{Guarded, Panicked};
pub use crate::hosts::Hosts;
pub use crate::json::{JsonError, Object};
pub use crate::request::{BODY_LIMIT, Incoming, Unreadable};
pub use crate::request_id::{Arrival, Named, Naming};
pub use crate::retry::{shortly, with_retry_after};
