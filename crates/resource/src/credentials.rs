//! Who asks: a resource server's id and secret, by HTTP Basic or in the form (RFC 6749 §2.3.1).

use account::{ResourceServer, TokenHash};
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use wire::{Form, Incoming};

use crate::Service;
use crate::failure::Failure;

/// The longest id or secret that is looked at, in bytes.
const LONGEST: usize = 256;

/// What somebody presents. The secret cannot be printed.
#[derive(Debug)]
struct Credentials {
    id: String,
    secret: SecretString,
}

/// Which resource server asks.
#[derive(Debug)]
pub(crate) struct Caller {
    pub server: ResourceServer,
    /// The secret that it came with.
    pub secret: TokenHash,
}

impl Service {
    /// Finds out which resource server asks. `form` is the body, where the call has one.
    pub async fn caller(&self, incoming: &Incoming, form: Option<&Form>) -> Result<Caller, Failure> {
        let Credentials { id, secret } = presented(incoming, form)?;
        let server = self.core.authenticate_resource_server(&id, secret.expose_secret(), &incoming.origin).await?;
        Ok(Caller { server, secret: TokenHash::of(secret.expose_secret()) })
    }
}

/// Exactly one of the two ways must be used.
fn presented(incoming: &Incoming, form: Option<&Form>) -> Result<Credentials, Failure> {
    if incoming.headers().get_all(AUTHORIZATION).iter().count() > 1 {
        return Err(Failure::Malformed("there are two Authorization headers"));
    }
    let in_header = incoming.headers().contains_key(AUTHORIZATION);
    let (id, secret) = form.map_or((None, None), |form| (form.get("client_id"), form.get("client_secret")));
    match (in_header, id, secret) {
        (true, _, Some(_)) => Err(Failure::Malformed("credentials are given both in the Authorization header and in the form")),
        (true, id, None) => {
            let credentials = incoming.authorization.as_deref().and_then(basic).ok_or(Failure::Nobody)?;
            let same = id.is_none_or(|id| id == credentials.id);
            same.then_some(credentials).ok_or(Failure::Malformed("the form's client_id is not that of the Authorization header"))
        }
        (false, Some(id), Some(secret)) => Ok(Credentials { id: id.to_owned(), secret: secret.into() }),
        (false, ..) => Err(Failure::Nobody),
    }
    .and_then(|credentials| {
        let fits = credentials.id.len() <= LONGEST && credentials.secret.expose_secret().len() <= LONGEST;
        fits.then_some(credentials).ok_or(Failure::Nobody)
    })
}

fn basic(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") || encoded.len() > 4 * LONGEST {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    Some(Credentials { id: decode(id)?, secret: decode(secret)?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<(String, String)> {
        basic(header).map(|found| (found.id, found.secret.expose_secret().to_owned()))
    }

    #[test]
    fn basic_credentials_are_read() {
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(read(&header("api:secret")), pair("api", "secret"));
        assert_eq!(read(&header("a%3Ab:c%20d:e")), pair("a:b", "c d:e"));
        assert_eq!(read(&header("api:secret").replace("Basic", "bASIC")), pair("api", "secret"));
        for broken in ["Basic", "Basic !", "Bearer YTpi", &header("api"), &header("a:%ff"), &header(&"a".repeat(4000))] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }
}
