//! What messages say: one text file for each kind, channel and language.

use std::io;
use std::path::Path;
use std::time::Duration;

use account::{Address, Confidential, Language, Message, Notice, Purpose, Timestamp};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use crate::{SettingsError, Text, chain};

/// The built-in templates, by their names in an operator's folder.
macro_rules! built_in {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../templates/", $name)))),*]
    };
}

const BUILT_IN: &[(&str, &str)] = built_in! {
    "en/activation.mail.txt" "en/code.mail.txt" "en/code.sms.txt" "en/password-changed.mail.txt" "en/reset.mail.txt"
    "en/test.mail.txt" "en/test.sms.txt"
    "zh/activation.mail.txt" "zh/code.mail.txt" "zh/code.sms.txt" "zh/password-changed.mail.txt" "zh/reset.mail.txt"
    "zh/test.mail.txt" "zh/test.sms.txt"
};

/// An environment in which a name that does not exist is an error.
pub(crate) fn strict() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment
}

/// A template of an unknown name would never be used.
fn check_names(folder: &Path) -> Result<(), SettingsError> {
    let shown = folder.display();
    match unknown(folder) {
        Ok(None) => Ok(()),
        Ok(Some(name)) => {
            let known: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            Err(SettingsError(format!("{shown} has {name}, but the templates are {}", known.join(", "))))
        }
        Err(error) => Err(SettingsError(format!("cannot look into the folder of templates {shown}: {error}"))),
    }
}

/// A template whose name is none of those that there are.
fn unknown(folder: &Path) -> io::Result<Option<String>> {
    std::fs::read_dir(folder)?;
    for language in ["en", "zh"] {
        let files = match std::fs::read_dir(folder.join(language)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            files => files?,
        };
        for file in files {
            let name = format!("{language}/{}", file?.file_name().to_string_lossy());
            if name.ends_with(".txt") && BUILT_IN.iter().all(|(built_in, _)| *built_in != name) {
                return Ok(Some(name));
            }
        }
    }
    Ok(None)
}

pub(crate) struct Templates {
    product: String,
    environment: Environment<'static>,
}

impl Templates {
    /// Takes each template from `folder` where it has it, else the built-in one, and tries each.
    pub fn load(product: String, folder: Option<&Path>) -> Result<Self, SettingsError> {
        folder.map(check_names).transpose()?;
        let mut environment = strict();
        for (name, built_in) in BUILT_IN {
            let text = match folder.map(|folder| folder.join(name)) {
                Some(path) if path.exists() => std::fs::read_to_string(&path)
                    .map_err(|error| SettingsError(format!("cannot read the template {}: {error}", path.display())))?,
                _ => (*built_in).to_owned(),
            };
            let added = environment.add_template_owned(*name, text);
            added.map_err(|error| SettingsError(format!("the template {name} is wrong: {}", chain(&error))))?;
        }
        let templates = Self { product, environment };
        for message in samples() {
            let name = name(&message);
            let written = templates.write(&message).map_err(SettingsError)?;
            if written.subject.is_some_and(|subject| subject.is_empty()) || written.body.trim().is_empty() {
                return Err(SettingsError(format!(
                    "the template {name} is wrong: a mail begins with its subject on a line of its own, then an empty line"
                )));
            }
        }
        Ok(templates)
    }

    pub fn write(&self, message: &Message) -> Result<Text, String> {
        let name = name(message);
        let wrong = |error: minijinja::Error| format!("the template {name} is wrong: {}", chain(&error));
        let product = self.product.as_str();
        let (minutes, hours) = (|span: &Duration| span.as_secs().div_ceil(60), |span: &Duration| span.as_secs().div_ceil(3600));
        let values = match &message.notice {
            Notice::Code { purpose, code, lifetime } => {
                context! { product, code => code.0, purpose => purpose.as_str(), minutes => minutes(lifetime) }
            }
            Notice::Activation { url, lifetime } | Notice::Reset { url, lifetime } => {
                context! { product, link => url.0, minutes => minutes(lifetime), hours => hours(lifetime) }
            }
            Notice::PasswordChanged { at } => context! { product, time => at.iso8601().replace('T', " ")[..16] },
            Notice::Test => context! { product },
        };
        let whole = self.environment.get_template(&name).map_err(wrong)?.render(values).map_err(wrong)?;
        Ok(match &message.to {
            Address::Phone(_) => Text { subject: None, body: whole },
            Address::Email(_) => {
                let (subject, body) = whole.split_once('\n').unwrap_or((&whole, ""));
                Text { subject: Some(subject.trim().to_owned()), body: format!("{}\n", body.trim()) }
            }
        })
    }
}

