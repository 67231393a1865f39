//! Which MQTT topics a session may use: templates, and filters that reach no further than one of them.

use account::{Guid, Holder};

/// The topics that clients may use, as templates.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    /// What may be published to.
    pub publish: Vec<Template>,
    /// What may be subscribed to.
    pub subscribe: Vec<Template>,
}

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish to it.
    Publish,
    /// Subscribe to it; the topic is a filter, which may have wildcards.
    Subscribe,
}

/// A topic filter with placeholders: each level is a text, `+`, `{placeholder}`, or at the end `#`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Level>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Text(String),
    Any,
    Rest,
    Of(Placeholder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Apikey,
    Account,
    Sub,
    Client,
    Device,
    Gateway,
}

/// Every placeholder, as it is written.
const PLACEHOLDERS: [(&str, Placeholder); 6] = [
    ("{apikey}", Placeholder::Apikey),
    ("{account_number}", Placeholder::Account),
    ("{sub}", Placeholder::Sub),
    ("{client_id}", Placeholder::Client),
    ("{device_guid}", Placeholder::Device),
    ("{gateway}", Placeholder::Gateway),
];

/// What must not be in a level: brokers read it as a separator, as a wildcard, in MQTT or in AMQP, or as the beginning of their own topics.
const RESERVED: [char; 6] = ['/', '.', '+', '#', '*', '$'];

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split('/').collect();
        let mut levels = Vec::new();
        for (place, word) in words.iter().enumerate() {
            let placeholder = PLACEHOLDERS.iter().find(|(name, _)| name == word).map(|(_, placeholder)| *placeholder);
            levels.push(match (*word, placeholder) {
                (_, Some(placeholder)) => Level::Of(placeholder),
                ("+", None) => Level::Any,
                ("#", None) if place + 1 == words.len() => Level::Rest,
                (word, None) if word.contains(RESERVED) || word.contains(['{', '}', '\0']) => {
                    let known: Vec<_> = PLACEHOLDERS.iter().map(|(name, _)| *name).collect();
                    return Err(format!(
                        "{text:?} is not a template of topics: a level is a text without . * {{ }} $, or +, or one of {}, and # may be the last",
                        known.join(" ")
                    ));
                }
                (word, None) => Level::Text(word.to_owned()),
            });
        }
        let has = |own: bool| levels.iter().any(|level| matches!(level, Level::Of(placeholder) if placeholder.is_own() == own));
        if has(false) && !has(true) {
            return Err(format!(
                "{text:?} names a client or device but no account, so that it is not one account's own: add a level {{apikey}}, {{account_number}}, {{sub}} or {{gateway}}"
            ));
        }
        Ok(Self(levels))
    }
}

impl Topics {
    /// Whether the holder of a session may do that. `topic` is as the client sent it, its levels separated by `separator`; `*` and `+`
    /// are any level, and `#` any number of them. What begins with `$` is the broker's own (MQTT 3.1.1 §4.7.2), and nobody's here.
    #[must_use]
    pub fn allow(&self, holder: &Holder, action: Action, topic: &str, separator: char) -> bool {
        if topic.starts_with('$') {
            return false;
        }
        let words: Vec<_> = topic.split(separator).collect();
        let templates = match action {
            Action::Publish => &self.publish,
            Action::Subscribe => &self.subscribe,
        };
        templates.iter().any(|template| covers(&template.0, &words, action, holder))
    }
}

/// Whether everything that `words` can mean is meant by `levels`.
fn covers(levels: &[Level], words: &[&str], action: Action, holder: &Holder) -> bool {
    match (levels, words) {
        ([Level::Rest], _) => true,
        ([], []) => true,
        ([level, levels @ ..], [word, words @ ..]) => one(level, word, action, holder) && covers(levels, words, action, holder),
        _ => false,
    }
}

fn one(level: &Level, word: &str, action: Action, holder: &Holder) -> bool {
    let is_any = action == Action::Subscribe && matches!(word, "+" | "*");
    let is_rest = action == Action::Subscribe && word == "#";
    match level {
        Level::Any => !is_rest,
        Level::Text(text) => !is_any && !is_rest && text == word,
        Level::Of(placeholder) => !is_any && !is_rest && placeholder.is(word, holder),
        // Only ever the last, where nothing is compared.
        Level::Rest => false,
    }
}

impl Placeholder {
    /// Whether its values are one account's alone. Everybody shares an application, and logs in at any device whose serial number they know.
    fn is_own(self) -> bool {
        match self {
            Self::Apikey | Self::Account | Self::Sub | Self::Gateway => true,
            Self::Client | Self::Device => false,
        }
    }

    /// Whether `word` is one of its values for this session. A value that a broker could read as more than one level, or as a wildcard, is
    /// none.
    fn is(self, word: &str, holder: &Holder) -> bool {
        let Holder { account, session, device, gateways } = holder;
        let known = match self {
            Self::Apikey => word == account.apikey.as_str(),
            Self::Account => word == account.number.to_string(),
            Self::Sub => word == account.id.as_str(),
            Self::Client => word == session.audience.id(),
            Self::Device => device.as_ref().is_some_and(|guid| word == guid.as_str()),
            Self::Gateway => gateways.iter().map(Guid::as_str).any(|guid| word == guid),
        };
        known && !word.is_empty() && !word.contains(RESERVED)
    }
}

