//! JSON objects, read strictly: a duplicate key anywhere is an error, not a matter of taste between two parsers.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::form::Query;

/// Why a body is not a JSON object. The words name no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON object without duplicate keys")]
pub struct JsonError;

/// A JSON object without duplicate keys.
#[derive(Debug)]
pub struct Object(BTreeMap<String, Value>);

impl Object {
    /// Reads `bytes`: UTF-8, an object at the top, no key twice in any object, no more than 128 levels.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        match serde_json::from_slice(bytes) {
            Ok(Unique(Value::Object(members))) => Ok(Self(members.into_iter().collect())),
            _ => Err(JsonError),
        }
    }

    /// An object of texts: the parameters of a query.
    #[must_use]
    pub fn of(query: &Query) -> Self {
        Self(query.pairs().iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect())
    }

    /// An object that is part of one that was read.
    #[must_use]
    pub fn from_members(members: serde_json::Map<String, Value>) -> Self {
        Self(members.into_iter().collect())
    }

    /// Sets the value of `key`.
    pub fn set(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// The value of `key`; `null` counts as absent.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }
}

/// A [`Value`] in which no object has a key twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((key, Unique(value))) = members.next_entry::<String, _>()? {
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_objects_without_duplicates_are_read() {
        for good in ["{}", r#"{"a":1,"b":{"a":[1,{"a":null}]}}"#, " {\"a\" : \"\\u4f60\"}\n"] {
            assert!(Object::parse(good.as_bytes()).is_ok(), "{good}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "{",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"a":1}}"#,
            r#"{"b":[{"a":1,"a":1}]}"#,
            "{} x",
            "{\"a\":1e999}",
            "{\"a\":\"\0\"}",
            "{'a':1}",
            "{\"a\":NaN}",
            &deep,
        ] {
            assert!(Object::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err(), "invalid UTF-8");
    }

    #[test]
    fn null_is_absent() {
        let object = Object::parse(br#"{"a":null,"b":false}"#).unwrap();
        assert_eq!((object.get("a"), object.get("b"), object.get("c")), (None, Some(&json!(false)), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let ours = Object::parse(&bytes).is_ok();
            let theirs = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).is_ok();
            prop_assert!(theirs || !ours);
        }

        #[test]
        fn what_serde_writes_is_read_back(members in prop::collection::btree_map("\\PC{0,8}", "\\PC{0,8}", 0..8)) {
            let object = Object::parse(&serde_json::to_vec(&members).unwrap()).unwrap();
            for (key, value) in &members {
                prop_assert_eq!(object.get(key), Some(&json!(value)));
            }
        }
    }
}