fn name(message: &Message) -> String {
    let kind = match message.notice {
        Notice::Code { .. } => "code",
        Notice::Activation { .. } => "activation",
        Notice::Reset { .. } => "reset",
        Notice::PasswordChanged { .. } => "password-changed",
        Notice::Test => "test",
    };
    let channel = match message.to {
        Address::Email(_) => "mail",
        Address::Phone(_) => "sms",
    };
    format!("{}/{kind}.{channel}.txt", message.language.as_str())
}

/// A message for each template.
fn samples() -> impl Iterator<Item = Message> {
    let email = || Address::Email("person@example.com".parse().expect("a sample address"));
    // Too short to be compared with the world's numbering plans, which are megabytes, and read by whoever needs them first.
    let phone = || Address::Phone("+1234567".parse().expect("a sample number"));
    let lifetime = Duration::from_mins(10);
    let code = move || Notice::Code { purpose: Purpose::Register, code: Confidential("123456".into()), lifetime };
    let url = || Confidential("https://example.com/".into());
    Language::ALL.into_iter().flat_map(move |language| {
        [
            (email(), code()),
            (phone(), code()),
            (email(), Notice::Activation { url: url(), lifetime }),
            (email(), Notice::Reset { url: url(), lifetime }),
            (email(), Notice::PasswordChanged { at: Timestamp(0) }),
            (email(), Notice::Test),
            (phone(), Notice::Test),
        ]
        .map(|(to, notice)| Message { to, language, notice })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_tried_and_none_is_left_out() {
        let mut names: Vec<_> = samples().map(|message| name(&message)).collect();
        names.sort();
        assert_eq!(names, BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
        Templates::load("Hearthgate".into(), None).unwrap();
    }

    #[test]
    fn an_operators_template_goes_before_the_built_in_one() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("en")).unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("en/test.mail.txt"), text).unwrap();
        write("Hello from {{ product }}\n\nText & more\n");
        let templates = Templates::load("Acme".into(), Some(folder.path())).unwrap();
        let message = samples().find(|message| name(message) == "en/test.mail.txt").unwrap();
        let text = templates.write(&message).unwrap();
        assert_eq!((text.subject.as_deref(), text.body.as_str()), (Some("Hello from Acme"), "Text & more\n"));
        for (wrong, why) in
            [("{{ nothing }}\n\nx", "undefined"), ("{{ open\n\nx", "syntax"), ("", "subject"), ("only a subject", "subject")]
        {
            write(wrong);
            let error = Templates::load("Acme".into(), Some(folder.path())).err().unwrap().to_string();
            assert!(error.contains("en/test.mail.txt") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn purposes_are_told_apart() {
        let templates = Templates::load("Acme".into(), None).unwrap();
        let mut bodies = Vec::new();
        for purpose in [Purpose::Register, Purpose::Reset, Purpose::Close, Purpose::LogIn] {
            let mut message = samples().next().unwrap();
            message.notice = Notice::Code { purpose, code: Confidential("123456".into()), lifetime: Duration::from_mins(10) };
            bodies.push(templates.write(&message).unwrap().body);
        }
        assert!(bodies.iter().all(|body| body.contains("123456") && body.contains("10 minutes")), "{bodies:?}");
        bodies.dedup();
        assert_eq!(bodies.len(), 4);
    }
}
