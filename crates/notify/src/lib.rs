//! [`Notifier`]: mail by SMTP, SMS over an HTTP gateway, and an outbox folder for development. What a message says comes from
//! templates, which an operator can replace.

mod mail;
mod outbox;
mod sms;
mod templates;

use std::path::PathBuf;
use std::time::Duration;

use account::{Address, DeliveryError, Message, Notifier, ObjectId};
use tokio::sync::Notify;

pub use crate::mail::{MailSettings, MailTls};
pub use crate::outbox::{Outbox, Shown};
pub use crate::sms::SmsSettings;

use crate::mail::Mailer;
use crate::sms::SmsGateway;
use crate::templates::Templates;

/// How messages are sent.
#[derive(Debug)]
pub struct Settings {
    /// What the service calls itself.
    pub product: String,
    /// A folder with templates that go before the built-in ones.
    pub templates: Option<PathBuf>,
    /// How long one delivery may take.
    pub timeout: Duration,
    /// The mail server.
    pub mail: Option<MailSettings>,
    /// The SMS gateway.
    pub sms: Option<SmsSettings>,
    /// Where messages are left that neither can send.
    pub outbox: Option<Outbox>,
}

/// What is wrong with the settings: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// Delivers messages.
pub struct Messenger {
    templates: Templates,
    timeout: Duration,
    mail: Option<Mailer>,
    sms: Option<SmsGateway>,
    outbox: Option<Outbox>,
    woken: Notify,
}

/// A message in words.
#[derive(Debug)]
pub(crate) struct Text {
    /// The subject of a mail.
    pub subject: Option<String>,
    pub body: String,
}

impl Messenger {
    /// Checks the settings, and each template by writing a message with it. Connects nowhere yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let Settings { product, templates, timeout, mail, sms, outbox } = settings;
        Ok(Self {
            templates: Templates::load(product, templates.as_deref())?,
            timeout,
            mail: mail.map(|settings| Mailer::new(settings, timeout)).transpose()?,
            sms: sms.map(|settings| SmsGateway::new(settings, timeout)).transpose()?,
            outbox,
            woken: Notify::new(),
        })
    }

    /// Waits until there may be something in the queue.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    async fn send(&self, id: &ObjectId, message: &Message) -> Result<(), String> {
        let text = self.templates.write(message)?;
        match (&message.to, &self.mail, &self.sms, &self.outbox) {
            (Address::Email(to), Some(mail), ..) => mail.send(id, to, &text).await,
            (Address::Phone(to), _, Some(sms), _) => sms.send(to, &text.body).await,
            (to, .., Some(outbox)) => outbox.put(id, to, &text),
            (Address::Email(_), None, _, None) => Err("no mail server is configured ([mail])".into()),
            (Address::Phone(_), _, None, None) => Err("no SMS gateway is configured ([sms])".into()),
        }
    }
}

#[async_trait::async_trait]
impl Notifier for Messenger {
    async fn deliver(&self, id: &ObjectId, message: &Message) -> Result<(), DeliveryError> {
        let sent = tokio::time::timeout(self.timeout, self.send(id, message)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {} seconds", self.timeout.as_secs_f32())));
        let channel = match &message.to {
            Address::Email(_) => "mail",
            Address::Phone(_) => "sms",
        };
        let outcome = if sent.is_ok() { "sent" } else { "failed" };
        metrics::counter!("hearthgate_messages_total", "channel" => channel, "outcome" => outcome).increment(1);
        sent.map_err(DeliveryError)
    }

    fn wake(&self) {
        self.woken.notify_one();
    }
}

/// An error and what it comes from, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
