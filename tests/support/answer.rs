//! Whole answers, compared with what they must be.

use serde_json::{Value, json};

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub request_id: String,
    pub retry_after: Option<u64>,
    pub body: Value,
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> Self {
        Self::try_read(response).await.unwrap()
    }

    /// The same, unless it breaks off.
    pub async fn try_read(response: reqwest::Response) -> reqwest::Result<Self> {
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("content-type").as_deref(), Some("application/json; charset=utf-8"));
        let request_id = header("x-request-id").expect("every answer carries X-Request-Id");
        let retry_after = header("retry-after").map(|seconds| seconds.parse().unwrap());
        Ok(Self { status: response.status().as_u16(), request_id, retry_after, body: response.json().await? })
    }

    /// A text somewhere in the body.
    pub fn text(&self, pointer: &str) -> String {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {pointer} in {} {}", self.status, self.body))
            .to_owned()
    }
}

/// Compares status and whole body. In `expected`, a text in angle brackets stands for any value of that form: `<hex 40>` (so many
/// lower-case hex digits), `<HEX 32>` (upper-case ones), `<text>` (any but an empty one), `<uuid>`, `<time>` (ISO 8601 UTC with milliseconds), `<number>`.
pub fn assert_answer(what: &str, answer: &Answer, status: u16, expected: &Value) {
    let shown = json!({ "status": answer.status, "body": answer.body });
    assert!(answer.status == status && matches(expected, &answer.body), "{what}\n  expected {status} {expected}\n  got {shown}");
}

/// Whether a body is as `expected`, where texts in angle brackets stand for any value of that form.
pub fn matches(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            let fits = |(key, value): (&String, &Value)| actual.get(key).is_some_and(|actual| matches(value, actual));
            expected.len() == actual.len() && expected.iter().all(fits)
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(expected, actual)| matches(expected, actual))
        }
        (Value::String(form), actual) if form.starts_with('<') => has_form(form, actual),
        (expected, actual) => expected == actual,
    }
}

fn has_form(form: &str, actual: &Value) -> bool {
    let Some(text) = actual.as_str() else { return form == "<number>" && actual.is_i64() };
    let hex = |length: usize| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match form {
        "<text>" => !text.is_empty(),
        "<HEX 32>" => text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')),
        "<uuid>" => text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]),
        "<time>" => text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.',
        _ => form.strip_prefix("<hex ").and_then(|rest| rest.strip_suffix('>')?.parse().ok()).is_some_and(hex),
    }
}
