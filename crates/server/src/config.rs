//! The configuration: defaults, then a TOML file, then the environment, then the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use account::{MasterKey, Region, Rules, Settings as CoreSettings};
use argon::{Cost, MOST_THREADS, Settings as HashSettings};
use ipnet::IpNet;
use notify::{MailSettings, Messenger, Outbox, SmsSettings};
use resource::{Management, Template, Topics};
use secrecy::{ExposeSecret, SecretString};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use sql::Limits;
use toml::{Table, Value};
use wire::{ForwardedHeader, Hosts, Proxies};

use crate::addresses::Addresses;
use crate::cli::Sources;
use crate::connections::{Connections, make_room};
use crate::failure::{Context, Failure};
use crate::logging::{LogFormat, LogLevel};
use crate::settings::{self, Layer};
use crate::traces::TracesSettings;

/// What the environment's names begin with: `HEARTHGATE_LISTEN__HTTP` is `listen.http`.
const PREFIX: &str = "HEARTHGATE_";

/// The variable that names the configuration file itself.
const CONFIG_VARIABLE: &str = "HEARTHGATE_CONFIG";

/// Where HTTP is listened for when nothing is configured.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The longest that one delivery may take: shorter than whoever tries a message has it to itself.
const LONGEST_DELIVERY: Duration = Duration::from_mins(1);

/// Everything that can be configured; `docs/configuration.md` explains each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub data: PathBuf,
    pub default_region: Region,
    /// The PostgreSQL database, in place of the file in the data folder: a URL with a password in it.
    #[serde(serialize_with = "without_password")]
    store: Option<SecretString>,
    /// The database in which all regions claim identifiers, where each region has a database of its own.
    #[serde(serialize_with = "without_password")]
    directory: Option<SecretString>,
    /// The master key itself, in place of the file in the data folder.
    #[serde(skip_serializing)]
    master_key: Option<SecretString>,
    /// A MaxMind DB file that tells the place of an address.
    pub geoip: Option<PathBuf>,
    /// Where people reach this server: what links in mails begin with.
    pub public_url: Option<String>,
    pub database: Database,
    pub listen: Listen,
    limits: Bounds,
    proxy: Proxy,
    pub log: Log,
    /// Where traces are told.
    pub traces: Option<TracesSettings>,
    pub hash: Hash,
    throttle: Throttle,
    audit: Audit,
    /// Whether whoever logs in to an account that does not exist hears that the password is wrong.
    uniform_errors: bool,
    pub messages: Messages,
    /// The mail server.
    mail: Option<MailSettings>,
    /// The SMS gateway.
    sms: Option<SmsSettings>,
    pub ewelink: Ewelink,
    pub fantem: Fantem,
    /// What MQTT brokers are told.
    mqtt: Option<Mqtt>,
    /// Each region that is served, with patterns of its host names.
    pub regions: BTreeMap<Region, Vec<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Database {
    /// How many connections to PostgreSQL at most.
    connections: u32,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    acquire_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    timeout: Duration,
    /// How often is tried what the engine undoes in favour of somebody else's.
    tries: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    pub http: Addresses,
    pub https: Addresses,
    /// Where metrics and health are told.
    pub metrics: Option<SocketAddr>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Whether passwords may travel in the clear beyond this machine.
    pub allow_plain_http: bool,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub header_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub body_timeout: Duration,
    /// How long requests in flight may take to finish when the server stops.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub shutdown_grace: Duration,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hash {
    memory_kib: u32,
    iterations: u32,
    /// 0: as many as there are cores.
    threads: usize,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    max_wait: Duration,
}

/// How guessing is held back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Throttle {
    /// After how many failures guesses at one account pause.
    failures: u32,
    /// After how many failures guesses from one source pause.
    source_failures: u32,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    first_pause: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    longest_pause: Duration,
    /// How many failures at one account there may be in any 24 hours.
    daily: u32,
    /// After how many registrations that prove nothing those from one source pause.
    registrations: u32,
}

/// The audit trail.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Audit {
    /// How long an entry is kept.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    keep: Duration,
}

/// How many connections there may be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Bounds {
    connections: usize,
    /// From one source that is no proxy.
    connections_per_source: usize,
}

