//! Who sent a request that came through a proxy: what the operator's own proxies say of it, and nobody else.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which the proxies tell who they ask for. Any other that a client sends is not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The operator's proxies.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their networks.
    pub networks: Vec<IpNet>,
    /// What they write.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// Who sent a request that came from `peer`: the last one that is not a proxy of the operator's. Whatever stands before it may be
    /// the sender's own invention.
    #[must_use]
    pub fn sender(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut sender = peer.to_canonical();
        let mut said = self.elements(headers);
        while self.trusts(sender) {
            let Some(element) = said.pop() else { break };
            let named = match self.header {
                ForwardedHeader::XForwardedFor => node(element),
                ForwardedHeader::Forwarded => forwarded_for(element).and_then(node),
            };
            // Somebody hidden stands behind the proxy that says so.
            let Some(named) = named else { break };
            sender = named;
        }
        sender
    }

    /// The elements of all lines of the header, in order. What the sender wrote may stand before what a proxy appended to it, on the same
    /// line, and changes nothing of it.
    fn elements<'a>(&self, headers: &'a HeaderMap) -> Vec<&'a [u8]> {
        let lines = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
        match self.header {
            ForwardedHeader::XForwardedFor => lines(&X_FORWARDED_FOR).flat_map(|line| line.split(|byte| *byte == b',')).collect(),
            ForwardedHeader::Forwarded => lines(&FORWARDED).flat_map(|line| split(line, b',')).collect(),
        }
    }

    /// Whether an address is that of one of the operator's proxies.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Splits a line where `separator` stands outside quotes, as they are seen from the line's end: a proxy appends to what the sender wrote,
/// and no quote that was left open there reaches into it.
fn split(line: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut parts, mut end, mut quoted) = (Vec::new(), line.len(), false);
    for (at, byte) in line.iter().enumerate().rev() {
        match *byte {
            b'"' => quoted = !quoted || is_escaped(&line[..at]),
            byte if byte == separator && !quoted => {
                parts.push(&line[at + 1..end]);
                end = at;
            }
            _ => {}
        }
    }
    parts.push(&line[..end]);
    parts.reverse();
    parts
}

/// Whether what follows `before` is escaped: by a backslash that is not itself.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// What `for=` says in an element of `Forwarded`; nothing when it says it twice.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let pairs = split(element, b';').into_iter().filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    });
    let mut named = pairs.filter(|(name, _)| name.eq_ignore_ascii_case(b"for"));
    let (_, value) = named.next()?;
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    named.next().is_none().then_some(unquoted)
}

