//! Accounts as rows of a file: what is imported and exported.

use account::{
    Account, ApiKey, Date, Details, Email, KeptPassword, Malformed, Newcomer, ObjectId, Password, PasswordDigest, Phone, Region,
    Scheme, Standing, Timestamp, UserName, Verifier,
};
use serde::{Deserialize, Serialize};

use crate::command::Secret;

/// The scheme of what `account export` writes: good under the same master key only.
const OWN: &str = "hearthgate";

/// The columns that a file of accounts may have, by their names.
pub(crate) const COLUMNS: [&str; 18] = [
    "username",
    "email",
    "phone",
    "region",
    "scheme",
    "verifier",
    "key",
    "activation",
    "enabled",
    "display_name",
    "language",
    "birthday",
    "address",
    "country",
    "groups",
    "id",
    "apikey",
    "registered_at",
];

/// Those of them that it must have.
pub(crate) const NEEDED: [&str; 2] = ["scheme", "verifier"];

/// One account of a file. Every field may be left out, but for one identifier, `scheme` and `verifier`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// E-mail address.
    #[serde(default)]
    pub email: Option<String>,
    /// Phone number with its country code.
    #[serde(default)]
    pub phone: Option<String>,
    /// Where it is registered; without it, in the default region.
    #[serde(default)]
    pub region: Option<String>,
    /// What the verifier is: `plain`, `md5`, `sha256-md5`, `bcrypt`, `bcrypt-md5`, `argon2`, `argon2-md5` or `hearthgate`.
    pub scheme: String,
    /// What was kept of the password.
    pub verifier: Secret,
    /// The fingerprint of the master key that a verifier of the scheme `hearthgate` was made with, in exports of versions whose verifiers
    /// did not say so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `active`, `pending` or `lapsed`.
    #[serde(default)]
    pub activation: Option<Standing>,
    /// Whether it may be used.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Nickname or display name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Language.
    #[serde(default)]
    pub language: Option<String>,
    /// Birthday.
    #[serde(default)]
    pub birthday: Option<String>,
    /// Postal address.
    #[serde(default)]
    pub address: Option<String>,
    /// Country.
    #[serde(default)]
    pub country: Option<String>,
    /// Groups, joined with `&`.
    #[serde(default)]
    pub groups: Option<String>,
    /// The object id that its clients know.
    #[serde(default)]
    pub id: Option<String>,
    /// The key that its devices know.
    #[serde(default)]
    pub apikey: Option<String>,
    /// When it was registered: milliseconds since 1970.
    #[serde(default)]
    pub registered_at: Option<i64>,
}

/// Some rows of a file, with their lines.
#[derive(Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The file's own fingerprint.
    pub source: String,
    /// The last line of the batch.
    pub line: i64,
    /// The rows, with the lines that they stand on.
    pub rows: Vec<(i64, Row)>,
    /// Whether nothing is to be changed.
    pub dry_run: bool,
}

/// What became of a batch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// It was read.
    Done {
        /// How many were taken.
        imported: u64,
        /// Those that were not: line and reason.
        refused: Vec<(i64, String)>,
    },
    /// The server is busy with logins: nothing was changed.
    Busy {
        /// When to try again.
        milliseconds: u64,
    },
}

fn read<T: std::str::FromStr<Err = Malformed>>(what: &str, text: Option<&String>) -> Result<Option<T>, String> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|wrong| format!("{what} {wrong}"))).transpose()
}

impl Row {
    /// Reads the row. `regions` are those that are served, the default first.
    ///
    /// # Errors
    /// What is wrong with it, in words that hold nothing of the row.
    pub fn newcomer(&self, regions: &[Region]) -> Result<Newcomer, String> {
        let region: Option<Region> = read("region", self.region.as_ref())?;
        let region = match (region, regions) {
            (Some(region), regions) if regions.contains(&region) => region,
            (Some(_), regions) => {
                let served: Vec<_> = regions.iter().map(Region::as_str).collect();
                return Err(format!("the region is none of those that are served ({})", served.join(", ")));
            }
            (None, [default, ..]) => default.clone(),
            (None, []) => return Err("no region is served".into()),
        };
        let detail = |text: &Option<String>| crate::execute::detail(text.clone()).map_err(|error| error.to_string());
        Ok(Newcomer {
            region,
            user_name: read::<UserName>("username", self.username.as_ref())?,
            email: read::<Email>("email", self.email.as_ref())?,
            phone: read::<Phone>("phone", self.phone.as_ref())?,
            password: self.password()?,
            standing: self.activation.unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
            details: Details {
                display_name: detail(&self.display_name)?,
                language: detail(&self.language)?,
                birthday: read::<Date>("birthday", self.birthday.as_ref())?,
                address: detail(&self.address)?,
                country: detail(&self.country)?,
                groups: detail(&self.groups)?,
            },
            id: read::<ObjectId>("id", self.id.as_ref())?,
            apikey: read::<ApiKey>("apikey", self.apikey.as_ref())?,
            registered_at: self.registered_at.map(Timestamp),
        })
    }

    fn password(&self) -> Result<KeptPassword, String> {
        let text = self.verifier.expose();
        let wrong = |wrong: Malformed| format!("the verifier {wrong}");
        let foreign = |scheme| Ok(KeptPassword::Verifier(Verifier::of(scheme, text)));
        match self.scheme.as_str() {
            "plain" => Ok(KeptPassword::Plain(Password::given(text.to_owned()).map_err(wrong)?)),
            "md5" => Ok(KeptPassword::Digest(PasswordDigest::parse(&text.to_ascii_lowercase()).map_err(wrong)?)),
            "sha256-md5" => {
                let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
                let sha256 = hex.then(|| KeptPassword::Sha256(text.to_ascii_lowercase().into()));
                sha256.ok_or_else(|| "the verifier is not a SHA-256 in hex".to_owned())
            }
            "bcrypt" => foreign(Scheme::Bcrypt),
            "bcrypt-md5" => foreign(Scheme::BcryptOfDigest),
            "argon2" => foreign(Scheme::Argon2),
            "argon2-md5" => foreign(Scheme::Argon2OfDigest),
            OWN => {
                let verifier = Verifier::from_phc(text.to_owned());
                let key = self.key.as_ref().filter(|key| !key.is_empty());
                let verifier = match key {
                    Some(key) => verifier.of_key(key).map_err(|wrong| format!("the key {wrong}"))?,
                    None => verifier,
                };
                Ok(KeptPassword::Verifier(verifier))
            }
            _ => Err("the scheme is none of plain, md5, sha256-md5, bcrypt, bcrypt-md5, argon2, argon2-md5, hearthgate".into()),
        }
    }

    /// Writes an account.
    pub(crate) fn of(account: &Account, now: Timestamp) -> Self {
        let details = account.details.clone();
        Self {
            username: account.user_name.clone().map(Into::into),
            email: account.email.clone().map(Into::into),
            phone: account.phone.clone().map(Into::into),
            region: Some(account.region.as_str().to_owned()),
            scheme: OWN.into(),
            verifier: Secret::new(account.verifier.phc().to_owned()),
            key: None,
            activation: Some(account.activation.standing(now)),
            enabled: Some(account.enabled),
            display_name: details.display_name,
            language: details.language,
            birthday: details.birthday.map(Into::into),
            address: details.address,
            country: details.country,
            groups: details.groups,
            id: Some(account.id.as_str().to_owned()),
            apikey: Some(account.apikey.as_str().to_owned()),
            registered_at: Some(account.registered_at.0),
        }
    }
}