/// The proxies in front of the server.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Proxy {
    networks: Vec<IpNet>,
    header: ProxyHeader,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ProxyHeader {
    #[default]
    XForwardedFor,
    Forwarded,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Messages {
    /// What the service calls itself.
    product: String,
    /// A folder with templates that go before the built-in ones.
    templates: Option<PathBuf>,
    /// How long one delivery may take.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    timeout: Duration,
    /// The pause before a message is tried a second time; it doubles with each try, up to an hour.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_pause: Duration,
    /// Whether messages that neither mail server nor SMS gateway can send are left in the data folder's outbox.
    pub outbox: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fantem {
    /// Whether a cube can be taken away from its account by whoever holds it (the forced form of `/cube/removeBind`).
    pub allow_forced_rebind: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mqtt {
    /// RabbitMQ's virtual host that clients use.
    #[serde(default = "root")]
    vhost: String,
    /// From where brokers ask.
    #[serde(default = "loopback")]
    networks: Vec<IpNet>,
    /// What clients may publish to.
    #[serde(default)]
    publish: Vec<String>,
    /// What clients may subscribe to.
    #[serde(default)]
    subscribe: Vec<String>,
    /// The RabbitMQ that throws clients out whose session has ended.
    rabbitmq: Option<RabbitMq>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RabbitMq {
    management: String,
    user: String,
    #[serde(skip_serializing)]
    password: SecretString,
    /// How often it is looked through for what no event tells.
    #[serde(default = "a_minute", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    check_every: Duration,
}

fn a_minute() -> Duration {
    Duration::from_mins(1)
}

fn loopback() -> Vec<IpNet> {
    let (four, six) = (IpNet::new_assert(Ipv4Addr::LOCALHOST.into(), 8), IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128));
    vec![four.trunc(), six]
}

fn root() -> String {
    "/".into()
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ewelink {
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_clock_skew: Duration,
}

impl Default for Config {
    fn default() -> Self {
        // The vendor's regions and host names, so that clients in the field work when their names are pointed here.
        let patterns = |region: &str| ["cc", "cn"].map(|suffix| format!("{region}-api*.coolkit.{suffix}")).to_vec();
        let region = |name: &str| name.parse::<Region>().expect("a region's name");
        Self {
            data: "hearthgate-data".into(),
            default_region: region("cn"),
            store: None,
            directory: None,
            master_key: None,
            geoip: None,
            public_url: None,
            database: Database::default(),
            listen: Listen::default(),
            limits: Bounds::default(),
            proxy: Proxy::default(),
            log: Log::default(),
            traces: None,
            hash: Hash::default(),
            throttle: Throttle::default(),
            audit: Audit::default(),
            uniform_errors: false,
            messages: Messages::default(),
            mail: None,
            sms: None,
            ewelink: Ewelink { max_clock_skew: Duration::from_mins(10) },
            fantem: Fantem::default(),
            mqtt: None,
            regions: ["cn", "as", "eu", "us"].map(|name| (region(name), patterns(name))).into(),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        let Limits { connections, acquire_timeout, timeout, tries } = Limits::default();
        Self { connections, acquire_timeout, timeout, tries }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            http: Addresses::default(),
            https: Addresses::default(),
            metrics: None,
            cert: None,
            key: None,
            allow_plain_http: false,
            // Whoever uses up both, and the second that is left to read a refusal, is gone within ten.
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(4),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 10_000, connections_per_source: 1_000 }
    }
}

impl Default for Hash {
    fn default() -> Self {
        Self { memory_kib: 19456, iterations: 2, threads: 0, max_wait: Duration::from_secs(2) }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { keep: Duration::from_hours(90 * 24) }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            failures: 5,
            source_failures: 5,
            first_pause: Duration::from_secs(30),
            longest_pause: Duration::from_hours(1),
            daily: 100,
            registrations: 20,
        }
    }
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            product: "Hearthgate".into(),
            templates: None,
            timeout: Duration::from_secs(10),
            retry_pause: Duration::from_secs(10),
            outbox: false,
        }
    }
}

impl Default for Ewelink {
    fn default() -> Self {
        Config::default().ewelink
    }
}

impl Config {
    /// Puts the configuration together and checks what can be checked without touching anything.
    pub fn load(sources: &Sources) -> Result<Self, Failure> {
        let mut layers = vec![Layer { source: "the defaults".to_owned(), table: sources.defaults.clone() }];
        if let Some(file) = &sources.file {
            let text = std::fs::read_to_string(file).context(|| format!("cannot read the configuration {}", file.display()))?;
            let read: Result<Table, _> = text.parse().map_err(|error| sentence(&error));
            let table = read.context(|| format!("the configuration {} is not TOML", file.display()))?;
            layers.push(Layer { source: file.display().to_string(), table });
        }
        let variables = std::env::vars_os().map(|(name, value)| [name, value].map(|text| text.to_string_lossy().into_owned()));
        layers.extend(from_environment(variables.map(|[name, value]| (name, value)))?);
        layers.push(Layer { source: "the command line".to_owned(), table: sources.flags.clone() });
        let mut config: Self = settings::read(&layers).context(|| "the configuration is wrong".to_owned())?;
        if config.listen.http.0.is_empty() && config.listen.https.0.is_empty() {
            config.listen.http.0.push(DEFAULT_HTTP);
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Failure> {
        if !self.regions.contains_key(&self.default_region) {
            return Err(format!("default_region is {}, which is not one of [regions]", self.default_region).into());
        }
        self.listen.check()?;
        if self.listen.header_timeout.is_zero() || self.listen.body_timeout.is_zero() {
            return Err("listen.header_timeout and listen.body_timeout must be longer than 0".into());
        }
        if self.limits.connections == 0 || self.limits.connections_per_source == 0 {
            return Err("limits.connections and limits.connections_per_source must be more than 0".into());
        }
        if self.directory.is_some() && self.store.is_none() {
            return Err(
                "directory needs store: the directory's copy comes to a PostgreSQL database by logical replication".into()
            );
        }
        self.store.as_ref().map_or(Ok(()), check_url)?;
        self.directory.as_ref().map_or(Ok(()), check_url).context(|| "directory".to_owned())?;
        let Limits { connections, acquire_timeout, timeout, tries } = self.database_limits();
        if connections == 0 || acquire_timeout.is_zero() || timeout.is_zero() || tries == 0 {
            return Err(
                "database.connections, database.acquire_timeout, database.timeout and database.tries must be more than 0".into(),
            );
        }
        self.hash.check()?;
        let Throttle { failures, source_failures, first_pause, longest_pause, daily, registrations } = self.throttle;
        if [failures, source_failures, daily, registrations].iter().any(|number| !(1..=1_000_000).contains(number)) {
            return Err(
                "throttle.failures, throttle.source_failures, throttle.daily and throttle.registrations must be 1 to 1000000"
                    .into(),
            );
        }
        if first_pause.is_zero() || longest_pause < first_pause {
            return Err("throttle.first_pause must be longer than 0, and throttle.longest_pause at least as long".into());
        }
        if self.messages.timeout.is_zero() || self.messages.timeout > LONGEST_DELIVERY || self.messages.retry_pause.is_zero() {
            return Err("messages.timeout must be more than 0 and at most 60s, messages.retry_pause more than 0".into());
        }
        self.traces.as_ref().map_or(Ok(()), TracesSettings::check)?;
        self.public_url()?;
        self.mqtt()?;
        self.rabbitmq()?;
        self.master_key().map(drop)
    }

    /// Where people reach this server, without a slash at the end.
    pub fn public_url(&self) -> Result<Option<String>, Failure> {
        let Some(text) = &self.public_url else { return Ok(None) };
        let url = text.trim_end_matches('/');
        let uri: Option<axum::http::Uri> = url.parse().ok();
        let fits = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some()
                && uri.query().is_none()
                && uri.path() == "/"
        });
        if fits {
            Ok(Some(url.to_owned()))
        } else {
            Err(format!("public_url is {text:?}, not like https://id.example.com").into())
        }
    }

    /// Who sends messages; `outbox` is where they are left if that is what is configured.
    pub fn messenger(&self, outbox: &Outbox) -> Result<Messenger, Failure> {
        let settings = notify::Settings {
            product: self.messages.product.clone(),
            templates: self.messages.templates.clone(),
            timeout: self.messages.timeout,
            mail: self.mail.clone(),
            sms: self.sms.clone(),
            outbox: self.messages.outbox.then(|| outbox.clone()),
        };
        Messenger::new(settings).context(|| "the configuration is wrong".to_owned())
    }

    /// What MQTT brokers are told, if there is one.
    pub fn mqtt(&self) -> Result<Option<resource::Mqtt>, Failure> {
        let Some(mqtt) = &self.mqtt else { return Ok(None) };
        let parse = |name: &'static str, texts: &[String]| {
            let templates: Result<Vec<Template>, _> = texts.iter().map(|text| text.parse()).collect();
            templates.map_err(|wrong| Failure::new(format!("mqtt.{name}: {wrong}")))
        };
        let topics = Topics { publish: parse("publish", &mqtt.publish)?, subscribe: parse("subscribe", &mqtt.subscribe)? };
        Ok(Some(resource::Mqtt { vhost: mqtt.vhost.clone(), topics, networks: mqtt.networks.clone() }))
    }

    /// The RabbitMQ that throws clients out, if one is configured, and how often it is looked through.
    pub fn rabbitmq(&self) -> Result<Option<(Management, Duration)>, Failure> {
        let Some(rabbitmq) = self.mqtt.as_ref().and_then(|mqtt| mqtt.rabbitmq.as_ref()) else { return Ok(None) };
        let RabbitMq { management, user, password, check_every } = rabbitmq;
        if check_every.is_zero() {
            return Err("mqtt.rabbitmq.check_every must be more than 0".into());
        }
        let management = Management::new(management, user.clone(), password.clone());
        let management = management.context(|| "mqtt.rabbitmq.management".to_owned())?;
        Ok(Some((management, *check_every)))
    }

    /// The URL of the PostgreSQL database, if one is configured.
    pub fn store(&self) -> Option<&SecretString> {
        self.store.as_ref()
    }

    /// The URL of the directory's primary, if regions share one.
    pub fn directory(&self) -> Option<&SecretString> {
        self.directory.as_ref()
    }

    /// How much of the database may be used.
    pub fn database_limits(&self) -> Limits {
        let Database { connections, acquire_timeout, timeout, tries } = self.database;
        Limits { connections, acquire_timeout, timeout, tries }
    }

    /// Who may connect, as far as there is room.
    pub fn connections(&self) -> Arc<Connections> {
        if let Some(lack) = self.lack_of_files() {
            tracing::warn!("{lack}");
        }
        let Bounds { connections, connections_per_source } = self.limits;
        Connections::new(self.listen.header_timeout, connections.min(make_room()), connections_per_source, self.proxies())
    }

    /// What is wrong when there may be more connections than files may be open.
    pub fn lack_of_files(&self) -> Option<String> {
        let (wanted, room) = (self.limits.connections, make_room());
        (room < wanted).then(|| {
            format!(
                "there is room for {room} connections, not for limits.connections = {wanted}: raise the limit of open files (ulimit -n, LimitNOFILE=)"
            )
        })
    }

    /// The master key, if it is configured.
    pub fn master_key(&self) -> Result<Option<MasterKey>, Failure> {
        let parse = |text: &SecretString| MasterKey::parse(text.expose_secret()).context(|| "master_key".to_owned());
        self.master_key.as_ref().map(parse).transpose()
    }

    /// Which host means which region.
    pub fn hosts(&self) -> Hosts {
        Hosts::new(self.regions.iter().map(|(region, patterns)| (region, &patterns[..])), self.default_region.clone())
    }

    /// What the operator decides about the core.
    pub fn core_settings(&self) -> CoreSettings {
        let Throttle { failures, source_failures, first_pause, longest_pause, daily, registrations } = self.throttle;
        CoreSettings {
            regions: self.served_regions(),
            retry_pause: self.messages.retry_pause,
            registrations,
            longest_wait: self.hash.max_wait,
            throttle: Rules { failures, source_failures, first_pause, longest_pause, daily },
            audit_keep: self.audit.keep,
            uniform_errors: self.uniform_errors,
        }
    }

    /// The proxies in front of the server.
    pub fn proxies(&self) -> Proxies {
        let header = match self.proxy.header {
            ProxyHeader::XForwardedFor => ForwardedHeader::XForwardedFor,
            ProxyHeader::Forwarded => ForwardedHeader::Forwarded,
        };
        Proxies { networks: self.proxy.networks.clone(), header }
    }

    /// The regions that are served, the default first.
    pub fn served_regions(&self) -> Vec<Region> {
        let others = self.regions.keys().filter(|region| **region != self.default_region);
        std::iter::once(&self.default_region).chain(others).cloned().collect()
    }

    /// How passwords are hashed.
    pub fn hash_settings(&self) -> HashSettings {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        HashSettings {
            cost: Cost { memory_kib: self.hash.memory_kib, iterations: self.hash.iterations },
            threads: if self.hash.threads == 0 { cores() } else { self.hash.threads },
            max_wait: self.hash.max_wait,
        }
    }
}

