//! Forward authentication: a reverse proxy asks about a request before it lets it through (nginx `auth_request`, Caddy and Traefik
//! `forward_auth`).
//!
//! A good token is answered 204, with headers that say whose it is. They are always all there, if empty, so that a proxy that copies
//! them leaves nothing of what a client has sent under the same names.

use std::borrow::Cow;
use std::sync::Arc;

use account::{Audience, Guid, Holder, Identifier, TokenError};
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use wire::Attempt;

use crate::Service;
use crate::introspection::LONGEST_TOKEN;

/// The cookie that Fantem's newer clients send an access token in (`fantem` §1).
const TOKEN_COOKIE: &str = "aat";

/// What is not written as it is in a header: what HTTP does not allow there, and what would make another value of it.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';').add(b'\\');

/// How a dialect answers a request that carries no good access token.
pub type Refuse = fn(&TokenError) -> Response;

/// Who answers for a token that is not good: the dialect whose clients send it so.
#[derive(Clone, Copy)]
pub struct Refusals {
    /// In `Authorization: Bearer`, or not at all.
    pub bearer: Refuse,
    /// In a cookie.
    pub cookie: Refuse,
}

/// An access token as a request carries it.
#[derive(Debug, PartialEq, Eq)]
enum Carried<'a> {
    Bearer(&'a str),
    Cookie(String),
    /// None, or not exactly one.
    Nothing(&'static str),
}

/// `/auth/verify`, whatever the method: a proxy may hand on the one of the request that it asks about.
pub(crate) async fn verify(State(service): State<Arc<Service>>, request: Request) -> Response {
    let attempt = Attempt::begin("resource", "verify", &request);
    let (parts, _) = request.into_parts();
    let carried = carried(&parts.headers);
    let refuse = match carried {
        Carried::Cookie(_) => service.settings.refusals.cookie,
        Carried::Bearer(_) | Carried::Nothing(_) => service.settings.refusals.bearer,
    };
    let found = match &carried {
        Carried::Bearer(token) => holder(&service, token).await,
        Carried::Cookie(token) => holder(&service, token).await.and_then(on_a_device),
        Carried::Nothing(why) => {
            attempt.failed(why, false);
            return refused(refuse(&TokenError::Unknown));
        }
    };
    match found {
        Ok(holder) => {
            attempt.succeeded_quietly("let through");
            (StatusCode::NO_CONTENT, identity(&holder)).into_response()
        }
        Err(error) => {
            attempt.failed(&error, matches!(error, TokenError::Store(_)));
            refused(refuse(&error))
        }
    }
}

async fn holder(service: &Service, token: &str) -> Result<Arc<Holder>, TokenError> {
    if token.len() > LONGEST_TOKEN {
        return Err(TokenError::Unknown);
    }
    service.core.token_holder(token).await
}

/// Cookies are what devices send (`fantem` §1): an application's token is none there either.
fn on_a_device(holder: Arc<Holder>) -> Result<Arc<Holder>, TokenError> {
    match holder.session.audience {
        Audience::Device(_) => Ok(holder),
        Audience::Application(_) => Err(TokenError::Unknown),
    }
}

/// Finds the one access token of a request. Other cookies are not looked at, whatever is in them, and an empty one is no token.
fn carried(headers: &HeaderMap) -> Carried<'_> {
    let mut tokens = Vec::new();
    for value in headers.get_all(AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let bearer = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
        match bearer.map(|(_, token)| token.trim()).filter(|token| !token.is_empty()) {
            Some(token) => tokens.push(Carried::Bearer(token)),
            None => return Carried::Nothing("the Authorization header holds no Bearer token"),
        }
    }
    for line in headers.get_all(COOKIE) {
        // A byte that is not text does not make another cookie of its neighbour.
        let line = String::from_utf8_lossy(line.as_bytes());
        let pairs = line.split(';').filter_map(|pair| pair.trim().split_once('='));
        let values = pairs.filter(|(name, _)| *name == TOKEN_COOKIE).map(|(_, token)| token.trim_matches('"'));
        tokens.extend(values.filter(|token| !token.is_empty()).map(|token| Carried::Cookie(token.to_owned())));
    }
    match (tokens.pop(), tokens.is_empty()) {
        (Some(one), true) => one,
        (None, _) => Carried::Nothing("the request carries no access token"),
        (Some(_), false) => Carried::Nothing("the request carries more than one access token"),
    }
}

