//! Any `Authorization` and `Cookie` header: a token is taken from the one form only, and no signature but the right one is one.
#![no_main]

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use fuzz::{COMPAT, RUNTIME, call};
use libfuzzer_sys::fuzz_target;
use wire::Incoming;

const BODY: &[u8] = br#"{"phoneNumber":"+8613123456789","password":"123456","countryCode":"+86"}"#;

fuzz_target!(|data: &[u8]| {
    let request = || Request::post("/v2/user/login").header("authorization", data).header("cookie", data);
    let Ok(request_read) = request().body(Body::empty()) else { return };
    let incoming = RUNTIME.block_on(Incoming::read(request_read, Duration::from_secs(60))).expect("a request without a body");
    if let Some(token) = incoming.bearer() {
        let header = incoming.authorization.as_deref().expect("a token stands in the header");
        assert!(header.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")), "{header:?}");
        assert!(!token.is_empty() && token.trim() == token && header.ends_with(token.trim()) | header.contains(token));
    }
    if let Some(cookie) = incoming.cookie("token") {
        assert!(!cookie.is_empty() && !cookie.contains(';'));
    }
    let answer = call(request().header("x-ck-appid", COMPAT), BODY).expect("it was a request before").json();
    assert_ne!(answer["error"], 0, "nobody guesses a signature");
    assert!(!matches!(answer["error"].as_u64(), None | Some(500)), "{answer}");
});
