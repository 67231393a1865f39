//! `user.location`, when the operator has a GeoIP database.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::App;
use crate::support::{Ewelink, Server};

/// A value in the format of MaxMind DB files (MaxMind DB File Format Specification 2.0, "Data Field Format").
fn encoded(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => [head(2, text.len()), text.clone().into_bytes()].concat(),
        Value::Object(map) => {
            let members = map.iter().flat_map(|(key, value)| [encoded(&json!(key)), member(key, value)].concat());
            [head(7, map.len()), members.collect()].concat()
        }
        Value::Array(elements) => [head(11, elements.len()), elements.iter().flat_map(encoded).collect()].concat(),
        other => panic!("no such value: {other}"),
    }
}

/// A map's value; the specification gives each number a width of its own.
fn member(key: &str, value: &Value) -> Vec<u8> {
    let Some(number) = value.as_u64() else { return encoded(value) };
    let (kind, width) = match key {
        "build_epoch" => (9, 8),
        "node_count" => (6, 4),
        _ => (5, 2),
    };
    [head(kind, width), number.to_be_bytes()[8 - width..].to_vec()].concat()
}

/// A control byte; kinds from 8 on are in a byte of their own behind it.
fn head(kind: u8, length: usize) -> Vec<u8> {
    let length = u8::try_from(length).unwrap();
    if kind < 8 { vec![(kind << 5) | length] } else { vec![length, kind - 7] }
}

/// A database in which every address is in Guangdong.
fn database() -> Vec<u8> {
    let names = |english: &str, chinese: &str| json!({ "names": { "en": english, "zh-CN": chinese } });
    let mut country = names("China", "中国");
    country["iso_code"] = json!("CN");
    let place = json!({ "country": country, "subdivisions": [names("Guangdong", "广东")] });
    let metadata = json!({
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1, "database_type": "City",
        "description": {}, "ip_version": 4, "languages": ["en"], "node_count": 1, "record_size": 24,
    });
    // One node, whose both records point to the first data: 16 behind the number of nodes.
    let tree = [0, 0, 17, 0, 0, 17].to_vec();
    [tree, vec![0; 16], encoded(&place), b"\xab\xcd\xefMaxMind.com".to_vec(), encoded(&metadata)].concat()
}

#[tokio::test]
async fn the_place_of_an_address_is_told_in_the_persons_language() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("city.mmdb");
    std::fs::write(&file, database()).unwrap();
    let server = Server::dev_with(&[("HEARTHGATE_GEOIP", file.to_str().unwrap())]);
    let ewelink = Ewelink::new(&server);
    assert_eq!(ewelink.login(json!({})).await.text("/user/location"), "广东", "the account's language is cn");
    let at = ewelink.login(json!({})).await.text("/at");
    let profile = App::new(&server).get("/v2/user/profile", "", &format!("Bearer {at}")).await;
    assert_eq!(profile.text("/data/user/ipCountry"), "CN");
    server.create_account(&["--email", "anna@example.com"], "correct horse");
    let by_email = json!({ "phoneNumber": null, "email": "anna@example.com", "password": "correct horse" });
    assert_eq!(ewelink.login(by_email).await.text("/user/location"), "Guangdong");
}
