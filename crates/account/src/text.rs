//! Text with a rule: newtypes over `String` that cannot hold anything else.

/// What a text was refused for, in words that fit behind "…: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Refuses a text over `most` characters, an empty one, and one with control characters (NUL among them).
///
/// # Errors
/// [`Malformed`], naming the first rule that is broken.
pub(crate) fn plain(text: &str, most: usize) -> Result<(), Malformed> {
    if text.is_empty() {
        return Err(Malformed("is empty"));
    }
    if text.chars().count() > most {
        return Err(Malformed("is too long"));
    }
    if text.chars().any(char::is_control) {
        return Err(Malformed("holds control characters"));
    }
    Ok(())
}

/// Declares a newtype over `String` whose values have all passed `$rule: fn(&str) -> Result<String, Malformed>`, which also
/// brings them into their one canonical form.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The canonical text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::Malformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let rule: fn(&str) -> Result<String, $crate::text::Malformed> = $rule;
                rule(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::text::Malformed;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use text_type;
