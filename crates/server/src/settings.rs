//! Reads settings as they were said: a text, such as the environment has, stands for whatever is wanted in its place. What is wrong is told
//! without the value, which may be a secret.

use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

/// What one source says.
pub(crate) struct Layer {
    /// What the source is called.
    pub source: String,
    pub table: Table,
}

/// Reads what all layers say together, a later one before an earlier one.
pub(crate) fn read<T: DeserializeOwned>(layers: &[Layer]) -> Result<T, Wrong> {
    let mut table = Table::new();
    for layer in layers {
        merge(&mut table, layer.table.clone());
    }
    T::deserialize(Said(Value::Table(table))).map_err(|wrong: Wrong| wrong.traced(layers))
}

/// Lays `upper` over `lower`, section by section. The regions of a file replace the default ones as a whole.
fn merge(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) if key != "regions" => merge(below, above),
            (_, value) => drop(lower.insert(key, value)),
        }
    }
}

/// What is wrong with a setting.
#[derive(Debug)]
pub(crate) struct Wrong {
    what: String,
    /// The key that is wrong, where it is none of its section's.
    key: Option<String>,
    /// Where it is, the innermost section first.
    path: Vec<String>,
    /// Whose it is.
    source: Option<String>,
}

impl Wrong {
    fn at_key(mut self, key: String) -> Self {
        self.key = Some(key);
        self
    }

    fn within(mut self, section: String) -> Self {
        self.path.push(section);
        self
    }

    /// Finds out whose it is: who speaks last holds.
    fn traced(mut self, layers: &[Layer]) -> Self {
        let path: Vec<_> = self.path.iter().rev().chain(&self.key).map(String::as_str).collect();
        let source = layers.iter().rev().find(|layer| says(&layer.table, &path)).map(|layer| layer.source.clone());
        self.source = source;
        self
    }
}

/// Whether `table` says something about what is at `path`.
fn says(table: &Table, path: &[&str]) -> bool {
    let [key, rest @ ..] = path else { return true };
    match table.get(*key) {
        None => false,
        Some(Value::Table(table)) => says(table, rest),
        Some(_) => true,
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
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
        Self { what: what.to_string(), key: None, path: Vec::new(), source: None }
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
        let Some((key, _)) = &self.next else { return Ok(None) };
        let read = seed.deserialize(Said(Value::String(key.clone())));
        read.map(Some).map_err(|wrong| wrong.at_key(key.clone()))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let (key, value) = self.next.take().ok_or_else(|| Wrong::custom("a value was read before its key"))?;
        seed.deserialize(Said(value)).map_err(|wrong| wrong.within(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        text: String,
        number: Option<u16>,
        part: f64,
        flag: bool,
        list: Vec<String>,
    }

    fn layer(source: &str, text: &str) -> Layer {
        Layer { source: source.into(), table: text.parse().unwrap() }
    }

    #[test]
    fn a_text_stands_for_what_is_wanted() {
        let said = "text = '365'\nnumber = '7'\npart = '1'\nflag = 'true'\nlist = '[\"a\", \"1\"]'";
        let as_such = "text = '365'\nnumber = 7\npart = 1\nflag = true\nlist = ['a', '1']";
        let read = |text: &str| read::<Settings>(&[layer("here", text)]).unwrap();
        assert_eq!(read(said), read(as_such));
        assert_eq!(read(said).text, "365");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_value() {
        for (value, told) in
            [("123456", "integer"), ("1.5", "float"), ("true", "boolean"), ("['hush']", "list"), ("{ hush = 1 }", "table")]
        {
            let wrong = read::<BTreeMap<String, Settings>>(&[layer("here", &format!("a.text = {value}"))]).unwrap_err();
            assert_eq!(wrong.to_string(), format!("here: invalid type: {told}, expected a string in `a.text`"));
        }
        let wrong = read::<Settings>(&[layer("here", "number = 'hush'")]).unwrap_err();
        assert_eq!(wrong.to_string(), "here: invalid type: text, expected u16 in `number`");
    }

    #[test]
    fn the_source_of_what_is_wrong_is_named() {
        let good = "a = { text = 'x', part = 1, flag = true, list = [] }";
        for (first, second, wrong) in [
            (good, "a.number = 'x'", "second: invalid type: text, expected u16 in `a.number`"),
            ("b = 1", &good.replace("{ text", "{ txt"), "second: unknown field `txt`"),
            ("a.number = 'x'", good, "first: invalid type: text"),
            ("a.number = 'x'", "a.number = []", "second: invalid type: list"),
            ("a = '{ number = true }'", "b = 1", "first: invalid type: boolean, expected u16 in `a.number`"),
            ("b = 1", "a.text = 'x'", "second: missing field `part` in `a`"),
        ] {
            let layers = [layer("first", first), layer("second", second)];
            let said = read::<BTreeMap<String, Settings>>(&layers).unwrap_err().to_string();
            assert!(said.starts_with(wrong), "{said}");
        }
    }
}
