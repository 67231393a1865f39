//! SMS over an HTTP gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use account::Phone;
use minijinja::{Environment, context};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::templates::strict;
use crate::{SettingsError, chain};

/// The SMS gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsSettings {
    /// Where an SMS is sent to, by POST. May hold a key, so it is not shown.
    #[serde(skip_serializing)]
    pub url: SecretString,
    /// Headers of the request.
    #[serde(default, skip_serializing)]
    pub headers: BTreeMap<String, SecretString>,
    /// A template of the request's body, with `to` and `text`.
    #[serde(default = "default_body")]
    pub body: String,
}

fn default_body() -> String {
    r#"{"to": {{ to|tojson }}, "text": {{ text|tojson }}}"#.into()
}

pub(crate) struct SmsGateway {
    client: reqwest::Client,
    url: SecretString,
    body: Environment<'static>,
}

const BODY: &str = "sms.body";

impl SmsGateway {
    pub fn new(settings: SmsSettings, timeout: Duration) -> Result<Self, SettingsError> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in &settings.headers {
            let name: HeaderName =
                name.parse().map_err(|_| SettingsError(format!("sms.headers: {name:?} is not the name of a header")))?;
            let mut value = HeaderValue::from_str(value.expose_secret())
                .map_err(|_| SettingsError(format!("sms.headers: the value of {name} is not that of a header")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = reqwest::Client::builder().default_headers(headers).timeout(timeout).redirect(Policy::none());
        let client = client.build().map_err(|error| SettingsError(format!("sms: {}", chain(&error))))?;
        let url: reqwest::Url =
            settings.url.expose_secret().parse().map_err(|error| SettingsError(format!("sms.url is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SettingsError("sms.url must begin with http:// or https://".into()));
        }
        let mut body = strict();
        body.add_template_owned(BODY, settings.body).map_err(|error| SettingsError(chain(&error)))?;
        let gateway = Self { client, url: settings.url, body };
        gateway.write("+8613123456789", "text").map_err(SettingsError)?;
        Ok(gateway)
    }

    fn write(&self, to: &str, text: &str) -> Result<String, String> {
        let template = self.body.get_template(BODY).map_err(|error| chain(&error))?;
        template.render(context! { to, text }).map_err(|error| chain(&error))
    }

    pub async fn send(&self, to: &Phone, text: &str) -> Result<(), String> {
        let body = self.write(to.as_str(), text.trim_end())?;
        let request = self.client.post(self.url.expose_secret()).body(body);
        // The gateway's address may hold a key: no error may show it.
        let response = request.send().await.map_err(|error| chain(&error.without_url()))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("the SMS gateway answers {status}")) }
    }
}
