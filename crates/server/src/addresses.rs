//! Addresses to listen at: none, one, or a list.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use toml::Value;

/// Any number of addresses: in TOML a text or an array of texts; each text may hold several addresses, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub(crate) struct Addresses(pub Vec<SocketAddr>);

impl TryFrom<Value> for Addresses {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => text.split(',').map(address).collect::<Result<_, _>>().map(Self),
            Value::Array(values) => {
                let lists = values.into_iter().map(Self::try_from).collect::<Result<Vec<_>, _>>()?;
                Ok(Self(lists.into_iter().flat_map(|list| list.0).collect()))
            }
            other => Err(format!("{other} is not an address, nor a list of addresses")),
        }
    }
}

impl From<Addresses> for Value {
    fn from(addresses: Addresses) -> Self {
        match &addresses.0[..] {
            [one] => one.to_string().into(),
            all => all.iter().map(ToString::to_string).collect::<Vec<_>>().into(),
        }
    }
}

/// All of them, separated by commas, as a setting takes them.
impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("{text:?} is not an IP address with a port (such as 127.0.0.1:8080 or [::1]:8080)");
    text.trim().parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Addresses, String> {
        Addresses::try_from(text.parse::<toml::Table>().unwrap()["a"].clone())
    }

    #[test]
    fn one_or_many_are_read_and_written_alike() {
        for (text, shown) in [
            ("a = '127.0.0.1:1'", "127.0.0.1:1"),
            ("a = '127.0.0.1:1, [::1]:2'", "127.0.0.1:1,[::1]:2"),
            ("a = ['127.0.0.1:1', '[::1]:2']", "127.0.0.1:1,[::1]:2"),
            ("a = []", ""),
        ] {
            let addresses = read(text).unwrap();
            assert_eq!(addresses.to_string(), shown, "{text}");
            assert_eq!(Addresses::try_from(Value::from(addresses.clone())), Ok(addresses), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        for (text, said) in [
            ("a = 'localhost:1'", "\"localhost:1\" is not an IP address"),
            ("a = '127.0.0.1'", "\"127.0.0.1\" is not an IP address"),
            ("a = '127.0.0.1:1,'", "\"\" is not an IP address"),
            ("a = 8080", "8080 is not an address"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
