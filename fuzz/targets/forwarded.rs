//! What proxies say of whom they ask for: only they are believed, and an address has one form.
#![no_main]

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};
use fuzz::choose;
use libfuzzer_sys::fuzz_target;
use wire::{ForwardedHeader, Proxies};

fuzz_target!(|data: &[u8]| {
    let headers = [(ForwardedHeader::XForwardedFor, "x-forwarded-for"), (ForwardedHeader::Forwarded, "forwarded")];
    let Some(((header, name), lines)) = choose(&headers, data) else { return };
    let networks = ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|network| network.parse().expect("a network"));
    let proxies = Proxies { networks: networks.into(), header: *header };
    let mut said = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(line) = HeaderValue::from_bytes(line) else { return };
        said.append(*name, line);
    }
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    assert_eq!(proxies.sender(address("192.0.2.1"), &said), address("192.0.2.1"), "a stranger is not believed");
    let sender = proxies.sender(address("::ffff:10.0.0.1"), &said);
    assert_eq!(sender, sender.to_canonical());

    // One more proxy in the chain changes nothing, and says nothing of whoever stands before it.
    let mut longer = said.clone();
    longer.append(*name, HeaderValue::from_static(if *name == "forwarded" { "for=10.0.0.2" } else { "10.0.0.2" }));
    let through = proxies.sender(address("10.0.0.1"), &longer);
    assert!(through == sender || sender == address("10.0.0.1"), "{through} {sender}");
    let mut first = HeaderMap::new();
    first.append(*name, HeaderValue::from_static(if *name == "forwarded" { "for=203.0.113.9" } else { "203.0.113.9" }));
    first.extend(said.iter().map(|(_, line)| (axum::http::HeaderName::from_static(name), line.clone())));
    if !proxies.trusts(sender) {
        assert_eq!(proxies.sender(address("10.0.0.1"), &first), sender, "what stands before it may be invented");
    }

    // Nor is what a proxy appends to the sender's own line read in another way for what the sender wrote.
    let appended = if *name == "forwarded" { "for=\"198.51.100.9:80\";host=\"a\\\", for=203.0.113.9\"" } else { "198.51.100.9" };
    for line in lines.split(|byte| *byte == b'\n') {
        let line = [line, b", ", appended.as_bytes()].concat();
        let mut longer = said.clone();
        longer.append(*name, HeaderValue::from_bytes(&line).expect("a part of it is a header's value"));
        assert_eq!(proxies.sender(address("10.0.0.1"), &longer), address("198.51.100.9"), "what it appends is what it says");
    }
});