fn refused(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Whose token it is. What anybody could have chosen is percent-encoded where HTTP or a list demands it; ids, guids and regions need it
/// nowhere.
fn identity(holder: &Holder) -> HeaderMap {
    let Holder { account, session, device, gateways } = holder;
    let user = account.identifiers().next();
    let user = user.as_ref().map_or("", Identifier::as_str);
    let gateways: Vec<_> = gateways.iter().map(Guid::as_str).collect();
    let values = [
        ("x-hearthgate-sub", account.id.as_str().into()),
        ("x-hearthgate-account-number", account.number.to_string().into()),
        ("x-hearthgate-username", encoded(user)),
        ("x-hearthgate-apikey", encoded(account.apikey.as_str())),
        ("x-hearthgate-region", account.region.as_str().into()),
        ("x-hearthgate-client-id", encoded(session.audience.id())),
        ("x-hearthgate-client-kind", session.audience.kind().into()),
        ("x-hearthgate-sid", session.id.as_str().into()),
        ("x-hearthgate-device-guid", device.as_ref().map_or("", Guid::as_str).into()),
        ("x-hearthgate-gateways", gateways.join(",").into()),
    ];
    let mut headers = HeaderMap::with_capacity(2 * values.len());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // All values share one piece of memory.
    let mut memory = String::with_capacity(values.iter().map(|(_, value)| value.len()).sum());
    values.iter().for_each(|(_, value)| memory.push_str(value));
    let mut memory = Bytes::from(memory);
    for (name, value) in values {
        let value = HeaderValue::from_maybe_shared(memory.split_to(value.len())).expect("nothing but visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
    headers
}

fn encoded(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, ENCODED).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &[u8])]) -> HeaderMap {
        let value = |value: &[u8]| HeaderValue::from_bytes(value).expect("a header");
        // Several of one name are several.
        let mut map = HeaderMap::new();
        for (name, bytes) in headers {
            map.append(*name, value(bytes));
        }
        map
    }

    #[test]
    fn exactly_one_token_is_found() {
        assert_eq!(carried(&map(&[("authorization", b"Bearer abc")])), Carried::Bearer("abc"));
        assert_eq!(carried(&map(&[("authorization", b"bearer  abc ")])), Carried::Bearer("abc"));
        assert_eq!(carried(&map(&[("cookie", b"guid=1; aat=\"abc\"")])), Carried::Cookie("abc".into()));
        assert_eq!(carried(&map(&[("cookie", b"guid=1"), ("cookie", b"aat=abc")])), Carried::Cookie("abc".into()));
        assert_eq!(
            carried(&map(&[("authorization", b"Bearer abc"), ("cookie", b"name=J\xfcrgen; aat=")])),
            Carried::Bearer("abc")
        );
        assert_eq!(carried(&map(&[("cookie", b"name=J\xfcrgen; aat=abc")])), Carried::Cookie("abc".into()));
        let nothing: [&[(&str, &[u8])]; 9] = [
            &[],
            &[("authorization", b"Bearer")],
            &[("authorization", b"Bearer ")],
            &[("authorization", b"Basic YTpi")],
            &[("authorization", b"Bearer abc"), ("authorization", b"Bearer abc")],
            &[("authorization", b"Bearer abc"), ("cookie", b"aat=abc")],
            &[("cookie", b"aat=abc; aat=abc")],
            &[("authorization", b"Bearer \xff")],
            &[("cookie", b"aat=")],
        ];
        for headers in nothing {
            assert!(matches!(carried(&map(headers)), Carried::Nothing(_)), "{headers:?}");
        }
    }

    #[test]
    fn values_cannot_leave_their_header() {
        assert_eq!(encoded("a\r\nX-Evil: 1, \"b\"; 你"), "a%0D%0AX-Evil:%201%2C%20%22b%22%3B%20%E4%BD%A0");
    }
}