impl Hash {
    fn check(&self) -> Result<(), Failure> {
        let (memory, iterations) = (Cost::MEMORY_KIB, Cost::ITERATIONS);
        if memory.contains(&self.memory_kib) && iterations.contains(&self.iterations) && self.threads <= MOST_THREADS {
            return Ok(());
        }
        Err(format!(
            "hash.memory_kib must be {} to {}, hash.iterations {} to {}, and hash.threads at most {MOST_THREADS}",
            memory.start(),
            memory.end(),
            iterations.start(),
            iterations.end(),
        )
        .into())
    }
}

impl Listen {
    fn check(&self) -> Result<(), Failure> {
        let plain = self.http.0.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = plain.filter(|_| !self.allow_plain_http) {
            return Err(format!(
                "listen.http is {address}, where passwords would travel in the clear: use listen.https, \
                 or set listen.allow_plain_http = true behind a proxy that speaks TLS"
            )
            .into());
        }
        if let Some(address) = self.metrics.filter(|address| !address.ip().is_loopback() && !self.allow_plain_http) {
            return Err(format!(
                "listen.metrics is {address}, where others could read along: use an address of the loopback, \
                 or set listen.allow_plain_http = true in a network of your own"
            )
            .into());
        }
        let mut seen = BTreeSet::new();
        // Port 0 is another free one each time.
        let all = self.http.0.iter().chain(&self.https.0).chain(&self.metrics);
        let twice = all.filter(|address| address.port() != 0).find(|one| !seen.insert(**one));
        twice.map_or(Ok(()), |address| {
            Err(format!("[listen] has {address} twice: give each listener an address of its own").into())
        })
    }
}

