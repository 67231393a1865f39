//! Any form, JSON or query of any Fantem call: it is answered in the form of its family. No form has a parameter twice.
#![no_main]

use axum::http::{Method, Request};
use fuzz::{call, choose};
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use wire::{Form, Query};

/// A form and a query, read and read again as they would be written.
fn check_form(content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else { return };
    // A plus sign is one in a query, and a space in a form.
    if let (Ok(form), Ok(query)) = (Form::parse(content), Query::parse(text.trim_ascii()))
        && !content.contains(&b'+')
    {
        let encode = |text: &str| percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string();
        let pairs: Vec<_> = query.pairs().iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let again = Form::parse(pairs.join("&").as_bytes()).expect("what was read is read again");
        for (name, _) in query.pairs() {
            assert_eq!(form.get(name), query.get(name), "both read alike");
            assert_eq!(form.get(name), again.get(name));
        }
        let twice = [content.trim_ascii(), b"&", pairs.join("&").as_bytes()].concat();
        assert!(pairs.is_empty() || Form::parse(&twice).is_err(), "a duplicate is refused");
    }
}

fuzz_target!(|data: &[u8]| {
    let routes = fantem::routes();
    let Some(((method, path), content)) = choose(&routes, data) else { return };
    check_form(content);
    let (uri, body) = match (*method == Method::GET, std::str::from_utf8(content)) {
        (false, _) => ((*path).to_owned(), content),
        (true, Ok(query)) => (format!("{path}?{query}"), &b""[..]),
        (true, Err(_)) => return,
    };
    let Some(answer) = call(Request::builder().method(method).uri(uri), body) else { return };
    if path.starts_with("/user/") || path.starts_with("/system/") {
        std::str::from_utf8(&answer.body).expect("pages and signs of life are text");
        return;
    }
    let answer = answer.json();
    assert!(!answer["code"].is_null() || !answer["str"].is_null() || path.contains("/cube/"), "{method} {path}: {answer}");
});
