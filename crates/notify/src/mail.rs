//! Mail by SMTP.

use std::path::PathBuf;
use std::time::Duration;

use account::{Email, ObjectId};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{SettingsError, Text, chain};

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Begun in the clear, then TLS before anything is said (port 587).
    #[default]
    Starttls,
    /// TLS from the first byte (port 465).
    Tls,
    /// Not at all: for a server on the same machine.
    None,
}

/// The mail server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailSettings {
    /// Its name, which its certificate must hold.
    pub host: String,
    /// Its port; without one, the usual port of the kind of protection.
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: MailTls,
    /// A certificate authority to trust besides the public ones (PEM).
    pub ca: Option<PathBuf>,
    /// Who logs in there.
    pub user: Option<String>,
    /// With which password.
    #[serde(skip_serializing)]
    pub password: Option<SecretString>,
    /// Whom mail comes from: `Name <address>`.
    pub from: String,
}

pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    pub fn new(settings: MailSettings, timeout: Duration) -> Result<Self, SettingsError> {
        let from: Mailbox =
            settings.from.parse().map_err(|error| SettingsError(format!("mail.from is not an address: {error}")))?;
        let tls = match settings.tls {
            MailTls::None => Tls::None,
            MailTls::Starttls => Tls::Required(tls_parameters(&settings)?),
            MailTls::Tls => Tls::Wrapper(tls_parameters(&settings)?),
        };
        let port = settings.port.unwrap_or(match settings.tls {
            MailTls::Starttls => 587,
            MailTls::Tls => 465,
            MailTls::None => 25,
        });
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host.as_str());
        let builder = builder.port(port).tls(tls).timeout(Some(timeout));
        let builder = match (settings.user, settings.password) {
            (Some(user), Some(password)) => builder.credentials(Credentials::new(user, password.expose_secret().to_owned())),
            (None, None) => builder,
            _ => return Err(SettingsError("mail.user and mail.password go together".into())),
        };
        Ok(Self { transport: builder.build(), from })
    }

    pub async fn send(&self, id: &ObjectId, to: &Email, text: &Text) -> Result<(), String> {
        let to: Mailbox = to.as_str().parse().map_err(|_| "the address is none that mail can be sent to".to_owned())?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            // The same for each try, so that a mail that arrives twice is known to be one.
            .message_id(Some(format!("<{}@{}>", id.as_str(), self.from.email.domain())))
            .subject(text.subject.clone().unwrap_or_default())
            .header(ContentType::TEXT_PLAIN)
            .body(text.body.clone())
            .map_err(|error| chain(&error))?;
        self.transport.send(message).await.map(drop).map_err(|error| chain(&error))
    }
}

fn tls_parameters(settings: &MailSettings) -> Result<TlsParameters, SettingsError> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca {
        let wrong = |what: String| SettingsError(format!("mail.ca {}: {what}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| SettingsError(format!("mail.host: {error}")))
}