/// Reads `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]` and `[2001:db8::7]:80`.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let well = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(address.parse().ok().filter(|_| well)?)
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => IpAddr::V4(address.parse().ok()?),
            _ => IpAddr::from_str(text).ok()?,
        },
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        Proxies { networks: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:ffff::/48".parse().unwrap()], header }
    }

    fn sender(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        proxies(header).sender(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_proxies_are_believed() {
        let x = |peer, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            sender(ForwardedHeader::XForwardedFor, peer, &lines)
        };
        assert_eq!(x("192.0.2.1", &["198.51.100.9"]), "192.0.2.1", "a stranger's word is nothing");
        assert_eq!(x("10.0.0.1", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(x("::ffff:10.0.0.1", &["198.51.100.9"]), "198.51.100.9", "an address has more than one form");
        assert_eq!(x("10.0.0.1", &["1.1.1.1, 198.51.100.9, 10.0.0.2"]), "198.51.100.9", "what stands before it is invented");
        assert_eq!(x("10.0.0.1", &["1.1.1.1", "198.51.100.9"]), "198.51.100.9", "the lines are one list");
        assert_eq!(x("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(x("10.0.0.1", &["10.0.0.9,10.0.0.8"]), "10.0.0.9", "somebody in the network of the proxies");
        assert_eq!(x("10.0.0.1", &["1.1.1.1, unknown"]), "10.0.0.1", "hidden behind the proxy");
        assert_eq!(x("10.0.0.1", &["1.1.1.1, \u{e9}"]), "10.0.0.1");
        assert_eq!(x("10.0.0.1", &["198.51.100.9:4711"]), "198.51.100.9");
        assert_eq!(x("2001:db8:ffff::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(x("10.0.0.1", &["[2001:db8::7]:80"]), "2001:db8::7");
        assert_eq!(
            sender(ForwardedHeader::XForwardedFor, "10.0.0.1", &[("forwarded", "for=1.1.1.1")]),
            "10.0.0.1",
            "not the header"
        );
    }

    #[test]
    fn forwarded_in_all_its_forms() {
        let forwarded =
            |line| sender(ForwardedHeader::Forwarded, "10.0.0.1", &[("forwarded", line), ("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(forwarded("for=192.0.2.43"), "192.0.2.43");
        assert_eq!(forwarded("For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(forwarded("for=192.0.2.60;proto=http;by=203.0.113.43"), "192.0.2.60");
        assert_eq!(forwarded("for=1.2.3.4, for=198.51.100.17"), "198.51.100.17");
        assert_eq!(forwarded("for=\"_x, for=1.2.3.4\""), "10.0.0.1", "a comma in quotes separates nothing");
        assert_eq!(forwarded("for=1.2.3.4;for=198.51.100.17"), "10.0.0.1", "said twice is not said");
        assert_eq!(forwarded("for=unknown"), "10.0.0.1");
        assert_eq!(forwarded("proto=https"), "10.0.0.1");
        assert_eq!(forwarded("for=\"192.0.2.43"), "10.0.0.1", "an open quote");
    }

    #[test]
    fn what_stands_before_it_on_its_line_changes_nothing() {
        let x = |line| sender(ForwardedHeader::XForwardedFor, "10.0.0.1", &[("x-forwarded-for", line)]);
        assert_eq!(x("\", 198.51.100.9"), "198.51.100.9");
        assert_eq!(x("\u{e9}, 198.51.100.9"), "198.51.100.9", "no text");
        assert_eq!(x("1.1.1.1\\, 198.51.100.9, 10.0.0.2"), "198.51.100.9");
        let forwarded = |line| sender(ForwardedHeader::Forwarded, "10.0.0.1", &[("forwarded", line)]);
        assert_eq!(forwarded("for=1.1.1.1;x=\", for=198.51.100.17"), "198.51.100.17");
        assert_eq!(forwarded("for=1.1.1.1;x=\"\\, for=\"198.51.100.17:80\""), "198.51.100.17");
        assert_eq!(forwarded("for=1.1.1.1;x=\", for=198.51.100.17;by=\"[::1]\", for=\"10.0.0.2\""), "198.51.100.17");
        assert_eq!(forwarded("\u{e9}, for=198.51.100.17"), "198.51.100.17");
        assert_eq!(forwarded("x=\"\\\\\", for=198.51.100.17;host=\"a\\\", for=1.1.1.1\""), "198.51.100.17", "an escaped quote");
    }

    proptest! {
        #[test]
        fn what_a_proxy_appends_is_found(
            prefix in r#"(["\\,;= ]|for=|1\.1\.1\.1|[!-~]|[à-ÿ]){0,40}"#,
            appended in prop::sample::select(vec![
                ("198.51.100.17", "for=198.51.100.17"),
                ("198.51.100.17:4711", "proto=https;for=\"198.51.100.17:4711\""),
                ("[2001:db8:cafe::17]:80", r#"for="[2001:db8:cafe::17]:80";host="a\", for=1.1.1.1""#),
            ]),
            through in prop::sample::select(vec![("", ""), (", 10.0.0.2", ", for=\"10.0.0.2\";by=_gate")]),
        ) {
            let address = node(appended.0.as_bytes()).unwrap().to_string();
            let line = format!("{prefix},{}{}", appended.0, through.0);
            prop_assert_eq!(sender(ForwardedHeader::XForwardedFor, "10.0.0.1", &[("x-forwarded-for", &line)]), &*address);
            let line = format!("{prefix}, {}{}", appended.1, through.1);
            prop_assert_eq!(sender(ForwardedHeader::Forwarded, "10.0.0.1", &[("forwarded", &line)]), &*address);
        }
    }
}