#[cfg(test)]
mod tests {
    use account::{
        Account, AccountNumber, Activation, ApiKey, Audience, Client, Details, ObjectId, Session, SystemRng, Timestamp, Token,
        TokenLength, Verifier,
    };
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// Somebody with two gateways, whose application is called `client`.
    fn holder(client: &str) -> Holder {
        let hash = || Token::draw(&SystemRng, TokenLength::Bits256).hash();
        let now = Timestamp(0);
        let account = Account {
            number: AccountNumber(7),
            id: ObjectId::draw(&SystemRng),
            apikey: ApiKey::draw(&SystemRng),
            region: "eu".parse().unwrap(),
            user_name: None,
            email: None,
            phone: None,
            verifier: Verifier::from_phc("x".into()),
            activation: Activation::Active,
            enabled: true,
            details: Details::default(),
            registered_at: now,
            last_login_at: None,
            revision: 0,
        };
        let session = Session {
            id: ObjectId::draw(&SystemRng),
            account: account.number,
            audience: Audience::Device(client.parse().unwrap()),
            access_hash: hash(),
            access_issued_at: now,
            access_expires_at: now,
            refresh_hash: hash(),
            refresh_expires_at: now,
            created_at: now,
            client: Client { address: [127, 0, 0, 1].into(), app_version: None, os: None },
        };
        let gateways = vec![Guid::draw(&SystemRng), Guid::draw(&SystemRng)];
        Holder { account, session, device: None, gateways }
    }

    fn topics(template: &str) -> Topics {
        let template: Template = template.parse().unwrap();
        Topics { publish: vec![template.clone()], subscribe: vec![template] }
    }

    #[test]
    fn placeholders_stand_for_what_the_session_has() {
        let holder = holder("phone");
        let may = |template: &str, topic: &str| topics(template).allow(&holder, Action::Publish, topic, '/');
        assert!(may("a/{account_number}", "a/7") && !may("a/{account_number}", "a/8"));
        assert!(may("{account_number}/{client_id}/+", "7/phone/x") && !may("{account_number}/{client_id}/+", "7/phone"));
        assert!(may("{apikey}/#", &format!("{}/x/y", holder.account.apikey.as_str())));
        assert!(may("{sub}", holder.account.id.as_str()));
        for gateway in &holder.gateways {
            assert!(may("g/{gateway}/#", &format!("g/{}", gateway.as_str())));
        }
        for topic in ["7/", "7/x"] {
            assert!(!may("{account_number}/{device_guid}", topic), "it has no device");
        }
    }

    #[test]
    fn no_value_is_read_as_anything_else() {
        for client in ["+", "#", "*", "a/b", "a.b", "a+", "$SYS"] {
            let holder = holder(client);
            for action in [Action::Publish, Action::Subscribe] {
                for topic in [client, "a/b", "a", "x", "#", "+", "*"] {
                    assert!(
                        !topics("{account_number}/{client_id}").allow(&holder, action, &format!("7/{topic}"), '/'),
                        "{client} {topic}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_brokers_own_topics_are_nobodys() {
        let holder = holder("phone");
        for template in ["#", "+/#", "+/+", "+", "+/broker/#"] {
            for topic in ["$SYS", "$SYS/broker", "$SYS/#", "$share/group/x", "$", "$SYS/broker/load"] {
                for action in [Action::Publish, Action::Subscribe] {
                    assert!(!topics(template).allow(&holder, action, topic, '/'), "{template} {topic}");
                    assert!(!topics(template).allow(&holder, action, &topic.replace('/', "."), '.'), "{template} {topic}");
                }
            }
        }
        assert!(topics("+/+").allow(&holder, Action::Publish, "a/$SYS", '/'), "only the first level is a broker's");
    }

    #[test]
    fn templates_are_read_or_refused() {
        for text in
            ["a/#/b", "a.b", "a*", "{other}", "a/{client_id}x", "{client_id}/#", "d/{device_guid}", "$SYS/#", "a+", "{", "a\0"]
        {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }

    /// Whether a filter matches a topic, by the brokers' rules.
    fn matches(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            ([first, filter @ ..], [word, topic @ ..]) => (["+", "*"].contains(first) || first == word) && matches(filter, topic),
            _ => false,
        }
    }

    /// Every topic of up to four levels over a small alphabet.
    fn all_topics() -> Vec<Vec<&'static str>> {
        let mut all: Vec<Vec<&str>> = vec![vec![]];
        let mut longest = all.clone();
        for _ in 0..4 {
            longest = longest.iter().flat_map(|topic| ["a", "b", "c", "$x"].map(|word| [&topic[..], &[word]].concat())).collect();
            all.extend(longest.clone());
        }
        all
    }

    proptest! {
        /// A filter is allowed just when no topic that it matches is beyond the template.
        #[test]
        fn a_filter_is_allowed_if_all_it_matches_is(
            template in prop::collection::vec(select(vec!["a", "b", "+"]), 1..4),
            open in any::<bool>(),
            filter in prop::collection::vec(select(vec!["a", "b", "c", "$x", "+", "*"]), 1..4),
            wide in any::<bool>(),
        ) {
            let mut template = template;
            let mut filter = filter;
            if open { template.push("#"); }
            if wide { filter.push("#"); }
            let allowed = topics(&template.join("/")).allow(&holder("phone"), Action::Subscribe, &filter.join("/"), '/');
            let reaches = all_topics().into_iter().filter(|topic| matches(&filter, topic));
            let within = reaches.into_iter().all(|topic| matches(&template, &topic));
            let brokers_own = filter.first().is_some_and(|first| first.starts_with('$'));
            prop_assert_eq!(allowed, within && !brokers_own, "{:?} {:?}", template, filter);
        }
    }
}
