//! Any body or query of any v2 call, signed or from somebody who is logged in: it is answered in the dialect's form.
#![no_main]

use std::sync::LazyLock;

use axum::http::Method;
use fuzz::{COMPAT, call_signed, choose};
use libfuzzer_sys::fuzz_target;

const LOGIN: &[u8] = br#"{"phoneNumber":"+8613123456789","password":"123456","countryCode":"+86"}"#;

/// The token of somebody who is logged in, as long as nothing that was fuzzed ends the session.
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let answer = call_signed(&Method::POST, "/v2/user/login", LOGIN, COMPAT, None).expect("a request").json();
    answer["data"]["at"].as_str().unwrap_or_else(|| panic!("no token in {answer}")).to_owned()
});

fuzz_target!(|data: &[u8]| {
    let routes: Vec<_> = ewelink::routes().into_iter().filter(|(_, path)| path.starts_with("/v2/")).collect();
    let Some(((method, path), rest)) = choose(&routes, data) else { return };
    let tokens = [None, Some(TOKEN.as_str())];
    let Some((at, content)) = choose(&tokens, rest) else { return };
    if path.ends_with("logout") {
        return;
    }
    let Some(answer) = call_signed(method, path, content, COMPAT, *at) else { return };
    let answer = answer.json();
    let error = answer["error"].as_u64().unwrap_or_else(|| panic!("no code in {answer}"));
    assert!(!matches!(error, 500 | 503), "{method} {path}: {answer}");
    assert!(answer["msg"].is_string() && answer["data"].is_object(), "{answer}");
});
