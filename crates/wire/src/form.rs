//! `application/x-www-form-urlencoded`, read strictly: valid UTF-8, and no parameter twice.

use std::collections::BTreeMap;

use percent_encoding::{percent_decode, percent_decode_str};

/// Why a body is not a form. The words name no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A parameter is given twice.
    #[error("a parameter is given twice")]
    Duplicate,
    /// A name or value is not UTF-8.
    #[error("a parameter is not UTF-8")]
    NotUtf8,
}

/// A form's parameters.
#[derive(Debug)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads `bytes`. White space around the whole is not part of it.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        let mut parameters = BTreeMap::new();
        for pair in bytes.trim_ascii().split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..end], pair.get(end + 1..).unwrap_or_default());
            if parameters.insert(decode(name)?, decode(value)?).is_some() {
                return Err(FormError::Duplicate);
            }
        }
        Ok(Self(parameters))
    }

    /// Reads the parameters of a query string and of a body together; the body wins (`fantem` §1).
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse_both(query: Option<&str>, body: &[u8]) -> Result<Self, FormError> {
        let mut parameters = Self::parse(query.unwrap_or_default().as_bytes())?.0;
        parameters.extend(Self::parse(body)?.0);
        Ok(Self(parameters))
    }

    /// The value of `name`; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The parameters of a query string, in the order sent. A `+` in it is a plus sign: that is how clients send calling codes.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string, without its `?`.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse(text: &str) -> Result<Self, FormError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| FormError::NotUtf8);
            let name: String = decode(name)?;
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Duplicate);
            }
            pairs.push((name, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The parameters.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The value of `name`; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

fn decode(text: &[u8]) -> Result<String, FormError> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded = percent_decode(&spaced).decode_utf8().map_err(|_| FormError::NotUtf8)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let form = Form::parse(b"a=1&b=x+y%20z&c=%E4%BD%A0&d&e=&=f&g=1=2\n").unwrap();
        let get = |name| form.get(name);
        assert_eq!((get("a"), get("b"), get("c"), get("g")), (Some("1"), Some("x y z"), Some("你"), Some("1=2")));
        assert_eq!((get("d"), get("e"), get("x")), (None, None, None));
    }

    #[test]
    fn duplicates_and_broken_text_are_refused() {
        assert_eq!(Form::parse(b"a=1&a=1").unwrap_err(), FormError::Duplicate);
        assert_eq!(Form::parse(b"a=1&%61=2").unwrap_err(), FormError::Duplicate);
        assert_eq!(Form::parse(b"a=%ff").unwrap_err(), FormError::NotUtf8);
        assert_eq!(Form::parse(b"\xff=1").unwrap_err(), FormError::NotUtf8);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(form) = Form::parse(&bytes) {
                let pairs = bytes.trim_ascii().split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
                prop_assert_eq!(form.0.len(), pairs.count(), "each pair is a parameter of its own");
            }
        }

        #[test]
        fn what_was_encoded_is_read_back(parameters in prop::collection::btree_map("\\PC{1,8}", "\\PC{1,8}", 1..8)) {
            let encode = |text: &str| percent_encoding::percent_encode(text.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string();
            let body: Vec<_> = parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
            let form = Form::parse(body.join("&").as_bytes()).unwrap();
            for (name, value) in &parameters {
                prop_assert_eq!(form.get(name), Some(value.as_str()));
            }
        }
    }
}