/// Refuses a URL that no database would be opened at.
fn check_url(url: &SecretString) -> Result<(), Failure> {
    sql::without_password(url.expose_secret()).map(drop).map_err(|error| Failure::new(error.to_string()))
}

#[expect(clippy::ref_option, reason = "serde has it so")]
fn without_password<S: Serializer>(url: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = url.as_ref().map(|url| sql::without_password(url.expose_secret()));
    shown.transpose().map_err(S::Error::custom)?.serialize(serializer)
}

/// What is wrong with TOML, on one line: without the picture of the place.
fn sentence(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let picture = |line: &&str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    text.lines().filter(|line| !picture(line) && !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Reads `HEARTHGATE_SECTION__KEY` as `section.key`, and `HEARTHGATE_SECTION__KEY_FILE` as the name of a file that holds its value.
fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    for (name, text) in variables.filter(|(name, _)| name != CONFIG_VARIABLE) {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let (key, value) = match key.strip_suffix("_FILE") {
            Some(key) => {
                let content = std::fs::read_to_string(&text).context(|| format!("cannot read {text}, which {name} names"))?;
                (key, Value::String(content.trim().to_owned()))
            }
            None => (key, Value::String(text)),
        };
        let path = key.to_ascii_lowercase();
        let nested = path.rsplit("__").fold(value, |value, key| Value::Table(Table::from_iter([(key.to_owned(), value)])));
        if let Value::Table(table) = nested {
            layers.push(Layer { source: name, table });
        }
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Vec<Layer> {
        from_environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
    }

    #[test]
    fn the_defaults_are_sound() {
        let config: Config = settings::read(&[]).unwrap();
        config.check().unwrap();
        assert_eq!(config.served_regions()[0].as_str(), "cn");
        assert_eq!(config.hosts().region(Some("eu-apia.coolkit.cc")).as_str(), "eu");
    }

    #[test]
    fn the_environment_names_sections_and_keys() {
        let layers = environment(&[
            ("HEARTHGATE_HASH__MEMORY_KIB", "64"),
            ("HEARTHGATE_LISTEN__BODY_TIMEOUT", "3s"),
            ("HEARTHGATE_DATA", "/srv"),
            ("HEARTHGATE_CONFIG", "x"),
            ("PATH", "x"),
        ]);
        let config: Config = settings::read(&layers).unwrap();
        assert_eq!(config.hash_settings().cost.memory_kib, 64);
        assert_eq!(config.listen.body_timeout, Duration::from_secs(3));
        assert_eq!(config.data, PathBuf::from("/srv"));
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        assert!(Config::try_from_layers(&environment(&[("HEARTHGATE_LISTEN__HTP", "x")])).is_err());
        for text in [
            "[lisen]\nhttp = '127.0.0.1:1'",
            "default_region = 'xx'",
            "[listen]\nhttp = '0.0.0.0:80'",
            "[listen]\nmetrics = '0.0.0.0:9464'",
            "master_key = 'short'",
        ] {
            let file = Layer { source: "a file".into(), table: text.parse().unwrap() };
            assert!(Config::try_from_layers(&[file]).is_err(), "{text}");
        }
    }

    impl Config {
        fn try_from_layers(layers: &[Layer]) -> Result<Self, Failure> {
            let config: Self = settings::read(layers).context(String::new)?;
            config.check()?;
            Ok(config)
        }
    }
}
