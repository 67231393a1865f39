//! Reads settings as they were said: a text, such as the environment has, stands for whatever is wanted in its place. What is wrong is told
//! without the value, which may be a secret.

use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

/// Reads all that `table` says.
pub(crate) fn read<T: DeserializeOwned>(table: Table) -> Result<T, Wrong> {
    T::deserialize(Said(Value::Table(table)))
}

/// What is wrong with a setting.
#[derive(Debug)]
pub(crate) struct Wrong {
    what: String,
    /// Where it is, the innermost key first.
    path: Vec<String>,
}

impl Wrong {
    fn within(mut self, key: String) -> Self {
        self.path.push(key);
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.path.is_empty() {
            return Ok(());
        }
        let path: Vec<_> = self.path.iter().rev().map(String::as_str).collect();
        write!(f, " in `{}`", path.join("."))
    }
}

impl std::error::Error for Wrong {}

impl Error for Wrong {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { what: what.to_string(), path: Vec::new() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("invalid type: {}, expected {expected}", kind(found)))
    }
}

/// What `serde` would tell with the value.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "boolean",
        Unexpected::Signed(_) | Unexpected::Unsigned(_) => "integer",
        Unexpected::Float(_) => "float",
        Unexpected::Str(_) => "text",
        Unexpected::Seq => "list",
        Unexpected::Map => "table",
        _ => "something else",
    }
}

/// A setting, or a table of them.
struct Said(Value);

impl<'de> Deserializer<'de> for Said {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let value = match self.0 {
            Value::String(text) => typed(text),
            value => value,
        };
        match value {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(flag) => visitor.visit_bool(flag),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(Said))),
            Value::Table(table) => visitor.visit_map(Entries { left: table.into_iter(), next: None }),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_string(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        ignored_any
    }
}

impl IntoDeserializer<'_, Wrong> for Said {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A number, flag or list as TOML writes it, else a text.
fn typed(text: String) -> Value {
    let read: Option<Table> = format!("value = {text}").parse().ok();
    read.and_then(|mut table| table.remove("value")).unwrap_or(Value::String(text))
}

/// What a table has left, and the value of the key that was read last.
struct Entries {
    left: toml::map::IntoIter<String, Value>,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        self.next = self.left.next();
        self.next.as_ref().map(|(key, _)| seed.deserialize(Said(Value::String(key.clone())))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let (key, value) = self.next.take().ok_or_else(|| Wrong::custom("a value was read before its key"))?;
        seed.deserialize(Said(value)).map_err(|wrong| wrong.within(key))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Settings {
        text: String,
        number: Option<u16>,
        part: f64,
        flag: bool,
        list: Vec<String>,
    }

    #[test]
    fn a_text_stands_for_what_is_wanted() {
        let said = "text = '365'\nnumber = '7'\npart = '1'\nflag = 'true'\nlist = '[\"a\", \"1\"]'";
        let as_such = "text = '365'\nnumber = 7\npart = 1\nflag = true\nlist = ['a', '1']";
        let read = |text: &str| read::<Settings>(text.parse().unwrap()).unwrap();
        assert_eq!(read(said), read(as_such));
        assert_eq!(read(said).text, "365");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_value() {
        for (value, told) in
            [("123456", "integer"), ("1.5", "float"), ("true", "boolean"), ("['hush']", "list"), ("{ hush = 1 }", "table")]
        {
            let table = format!("a.text = {value}").parse().unwrap();
            let wrong = read::<std::collections::BTreeMap<String, Settings>>(table).unwrap_err().to_string();
            assert_eq!(wrong, format!("invalid type: {told}, expected a string in `a.text`"));
        }
        let wrong = read::<Settings>("number = 'hush'".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(wrong, "invalid type: text, expected u16 in `number`");
    }
}
