//! The languages that people are addressed in.

/// A language that messages and pages are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese.
    #[serde(rename = "zh")]
    Chinese,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The language that a client's tag means: `cn`, `zh`, `zh_CN`, `zh-CN` and the like are Chinese, everything else is English.
    #[must_use]
    pub fn of(tag: Option<&str>) -> Self {
        let tag = tag.unwrap_or_default().to_ascii_lowercase();
        if tag == "cn" || tag.starts_with("zh") { Self::Chinese } else { Self::English }
    }

    /// `en` or `zh`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_both_dialects() {
        for (tag, language) in [
            (Some("cn"), Language::Chinese),
            (Some("zh_CN"), Language::Chinese),
            (Some("ZH-cn"), Language::Chinese),
            (Some("en"), Language::English),
            (Some("de"), Language::English),
            (None, Language::English),
        ] {
            assert_eq!(Language::of(tag), language, "{tag:?}");
        }
    }
}
