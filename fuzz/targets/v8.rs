//! Any body or query of any signed v8 call: it is answered in the dialect's form, and what is no strict JSON is no call.
#![no_main]

use axum::http::Method;
use fuzz::{COMPAT, STRICT, call_signed, choose};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use wire::Object;

fuzz_target!(|data: &[u8]| {
    let routes: Vec<_> = ewelink::routes().into_iter().filter(|(_, path)| path.starts_with("/api/")).collect();
    let Some(((method, path), rest)) = choose(&routes, data) else { return };
    let Some((appid, content)) = choose(&[COMPAT, STRICT], rest) else { return };
    let read = Object::parse(content);
    if let Ok(object) = &read {
        let members: Map<String, Value> = serde_json::from_slice(content).expect("what is read here is JSON for others, too");
        for (key, value) in &members {
            assert_eq!(object.get(key), Some(value).filter(|value| !value.is_null()));
        }
        let written = serde_json::to_vec(&members).expect("JSON is written");
        assert!(Object::parse(&written).is_ok(), "what was read is read again");
    }
    let Some(answer) = call_signed(method, path, content, appid, None) else { return };
    let answer = answer.json();
    assert!(answer["error"].is_u64() || answer["at"].is_string(), "{answer}");
    if *method == Method::POST && read.is_err() {
        assert_eq!(answer["error"], 400, "only JSON is read");
    }
});
