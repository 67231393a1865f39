//! Where a request comes from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Where a request comes from, and how to find it again.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The address of whoever sent it.
    pub address: IpAddr,
    /// The request's id.
    pub request: String,
}

impl Origin {
    /// Whom the request is put down to.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::of(self.address)
    }
}

/// Who is behind an address: of IPv4 the address itself, of IPv6 its /64, which one customer has as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_one_source() {
        let source = |text: &str| Source::of(text.parse().unwrap()).to_string();
        assert_eq!(source("192.0.2.7"), "192.0.2.7");
        assert_eq!(source("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(source("2001:db8:1:2::"), "2001:db8:1:2::/64");
    }
}
